"""Segments that wait: copies in the order of their offsets, the first copy of an octet wins."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.state cimport Direction, Stored

# `total` counts the octets that all stores hold.
# Copy octets into the store, around those that are there already. 1: those differed, -1: no memory.
cdef int store_keep(
    Direction* d, int64_t* total, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
    int64_t number, int64_t ns, bint border, bint merged,
) noexcept nogil
cdef Stored* store_take(Direction* d, int64_t* total) noexcept nogil     # the head, which must be there; to be freed
cdef void store_clear(Direction* d, int64_t* total) noexcept nogil
cdef void store_hold(Direction* d, int64_t ns) noexcept nogil             # its head waits since then
cdef void store_shift(Direction* d, int64_t delta) noexcept nogil        # what is kept, and where the stream ends
