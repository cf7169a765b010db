"""Alerts, mails and connections on their way out: in order, to whoever writes them."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from smtpinspect._core.rows cimport Program
from smtpinspect._core.state cimport (
    Alert, Conn, Mail, PHASE_DATABODY, PHASE_DATAMID, PHASE_DOT, PHASE_DOTREPLY, PHASE_REPLY354, Standings,
)

cdef enum:
    SOCKET = 65536     # limits.SOCKET

cdef void standings_free(Standings* standing) noexcept nogil
cdef void free_mail(Mail* mail) noexcept nogil
cdef uint64_t flow_id(const Conn* conn) noexcept nogil


cdef inline int predicted_stage(int phase, int64_t offset, int64_t text_end) noexcept nogil:
    """Number of the stage (grammar/words.py STAGES); in the text it depends on what the sender's socket had taken."""
    if phase <= PHASE_REPLY354:
        return 1
    if phase == PHASE_DATABODY or phase == PHASE_DATAMID:
        return 3 if text_end >= 0 and text_end - offset - 1 <= SOCKET else 2
    if phase == PHASE_DOT or phase == PHASE_DOTREPLY:
        return 3
    return 0


cdef inline int flow_state(const Conn* conn) noexcept nogil:
    if conn.reset or (conn.d[0].fin_at >= 0 and conn.d[1].fin_at >= 0):
        return 2
    return 1 if conn.established or conn.d[0].has_payload or conn.d[1].has_payload else 0


cdef struct Mark:              # what one frame wrote
    int64_t frame
    size_t end


cdef class Sink:
    cdef Program program
    cdef readonly int64_t mails        # counted, shown or not
    cdef int64_t* alerts               # per rule
    cdef bint show_alerts
    cdef bint show_mails
    cdef bint show_flows
    cdef object error                  # what Python raised, to be raised again
    cdef public bint instant           # alerts come with the frame that decides them, all of them
    cdef Sink also                     # writes the same
    cdef readonly int64_t told         # alerts that were written
    # pending until the frame ends
    cdef Alert** first_of_row          # alerts, in a chain per row
    cdef Alert** last_of_row
    cdef bint pending_alerts
    cdef Mail* first_mail
    cdef Mail* last_mail
    cdef Conn** mail_conns
    cdef int n_mails
    cdef int cap_mails
    cdef Conn** flows
    cdef int n_flows
    cdef int cap_flows
    cdef bint pending
    # of a fork: where each frame's records end in what it wrote, since the last gather
    cdef bint forked
    cdef Mark* marks
    cdef size_t n_marks
    cdef size_t cap_marks
    cdef bint starved                  # there was no memory
    cdef uint8_t apart[128]             # from what another thread writes
    cdef int take_alert(self, Alert* alert) noexcept nogil     # owns it from here on
    cdef int take_mail(self, Conn* conn, Mail* mail) noexcept nogil
    cdef int take_flow(self, Conn* conn) noexcept nogil
    cdef int flush(self, int64_t frame) noexcept nogil
    cdef void mark(self, int64_t frame) noexcept nogil
    # A sink of the same kind for another thread, which keeps what it writes until it is gathered.
    cdef Sink fork(self)
    # What the forks wrote, in order of frames; one frame's records are all in one fork.
    cdef int gather(self, list forks) except -1
    # what a kind of sink does with each
    cdef int write_alert(self, Alert* alert) noexcept nogil
    cdef int write_mail(self, Conn* conn, Mail* mail) noexcept nogil
    cdef int write_flow(self, Conn* conn) noexcept nogil
    # and how a kind of sink keeps what it writes: how much that is, a part of another's, and nothing again
    cdef size_t written(self) noexcept nogil
    cdef int take_part(self, Sink fork, size_t start, size_t end) except -1
    cdef void forget_written(self) noexcept
