"""The loop: frames from a source through all stages, until the source ends."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memmove

from smtpinspect._core.connections cimport Table
from smtpinspect._core.fragments cimport Fragments
from smtpinspect._core.frame cimport (
    ACK, IS_BAD, IS_FRAGMENT, IS_TCP, IS_UNKNOWN_LINK, Packet, SYN, frame_decode, tcp_decode,
)
from smtpinspect._core.machine cimport Machine
from smtpinspect._core.pcapfile cimport NEXT_BAD, NEXT_RECORD, Record, Source
from smtpinspect._core.records cimport Sink
from smtpinspect._core.rows cimport Program
from smtpinspect._core.segments cimport Streams
from smtpinspect._core.state cimport Conn, DOUBT_ONE_DIRECTION, DOUBT_OVERLAP, KIND_OTHER, KIND_SMTP
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

cdef int64_t PATIENCE_NS = _limits.PATIENCE_NS

cdef enum:
    AGE_EVERY = 1024           # frames between two looks for idle connections


cdef int by_first_packet(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<Conn**>a)[0].first_packet
    cdef uint64_t y = (<Conn**>b)[0].first_packet
    return -1 if x < y else 1 if x > y else 0


cdef struct Ending:            # a connection whose FINs have both come
    Conn* conn
    uint64_t first_packet      # tells whether it is still that connection
    int64_t ns


@cython.no_gc_clear                             # __dealloc__ needs what a collector would have cleared
cdef class Replay:
    """One pass over a source. `step` reads some frames and returns whether there are more."""

    cdef Source source
    cdef Program program
    cdef Sink sink
    cdef Machine machine
    cdef Streams streams
    cdef Table table
    cdef Verdicts verdicts
    cdef Fragments fragments
    cdef Ending* endings           # in the order of their second FIN
    cdef uint32_t first_ending
    cdef uint32_t n_endings
    cdef uint32_t cap_endings
    cdef readonly int64_t packets, octets, bad_frames, connections
    cdef int64_t last_ns
    cdef readonly bint done
    cdef readonly set unknown_links
    cdef readonly object fault

    def __init__(self, Source source, Program program, Sink sink, ports, tape=None, bint secrets=False):
        self.source = source
        self.program = program
        self.sink = sink
        self.verdicts = Verdicts(program, sink)
        self.verdicts.secrets = secrets
        self.machine = Machine(self.verdicts, tape)
        self.streams = Streams(self.machine, source)
        self.table = Table(ports)
        self.fragments = Fragments()
        self.unknown_links = set()

    def step(self, int64_t frames):
        """Read up to this many frames; False when the source has ended and everything is written."""
        cdef int64_t left = frames
        cdef int got = NEXT_RECORD
        if self.done:
            return False
        with nogil:
            while left > 0 and got == NEXT_RECORD:
                got = self.frame()
                left -= 1
        self.raise_errors()
        if got != NEXT_RECORD:
            if got == NEXT_BAD:
                self.fault = self.source.fault()
            self.finish()
            return False
        return True

    cdef int raise_errors(self) except -1:
        for error in (self.verdicts.error, self.machine.tape.error, self.sink.error):
            if error is not None:
                raise error
        return 0

    cdef int frame(self) noexcept nogil:
        cdef Record record
        cdef Packet t
        cdef int got = self.source.next(&record)
        cdef int kind
        cdef bint conflict = False
        if got != NEXT_RECORD:
            return got
        self.packets += 1
        self.octets += record.wirelen
        self.last_ns = record.ns
        kind = frame_decode(&record, &t)
        if kind == IS_FRAGMENT:
            if self.fragments.push(&t, record.ns):
                kind = tcp_decode(&t)
                record.position = -1
                conflict = self.fragments.conflict
            else:
                return NEXT_RECORD
        if kind == IS_TCP:
            self.tcp(&t, &record, conflict)
        elif kind == IS_UNKNOWN_LINK:
            with gil:
                self.unknown_links.add(record.linktype)
        elif kind == IS_BAD:
            self.bad_frames += 1
        if self.packets % AGE_EVERY == 0:
            self.age(record.ns)
        return NEXT_RECORD

    cdef void tcp(self, Packet* t, Record* record, bint conflict) noexcept nogil:
        cdef int side = 0
        cdef int64_t position
        cdef Conn* conn = self.table.find(t, self.packets, record.ns, &side)
        if conn == NULL:
            return
        self.verdicts.frame = self.packets
        self.verdicts.ns = record.ns
        if t.flags & SYN and self.reused(conn, side, t, record.ns):
            conn = self.table.find(t, self.packets, record.ns, &side)
            if conn == NULL:
                return
        if conn.done or conn.kind == KIND_OTHER:
            conn.last_ns = record.ns
            return
        if record.ns > conn.last_ns:
            conn.last_ns = record.ns
        if conflict:
            conn.doubt |= DOUBT_OVERLAP
        position = record.position
        if position >= 0:
            position += t.payload - record.p
        if self.streams.push(conn, side, t, self.packets, record.ns, position):
            self.end(conn, record.ns)
        elif not conn.ending and conn.d[0].fin_at >= 0 and conn.d[1].fin_at >= 0:
            self.expect_end(conn, record.ns)
        if self.sink.pending:
            self.sink.flush()
        if conn.done and conn.talk != NULL:
            self.machine.free_talk(conn)

    cdef bint reused(self, Conn* conn, int side, Packet* t, int64_t ns) noexcept nogil:
        """A SYN on a known pair of ends: the same one again, or a new connection (RFC 9293 3.6.1)?"""
        if not conn.d[side].known or conn.first_packet == <uint64_t>self.packets:
            return False
        if conn.d[side].base == t.seq + 1:
            return False
        if conn.done:
            self.table.remove(conn)
            return True
        if not t.flags & ACK:
            # believed when a SYN/ACK answers it
            conn.reuse_seen = 1
            conn.reuse_isn = t.seq
            if not conn.d[side].syn and not conn.d[side].has_payload:
                return False
            if conn.d[0].fin_at >= 0 or conn.d[1].fin_at >= 0 or not conn.d[1 - side].has_payload:
                self.end(conn, ns)
                if self.sink.pending:
                    self.sink.flush()
                self.machine.free_talk(conn)
                self.table.remove(conn)
                return True
            return False
        if conn.reuse_seen and t.ack == conn.reuse_isn + 1:
            self.end(conn, ns)
            if self.sink.pending:
                self.sink.flush()
            self.machine.free_talk(conn)
            # the new connection begins with its SYN, which has passed: its number is what the SYN/ACK acknowledges
            self.table.remove(conn)
            return True
        return False

    cdef void end(self, Conn* conn, int64_t ns) noexcept nogil:
        """The connection is over: what is left of it is read, its mails and its own record are written."""
        if conn.done:
            return
        conn.ended_ns = ns
        self.streams.flush(conn)
        if conn.kind == KIND_SMTP:
            if (conn.d[0].packets == 0) != (conn.d[1].packets == 0) and (
                    conn.d[0].has_payload or conn.d[1].has_payload):
                conn.doubt |= DOUBT_ONE_DIRECTION
            self.connections += 1
            if conn.talk != NULL:
                self.machine.end(conn)
            self.table.close(conn, ns)
            self.sink.take_flow(conn)
        else:
            self.table.close(conn, ns)

    cdef void expect_end(self, Conn* conn, int64_t ns) noexcept nogil:
        """What a hole still holds back may come yet, but nothing new."""
        cdef Ending* more
        cdef uint32_t cap
        if self.first_ending + self.n_endings == self.cap_endings:
            if self.first_ending > self.n_endings:
                memmove(self.endings, self.endings + self.first_ending, self.n_endings * sizeof(Ending))
                self.first_ending = 0
            else:
                cap = self.cap_endings * 2 + 64
                more = <Ending*>realloc(self.endings, cap * sizeof(Ending))
                if more == NULL:
                    return
                self.endings = more
                self.cap_endings = cap
        conn.ending = 1
        more = &self.endings[self.first_ending + self.n_endings]
        more.conn = conn
        more.first_packet = conn.first_packet
        more.ns = ns
        self.n_endings += 1

    cdef void age(self, int64_t ns) noexcept nogil:
        cdef Conn* conn
        cdef Ending* ending
        while self.n_endings and ns - self.endings[self.first_ending].ns > PATIENCE_NS:
            ending = &self.endings[self.first_ending]
            self.first_ending += 1
            self.n_endings -= 1
            conn = ending.conn
            if conn.first_packet != ending.first_packet or conn.done or not conn.ending:
                continue
            self.end(conn, conn.last_ns)
            if self.sink.pending:
                self.sink.flush()
            self.machine.free_talk(conn)
        self.table.forget_closed(ns)
        while True:
            conn = self.table.expired(ns)
            if conn == NULL:
                break
            self.end(conn, conn.last_ns)
            if self.sink.pending:
                self.sink.flush()
            self.machine.free_talk(conn)
            self.table.remove(conn)

    cpdef finish(self):
        """Write what is still open, in the order of the connections' first frames."""
        cdef Conn** open
        cdef Conn* conn
        cdef uint32_t n = 0, i
        if self.done:
            return
        self.done = True
        open = <Conn**>malloc((self.table.n + 1) * sizeof(Conn*))
        if open == NULL:
            raise MemoryError
        with nogil:
            conn = self.table.oldest
            while conn != NULL:
                open[n] = conn
                n += 1
                conn = conn.newer
            qsort(open, n, sizeof(Conn*), by_first_packet)
            for i in range(n):
                conn = open[i]
                self.verdicts.frame = self.packets
                self.verdicts.ns = conn.last_ns
                self.end(conn, self.last_ns if self.last_ns > conn.last_ns else conn.last_ns)
                if self.sink.pending:
                    self.sink.flush()
                self.machine.free_talk(conn)
        free(open)
        self.raise_errors()

    def __dealloc__(self):
        cdef Conn* conn
        free(self.endings)
        if self.table is None or self.machine is None:
            return
        conn = self.table.oldest
        while conn != NULL:
            self.streams.forget(conn)
            self.machine.free_talk(conn)
            conn = conn.newer
