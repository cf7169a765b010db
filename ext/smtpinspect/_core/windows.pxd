"""Octets of a source in windows, one after the other.

A window stays in the processor's cache, which is 2 to 4 times faster than walking a map of a file (a map costs page
faults, and a cache miss for every record's header), and safe if the file is cut off meanwhile.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.sources cimport Source

cdef enum:
    MAX_RECORD = 16 << 20                # octets of one record; libpcap's own limit is 256 KiB
    BACK = 16 << 20                      # octets behind the reader that `back` answers for, of any source
    FRONT = 64 << 10                     # before a window: what was left over in the one before
    WINDOW_FIRST = 64 << 10              # at first, so that many parts of a merge cost little to look into
    WINDOW = 512 << 10                   # later; half of a second-level cache
    LEAST_READ = 16 << 10                # room at a window's end that is worth a read


cdef struct Window:
    Window* older
    uint8_t* room
    uint64_t size
    const uint8_t* start    # what is held, from here ..
    const uint8_t* end      # .. to here
    int64_t base            # where `start` lies in the source


cdef void release(Window* w) noexcept nogil         # this window and all older ones
cdef Window* window(uint64_t size) noexcept nogil   # a new one; NULL: there is no memory

cdef class Windowed(Source):
    cdef Window* now              # NULL: nothing was read yet
    cdef const uint8_t* at        # the next octet to be read
    cdef const uint8_t* end       # of what is held
    cdef const uint8_t* limit     # of the room for it
    cdef bint keeps               # earlier windows, for back()
    cdef uint64_t _left(self) noexcept nogil                                  # octets from `at` on that are held
    cdef int64_t _where(self, const uint8_t* p) noexcept nogil                # where p lies in the source
    # The next window, with room for n octets, and at its front what is left of this one. False: no memory.
    cdef bint _turn(self, uint64_t n) noexcept nogil
    cdef void _put_away(self) noexcept nogil
    cdef Window* _spare(self, uint64_t size) noexcept nogil
    cdef void _drop(self) noexcept nogil
    cdef const uint8_t* _behind(self, int64_t position, uint32_t n) noexcept nogil
    cdef bint _near(self, int64_t position, uint32_t n, int64_t here) noexcept nogil
