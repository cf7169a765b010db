"""Memory of the content scanners: counted, and refused above limits.CONTENT_TOTAL."""

from libc.stdint cimport int64_t

cdef enum:
    PURSES = 16                # lanes of connections (connections.pxd LANES)

# From here on, this thread takes from this purse: 0 for none of them, which may hold all, or 1 to PURSES.
cdef void counted_from(int purse) noexcept nogil
cdef void* counted_take(size_t n) noexcept nogil       # not cleared; NULL: no memory, or too much is held
cdef void counted_give(void* p) noexcept nogil         # NULL is no harm
cdef int64_t counted_held() noexcept nogil             # octets that all scans hold
