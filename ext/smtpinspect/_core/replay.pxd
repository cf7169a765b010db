"""The loop: frames from a source through all stages, until the source ends."""

from libc.stdint cimport int64_t, uint32_t

from smtpinspect._core.connections cimport LANES, Table
from smtpinspect._core.reader cimport Batch, Reader
from smtpinspect._core.records cimport Sink
from smtpinspect._core.rows cimport Program
from smtpinspect._core.state cimport Conn
from smtpinspect._core.worker cimport Ending

cdef extern from "forkjoin.h" nogil:
    ctypedef struct forkjoin:
        pass
    int forkjoin_make(forkjoin* f)
    void forkjoin_free(forkjoin* f)
    uint32_t forkjoin_give(forkjoin* f, uint32_t tasks)
    void forkjoin_own(forkjoin* f, int task, int who)
    int forkjoin_owner(forkjoin* f, int task)
    int forkjoin_claim(forkjoin* f, int task, int who, uint32_t round)
    void forkjoin_did(forkjoin* f, int who)
    int forkjoin_last(forkjoin* f)
    int FORKJOIN_ANYBODY
    void forkjoin_join(forkjoin* f)
    int forkjoin_wait(forkjoin* f, uint32_t* seen)
    void forkjoin_stop(forkjoin* f)

cdef class Replay:
    cdef Reader reader
    cdef Program program
    cdef Sink sink
    cdef list workers              # one per thread, the first is this one's
    cdef list forks                # their sinks; none for one thread, which writes at once
    cdef list helpers              # the other threads
    cdef void** each               # the workers, borrowed
    cdef int threads
    cdef Table tables[LANES]
    cdef bytes ports
    cdef Batch batches[2]
    cdef Batch* batch              # that is worked on, or comes next
    cdef Batch* after              # filled meanwhile, where the source overlaps
    cdef int got                   # how the batch ended that was filled last: sources.Next
    cdef int64_t most              # frames that may be filled in
    cdef forkjoin tasks
    cdef int late[LANES]           # rounds of which this thread's lane was the last task, of the present EVEN_OUT ones
    cdef int rounds
    cdef Ending* endings           # in the order of their second FIN
    cdef uint32_t first_ending
    cdef uint32_t n_endings
    cdef uint32_t cap_endings
    cdef readonly bint done
    cdef readonly object fault
    cdef void round(self, int64_t until) noexcept nogil    # a batch, that ends before this frame at the latest
    cdef bint more(self) noexcept nogil
    cdef int raise_errors(self) except -1
    cdef void fill(self, Batch* batch) noexcept nogil
    cdef void share(self) noexcept nogil
    cdef void work(self, int number, uint32_t round) noexcept nogil
    cdef void even_out(self) noexcept nogil
    cdef void gather(self) noexcept
    cdef int collect_endings(self) noexcept nogil
    # what looks at all connections, at multiples of AGE_EVERY frames
    cdef void age(self, int64_t ns, int64_t frame) noexcept nogil
    cdef void end(self, Conn* conn, int64_t ns, int64_t frame) noexcept nogil
    cdef uint32_t n_open(self) noexcept nogil
    cdef void forget_closed(self, int64_t ns) noexcept nogil
    cdef void expire(self, int64_t ns, int64_t frame) noexcept nogil
    cpdef finish(self)
