"""What a transcript hears: the streams, and what the machine reads in them."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn

# One method per event; each calls the listener's method of that name with the connection's first packet and what is
# told here, filled up with None (smtpinspect.transcripts.Tape). Nobody listens: nothing is built.
cdef class Tape:
    cdef object listener
    cdef readonly bint on
    cdef readonly object error     # what the listener raised; it hears nothing more
    cdef void stream(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
    cdef void stream_gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil
    cdef void command(self, Conn* conn, Span line, int64_t length) noexcept nogil
    cdef void answer(self, Conn* conn, Span line, int64_t length) noexcept nogil    # in the AUTH dialogue
    cdef void reply(self, Conn* conn, int code, int64_t ordinal) noexcept nogil     # 0: no code; -1: to no command
    cdef void text_begin(self, Conn* conn, int64_t ordinal) noexcept nogil          # -1: no reply told so
    cdef void text(self, Conn* conn, const uint8_t* p, Py_ssize_t n, bint chunk) noexcept nogil
    cdef void text_gap(self, Conn* conn, int64_t n, bint chunk) noexcept nogil
    cdef void text_end(self, Conn* conn) noexcept nogil
    cdef void chunk_done(self, Conn* conn, bint last) noexcept nogil
    cdef void starttls(self, Conn* conn, int64_t client_at, int64_t server_at) noexcept nogil
    cdef void implicit_tls(self, Conn* conn) noexcept nogil
    cdef object tell(self, str what, Conn* conn, a=*, b=*, c=*, d=*)
