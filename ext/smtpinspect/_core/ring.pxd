"""Frames of a network interface, as they come."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.sources cimport Record, Source

cdef extern from "ring.h" nogil:
    enum:
        RING_BLOCK
        RING_RETIRE_MS
        RING_NETDOWN
        RING_GONE
        RING_THERE
    ctypedef struct ring_frame:
        const uint8_t* p
        uint32_t caplen
        uint32_t wirelen
        int64_t ns
    ctypedef struct ring:
        int fd
        int link
        uint8_t* map
        uint32_t blocks
        uint32_t block
        uint32_t left
        uint64_t received
        uint64_t dropped
        uint64_t freezes
        uint64_t merged
        const char* step
    int64_t ring_clock(int realtime)
    int ring_open(ring* r, const char* name, uint32_t blocks, const void* filter, uint32_t n, int promiscuous)
    void ring_close(ring* r)
    void ring_shut(ring* r)
    int ring_ready(const ring* r)
    uint32_t ring_take(ring* r)
    void ring_give(ring* r, uint32_t block)
    int ring_next(ring* r, ring_frame* out)
    int ring_state(ring* r)
    int ring_wait(ring* r, int64_t ns)
    void ring_count(ring* r)

cdef class Ring(Source):
    cdef ring ring
    cdef bint open
    cdef int64_t* base          # where each block begins, had all of them been put one after the other
    cdef uint32_t* used         # and how many of its octets count
    cdef uint32_t held          # blocks before the present one that were read and not given back
    cdef int64_t octets         # of all blocks before the present one
    cdef bint taken             # there is a present one
    cdef uint8_t* past          # octets of blocks that were given back: position modulo BACK
    cdef int64_t past_from
    cdef int64_t past_to
    cdef int64_t most           # records to be given; 0: no limit
    cdef int64_t due            # when to come back to the caller, at the latest
    cdef int64_t over           # when to end, at the latest; 0: nobody wants that
    cdef int64_t few            # blocks until then, at most
    cdef int why                # errno
    cdef readonly bint down     # the interface is
    cdef readonly bint gone
    cdef int turn(self) noexcept nogil
    cdef void wait(self, int64_t now) noexcept nogil
    cdef void look(self) noexcept nogil
    cdef void put_away(self) noexcept nogil
    cdef void release(self) noexcept nogil
