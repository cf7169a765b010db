"""From a fact to alerts, and from alerts to the standing of each inspector towards a mail and a connection."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.records cimport Sink
from smtpinspect._core.rows cimport Fired, Program
from smtpinspect._core.state cimport Conn, Fact, Mail

cdef class Verdicts:
    cdef Program program
    cdef Sink sink
    cdef bint secrets              # evidence may hold what AUTH sends
    cdef object error              # what a Python rule raised
    cdef int64_t frame             # the frame that is being read, and its time
    cdef int64_t ns
    cdef int64_t packet            # the frame whose octets are being read (earlier, when it came out of order)
    cdef uint8_t apart[128]             # from what another thread writes
    # Evaluate the rows of the fact's kind. `mail` NULL: outside mails.
    cdef int judge(self, Conn* conn, Mail* mail, Fact* fact) noexcept nogil
    # One row whose limit was passed.
    cdef int judge_row(self, Conn* conn, Mail* mail, Fact* fact, int row) noexcept nogil
    cdef int fire(self, Conn* conn, Mail* mail, Fact* fact, const Fired* decided) noexcept nogil
    cdef int ask(self, Conn* conn, Mail* mail, Fact* fact, int row) noexcept with gil
    cdef int tell(
        self, Conn* conn, Mail* mail, Fact* fact, const Fired* decided, int strength, bint breaks,
    ) noexcept nogil
    cdef void leave_out(self, Conn* conn) noexcept nogil
    cdef int begin_mail(self, Conn* conn, Mail* mail) noexcept nogil
    # Fill in what only the end of a mail can tell (stage, inherited standing) and hand it on.
    cdef int end_mail(self, Conn* conn, Mail* mail) noexcept nogil
