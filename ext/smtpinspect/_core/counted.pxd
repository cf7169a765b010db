"""Memory of the content scanners: counted, and refused above limits.CONTENT_TOTAL."""

from libc.stdint cimport int64_t

cdef void* counted_take(size_t n) noexcept nogil       # not cleared; NULL: no memory, or too much is held
cdef void counted_give(void* p) noexcept nogil         # NULL is no harm
cdef int64_t counted_held() noexcept nogil             # octets that all scans hold
