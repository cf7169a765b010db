"""Frames of a network interface, as they come, read where the kernel puts them.

Blocks that were read stay with us for a while, as long as the kernel has enough others, so that `back` can answer as
for a file. They are copied and given back when there is nothing to read: then there is time.
"""

from libc.errno cimport EINTR, ENETDOWN
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from smtpinspect._core.sources cimport AGAIN, NEXT_BAD, NEXT_END, NEXT_RECORD, NEXT_TURN, NEXT_WAIT, Record, Source

import os

from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits as _limits

cdef enum:
    BACK = 16 << 20            # octets behind the reader that `back` answers for (windows)
    HELD = 4                   # so many blocks, of which one is held

cdef int64_t MS = 1000000
cdef int64_t PAUSE_NS = _limits.LIVE_PAUSE_NS
cdef int64_t RETIRE_NS = RING_RETIRE_MS * MS

THERE = bool(RING_THERE)


cdef class Ring(Source):
    """The frames that one interface, or all of them, send and receive from now on.

    `interface` None: all. `mebibytes` is the size of the ring, `instructions` a classic BPF program or nothing.
    `most` records are given, 0: no limit. Raises OSError; its `filename` tells the step: socket, interface,
    version, filter, ring, promiscuous, bind, system.
    """

    def __cinit__(self, *args, **kwargs):
        self.ring.fd = -1

    def __init__(
        self, interface, str name, *, bytes instructions=b"", int mebibytes=64, bint promiscuous=True, int64_t most=0,
    ):
        cdef const char* asked = NULL
        cdef const char* program = NULL
        cdef int got
        if interface is not None:
            octets = <bytes>os.fsencode(interface)
            asked = octets
        if instructions:
            program = instructions
        self.name = name
        self.most = most
        self.base = <int64_t*>calloc(mebibytes, sizeof(int64_t))
        self.used = <uint32_t*>calloc(mebibytes, sizeof(uint32_t))
        self.past = <uint8_t*>malloc(BACK)
        if self.base == NULL or self.used == NULL or self.past == NULL:
            raise MemoryError
        got = ring_open(&self.ring, asked, mebibytes, program, <uint32_t>(len(instructions) // 8), promiscuous)
        if got < 0:
            raise OSError(-got, os.strerror(-got), self.ring.step.decode())
        self.open = True
        self.look()

    def __dealloc__(self):
        if self.open:
            ring_close(&self.ring)
        free(self.base)
        free(self.used)
        free(self.past)

    @property
    def linktype(self):
        return self.ring.link

    @property
    def counts(self):
        """Frames that passed the filter, those of them that were dropped, and how often all blocks were full."""
        if self.open:
            ring_count(&self.ring)
        return self.ring.received, self.ring.dropped, self.ring.freezes

    @property
    def merged(self):
        """Frames so far that are larger than the interface sends: put together by the kernel or the card."""
        return self.ring.merged

    def stop(self):
        """Nothing more comes in; what is there already is given, then the end."""
        if self.over == 0 and self.open:
            ring_shut(&self.ring)
            self.few = self.ring.blocks
            self.over = ring_clock(False) + 4 * RETIRE_NS

    cdef int next(self, Record* out) noexcept nogil:
        cdef ring_frame frame
        cdef int got
        while self.ring.left == 0 or not ring_next(&self.ring, &frame):
            got = self.turn()
            if got != NEXT_RECORD:
                return got
        if self.most and self.records >= self.most:
            self.ring.left = 0
            return NEXT_END
        out.p = frame.p
        out.caplen = frame.caplen
        out.wirelen = frame.wirelen
        out.ns = frame.ns
        out.linktype = self.ring.link
        out.position = self.octets + (frame.p - (self.ring.map + <size_t>self.ring.block * RING_BLOCK))
        self.octets_read += frame.caplen
        self.records += 1
        return NEXT_RECORD

    cdef int turn(self) noexcept nogil:
        """The next block that is ready, as soon as what the present one lent was given back."""
        cdef int64_t now
        if self.lent:
            return NEXT_TURN
        if not self.open or (self.most and self.records >= self.most):
            return NEXT_END
        if self.taken:
            self.put_away()
        while True:
            now = ring_clock(False)
            if now >= self.due:
                self.due = now + PAUSE_NS
                self.quiet_ns = 0 if ring_ready(&self.ring) else ring_clock(True) - 2 * RETIRE_NS
                if self.down:
                    self.look()
                return NEXT_WAIT
            if ring_ready(&self.ring) and (self.over == 0 or self.few > 0):
                self.few -= 1
                self.base[self.ring.block] = self.octets
                self.used[self.ring.block] = ring_take(&self.ring)
                self.taken = True
                return NEXT_RECORD
            if self.over and (self.few <= 0 or now >= self.over):
                return NEXT_END
            if self.gone:
                return NEXT_BAD
            self.wait(now)

    cdef void wait(self, int64_t now) noexcept nogil:
        cdef int64_t until = self.due
        cdef int got
        if self.over and self.over < until:
            until = self.over
        while self.held:                           # else poll() sees the last one, and never waits
            self.release()
        got = ring_wait(&self.ring, until - now)
        if got == -EINTR:
            self.due = 0                           # somebody wants to look at a signal
        elif got < 0:
            self.why = -got
            self.look()

    cdef void look(self) noexcept nogil:
        cdef int state = ring_state(&self.ring)
        self.down = state == RING_NETDOWN
        self.gone = state == RING_GONE
        if self.why and self.why != ENETDOWN:
            self.gone = True

    # -- what was read ---------------------------------------------------------------------------------

    cdef void put_away(self) noexcept nogil:
        """The present block was read."""
        self.taken = False
        self.octets += self.used[self.ring.block]
        self.ring.block = (self.ring.block + 1) % self.ring.blocks
        self.held += 1
        while self.held > self.ring.blocks // HELD:
            self.release()

    cdef void release(self) noexcept nogil:
        """The oldest block that is held goes back to the kernel."""
        cdef uint32_t i = (self.ring.block + self.ring.blocks - self.held) % self.ring.blocks
        cdef const uint8_t* p = self.ring.map + <size_t>i * RING_BLOCK
        cdef int64_t n = self.used[i], at, part
        if self.octets - self.base[i] - n < BACK:
            if self.past_to != self.base[i]:
                self.past_from = self.base[i]
            self.past_to = self.base[i] + n
            if self.past_from < self.past_to - BACK:
                self.past_from = self.past_to - BACK
            at = self.base[i] % BACK
            part = min(n, BACK - at)
            memcpy(self.past + at, p, part)
            memcpy(self.past, p + part, n - part)
        ring_give(&self.ring, i)
        self.held -= 1

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        cdef uint32_t k, i
        cdef int64_t at, part
        if here < 0:
            here = self.octets + RING_BLOCK
        if not self.open or position < 0 or position < here - BACK or position + n > here or n > AGAIN:
            return NULL
        for k in range(self.held + self.taken):
            i = (self.ring.block + self.ring.blocks - self.held + k) % self.ring.blocks
            if self.base[i] <= position and position + n <= self.base[i] + self.used[i]:
                return self.ring.map + <size_t>i * RING_BLOCK + (position - self.base[i])
        if position < self.past_from or position + n > self.past_to:
            return NULL
        at = position % BACK
        part = min(<int64_t>n, BACK - at)
        if part == n:
            return self.past + at
        memcpy(room, self.past + at, part)
        memcpy(room + part, self.past, n - part)
        return room

    # -- the end ---------------------------------------------------------------------------------------

    cpdef object fault(self):
        if not self.gone:
            return None
        why = "the interface has vanished"
        if self.why and self.why != ENETDOWN:
            why = f"could not be read on: {os.strerror(self.why)}"
        return CaptureError(self.name, self.octets_read, self.records + 1, why)

    cpdef void close(self):
        if self.open:
            ring_count(&self.ring)
            ring_close(&self.ring)
        self.open = False
