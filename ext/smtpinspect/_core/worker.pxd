"""What one thread needs to take segments of any lane through reassembly, dialogue and rules."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from smtpinspect._core.connections cimport Table
from smtpinspect._core.keep cimport Kept
from smtpinspect._core.machine cimport Machine
from smtpinspect._core.reader cimport Batch, Seen
from smtpinspect._core.records cimport Sink
from smtpinspect._core.segments cimport Streams
from smtpinspect._core.state cimport Conn
from smtpinspect._core.verdicts cimport Verdicts

cdef struct Ending:            # a connection whose FINs have both come
    Conn* conn
    uint64_t first_packet      # tells whether it is still that connection
    int64_t frame
    int64_t ns

cdef class Worker:
    cdef Sink sink
    cdef Machine machine
    cdef Streams streams
    cdef Verdicts verdicts
    cdef Ending* endings       # since they were last collected
    cdef uint32_t n_endings
    cdef uint32_t cap_endings
    cdef Kept kept             # is told of each connection that is over; None: nobody wants its packets
    cdef int64_t connections   # SMTP connections that are over
    # All segments of a batch in their order; those of one lane.
    cdef void run(self, Table* tables, Batch* batch) noexcept nogil
    cdef void run_lane(self, Table* tables, Batch* batch, int lane) noexcept nogil
    cdef void take(self, Table* table, Seen* seen, int64_t number) noexcept nogil
    cdef bint reused(self, Table* table, Conn* conn, int side, Seen* seen, int64_t number) noexcept nogil
    cdef void leave(self, Table* table, Conn* conn, int64_t ns, int64_t number) noexcept nogil
    # The connection is over: what is left of it is read, its mails and its own record are written.
    cdef void end(self, Table* table, Conn* conn, int64_t ns, int64_t number) noexcept nogil
    cdef void expect_end(self, Conn* conn, int64_t ns, int64_t number) noexcept nogil
