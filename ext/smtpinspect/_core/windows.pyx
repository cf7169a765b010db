"""Windows of octets; what lies behind, `back` still has, or has again."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove

from smtpinspect._core.sources cimport AGAIN


cdef void release(Window* w) noexcept nogil:
    cdef Window* older
    while w != NULL:
        older = w.older
        free(w.room)
        free(w)
        w = older


cdef Window* window(uint64_t size) noexcept nogil:
    cdef Window* w = <Window*>malloc(sizeof(Window))
    if w == NULL:
        return NULL
    w.older = NULL
    w.room = <uint8_t*>malloc(size)
    if w.room == NULL:
        free(w)
        return NULL
    w.size = size
    return w


cdef class Windowed(Source):
    """A source whose octets come into windows, one after the other."""

    def __dealloc__(self):
        release(self.now)

    cdef uint64_t _left(self) noexcept nogil:
        return <uint64_t>(self.end - self.at)

    cdef int64_t _where(self, const uint8_t* p) noexcept nogil:
        return self.now.base + (p - self.now.start) if self.now != NULL else 0

    cdef bint _turn(self, uint64_t n) noexcept nogil:
        cdef uint64_t left = self._left()
        cdef uint64_t front = (left + FRONT) & ~<uint64_t>(FRONT - 1)
        cdef uint64_t behind = WINDOW if self.now != NULL else WINDOW_FIRST
        cdef int64_t base = self._where(self.at)
        cdef Window* w
        if n > left + behind:
            behind = n - left
        w = self._spare(front + behind)
        if w == NULL:
            return False
        if left:
            memmove(w.room + front - left, self.at, left)
        if w != self.now:
            if not self.keeps:
                self._put_away()
            w.older = self.now
            self.now = w
        w.base = base
        w.start = self.at = w.room + front - left
        w.end = self.end = w.room + front
        self.limit = w.end + behind
        return True

    cdef void _put_away(self) noexcept nogil:
        release(self.now)
        self.now = NULL

    cdef Window* _spare(self, uint64_t size) noexcept nogil:
        """A window of at least this size that holds nothing which is still wanted."""
        cdef Window* w = self.now
        cdef Window* spare = NULL
        cdef int64_t wanted = self._where(self.at) - BACK
        if w != NULL and not self.keeps and w.size >= size:
            return w
        if w != NULL:
            w.end = self.end
        while w != NULL:
            if w.base <= wanted:
                spare, w.older = w.older, NULL
            w = w.older
        if spare != NULL and size <= spare.size <= 2 * size:
            release(spare.older)
            return spare
        release(spare)
        return window(size)

    cdef void _drop(self) noexcept nogil:
        release(self.now)
        self.now = NULL
        self.at = self.end = self.limit = NULL

    cdef const uint8_t* _behind(self, int64_t position, uint32_t n) noexcept nogil:
        """Octets in a window that is held."""
        cdef Window* w = self.now
        cdef const uint8_t* end = self.end
        while w != NULL:
            if position >= w.base:
                return w.start + (position - w.base) if position + n <= w.base + (end - w.start) else NULL
            w = w.older
            if w != NULL:
                end = w.end
        return NULL

    cdef bint _near(self, int64_t position, uint32_t n, int64_t here) noexcept nogil:
        """So near that any source can give it: no answer depends on the kind of source."""
        if here < 0:
            here = self._where(self.at)
        return position >= 0 and position >= here - BACK and position + n <= here and n <= AGAIN

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        return self._behind(position, n) if self._near(position, n, here) else NULL
