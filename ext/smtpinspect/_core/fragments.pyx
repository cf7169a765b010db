"""IP fragments put together again (RFC 791 3.2, RFC 8200 4.5), in bounded memory.

IPv4: the first copy of an octet wins, a different second copy is counted. IPv6: an overlap ends the datagram,
and what comes of it later is ignored (RFC 5722 3); a second copy of the same octets is none (RFC 8200 4.5).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from smtpinspect._core.frame cimport (
    IS_FRAGMENT, IS_TCP, Packet, extensions_decode, fields_of, frame_decode, tcp_decode
)
from smtpinspect._core.sources cimport Record

import os

from smtpinspect.errors import UsageError

# The caps are those of Suricata's defragmentation (defrag.trackers, defrag.memcap in suricata.yaml); the time
# is Linux's (net.ipv4.ipfrag_time), between RFC 791's 15 s and RFC 8200's 60 s.
LIMITS = {"trackers": 65_535, "octets": 32 << 20, "seconds": 30}

cdef enum:
    BUCKETS = 1 << 14
    UNIT = 8                  # fragments begin at a multiple of it, and end so but for the last
    FIRST_ROOM = 512
    MOST_IP4 = 65535 - 20     # that a datagram can carry
    MOST_IP6 = 65535


cdef struct Key:
    uint64_t[5] words         # source, destination, identification, in IPv4 the protocol (RFC 791)

cdef struct Tracker:
    Key key
    Tracker* older            # by their first fragments
    Tracker* newer
    Tracker* next             # in the same bucket
    uint32_t bucket
    int64_t since
    uint8_t* octets           # `room` of them; then a bit for each unit seen, then one for each captured
    uint32_t room
    uint32_t total            # octets, when `ends`
    uint32_t furthest
    uint32_t units            # seen
    uint8_t proto             # of the first fragment
    bint ends                 # the last fragment was seen
    bint dead                 # given up, and kept to ignore the rest of it
    bint conflict             # two copies of an octet differ


cdef inline uint32_t octets_for(uint32_t room) noexcept nogil:
    return room + 2 * (room // UNIT // 8)


cdef class Fragments:
    """Datagrams that wait for their fragments. Time is the capture's."""

    def __cinit__(self, *, trackers=None, octets=None, seconds=None):
        self.max_trackers = LIMITS["trackers"] if trackers is None else trackers
        self.max_octets = LIMITS["octets"] if octets is None else octets
        self.patience = int((LIMITS["seconds"] if seconds is None else seconds) * 1_000_000_000)
        if not self.max_trackers:
            raise UsageError("at least one fragmented datagram must be allowed")
        self.seed = int.from_bytes(os.urandom(8), "little")   # so that nobody can aim at one bucket

    def __dealloc__(self):
        while self.oldest != NULL:
            self._drop_oldest()
        self._free(self.lent)
        free(self.buckets)

    cdef int push(self, Packet* packet, int64_t ns) noexcept nogil:
        cdef uint32_t length = packet.body_len
        cdef uint32_t captured, end, at, size, unit, known = 0, conflicts = 0
        cdef uint8_t bit
        cdef uint8_t* seen
        cdef uint8_t* held
        cdef Tracker* of
        self._free(self.lent)
        self.lent = NULL
        while self.oldest != NULL and ns > self.oldest.since and (
            <uint64_t>ns - <uint64_t>self.oldest.since > self.patience
        ):
            self._drop_oldest()
        if packet.frag_more and length % UNIT:
            if packet.family == 6:
                return 0             # RFC 8200 4.5: such a fragment is discarded
            length -= length % UNIT  # as Linux does
        if length == 0 and packet.frag_more:
            return 0
        of = self._find(packet, ns)
        if of == NULL or of.dead:
            return 0
        end = packet.frag_offset + length
        if length > 65535 or end > <uint32_t>(MOST_IP4 if packet.family == 4 else MOST_IP6):
            return self._give_up(of)
        if of.ends and (end > of.total or (not packet.frag_more and end != of.total)):
            return self._give_up(of)
        if not packet.frag_more:
            if of.furthest > end:
                return self._give_up(of)
            of.ends = True
            of.total = end
        if end > of.furthest:
            of.furthest = end
        if not self._room(of, end):
            return self._give_up(of)
        if packet.frag_offset == 0:
            of.proto = packet.proto
        seen = of.octets + of.room
        held = seen + of.room // UNIT // 8
        captured = packet.body_caplen if packet.body_caplen < length else length
        at = 0
        while at < length:
            size = length - at if length - at < UNIT else <uint32_t>UNIT
            unit = (packet.frag_offset + at) // UNIT
            bit = <uint8_t>(1 << (unit & 7))
            if seen[unit >> 3] & bit:
                known += 1
            else:
                of.units += 1
                seen[unit >> 3] |= bit
            if at + size <= captured:
                if not held[unit >> 3] & bit:
                    held[unit >> 3] |= bit
                    memcpy(of.octets + unit * UNIT, packet.body + at, size)
                elif memcmp(of.octets + unit * UNIT, packet.body + at, size) != 0:
                    conflicts += 1
            at += UNIT
        if conflicts or (known and packet.family == 6 and known * UNIT < length):
            self.overlaps += 1
            of.conflict = True
            if packet.family == 6:
                return self._give_up(of)
        if not of.ends or of.units < (of.total + UNIT - 1) // UNIT:
            return 0
        self._unlink(of)
        self.lent = of
        self.conflict = of.conflict
        unit = 0
        while unit * UNIT < of.total and held[unit >> 3] >> (unit & 7) & 1:
            unit += 1
        packet.body = of.octets
        packet.body_len = of.total
        packet.body_caplen = unit * UNIT if unit * UNIT < of.total else of.total
        packet.frag_offset = 0
        packet.frag_more = 0
        packet.proto = of.proto
        if packet.family == 6 and extensions_decode(packet) != IS_TCP:
            self.incomplete += 1
            return 0
        return 1

    cdef Tracker* _find(self, const Packet* packet, int64_t ns) noexcept nogil:
        """The datagram of this fragment, begun if it is the first of it. NULL: there is no memory."""
        cdef Key key
        cdef uint64_t mixed = self.seed
        cdef uint32_t size = 4 if packet.family == 4 else 16
        cdef uint32_t bucket
        cdef Tracker* found
        cdef int i
        memset(&key, 0, sizeof(Key))
        memcpy(&key.words[0], packet.src, size)
        memcpy(&key.words[2], packet.dst, size)
        key.words[4] = <uint64_t>packet.frag_id << 16 | packet.family
        if packet.family == 4:
            key.words[4] |= <uint64_t>packet.proto << 8
        for i in range(5):
            mixed = (mixed ^ key.words[i]) * 0x9E3779B97F4A7C15u
            mixed ^= mixed >> 32
        bucket = mixed & (BUCKETS - 1)
        if self.buckets == NULL:
            self.buckets = <Tracker**>calloc(BUCKETS, sizeof(Tracker*))
            if self.buckets == NULL:
                return NULL
        found = self.buckets[bucket]
        while found != NULL:
            if memcmp(&found.key, &key, sizeof(Key)) == 0:
                return found
            found = found.next
        while self.trackers >= self.max_trackers:
            self._drop_oldest()
        found = <Tracker*>calloc(1, sizeof(Tracker))
        if found == NULL:
            return NULL
        found.key = key
        found.bucket = bucket
        found.since = ns
        found.next = self.buckets[bucket]
        self.buckets[bucket] = found
        found.older = self.newest
        if self.newest != NULL:
            self.newest.newer = found
        else:
            self.oldest = found
        self.newest = found
        self.trackers += 1
        self.waiting += 1
        self.octets += sizeof(Tracker)
        return found

    cdef bint _room(self, Tracker* of, uint32_t end) noexcept nogil:
        """Room for the datagram's octets up to `end`, the oldest others giving way. False: there is none."""
        cdef uint32_t room = of.room if of.room else <uint32_t>FIRST_ROOM
        cdef uint32_t bits = of.room // UNIT // 8
        cdef uint64_t more
        cdef uint8_t* made
        while room < end:
            room *= 2
        if room == of.room:
            return True
        more = octets_for(room) - (octets_for(of.room) if of.room else 0)
        while self.octets + more > self.max_octets and self.oldest != of:
            self._drop_oldest()
        if self.octets + more > self.max_octets:
            return False
        made = <uint8_t*>realloc(of.octets, octets_for(room))
        if made == NULL:
            return False
        # both rows of bits move to behind the larger room; the second one first, they can overlap
        memset(made + octets_for(of.room), 0, octets_for(room) - octets_for(of.room))
        memmove(made + room + room // UNIT // 8, made + of.room + bits, bits)
        memmove(made + room, made + of.room, bits)
        memset(made + of.room, 0, 2 * bits)
        of.octets, of.room = made, room
        self.octets += more
        return True

    cdef void _unlink(self, Tracker* which) noexcept nogil:
        cdef Tracker** link = &self.buckets[which.bucket]
        while link[0] != which:
            link = &link[0].next
        link[0] = which.next
        if which.older != NULL:
            which.older.newer = which.newer
        else:
            self.oldest = which.newer
        if which.newer != NULL:
            which.newer.older = which.older
        else:
            self.newest = which.older
        self.trackers -= 1
        self.octets -= sizeof(Tracker) + (octets_for(which.room) if which.room else 0)
        if not which.dead:
            self.waiting -= 1

    cdef void _free(self, Tracker* which) noexcept nogil:
        if which != NULL:
            free(which.octets)
            free(which)

    cdef void _drop_oldest(self) noexcept nogil:
        cdef Tracker* which = self.oldest
        if not which.dead:
            self.incomplete += 1
        self._unlink(which)
        self._free(which)

    cdef int _give_up(self, Tracker* which) noexcept nogil:
        self.incomplete += 1
        self.waiting -= 1
        self.octets -= octets_for(which.room)
        free(which.octets)
        which.octets, which.room, which.dead = NULL, 0, True
        return 0

    def feed(self, int linktype, bytes frame not None, int64_t ns, wirelen=None):
        """The datagram that this frame is or completes, as frame.decode tells it, or None; for tests."""
        cdef Record record
        cdef Packet packet
        cdef int decoded
        memset(&record, 0, sizeof(Record))
        memset(&packet, 0, sizeof(Packet))
        record.p, record.caplen, record.linktype = frame, <uint32_t>len(frame), linktype
        record.wirelen = record.caplen if wirelen is None else max(record.caplen, <uint32_t>wirelen)
        decoded = frame_decode(&record, &packet)
        if decoded == IS_FRAGMENT:
            if not self.push(&packet, ns):
                return None
            decoded = tcp_decode(&packet)
        return fields_of(decoded, &packet)
