"""The client's lines: commands, empty lines, answers in the AUTH dialogue."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from smtpinspect._core.commands cimport (
    Command, command_advertised, command_parse, path_fact, surely_command, V_AUTH, V_BDAT, V_DATA, V_EHLO, V_HELO,
    V_LHLO, V_MAIL, V_QUIT, V_RCPT, V_RSET, V_STARTTLS, V_UNKNOWN, V_X_ANONYMOUSTLS, V_X_EXPS, V_XEXCH50,
)
from smtpinspect._core.dialogue cimport (
    count_fact, Dialogue, lend, mail_of, phase_now, take_back, W_ANSWER, W_COMMAND, W_EMPTY,
)
from smtpinspect._core.lines cimport line_done, line_limits, line_read, past_limit
from smtpinspect._core.mailtext cimport chunk_done, text_begins
from smtpinspect._core.rows cimport COUNT_RCPT, F_COMMAND, F_EMPTY_LINE, fact_begin, IN_AUTH, IN_COMMAND
from smtpinspect._core.socks cimport is_proxy
from smtpinspect._core.span cimport span, Span
from smtpinspect._core.state cimport (
    CLIENT, Conn, Fact, GIVEN_ESMTP, GIVEN_REFUSED_DATA, Line, Mail, Nested, OUTCOME_ABORTED, Pending, PHASE_EHLO,
    Talk,
)
from smtpinspect._core.states cimport (
    action_of, D_ABORT, D_CHUNK, D_COUNT, D_EMPTY, D_GREET, D_IGNORE, D_MAIL, D_RCPT, E_ANSWER, E_AUTH, E_BDAT,
    E_DATA, E_EMPTY, E_HELO, E_MAIL, E_OTHER, E_QUIT, E_RCPT, E_RSET, E_STARTTLS, E_XEXCH50, S_AUTH, S_LOST, S_WAIT,
)
from smtpinspect._core.text cimport short_set, text_add, text_free
from smtpinspect._core.transactions cimport mail_begin, mail_close, mail_recipient, mail_sender

from smtpinspect.grammar import limits as _limits

cdef uint32_t KEPT_ADDRESS = _limits.KEPT_ADDRESS
cdef uint32_t KEPT_LINE = _limits.KEPT_LINE


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


cdef Py_ssize_t client_feed(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil:
    cdef Py_ssize_t took
    lend(dialogue, conn.talk, CLIENT)
    took = client_read(dialogue, conn, p, n, at, border)
    take_back(dialogue, conn.talk, CLIENT)
    return took


cdef Py_ssize_t client_read(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    cdef bint whole
    cdef Span text
    cdef int end, where = IN_AUTH if talk.state == S_AUTH else IN_COMMAND
    cdef Command c
    cdef Py_ssize_t took
    if talk.open != NULL and talk.open.nested != NULL and talk.open.nested.reply:
        nested_taken(dialogue, conn)
    if line.n == 0 and talk.new_border:
        talk.new_border = 0
        talk.nth = 0
    took = line_read(line, p, n, at, dialogue.verdicts.packet, border, &whole, &text, &end)
    if talk.skip_line[CLIENT]:
        # the head of this line is not in the capture
        if not whole:
            return took
        talk.skip_line[CLIENT] = 0
        command_parse(text, &c)
        if not surely_command(text, &c):
            line_done(line)
            return took
    if not whole:
        if talk.state != S_LOST:
            command_limits(dialogue, conn, where, text, line.n - line.held_cr, 1 if line.held_cr else 0)
        return took
    command_parse(text, &c)
    if talk.state == S_AUTH:
        answer_line(dialogue, conn, text, at + took, end)
    elif c.word.n == 0:
        empty_line(dialogue, conn, text, at + took, end)
    elif talk.state == S_LOST and not surely_command(text, &c):
        pass                                   # not known what it is
    elif action_of(talk.state, command_event(&c)) == D_IGNORE:
        pass
    elif talk.commands == 0 and not talk.greeted and is_proxy(text):
        pass                                   # a proxy's header, not the client's
    else:
        command_line(dialogue, conn, &c, text, at + took, end)
    line_done(line)
    return took


cdef void command_limits(
    Dialogue dialogue, Conn* conn, int where, Span text, int64_t n, int64_t line_end,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    cdef Command c
    cdef Mail* mail
    if not past_limit(&dialogue.verdicts.program.lines[where], line.passed, n, line_end):
        return
    command_parse(text, &c)
    if c.verb == V_MAIL and where == IN_COMMAND:
        open_mail(dialogue, conn, line.start)
    mail = mail_of(talk, c.verb)
    line_limits(
        dialogue.verdicts, conn, mail, where, CLIENT, phase_now(talk, c.verb) if where == IN_COMMAND else PHASE_EHLO,
        line.start, n, line_end, text, &line.passed, dialogue.verdicts.packet,
    )


cdef void open_mail(Dialogue dialogue, Conn* conn, int64_t at) noexcept nogil:
    """MAIL at this offset begins a mail unless one is open; behind a refused DATA servers take a new one."""
    cdef Mail* mail = conn.talk.open
    if mail != NULL and mail.command_at != at and mail.refused_data and mail.pending == 0:
        mail_close(dialogue.verdicts, conn, mail, OUTCOME_ABORTED)
    if conn.talk.open == NULL:
        mail_begin(dialogue.verdicts, conn, at)


cdef void nested_mail(Dialogue dialogue, Talk* talk, int64_t at, Span text) noexcept nogil:
    """A MAIL inside a mail has none of its own unless the server takes it."""
    cdef Mail* mail = talk.open
    if mail.nested == NULL:
        mail.nested = <Nested*>calloc(1, sizeof(Nested))
        if mail.nested == NULL:
            return
    mail.nested.line.n = 0
    text_add(&mail.nested.line, text.p, text.n, KEPT_LINE)
    mail.nested.at = at
    mail.nested.ns = dialogue.verdicts.ns
    mail.nested.ordinal = talk.ordinal + 1


cdef void nested_taken(Dialogue dialogue, Conn* conn) noexcept nogil:
    """The server took a MAIL inside a mail, as some do: the mail before it is over, and this is another one.

    Only what the client sends when it knows so belongs to it; what it had sent before stays with the first.
    """
    cdef Talk* talk = conn.talk
    cdef Mail* mail = talk.open
    cdef Nested* nested = mail.nested
    cdef Command c
    cdef bint knows = dialogue.ack >= nested.reply
    nested.reply = 0
    if not knows or mail.has_text or talk.qn:
        return
    mail.nested = NULL                             # outlives it
    mail_close(dialogue.verdicts, conn, mail, OUTCOME_ABORTED)
    mail = mail_begin(dialogue.verdicts, conn, nested.at)
    if mail != NULL:
        mail.ordinal = nested.ordinal
        mail.start_ns = nested.ns
        command_parse(span(nested.line.p, nested.line.n), &c)
        mail_sender(mail, &c)
    text_free(&nested.line)
    free(nested)


cdef void answer_line(Dialogue dialogue, Conn* conn, Span text, int64_t end_at, int end) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    command_limits(dialogue, conn, IN_AUTH, text, line.n, end)
    dialogue.event(conn, E_ANSWER)
    talk.asked = V_AUTH
    dialogue.ask(
        conn, line.start, end_at, line.packet, V_AUTH, span(<const uint8_t*>b"AUTH", 4), W_ANSWER, PHASE_EHLO, NULL,
    )
    dialogue.tape.answer(conn, text, line.n)


cdef void empty_line(Dialogue dialogue, Conn* conn, Span text, int64_t end_at, int end) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    cdef Fact fact
    cdef int phase
    if dialogue.event(conn, E_EMPTY) != D_EMPTY:
        return
    phase = phase_now(talk, V_UNKNOWN)
    if dialogue.verdicts.program.n_of_kind[F_EMPTY_LINE]:
        fact_begin(&fact, F_EMPTY_LINE, CLIENT, phase)
        fact.v[0] = line.n > 0
        fact.offset = line.start
        fact.length = line.n + end
        fact.packet = line.packet
        fact.octets = text
        dialogue.verdicts.judge(conn, mail_of(talk, V_UNKNOWN), &fact)
    dialogue.ask(
        conn, line.start, end_at, line.packet, V_UNKNOWN, text, W_EMPTY, phase, mail_of(talk, V_UNKNOWN),
    )
    dialogue.tape.command(conn, text, line.n)


cdef void command_fact(
    Dialogue dialogue, Conn* conn, Mail* mail, Command* c, Span text, int end, int phase,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    cdef Fact fact
    # which command of its segment it is: by the segment that holds its first octet
    talk.nth += 1
    fact_begin(&fact, F_COMMAND, CLIENT, phase)
    fact.t[0] = c.word
    fact.t[1] = c.arg
    fact.t[2] = text
    fact.verb = c.verb
    fact.v[1] = c.verb != V_UNKNOWN
    if (dialogue.verdicts.program.verbs_advertised >> c.verb) & 1:
        fact.v[2] = command_advertised(c, talk.offered, (talk.given & GIVEN_ESMTP) != 0, talk.answered)
    fact.v[3] = talk.commands
    fact.v[4] = 0 if end == 2 else 1
    fact.v[5] = line.cut > 0 and <Py_ssize_t>line.cut < (c.word.p - text.p) + c.word.n
    fact.v[6] = talk.nth
    fact.v[7] = talk.qn
    fact.v[8] = line.n
    fact.v[9] = dialogue.merged
    fact.v[10] = c.chunk
    fact.offset = line.start
    fact.length = line.n
    fact.packet = line.packet
    fact.octets = text
    dialogue.verdicts.judge(conn, mail, &fact)


cdef void command_line(Dialogue dialogue, Conn* conn, Command* c, Span text, int64_t end_at, int end) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[CLIENT]
    cdef Mail* mail
    cdef Pending* p
    cdef int what = command_event(c)
    cdef int action = action_of(talk.state, what)
    cdef int phase
    talk.commands += 1
    if action == D_MAIL:
        open_mail(dialogue, conn, line.start)
        if talk.open != NULL and talk.open.command_at == line.start:
            mail_sender(talk.open, c)
        elif talk.open != NULL:
            nested_mail(dialogue, talk, line.start, text)
    phase = phase_now(talk, c.verb)
    command_limits(dialogue, conn, IN_COMMAND, text, line.n, end)
    mail = mail_of(talk, c.verb)
    if dialogue.verdicts.program.n_of_kind[F_COMMAND]:
        command_fact(dialogue, conn, mail, c, text, end, phase)
    if c.word.n == 1 and c.word.p[0] == 46:
        # a box that takes a refused DATA for the text's beginning takes this for its end
        talk.given &= ~(<uint8_t>GIVEN_REFUSED_DATA)
    if c.verb == V_MAIL or c.verb == V_RCPT:
        path_fact(dialogue.verdicts, conn, mail, c, text, line.start, phase)
    dialogue.event(conn, what)
    if talk.state == S_WAIT:
        talk.asked = <uint8_t>c.verb
        talk.here.asked_end = end_at
    if action == D_GREET or action == D_ABORT:
        if talk.open != NULL:
            mail_close(dialogue.verdicts, conn, talk.open, OUTCOME_ABORTED)
    if action == D_GREET:
        short_set(&talk.helo, &talk.helo_n, c.arg.p, c.arg.n, <uint16_t>KEPT_ADDRESS)
    p = dialogue.ask(conn, line.start, end_at, line.packet, c.verb, c.word, W_COMMAND, phase, mail)
    dialogue.tape.command(conn, text, line.n)
    if p == NULL:
        return
    if action == D_RCPT and mail != NULL and mail == talk.open:
        p.rcpt = mail_recipient(mail, c)
        count_fact(dialogue, conn, mail, CLIENT, COUNT_RCPT, mail.rcpt_count, phase, line, text)
    elif action == D_CHUNK:
        p.last = c.last
        talk.here.chunk_left = c.chunk
        talk.chunk_last = c.last
        talk.chunk_mail = 1
        if talk.open != NULL and not talk.open.has_text:
            text_begins(dialogue, conn, end_at, False)
        if talk.here.chunk_left == 0:
            chunk_done(dialogue, conn, end_at)
    elif action == D_COUNT:
        talk.here.chunk_left = c.chunk
        talk.chunk_last = 0
        talk.chunk_mail = 0
