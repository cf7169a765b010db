"""What both sides of a dialogue share: the state, and the queue of commands that wait for their replies."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from smtpinspect._core.commands cimport V_BDAT, V_DATA, V_EHLO, V_HELO, V_LHLO, V_QUIT, V_RCPT, V_RSET, verb_phase
from smtpinspect._core.lines cimport line_done
from smtpinspect._core.rows cimport F_COUNT, fact_begin, Limits
from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport (
    Conn, Direction, DOUBT_CAP, DOUBT_GAP, Fact, GIVEN_TLS, Line, Mail, OUTCOME_UNKNOWN, Pending, PHASE_DOTREPLY,
    PHASE_EHLO, PHASE_NONE, PHASE_REPLY354, Reply, Talk, Text, VERB_LENGTH,
)
from smtpinspect._core.states cimport action_of, D_PLAIN, D_RESYNC, next_state
from smtpinspect._core.tape cimport Tape
from smtpinspect._core.text cimport text_free
from smtpinspect._core.transactions cimport mail_end, mail_phase
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

assert _limits.VERB_LENGTH == VERB_LENGTH

cdef uint32_t OUTSTANDING = _limits.OUTSTANDING
assert OUTSTANDING <= 1 << 15                  # queue_add doubles


def sizes():
    """For tests: octets of what each connection has."""
    return {"Conn": sizeof(Conn), "Direction": sizeof(Direction), "Talk": sizeof(Talk)}


cdef Mail* sent_mail(Talk* talk) noexcept nogil:
    """The mail whose text is over and whose deciding reply has not come, if no other has begun."""
    cdef Mail* mail = talk.last_mail
    return mail if mail != NULL and mail.closed and mail.text_end >= 0 else NULL


cdef int phase_now(Talk* talk, int verb) noexcept nogil:
    """The phase of a command; one that has none of its own is in the phase that is reached."""
    cdef int phase = verb_phase(verb)
    if phase != PHASE_NONE:
        return phase
    if talk.open == NULL and verb != V_EHLO and verb != V_HELO and sent_mail(talk) != NULL:
        return PHASE_DOTREPLY
    if talk.open == NULL or verb == V_EHLO or verb == V_HELO:
        return PHASE_EHLO
    return mail_phase(talk.open)


cdef int reply_phase(Pending* p) noexcept nogil:
    """A missing reply breaks the flow where its command stands, but for the two that have a phase of their own."""
    if p.what == W_END or (p.verb == V_BDAT and p.last):
        return PHASE_DOTREPLY
    return PHASE_REPLY354 if p.verb == V_DATA else p.phase


cdef Mail* mail_of(Talk* talk, int verb) noexcept nogil:
    """The mail that a command's facts belong to; commands that end a mail stand outside."""
    if verb == V_RSET or verb == V_EHLO or verb == V_HELO or verb == V_LHLO or verb == V_QUIT:
        return NULL
    if verb == V_RCPT or verb == V_DATA or verb == V_BDAT:
        return talk.open
    return talk.open if talk.open != NULL else sent_mail(talk)


cdef void count_fact(
    Dialogue dialogue, Conn* conn, Mail* mail, int side, int what, int64_t value, int phase, Line* line, Span text,
) noexcept nogil:
    """A count that grows by one: its limits fire at limit + 1."""
    cdef Limits* limits = &dialogue.verdicts.program.counts[what]
    cdef Fact fact
    cdef int i
    for i in range(limits.n):
        if value != limits.at[i].limit + 1:
            continue
        fact_begin(&fact, F_COUNT, side, phase)
        fact.v[0] = what
        fact.v[1] = value
        fact.offset = line.start
        fact.length = line.n
        fact.packet = line.packet
        fact.octets = text
        dialogue.verdicts.judge_row(conn, mail, &fact, limits.at[i].row)


cdef class Dialogue:
    def __init__(self, Verdicts verdicts, Tape tape):
        self.verdicts = verdicts
        self.tape = tape

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_spare):
            free(self.spare[i])
        text_free(&self.line[0].kept)
        text_free(&self.line[1].kept)
        text_free(&self.reply.greeting)

    cdef void keep_line(self, Talk* talk, int side) noexcept nogil:
        """A line of which octets are still to come stays with its connection."""
        cdef Line* lent = &self.line[side]
        cdef Line* own = talk.line[side]
        if own == lent:
            own = <Line*>malloc(sizeof(Line))
            if own != NULL:
                own[0] = lent[0]
                lent.kept = Text(p=NULL, n=0, cap=0)
            line_done(lent)
            talk.line[side] = own
        elif own.n == 0:
            if lent.kept.p == NULL:
                lent.kept = own.kept
            else:
                text_free(&own.kept)
            free(own)
            talk.line[side] = NULL

    cdef void keep_reply(self, Talk* talk) noexcept nogil:
        """So does a reply of which lines are still to come."""
        cdef Reply* own = talk.reply
        if own == &self.reply:
            own = <Reply*>malloc(sizeof(Reply))
            if own != NULL:
                own[0] = self.reply
                self.reply.greeting = Text(p=NULL, n=0, cap=0)
            else:
                talk.in_reply = 0
            talk.reply = own
        elif not talk.in_reply:
            text_free(&own.greeting)
            free(own)
            talk.reply = NULL

    cdef Pending* queue_add(self, Talk* talk) noexcept nogil:
        cdef Pending* more
        cdef uint32_t cap, i
        if talk.qn == talk.qcap:
            cap = talk.qcap * 2 if talk.qcap else QUEUE
            if cap == QUEUE and self.n_spare:
                self.n_spare -= 1
                more = self.spare[self.n_spare]
            else:
                more = <Pending*>malloc(cap * sizeof(Pending))
            if more == NULL:
                return NULL
            for i in range(talk.qn):
                more[i] = talk.queue[(talk.qhead + i) % talk.qcap]
            free(talk.queue)
            talk.queue = more
            talk.qcap = <uint16_t>cap
            talk.qhead = 0
        more = &talk.queue[(talk.qhead + talk.qn) % talk.qcap]
        memset(more, 0, sizeof(Pending))
        more.rcpt = -1
        talk.qn += 1
        return more

    cdef void queue_take(self, Talk* talk, Pending* taken) noexcept nogil:
        taken[0] = talk.queue[talk.qhead]
        talk.qn -= 1
        talk.qhead += 1
        if talk.qhead == talk.qcap:
            talk.qhead = 0
        if talk.qn == 0:
            if talk.qcap == QUEUE and self.n_spare < SPARE:
                self.spare[self.n_spare] = talk.queue
                self.n_spare += 1
            else:
                free(talk.queue)
            talk.queue = NULL
            talk.qcap = 0

    cdef int event(self, Conn* conn, int event) noexcept nogil:
        """Go where the table says; returns what the table says is to be done."""
        cdef Talk* talk = conn.talk
        cdef int action = action_of(talk.state, event)
        talk.state = next_state(talk.state, event)
        if action == D_PLAIN:
            talk.offered = 0
            talk.given &= ~(<uint8_t>GIVEN_TLS)
        elif action == D_RESYNC:
            self.forget(conn)
        return action

    cdef Pending* ask(
        self, Conn* conn, int64_t at, int64_t end, int64_t packet, int verb, Span word, int what, int phase, Mail* mail,
    ) noexcept nogil:
        """Queue a command: a reply is due."""
        cdef Talk* talk = conn.talk
        cdef Pending* p
        talk.ordinal += 1
        if mail != NULL:
            mail.pending += 1                      # before a full queue could end it
        if talk.qn >= OUTSTANDING:
            conn.doubt |= DOUBT_CAP
            self.forget(conn)
        p = self.queue_add(talk)
        if p == NULL:
            if mail != NULL:
                mail.pending -= 1
            return NULL
        p.mail = mail
        p.at = at
        p.end = end
        p.ns = self.verdicts.ns
        p.packet = packet
        p.phase = <uint8_t>phase
        p.ordinal = talk.ordinal
        p.verb = <uint8_t>verb
        p.what = <uint8_t>what
        p.name_n = <uint8_t>(word.n if word.n < VERB_LENGTH else VERB_LENGTH)
        memcpy(p.name, word.p, p.name_n)
        return p

    cdef void forget(self, Conn* conn) noexcept nogil:
        """The replies to what waits are lost."""
        cdef Talk* talk = conn.talk
        cdef Pending p
        if talk.open != NULL and talk.open.nested != NULL:
            talk.open.nested.reply = 0
        while talk.qn:
            self.queue_take(talk, &p)
            if p.mail != NULL:
                p.mail.doubt |= DOUBT_GAP
                if p.mail.pending:
                    p.mail.pending -= 1
                if p.mail.pending == 0 and p.mail.closed:
                    mail_end(self.verdicts, conn, p.mail, OUTCOME_UNKNOWN, PHASE_NONE)
        talk.ehlo_pending = 0
        talk.unsure = 1
