"""Frames in batches: decoded, joined from fragments, and each known to its lane.

A batch lets the loop ask the memory for connections before it needs them, and lets several threads share the
lanes. It ends where a source would have to take back what it lent.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from smtpinspect._core.connections cimport LANES, key_of, lane_of, prefetch_span
from smtpinspect._core.fragments cimport Fragments
from smtpinspect._core.frame cimport (
    IS_BAD, IS_FRAGMENT, IS_TCP, IS_UNKNOWN_LINK, Packet, frame_decode, tcp_decode,
)
from smtpinspect._core.sources cimport NEXT_RECORD, Record, Source

cdef enum:
    LARGEST = 65536            # octets of a datagram joined from fragments
    FAR_AHEAD = 4096           # octets of the source; what lies behind its end is a hint in vain


cdef int batch_make(Batch* batch) noexcept nogil:
    batch.joined = NULL
    batch.first, batch.last = 1, 0
    batch.of_lane = <int16_t*>malloc(LANES * AGE_EVERY * sizeof(int16_t))
    batch.seen = <Seen*>malloc(AGE_EVERY * sizeof(Seen))
    return -1 if batch.seen == NULL or batch.of_lane == NULL else 0


cdef void batch_free(Batch* batch) noexcept nogil:
    free(batch.seen)
    free(batch.of_lane)
    free(batch.joined)


cdef class Reader:
    def __init__(self, Source source):
        self.source = source
        self.fragments = Fragments()
        # so that nobody can choose connections that meet in one bucket; nothing that is told depends on it
        self.seed = <uint32_t>hash("connections")
        self.unknown_links = set()

    cdef int fill(self, Batch* batch, int64_t most) noexcept nogil:
        cdef Record record
        cdef Packet* packet
        cdef int kind, got, lane
        cdef bint joined
        cdef int64_t until = (self.packets // AGE_EVERY + 1) * AGE_EVERY
        if until > self.packets + most:
            until = self.packets + most
        batch.n = 0
        batch.first = self.packets + 1
        batch.last = self.packets
        for lane in range(LANES):
            batch.count[lane] = 0
        self.source.lent = False
        while True:
            got = self.source.next(&record)
            if got != NEXT_RECORD:
                return got
            self.source.lent = True
            if self.source.overlaps:
                # another thread may have read it
                prefetch_span(record.p + FAR_AHEAD, record.caplen)
            self.packets += 1
            self.octets += record.wirelen
            batch.last = self.packets
            batch.ns = self.last_ns = record.ns
            joined = False
            packet = &batch.seen[batch.n].packet
            kind = frame_decode(&record, packet)
            if kind == IS_FRAGMENT:
                joined = self.join(batch, packet, record.ns)
                if joined:
                    kind = tcp_decode(packet)
            if kind == IS_TCP:
                self.take(batch, &record, joined)
            elif kind == IS_UNKNOWN_LINK:
                with gil:
                    self.unknown_links.add(record.linktype)
            elif kind == IS_BAD:
                self.bad_frames += 1
            if joined or self.packets == until or not self.source.lends_many:
                return NEXT_RECORD

    cdef bint join(self, Batch* batch, Packet* packet, int64_t ns) noexcept nogil:
        """True: the fragment was the last of a datagram, which the batch holds now."""
        if not self.fragments.push(packet, ns):
            return False
        if batch.joined == NULL:
            batch.joined = <uint8_t*>malloc(LARGEST)
            if batch.joined == NULL:
                return False
        memcpy(batch.joined, packet.body, packet.body_caplen if packet.body_caplen < LARGEST else LARGEST)
        packet.body = batch.joined
        return True

    cdef inline void take(self, Batch* batch, const Record* record, bint joined) noexcept nogil:
        """The segment whose packet is decoded: to its lane."""
        cdef Seen* seen = &batch.seen[batch.n]
        cdef int lane
        seen.from_lo = key_of(&seen.packet, &seen.key, &seen.hash, self.seed)
        seen.ns = record.ns
        seen.here = seen.position = -1
        if record.position >= 0:
            seen.here = record.position + record.caplen
            if not joined:
                seen.position = record.position + (seen.packet.payload - record.p)
        seen.conflict = joined and self.fragments.conflict
        seen.order = <uint32_t>(self.packets - batch.first)
        lane = lane_of(&seen.key)
        seen.lane = <uint8_t>lane
        batch.of_lane[lane * AGE_EVERY + batch.count[lane]] = <int16_t>batch.n
        batch.count[lane] += 1
        batch.n += 1
