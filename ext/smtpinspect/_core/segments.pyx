"""TCP reassembly: two streams of a connection, in the order in which their ends can have seen them.

First copy wins. A segment is read when its octets are next and what it acknowledges of the other side has been
read; till then it is kept. A hole is a gap when the other side acknowledged it long ago, or nothing more comes.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.checksum cimport tcp_sound
from smtpinspect._core.frame cimport ACK, FIN, Packet, RST, SYN
from smtpinspect._core.machine cimport Arrival, Machine
from smtpinspect._core.opening cimport opening, OPENING_OPEN, OPENING_OTHER, opening_release, OPENING_SOCKS
from smtpinspect._core.sources cimport Source
from smtpinspect._core.recent cimport recent_add, recent_differs
from smtpinspect._core.seq cimport seq_diff
from smtpinspect._core.state cimport (
    CLIENT, CLOSER_CLIENT, CLOSER_MIDDLEBOX, CLOSER_NONE, CLOSER_SERVER, Conn, Direction, DOUBT_CAP, DOUBT_MID_STREAM,
    DOUBT_OVERLAP, DOUBT_SNAPLEN, KIND_OTHER, KIND_SMTP, KIND_UNDECIDED, SERVER, Stored,
)
from smtpinspect._core.store cimport (
    aside_of, excused, store_base, store_clear, store_free, store_give, store_hold, store_keep, store_take,
)

from smtpinspect.grammar import limits as _limits

cdef uint32_t STORED_OCTETS = _limits.STORED_OCTETS
cdef uint32_t STORED_SEGMENTS = _limits.STORED_SEGMENTS
cdef uint32_t LARGEST_PAYLOAD = _limits.LARGEST_PAYLOAD
cdef int64_t PATIENCE_NS = _limits.PATIENCE_NS
cdef int PICKUP_FRAMES = _limits.PICKUP_FRAMES
cdef int64_t PICKUP_NS = _limits.PICKUP_NS
cdef int64_t ACK_AHEAD = _limits.ACK_AHEAD
cdef int64_t FAR = _limits.FAR
cdef int FAR_SEGMENTS = _limits.FAR_SEGMENTS
cdef uint32_t WIRE_SEGMENT = _limits.WIRE_SEGMENT


cdef inline int64_t offset_of(Direction* d, uint32_t seq) noexcept nogil:
    return d.next + seq_diff(seq, d.base + <uint32_t>d.next)


cdef inline int64_t acknowledges(Direction* d, Direction* o, Packet* t) noexcept nogil:
    """The stream offset of the other side that this segment acknowledges, -1 when it cannot be."""
    cdef int64_t ack = offset_of(o, t.ack)
    if ack > o.next + ACK_AHEAD or ack < 0:
        ack = -1
    elif ack > o.acked and not (t.flags & (FIN | RST) and t.ttl != d.ttl):
        # (a forged end says nothing of what the true one has received)
        o.acked = ack
    if o.fin_at >= 0 and ack > o.fin_at:
        return o.fin_at
    return ack


cdef class Streams:
    def __init__(self, Machine machine, Source source):
        self.machine = machine
        self.source = source
        self.store.seed = <uint32_t>hash("store")

    def __dealloc__(self):
        store_free(&self.store)

    @property
    def stored(self):
        return self.store.octets

    cdef int push(
        self, Conn* conn, int side, Packet* t, int64_t number, int64_t ns, int64_t position,
    ) noexcept nogil:
        """What nearly every segment needs; the others go the long way."""
        cdef Direction* d = &conn.d[side]
        cdef Direction* o = &conn.d[1 - side]
        cdef uint32_t n = t.payload_len
        cdef int64_t offset, ack
        if (t.flags & (ACK | SYN | FIN | RST) != ACK or not d.known or not o.known or conn.kind != KIND_SMTP
                or conn.picked_up | d.syn_data | o.syn_data | o.has_other or d.ttl == 0 or n > LARGEST_PAYLOAD):
            return self.push_rare(conn, side, t, number, ns, position)
        d.packets += 1
        ack = acknowledges(d, o, t)
        if n:
            d.octets += n
            offset = offset_of(d, t.seq)
            if offset == d.next and not d.blocked and (d.first == NULL or d.first.offset >= offset + n) and (
                    ack <= o.next or ack <= excused(o) or o.blocked):
                if d.aside != NULL:
                    d.aside.strays = 0
                d.has_payload = 1
                conn.progress_ns = ns
                if position >= 0 and t.payload_caplen:
                    recent_add(d, position, offset, t.payload_caplen)
                self.deliver(conn, side, t.payload, t.payload_caplen, n - t.payload_caplen, ack, number, ns, True,
                             n > WIRE_SEGMENT)
                if d.first != NULL:
                    store_hold(d, d.first.ns)
            elif not self.far(d, offset, n):
                d.has_payload = 1
                self.data(conn, side, t, offset, ack, number, ns, position)
        if d.first != NULL or o.first != NULL:
            self.drain(conn)
            self.patience(conn, ns)
        return self.closed(conn)

    cdef int push_rare(
        self, Conn* conn, int side, Packet* t, int64_t number, int64_t ns, int64_t position,
    ) noexcept nogil:
        cdef Direction* d = &conn.d[side]
        cdef Direction* o = &conn.d[1 - side]
        cdef const uint8_t* p = t.payload
        cdef uint32_t n = t.payload_len, have = t.payload_caplen
        cdef int64_t offset = 0, ack = -1
        if n > LARGEST_PAYLOAD:
            return 0
        d.packets += 1
        if n and not t.flags & (ACK | SYN | RST):
            return 0                               # no host takes data without ACK (RFC 9293 3.10.7.4)
        d.octets += n
        if d.ttl == 0:
            d.ttl = t.ttl
        if t.flags & SYN:
            if d.syn and d.next == 0 and not d.has_payload and t.seq + 1 != d.base:
                if aside_of(d) != NULL:
                    d.aside.other_base = t.seq + 1  # the other end's ACK tells which one counts
                    d.has_other = 1
            if not d.syn:
                d.syn = 1
                if d.next == 0:
                    store_base(d, t.seq + 1)
                if t.flags & ACK and not o.known:
                    store_base(o, t.ack)
            offset = 0
            if t.flags & ACK and o.syn:
                conn.established = 1
        elif not d.known and n:
            # picked up mid-stream: this may not be the first octet
            conn.doubt |= DOUBT_MID_STREAM
            conn.picked_up = not conn.established and not d.syn and not o.syn and not o.known
            store_base(d, t.seq)
        if d.known and not t.flags & SYN:
            offset = offset_of(d, t.seq)
        if t.flags & ACK and o.has_other and o.next == 0 and not o.has_payload:
            if t.ack == o.aside.other_base:
                store_base(o, o.aside.other_base)
            o.has_other = t.flags & SYN != 0
        if o.syn_data and t.flags & ACK:
            self.early_data(o, t.ack != o.base)
        if d.syn_data and not t.flags & SYN:
            self.early_data(d, offset > 0)
        if t.flags & ACK and o.known:
            ack = acknowledges(d, o, t)
        if t.flags & SYN:
            d.checks = tcp_sound(t)
        if t.flags & RST:
            if d.checks and not tcp_sound(t):
                return 0                           # no host takes it; a SYN that is wrong too would tell nothing
            return self.reset(conn, side, t, offset, ns)
        if n and d.known and not t.flags & SYN and self.far(d, offset, n):
            return 0
        if n and d.known:
            if not d.has_payload:
                d.has_payload = 1
            if t.flags & SYN and d.next == 0 and d.first == NULL:
                # TCP Fast Open, or data that nobody takes (RFC 7413 2): the acknowledgement tells
                d.syn_data = 1
                self.keep(conn, side, p, have, n - have, 0, ack, number, ns, True, False)
            elif conn.kind == KIND_UNDECIDED or conn.picked_up:
                self.keep(conn, side, p, have, n - have, offset, ack, number, ns, True, n > WIRE_SEGMENT)
                conn.progress_ns = ns
            else:
                self.data(conn, side, t, offset, ack, number, ns, position)
        if t.flags & FIN and d.known and d.fin_at < 0:
            d.fin_at = offset_of(d, t.seq) + t.payload_len
            conn.fin_ns = conn.fin_ns if conn.fin_ns else ns
            if conn.closer == CLOSER_NONE:
                conn.closer = CLOSER_CLIENT if side == CLIENT else CLOSER_SERVER
                if t.ttl != d.ttl:
                    conn.closer = CLOSER_MIDDLEBOX
        if conn.picked_up:
            conn.frames_waited += 1
            if conn.frames_waited >= PICKUP_FRAMES or ns - conn.start_ns >= PICKUP_NS or t.flags & FIN:
                opening_release(conn)
        if conn.kind == KIND_UNDECIDED and not conn.picked_up:
            self.decide(conn)
        if conn.d[0].first != NULL or conn.d[1].first != NULL:
            if not conn.picked_up and conn.kind == KIND_SMTP:
                self.drain(conn)
                self.patience(conn, ns)
        return self.closed(conn)

    cdef void data(
        self, Conn* conn, int side, Packet* t, int64_t offset, int64_t ack, int64_t number, int64_t ns,
        int64_t position,
    ) noexcept nogil:
        """Octets of a connection that is followed: some have been read, some can be, others wait."""
        cdef Direction* d = &conn.d[side]
        cdef const uint8_t* p = t.payload
        cdef uint32_t n = t.payload_len, have = t.payload_caplen, skip
        cdef bint border = True
        if offset + n <= d.next:
            if n > 1 or offset + 1 != d.next:      # else a keep-alive probe
                self.conflict(conn, d, p, have, offset)
            return
        conn.progress_ns = ns
        if offset < d.next:
            skip = <uint32_t>(d.next - offset)
            self.conflict(conn, d, p, skip if skip < have else have, offset)
            p += skip
            n -= skip
            have = have - skip if have > skip else 0
            offset = d.next
            border = False
        if position >= 0 and have and offset == d.next:
            recent_add(d, position + (p - t.payload), offset, have)
        if offset == d.next and d.first == NULL and not d.blocked and self.ready(conn, side, ack):
            self.deliver(conn, side, p, have, n - have, ack, number, ns, border, t.payload_len > WIRE_SEGMENT)
        else:
            self.keep(conn, side, p, have, n - have, offset, ack, number, ns, border, t.payload_len > WIRE_SEGMENT)

    cdef void early_data(self, Direction* d, bint taken) noexcept nogil:
        """Octets of a SYN count when they were acknowledged."""
        d.syn_data = 0
        if not taken and d.first != NULL and d.first.offset == 0:
            store_give(&self.store, store_take(&self.store, d))

    cdef bint far(self, Direction* d, int64_t offset, uint32_t n) noexcept nogil:
        """Outside every window there is? A capture with a hole that large goes on from there, a forgery does not."""
        if offset - d.next <= FAR and d.next - offset <= FAR:
            if d.aside != NULL:
                d.aside.strays = 0
            return False
        if offset < d.next or aside_of(d) == NULL:
            return True
        if d.aside.strays and offset == d.aside.stray_at:
            d.aside.strays += 1
        else:
            d.aside.strays = 1
        d.aside.stray_at = offset + n
        return d.aside.strays < FAR_SEGMENTS

    cdef bint closed(self, Conn* conn) noexcept nogil:
        """Both FINs have come, with all octets before them, and are acknowledged; or an RST fits by now."""
        cdef Direction* c = &conn.d[0]
        cdef Direction* s = &conn.d[1]
        cdef int side
        for side in range(2):
            if conn.d[side].aside != NULL and conn.d[side].aside.rst_at == conn.d[side].next:
                conn.reset = 1
                return True
        return (c.fin_at >= 0 and s.fin_at >= 0 and c.next >= c.fin_at and s.next >= s.fin_at
                and c.acked > c.fin_at and s.acked > s.fin_at)

    cdef int reset(self, Conn* conn, int side, Packet* t, int64_t offset, int64_t ns) noexcept nogil:
        """Only an RST at the very next octet ends the stream (RFC 5961 3.2); one answers a SYN."""
        cdef Direction* d = &conn.d[side]
        cdef Direction* o = &conn.d[1 - side]
        cdef bint fits = False
        if not d.known:
            # the refusal of a SYN: its acknowledgement tells
            fits = (t.flags & ACK and o.known and t.ack == o.base) or not o.syn
        else:
            fits = offset == d.next or (d.fin_at >= 0 and offset == d.fin_at + 1)
            if not fits and o.known and t.flags & ACK and t.ack == o.base and not d.has_payload and not d.syn:
                fits = True
        if fits or d.aside == NULL or d.aside.rst_at < 0:
            if conn.closer == CLOSER_NONE:
                conn.closer = CLOSER_CLIENT if side == CLIENT else CLOSER_SERVER
                if t.ttl != d.ttl:
                    conn.closer = CLOSER_MIDDLEBOX
        if fits:
            conn.reset = 1
            return 1
        if offset > d.next and offset <= d.next + ACK_AHEAD and aside_of(d) != NULL:
            d.aside.rst_at = offset
        return 0

    # --- reading --------------------------------------------------------------------------------------

    cdef bint ready(self, Conn* conn, int side, int64_t ack) noexcept nogil:
        """Has what this segment acknowledges been read?"""
        cdef Direction* o = &conn.d[1 - side]
        if conn.d[side].syn_data:
            return False
        return ack <= o.next or ack <= excused(o) or o.blocked

    cdef int deliver(
        self, Conn* conn, int side, const uint8_t* p, uint32_t n, uint32_t missing, int64_t ack, int64_t number,
        int64_t ns, bint border, bint merged,
    ) noexcept nogil:
        """Octets at d.next, to the machine; what it does not read yet goes to the head of the store."""
        cdef Direction* d = &conn.d[side]
        cdef Direction* c = &conn.d[CLIENT]
        cdef Py_ssize_t took = 0
        cdef Arrival a
        if conn.talk == NULL and self.machine.start(conn, not conn.d[0].syn and not conn.d[1].syn) < 0:
            return -1
        if n:
            a = Arrival(packet=number, ns=ns, ack=ack, border=border, merged=merged)
            if self.machine.tape.on:
                self.machine.tape.stream(conn, side, p, n, d.next)
            took = self.machine.feed(conn, side, p, n, d.next, &a)
            d.next += took
        if took < n:
            self.keep(conn, side, p + took, n - <uint32_t>took, missing, d.next, ack, number, ns, False, merged)
        elif missing:
            conn.doubt |= DOUBT_SNAPLEN
            self.hole(conn, side, missing)
        c.blocked = self.machine.waits(conn)
        return 0

    cdef int hole(self, Conn* conn, int side, int64_t n) noexcept nogil:
        cdef Direction* d = &conn.d[side]
        if n <= 0:
            return 0
        if conn.talk == NULL and self.machine.start(conn, not conn.d[0].syn and not conn.d[1].syn) < 0:
            return -1
        conn.talk.gaps += 1
        self.machine.tape.stream_gap(conn, side, n, d.next)
        self.machine.gap(conn, side, n, d.next)
        d.next += n
        if side == SERVER and conn.d[CLIENT].blocked and conn.d[CLIENT].first != NULL and (
                conn.d[CLIENT].first.offset <= conn.d[CLIENT].next):
            # the reply may lie in the hole: what the client went on to send tells
            self.machine.no_reply(conn, <uint8_t*>(conn.d[CLIENT].first + 1), conn.d[CLIENT].first.n)
        conn.d[CLIENT].blocked = self.machine.waits(conn)
        return 0

    # --- what is kept -----------------------------------------------------------------------------------

    cdef int keep(
        self, Conn* conn, int side, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
        int64_t number, int64_t ns, bint border, bint merged,
    ) noexcept nogil:
        if store_keep(&self.store, &conn.d[side], p, n, missing, offset, ack, number, ns, border, merged) > 0:
            conn.doubt |= DOUBT_OVERLAP
        return 0

    cdef int drain(self, Conn* conn) noexcept nogil:
        """Read what has become next, on both sides, until neither can go on."""
        cdef Direction* d
        cdef Stored* s
        cdef bint progress = True
        cdef int side
        cdef uint32_t skip
        while progress:
            progress = False
            for side in range(2):
                d = &conn.d[side]
                while d.first != NULL and d.first.offset <= d.next and not d.blocked and (
                        self.ready(conn, side, d.first.ack)):
                    s = store_take(&self.store, d)
                    progress = True
                    skip = <uint32_t>(d.next - s.offset)
                    if skip < s.n:
                        self.deliver(conn, side, <uint8_t*>(s + 1) + skip, s.n - skip, s.missing, s.ack, s.packet,
                                     s.ns, s.border and skip == 0, s.merged)
                    elif skip < s.n + s.missing:
                        conn.doubt |= DOUBT_SNAPLEN
                        self.hole(conn, side, s.n + s.missing - skip)
                    store_give(&self.store, s)
                    if d.first != NULL and d.aside.hold_ns == 0:
                        store_hold(d, d.first.ns)
                    if side == SERVER and conn.d[CLIENT].first != NULL:
                        break                      # the client's turn first
        return 0

    cdef int patience(self, Conn* conn, int64_t ns) noexcept nogil:
        """Give up waiting where it has become hopeless."""
        cdef int side
        cdef Direction* d
        cdef Direction* o
        for side in range(2):
            d = &conn.d[side]
            o = &conn.d[1 - side]
            while d.first != NULL:
                if d.aside.stored_octets > STORED_OCTETS or d.aside.stored_n > STORED_SEGMENTS or (
                        self.tight and d.aside.stored_octets > 65536):
                    conn.doubt |= DOUBT_CAP
                elif side == CLIENT and d.blocked and not o.known and conn.frames_waited > PICKUP_FRAMES:
                    pass                           # the other direction is not in this capture
                elif d.aside.hold_ns == 0 or ns - d.aside.hold_ns < PATIENCE_NS:
                    break
                elif d.first.offset > d.next:
                    if d.acked <= d.next:
                        break                      # may still be retransmitted
                elif d.blocked:
                    break                          # the server may take its time
                if not self.force(conn):
                    break
                self.drain(conn)
            if not o.known:
                conn.frames_waited += 1
        return 0

    cdef bint force(self, Conn* conn) noexcept nogil:
        """Let the head of a store go on: its hole becomes a gap, or the other side's, or the machine guesses."""
        cdef Direction* d
        cdef Direction* o
        cdef Stored* s
        cdef int side
        # a hole first: octets behind it are here
        for side in range(2):
            d = &conn.d[side]
            if d.first != NULL and d.first.offset > d.next and not d.blocked and (
                    self.ready(conn, side, d.first.ack) or conn.d[1 - side].first == NULL or conn.d[1 - side].blocked):
                d.aside.hold_ns = 0
                self.hole(conn, side, d.first.offset - d.next)
                return True
        d = &conn.d[CLIENT]
        if d.blocked and d.first != NULL and d.first.offset <= d.next and conn.d[SERVER].first == NULL and (
                self.ready(conn, CLIENT, d.first.ack)):
            s = d.first
            d.aside.hold_ns = 0
            self.machine.no_reply(conn, <uint8_t*>(s + 1), s.n)
            d.blocked = self.machine.waits(conn)
            if not d.blocked:
                return True
        # octets that the other side acknowledged but the capture does not hold
        for side in range(2):
            d = &conn.d[side]
            o = &conn.d[1 - side]
            if d.first != NULL and d.first.offset <= d.next and o.first == NULL and (
                    not self.ready(conn, side, d.first.ack)) and (
                    excused(o) < d.first.ack) and aside_of(o) != NULL:
                # nothing of theirs came behind: no gap, but no reply to wait for either
                d.aside.hold_ns = 0
                o.aside.excused = d.first.ack
                return True
        # both wait for each other
        for side in range(2):
            d = &conn.d[side]
            if d.first != NULL:
                d.aside.hold_ns = 0
                if d.first.offset > d.next:
                    self.hole(conn, side, d.first.offset - d.next)
                elif d.blocked:
                    self.machine.no_reply(conn, <uint8_t*>(d.first + 1), d.first.n)
                    d.blocked = 0
                else:
                    d.first.ack = -1
                    d.syn_data = 0
                return True
        return False

    cdef int flush(self, Conn* conn) noexcept nogil:
        cdef int side
        for side in range(2):
            if conn.d[side].syn_data:
                self.early_data(&conn.d[side], False)
        if conn.picked_up:
            opening_release(conn)
        if conn.kind != KIND_SMTP:
            self.forget(conn)
            return 0
        self.drain(conn)
        while conn.d[0].first != NULL or conn.d[1].first != NULL:
            if not self.force(conn):
                break
            self.drain(conn)
        self.forget(conn)
        return 0

    cdef void forget(self, Conn* conn) noexcept nogil:
        cdef int side
        for side in range(2):
            store_clear(&self.store, &conn.d[side])

    cdef void conflict(self, Conn* conn, Direction* d, const uint8_t* p, uint32_t n, int64_t offset) noexcept nogil:
        if not conn.doubt & DOUBT_OVERLAP and recent_differs(d, self.source, p, n, offset, self.here):
            conn.doubt |= DOUBT_OVERLAP

    # --- beginnings --------------------------------------------------------------------------------------

    cdef int decide(self, Conn* conn) noexcept nogil:
        """Is this SMTP?"""
        cdef int what = opening(conn)
        if what == OPENING_OTHER:
            conn.kind = KIND_OTHER
            self.forget(conn)
        elif what != OPENING_OPEN:
            conn.kind = KIND_SMTP
            if what == OPENING_SOCKS and conn.talk == NULL and self.machine.start(conn, False) == 0:
                conn.talk.socks.on[CLIENT] = conn.talk.socks.on[SERVER] = 1
                conn.doubt &= ~DOUBT_MID_STREAM
        return 0
