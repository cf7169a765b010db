"""Segments that wait: copies in the order of their offsets, the first copy of an octet wins."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.state cimport Aside, Direction, Stored

cdef enum:
    SIZES = 32                 # of pieces, in steps of 64 octets; larger ones are not used again
    SPARE = 4194304            # octets of pieces that wait to be used again

cdef struct Store:             # what all directions share
    int64_t octets             # that are kept
    uint64_t seed              # of the heights in their trees, so that nobody can make one lean
    uint32_t spare             # octets of pieces that are free
    Stored* free[SIZES]        # by size


cdef inline int64_t excused(const Direction* d) noexcept nogil:
    return d.aside.excused if d.aside != NULL else 0


cdef inline uint32_t stored_n(const Direction* d) noexcept nogil:
    return d.aside.stored_n if d.aside != NULL else 0


cdef inline uint32_t stored_octets(const Direction* d) noexcept nogil:
    return d.aside.stored_octets if d.aside != NULL else 0


# What the direction has aside, made when there is none yet; NULL: no memory.
cdef Aside* aside_of(Direction* d) noexcept nogil
# Copy octets into the store, around those that are there already. 1: those differed, -1: no memory.
cdef int store_keep(
    Store* store, Direction* d, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
    int64_t number, int64_t ns, bint border, bint merged,
) noexcept nogil
cdef Stored* store_take(Store* store, Direction* d) noexcept nogil        # the head, which must be there
cdef void store_give(Store* store, Stored* s) noexcept nogil              # it was taken, and is not needed any more
cdef void store_clear(Store* store, Direction* d) noexcept nogil          # and all else that is aside
cdef void store_free(Store* store) noexcept nogil                         # pieces that are free
cdef void store_hold(Direction* d, int64_t ns) noexcept nogil             # its head waits since then
cdef void store_shift(Direction* d, int64_t delta) noexcept nogil        # what is kept, and where the stream ends
# Stream offset 0 is at this sequence number; what was kept under an assumed one moves along.
cdef void store_base(Direction* d, uint32_t base) noexcept nogil
