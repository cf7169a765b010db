"""The server's lines: the greeting, EHLO keywords, and replies, each paired with the command that it answers."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from smtpinspect._core.commands cimport (
    keyword_number, V_AUTH, V_BDAT, V_DATA, V_EHLO, V_HELO, V_LHLO, V_MAIL, V_RCPT, V_STARTTLS, V_UNKNOWN,
    V_X_ANONYMOUSTLS, V_X_EXPS, V_XEXCH50,
)
from smtpinspect._core.dialogue cimport count_fact, Dialogue, lend, reply_phase, take_back, W_ANSWER, W_COMMAND, W_END
from smtpinspect._core.lines cimport line_done, line_limits, line_read, past_limit
from smtpinspect._core.mailtext cimport mark_begins, text_begins
from smtpinspect._core.mime cimport mime_end
from smtpinspect._core.octets cimport lower
from smtpinspect._core.rows cimport (
    COUNT_RCPT_REFUSED, F_GREETING, F_KEYWORD, F_REPLY, F_REPLY_LINE, F_TLS, fact_begin, first_bit, IN_REPLY,
    Limits, name_bit,
)
from smtpinspect._core.span cimport span, Span
from smtpinspect._core.state cimport (
    CLIENT, Conn, DOUBT_END_MARK_DISPUTED, DOUBT_GAP, EXCERPT, Fact, GIVEN_ESMTP, GIVEN_HELO,
    GIVEN_REFUSED_DATA, GIVEN_STARRED, GIVEN_TLS, Line, Mail, OUTCOME_ABORTED, Pending, PHASE_DATACMD, PHASE_DOTREPLY,
    PHASE_EHLO, PHASE_GREETING, PHASE_MAIL, PHASE_RCPT, SERVER, Stored, Talk,
)
from smtpinspect._core.states cimport (
    D_IGNORE, D_LOOSE, D_REFUSED, D_TEXT, D_TLS, E_AUTH_334, E_AUTH_OTHER, E_DATA_354, E_DATA_OTHER, E_END_LOST,
    E_REPLY, E_STARTTLS_220, E_STARTTLS_OTHER, E_UNSOLICITED, E_XEXCH50_354, E_XEXCH50_OTHER, S_TEXT, S_TLS, S_WAIT,
)
from smtpinspect._core.text cimport text_add
from smtpinspect._core.transactions cimport mail_close, mail_decide, mail_encrypted, mail_end, mail_phase

from smtpinspect.grammar import limits as _limits

cdef uint32_t REPLY_LINES = _limits.REPLY_LINES
cdef uint32_t KEPT_LINE = _limits.KEPT_LINE

cdef uint8_t[256] ENDS_KEYWORD     # SP, HTAB, =
ENDS_KEYWORD[32] = ENDS_KEYWORD[9] = ENDS_KEYWORD[61] = 1

cdef enum:                     # facts.REPLY.fits
    EXPECTED = 0
    UNSOLICITED = 1
    WRONG_STATE = 2


cdef Py_ssize_t replies_feed(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil:
    cdef Py_ssize_t took
    lend(dialogue, conn.talk, SERVER)
    took = replies_read(dialogue, conn, p, n, at, border)
    take_back(dialogue, conn.talk, SERVER)
    return took


cdef Py_ssize_t replies_read(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[SERVER]
    cdef Limits* limits = &dialogue.verdicts.program.lines[IN_REPLY]
    cdef Py_ssize_t i = 0, took
    cdef int64_t length
    cdef bint whole, waited
    cdef Span text
    cdef int end
    while i < n:
        if talk.state == S_TLS:
            return n
        took = line_read(line, p + i, n - i, at + i, dialogue.verdicts.packet, border, &whole, &text, &end)
        border = False
        i += took
        if talk.skip_line[SERVER]:
            if whole:
                talk.skip_line[SERVER] = 0
                cut_reply(dialogue, conn, text)
                line_done(line)
            continue
        if not whole:
            end = line.held_cr
        length = line.n if whole else line.n - end
        if past_limit(limits, line.passed, length, end):
            reply_limits(dialogue, conn, text, length, end)
        if not whole:
            break
        waited = talk.state == S_WAIT
        reply_line(dialogue, conn, text, end)
        line_done(line)
        if waited and talk.state != S_WAIT and conn.d[CLIENT].first != NULL:
            return i                           # what the client has sent already comes before the next reply
    return n


cdef void reply_limits(Dialogue dialogue, Conn* conn, Span text, int64_t n, int64_t line_end) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Pending* p = &talk.queue[talk.qhead] if talk.qn else NULL
    cdef Line* line = talk.line[SERVER]
    cdef int phase = PHASE_GREETING if not talk.greeted else (reply_phase(p) if p != NULL else PHASE_EHLO)
    line_limits(
        dialogue.verdicts, conn, p.mail if p != NULL and talk.greeted else NULL, IN_REPLY, SERVER, phase,
        line.start, n, line_end, text, &line.passed, dialogue.verdicts.packet,
    )


cdef void cut_reply(Dialogue dialogue, Conn* conn, Span text) noexcept nogil:
    """A line behind a hole has no code that is sure; where it has the form of a last line it still decides."""
    cdef Talk* talk = conn.talk
    dialogue.tape.reply(conn, 0, -1)
    if talk.greeted and talk.qn and reply_code(text) > 0 and (text.n == 3 or text.p[3] == 32):
        talk.quiet = 1
        talk.reply.at = talk.line[SERVER].start
        talk.reply.packet = talk.line[SERVER].packet
        reply_whole(dialogue, conn, reply_code(text), text)
        talk.quiet = 0


cdef void reply_line(Dialogue dialogue, Conn* conn, Span text, int end) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[SERVER]
    cdef Fact fact
    cdef int form = 0, code = 0
    cdef bint more = False
    cdef Pending* p = &talk.queue[talk.qhead] if talk.qn else NULL
    cdef bint greeting
    dialogue.reply_end = line.start + line.n + end
    code = reply_code(text)
    if code >= 0:
        more = text.n > 3 and text.p[3] == 45
    else:
        code = 0
        form = 1 if line.n == 0 else 2 if line.n < 3 else 3
    if not talk.in_reply:
        talk.reply.at = line.start
        talk.reply.packet = line.packet
        talk.reply.lines = 0
        talk.reply.first_code = <uint16_t>code
        talk.ehlo_pending = talk.greeted and p != NULL and p.what == W_COMMAND and (
            p.verb == V_EHLO or p.verb == V_LHLO)
        talk.reply.greeting.n = 0
        talk.reply.head_n = <uint8_t>(text.n if text.n < EXCERPT else EXCERPT)
        memcpy(talk.reply.head, text.p, talk.reply.head_n)
    talk.reply.lines += 1
    # no greeting yet: the first reply is one unless it must answer a command (captures that begin late)
    greeting = not talk.greeted and not (
        talk.qn and talk.reply.first_code and talk.reply.first_code != 220 and talk.reply.first_code < 400)
    if greeting and talk.began_late and talk.reply.first_code != 220:
        greeting = False
    if form and dialogue.verdicts.program.n_of_kind[F_REPLY_LINE]:
        fact_begin(&fact, F_REPLY_LINE, SERVER, 0)
        fact.phase = PHASE_GREETING if greeting else (reply_phase(p) if p != NULL else PHASE_EHLO)
        fact.v[0] = form - 1                   # facts.REPLY_LINE: empty, short, not-numeric
        fact.t[0] = text
        fact.offset = line.start
        fact.length = line.n
        fact.packet = line.packet
        fact.octets = text
        dialogue.verdicts.judge(conn, p.mail if p != NULL and not greeting else NULL, &fact)
    if greeting and (more or form or talk.reply.greeting.n):
        # (one of one line is read where it lies)
        if talk.reply.greeting.n:
            text_add(&talk.reply.greeting, <const uint8_t*>b"\n", 1, KEPT_LINE)
        text_add(&talk.reply.greeting, text.p, text.n, KEPT_LINE)
    elif not greeting and talk.ehlo_pending and p != NULL and 1 < talk.reply.lines < REPLY_LINES and (
            text.n > 4 and code == 250):
        keyword_line(dialogue, conn, span(text.p + 4, text.n - 4), text, p)
    if form and talk.in_reply:
        return                                 # text of the reply that is open
    if form == 1:
        return                                 # an empty line is no reply
    talk.reply_code = <uint16_t>code
    if more:
        talk.in_reply = 1
        if talk.reply.lines == 1 and talk.ehlo_pending and code == 250:
            talk.offered = 0
        return
    if talk.reply.lines == 1 and talk.ehlo_pending and code == 250:
        talk.offered = 0
    talk.in_reply = 0
    if greeting:
        greeting_whole(dialogue, conn, code, text)
    else:
        talk.greeted = 1
        reply_whole(dialogue, conn, code, text)


cdef void keyword_line(Dialogue dialogue, Conn* conn, Span rest, Span text, Pending* p) noexcept nogil:
    """One EHLO line behind the first (RFC 5321 4.1.1.1)."""
    cdef Talk* talk = conn.talk
    cdef Line* line = talk.line[SERVER]
    cdef Fact fact
    cdef Py_ssize_t n = 0
    cdef int number
    cdef uint64_t bit
    if dialogue.verdicts.program.firsts_wanted & first_bit(rest.p, rest.n) == 0:
        return
    while n < rest.n and not ENDS_KEYWORD[rest.p[n]]:
        n += 1
    if n < rest.n and rest.p[n] == 61:
        n += 1                                 # the old form AUTH=LOGIN
    bit = name_bit(rest.p, n)
    if dialogue.verdicts.program.offers_wanted & bit:
        number = keyword_number(span(rest.p, n))
        if number >= 0:
            talk.offered |= <uint64_t>1 << number
    if dialogue.verdicts.program.names_wanted[F_KEYWORD] & bit:
        fact_begin(&fact, F_KEYWORD, SERVER, PHASE_EHLO)
        fact.t[0] = span(rest.p, n)
        fact.t[1] = rest
        fact.v[1] = talk.reply.lines - 1
        fact.offset = line.start
        fact.length = line.n
        fact.packet = line.packet
        fact.octets = text
        fact.answers = p.ordinal + 1
        dialogue.verdicts.judge(conn, p.mail, &fact)


cdef void greeting_whole(Dialogue dialogue, Conn* conn, int code, Span text) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Fact fact
    cdef Py_ssize_t i
    cdef bint starred, plain = True
    cdef int stars = 0
    cdef uint8_t c
    if talk.reply.greeting.n:
        text = span(talk.reply.greeting.p, talk.reply.greeting.n)
    elif text.n > <Py_ssize_t>KEPT_LINE:
        text.n = KEPT_LINE
    starred = text.n > 4
    talk.greeted = 1
    talk.unsure = 0
    conn.established = 1
    for i in range(text.n if memchr(text.p, 42, text.n) != NULL else 0):
        c = text.p[i]
        if c == 42:
            stars += 1
        elif c not in (32, 48, 50, 10, 13, 9):
            plain = False
            starred = starred and (i < 3 or c == 45)
    starred = starred and stars >= 3
    if plain and stars:
        talk.given |= GIVEN_STARRED
    fact_begin(&fact, F_GREETING, SERVER, PHASE_GREETING)
    fact.v[0] = code
    fact.v[1] = talk.reply.lines
    fact.v[2] = starred
    fact.t[0] = text
    fact.offset = talk.reply.at
    fact.length = talk.line[SERVER].start + talk.line[SERVER].n - talk.reply.at
    fact.answers = 1
    fact.packet = talk.reply.packet
    fact.octets = fact.t[0]
    dialogue.verdicts.judge(conn, NULL, &fact)
    dialogue.tape.reply(conn, code, -1)


cdef int reply_event(Pending* p, int code) noexcept nogil:
    """The event that a reply to this command is."""
    if p == NULL:
        return E_UNSOLICITED
    if p.what == W_ANSWER:
        return E_AUTH_334 if code == 334 else E_AUTH_OTHER
    if p.what == W_COMMAND:
        if p.verb == V_DATA:
            return E_DATA_354 if code == 354 else E_DATA_OTHER
        if p.verb == V_AUTH or p.verb == V_X_EXPS:
            return E_AUTH_334 if code == 334 else E_AUTH_OTHER
        if p.verb == V_STARTTLS or p.verb == V_X_ANONYMOUSTLS:
            return E_STARTTLS_220 if code == 220 else E_STARTTLS_OTHER
        if p.verb == V_XEXCH50:
            return E_XEXCH50_354 if code == 354 else E_XEXCH50_OTHER
    return E_REPLY


cdef int reply_fits(Pending* p, int code) noexcept nogil:
    """facts.REPLY.fits: is it a reply that this command can have?"""
    if p == NULL:
        return UNSOLICITED
    if code == 354 and (p.what == W_END or (p.verb != V_DATA and p.verb != V_XEXCH50)):
        return WRONG_STATE
    if 200 <= code < 300 and p.verb == V_DATA and p.what == W_COMMAND:
        return WRONG_STATE
    if code == 334 and p.verb != V_AUTH and p.verb != V_X_EXPS:
        return WRONG_STATE
    return EXPECTED


cdef void reply_fact(Dialogue dialogue, Conn* conn, Mail* mail, Pending* p, int code, Span text) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Fact fact
    if talk.quiet or (p == NULL and (talk.unsure or conn.d[CLIENT].packets == 0)):
        return
    fact_begin(&fact, F_REPLY, SERVER, 0)
    fact.phase = reply_phase(p) if p != NULL else (PHASE_DOTREPLY if talk.state == S_TEXT else PHASE_EHLO)
    fact.v[0] = code
    fact.v[2] = reply_fits(p, code)
    fact.v[3] = code == 0 and text.n == 2 and lower(text.p[0]) == 111 and lower(text.p[1]) == 107
    if p != NULL:
        fact.t[0] = span(p.name, p.name_n)
        fact.verb = p.verb if p.what == W_COMMAND else V_UNKNOWN     # an end mark waits as DATA does
        fact.v[1] = p.verb != V_UNKNOWN
    fact.t[1] = text
    fact.offset = talk.reply.at
    fact.length = talk.line[SERVER].start + talk.line[SERVER].n - talk.reply.at
    fact.packet = talk.reply.packet
    fact.octets = span(talk.reply.head, talk.reply.head_n)
    fact.answers = p.ordinal + 1 if p != NULL else 0
    dialogue.verdicts.judge(conn, mail, &fact)


cdef int64_t early_ordinal(Talk* talk) noexcept nogil:
    """Of a reply to nothing: that of the end mark to come, where it is the first one inside of a text; else -1."""
    return talk.ordinal + 1 if talk.state == S_TEXT and talk.mark != NULL and talk.mark.early == 0 else -1


cdef void reply_whole(Dialogue dialogue, Conn* conn, int code, Span text) noexcept nogil:
    """A whole reply: whose is it, and what does it decide?"""
    cdef Talk* talk = conn.talk
    cdef Pending entry
    cdef Pending* p = NULL
    cdef Mail* mail = NULL
    cdef int action
    if talk.qn:
        p = &talk.queue[talk.qhead]
        if code == 0 and p.verb == V_DATA and p.what == W_COMMAND:
            # noise of the server; what DATA waits for is a code
            dialogue.tape.reply(conn, 0, -1)
            return
        dialogue.queue_take(talk, &entry)
        p = &entry
        mail = p.mail
        if mail != NULL and mail.pending:
            mail.pending -= 1
    if not talk.quiet:
        dialogue.tape.reply(conn, code, p.ordinal if p != NULL else early_ordinal(talk))
    talk.farewell = 421 if code == 421 else 0
    # facts first: they belong to the mail as it stands
    if dialogue.verdicts.program.n_of_kind[F_REPLY]:
        reply_fact(dialogue, conn, mail, p, code, text)
    action = dialogue.event(conn, reply_event(p, code))
    if action == D_LOOSE:
        loose_reply(dialogue, conn, code)
    if action == D_IGNORE or p == NULL:
        return
    talk.unsure = 0
    if p.what == W_END:
        if mail != NULL:
            mail_decide(dialogue.verdicts, conn, mail, code)
    elif p.verb == V_DATA:
        data_answered(dialogue, conn, mail, code, action, p)
    elif p.verb == V_BDAT and p.what == W_COMMAND:
        if mail != NULL:
            chunk_answered(dialogue, conn, mail, code, p.last)
    elif p.verb == V_MAIL:
        if mail != NULL and mail.command_at == p.at and code >= 400:
            refused(mail, code, PHASE_MAIL)
            mail.refused_mail = 1
        elif mail != NULL and mail.command_at != p.at and 200 <= code < 300 and talk.qn == 0:
            if mail.nested != NULL and mail.nested.at == p.at:
                mail.nested.reply = dialogue.reply_end
    elif p.verb == V_RCPT:
        rcpt_answered(dialogue, conn, mail, code, p, text)
    elif p.verb == V_EHLO or p.verb == V_HELO or p.verb == V_LHLO:
        talk.answered = 1
        if 200 <= code < 300:
            talk.given &= ~(<uint8_t>(GIVEN_ESMTP | GIVEN_HELO))
            talk.given |= GIVEN_HELO if p.verb == V_HELO else GIVEN_ESMTP
    elif action == D_TLS:
        tls_begins(dialogue, conn, p)
    if mail != NULL and not mail.ended:
        mail_answered(dialogue, conn, mail, p)


cdef void mail_answered(Dialogue dialogue, Conn* conn, Mail* mail, Pending* p) noexcept nogil:
    """A mail that takes no more commands ends with its last reply."""
    if mail.pending:
        return
    if mail.refused_mail and not mail.closed:
        mail_close(dialogue.verdicts, conn, mail, OUTCOME_ABORTED)
    elif mail.closed and p.what != W_END and not (p.verb == V_BDAT and p.last) and (mail.text_end < 0 or mail.bdat):
        mail_end(dialogue.verdicts, conn, mail, OUTCOME_ABORTED, mail_phase(mail))


cdef void refused(Mail* mail, int code, int phase) noexcept nogil:
    mail.last_refusal = <uint16_t>code
    mail.refusal_phase = <uint8_t>phase


cdef bint follows(const Mail* mail) noexcept nogil:
    """Is a refusal only what an earlier one leads to (503)? That of MAIL, of every recipient, or of a chunk."""
    return mail.last_refusal and (mail.refused_mail or mail.rcpt_refused or (mail.bdat and mail.refused_data))


cdef void chunk_answered(Dialogue dialogue, Conn* conn, Mail* mail, int code, bint last) noexcept nogil:
    if code >= 400 and not follows(mail):
        refused(mail, code, PHASE_DOTREPLY if last else PHASE_DATACMD)
    if last:
        mail_decide(dialogue.verdicts, conn, mail, code)
    elif code >= 400:
        mail.refused_data = 1


cdef void data_answered(Dialogue dialogue, Conn* conn, Mail* mail, int code, int action, Pending* p) noexcept nogil:
    cdef Talk* talk = conn.talk
    if action == D_TEXT:
        if mail == NULL or mail == talk.open:
            text_begins(dialogue, conn, p.end, True)
        else:
            mark_begins(talk)
        dialogue.tape.text_begin(conn, p.ordinal)
    elif action == D_REFUSED:
        talk.given |= GIVEN_REFUSED_DATA
        if mail != NULL:
            mail.refused_data = 1
            mail.has_text = 0
            if code >= 400 and not follows(mail):
                refused(mail, code, PHASE_DATACMD)


cdef void rcpt_answered(
    Dialogue dialogue, Conn* conn, Mail* mail, int code, Pending* p, Span text,
) noexcept nogil:
    if mail == NULL:
        return
    if p.rcpt >= 0 and <uint32_t>p.rcpt < mail.nrcpts:
        mail.rcpts[p.rcpt].reply = <uint16_t>code
    if 200 <= code < 300:
        mail.rcpt_accepted += 1
        mail.last_refusal = 0
    elif code >= 400:
        mail.rcpt_refused += 1
        if mail.rcpt_accepted == 0 and not mail.refused_mail:
            refused(mail, code, PHASE_RCPT)
        count_fact(
            dialogue, conn, mail, SERVER, COUNT_RCPT_REFUSED, mail.rcpt_refused, PHASE_RCPT, conn.talk.line[SERVER],
            text,
        )


cdef void loose_reply(Dialogue dialogue, Conn* conn, int code) noexcept nogil:
    """A reply while no command waits: 421 before the server closes, or the reply to a text that goes on."""
    cdef Talk* talk = conn.talk
    cdef Mail* mail = talk.open
    if talk.state != S_TEXT or talk.mark == NULL:
        return
    if talk.mark.early == 0:
        talk.mark.early = <uint16_t>(1 + code)
    if mail != NULL:
        if mail.doubt & DOUBT_GAP:
            # the end mark is in the hole
            mail.text_end = conn.d[CLIENT].next
            mail.closed = 1
            mime_end(dialogue.verdicts, conn, mail)
            talk.open = NULL
            dialogue.event(conn, E_END_LOST)
            talk.ordinal += 1                  # of that end mark
            mail_decide(dialogue.verdicts, conn, mail, talk.mark.early - 1)
        elif code != 421:
            mail.doubt |= DOUBT_END_MARK_DISPUTED


cdef void tls_begins(Dialogue dialogue, Conn* conn, Pending* p) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Fact fact
    cdef int64_t behind = 0
    cdef uint8_t head[EXCERPT]
    cdef int n = 0, room
    cdef Stored* s = conn.d[CLIENT].first
    while s != NULL:
        # sent before the client could know of the reply
        if s.ack <= talk.reply.at:
            behind += s.n
            room = EXCERPT - n if s.n > <uint32_t>(EXCERPT - n) else <int>s.n
            memcpy(head + n, <uint8_t*>(s + 1), room)
            n += room
        s = s.next
    talk.given |= GIVEN_TLS
    fact_begin(&fact, F_TLS, CLIENT, PHASE_EHLO)
    fact.v[1] = behind
    fact.offset = p.end
    fact.length = behind
    fact.packet = p.packet
    s = conn.d[CLIENT].first
    if behind and s != NULL:
        fact.packet = s.packet
        fact.octets = span(head, n)
    dialogue.verdicts.judge(conn, NULL, &fact)
    if talk.open != NULL:
        mail_close(dialogue.verdicts, conn, talk.open, OUTCOME_ABORTED)
    if behind:
        mail_encrypted(dialogue.verdicts, conn)
    dialogue.tape.starttls(conn, p.end, dialogue.reply_end)


cdef int reply_code(Span text) noexcept nogil:
    """The three digits that begin a reply line, -1 when it has none (RFC 5321 4.2); a mask may hide what follows."""
    if text.n >= 3 and 48 <= text.p[0] <= 57 and 48 <= text.p[1] <= 57 and 48 <= text.p[2] <= 57 and (
            text.n == 3 or text.p[3] in (32, 45, 42)):
        return (text.p[0] - 48) * 100 + (text.p[1] - 48) * 10 + text.p[2] - 48
    return -1
