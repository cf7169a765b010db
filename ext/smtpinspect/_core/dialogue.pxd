"""What both sides of a dialogue share: the state, and the queue of commands that wait for their replies."""

from libc.stdint cimport int64_t

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn, Line, Mail, Pending, Reply, SERVER, Talk
from smtpinspect._core.tape cimport Tape
from smtpinspect._core.verdicts cimport Verdicts

cdef enum:                     # what a pending command was, where its verb does not tell
    W_COMMAND = 0
    W_ANSWER = 1
    W_END = 2
    W_EMPTY = 3

cdef enum:
    QUEUE = 4                  # commands that a queue holds at first
    SPARE = 64                 # such queues without commands that the next connections use

# The mail whose text is over and whose deciding reply has not come, if no other has begun.
cdef Mail* sent_mail(Talk* talk) noexcept nogil
# The mail that a command's facts belong to; commands that end a mail stand outside.
cdef Mail* mail_of(Talk* talk, int verb) noexcept nogil
cdef int phase_now(Talk* talk, int verb) noexcept nogil       # of a command
cdef int reply_phase(Pending* p) noexcept nogil
# A count that grows by one: its limits fire at limit + 1.
cdef void count_fact(
    Dialogue dialogue, Conn* conn, Mail* mail, int side, int what, int64_t value, int phase, Line* line, Span text,
) noexcept nogil

cdef class Dialogue:
    cdef Verdicts verdicts
    cdef Tape tape
    cdef bint merged               # the client's segment that is being read is a merged one
    cdef int64_t reply_end         # stream offset behind the reply line that is being read
    cdef int64_t ack               # what it acknowledges: stream offset of the server, -1 unknown
    cdef Line line[2]              # lent while octets are read; only one that is open stays with its connection
    cdef Reply reply
    cdef Pending* spare[SPARE]
    cdef int n_spare
    cdef Pending* queue_add(self, Talk* talk) noexcept nogil
    cdef void queue_take(self, Talk* talk, Pending* taken) noexcept nogil
    cdef void keep_line(self, Talk* talk, int side) noexcept nogil
    cdef void keep_reply(self, Talk* talk) noexcept nogil
    # Go where the table says; returns what else is to be done.
    cdef int event(self, Conn* conn, int event) noexcept nogil
    # Queue a command: a reply is due.
    cdef Pending* ask(
        self, Conn* conn, int64_t at, int64_t end, int64_t packet, int verb, Span word, int what, int phase, Mail* mail,
    ) noexcept nogil
    cdef void forget(self, Conn* conn) noexcept nogil         # the replies to what waits are lost


cdef inline void lend(Dialogue dialogue, Talk* talk, int side) noexcept nogil:
    if talk.line[side] == NULL:
        talk.line[side] = &dialogue.line[side]
    if side == SERVER and talk.reply == NULL:
        talk.reply = &dialogue.reply


cdef inline void take_back(Dialogue dialogue, Talk* talk, int side) noexcept nogil:
    if talk.line[side] != &dialogue.line[side] or dialogue.line[side].n:
        dialogue.keep_line(talk, side)
    else:
        talk.line[side] = NULL
    if side == SERVER:
        if talk.reply != &dialogue.reply or talk.in_reply:
            dialogue.keep_reply(talk)
        else:
            talk.reply = NULL
