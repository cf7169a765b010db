"""What a transcript hears: the streams, and what the machine reads in them."""

from libc.stdint cimport int64_t, uint8_t


from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn


cdef bytes octets(const uint8_t* p, Py_ssize_t n):
    return (<const char*>p)[:n] if n else b""


cdef class Tape:
    def __init__(self, listener=None):
        self.listener = listener
        self.on = listener is not None

    cdef object tell(self, str what, Conn* conn, a=None, b=None, c=None, d=None):
        if self.error is not None:
            return
        try:
            getattr(self.listener, what)(conn.first_packet, a, b, c, d)
        except BaseException as error:
            self.error = error

    cdef void stream(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
        if self.on:
            with gil:
                self.tell("stream", conn, side, at, octets(p, n))

    cdef void stream_gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil:
        if self.on:
            with gil:
                self.tell("stream_gap", conn, side, at, n)

    cdef void command(self, Conn* conn, Span line, int64_t length) noexcept nogil:
        if self.on:
            with gil:
                self.tell("command", conn, octets(line.p, line.n), length, 0, conn.talk.ordinal)

    cdef void answer(self, Conn* conn, Span line, int64_t length) noexcept nogil:
        if self.on:
            with gil:
                self.tell("command", conn, octets(line.p, line.n), length, 1, conn.talk.ordinal)

    cdef void reply(self, Conn* conn, int code, int64_t ordinal) noexcept nogil:
        if self.on:
            with gil:
                self.tell("reply", conn, code if code else None, ordinal if ordinal >= 0 else None)

    cdef void text_begin(self, Conn* conn, int64_t ordinal) noexcept nogil:
        if self.on:
            with gil:
                self.tell("text_begin", conn, "DATA", ordinal if ordinal >= 0 else None)

    cdef void text(self, Conn* conn, const uint8_t* p, Py_ssize_t n, bint chunk) noexcept nogil:
        if self.on:
            with gil:
                self.tell("text", conn, octets(p, n), "BDAT" if chunk else "DATA")

    cdef void text_gap(self, Conn* conn, int64_t n, bint chunk) noexcept nogil:
        if self.on:
            with gil:
                self.tell("text_gap", conn, n, "BDAT" if chunk else "DATA")

    cdef void text_end(self, Conn* conn) noexcept nogil:
        if self.on:
            with gil:
                self.tell("text_end", conn, conn.talk.ordinal)

    cdef void chunk_done(self, Conn* conn, bint last) noexcept nogil:
        if self.on:
            with gil:
                self.tell("chunk_done", conn, conn.talk.ordinal, last)

    cdef void starttls(self, Conn* conn, int64_t client_at, int64_t server_at) noexcept nogil:
        if self.on:
            with gil:
                self.tell("starttls", conn, client_at, server_at)

    cdef void implicit_tls(self, Conn* conn) noexcept nogil:
        if self.on:
            with gil:
                self.tell("implicit_tls", conn)
