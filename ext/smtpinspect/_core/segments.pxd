"""TCP reassembly: two streams of a connection, in the order in which their ends can have seen them."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.frame cimport Packet
from smtpinspect._core.machine cimport Machine
from smtpinspect._core.sources cimport Source
from smtpinspect._core.state cimport Conn, Direction
from smtpinspect._core.store cimport Store

cdef class Streams:
    cdef Machine machine
    cdef Source source
    cdef Store store                    # of all connections
    cdef bint tight                     # all connections together keep more than limits.STORED_TOTAL
    cdef int64_t here                   # where in the source the present frame's octets begin
    cdef uint8_t apart[128]             # from what another thread writes
    # One segment of this side. Returns 1 when the connection has ended.
    cdef int push(
        self, Conn* conn, int side, Packet* packet, int64_t number, int64_t ns, int64_t position,
    ) noexcept nogil
    cdef int push_rare(
        self, Conn* conn, int side, Packet* packet, int64_t number, int64_t ns, int64_t position,
    ) noexcept nogil
    cdef void data(
        self, Conn* conn, int side, Packet* packet, int64_t offset, int64_t ack, int64_t number, int64_t ns,
        int64_t position,
    ) noexcept nogil
    # Nothing more will come: what is kept is handed on, holes as gaps.
    cdef int flush(self, Conn* conn) noexcept nogil
    cdef void forget(self, Conn* conn) noexcept nogil       # free what is kept
    cdef void early_data(self, Direction* d, bint taken) noexcept nogil
    cdef bint far(self, Direction* d, int64_t offset, uint32_t n) noexcept nogil
    cdef bint closed(self, Conn* conn) noexcept nogil
    cdef int reset(self, Conn* conn, int side, Packet* t, int64_t offset, int64_t ns) noexcept nogil
    cdef int keep(
        self, Conn* conn, int side, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
        int64_t number, int64_t ns, bint border, bint merged,
    ) noexcept nogil
    cdef int deliver(
        self, Conn* conn, int side, const uint8_t* p, uint32_t n, uint32_t missing, int64_t ack, int64_t number,
        int64_t ns, bint border, bint merged,
    ) noexcept nogil
    cdef bint ready(self, Conn* conn, int side, int64_t ack) noexcept nogil
    cdef int drain(self, Conn* conn) noexcept nogil
    cdef int hole(self, Conn* conn, int side, int64_t n) noexcept nogil
    cdef bint force(self, Conn* conn) noexcept nogil
    cdef int patience(self, Conn* conn, int64_t ns) noexcept nogil
    cdef int decide(self, Conn* conn) noexcept nogil
    cdef void conflict(self, Conn* conn, Direction* d, const uint8_t* p, uint32_t n, int64_t offset) noexcept nogil
