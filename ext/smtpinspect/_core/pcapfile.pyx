"""Records of a capture, one after the other, from a file, a stream or an iterable.

One parser serves files and streams. It reads a window of octets between `at` and `horizon` and asks `_need`
for more when a record would reach past the horizon: the only bounds check on the way of a record.

A file is read into a window that stays in the processor's cache, which is 2 to 4 times faster than walking a
map of it (a map costs page faults, and a cache miss for every record's header), and safe if the file is cut
off meanwhile. What lies behind the window, `back` reads again; a stream keeps its last windows instead.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EINTR, ESTALE, errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as c_open
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close as c_close, pread

from smtpinspect._core.span cimport be16, be32, le16, le32

import os

from smtpinspect.errors import CaptureError, UsageError

cdef extern from "prefetch.h" nogil:
    void prefetch(const void* p)

cdef extern from *:
    """
    #include <errno.h>
    #define set_errno(n) (errno = (n))
    """
    void set_errno(int n) noexcept nogil

cdef enum:
    MAX_RECORD = 16 << 20                # octets of one record; libpcap's own limit is 256 KiB
    MAX_BLOCK = MAX_RECORD + (1 << 20)   # the same with a pcapng block's options
    MAX_INTERFACES = 65536               # of a pcapng section
    BACK = 16 << 20                      # octets behind the reader that `back` answers for, of any source
    FRONT = 64 << 10                     # before a window: what was left over in the one before
    WINDOW_FIRST = 64 << 10              # at first, so that many parts of a merge cost little to look into
    WINDOW = 512 << 10                   # later; half of a second-level cache
    PARTS = 6                           # that are read ahead in one round, at most
    PART = 64 << 10
    LEAD = 2 * WINDOW                    # octets that are read ahead
    LEAST_READ = 16 << 10                # room at a window's end that is worth a read
    MERGE_SHIFT = 44                     # bits of a merged position that are the part's own

cdef int64_t PLACE = (<int64_t>1 << MERGE_SHIFT) - 1

cdef int64_t MOST_SECONDS = 9000000000   # of a time offset: nearly what 63 bits of nanoseconds hold

cdef enum Mode:
    AT_START
    PCAP           # the next record's header lies below the horizon
    PCAP_SLOW
    PCAPNG         # the next block's least form lies below the horizon
    PCAPNG_SLOW
    AT_END
    AT_FAULT

cdef enum Why:
    NO_FAULT
    NO_CAPTURE
    PCAP_VERSION
    CUT_HEADER
    CUT_RECORD
    CUT_BLOCK
    ABSURD_LENGTH
    BLOCK_LENGTH
    BLOCK_TRAILER
    BYTE_ORDER
    SECTION_VERSION
    NO_SUCH_INTERFACE
    TOO_MANY_INTERFACES
    RECORD_LENGTH
    NO_MEMORY
    SYSTEM_ERROR     # of the operating system; `said` is its number
    READER_FAILED    # an exception of a stream's reader; `failure` holds it

cdef enum:
    BLOCK_SECTION = 0x0A0D0D0A
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 2        # obsolete
    BLOCK_SIMPLE = 3
    BLOCK_ENHANCED = 6
    PCAP_HEAD = 16          # octets before a pcap record
    BLOCK_LEAST = 12        # octets of the shortest block
    OPTION_TSRESOL = 9
    OPTION_TSOFFSET = 14
    NOT_A_RECORD = 3        # beside Next: a block that only told something


cdef struct Interface:
    int linktype
    uint32_t snaplen
    uint64_t factor     # nanoseconds of one tick, or ticks of one nanosecond when `divides`
    bint divides
    uint64_t most       # ticks that an int64 can hold as nanoseconds
    int shift           # resolution of 2**-shift seconds; -1: a power of ten
    int64_t offset      # nanoseconds


cdef inline int64_t stamp(const Interface* of, uint64_t ticks) noexcept nogil:
    """A time stamp in nanoseconds; one that no int64 holds becomes the last moment that it can hold."""
    cdef uint64_t rest
    cdef int shift = of.shift
    cdef int64_t ns = INT64_MAX
    if shift < 0:
        if ticks <= of.most:
            ns = <int64_t>(ticks // of.factor if of.divides else ticks * of.factor)
    elif shift >= 64 or ticks >> shift <= <uint64_t>MOST_SECONDS:
        ns = 0 if shift >= 64 else <int64_t>(ticks >> shift) * 1000000000
        rest = ticks if shift >= 64 else ticks & (((<uint64_t>1) << shift) - 1)
        if shift > 34:   # 34 bits of a fraction times 10**9 are less than 2**64
            rest = rest >> (shift - 34) if shift < 98 else 0
            shift = 34
        ns += <int64_t>(rest * 1000000000 >> shift)
    if of.offset > 0 and ns > INT64_MAX - of.offset:
        return INT64_MAX
    return ns + of.offset   # ns is not negative


cdef class Source:
    """Where records come from. Read it once, from one thread at a time."""

    def __cinit__(self, *args, **kwargs):
        self.name = ""
        self.lends_many = True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    cdef int next(self, Record* out) noexcept nogil:
        return NEXT_END

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        return NULL

    cdef void overlap(self) noexcept nogil:
        pass

    cdef int settle(self) noexcept nogil:
        return 0

    cdef void read_ahead(self, int part) noexcept nogil:
        pass

    cdef void collect(self) noexcept nogil:
        pass

    cpdef object fault(self):
        """Why next() returned NEXT_BAD.

        Raises what is not the capture's doing: Ctrl-C, an error in the caller's own iterable.
        """
        return None

    def faults(self):
        """All of them: each of several files can have one."""
        fault = self.fault()
        return [] if fault is None else [fault]

    cpdef void close(self):
        pass

    cdef bint _rewind(self) noexcept nogil:
        return False

    cdef void _rest(self) noexcept nogil:
        pass


cdef struct Window:
    Window* older
    uint8_t* room
    uint64_t size
    const uint8_t* start    # what is held, from here ..
    const uint8_t* end      # .. to here
    int64_t base            # where `start` lies in the source


cdef void release(Window* w) noexcept nogil:
    """This window and all older ones."""
    cdef Window* older
    while w != NULL:
        older = w.older
        free(w.room)
        free(w)
        w = older


cdef Window* window(uint64_t size) noexcept nogil:
    """A new one; NULL: there is no memory."""
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

    cdef Window* now              # NULL: nothing was read yet
    cdef const uint8_t* at        # the next octet to be read
    cdef const uint8_t* end       # of what is held
    cdef const uint8_t* limit     # of the room for it
    cdef bint keeps               # earlier windows, for back()

    def __dealloc__(self):
        release(self.now)

    cdef inline uint64_t _left(self) noexcept nogil:
        return <uint64_t>(self.end - self.at)

    cdef inline int64_t _where(self, const uint8_t* p) noexcept nogil:
        return self.now.base + (p - self.now.start) if self.now != NULL else 0

    cdef bint _turn(self, uint64_t n) noexcept nogil:
        """The next window, with room for n octets, and at its front what is left of this one.

        False: there is no memory.
        """
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

    cdef inline bint _near(self, int64_t position, uint32_t n, int64_t here) noexcept nogil:
        """So near that any source can give it: no answer depends on the kind of source."""
        if here < 0:
            here = self._where(self.at)
        return position >= 0 and position >= here - BACK and position + n <= here and n <= AGAIN

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        return self._behind(position, n) if self._near(position, n, here) else NULL


cdef class Capture(Windowed):
    """A capture in pcap or pcapng format. Subclasses say where its octets come from."""

    cdef const uint8_t* horizon   # never more than MAX_RECORD + 32 behind `at`
    cdef Mode mode
    cdef bint big                 # big-endian
    cdef int linktype
    cdef int64_t fraction         # nanoseconds of the stamp's second part (pcap)
    cdef bint whole               # there is nothing behind the window
    cdef Interface* interfaces
    cdef uint32_t interface_count
    cdef uint32_t interface_room
    cdef int64_t last_ns          # for blocks without a stamp
    cdef Why why
    cdef int64_t why_at
    cdef uint64_t said
    cdef uint64_t there
    cdef bint headless            # the file header is at fault, no record
    cdef object failure
    cdef object told              # the fault, put into words

    def __dealloc__(self):
        free(self.interfaces)

    # -- the window ------------------------------------------------------------------------------------

    cdef int64_t _fill(self, uint8_t* room, uint64_t n) noexcept nogil:
        """Reads at most n octets. 0: there are no more; -1: `why` tells."""
        return 0

    cdef bint _need(self, uint64_t n) noexcept nogil:
        """Makes n octets from `at` readable, if there are so many, and moves the horizon."""
        cdef int64_t got
        while self._left() < n and not self.whole:
            if self.limit - self.end < <int64_t>LEAST_READ or <uint64_t>(self.limit - self.at) < n:
                if not self._turn(n):
                    self.why, self.whole = NO_MEMORY, True
                    break
                continue                           # it may be full already
            got = self._fill(<uint8_t*>self.end, self.limit - self.end)
            if got > 0:
                self.end += got
            else:
                self.whole = True
        self.horizon = self.end
        if self._left() > MAX_RECORD + 32:
            self.horizon = self.at + MAX_RECORD + 32
        return self._left() >= n

    cdef bint _skip(self, uint64_t n) noexcept nogil:
        """Moves `at` over n octets, if there are so many."""
        cdef uint64_t step
        while n:
            if not self._need(1):
                return False
            step = min(n, self._left())
            self.at += step
            n -= step
        return True

    cdef void _restart(self) noexcept nogil:
        self._drop()
        self.mode, self.whole, self.why = AT_START, False, NO_FAULT
        self.records = self.octets_read = self.last_ns = 0
        self.interface_count = 0

    cdef inline uint32_t _u32(self, const uint8_t* p) noexcept nogil:
        return be32(p) if self.big else le32(p)

    cdef inline uint32_t _u16(self, const uint8_t* p) noexcept nogil:
        return be16(p) if self.big else le16(p)

    # -- reading ---------------------------------------------------------------------------------------

    cdef int next(self, Record* out) noexcept nogil:
        cdef const uint8_t* p = self.at
        cdef uint64_t length
        cdef int got
        if self.mode == PCAP:
            out.caplen = self._u32(p + 8)
            # so far that the header after it can be read, too
            if <uint64_t>out.caplen + 2 * PCAP_HEAD <= <uint64_t>(self.horizon - p):
                self._pcap(p, out)
                return NEXT_RECORD
        while self.mode == PCAPNG:
            p = self.at
            length = self._u32(p + 4)
            if length + BLOCK_LEAST > <uint64_t>(self.horizon - p):
                break
            got = self._block(p, <uint32_t>length, out)
            if got != NOT_A_RECORD:
                return got
        return NEXT_TURN if self.lent or self._later() else self._slow(out)

    cdef inline void _pcap(self, const uint8_t* p, Record* out) noexcept nogil:
        """The record at p, whose `caplen` is known and whose octets are there."""
        self.at = p + PCAP_HEAD + out.caplen
        prefetch(self.at)
        out.wirelen = self._u32(p + 12)
        if out.wirelen < out.caplen:
            out.wirelen = out.caplen
        out.ns = <int64_t>self._u32(p) * 1000000000 + self._u32(p + 4) * self.fraction
        out.p = p + PCAP_HEAD
        out.linktype = self.linktype
        out.position = self.now.base + (out.p - self.now.start)
        self.records += 1

    cdef bint _later(self) noexcept nogil:
        """Is what comes next being read, just now, by somebody else?"""
        return False

    cdef int _slow(self, Record* out) noexcept nogil:
        if self.mode == AT_START:
            self._begin()
        if self.mode == PCAP or self.mode == PCAP_SLOW:
            return self._slow_pcap(out)
        if self.mode == PCAPNG or self.mode == PCAPNG_SLOW:
            return self._slow_pcapng(out)
        return NEXT_END if self.mode == AT_END else NEXT_BAD

    cdef int _begin(self) noexcept nogil:
        """The file header. Leaves a mode other than AT_START."""
        cdef const uint8_t* p
        cdef uint32_t magic
        self._need(24)
        p = self.at
        if self._left() < 4:
            if self.why == NO_FAULT and not self._begins_like_a_magic():
                return self._bad(NO_CAPTURE, 0)
            return self._cut(CUT_HEADER, 24, self._left())
        magic = be32(p)
        if magic == BLOCK_SECTION:
            self.mode = PCAPNG_SLOW
            return 0
        self.big = magic == 0xA1B2C3D4u or magic == 0xA1B23C4Du
        magic = self._u32(p)
        if magic != 0xA1B2C3D4u and magic != 0xA1B23C4Du:
            return self._bad(NO_CAPTURE, 0)
        if self._left() < 24:
            return self._cut(CUT_HEADER, 24, self._left())
        self.fraction = 1 if magic == 0xA1B23C4Du else 1000
        if self._u16(p + 4) != 2 or self._u16(p + 6) < 3:
            return self._bad(PCAP_VERSION, 4, self._u16(p + 4), self._u16(p + 6))
        self.linktype = self._u32(p + 20) & 0xFFFF       # above: whether frames end with a check sequence
        self.at += 24
        self.mode = PCAP_SLOW
        return 0

    cdef bint _begins_like_a_magic(self) noexcept nogil:
        cdef uint32_t[5] magic = [0xA1B2C3D4u, 0xA1B23C4Du, 0xD4C3B2A1u, 0x4D3CB2A1u, BLOCK_SECTION]
        cdef uint32_t given = 0
        cdef int n = <int>self._left()
        cdef int i
        for i in range(n):
            given = given << 8 | self.at[i]
        for i in range(5):
            if n and magic[i] >> (8 * (4 - n)) == given:
                return True
        return False

    cdef int _slow_pcap(self, Record* out) noexcept nogil:
        cdef uint32_t caplen
        if not self._need(PCAP_HEAD):
            return self._cut(CUT_HEADER, PCAP_HEAD, self._left()) if self._left() else self._over()
        caplen = self._u32(self.at + 8)
        if caplen > MAX_RECORD:
            return self._bad(ABSURD_LENGTH, self._where(self.at) + 8, caplen, MAX_RECORD)
        if not self._need(<uint64_t>PCAP_HEAD + caplen):
            return self._cut(CUT_RECORD, caplen, self._left() - PCAP_HEAD)
        out.caplen = caplen
        self._pcap(self.at, out)
        self.mode = PCAP if self.horizon - self.at >= PCAP_HEAD else PCAP_SLOW
        return NEXT_RECORD

    cdef int _slow_pcapng(self, Record* out) noexcept nogil:
        cdef const uint8_t* p
        cdef uint32_t kind, length
        cdef int got
        while True:
            if not self._need(BLOCK_LEAST):
                return self._cut(CUT_HEADER, BLOCK_LEAST, self._left()) if self._left() else self._over()
            p = self.at
            if be32(p) == BLOCK_SECTION and not self._byte_order(p):
                return self._bad(BYTE_ORDER, self._where(p) + 8, be32(p + 8))
            kind, length = self._u32(p), self._u32(p + 4)
            if length < BLOCK_LEAST or length & 3:
                return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
            if kind in (BLOCK_SECTION, BLOCK_INTERFACE, BLOCK_PACKET, BLOCK_SIMPLE, BLOCK_ENHANCED):
                if length > MAX_BLOCK:
                    return self._bad(ABSURD_LENGTH, self._where(p) + 4, length, MAX_BLOCK)
                if not self._need(length):
                    return self._cut_block(kind, length)
                got = self._block(self.at, length, out)
            elif not self._skip(length - 4) or not self._need(4):
                return self._cut(CUT_BLOCK, length, kind)
            elif self._u32(self.at) != length:
                return self._bad(BLOCK_TRAILER, self._where(self.at), length, self._u32(self.at))
            else:
                self.at += 4
                got = NOT_A_RECORD
            if got == NEXT_BAD:
                return got
            self.mode = PCAPNG if self.horizon - self.at >= BLOCK_LEAST else PCAPNG_SLOW
            if got == NEXT_RECORD:
                return got

    cdef bint _byte_order(self, const uint8_t* p) noexcept nogil:
        """That of the section which begins at p. False: there is none."""
        self.big = be32(p + 8) == 0x1A2B3C4Du
        return self.big or le32(p + 8) == 0x1A2B3C4Du

    cdef int _block(self, const uint8_t* p, uint32_t length, Record* out) noexcept nogil:
        """The block at p, whose octets are there."""
        cdef uint32_t kind = self._u32(p)
        cdef uint32_t caplen, wirelen, number
        cdef const Interface* of
        if kind == BLOCK_SECTION and self._u32(p + 8) != 0x1A2B3C4Du:
            self.mode = PCAPNG_SLOW   # its length was read in the wrong byte order
            return NOT_A_RECORD
        if length < BLOCK_LEAST or length & 3:
            return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
        if self._u32(p + length - 4) != length:
            return self._bad(BLOCK_TRAILER, self._where(p) + length - 4, length, self._u32(p + length - 4))
        if kind == BLOCK_ENHANCED or kind == BLOCK_PACKET:
            if length < 32:
                return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
            number = self._u32(p + 8) if kind == BLOCK_ENHANCED else self._u16(p + 8)
            if number >= self.interface_count:
                return self._bad(NO_SUCH_INTERFACE, self._where(p) + 8, number, self.interface_count)
            of = &self.interfaces[number]
            caplen, wirelen = self._u32(p + 20), self._u32(p + 24)
            if caplen > length - 32:
                return self._bad(RECORD_LENGTH, self._where(p) + 20, caplen, length - 32)
            out.ns = stamp(of, <uint64_t>self._u32(p + 12) << 32 | self._u32(p + 16))
            out.p = p + 28
        elif kind == BLOCK_SIMPLE:
            if length < 16:
                return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
            if not self.interface_count:
                return self._bad(NO_SUCH_INTERFACE, self._where(p), 0, 0)
            of = &self.interfaces[0]
            wirelen = self._u32(p + 8)
            caplen = min(length - 16, wirelen)
            if of.snaplen and caplen > of.snaplen:
                caplen = of.snaplen
            out.ns = self.last_ns   # it has none of its own
            out.p = p + 12
        else:
            if kind == BLOCK_SECTION:
                if length < 28:
                    return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
                if self._u16(p + 12) != 1:
                    return self._bad(
                        SECTION_VERSION, self._where(p) + 12, self._u16(p + 12), self._u16(p + 14)
                    )
                self.interface_count = 0   # the section's own length is not needed: blocks tell theirs
            elif kind == BLOCK_INTERFACE:
                if length < 20:
                    return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
                if self._interface(p, length) == NEXT_BAD:
                    return NEXT_BAD
            self.at = p + length
            return NOT_A_RECORD
        if caplen > MAX_RECORD:
            return self._bad(ABSURD_LENGTH, self._where(p), caplen, MAX_RECORD)
        self.at = p + length
        prefetch(self.at)
        out.caplen = caplen
        out.wirelen = wirelen if wirelen > caplen else caplen
        out.linktype = of.linktype
        out.position = self.now.base + (out.p - self.now.start)
        self.last_ns = out.ns
        self.records += 1
        return NEXT_RECORD

    cdef int _interface(self, const uint8_t* p, uint32_t length) noexcept nogil:
        """Interface Description Block: link type, snapshot length and how its stamps count."""
        cdef Interface* made
        cdef const uint8_t* option = p + 16
        cdef int64_t left = length - 20
        cdef uint32_t code, size, room
        cdef uint64_t raw
        cdef int64_t seconds
        cdef int _i
        if self.interface_count == MAX_INTERFACES:
            return self._bad(TOO_MANY_INTERFACES, self._where(p), MAX_INTERFACES)
        if self.interface_count == self.interface_room:
            room = self.interface_room * 2 + 8
            made = <Interface*>realloc(self.interfaces, room * sizeof(Interface))
            if made == NULL:
                return self._bad(NO_MEMORY, self._where(p))
            self.interfaces, self.interface_room = made, room
        made = &self.interfaces[self.interface_count]
        made.linktype = self._u16(p + 8)
        made.snaplen = self._u32(p + 12)
        made.factor, made.divides, made.shift, made.offset = 1000, False, -1, 0
        while left >= 4:   # options
            code, size = self._u16(option), self._u16(option + 2)
            option += 4
            left -= 4
            if code == 0 or size > left:
                break
            if code == OPTION_TSRESOL and size == 1:
                made.shift, made.factor, made.divides = -1, 1, False
                if option[0] & 0x80:
                    made.shift = option[0] & 0x7F
                elif option[0] > 28:
                    made.shift = 127   # so fine that any count of it is less than a nanosecond
                else:
                    made.divides = option[0] > 9
                    for _i in range(option[0] - 9 if made.divides else 9 - option[0]):
                        made.factor *= 10
            elif code == OPTION_TSOFFSET and size == 8:
                if self.big:
                    raw = <uint64_t>be32(option) << 32 | be32(option + 4)
                else:
                    raw = <uint64_t>le32(option + 4) << 32 | le32(option)
                seconds = <int64_t>raw
                if seconds > MOST_SECONDS:
                    seconds = MOST_SECONDS
                elif seconds < -MOST_SECONDS:
                    seconds = -MOST_SECONDS
                made.offset = seconds * 1000000000
            size = (size + 3) & ~3u
            option += size
            left -= size
        # ten ticks or more to a nanosecond: any number of them is less than half of what an int64 holds
        made.most = <uint64_t>-1 if made.divides else <uint64_t>INT64_MAX // made.factor
        self.interface_count += 1
        return NEXT_RECORD

    # -- the end ---------------------------------------------------------------------------------------

    cdef int _over(self) noexcept nogil:
        if self.why != NO_FAULT:
            return self._bad(self.why, self._where(self.at), self.said)
        self.mode = AT_END
        return NEXT_END

    cdef int _bad(self, Why why, int64_t where, uint64_t said=0, uint64_t there=0) noexcept nogil:
        self.mode = AT_FAULT
        self.why, self.why_at, self.said, self.there = why, where, said, there
        self.headless = self._where(self.at) == 0
        return NEXT_BAD

    cdef int _cut(self, Why why, uint64_t said, uint64_t there) noexcept nogil:
        """The capture ends too early; unless it was not its end, but a failure to read on."""
        if self.why != NO_FAULT:
            return self._bad(self.why, self._where(self.end), self.said)
        return self._bad(why, self._where(self.end), said, there)

    cdef int _cut_block(self, uint32_t kind, uint32_t length) noexcept nogil:
        cdef uint32_t head = 12 if kind == BLOCK_SIMPLE else 28
        cdef uint64_t left = self._left()
        cdef uint32_t caplen
        if kind == BLOCK_SECTION or kind == BLOCK_INTERFACE:
            return self._cut(CUT_BLOCK, length, kind)
        if left < head:
            return self._cut(CUT_HEADER, head, left)
        caplen = min(length - 16, self._u32(self.at + 8)) if kind == BLOCK_SIMPLE else self._u32(self.at + 20)
        if left - head < caplen:
            return self._cut(CUT_RECORD, caplen, left - head)
        return self._cut(CUT_BLOCK, length, kind)   # only padding or options are missing

    cpdef object fault(self):
        if self.mode != AT_FAULT or self.told is not None:
            return self.told
        if self._raises():
            raise self.failure
        self.told = CaptureError(
            self.name, self.why_at, 0 if self.headless else self.records + 1, self._why()
        )
        return self.told

    cdef bint _raises(self):
        """The reader's failure is none of the capture's."""
        if self.why != READER_FAILED:
            return False
        return not isinstance(self.failure, Exception) or isinstance(self.failure, UsageError)

    cdef str _why(self):
        record = f"record {self.records + 1:,}"
        where = f"at byte {self.why_at:,}"
        said, there = f"{self.said:,}", f"{self.there:,}"
        if self.why == NO_CAPTURE:
            return f"not a capture: {looks_like(self.at[:min(self.end - self.at, 512)])}"
        if self.why == PCAP_VERSION:
            return f"not read: pcap version {said}.{there} (2.4 is the usual one)"
        if self.why == SECTION_VERSION:
            return f"not read: pcapng version {said}.{there} {where} (1.0 is the usual one)"
        if self.why == CUT_HEADER:
            inside = "file header" if self.headless else f"header of {record}"
            return f"cut off inside the {inside} {where} ({said} bytes expected, {there} are there)"
        if self.why == CUT_RECORD:
            return f"cut off inside {record} {where} (record says {said} bytes, {there} are there)"
        if self.why == CUT_BLOCK and self.headless:
            return f"cut off inside the first section's header {where} (block says {said} bytes)"
        if self.why == CUT_BLOCK:
            inside = f"the block of {record} {where} (type {self.there:#x}, block says {said} bytes)"
            return f"cut off inside {inside}"
        if self.why == READER_FAILED:
            return str(self.failure) if self.headless else f"{self.failure}; {where}, in {record}"
        if self.why == SYSTEM_ERROR:
            return f"could not be read on: {os.strerror(self.said)}; {where}, in {record}"
        if self.why == NO_MEMORY:
            return f"no memory {where}, for {record}"
        return f"damaged {where}, in {record} (" + {
            ABSURD_LENGTH: f"it says {said} bytes, more than the {there} that a record may have",
            BLOCK_LENGTH: f"impossible block length {said}",
            BLOCK_TRAILER: f"the block's length is {said} at its begin and {there} at its end",
            BYTE_ORDER: f"{self.said:#010x} tells no byte order of a section",
            NO_SUCH_INTERFACE: f"interface number {said}, but {there} are described",
            TOO_MANY_INTERFACES: f"more than {said} interfaces",
            RECORD_LENGTH: f"it says {said} bytes, its block has room for {there}",
        }[self.why] + ")"

    cpdef void close(self):
        if self.mode != AT_FAULT:
            self.mode = AT_END
        elif not self._raises():
            self.fault()   # while the octets that it speaks of are there
        self._drop()


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


cdef object END = object()


cdef class Frames(Windowed):
    """An iterable of pairs (timestamp, frame)."""

    cdef object items
    cdef object failure
    cdef int linktype
    cdef int ended          # Next, once it is not NEXT_RECORD

    def __init__(self, items, str name, *, int linktype):
        self.items = iter(items)
        self.name = name
        self.linktype = linktype
        self.keeps = True

    cdef int next(self, Record* out) noexcept nogil:
        if self.ended != NEXT_RECORD:
            return self.ended
        if self.lent and self.limit - self.end < LEAST_READ:
            return NEXT_TURN
        with gil:
            self.ended = self._next(out)
        return self.ended

    cdef int _next(self, Record* out) noexcept:
        try:
            item = next(self.items, END)
            if item is END:
                return NEXT_END
            try:
                when, frame = item
                out.ns = nanoseconds(when)
                octets = <bytes>(frame if type(frame) is bytes else _octets(frame))
            except (TypeError, ValueError, ArithmeticError) as error:
                raise UsageError(
                    f"{self.name}: item {self.records + 1:,} is no pair of seconds and octets: "
                    f"{item!r:.60} ({error})"
                ) from error
            if len(octets) > MAX_RECORD:
                raise UsageError(f"{self.name}: item {self.records + 1:,} has more than {MAX_RECORD:,} bytes")
            if self.limit - self.end < len(octets) or self.now == NULL:
                if not self._turn(len(octets)):
                    raise MemoryError
            memcpy(<void*>self.end, PyBytes_AS_STRING(octets), len(octets))
        except BaseException as failure:
            self.failure = failure
            return NEXT_BAD
        out.p = self.end
        out.caplen = out.wirelen = <uint32_t>len(octets)
        out.linktype = self.linktype
        out.position = self.now.base + (out.p - self.now.start)
        self.end += out.caplen
        self.at = self.end
        self.octets_read += out.caplen
        self.records += 1
        return NEXT_RECORD

    cpdef object fault(self):
        if self.failure is not None and not isinstance(self.failure, CaptureError):
            raise self.failure
        return self.failure

    cpdef void close(self):
        self.items = iter(())
        self._drop()
        if self.ended == NEXT_RECORD:
            self.ended = NEXT_END


def _octets(frame):
    if isinstance(frame, (bytes, bytearray, memoryview)) or hasattr(frame, "__bytes__"):
        return bytes(frame)
    raise TypeError(f"{type(frame).__name__} where octets belong")


def nanoseconds(when) -> int:
    """Seconds since 1970, as nanoseconds.

    An int, a Decimal or a Fraction is taken exactly. A float of our days has steps of a quarter of a
    microsecond, so it is taken to the microsecond (to the nanosecond where its steps are smaller).
    """
    if not isinstance(when, (int, float)):
        from decimal import Decimal
        from numbers import Rational
        if not isinstance(when, (Rational, Decimal)):
            if not hasattr(when, "__float__"):
                raise TypeError(f"{type(when).__name__} where seconds belong")
            when = float(when)   # of another number's kind, as numpy's
    if isinstance(when, float):
        if abs(when) < 1 << 22:
            return round(when * 1e9)
        whole = when.__floor__()
        return whole * 1_000_000_000 + round((when - whole) * 1e6) * 1000
    return round(when * 1_000_000_000)


cdef class Merged(Source):
    """Several sources as one, in the order of their records' time; of the same time, in the order given.

    A part is looked into for the time of its first record, and then rests until that time has come: of a
    thousand files that follow each other, one is open. A part that is cut off does not end the others.
    """

    cdef list parts
    cdef void** each        # the parts, borrowed from `parts`
    cdef Record* heads      # each part's next record
    cdef bint* resting      # of which only the time counts: the part must be read again
    cdef int* heap          # of indices; the first is the next to be given
    cdef int size           # of the heap
    cdef int count
    cdef bint begun
    cdef bint lent          # the first of the heap was given and is to be replaced
    cdef bint faulty
    cdef bint broken        # `failure` ends it all
    cdef int over           # the part that ended last, and still answers back(); -1: none
    cdef list found         # faults of parts
    cdef object failure

    def __init__(self, parts, str name):
        cdef int i
        self.parts = [<Source?>part for part in parts]
        self.name = name
        self.lends_many = False
        self.count = <int>len(self.parts)
        self.found = []
        self.over = -1
        self.each = <void**>malloc((self.count + 1) * sizeof(void*))
        self.heads = <Record*>malloc((self.count + 1) * sizeof(Record))
        self.resting = <bint*>malloc((self.count + 1) * sizeof(bint))
        self.heap = <int*>malloc((self.count + 1) * sizeof(int))
        if self.each == NULL or self.heads == NULL or self.resting == NULL or self.heap == NULL:
            raise MemoryError
        for i in range(self.count):
            self.each[i] = <void*>self.parts[i]
            self.resting[i] = False
        if all(part.octets_total for part in self.parts):
            self.octets_total = sum(part.octets_total for part in self.parts)

    def __dealloc__(self):
        free(self.each)
        free(self.heads)
        free(self.resting)
        free(self.heap)

    cdef int next(self, Record* out) noexcept nogil:
        cdef int i
        if not self.begun:
            self._begin()
        elif self.lent:
            self._replace(self._advance(self.heap[0]))
        self.lent = False
        while self.size and not self.broken:
            i = self.heap[0]
            if self.resting[i]:
                self.resting[i] = False
                self._replace(self._advance(i))
                continue
            out[0] = self.heads[i]
            if 0 <= out.position < <int64_t>1 << MERGE_SHIFT:
                out.position |= <int64_t>i << MERGE_SHIFT
            else:
                out.position = -1
            self.lent = True
            self.records += 1
            return NEXT_RECORD
        return NEXT_BAD if self.faulty else NEXT_END

    cdef void _begin(self) noexcept nogil:
        cdef int i, at
        cdef int64_t octets
        self.begun = True
        for i in range(self.count):
            if self.broken or not self._advance(i):
                continue
            octets = (<Source>self.each[i]).octets_read
            self.resting[i] = (<Source>self.each[i])._rewind()
            self.octets_read += (<Source>self.each[i]).octets_read - octets
            at = self.size
            self.size += 1
            while at and self._earlier(i, self.heap[(at - 1) // 2]):
                self.heap[at] = self.heap[(at - 1) // 2]
                at = (at - 1) // 2
            self.heap[at] = i

    cdef bint _advance(self, int i) noexcept nogil:
        """Reads the part's next record. False: it has no more."""
        cdef int64_t octets = (<Source>self.each[i]).octets_read
        cdef int got = (<Source>self.each[i]).next(&self.heads[i])
        self.octets_read += (<Source>self.each[i]).octets_read - octets
        if got == NEXT_RECORD:
            return True
        if got == NEXT_BAD:
            self.faulty = True
            with gil:
                self._note(i)
        if self.over >= 0:
            (<Source>self.each[self.over])._rest()
        self.over = i
        return False

    cdef void _note(self, int i) noexcept:
        try:
            self.found += self.parts[i].faults()
        except BaseException as failure:
            self.failure = failure
            self.broken = True

    cdef inline bint _earlier(self, int a, int b) noexcept nogil:
        return self.heads[a].ns < self.heads[b].ns or (self.heads[a].ns == self.heads[b].ns and a < b)

    cdef void _replace(self, bint more) noexcept nogil:
        """Puts the heap in order again, whose first has a new record, or none."""
        cdef int i = self.heap[0]
        cdef int at = 0
        cdef int child
        if not more:
            self.size -= 1
            i = self.heap[self.size]
        while True:
            child = 2 * at + 1
            if child + 1 < self.size and self._earlier(self.heap[child + 1], self.heap[child]):
                child += 1
            if child >= self.size or self._earlier(i, self.heap[child]):
                break
            self.heap[at] = self.heap[child]
            at = child
        self.heap[at] = i

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        cdef int64_t i = position >> MERGE_SHIFT
        if position < 0 or i >= self.count:
            return NULL
        # of another part than the one that asks: as far as that one was read
        here = here & PLACE if here >> MERGE_SHIFT == i else -1
        return (<Source>self.each[i]).back(position & PLACE, n, here, room)

    cpdef object fault(self):
        if self.failure is not None:
            raise self.failure
        return self.found[0] if self.found else None

    def faults(self):
        if self.failure is not None:
            raise self.failure
        return list(self.found)

    cpdef void close(self):
        for part in self.parts:
            part.close()


cdef dict FOREIGN = {
    b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR",
}
cdef dict OTHER_CAPTURES = {
    b"snoop\0\0\0": "snoop", b"GMBU": "Network Monitor", b"RTSS": "Network Monitor", b"XCP\0": "Sniffer",
    b"TRSNIFF": "Sniffer", b"\x05VNF": "WildPackets", b"\x7fVNF": "WildPackets", b"iptrace ": "iptrace",
    b"\xa1\xb2\xcd\x34": "modified pcap", b"\x34\xcd\xb2\xa1": "modified pcap",
    b"\xa1\xb2\x34\xcd": "modified pcap", b"\xcd\x34\xb2\xa1": "modified pcap",
    b"\x1c\x00\x01\xac": "IXIA pcap", b"\xac\x01\x00\x1c": "IXIA pcap",
}


def looks_like(bytes head):
    """What the first octets of something that is no capture look like."""
    if not head:
        return "it is empty"
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            return f"it is packed with {kind}; unpack it first"
    for magic, kind in OTHER_CAPTURES.items():
        if head.startswith(magic):
            how = "convert it with: editcap -F pcap IN OUT"
            return f"it is a {kind} capture (its magic is {magic.hex(' ')}); {how}"
    if not head.strip(b"\0"):
        return "it begins with zeros"
    text = head[:48].decode("utf-8", "ignore")
    if all(char.isprintable() or char.isspace() for char in text) and len(text) > 2 * len(head[:48]) // 3:
        return f"it begins with text, {' '.join(text.split())[:40]!r}"
    return f"it begins with {head[:8].hex(' ')}, which neither pcap nor pcapng does"


def records(Source source not None):
    """(nanoseconds, link type, octets, octets on the wire) of each record; raises the fault at the end."""
    cdef Record record
    while advanced(source, &record):
        yield record.ns, record.linktype, record.p[:record.caplen], record.wirelen


def places(Source source not None):
    """(position, octets) of each record, for tests."""
    cdef Record record
    while advanced(source, &record):
        yield record.position, record.p[:record.caplen]


cdef bint advanced(Source source, Record* record) except -1:
    cdef int got
    with nogil:
        got = source.next(record)
    if got == NEXT_BAD:
        raise source.fault()
    return got == NEXT_RECORD


def held(Source source not None, int64_t position, uint32_t n):
    """Octets that Source.back still holds, or None; for tests."""
    cdef uint8_t room[AGAIN]
    cdef bytes out = b""
    cdef const uint8_t* p
    cdef uint32_t part
    while n:
        part = min(n, <uint32_t>AGAIN)
        p = source.back(position, part, -1, room)
        if p == NULL:
            return None
        out += p[:part]
        position += part
        n -= part
    return out
