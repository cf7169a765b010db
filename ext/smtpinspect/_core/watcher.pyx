"""The loop for packets that are pushed one at a time: what each decides is known at once."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from smtpinspect._core.connections cimport conn_at, side_of, Table
from smtpinspect._core.counted cimport counted_from
from smtpinspect._core.sources cimport NEXT_RECORD, NEXT_TURN, Record, Source
from smtpinspect._core.reader cimport Seen
from smtpinspect._core.records cimport Sink
from smtpinspect._core.replay cimport Replay
from smtpinspect._core.seq cimport seq_diff
from smtpinspect._core.state cimport CLIENT, Conn, Direction, Key, KIND_SMTP, SERVER, Talk
from smtpinspect._core.states cimport S_CHUNK, S_TEXT, S_TLS
from smtpinspect._core.worker cimport Worker

cdef enum:
    LINKTYPE_RAW = 101

# what `push` tells, beside the alerts
FIRED = 1          # alerts were written
UNREAD = 2         # octets of this segment are not read yet: some are missing before them, or a reply is awaited
OPEN = 4           # the segment ends inside a line, or a greeting, that is judged as a whole

# the units of which `Watcher` tells the ends
COMMANDS = 1
GREETING = 2
REPLIES = 4

cdef enum:
    IS_FIRED = 1
    IS_UNREAD = 2
    IS_OPEN = 4
    OF_COMMANDS = 1
    OF_GREETING = 2
    OF_REPLIES = 4


cdef class Pushed(Source):
    """One packet at a time, whose octets somebody else keeps."""

    cdef const uint8_t* p
    cdef uint32_t n
    cdef int64_t ns
    cdef bint given

    def __init__(self):
        self.name = "packets"

    cdef int next(self, Record* out) noexcept nogil:
        if not self.given:
            return NEXT_TURN
        self.given = False
        out.p = self.p
        out.caplen = out.wirelen = self.n
        out.ns = self.ns
        out.linktype = LINKTYPE_RAW
        out.position = -1
        self.octets_read += self.n
        self.records += 1
        return NEXT_RECORD


cdef class Watcher(Replay):
    """`Watcher(program, sink, ports, units)`: the sink should be `instant`; `units` are COMMANDS, GREETING, REPLIES.

    Connections that are over or idle are forgotten as in a replay, by the time of the packets, every 1,024 of them.
    """

    cdef Pushed pushed
    cdef int units
    cdef int64_t told

    def __init__(self, program, Sink sink, ports, int units=0, bint secrets=False):
        self.pushed = Pushed()
        self.units = units
        super().__init__(self.pushed, program, sink, ports, None, secrets, 1)

    def push(self, int64_t ns, bytes packet not None):
        """Read one IP packet (no link header); returns FIRED, UNREAD and OPEN, 0 where nothing is to be done.

        Raises what a rule in Python raised.
        """
        cdef Worker worker = <Worker>self.each[0]
        cdef int found
        if self.done:
            raise ValueError("the watch is over")
        self.pushed.p = <const uint8_t*>PyBytes_AS_STRING(packet)
        self.pushed.n = <uint32_t>PyBytes_GET_SIZE(packet)
        self.pushed.ns = ns
        self.pushed.given = True
        self.batch.n = 0
        self.round(self.reader.packets + 1)
        counted_from(0)
        found = self.found()
        if worker.verdicts.error is not None or self.sink.error is not None:
            self.raise_errors()
        return found

    cdef Conn* conn(self) noexcept nogil:
        """Of the packet that was pushed last."""
        cdef const Seen* seen = self.batch.seen
        cdef Table* table
        cdef Conn* conn
        if self.batch.n == 0:
            return NULL
        table = &self.tables[seen.lane]
        conn = conn_at(table, table.buckets[seen.hash & (table.size - 1)])
        while conn != NULL and (conn.hash != seen.hash or not same(&conn.key, &seen.key)):
            conn = conn_at(table, conn.bucket)
        return conn

    cdef int found(self) noexcept nogil:
        cdef const Seen* seen = self.batch.seen
        cdef Conn* conn
        cdef Direction* d
        cdef int side, out = 0
        if self.sink.told != self.told:
            self.told = self.sink.told
            out = IS_FIRED
        conn = self.conn()
        if conn == NULL or conn.done or conn.kind != KIND_SMTP or seen.packet.payload_len == 0:
            return out
        side = side_of(conn, seen.from_lo)
        d = &conn.d[side]
        if not d.syn or not conn.d[1 - side].syn:
            return out                             # picked up on its way: what it is, is not sure
        if d.next < end_of(d, seen):
            out |= IS_UNREAD
        if self.units and conn.talk != NULL and self.within(conn.talk, side):
            out |= IS_OPEN
        return out

    cdef bint within(self, const Talk* talk, int side) noexcept nogil:
        """Do the octets of this side end inside a unit?"""
        cdef bint line = talk.line[side] != NULL and talk.line[side].n != 0
        if talk.state == S_TLS:
            return False
        if side == CLIENT:
            return line and self.units & OF_COMMANDS and talk.state != S_TEXT and talk.state != S_CHUNK
        if not talk.greeted and self.units & OF_GREETING:
            return line or talk.in_reply
        return line and self.units & OF_REPLIES

    def standing(self):
        """Of the connection of the packet that was pushed last: None where nothing is followed, else a tuple of the
        packet's side (0 client); two tuples of client and server: the sequence number of stream offset 0 (None: not
        known), the octets that were read, those of them that lie before an open unit, and what the other side has
        acknowledged; whether the client's next octets are no lines (a text, TLS), and the offset of the first command
        that waits for its reply (-1: none)."""
        cdef Conn* conn = self.conn()
        cdef Talk* talk
        if conn == NULL or conn.done or conn.kind != KIND_SMTP:
            return None
        talk = conn.talk
        return (
            side_of(conn, self.batch.seen.from_lo),
            self.of_side(conn, CLIENT),
            self.of_side(conn, SERVER),
            talk != NULL and (talk.state == S_TEXT or talk.state == S_CHUNK or talk.state == S_TLS),
            talk.queue[talk.qhead].at if talk != NULL and talk.qn else -1,
        )

    cdef tuple of_side(self, Conn* conn, int side):
        cdef Direction* d = &conn.d[side]
        return d.base if d.known else None, d.next, self.settled(conn, side), d.acked

    cdef int64_t settled(self, Conn* conn, int side) noexcept nogil:
        """The octets of this side that were read, without those of a unit that is open."""
        cdef Talk* talk = conn.talk
        if self.units and talk != NULL and self.within(talk, side):
            if side == SERVER and not talk.greeted and talk.in_reply:
                return talk.reply.at
            return talk.line[side].start
        return conn.d[side].next


cdef bint same(const Key* a, const Key* b) noexcept nogil:
    return (a.lo_port == b.lo_port and a.hi_port == b.hi_port and a.family == b.family
            and memcmp(a.lo, b.lo, sizeof(a.lo)) == 0 and memcmp(a.hi, b.hi, sizeof(a.hi)) == 0)


cdef inline int64_t end_of(const Direction* d, const Seen* seen) noexcept nogil:
    """The stream offset behind the packet's octets."""
    return d.next + seq_diff(seen.packet.seq, d.base + <uint32_t>d.next) + seen.packet.payload_len
