"""The table of connections: found by addresses and ports, aged by capture time."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.frame cimport Packet
from smtpinspect._core.state cimport Conn, Key

cdef class Table:
    cdef Conn** buckets
    cdef uint32_t size             # a power of two
    cdef readonly uint32_t n
    cdef Conn* free_list
    cdef Conn* oldest              # open ones, by when they were last looked at
    cdef Conn* newest
    cdef Conn* first_closed        # remembered for their late frames
    cdef Conn* last_closed
    cdef uint32_t n_closed
    cdef bint[65536] ports
    cdef void** slabs
    cdef int n_slabs
    # The connection of this packet; a new one when there is none. `side` tells whose packet it is.
    cdef Conn* find(self, Packet* t, uint64_t number, int64_t ns, int* side) noexcept nogil
    cdef Conn* make(self, Key* key, uint32_t hash, Packet* t, bint from_lo, uint64_t number, int64_t ns) noexcept nogil
    cdef void unlink_age(self, Conn* conn) noexcept nogil
    cdef void close(self, Conn* conn, int64_t ns) noexcept nogil     # its records are written
    cdef void remove(self, Conn* conn) noexcept nogil
    cdef Conn* expired(self, int64_t ns) noexcept nogil              # an idle one, or NULL
    cdef void forget_closed(self, int64_t ns) noexcept nogil
    cdef int grow(self) noexcept nogil
