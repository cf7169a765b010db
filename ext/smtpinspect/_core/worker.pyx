"""What one thread needs to take segments of any lane through reassembly, dialogue and rules."""

cimport cython
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from smtpinspect._core.connections cimport (
    lane_of, LANES, prefetch, prefetch_bucket, prefetch_conn, prefetch_span, prefetch_talk, side_of, Table,
    table_close, table_find, table_remove,
)
from smtpinspect._core.counted cimport PURSES, counted_from
from smtpinspect._core.frame cimport ACK, Packet, SYN
from smtpinspect._core.keep cimport Kept
from smtpinspect._core.machine cimport Machine
from smtpinspect._core.reader cimport AGE_EVERY, Batch, Seen
from smtpinspect._core.segments cimport Streams
from smtpinspect._core.state cimport Conn, DOUBT_ONE_DIRECTION, DOUBT_OVERLAP, KIND_OTHER, KIND_SMTP
from smtpinspect._core.verdicts cimport Verdicts

assert PURSES == LANES

cdef enum:                     # segments ahead: the bucket, the connection, its dialogue
    BUCKET_AHEAD = 8
    CONN_AHEAD = 5
    TALK_AHEAD = 2
    SEEN_AHEAD = 12            # of another thread's batch
    HEAD = 512                 # octets of a segment; the processor itself sees that the rest will be read


cdef bint breaks(const Conn* conn, int inspectors) noexcept nogil:
    """Would one of them break the flow?"""
    cdef int i
    if conn.talk != NULL and conn.talk.standing != NULL:
        for i in range(inspectors):
            if conn.talk.standing.each[i].broke >= 0:
                return True
    return False


cdef inline void prefetch_seen(const Seen* seen) noexcept nogil:
    prefetch(seen)
    prefetch(<const uint8_t*>seen + 64)
    prefetch(<const uint8_t*>seen + 128)


@cython.no_gc_clear                             # __dealloc__ needs what a collector would have cleared
cdef class Worker:
    def __init__(self, source, program, sink, tape, bint secrets):
        self.sink = sink
        self.verdicts = Verdicts(program, sink)
        self.verdicts.secrets = secrets
        self.machine = Machine(self.verdicts, tape)
        self.streams = Streams(self.machine, source)
        self.kept = source if isinstance(source, Kept) else None

    def __dealloc__(self):
        free(self.endings)

    cdef void run(self, Table* tables, Batch* batch) noexcept nogil:
        cdef Seen* seen = batch.seen
        cdef int i
        for i in range(batch.n):
            if i + BUCKET_AHEAD < batch.n:
                prefetch_bucket(&tables[seen[BUCKET_AHEAD].lane], seen[BUCKET_AHEAD].hash)
                prefetch_conn(&tables[seen[CONN_AHEAD].lane], seen[CONN_AHEAD].hash)
                prefetch_talk(&tables[seen[TALK_AHEAD].lane], seen[TALK_AHEAD].hash)
            counted_from(seen.lane + 1)
            self.take(&tables[seen.lane], seen, batch.first + seen.order)
            seen += 1

    cdef void run_lane(self, Table* tables, Batch* batch, int lane) noexcept nogil:
        """Another thread may have filled the batch: what it wrote is asked of the memory early, too."""
        cdef Table* table = &tables[lane]
        cdef const int16_t* which = batch.of_lane + lane * AGE_EVERY
        cdef int n = batch.count[lane], i
        cdef Seen* seen
        counted_from(lane + 1)
        for i in range(min(n, SEEN_AHEAD)):
            prefetch_seen(&batch.seen[which[i]])
        for i in range(n):
            if i + SEEN_AHEAD < n:
                prefetch_seen(&batch.seen[which[i + SEEN_AHEAD]])
            if i + CONN_AHEAD < n:
                seen = &batch.seen[which[i + CONN_AHEAD]]
                prefetch_span(seen.packet.payload, min(seen.packet.payload_caplen, HEAD))
                prefetch_conn(table, seen.hash)
            if i + TALK_AHEAD < n:
                prefetch_talk(table, batch.seen[which[i + TALK_AHEAD]].hash)
            seen = &batch.seen[which[i]]
            self.take(table, seen, batch.first + seen.order)

    cdef void take(self, Table* table, Seen* seen, int64_t number) noexcept nogil:
        cdef Packet* t = &seen.packet
        cdef int64_t ns = seen.ns
        cdef int side
        cdef Conn* conn = table_find(table, t, &seen.key, seen.hash, seen.from_lo, number, ns)
        if conn == NULL:
            return
        side = side_of(conn, seen.from_lo)
        self.verdicts.frame = number
        self.verdicts.ns = ns
        if t.flags & SYN and self.reused(table, conn, side, seen, number):
            conn = table_find(table, t, &seen.key, seen.hash, seen.from_lo, number, ns)
            if conn == NULL:
                return
            side = side_of(conn, seen.from_lo)
        if conn.done or conn.kind == KIND_OTHER:
            conn.last_ns = ns
            return
        if ns > conn.last_ns:
            conn.last_ns = ns
        if seen.conflict:
            conn.doubt |= DOUBT_OVERLAP
        self.streams.here = seen.here
        if self.streams.push(conn, side, t, number, ns, seen.position):
            self.end(table, conn, ns, number)
        elif not conn.ending and conn.d[0].fin_at >= 0 and conn.d[1].fin_at >= 0:
            self.expect_end(conn, ns, number)
        if self.sink.pending:
            self.sink.flush(number)
        if conn.done and conn.talk != NULL:
            self.machine.free_talk(conn)

    cdef bint reused(self, Table* table, Conn* conn, int side, Seen* seen, int64_t number) noexcept nogil:
        """A SYN on a known pair of ends: the same one again, or a new connection (RFC 9293 3.6.1)?"""
        cdef Packet* t = &seen.packet
        if not conn.d[side].known or conn.first_packet == <uint64_t>number:
            return False
        if conn.d[side].base == t.seq + 1:
            return False
        if conn.done:
            table_remove(table, conn)
            return True
        if not t.flags & ACK:
            # believed when a SYN/ACK answers it
            conn.reuse_seen = 1
            conn.reuse_isn = t.seq
            if not conn.d[side].syn and not conn.d[side].has_payload:
                return False
            if conn.d[0].fin_at >= 0 or conn.d[1].fin_at >= 0 or not conn.d[1 - side].has_payload:
                self.leave(table, conn, seen.ns, number)
                return True
            return False
        if conn.reuse_seen and t.ack == conn.reuse_isn + 1:
            # the new connection begins with its SYN, which has passed: its number is what the SYN/ACK acknowledges
            self.leave(table, conn, seen.ns, number)
            return True
        return False

    cdef void leave(self, Table* table, Conn* conn, int64_t ns, int64_t number) noexcept nogil:
        """It is over, and its place is free."""
        self.end(table, conn, ns, number)
        table_remove(table, conn)

    cdef void end(self, Table* table, Conn* conn, int64_t ns, int64_t number) noexcept nogil:
        if conn.done:
            return
        counted_from(lane_of(&conn.key) + 1)
        conn.moved_ns = ns
        self.streams.flush(conn)
        if conn.kind == KIND_SMTP:
            if (conn.d[0].packets == 0) != (conn.d[1].packets == 0) and (
                    conn.d[0].has_payload or conn.d[1].has_payload):
                conn.doubt |= DOUBT_ONE_DIRECTION
            self.connections += 1
            if conn.talk != NULL:
                self.machine.end(conn)
            table_close(table, conn, ns)
            self.sink.take_flow(conn)
        else:
            table_close(table, conn, ns)
        if self.kept is not None:
            self.kept.over(conn, number, breaks(conn, self.verdicts.program.ninspectors))
        if self.sink.pending:
            self.sink.flush(number)
        self.machine.free_talk(conn)

    cdef void expect_end(self, Conn* conn, int64_t ns, int64_t number) noexcept nogil:
        """What a hole still holds back may come yet, but nothing new."""
        cdef Ending* more
        cdef uint32_t cap
        if self.n_endings == self.cap_endings:
            cap = self.cap_endings * 2 + 64
            more = <Ending*>realloc(self.endings, cap * sizeof(Ending))
            if more == NULL:
                return
            self.endings = more
            self.cap_endings = cap
        conn.ending = 1
        self.endings[self.n_endings] = Ending(conn=conn, first_packet=conn.first_packet, frame=number, ns=ns)
        self.n_endings += 1
