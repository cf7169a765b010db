"""The frames of open connections, kept until it is known whether somebody wants them.

A source around another one: the loop reads on as ever, and tells it of each connection that is over. Frames are
decoded a second time here, so that nothing is asked of those who keep nothing.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from smtpinspect._core.connections cimport key_of
from smtpinspect._core.frame cimport IS_FRAGMENT, IS_TCP, Packet, SYN, frame_decode
from smtpinspect._core.octets cimport mix
from smtpinspect._core.sources cimport NEXT_RECORD, Record, Source
from smtpinspect._core.state cimport Conn, Key

from smtpinspect.grammar import limits as _limits

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    /* what is free stays: given back and asked for again, each page would be cleared anew */
    #define keep_pages(n) mallopt(M_TRIM_THRESHOLD, (int)(n))
    #else
    #define keep_pages(n) ((void)(n))
    #endif
    """
    void keep_pages(int64_t n) nogil

cdef int64_t KEPT_TOTAL = _limits.KEPT_TOTAL
cdef int64_t KEPT_CONNECTION = _limits.KEPT_CONNECTION
cdef int64_t KEPT_FRAGMENTS = _limits.KEPT_FRAGMENTS

cdef enum:
    RECORD = 16                # octets before a frame in a capture
    SNAPLEN = 1 << 24          # of the file header: longer than any frame
    BUCKETS = 1 << 16
    KEY = 37                   # octets of a Key that count; the compiler's padding lies behind them

cdef uint64_t SEED = <uint32_t>hash("kept")


cdef uint32_t hash_of(const Key* key) noexcept nogil:
    cdef const uint64_t* p = <const uint64_t*>key.lo
    cdef uint64_t h = mix(mix(SEED, <uint64_t>key.lo_port << 16 | key.hi_port), p[0])
    return <uint32_t>(mix(mix(mix(h, p[1]), p[2]), p[3]) >> 17)


def file_header(int linktype):
    """What a pcap file with stamps in nanoseconds begins with."""
    out = bytearray()
    for value, size in ((0xA1B23C4D, 4), (2, 2), (4, 2), (0, 4), (0, 4), (SNAPLEN, 4), (linktype, 4)):
        out += value.to_bytes(size, "little")
    return bytes(out)


cdef bytes record_of(const Frame* frame):
    cdef int64_t second = frame.ns // 1000000000
    cdef bytes head = b"".join([
        n.to_bytes(4, "little") for n in (second, frame.ns - second * 1000000000, frame.caplen, frame.wirelen)])
    return head + (<const uint8_t*>(frame + 1))[:frame.caplen]


cdef class Kept(Source):
    """All records of another source; `taken` gives those of connections that a chosen inspector would break.

    Limits: KEPT_TOTAL of all connections, KEPT_CONNECTION of one. What does not fit is counted in `cut`.
    """

    def __init__(self, Source inner not None):
        self.inner = inner
        self.name = inner.name
        self.octets_total = inner.octets_total
        self.lends_many = inner.lends_many
        self.linktype = -1
        self.out = []
        keep_pages(2 * KEPT_TOTAL)
        self.size = BUCKETS
        self.buckets = <Chain**>calloc(self.size, sizeof(Chain*))
        if self.buckets == NULL:
            raise MemoryError

    def __dealloc__(self):
        while self.oldest != NULL:
            self.forget(self.oldest)
        free(self.buckets)

    def taken(self):
        """Records of a capture, of all wanted connections that ended since the last time."""
        out, self.out = self.out, []
        return b"".join(out)

    @property
    def counts(self):
        """Those of the other source; None when it has none."""
        return getattr(self.inner, "counts", None)

    @property
    def held(self):
        """Octets that are kept at present."""
        return self.total

    cdef int next(self, Record* out) noexcept nogil:
        cdef int got
        self.inner.lent = self.lent
        got = self.inner.next(out)
        self.records = self.inner.records
        self.octets_read = self.inner.octets_read
        if got == NEXT_RECORD:
            self.keep(out)
        else:
            self.quiet_ns = self.inner.quiet_ns
        return got

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        return self.inner.back(position, n, here, room)

    cpdef object fault(self):
        return self.inner.fault()

    cpdef void close(self):
        self.inner.close()

    # -- frames ----------------------------------------------------------------------------------------

    cdef void keep(self, const Record* record) noexcept nogil:
        cdef Packet packet
        cdef Key key
        cdef Chain* chain
        cdef Frame* frame
        cdef uint32_t hash
        cdef int64_t size = sizeof(Frame) + record.caplen
        cdef int kind = frame_decode(record, &packet)
        if kind == IS_FRAGMENT:
            packet.sport = packet.dport = packet.flags = 0
        elif kind != IS_TCP:
            return
        if self.linktype < 0:
            self.linktype = record.linktype
        elif self.linktype != record.linktype:
            return
        key_of(&packet, &key, &hash, SEED)
        chain = self.chain_of(&key)
        if chain == NULL:
            return
        if kind == IS_FRAGMENT:
            while chain.octets + size > KEPT_FRAGMENTS and chain.first != NULL:
                self.drop_first(chain)
        elif chain.octets + size > KEPT_CONNECTION:
            chain.full = 1
        if chain.full:
            return
        frame = <Frame*>malloc(size)
        if frame == NULL:
            chain.full = 1
            return
        frame.next, frame.number, frame.ns, frame.syn = NULL, self.records, record.ns, packet.flags & SYN
        frame.caplen, frame.wirelen = record.caplen, record.wirelen
        memcpy(frame + 1, record.p, record.caplen)
        if chain.first == NULL:
            chain.first = frame
        else:
            chain.last.next = frame
        chain.last = frame
        chain.octets += size
        self.total += size
        while self.total > KEPT_TOTAL and self.oldest != chain:
            self.forget(self.oldest)

    cdef void drop_first(self, Chain* chain) noexcept nogil:
        cdef Frame* frame = chain.first
        cdef int64_t size = sizeof(Frame) + frame.caplen
        chain.first = frame.next
        chain.octets -= size
        self.total -= size
        free(frame)

    # -- chains ----------------------------------------------------------------------------------------

    cdef Chain** place(self, const Key* key) noexcept nogil:
        """Where it is, or would be."""
        cdef Chain** at = &self.buckets[hash_of(key) & (self.size - 1)]
        while at[0] != NULL and memcmp(&at[0].key, key, KEY) != 0:
            at = &at[0].bucket
        return at

    cdef Chain* chain_of(self, const Key* key) noexcept nogil:
        """The chain of these ends, from now on the newest; NULL: there is no memory."""
        cdef Chain** at = self.place(key)
        cdef Chain* chain = at[0]
        if chain == NULL:
            chain = <Chain*>calloc(1, sizeof(Chain))
            if chain == NULL:
                return NULL
            memcpy(&chain.key, key, sizeof(Key))
            at[0] = chain
            self.total += sizeof(Chain)
        elif chain == self.newest:
            return chain
        else:
            self.unlink(chain)
        self.newest_is(chain)
        return chain

    cdef void newest_is(self, Chain* chain) noexcept nogil:
        chain.older, chain.newer = self.newest, NULL
        if self.newest != NULL:
            self.newest.newer = chain
        else:
            self.oldest = chain
        self.newest = chain

    cdef void unlink(self, Chain* chain) noexcept nogil:
        if chain.older != NULL:
            chain.older.newer = chain.newer
        else:
            self.oldest = chain.newer
        if chain.newer != NULL:
            chain.newer.older = chain.older
        else:
            self.newest = chain.older

    cdef void forget(self, Chain* chain) noexcept nogil:
        cdef Chain** at = self.place(&chain.key)
        while chain.first != NULL:
            self.drop_first(chain)
        at[0] = chain.bucket
        self.unlink(chain)
        self.total -= sizeof(Chain)
        free(chain)

    # -- connections that are over -----------------------------------------------------------------------

    cdef void over(self, const Conn* conn, int64_t number, bint wanted) noexcept nogil:
        cdef Chain* chain
        cdef Frame* frame
        cdef int64_t end = 0, syns = 0
        with gil:                                  # of several threads, one at a time
            chain = self.place(&conn.key)[0]
            if wanted:
                self.connections += 1
            if chain == NULL:
                self.cut += wanted
                return
            # SYNs at its end are those of the next connection between these ends
            frame = chain.first
            while frame != NULL and frame.number <= number:
                if not frame.syn:
                    end = frame.number
                    syns = 0
                else:
                    syns = frame.number
                frame = frame.next
            if end == 0:
                end = syns
            if wanted:
                self.hand_out(conn, chain, end)
            while chain.first != NULL and chain.first.number <= end:
                self.drop_first(chain)
            chain.full = 0
            if chain.first == NULL:
                self.forget(chain)

    cdef void hand_out(self, const Conn* conn, Chain* chain, int64_t number) noexcept:
        cdef Key key = conn.key
        cdef Chain* between
        cdef Frame* part = NULL
        cdef Frame* frame = chain.first
        key.lo_port = key.hi_port = 0
        between = self.place(&key)[0]
        if between != NULL:
            part = between.first
        if chain.full or frame == NULL or (frame.number > <int64_t>conn.first_packet and part == NULL):
            self.cut += 1
        while frame != NULL and frame.number <= number or part != NULL and part.number <= number:
            if frame == NULL or frame.number > number or (part != NULL and part.number < frame.number):
                if part.number >= <int64_t>conn.first_packet:
                    self.out.append(record_of(part))
                part = part.next
            else:
                self.out.append(record_of(frame))
                frame = frame.next
