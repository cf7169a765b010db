"""The SMTP machine: two streams of octets in, facts out. grammar.states is its table."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.commands cimport Command
from smtpinspect._core.rows cimport Limits
from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn, Line, Mail, Pending
from smtpinspect._core.verdicts cimport Verdicts

cdef struct Arrival:           # where the octets come from
    int64_t packet
    int64_t ns
    bint border                # the first octet began a segment
    bint merged                # the segment is larger than any on the wire
    int border_next            # filled by the reader: octets of the segment behind an end mark, -1 none

cdef class Machine:
    cdef Verdicts verdicts
    cdef object tape           # a transcript is wanted
    cdef bint taping
    cdef object error          # what the tape raised
    cdef int start(self, Conn* conn, bint late) noexcept nogil
    # In-order octets of one side at this stream offset. Returns how many were read: the client's wait when only
    # the server's next reply can tell what they are.
    cdef Py_ssize_t feed(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil
    cdef int gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil
    # The octets that wait cannot wait longer; p lends the first of them.
    cdef int no_reply(self, Conn* conn, const uint8_t* p, Py_ssize_t n) noexcept nogil
    cdef int end(self, Conn* conn) noexcept nogil
    cdef void free_talk(self, Conn* conn) noexcept nogil
    cdef bint waits(self, Conn* conn) noexcept nogil
    # the transcript's view of the streams
    cdef void stream(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
    cdef void stream_gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil
    # --- the parts ---
    cdef int event(self, Conn* conn, int event) noexcept nogil
    cdef Py_ssize_t feed_line(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil
    cdef Py_ssize_t feed_text(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil
    cdef Py_ssize_t feed_chunk(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
    cdef Py_ssize_t feed_replies(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil
    cdef Py_ssize_t feed_socks(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n) noexcept nogil
    cdef int implicit_tls(self, Conn* conn, Arrival* a) noexcept nogil
    cdef void command_limits(self, Conn* conn, int where, Span text, int64_t n, int64_t line_end) noexcept nogil
    cdef Pending* ask(self, Conn* conn, int64_t at, int64_t end, int verb, Span word, int what, Mail* mail) noexcept nogil
    cdef void open_mail(self, Conn* conn, int64_t at) noexcept nogil
    cdef void answer(self, Conn* conn, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil
    cdef void empty_line(self, Conn* conn, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil
    cdef void command(self, Conn* conn, Command* c, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil
    cdef void count_fact(
        self, Conn* conn, Mail* mail, Limits* limits, int what, int64_t value, int phase, Line* line, Span text,
    ) noexcept nogil
    cdef void text_begins(self, Conn* conn, int64_t at, bint stuffed) noexcept nogil
    cdef void text_octets(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
    cdef void mark_fact(
        self, Conn* conn, int variant, int64_t dot, const uint8_t* before, const uint8_t* behind, Arrival* a,
    ) noexcept nogil
    cdef void end_of_data(
        self, Conn* conn, int64_t dot, const uint8_t* before, const uint8_t* behind, Arrival* a,
    ) noexcept nogil
    cdef void chunk_done(self, Conn* conn, int64_t at) noexcept nogil
    cdef void reply_limits(self, Conn* conn, Span text, int64_t n, int64_t line_end) noexcept nogil
    cdef void cut_reply(self, Conn* conn, Span text) noexcept nogil
    cdef void reply_line(self, Conn* conn, Span text, int end) noexcept nogil
    cdef void keyword(self, Conn* conn, Span rest, Span text, Pending* p) noexcept nogil
    cdef void greeting(self, Conn* conn, int code, Span text) noexcept nogil
    cdef void reply(self, Conn* conn, int code, Span text) noexcept nogil
    cdef void decide(self, Conn* conn, Mail* mail, int code) noexcept nogil
    cdef void data_answered(self, Conn* conn, Mail* mail, int code, int action, Pending* p) noexcept nogil
    cdef void rcpt_answered(self, Conn* conn, Mail* mail, int code, Pending* p) noexcept nogil
    cdef void loose_reply(self, Conn* conn, int code) noexcept nogil
    cdef void tls_begins(self, Conn* conn, Pending* p) noexcept nogil
    cdef void tape_command(self, Conn* conn, Span text, int64_t length, int kind) noexcept nogil
    cdef object tell(self, str what, unsigned long long conn, a=*, b=*, c=*, d=*)
