"""The formats pcap and pcapng: one parser for files and streams.

It reads a window of octets between `at` and `horizon` and asks `_need` for more when a record would reach past the
horizon: the only bounds check on the way of a record.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from smtpinspect._core.sources cimport NEXT_BAD, NEXT_END, NEXT_RECORD, NEXT_TURN, Record
from smtpinspect._core.span cimport be16, be32, le16, le32
from smtpinspect._core.windows cimport LEAST_READ, MAX_RECORD

import os

from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar.magics import looks_like

cdef extern from "prefetch.h" nogil:
    void prefetch(const void* p)

cdef enum:
    MAX_BLOCK = MAX_RECORD + (1 << 20)   # the same with a pcapng block's options
    MAX_INTERFACES = 65536               # of a pcapng section

cdef int64_t MOST_SECONDS = 9000000000   # of a time offset: nearly what 63 bits of nanoseconds hold

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


cdef inline uint32_t u32(bint big, const uint8_t* p) noexcept nogil:
    return be32(p) if big else le32(p)


cdef inline uint32_t u16(bint big, const uint8_t* p) noexcept nogil:
    return be16(p) if big else le16(p)


cdef inline void take(Capture self, const uint8_t* p, Record* out) noexcept nogil:
    """The record at p, whose `caplen` is known and whose octets are there."""
    self.at = p + PCAP_HEAD + out.caplen
    prefetch(self.at)
    out.wirelen = u32(self.big, p + 12)
    if out.wirelen < out.caplen:
        out.wirelen = out.caplen
    out.ns = <int64_t>u32(self.big, p) * 1000000000 + u32(self.big, p + 4) * self.fraction
    out.p = p + PCAP_HEAD
    out.linktype = self.linktype
    out.position = self.now.base + (out.p - self.now.start)
    self.records += 1


cdef class Capture(Windowed):
    """A capture in pcap or pcapng format. Subclasses say where its octets come from."""

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

    # -- reading ---------------------------------------------------------------------------------------

    cdef int next(self, Record* out) noexcept nogil:
        cdef const uint8_t* p = self.at
        cdef uint64_t length
        cdef int got
        if self.mode == PCAP:
            out.caplen = u32(self.big, p + 8)
            # so far that the header after it can be read, too
            if <uint64_t>out.caplen + 2 * PCAP_HEAD <= <uint64_t>(self.horizon - p):
                take(self, p, out)
                return NEXT_RECORD
        while self.mode == PCAPNG:
            p = self.at
            length = u32(self.big, p + 4)
            if length + BLOCK_LEAST > <uint64_t>(self.horizon - p):
                break
            got = self._block(p, <uint32_t>length, out)
            if got != NOT_A_RECORD:
                return got
        return NEXT_TURN if self.lent or self._later() else self._slow(out)

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
        magic = u32(self.big, p)
        if magic != 0xA1B2C3D4u and magic != 0xA1B23C4Du:
            return self._bad(NO_CAPTURE, 0)
        if self._left() < 24:
            return self._cut(CUT_HEADER, 24, self._left())
        self.fraction = 1 if magic == 0xA1B23C4Du else 1000
        if u16(self.big, p + 4) != 2 or u16(self.big, p + 6) < 3:
            return self._bad(PCAP_VERSION, 4, u16(self.big, p + 4), u16(self.big, p + 6))
        self.linktype = u32(self.big, p + 20) & 0xFFFF       # above: whether frames end with a check sequence
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
        caplen = u32(self.big, self.at + 8)
        if caplen > MAX_RECORD:
            return self._bad(ABSURD_LENGTH, self._where(self.at) + 8, caplen, MAX_RECORD)
        if not self._need(<uint64_t>PCAP_HEAD + caplen):
            return self._cut(CUT_RECORD, caplen, self._left() - PCAP_HEAD)
        out.caplen = caplen
        take(self, self.at, out)
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
            kind, length = u32(self.big, p), u32(self.big, p + 4)
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
            elif u32(self.big, self.at) != length:
                return self._bad(BLOCK_TRAILER, self._where(self.at), length, u32(self.big, self.at))
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
        cdef uint32_t kind = u32(self.big, p)
        cdef uint32_t caplen, wirelen, number
        cdef const Interface* of
        if kind == BLOCK_SECTION and u32(self.big, p + 8) != 0x1A2B3C4Du:
            self.mode = PCAPNG_SLOW   # its length was read in the wrong byte order
            return NOT_A_RECORD
        if length < BLOCK_LEAST or length & 3:
            return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
        if u32(self.big, p + length - 4) != length:
            return self._bad(BLOCK_TRAILER, self._where(p) + length - 4, length, u32(self.big, p + length - 4))
        if kind == BLOCK_ENHANCED or kind == BLOCK_PACKET:
            if length < 32:
                return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
            number = u32(self.big, p + 8) if kind == BLOCK_ENHANCED else u16(self.big, p + 8)
            if number >= self.interface_count:
                return self._bad(NO_SUCH_INTERFACE, self._where(p) + 8, number, self.interface_count)
            of = &self.interfaces[number]
            caplen, wirelen = u32(self.big, p + 20), u32(self.big, p + 24)
            if caplen > length - 32:
                return self._bad(RECORD_LENGTH, self._where(p) + 20, caplen, length - 32)
            out.ns = stamp(of, <uint64_t>u32(self.big, p + 12) << 32 | u32(self.big, p + 16))
            out.p = p + 28
        elif kind == BLOCK_SIMPLE:
            if length < 16:
                return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
            if not self.interface_count:
                return self._bad(NO_SUCH_INTERFACE, self._where(p), 0, 0)
            of = &self.interfaces[0]
            wirelen = u32(self.big, p + 8)
            caplen = min(length - 16, wirelen)
            if of.snaplen and caplen > of.snaplen:
                caplen = of.snaplen
            out.ns = self.last_ns   # it has none of its own
            out.p = p + 12
        else:
            if kind == BLOCK_SECTION:
                if length < 28:
                    return self._bad(BLOCK_LENGTH, self._where(p) + 4, length)
                if u16(self.big, p + 12) != 1:
                    return self._bad(
                        SECTION_VERSION, self._where(p) + 12, u16(self.big, p + 12), u16(self.big, p + 14)
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
        made.linktype = u16(self.big, p + 8)
        made.snaplen = u32(self.big, p + 12)
        made.factor, made.divides, made.shift, made.offset = 1000, False, -1, 0
        while left >= 4:   # options
            code, size = u16(self.big, option), u16(self.big, option + 2)
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
        caplen = min(length - 16, u32(self.big, self.at + 8)) if kind == BLOCK_SIMPLE else u32(self.big, self.at + 20)
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
