"""Memory of the content scanners: counted, and refused above limits.CONTENT_TOTAL."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from smtpinspect.grammar import limits as _limits

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static __int64 counted_add(volatile __int64 *p, __int64 n) { return _InterlockedExchangeAdd64(p, n) + n; }
    #else
    static int64_t counted_add(int64_t *p, int64_t n) { return __atomic_add_fetch(p, n, __ATOMIC_RELAXED); }
    #endif
    """
    int64_t counted_add(int64_t* p, int64_t n) noexcept nogil

cdef enum:
    HEAD = 16                  # before each piece: its size; keeps the alignment of malloc

cdef int64_t CONTENT_TOTAL = _limits.CONTENT_TOTAL
cdef int64_t held = 0


cdef void* counted_take(size_t n) noexcept nogil:
    cdef char* p
    if counted_add(&held, <int64_t>(n + HEAD)) <= CONTENT_TOTAL:
        p = <char*>malloc(n + HEAD)
        if p != NULL:
            (<size_t*>p)[0] = n + HEAD
            return p + HEAD
    counted_add(&held, -<int64_t>(n + HEAD))
    return NULL


cdef void counted_give(void* p) noexcept nogil:
    cdef char* piece = <char*>p
    if p != NULL:
        piece -= HEAD
        counted_add(&held, -<int64_t>(<size_t*>piece)[0])
        free(piece)


cdef int64_t counted_held() noexcept nogil:
    return counted_add(&held, 0)
