"""The SMTP machine: two streams of octets in, facts out. grammar.states is its table."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.dialogue cimport Dialogue
from smtpinspect._core.state cimport Conn
from smtpinspect._core.tape cimport Tape

cdef struct Arrival:           # where the octets come from
    int64_t packet
    int64_t ns
    int64_t ack                # stream offset of the other side, -1 unknown
    bint border                # the first octet began a segment
    bint merged                # the segment is larger than any on the wire

cdef class Machine:
    cdef Dialogue dialogue
    cdef Tape tape
    cdef int start(self, Conn* conn, bint late) noexcept nogil
    # In-order octets of one side at this stream offset. Returns how many were read: the client's wait when only
    # the server's next reply can tell what they are.
    cdef Py_ssize_t feed(
        self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at, const Arrival* a,
    ) noexcept nogil
    cdef int gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil
    # The octets that wait cannot wait longer; p lends the first of them.
    cdef int no_reply(self, Conn* conn, const uint8_t* p, Py_ssize_t n) noexcept nogil
    cdef int end(self, Conn* conn) noexcept nogil
    cdef void free_talk(self, Conn* conn) noexcept nogil
    cdef bint waits(self, Conn* conn) noexcept nogil
    cdef int implicit_tls(self, Conn* conn) noexcept nogil
