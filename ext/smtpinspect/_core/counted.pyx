"""Memory of the content scanners: counted, and refused above limits.CONTENT_TOTAL.

Each lane of connections has a purse of its own, so that what is refused depends on no other thread.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc

from smtpinspect.grammar import limits as _limits

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static __int64 counted_add(volatile __int64 *p, __int64 n) { return _InterlockedExchangeAdd64(p, n) + n; }
    static __declspec(thread) int counted_purse;
    #else
    static _Thread_local int counted_purse;
    static int64_t counted_add(int64_t *p, int64_t n) { return __atomic_add_fetch(p, n, __ATOMIC_RELAXED); }
    #endif
    """
    int64_t counted_add(int64_t* p, int64_t n) noexcept nogil
    int counted_purse

cdef enum:
    HEAD = 16                  # before each piece: its size and its purse; keeps the alignment of malloc

cdef int64_t CONTENT_TOTAL = _limits.CONTENT_TOTAL
cdef int64_t whole = 0         # of all purses
cdef int64_t held[PURSES + 1]
cdef int _i
for _i in range(PURSES + 1):
    held[_i] = 0


cdef void counted_from(int purse) noexcept nogil:
    global counted_purse
    counted_purse = purse


cdef void* counted_take(size_t n) noexcept nogil:
    cdef int64_t size = <int64_t>(n + HEAD)
    cdef int purse = counted_purse
    cdef int64_t most = CONTENT_TOTAL // PURSES if purse else CONTENT_TOTAL
    cdef char* p = NULL
    # the lanes of one run cannot come to the whole, so among them the second question changes nothing
    if counted_add(&held[purse], size) <= most:
        if counted_add(&whole, size) <= CONTENT_TOTAL:
            p = <char*>malloc(size)
        if p == NULL:
            counted_add(&whole, -size)
    if p == NULL:
        counted_add(&held[purse], -size)
        return NULL
    (<int64_t*>p)[0] = size
    (<uint32_t*>p)[2] = <uint32_t>purse
    return p + HEAD


cdef void counted_give(void* p) noexcept nogil:
    cdef char* piece = <char*>p
    cdef int64_t size
    if p != NULL:
        piece -= HEAD
        size = (<int64_t*>piece)[0]
        counted_add(&whole, -size)
        counted_add(&held[(<uint32_t*>piece)[2]], -size)
        free(piece)


cdef int64_t counted_held() noexcept nogil:
    return counted_add(&whole, 0)
