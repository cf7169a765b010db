"""The loop: frames from a source through all stages, until the source ends.

With several threads each takes one lane of a batch after the other; what the lanes wrote is put in the order of
frames before the next batch. Whatever looks at connections of all lanes (idle ones, limits on all of them, the
capture's end) happens between batches, at frame numbers that depend on nothing else.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memmove

from smtpinspect._core.connections cimport (
    conn_at, LANES, lane_of, table_expired, table_free, table_make, table_remove,
)
from smtpinspect._core.counted cimport counted_from
from smtpinspect._core.sources cimport NEXT_BAD, NEXT_RECORD, NEXT_TURN, NEXT_WAIT, Source
from smtpinspect._core.reader cimport AGE_EVERY, Batch, batch_free, batch_make, Reader
from smtpinspect._core.records cimport Sink
from smtpinspect._core.rows cimport Program
from smtpinspect._core.state cimport Conn
from smtpinspect._core.worker cimport Ending, Worker

from smtpinspect.grammar import limits as _limits

cdef int64_t PATIENCE_NS = _limits.PATIENCE_NS
cdef int64_t LINGER_NS = _limits.LINGER_NS
cdef int64_t STORED_TOTAL = _limits.STORED_TOTAL
cdef uint32_t REMEMBERED = _limits.REMEMBERED
cdef uint32_t CONNECTIONS = _limits.CONNECTIONS

assert _limits.THREADS == LANES

cdef enum:
    FEW = 32                   # segments that are not worth a round
    SMALL_BATCH = 64          # for one thread: as many as its first-level cache holds
    FILL = LANES               # tasks that are no lanes
    READ_AHEAD = LANES + 1     # and as many more as the source has parts
    TASKS = 32                 # forkjoin.h
    EVEN_OUT = 32              # rounds between two looks at who is late
    LATE = 12                  # so many more of them than the other


cdef int by_first_packet(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<Conn**>a)[0].first_packet
    cdef uint64_t y = (<Conn**>b)[0].first_packet
    return -1 if x < y else 1 if x > y else 0


cdef int by_frame(const void* a, const void* b) noexcept nogil:
    cdef int64_t x = (<Ending*>a).frame
    cdef int64_t y = (<Ending*>b).frame
    return -1 if x < y else 1 if x > y else 0


@cython.no_gc_clear                             # __dealloc__ needs what a collector would have cleared
cdef class Replay:
    """One pass over a source. `step` reads some frames and returns whether there are more.

    With more than one thread, `close` ends the others; the end of the source does, too.
    """

    def __cinit__(self, *args, **kwargs):
        self.batch, self.after = &self.batches[0], &self.batches[1]
        self.got = NEXT_TURN
        if forkjoin_make(&self.tasks) < 0 or batch_make(self.batch) < 0 or batch_make(self.after) < 0:
            raise MemoryError

    def __init__(
        self, Source source, Program program, Sink sink, ports, tape=None, bint secrets=False, int threads=1,
    ):
        cdef int i
        if not 1 <= threads <= LANES:
            raise ValueError(f"{threads} threads; 1 to {LANES} can work")
        served = bytearray(65536)
        for port in ports:
            if not 0 < port < 65536:
                raise ValueError(f"{port} is no TCP port")
            served[port] = 1
        self.ports = bytes(served)
        for i in range(LANES):
            forkjoin_own(&self.tasks, i, i % threads)
            if table_make(&self.tables[i], self.ports) < 0:
                raise MemoryError
        forkjoin_own(&self.tasks, FILL, 0)
        self.threads = threads
        self.program = program
        self.sink = sink
        self.reader = Reader(source)
        self.forks = [sink.fork() for _ in range(threads)] if threads > 1 else []
        self.workers = [Worker(source, program, each, tape, secrets) for each in self.forks or [sink]]
        self.each = <void**>malloc(threads * sizeof(void*))
        if self.each == NULL:
            raise MemoryError
        for i in range(threads):
            self.each[i] = <void*>self.workers[i]
        self.helpers = []
        if threads > 1:
            source.overlap()
            import threading
            for i in range(1, threads):
                helper = threading.Thread(target=self._help, args=(i,), name=f"smtpinspect-{i}", daemon=True)
                try:
                    helper.start()
                except BaseException:
                    self.close()
                    raise
                self.helpers.append(helper)

    @property
    def packets(self):
        return self.reader.packets

    @property
    def octets(self):
        return self.reader.octets

    @property
    def bad_frames(self):
        return self.reader.bad_frames

    @property
    def unknown_links(self):
        return self.reader.unknown_links

    @property
    def connections(self):
        cdef Worker worker
        cdef int64_t n = 0
        for worker in self.workers:
            n += worker.connections
        return n

    def step(self, int64_t frames):
        """Read up to this many frames; False when the source has ended and everything is written.

        A source that waits for frames gives back earlier, too: several times a second.
        """
        cdef int64_t until = self.reader.packets + frames
        if self.done:
            return False
        with nogil:
            while self.reader.packets < until and self.more():
                self.round(until)
                if self.got == NEXT_WAIT:
                    if self.reader.source.quiet_ns:
                        self.age(self.reader.source.quiet_ns, self.reader.packets)
                    break
            counted_from(0)
        self.gather()
        self.raise_errors()
        if not self.more():
            if self.got == NEXT_BAD:
                self.fault = self.reader.source.fault()
            self.finish()
            return False
        return True

    cdef bint more(self) noexcept nogil:
        return self.got == NEXT_RECORD or self.got == NEXT_TURN or self.got == NEXT_WAIT

    cdef int raise_errors(self) except -1:
        cdef Worker worker
        for worker in self.workers:
            for error in (worker.verdicts.error, worker.machine.tape.error):
                if error is not None:
                    # once: what was read comes out behind it
                    worker.verdicts.error = None
                    raise error
        error, self.sink.error = self.sink.error, None
        if error is not None:
            raise error
        return 0

    cdef void round(self, int64_t until) noexcept nogil:
        """A batch through all lanes. Where the source overlaps, the next one is filled meanwhile."""
        self.most = until - self.reader.packets
        if self.threads == 1 and self.most > SMALL_BATCH:
            self.most = SMALL_BATCH
        if self.batch.last < self.batch.first:
            self.fill(self.batch)
            self.most = until - self.reader.packets
        if self.batch.last >= self.batch.first:
            if self.threads == 1:
                (<Worker>self.each[0]).run(self.tables, self.batch)
            else:
                self.share()
            if self.batch.last % AGE_EVERY == 0:
                self.age(self.batch.ns, self.batch.last)
        self.batch.last = self.batch.first - 1
        if self.reader.source.overlaps:
            self.batch, self.after = self.after, self.batch

    cdef void fill(self, Batch* batch) noexcept nogil:
        self.got = self.reader.fill(batch, self.most)

    # --- threads -------------------------------------------------------------------------------------

    cdef void share(self) noexcept nogil:
        """The lanes of the batch, to all threads."""
        cdef uint32_t todo = 0
        cdef int lane, i
        cdef bint wrote = False
        if self.batch.n < FEW:
            (<Worker>self.each[0]).run(self.tables, self.batch)
            return
        if self.reader.source.overlaps:
            for i in range(self.reader.source.settle()):
                todo |= <uint32_t>1 << (READ_AHEAD + i)
            todo |= <uint32_t>(self.most > 0 and self.more()) << FILL
        for lane in range(LANES):
            todo |= <uint32_t>(self.batch.count[lane] > 0) << lane
        self.work(0, forkjoin_give(&self.tasks, todo))
        forkjoin_join(&self.tasks)
        self.reader.source.collect()
        self.even_out()
        for i in range(self.threads):
            wrote = wrote or (<Worker>self.each[i]).sink.n_marks != 0
        if wrote:
            with gil:
                self.gather()

    cdef void work(self, int number, uint32_t round) noexcept nogil:
        """A lane stays with its thread, in whose cache its connections are; reading evens out what is left."""
        cdef int task
        if forkjoin_claim(&self.tasks, FILL, number, round):
            self.fill(self.after)
            forkjoin_did(&self.tasks, FORKJOIN_ANYBODY)
        for task in range(LANES):
            if forkjoin_claim(&self.tasks, task, number, round):
                (<Worker>self.each[number]).run_lane(self.tables, self.batch, task)
                forkjoin_did(&self.tasks, number)
        for task in range(READ_AHEAD, TASKS):
            if forkjoin_claim(&self.tasks, task, number, round):
                self.reader.source.read_ahead(task - READ_AHEAD)
                forkjoin_did(&self.tasks, FORKJOIN_ANYBODY)

    cdef void even_out(self) noexcept nogil:
        """Who is mostly the last gives a lane to who is hardly ever."""
        cdef int first = 0, last = forkjoin_last(&self.tasks), lane, i
        if last != FORKJOIN_ANYBODY:
            self.late[last] += 1
        self.rounds += 1
        if self.rounds % EVEN_OUT:
            return
        last = 0
        for i in range(self.threads):
            if self.late[i] < self.late[first]:
                first = i
            if self.late[i] > self.late[last]:
                last = i
        if self.late[last] > LATE + self.late[first]:
            for lane in range(LANES):
                if forkjoin_owner(&self.tasks, lane) == last:
                    forkjoin_own(&self.tasks, lane, first)
                    break
        for i in range(self.threads):
            self.late[i] = 0

    def _help(self, int number):
        cdef uint32_t seen = 0
        with nogil:
            while forkjoin_wait(&self.tasks, &seen):
                self.work(number, seen)

    cdef void gather(self) noexcept:
        if self.forks:
            try:
                self.sink.gather(self.forks)
            except BaseException as error:
                if self.sink.error is None:
                    self.sink.error = error

    def close(self):
        """End the other threads. What was read stays."""
        forkjoin_stop(&self.tasks)
        helpers, self.helpers = self.helpers, []
        for helper in helpers:
            helper.join()

    # --- between batches -------------------------------------------------------------------------------

    cdef int collect_endings(self) noexcept nogil:
        """Those of all workers since the last time, behind the earlier ones."""
        cdef Ending* more
        cdef uint32_t n = 0, cap, i
        for i in range(<uint32_t>self.threads):
            n += (<Worker>self.each[i]).n_endings
        if n == 0:
            return 0
        if self.first_ending > self.n_endings:
            memmove(self.endings, self.endings + self.first_ending, self.n_endings * sizeof(Ending))
            self.first_ending = 0
        if self.first_ending + self.n_endings + n > self.cap_endings:
            cap = (self.first_ending + self.n_endings + n) * 2
            more = <Ending*>realloc(self.endings, cap * sizeof(Ending))
            if more == NULL:
                return -1                           # they stay where they are until there is memory
            self.endings = more
            self.cap_endings = cap
        more = self.endings + self.first_ending + self.n_endings
        self.n_endings += n
        n = 0
        for i in range(<uint32_t>self.threads):
            memcpy(more + n, (<Worker>self.each[i]).endings, (<Worker>self.each[i]).n_endings * sizeof(Ending))
            n += (<Worker>self.each[i]).n_endings
            (<Worker>self.each[i]).n_endings = 0
        qsort(more, n, sizeof(Ending), by_frame)
        return 0

    cdef void age(self, int64_t ns, int64_t frame) noexcept nogil:
        """Connections that have ended, are remembered for too long, or have been idle for too long."""
        cdef int64_t stored = 0
        cdef uint32_t i
        cdef Conn* conn
        cdef Ending* ending
        (<Worker>self.each[0]).verdicts.frame = frame
        (<Worker>self.each[0]).verdicts.ns = ns
        self.collect_endings()
        while self.n_endings and ns - self.endings[self.first_ending].ns > PATIENCE_NS:
            ending = &self.endings[self.first_ending]
            self.first_ending += 1
            self.n_endings -= 1
            conn = ending.conn
            if conn.first_packet != ending.first_packet or conn.done or not conn.ending:
                continue
            self.end(conn, conn.last_ns, frame)
        self.forget_closed(ns)
        self.expire(ns, frame)
        for i in range(<uint32_t>self.threads):
            stored += (<Worker>self.each[i]).streams.store.octets
        for i in range(<uint32_t>self.threads):
            (<Worker>self.each[i]).streams.tight = stored > STORED_TOTAL

    cdef void end(self, Conn* conn, int64_t ns, int64_t frame) noexcept nogil:
        (<Worker>self.each[0]).end(&self.tables[lane_of(&conn.key)], conn, ns, frame)

    cdef uint32_t n_open(self) noexcept nogil:
        cdef uint32_t n = 0
        cdef int lane
        for lane in range(LANES):
            n += self.tables[lane].n - self.tables[lane].n_closed
        return n

    cdef void forget_closed(self, int64_t ns) noexcept nogil:
        """Those closed long ago, then the earliest of too many."""
        cdef Conn* conn
        cdef Conn* earliest
        cdef uint32_t n = 0
        cdef int lane
        for lane in range(LANES):
            conn = conn_at(&self.tables[lane], self.tables[lane].first_closed)
            while conn != NULL and conn.moved_ns + LINGER_NS < ns:
                table_remove(&self.tables[lane], conn)
                conn = conn_at(&self.tables[lane], self.tables[lane].first_closed)
            n += self.tables[lane].n_closed
        while n > REMEMBERED:
            earliest = NULL
            for lane in range(LANES):
                conn = conn_at(&self.tables[lane], self.tables[lane].first_closed)
                if conn != NULL and (earliest == NULL or earlier(conn, earliest)):
                    earliest = conn
            table_remove(&self.tables[lane_of(&earliest.key)], earliest)
            n -= 1

    cdef void expire(self, int64_t ns, int64_t frame) noexcept nogil:
        """Those idle for too long, and the longest idle of too many."""
        cdef Conn* conn
        cdef Conn* longest
        cdef uint32_t n = self.n_open()
        cdef int lane
        while True:
            longest = NULL
            for lane in range(LANES):
                conn = table_expired(&self.tables[lane], ns)
                if conn == NULL and n > CONNECTIONS:
                    conn = conn_at(&self.tables[lane], self.tables[lane].oldest)
                if conn != NULL and (longest == NULL or earlier(conn, longest)):
                    longest = conn
            if longest == NULL:
                return
            self.end(longest, longest.last_ns, frame)
            table_remove(&self.tables[lane_of(&longest.key)], longest)
            n -= 1

    cpdef finish(self):
        """Write what is still open, in the order of the connections' first frames."""
        cdef Conn** open
        cdef Conn* conn
        cdef uint32_t n = 0, i
        cdef int lane
        cdef int64_t last_ns = self.reader.last_ns
        if self.done:
            return
        self.done = True
        with nogil:
            if self.batch.last >= self.batch.first:
                self.most = 0
                self.round(self.reader.packets)
        self.close()
        self.gather()
        open = <Conn**>malloc((self.n_open() + 1) * sizeof(Conn*))
        if open == NULL:
            raise MemoryError
        with nogil:
            for lane in range(LANES):
                conn = conn_at(&self.tables[lane], self.tables[lane].oldest)
                while conn != NULL:
                    open[n] = conn
                    n += 1
                    conn = conn_at(&self.tables[lane], conn.newer)
            qsort(open, n, sizeof(Conn*), by_first_packet)
            for i in range(n):
                conn = open[i]
                (<Worker>self.each[0]).verdicts.frame = self.reader.packets
                (<Worker>self.each[0]).verdicts.ns = conn.last_ns
                self.end(conn, last_ns if last_ns > conn.last_ns else conn.last_ns, self.reader.packets)
            counted_from(0)
        free(open)
        self.gather()
        self.raise_errors()

    def __dealloc__(self):
        cdef Conn* conn
        cdef int lane
        for lane in range(LANES):
            if self.each != NULL and self.workers:
                conn = conn_at(&self.tables[lane], self.tables[lane].oldest)
                while conn != NULL:
                    (<Worker>self.each[0]).streams.forget(conn)
                    (<Worker>self.each[0]).machine.free_talk(conn)
                    conn = conn_at(&self.tables[lane], conn.newer)
            table_free(&self.tables[lane])
        batch_free(&self.batches[0])
        batch_free(&self.batches[1])
        free(self.endings)
        free(self.each)
        forkjoin_free(&self.tasks)


cdef inline bint earlier(const Conn* a, const Conn* b) noexcept nogil:
    """Looked at before the other, or begun before it."""
    return a.moved_ns < b.moved_ns or (a.moved_ns == b.moved_ns and a.first_packet < b.first_packet)
