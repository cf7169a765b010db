"""Captures from regular files, read ahead by other threads, and from whatever else has read(n)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EINTR, ESTALE, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as c_open
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close as c_close, pread

from smtpinspect._core.pcapfile cimport READER_FAILED, SYSTEM_ERROR, Capture
from smtpinspect._core.windows cimport FRONT, WINDOW, Window, release, window

import os

cdef extern from *:
    """
    #include <errno.h>
    #define set_errno(n) (errno = (n))
    """
    void set_errno(int n) noexcept nogil

cdef enum:
    PARTS = 6                            # that are read ahead in one round, at most
    PART = 64 << 10
    LEAD = 2 * WINDOW                    # octets that are read ahead


cdef class File(Capture):
    """A regular file. Put to rest, it is opened again by its name."""

    cdef bytes path
    cdef const char* c_path
    cdef int fd
    cdef struct_stat stat
    cdef int64_t offset         # of the next read
    cdef Window* past           # what others may still read
    cdef Window* ahead          # what is read ahead, each with the one behind it for `older`; the last is `newest`
    cdef Window* newest
    cdef Window* spare
    cdef bint ended             # there is no more to read ahead
    cdef int parts              # that are read in this round, and those of them that lie in earlier windows
    cdef int parts_before
    cdef Window* part_of[PARTS]
    cdef const uint8_t* part_at[PARTS]
    cdef int64_t part_got[PARTS]

    def __cinit__(self, *args, **kwargs):
        self.fd = -1

    def __init__(self, int fd, str path, str name):
        """Takes the open file `fd` over."""
        self.name = name
        self.path = os.fsencode(os.path.abspath(path))
        self.c_path = self.path
        if fstat(fd, &self.stat) != 0:
            raise OSError(errno, os.strerror(errno), name)
        self.octets_total = self.stat.st_size
        self.fd = fd

    def __dealloc__(self):
        self._forget_ahead()
        if self.fd >= 0:
            c_close(self.fd)

    cdef bint _reopen(self) noexcept nogil:
        cdef struct_stat now
        if self.fd >= 0:
            return True
        self.fd = c_open(self.c_path, O_RDONLY | O_CLOEXEC)
        if self.fd >= 0 and fstat(self.fd, &now) == 0:
            if now.st_ino == self.stat.st_ino and now.st_dev == self.stat.st_dev:
                return True
            set_errno(ESTALE)   # another file has taken the name
        return False

    cdef int64_t _fill(self, uint8_t* room, uint64_t n) noexcept nogil:
        cdef int64_t got = -1
        if self._reopen():
            got = pread(self.fd, room, n, self.offset)
            while got < 0 and errno == EINTR:
                got = pread(self.fd, room, n, self.offset)
        if got < 0:
            self.why, self.said = SYSTEM_ERROR, errno
            return got
        self.offset += got
        self.octets_read = self.offset
        return got

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        cdef const uint8_t* p
        if not self._near(position, n, here):
            return NULL
        if not self.overlaps:                      # else the window is not still
            p = self._behind(position, n)
            if p != NULL:
                return p
        return room if self.fd >= 0 and pread(self.fd, room, n, position) == n else NULL

    # -- read ahead ------------------------------------------------------------------------------------

    cdef void overlap(self) noexcept nogil:
        self.overlaps = True

    cdef int settle(self) noexcept nogil:
        cdef Window* w
        cdef int64_t lead
        while self.past != NULL:
            w, self.past = self.past, self.past.older
            w.older = NULL
            if w.size == FRONT + WINDOW:
                w.older, self.spare = self.spare, w
            else:
                release(w)
        if self.ahead != NULL and self.ahead.base != self.offset:
            release(self.ahead)                    # it was read in its turn: a record larger than a window
            self.ahead = self.newest = NULL
        if self.ended or self.whole or self.now == NULL or not self._reopen():
            return 0
        lead = (self.newest.base + (self.newest.end - self.newest.start) if self.newest != NULL else self.offset)
        lead -= self.offset
        while self.parts < PARTS and lead < LEAD:
            w = self.newest
            if w == NULL or w.end + (self.parts - self.parts_before) * PART == w.room + w.size:
                w = self._fresh()
                if w == NULL:
                    break
                self.parts_before = self.parts
            self.part_of[self.parts] = w
            self.part_at[self.parts] = w.end + (self.parts - self.parts_before) * PART
            self.parts += 1
            lead += PART
        return self.parts

    cdef Window* _fresh(self) noexcept nogil:
        """A window at the end of those that are read ahead."""
        cdef Window* w = self.spare
        if w != NULL:
            self.spare = w.older
        else:
            w = window(FRONT + WINDOW)
            if w == NULL:
                return NULL
        w.older = NULL
        w.start = w.end = w.room + FRONT
        w.base = self.offset
        if self.newest != NULL:
            w.base = self.newest.base + WINDOW
            self.newest.older = w                  # in this list: the one behind
        else:
            self.ahead = w
        self.newest = w
        return w

    cdef void read_ahead(self, int part) noexcept nogil:
        cdef Window* w = self.part_of[part]
        self.part_got[part] = pread(
            self.fd, <uint8_t*>self.part_at[part], PART, w.base + (self.part_at[part] - w.start))

    cdef void collect(self) noexcept nogil:
        """What was read counts up to the first part that is short: an end or an error comes again in its turn."""
        cdef int i
        for i in range(self.parts):
            if self.part_got[i] > 0 and not self.ended:
                self.part_of[i].end += self.part_got[i]
            if self.part_got[i] < PART:
                self.ended = True
        self.parts = self.parts_before = 0

    cdef bint _whole_ahead(self) noexcept nogil:
        """Is the next window read?"""
        cdef Window* w = self.ahead
        return w != NULL and w.base == self.offset and w.end > w.start and (self.ended or w.end == w.room + w.size)

    cdef bint _later(self) noexcept nogil:
        return self.parts > 0 and self.ahead != NULL and self.ahead.base == self.offset and not self._whole_ahead()

    cdef void _put_away(self) noexcept nogil:
        """What others may still read, until the next settle()."""
        if not self.overlaps:
            release(self.now)
        elif self.now != NULL:
            self.now.older = self.past
            self.past = self.now
        self.now = NULL

    cdef Window* _spare(self, uint64_t size) noexcept nogil:
        return window(size) if self.overlaps else Capture._spare(self, size)

    cdef bint _turn(self, uint64_t n) noexcept nogil:
        """What was read ahead becomes the window, what is left of this one goes before it."""
        cdef uint64_t left = self._left()
        cdef int64_t base
        cdef Window* w = self.ahead
        if left > FRONT or not self._whole_ahead():
            return Capture._turn(self, n)
        base = self._where(self.at)
        memcpy(w.room + FRONT - left, self.at, left)
        self.ahead = w.older
        if self.ahead == NULL:
            self.newest = NULL
        self._put_away()
        self.octets_read = self.offset = self.offset + (w.end - w.start)
        w.older = NULL
        w.base = base
        w.start = self.at = w.room + FRONT - left
        self.end = w.end
        self.limit = w.room + w.size
        self.now = w
        return True

    cdef bint _rewind(self) noexcept nogil:
        self._rest()
        self._restart()
        self.offset = 0
        return True

    cdef void _forget_ahead(self) noexcept nogil:
        release(self.past)
        release(self.ahead)
        release(self.spare)
        self.past = self.ahead = self.newest = self.spare = NULL
        self.ended = False
        self.parts = self.parts_before = 0

    cdef void _rest(self) noexcept nogil:
        self._drop()
        self._forget_ahead()
        if self.fd >= 0:
            c_close(self.fd)
        self.fd = -1

    cpdef void close(self):
        Capture.close(self)
        self._rest()


cdef class Stream(Capture):
    """What a reader gives: an object with read(n), which returns at most n octets and none at the end."""

    cdef object reader
    cdef object again

    def __init__(self, reader, str name, *, again=None):
        """`again` opens the reader anew, when what it reads can be read a second time."""
        self.reader = reader
        self.again = again
        self.name = name
        self.keeps = True
        self.octets_total = reader.octets_total

    cdef int64_t _fill(self, uint8_t* room, uint64_t n) noexcept nogil:
        with gil:
            return self._read(room, n)

    cdef int64_t _read(self, uint8_t* room, uint64_t n) noexcept:
        cdef int64_t got
        try:
            if self.reader is None:
                self.reader = self.again()
            octets = <bytes?>self.reader.read(n)
            self.octets_read = self.reader.octets_read
            got = PyBytes_GET_SIZE(octets)
            if <uint64_t>got > n:
                raise ValueError("the reader gave more than it was asked for")
            memcpy(room, PyBytes_AS_STRING(octets), got)
            return got
        except BaseException as failure:
            self.failure = failure
            self.why = READER_FAILED
            return -1

    cdef bint _rewind(self) noexcept nogil:
        if self.again is None:
            return False
        with gil:
            self._close_reader()
        self._restart()
        return True

    cdef void _rest(self) noexcept nogil:
        self._drop()
        with gil:
            self._close_reader()

    cdef void _close_reader(self):
        try:
            if self.reader is not None:
                self.reader.close()
        except OSError:
            pass   # nothing is lost: it was only read
        self.reader = None

    cpdef void close(self):
        Capture.close(self)
        self._close_reader()
