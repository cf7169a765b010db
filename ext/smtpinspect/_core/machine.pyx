"""The SMTP machine: two streams of octets in, facts out. grammar.states is its table."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from smtpinspect._core.commands cimport (
    Command, V_AUTH, V_BDAT, V_DATA, V_EHLO, V_HELO, V_LHLO, V_MAIL, V_QUIT, V_RCPT, V_RSET, V_STARTTLS,
    V_UNKNOWN, V_XEXCH50, V_X_ANONYMOUSTLS, V_X_EXPS, command_advertised, command_parse, keyword_number, path_fact,
    surely_command, verb_phase,
)
from smtpinspect._core.endmark cimport OPEN, before_dot, mark_length, mark_variant
from smtpinspect._core.lines cimport line_done, line_limits, line_read
from smtpinspect._core.mime cimport mime_end, mime_feed, mime_free, mime_gap, mime_new
from smtpinspect._core.records cimport free_mail
from smtpinspect._core.rows cimport (
    COUNT_RCPT, COUNT_RCPT_REFUSED, F_COMMAND, F_COUNT, F_EMPTY_LINE, F_END_OF_DATA, F_GREETING, F_KEYWORD,
    F_REPLY, F_REPLY_LINE, F_TLS, IN_AUTH, IN_COMMAND, IN_REPLY, Limits,
)
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport (
    ABORTED, ACCEPTED, AT_GREETING, BORDERS, CAP, CLIENT, Conn, DATACMD, DOT, DOTREPLY, EHLO, END_MARK, ESMTP,
    EXCERPT, Fact, GAP, HELO, Line, MAIL, Mail, NO_PHASE, ONE_DIRECTION, Pending, RCPT, REFUSED, REFUSED_DATA, REPLY354, SERVER, STARRED,
    SUPER_SEGMENTS, Stored, TAIL, TLS, Talk, UNKNOWN, VERB_LENGTH,
)
from smtpinspect._core.text cimport text_add, text_free
from smtpinspect._core.transactions cimport (
    mail_begin, mail_close, mail_encrypted, mail_end, mail_phase, mail_recipient, mail_sender, mails_end,
)
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits
from smtpinspect.grammar import states as _states

assert _limits.VERB_LENGTH == VERB_LENGTH

cdef extern from "scan.h":
    size_t scan_after_break(const uint8_t* p, size_t n, uint8_t needle) nogil

cdef enum:                     # grammar.states.STATES, in order
    S_COMMAND = 0
    S_WAIT = 1
    S_AUTH = 2
    S_TEXT = 3
    S_CHUNK = 4
    S_TLS = 5
    S_LOST = 6
    STATES = 7

cdef enum:                     # grammar.states.EVENTS, in order
    E_HELO = 0
    E_MAIL = 1
    E_RCPT = 2
    E_DATA = 3
    E_BDAT = 4
    E_RSET = 5
    E_QUIT = 6
    E_AUTH = 7
    E_STARTTLS = 8
    E_XEXCH50 = 9
    E_OTHER = 10
    E_EMPTY = 11
    E_ANSWER = 12
    E_END_OF_DATA = 13
    E_CHUNK_DONE = 14
    E_CLIENT_GAP = 15
    E_DATA_354 = 16
    E_DATA_OTHER = 17
    E_AUTH_334 = 18
    E_AUTH_OTHER = 19
    E_STARTTLS_220 = 20
    E_STARTTLS_OTHER = 21
    E_XEXCH50_354 = 22
    E_XEXCH50_OTHER = 23
    E_REPLY = 24
    E_UNSOLICITED = 25
    E_SERVER_GAP = 26
    E_NO_REPLY = 27
    E_NO_REPLY_COMMAND = 28
    E_NO_REPLY_TLS = 29
    E_PLAIN = 30
    E_IMPLICIT_TLS = 31
    E_END_LOST = 32
    EVENTS = 33

cdef enum:                     # grammar.states.ACTIONS, in order
    D_NOTHING = 0
    D_GREET = 1
    D_MAIL = 2
    D_RCPT = 3
    D_ASK = 4
    D_CHUNK = 5
    D_ABORT = 6
    D_TEXT = 7
    D_REFUSED = 8
    D_END = 9
    D_LAST = 10
    D_PAIR = 11
    D_TLS = 12
    D_PLAIN = 13
    D_LOOSE = 14
    D_RESYNC = 15
    D_EMPTY = 16
    D_IGNORE = 17

cdef enum:                     # what a pending command was, where its verb does not tell
    W_COMMAND = 0
    W_ANSWER = 1
    W_END = 2
    W_EMPTY = 3

cdef uint8_t[STATES][EVENTS] NEXT
cdef uint8_t[STATES][EVENTS] ACTION

cdef uint32_t OUTSTANDING = _limits.OUTSTANDING
cdef uint32_t REPLY_LINES = _limits.REPLY_LINES
cdef uint32_t KEPT_LINE = _limits.KEPT_LINE
cdef uint32_t KEPT_ADDRESS = _limits.KEPT_ADDRESS


def _pack():
    states, events, actions = list(_states.STATES), list(_states.EVENTS), list(_states.ACTIONS)
    assert len(states) == STATES and len(events) == EVENTS and len(actions) == D_IGNORE + 1
    for (state, event), (after, action) in _states.table().items():
        NEXT[states.index(state)][events.index(event)] = states.index(after)
        ACTION[states.index(state)][events.index(event)] = actions.index(action)


_pack()


cdef int command_event(Command* c) noexcept nogil:
    if c.verb == V_HELO or c.verb == V_EHLO or c.verb == V_LHLO:
        return E_HELO
    if c.verb == V_MAIL:
        return E_MAIL
    if c.verb == V_RCPT:
        return E_RCPT
    if c.verb == V_DATA:
        return E_DATA
    if c.verb == V_BDAT:
        return E_BDAT if c.chunk >= 0 else E_OTHER
    if c.verb == V_RSET:
        return E_RSET
    if c.verb == V_QUIT:
        return E_QUIT
    if c.verb == V_AUTH or c.verb == V_X_EXPS:
        return E_AUTH
    if c.verb == V_STARTTLS or c.verb == V_X_ANONYMOUSTLS:
        return E_STARTTLS
    if c.verb == V_XEXCH50 and c.chunk >= 0:
        return E_XEXCH50
    return E_OTHER


cdef Mail* sent_mail(Talk* talk) noexcept nogil:
    """The mail whose text is over and whose deciding reply has not come, if no other has begun."""
    cdef Mail* mail = talk.last_mail
    return mail if mail != NULL and mail.closed and mail.text_end >= 0 else NULL


cdef int phase_now(Talk* talk, int verb) noexcept nogil:
    """The phase of a command; one that has none of its own is in the phase that is reached."""
    cdef int phase = verb_phase(verb)
    if phase != NO_PHASE:
        return phase
    if talk.open == NULL and verb != V_EHLO and verb != V_HELO and sent_mail(talk) != NULL:
        return DOTREPLY
    if talk.open == NULL or verb == V_EHLO or verb == V_HELO:
        return EHLO
    return mail_phase(talk.open)


cdef int reply_phase(Pending* p) noexcept nogil:
    """A reply that does not come breaks the flow where its command stands, but for the two that have a phase of their own."""
    if p.what == W_END or (p.verb == V_BDAT and p.last):
        return DOTREPLY
    return REPLY354 if p.verb == V_DATA else p.phase


cdef Mail* mail_of(Talk* talk, int verb) noexcept nogil:
    """The mail that a command's facts belong to; commands that end a mail stand outside."""
    if verb == V_RSET or verb == V_EHLO or verb == V_HELO or verb == V_LHLO or verb == V_QUIT:
        return NULL
    if verb == V_RCPT or verb == V_DATA or verb == V_BDAT:
        return talk.open
    return talk.open if talk.open != NULL else sent_mail(talk)


cdef Pending* queue_add(Talk* talk) noexcept nogil:
    cdef Pending* more
    cdef uint32_t cap, i
    if talk.qn == talk.qcap:
        cap = talk.qcap * 2 if talk.qcap else 4
        more = <Pending*>malloc(cap * sizeof(Pending))
        if more == NULL:
            return NULL
        for i in range(talk.qn):
            more[i] = talk.queue[(talk.qhead + i) % talk.qcap]
        free(talk.queue)
        talk.queue = more
        talk.qcap = cap
        talk.qhead = 0
    more = &talk.queue[(talk.qhead + talk.qn) % talk.qcap]
    memset(more, 0, sizeof(Pending))
    more.rcpt = -1
    talk.qn += 1
    return more


cdef void queue_forget(Machine self, Conn* conn) noexcept nogil:
    """The replies to what waits are lost."""
    cdef Talk* talk = conn.talk
    cdef Pending* p
    while talk.qn:
        p = &talk.queue[talk.qhead]
        talk.qhead = (talk.qhead + 1) % talk.qcap
        talk.qn -= 1
        if p.mail != NULL:
            p.mail.doubt |= GAP
            if p.mail.pending:
                p.mail.pending -= 1
            if p.mail.pending == 0 and p.mail.closed:
                mail_end(self.verdicts, conn, p.mail, UNKNOWN, NO_PHASE)
    talk.unsure = 1


cdef class Machine:
    def __init__(self, Verdicts verdicts, tape=None):
        self.verdicts = verdicts
        self.tape = tape
        self.taping = tape is not None

    cdef int start(self, Conn* conn, bint late) noexcept nogil:
        cdef Talk* talk = <Talk*>calloc(1, sizeof(Talk))
        if talk == NULL:
            return -1
        conn.talk = talk
        talk.state = S_LOST if late else S_COMMAND
        talk.began_late = late
        talk.unsure = late
        talk.nth_offset = -1
        return 0

    cdef void free_talk(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Mail* mail
        if talk == NULL:
            return
        while talk.mails != NULL:
            mail = talk.mails
            talk.mails = mail.next
            free_mail(mail)
        mime_free(talk.mime)
        text_free(&talk.line[0].kept)
        text_free(&talk.line[1].kept)
        text_free(&talk.helo)
        text_free(&talk.greeting)
        free(talk.queue)
        free(talk.standing)
        free(talk.counts)
        free(talk)
        conn.talk = NULL

    # --- octets ---------------------------------------------------------------------------------

    cdef Py_ssize_t feed(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Py_ssize_t i = 0
        self.verdicts.packet = a.packet
        if a.merged:
            conn.doubt |= SUPER_SEGMENTS
        if talk.socks and not talk.socks_done[side]:
            i = self.feed_socks(conn, side, p, n)
        if side == SERVER:
            return i + self.feed_replies(conn, p + i, n - i, at + i, a)
        talk.merged = a.merged
        if a.border:
            talk.border_at = (talk.border_at + 1) % BORDERS
            talk.borders[talk.border_at] = at
            talk.border_ns[talk.border_at] = a.ns
        while i < n:
            if talk.state == S_TEXT:
                i += self.feed_text(conn, p + i, n - i, at + i, a)
            elif talk.state == S_CHUNK:
                i += self.feed_chunk(conn, p + i, n - i, at + i)
            elif talk.state == S_WAIT:
                return i
            elif talk.state == S_TLS:
                if not talk.tls_written:
                    if p[i] != 0x16 and p[i] != 0x80 and 65 <= (p[i] & 0xDF) <= 90:
                        self.event(conn, E_PLAIN)
                        continue
                    mail_encrypted(self.verdicts, conn)
                return n
            else:
                if not talk.greeted and talk.commands == 0 and at + i == 0 and n - i >= 2 and p[i] == 0x16 and p[i + 1] == 3:
                    self.implicit_tls(conn, a)
                    return n
                i += self.feed_line(conn, p + i, n - i, at + i, a)
        return n

    cdef int implicit_tls(self, Conn* conn, Arrival* a) noexcept nogil:
        cdef Fact fact
        self.event(conn, E_IMPLICIT_TLS)
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_TLS
        fact.phase = AT_GREETING
        fact.v[0] = 1
        fact.packet = a.packet
        self.verdicts.judge(conn, NULL, &fact)
        mail_encrypted(self.verdicts, conn)
        if self.taping:
            with gil:
                self.tell("implicit_tls", conn.first_packet)
        return 0

    cdef int event(self, Conn* conn, int event) noexcept nogil:
        """Go where the table says; returns what the table says is to be done."""
        cdef Talk* talk = conn.talk
        cdef int action = ACTION[talk.state][event]
        talk.state = NEXT[talk.state][event]
        if action == D_PLAIN:
            talk.offered = 0
            talk.given &= ~(<uint8_t>TLS)
        elif action == D_RESYNC:
            queue_forget(self, conn)
        return action

    # --- the client's lines -----------------------------------------------------------------------

    cdef Py_ssize_t feed_line(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[CLIENT]
        cdef bint whole
        cdef Span text
        cdef int end, where = IN_AUTH if talk.state == S_AUTH else IN_COMMAND
        cdef Command c
        cdef Py_ssize_t took
        took = line_read(line, p, n, at, a.packet, a.border, &whole, &text, &end)
        a.border = False
        if talk.skip_line[CLIENT]:
            # the head of this line is not in the capture
            if not whole:
                return took
            talk.skip_line[CLIENT] = 0
            command_parse(text, &c)
            if not surely_command(text, &c):
                line_done(line, at + took)
                return took
        if not whole:
            if talk.state != S_LOST and line.passed < self.verdicts.program.lines[where].n:
                self.command_limits(conn, where, text, line.n - line.held_cr, 1 if line.held_cr else 0)
            return took
        command_parse(text, &c)
        if talk.state == S_AUTH:
            self.answer(conn, text, at + took, end, a)
        elif c.word.n == 0:
            self.empty_line(conn, text, at + took, end, a)
        elif talk.state == S_LOST and not surely_command(text, &c):
            pass                                   # not known what it is
        elif ACTION[talk.state][command_event(&c)] == D_IGNORE:
            pass
        elif talk.commands == 0 and not talk.greeted and is_proxy(text):
            pass                                   # a proxy's header, not the client's
        else:
            self.command(conn, &c, text, at + took, end, a)
        line_done(line, at + took)
        return took

    cdef void command_limits(self, Conn* conn, int where, Span text, int64_t n, int64_t line_end) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[CLIENT]
        cdef Command c
        cdef Mail* mail
        cdef Limits* limits = &self.verdicts.program.lines[where]
        if n + line_end <= limits.at[line.passed].limit:
            return
        command_parse(text, &c)
        if c.verb == V_MAIL and where == IN_COMMAND:
            self.open_mail(conn, line.start)
        mail = mail_of(talk, c.verb)
        line_limits(
            self.verdicts, conn, mail, where, CLIENT, phase_now(talk, c.verb) if where == IN_COMMAND else EHLO,
            line.start, n, line_end, text, &line.passed,
        )

    cdef Pending* ask(self, Conn* conn, int64_t at, int64_t end, int verb, Span word, int what, Mail* mail) noexcept nogil:
        """Queue a command: a reply is due."""
        cdef Talk* talk = conn.talk
        cdef Pending* p
        talk.ordinal += 1
        if talk.qn >= OUTSTANDING:
            conn.doubt |= CAP
            queue_forget(self, conn)
        p = queue_add(talk)
        if p == NULL:
            return NULL
        p.mail = mail
        if mail != NULL:
            mail.pending += 1
        p.at = at
        p.end = end
        p.ns = self.verdicts.ns
        p.ordinal = talk.ordinal
        p.verb = <uint8_t>verb
        p.what = <uint8_t>what
        p.name_n = <uint8_t>(word.n if word.n < VERB_LENGTH else VERB_LENGTH)
        memcpy(p.name, word.p, p.name_n)
        return p

    cdef void open_mail(self, Conn* conn, int64_t at) noexcept nogil:
        """MAIL at this offset begins a mail unless one is open; behind a refused DATA servers take a new one."""
        cdef Mail* mail = conn.talk.open
        if mail != NULL and mail.command_at != at and mail.refused_data and mail.pending == 0:
            mail_close(self.verdicts, conn, mail, ABORTED)
        if conn.talk.open == NULL:
            mail_begin(self.verdicts, conn, at)

    cdef void answer(self, Conn* conn, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[CLIENT]
        cdef Pending* p
        if line.passed < self.verdicts.program.lines[IN_AUTH].n:
            self.command_limits(conn, IN_AUTH, text, line.n, end)
        self.event(conn, E_ANSWER)
        talk.asked = V_AUTH
        p = self.ask(conn, line.start, end_at, V_AUTH, span(<const uint8_t*>b"AUTH", 4), W_ANSWER, NULL)
        if p != NULL:
            p.phase = EHLO
            p.packet = line.packet
        self.tape_command(conn, text, line.n, 1)

    cdef void empty_line(self, Conn* conn, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[CLIENT]
        cdef Fact fact
        cdef Pending* p
        cdef int phase
        if self.event(conn, E_EMPTY) != D_EMPTY:
            return
        phase = phase_now(talk, V_UNKNOWN)
        if self.verdicts.program.n_of_kind[F_EMPTY_LINE]:
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_EMPTY_LINE
            fact.side = CLIENT
            fact.phase = phase
            fact.v[0] = line.n > 0
            fact.offset = line.start
            fact.length = line.n + end
            fact.packet = line.packet
            fact.octets = text
            self.verdicts.judge(conn, mail_of(talk, V_UNKNOWN), &fact)
        p = self.ask(conn, line.start, end_at, V_UNKNOWN, text, W_EMPTY, mail_of(talk, V_UNKNOWN))
        if p != NULL:
            p.phase = <uint8_t>phase
            p.packet = line.packet
        self.tape_command(conn, text, line.n, 0)

    cdef void command(self, Conn* conn, Command* c, Span text, int64_t end_at, int end, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[CLIENT]
        cdef Fact fact
        cdef Mail* mail
        cdef Pending* p
        cdef Limits* limits
        cdef int what = command_event(c), action
        cdef int phase
        cdef int64_t from_border
        talk.commands += 1
        if what == E_MAIL:
            self.open_mail(conn, line.start)
            if talk.open != NULL and talk.open.command_at == line.start:
                mail_sender(talk.open, c)
        phase = phase_now(talk, c.verb)
        if line.passed < self.verdicts.program.lines[IN_COMMAND].n:
            self.command_limits(conn, IN_COMMAND, text, line.n, end)
        mail = mail_of(talk, c.verb)
        if self.verdicts.program.n_of_kind[F_COMMAND]:
            # which command of its segment it is: by the segment that holds its first octet
            from_border = border_before(talk, line.start)
            if from_border != talk.nth_offset:
                talk.nth_offset = from_border
                talk.nth = 0
            talk.nth += 1
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_COMMAND
            fact.side = CLIENT
            fact.phase = phase
            fact.t[0] = c.word
            fact.t[1] = c.arg
            fact.t[2] = text
            fact.v[1] = c.verb != V_UNKNOWN
            fact.v[2] = command_advertised(c, talk.offered, (talk.given & ESMTP) != 0, talk.answered)
            fact.v[3] = talk.commands
            fact.v[4] = 0 if end == 2 else 1
            fact.v[5] = line.cut > 0 and <Py_ssize_t>line.cut < (c.word.p - text.p) + c.word.n
            fact.v[6] = talk.nth
            fact.v[7] = talk.qn
            fact.v[8] = line.n
            fact.v[9] = talk.merged
            fact.v[10] = c.chunk
            fact.offset = line.start
            fact.length = line.n
            fact.packet = line.packet
            fact.octets = text
            self.verdicts.judge(conn, mail, &fact)
        if c.word.n == 1 and c.word.p[0] == 46:
            # a box that takes a refused DATA for the text's beginning takes this for its end
            talk.given &= ~(<uint8_t>REFUSED_DATA)
        if c.verb == V_MAIL or c.verb == V_RCPT:
            path_fact(self.verdicts, conn, mail, c, text, line.start, phase)
        action = self.event(conn, what)
        if talk.state == S_WAIT:
            talk.asked = <uint8_t>c.verb
            talk.asked_end = end_at
        if action == D_GREET or action == D_ABORT:
            if talk.open != NULL:
                mail_close(self.verdicts, conn, talk.open, ABORTED)
        if action == D_GREET:
            talk.helo.n = 0
            text_add(&talk.helo, c.arg.p, c.arg.n, KEPT_ADDRESS)
        p = self.ask(conn, line.start, end_at, c.verb, c.word, W_COMMAND, mail)
        self.tape_command(conn, text, line.n, 0)
        if p == NULL:
            return
        p.phase = <uint8_t>phase
        p.packet = line.packet
        if action == D_RCPT and mail != NULL and mail == talk.open:
            p.rcpt = mail_recipient(mail, c)
            limits = &self.verdicts.program.counts[COUNT_RCPT]
            self.count_fact(conn, mail, limits, COUNT_RCPT, mail.rcpt_count, phase, line, text)
        elif action == D_CHUNK:
            p.last = c.last
            talk.chunk_left = c.chunk
            talk.chunk_last = c.last
            talk.chunk_mail = 1
            if talk.open != NULL and not talk.open.has_text:
                self.text_begins(conn, end_at, False)
            if talk.chunk_left == 0:
                self.chunk_done(conn, end_at)
        elif what == E_XEXCH50:
            talk.chunk_left = c.chunk
            talk.chunk_last = 0
            talk.chunk_mail = 0

    cdef void count_fact(self, Conn* conn, Mail* mail, Limits* limits, int what, int64_t value, int phase, Line* line, Span text) noexcept nogil:
        """A count that grows by one: its limits fire at limit + 1."""
        cdef Fact fact
        cdef int i
        for i in range(limits.n):
            if value != limits.at[i].limit + 1:
                continue
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_COUNT
            fact.side = CLIENT
            fact.phase = phase
            fact.v[0] = what
            fact.v[1] = value
            fact.offset = line.start
            fact.length = line.n
            fact.packet = line.packet
            fact.octets = text
            self.verdicts.judge_row(conn, mail, &fact, limits.at[i].row)

    # --- mail text ----------------------------------------------------------------------------------

    cdef void text_begins(self, Conn* conn, int64_t at, bint stuffed) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Mail* mail = talk.open
        if mail == NULL:
            # text without MAIL that the server took: a mail all the same
            mail = mail_begin(self.verdicts, conn, at)
            if mail == NULL:
                return
        mail.has_text = 1
        mail.bdat = not stuffed
        mail.text_start = at
        mail.refused_data = 0
        mail.last_refusal = 0 if mail.rcpt_accepted or not mail.rcpt_refused else mail.last_refusal
        mime_free(talk.mime)
        talk.mime = mime_new(stuffed, at)
        talk.pre = 0
        memset(talk.tail, 0, TAIL)
        talk.tail[TAIL - 2] = 13
        talk.tail[TAIL - 1] = 10
        talk.given &= ~(<uint8_t>REFUSED_DATA)

    cdef void text_octets(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
        cdef Talk* talk = conn.talk
        if n <= 0:
            return
        if talk.open != NULL:
            mime_feed(self.verdicts, conn, talk.open, p, n, at)
        if n >= TAIL:
            memcpy(talk.tail, p + n - TAIL, TAIL)
        else:
            memmove(talk.tail, talk.tail + n, TAIL - n)
            memcpy(talk.tail + TAIL - n, p, n)
        if self.taping:
            with gil:
                self.tell("text", conn.first_packet, (<const char*>p)[:n], "DATA")

    cdef void mark_fact(self, Conn* conn, int variant, int64_t dot, const uint8_t* before, const uint8_t* behind, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Fact fact
        cdef uint8_t mark[8]
        cdef int i, k
        cdef int64_t border = -1, earlier = -1
        if self.verdicts.program.n_of_kind[F_END_OF_DATA] == 0:
            return
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_END_OF_DATA
        fact.side = CLIENT
        fact.phase = DOT
        fact.v[0] = variant
        for i in range(BORDERS):
            k = <int>(talk.borders[i] - (dot - 2))
            if 0 <= k < 5 and talk.borders[i] > 0:
                fact.v[1] |= 1 << k
            if talk.borders[i] == dot:
                border = talk.border_ns[i]
                earlier = talk.border_ns[(i + BORDERS - 1) % BORDERS]
        if border >= 0 and a.border_next < 0:
            fact.v[2] = 1
            fact.v[3] = (border - earlier) // 1000000 if earlier > 0 else 0
        fact.offset = dot
        fact.length = 1 + mark_length(variant)
        fact.packet = a.packet
        memcpy(mark, before + 2, 2)
        mark[2] = 46
        memcpy(mark + 3, behind, mark_length(variant))
        fact.octets = span(mark, 3 + mark_length(variant))
        self.verdicts.judge(conn, talk.open, &fact)

    cdef void end_of_data(self, Conn* conn, int64_t dot, const uint8_t* before, const uint8_t* behind, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Mail* mail = talk.open
        self.mark_fact(conn, 1, dot, before, behind, a)
        if mail != NULL:
            mime_end(self.verdicts, conn, mail)
            mail.text_end = dot + 3
            mail.closed = 1
        else:
            mime_free(talk.mime)
            talk.mime = NULL
        self.event(conn, E_END_OF_DATA)
        self.ask(conn, dot, dot + 3, V_DATA, span(<const uint8_t*>b".", 1), W_END, mail)
        talk.open = NULL
        if self.taping:
            with gil:
                self.tell("text_end", conn.first_packet, talk.ordinal)

    cdef Py_ssize_t feed_text(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Py_ssize_t i = 0, j
        cdef int variant, before, k
        cdef uint8_t held[4]
        cdef int held_n
        cdef int64_t dot
        a.border_next = -1
        while talk.pre and i < n:
            # a dot at the end of what came before
            talk.post[talk.post_n] = p[i]
            talk.post_n += 1
            i += 1
            variant = mark_variant(talk.pre, talk.post, talk.post_n)
            if variant == OPEN:
                continue
            dot = talk.dot_at
            talk.pre = 0
            if variant == 1:
                a.border_next = 0 if i < n else -1
                self.end_of_data(conn, dot, talk.tail, talk.post, a)
                return i
            if variant > 0:
                self.mark_fact(conn, variant, dot, talk.tail, talk.post, a)
            held[0] = 46
            self.text_octets(conn, held, 1, dot)
            held_n = talk.post_n
            memcpy(held, talk.post, held_n)
            # what came behind the dot is text, and may hold a dot of its own
            self.feed_text(conn, held, held_n, dot + 1, a)
        if i == n:
            return n
        j = i - 1
        while True:
            # the next dot that stands behind a line end, a CR or a NUL
            if j < i:
                j = i
                if p[j] != 46 or talk.tail[TAIL - 1] > 13:
                    j = i + <Py_ssize_t>scan_after_break(p + i, n - i, 46)
            else:
                j += <Py_ssize_t>scan_after_break(p + j, n - j, 46)
            if j >= n:
                self.text_octets(conn, p + i, n - i, at + i)
                return n
            for k in range(TAIL):
                # the four octets before it, from here or from before
                held[k] = p[j - TAIL + k] if j - TAIL + k >= i else talk.tail[j - i + k]
            before = before_dot(held, TAIL, False)
            if before == 0:
                continue
            variant = mark_variant(before, p + j + 1, <int>(n - j - 1 if n - j - 1 < 3 else 3))
            if variant == 0:
                continue
            if variant == OPEN:
                self.text_octets(conn, p + i, j - i, at + i)
                talk.pre = <uint8_t>before
                talk.dot_at = at + j
                talk.post_n = 0
                for k in range(<int>(n - j - 1)):
                    talk.post[k] = p[j + 1 + k]
                    talk.post_n += 1
                return n
            if variant == 1:
                self.text_octets(conn, p + i, j - i, at + i)
                a.border_next = 0 if j + 3 < n else -1
                self.end_of_data(conn, at + j, held, p + j + 1, a)
                return j + 3
            self.text_octets(conn, p + i, j - i, at + i)
            self.mark_fact(conn, variant, at + j, held, p + j + 1, a)
            i = j
            # j stays on the dot: the search goes on behind it

    cdef void chunk_done(self, Conn* conn, int64_t at) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Mail* mail = talk.open
        self.event(conn, E_CHUNK_DONE)
        if not talk.chunk_mail:
            return
        if self.taping:
            with gil:
                self.tell("chunk_done", conn.first_packet, talk.ordinal, bool(talk.chunk_last))
        if talk.chunk_last and mail != NULL:
            mime_end(self.verdicts, conn, mail)
            mail.text_end = at
            mail.closed = 1
            talk.open = NULL

    cdef Py_ssize_t feed_chunk(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Py_ssize_t took = n if n < talk.chunk_left else <Py_ssize_t>talk.chunk_left
        if talk.chunk_mail and took:
            if talk.open != NULL:
                mime_feed(self.verdicts, conn, talk.open, p, took, at)
            if self.taping:
                with gil:
                    self.tell("text", conn.first_packet, (<const char*>p)[:took], "BDAT")
        talk.chunk_left -= took
        if talk.chunk_left == 0:
            self.chunk_done(conn, at + took)
        return took

    # --- the server's lines -------------------------------------------------------------------------

    cdef Py_ssize_t feed_replies(self, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, Arrival* a) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[SERVER]
        cdef Py_ssize_t i = 0, took
        cdef bint whole, waited
        cdef Span text
        cdef int end
        while i < n:
            if talk.state == S_TLS:
                return n
            took = line_read(line, p + i, n - i, at + i, a.packet, a.border, &whole, &text, &end)
            a.border = False
            i += took
            if talk.skip_line[SERVER]:
                if whole:
                    talk.skip_line[SERVER] = 0
                    self.cut_reply(conn, text)
                    line_done(line, at + i)
                continue
            if line.passed < self.verdicts.program.lines[IN_REPLY].n:
                self.reply_limits(conn, text, line.n - (line.held_cr if not whole else 0), end if whole else line.held_cr)
            if not whole:
                break
            waited = talk.state == S_WAIT
            self.reply_line(conn, text, end)
            line_done(line, at + i)
            if waited and talk.state != S_WAIT and conn.d[CLIENT].first != NULL:
                return i                           # what the client has sent already comes before the next reply
        return n

    cdef void reply_limits(self, Conn* conn, Span text, int64_t n, int64_t line_end) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Pending* p = &talk.queue[talk.qhead] if talk.qn else NULL
        cdef Line* line = &talk.line[SERVER]
        cdef int phase = AT_GREETING if not talk.greeted else (reply_phase(p) if p != NULL else EHLO)
        line_limits(
            self.verdicts, conn, p.mail if p != NULL and talk.greeted else NULL, IN_REPLY, SERVER, phase,
            line.start, n, line_end, text, &line.passed,
        )

    cdef void cut_reply(self, Conn* conn, Span text) noexcept nogil:
        """A line behind a hole has no code that is sure; where it has the form of a last line it still decides."""
        cdef Talk* talk = conn.talk
        if self.taping:
            with gil:
                self.tell("reply", conn.first_packet, None, None)
        if talk.greeted and talk.qn and reply_code(text) > 0 and (text.n == 3 or text.p[3] == 32):
            talk.quiet = 1
            talk.reply_at = talk.line[SERVER].start
            talk.reply_packet = talk.line[SERVER].packet
            self.reply(conn, reply_code(text), text)
            talk.quiet = 0

    cdef void reply_line(self, Conn* conn, Span text, int end) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[SERVER]
        cdef Fact fact
        cdef int form = 0, code = 0
        cdef bint more = False
        cdef Pending* p = &talk.queue[talk.qhead] if talk.qn else NULL
        cdef bint greeting
        talk.reply_end = line.start + line.n + end
        code = reply_code(text)
        if code >= 0:
            more = text.n > 3 and text.p[3] == 45
        else:
            code = 0
            form = 1 if line.n == 0 else 2 if line.n < 3 else 3
        if not talk.in_reply:
            talk.reply_at = line.start
            talk.reply_packet = line.packet
            talk.reply_lines = 0
            talk.first_code = <uint16_t>code
            talk.ehlo_pending = talk.greeted and p != NULL and (p.verb == V_EHLO or p.verb == V_LHLO) and p.what == W_COMMAND
            talk.greeting.n = 0
            talk.reply_head_n = <uint8_t>(text.n if text.n < EXCERPT else EXCERPT)
            memcpy(talk.reply_head, text.p, talk.reply_head_n)
        talk.reply_lines += 1
        # no greeting yet: the first reply is one unless it must answer a command (captures that begin late)
        greeting = not talk.greeted and not (talk.qn and talk.first_code and talk.first_code != 220 and talk.first_code < 400)
        if greeting and talk.began_late and talk.first_code != 220:
            greeting = False
        if form and self.verdicts.program.n_of_kind[F_REPLY_LINE]:
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_REPLY_LINE
            fact.side = SERVER
            fact.phase = AT_GREETING if greeting else (reply_phase(p) if p != NULL else EHLO)
            fact.v[0] = form - 1                   # facts.REPLY_LINE: empty, short, not-numeric
            fact.t[0] = text
            fact.offset = line.start
            fact.length = line.n
            fact.packet = line.packet
            fact.octets = text
            self.verdicts.judge(conn, p.mail if p != NULL and not greeting else NULL, &fact)
        if greeting:
            if talk.greeting.n:
                text_add(&talk.greeting, <const uint8_t*>b"\n", 1, KEPT_LINE)
            text_add(&talk.greeting, text.p, text.n, KEPT_LINE)
        elif talk.ehlo_pending and talk.reply_lines > 1 and talk.reply_lines < REPLY_LINES and text.n > 4 and code == 250:
            self.keyword(conn, span(text.p + 4, text.n - 4), text, p)
        if form and talk.in_reply:
            return                                 # text of the reply that is open
        if form == 1:
            return                                 # an empty line is no reply
        talk.reply_code = <uint16_t>code
        if more:
            talk.in_reply = 1
            if talk.reply_lines == 1 and talk.ehlo_pending and code == 250:
                talk.offered = 0
            return
        if talk.reply_lines == 1 and talk.ehlo_pending and code == 250:
            talk.offered = 0
        talk.in_reply = 0
        if greeting:
            self.greeting(conn, code, text)
        else:
            talk.greeted = 1
            self.reply(conn, code, text)

    cdef void keyword(self, Conn* conn, Span rest, Span text, Pending* p) noexcept nogil:
        """One EHLO line behind the first (RFC 5321 4.1.1.1)."""
        cdef Talk* talk = conn.talk
        cdef Line* line = &talk.line[SERVER]
        cdef Fact fact
        cdef Py_ssize_t n = 0
        cdef int number
        while n < rest.n and rest.p[n] != 32 and rest.p[n] != 9:
            n += 1
            if rest.p[n - 1] == 61:
                break                              # the old form AUTH=LOGIN
        number = keyword_number(span(rest.p, n))
        if number >= 0:
            talk.offered |= <uint64_t>1 << number
        if self.verdicts.program.n_of_kind[F_KEYWORD]:
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_KEYWORD
            fact.side = SERVER
            fact.phase = EHLO
            fact.t[0] = span(rest.p, n)
            fact.t[1] = rest
            fact.v[1] = talk.reply_lines - 1
            fact.offset = line.start
            fact.length = line.n
            fact.packet = line.packet
            fact.octets = text
            fact.answers = p.ordinal + 1
            self.verdicts.judge(conn, p.mail, &fact)

    cdef void greeting(self, Conn* conn, int code, Span text) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Fact fact
        cdef uint32_t i
        cdef bint starred = talk.greeting.n > 4
        cdef int stars = 0
        talk.greeted = 1
        talk.unsure = 0
        conn.established = 1
        for i in range(3, talk.greeting.n):
            if talk.greeting.p[i] == 42:
                stars += 1
            elif talk.greeting.p[i] not in (32, 45, 48, 50, 10, 13, 9):
                starred = False
        starred = starred and stars >= 3
        if starred:
            talk.given |= STARRED
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_GREETING
        fact.side = SERVER
        fact.phase = AT_GREETING
        fact.v[0] = code
        fact.v[1] = talk.reply_lines
        fact.v[2] = starred
        fact.t[0] = span(talk.greeting.p, talk.greeting.n)
        fact.offset = talk.reply_at
        fact.length = talk.line[SERVER].start + talk.line[SERVER].n - talk.reply_at
        fact.answers = 1
        fact.packet = talk.reply_packet
        fact.octets = fact.t[0]
        self.verdicts.judge(conn, NULL, &fact)
        text_free(&talk.greeting)
        if self.taping:
            with gil:
                self.tell("reply", conn.first_packet, code if code else None, None)

    cdef void reply(self, Conn* conn, int code, Span text) noexcept nogil:
        """A whole reply: whose is it, and what does it decide?"""
        cdef Talk* talk = conn.talk
        cdef Pending entry
        cdef Pending* p = NULL
        cdef Mail* mail = NULL
        cdef Fact fact
        cdef int what = E_UNSOLICITED, fits = 0, action
        if talk.qn:
            entry = talk.queue[talk.qhead]
            p = &entry
            talk.qhead = (talk.qhead + 1) % talk.qcap
            talk.qn -= 1
            mail = p.mail
            if mail != NULL and mail.pending:
                mail.pending -= 1
            what = E_REPLY
            if p.what == W_COMMAND:
                if p.verb == V_DATA:
                    what = E_DATA_354 if code == 354 else E_DATA_OTHER
                elif p.verb == V_AUTH or p.verb == V_X_EXPS:
                    what = E_AUTH_334 if code == 334 else E_AUTH_OTHER
                elif p.verb == V_STARTTLS or p.verb == V_X_ANONYMOUSTLS:
                    what = E_STARTTLS_220 if code == 220 else E_STARTTLS_OTHER
                elif p.verb == V_XEXCH50:
                    what = E_XEXCH50_354 if code == 354 else E_XEXCH50_OTHER
            elif p.what == W_ANSWER:
                what = E_AUTH_334 if code == 334 else E_AUTH_OTHER
        if self.taping and not talk.quiet:
            with gil:
                self.tell("reply", conn.first_packet, code if code else None, p.ordinal if p != NULL else None)
        talk.farewell = 421 if code == 421 else 0
        # facts first: they belong to the mail as it stands
        if p == NULL:
            fits = 1
        elif (code == 354 and p.verb != V_DATA and p.verb != V_XEXCH50) or (
                code == 354 and p.what == W_END) or (
                p.verb == V_DATA and p.what == W_COMMAND and 200 <= code < 300) or (
                code == 334 and p.verb != V_AUTH and p.verb != V_X_EXPS):
            fits = 2
        if self.verdicts.program.n_of_kind[F_REPLY] and not talk.quiet and not (
                p == NULL and (talk.unsure or conn.d[CLIENT].has_payload == 0)):
            memset(&fact, 0, sizeof(Fact))
            fact.kind = F_REPLY
            fact.side = SERVER
            fact.phase = reply_phase(p) if p != NULL else (DOTREPLY if talk.state == S_TEXT else EHLO)
            fact.v[0] = code
            fact.v[2] = fits
            fact.v[3] = code == 0 and text.n == 2 and (text.p[0] | 32) == 111 and (text.p[1] | 32) == 107
            if p != NULL:
                fact.t[0] = span(p.name, p.name_n)
                fact.v[1] = p.verb != V_UNKNOWN
            fact.t[1] = text
            fact.offset = talk.reply_at
            fact.length = talk.line[SERVER].start + talk.line[SERVER].n - talk.reply_at
            fact.packet = talk.reply_packet
            fact.octets = span(talk.reply_head, talk.reply_head_n)
            fact.answers = p.ordinal + 1 if p != NULL else 0
            self.verdicts.judge(conn, mail, &fact)
        action = ACTION[talk.state][what]
        if action == D_IGNORE:
            return
        self.event(conn, what)
        if p == NULL:
            self.loose_reply(conn, code)
            return
        talk.unsure = 0
        if p.what == W_END:
            if mail != NULL:
                self.decide(conn, mail, code)
        elif p.verb == V_DATA:
            self.data_answered(conn, mail, code, action, p)
        elif p.verb == V_BDAT and p.what == W_COMMAND:
            if mail != NULL:
                if code >= 400:
                    mail.last_refusal = <uint16_t>code
                    mail.refusal_phase = DATACMD
                    mail.refused_data = 1
                if p.last:
                    self.decide(conn, mail, code)
        elif p.verb == V_MAIL:
            if mail != NULL and mail.command_at == p.at and code >= 400:
                mail.last_refusal = <uint16_t>code
                mail.refusal_phase = MAIL
                mail.refused_mail = 1
        elif p.verb == V_RCPT:
            self.rcpt_answered(conn, mail, code, p)
        elif p.verb == V_EHLO or p.verb == V_HELO or p.verb == V_LHLO:
            talk.answered = 1
            if 200 <= code < 300:
                talk.given &= ~(<uint8_t>(ESMTP | HELO))
                talk.given |= HELO if p.verb == V_HELO else ESMTP
        elif what == E_STARTTLS_220:
            self.tls_begins(conn, p)
        if mail != NULL and not mail.ended and not mail.closed and mail.refused_mail and mail.pending == 0:
            mail_close(self.verdicts, conn, mail, ABORTED)
        if mail != NULL and not mail.ended and mail.closed and mail.pending == 0 and p.what != W_END and not (p.verb == V_BDAT and p.last):
            if mail.text_end < 0 or mail.bdat:
                mail_end(self.verdicts, conn, mail, ABORTED, mail_phase(mail))

    cdef void decide(self, Conn* conn, Mail* mail, int code) noexcept nogil:
        """The reply to the end of data, or to the last chunk."""
        mail.reply = <uint16_t>code
        mail.closer = 0
        if 200 <= code < 300:
            mail_end(self.verdicts, conn, mail, ACCEPTED, DOTREPLY)
        elif code >= 400:
            mail_end(self.verdicts, conn, mail, REFUSED, DOTREPLY)
        else:
            mail_end(self.verdicts, conn, mail, 0, DOTREPLY)

    cdef void data_answered(self, Conn* conn, Mail* mail, int code, int action, Pending* p) noexcept nogil:
        cdef Talk* talk = conn.talk
        if action == D_TEXT:
            if mail == NULL or mail == talk.open:
                self.text_begins(conn, p.end, True)
            if self.taping:
                with gil:
                    self.tell("text_begin", conn.first_packet, "DATA", p.ordinal)
        elif action == D_REFUSED:
            talk.given |= REFUSED_DATA
            if mail != NULL:
                mail.refused_data = 1
                mail.has_text = 0
                if code >= 400:
                    mail.last_refusal = <uint16_t>code
                    mail.refusal_phase = DATACMD

    cdef void rcpt_answered(self, Conn* conn, Mail* mail, int code, Pending* p) noexcept nogil:
        cdef Limits* limits
        if mail == NULL:
            return
        if p.rcpt >= 0 and <uint32_t>p.rcpt < mail.nrcpts:
            mail.rcpts[p.rcpt].reply = <uint16_t>code
        if 200 <= code < 300:
            mail.rcpt_accepted += 1
            mail.last_refusal = 0
        elif code >= 400:
            mail.rcpt_refused += 1
            if mail.rcpt_accepted == 0:
                mail.last_refusal = <uint16_t>code
                mail.refusal_phase = RCPT
            limits = &self.verdicts.program.counts[COUNT_RCPT_REFUSED]
            if limits.n:
                self.count_fact(conn, mail, limits, COUNT_RCPT_REFUSED, mail.rcpt_refused, RCPT,
                                &conn.talk.line[SERVER], span(NULL, 0))

    cdef void loose_reply(self, Conn* conn, int code) noexcept nogil:
        """A reply while no command waits: 421 before the server closes, or one in the middle of a text."""
        cdef Talk* talk = conn.talk
        cdef Mail* mail = talk.open
        if talk.state == S_TEXT and mail != NULL:
            if mail.doubt & GAP:
                # the end mark is in the hole
                mail.text_end = conn.d[CLIENT].next
                mail.closed = 1
                mime_end(self.verdicts, conn, mail)
                talk.open = NULL
                self.event(conn, E_END_LOST)
                self.decide(conn, mail, code)
            elif code != 421:
                mail.doubt |= END_MARK

    cdef void tls_begins(self, Conn* conn, Pending* p) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Fact fact
        cdef int64_t behind = 0
        cdef Stored* s = conn.d[CLIENT].first
        while s != NULL:
            # sent before the client could know of the reply
            if s.ack <= talk.reply_at:
                behind += s.n
            s = s.next
        talk.given |= TLS
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_TLS
        fact.side = CLIENT
        fact.phase = EHLO
        fact.v[1] = behind
        fact.offset = p.end
        fact.length = behind
        fact.packet = p.packet
        s = conn.d[CLIENT].first
        if behind and s != NULL:
            fact.packet = s.packet
            fact.octets = span(<uint8_t*>(s + 1), s.n)
        self.verdicts.judge(conn, NULL, &fact)
        if talk.open != NULL:
            mail_close(self.verdicts, conn, talk.open, ABORTED)
        if behind:
            mail_encrypted(self.verdicts, conn)
        if self.taping:
            with gil:
                self.tell("starttls", conn.first_packet, p.end, talk.reply_end)

    # --- holes and ends -----------------------------------------------------------------------------

    cdef int gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef int64_t left = n
        cdef Line* line = &talk.line[side]
        conn.doubt |= GAP
        if side == SERVER:
            if talk.state == S_TLS:
                return 0
            self.event(conn, E_SERVER_GAP)
            talk.greeted = 1 if at > 0 or n > 4 else talk.greeted
            talk.skip_line[SERVER] = 1
            line_done(line, at + n)
            talk.in_reply = 0
            return 0
        if talk.state == S_TEXT:
            talk.unsure = 1                        # the end mark may lie in the hole
            talk.pre = 0
            memset(talk.tail, 255, TAIL)
            if talk.open != NULL:
                mime_gap(self.verdicts, conn, talk.open, n)
            if self.taping:
                with gil:
                    self.tell("text_gap", conn.first_packet, n, "DATA")
        elif talk.state == S_CHUNK:
            if left > talk.chunk_left:
                left = talk.chunk_left
            if talk.chunk_mail:
                if talk.open != NULL:
                    mime_gap(self.verdicts, conn, talk.open, left)
                if self.taping:
                    with gil:
                        self.tell("text_gap", conn.first_packet, left, "BDAT")
            talk.chunk_left -= left
            if talk.chunk_left == 0:
                self.chunk_done(conn, at + left)
                if left < n:
                    self.event(conn, E_CLIENT_GAP)
                    talk.skip_line[CLIENT] = 1
        elif talk.state != S_TLS:
            self.event(conn, E_CLIENT_GAP)
            talk.skip_line[CLIENT] = 1
            line_done(line, at + n)
        return 0

    cdef int no_reply(self, Conn* conn, const uint8_t* p, Py_ssize_t n) noexcept nogil:
        """No reply will tell: DATA's octets look like text unless their first line is surely a command."""
        cdef Talk* talk = conn.talk
        cdef Command c
        cdef Py_ssize_t end = 0
        if talk.state != S_WAIT:
            return 0
        while end < n and p[end] != 10:
            end += 1
        command_parse(span(p, end), &c)
        if (talk.asked == V_STARTTLS or talk.asked == V_X_ANONYMOUSTLS) and n and p[0] == 0x16:
            self.event(conn, E_NO_REPLY_TLS)
            return 0
        if talk.asked != V_DATA or (end < n and surely_command(span(p, end), &c)):
            self.event(conn, E_NO_REPLY_COMMAND)
            return 0
        self.event(conn, E_NO_REPLY)
        self.text_begins(conn, talk.asked_end, True)
        talk.open.doubt |= GAP if conn.d[SERVER].has_payload else ONE_DIRECTION
        if self.taping:
            with gil:
                self.tell("text_begin", conn.first_packet, "DATA", None)
        return 0

    cdef int end(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line
        cdef Span text
        if talk == NULL:
            return 0
        line = &talk.line[CLIENT]
        if self.taping and line.n and talk.state in (S_COMMAND, S_AUTH) and not talk.skip_line[CLIENT]:
            text = span(line.kept.p, line.kept.n)
            self.tape_command(conn, text, line.n, 1 if talk.state == S_AUTH else 0)
        if self.taping and talk.in_reply:
            with gil:
                self.tell("reply", conn.first_packet, talk.reply_code if talk.reply_code else None,
                          talk.queue[talk.qhead].ordinal if talk.qn else None)
        if self.taping and talk.pre:
            with gil:
                self.tell("text", conn.first_packet, b"." + (<const char*>talk.post)[:talk.post_n], "DATA")
        if talk.state == S_TLS and not talk.tls_written:
            mail_encrypted(self.verdicts, conn)
        mails_end(self.verdicts, conn)
        return 0

    # --- a SOCKS5 negotiation before the dialogue (RFC 1928 3, 4, 6) ------------------------------------

    cdef Py_ssize_t feed_socks(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n) noexcept nogil:
        """Skip version, methods, request and answer; returns how many octets belong to it."""
        cdef Talk* talk = conn.talk
        cdef Py_ssize_t i = 0
        cdef int k
        while i < n and not talk.socks_done[side]:
            k = talk.socks_n[side]
            if k == 1:
                # the client lists methods, the server names one
                talk.socks_first[side] = 2 + (p[i] if side == CLIENT else 0)
                talk.socks_need[side] = 255
            elif k >= 2:
                k -= talk.socks_first[side]
                if k == 3:
                    talk.socks_need[side] = 10 if p[i] == 1 else 22 if p[i] == 4 else 255
                elif k == 4 and talk.socks_need[side] == 255:
                    talk.socks_need[side] = 7 + p[i]
                if k >= 0 and k + 1 == talk.socks_need[side]:
                    talk.socks_done[side] = 1
            talk.socks_n[side] += 1
            i += 1
            if talk.socks_n[side] == 255:
                talk.socks_done[side] = 1
        return i

    cdef bint waits(self, Conn* conn) noexcept nogil:
        return conn.talk.state == S_WAIT

    # --- the transcript's tape ---------------------------------------------------------------------------

    cdef void stream(self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
        with gil:
            self.tell("stream", conn.first_packet, side, at, (<const char*>p)[:n])

    cdef void stream_gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil:
        with gil:
            self.tell("stream_gap", conn.first_packet, side, at, n)

    cdef void tape_command(self, Conn* conn, Span text, int64_t length, int kind) noexcept nogil:
        """kind 0: a command, 1: an answer in the AUTH dialogue."""
        if not self.taping:
            return
        with gil:
            line = (<const char*>text.p)[:text.n] if text.n else b""
            self.tell("command", conn.first_packet, line, length, kind, conn.talk.ordinal)

    cdef object tell(self, str what, uint64_t conn, a=None, b=None, c=None, d=None):
        if self.error is not None:
            return
        try:
            getattr(self.tape, what)(conn, a, b, c, d)
        except BaseException as error:
            self.error = error


cdef int reply_code(Span text) noexcept nogil:
    """The three digits that begin a reply line, -1 when it has none (RFC 5321 4.2)."""
    if text.n >= 3 and 48 <= text.p[0] <= 57 and 48 <= text.p[1] <= 57 and 48 <= text.p[2] <= 57 and (
            text.n == 3 or text.p[3] == 32 or text.p[3] == 45):
        return (text.p[0] - 48) * 100 + (text.p[1] - 48) * 10 + text.p[2] - 48
    return -1


cdef bint is_proxy(Span text) noexcept nogil:
    """The PROXY protocol's text header comes before the greeting, from a balancer."""
    return text.n > 10 and memcmp(text.p, <const char*>b"PROXY ", 6) == 0


cdef int64_t border_before(Talk* talk, int64_t at) noexcept nogil:
    """Where the segment began that holds this octet, as far as the last segments tell."""
    cdef int64_t best = -1
    cdef int i
    for i in range(BORDERS):
        if talk.borders[i] <= at and talk.borders[i] > best:
            best = talk.borders[i]
    return best
