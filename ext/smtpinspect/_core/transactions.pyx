"""Mails: begun by MAIL, filled by RCPT and the text, ended by their deciding reply."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, realloc

from smtpinspect._core.commands cimport Command, V_DATA
from smtpinspect._core.lines cimport phase_at
from smtpinspect._core.mime cimport mime_end, mime_free
from smtpinspect._core.records cimport predicted_stage
from smtpinspect._core.state cimport (
    CLIENT, CLOSER_CLIENT, CLOSER_NONE, Conn, DOUBT_CUT_OFF, DOUBT_ENCRYPTED, DOUBT_GAP, DOUBT_ONE_DIRECTION,
    GIVEN_SMTPUTF8, Mail, OUTCOME_ABORTED, OUTCOME_ACCEPTED, OUTCOME_CLOSED, OUTCOME_ENCRYPTED, OUTCOME_REFUSED,
    OUTCOME_RESET, OUTCOME_STALLED, OUTCOME_UNKNOWN, Pending, PHASE_DOT, PHASE_DOTREPLY, PHASE_NONE, PHASE_REPLY354,
    Rcpt, SERVER, Talk,
)
from smtpinspect._core.states cimport S_TEXT
from smtpinspect._core.text cimport short_octets, text_begin, text_piece
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

cdef enum:
    MAIL_TEXT = 512            # octets that the addresses and fields of most mails fit in

cdef uint32_t KEPT_ADDRESS = _limits.KEPT_ADDRESS
cdef uint32_t RECIPIENTS = _limits.RECIPIENTS
cdef int64_t STALL_NS = _limits.STALL_NS


cdef Mail* mail_begin(Verdicts verdicts, Conn* conn, int64_t at) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail = <Mail*>calloc(1, sizeof(Mail))
    if mail == NULL:
        return NULL
    text_begin(&mail.text, MAIL_TEXT)
    mail.tx = talk.txs
    talk.txs += 1
    mail.declared = -1
    mail.text_start = -1
    mail.text_end = -1
    mail.command_at = at
    mail.ordinal = talk.ordinal + 1
    mail.start_ns = verdicts.ns
    mail.phase = PHASE_NONE
    mail.refusal_phase = PHASE_NONE
    if talk.helo_n:
        mail.helo = text_piece(&mail.text, short_octets(&talk.helo, talk.helo_n), talk.helo_n, KEPT_ADDRESS)
    if talk.last_mail == NULL:
        mail.next = mail
    else:
        mail.next = talk.last_mail.next
        talk.last_mail.next = mail
    talk.last_mail = mail
    talk.open = mail
    verdicts.begin_mail(conn, mail)
    return mail


cdef void mail_sender(Mail* mail, Command* c) noexcept nogil:
    if mail.has_sender:
        return
    mail.has_sender = 1
    mail.sender = text_piece(&mail.text, c.path.p, c.path.n, KEPT_ADDRESS)
    mail.declared = c.size
    if c.smtputf8:
        mail.given |= GIVEN_SMTPUTF8


cdef int mail_recipient(Mail* mail, Command* c) noexcept nogil:
    cdef Rcpt* more
    cdef uint32_t cap
    mail.rcpt_count += 1
    if mail.nrcpts >= RECIPIENTS:
        return -1
    if mail.nrcpts == mail.rcpts_cap:
        cap = mail.rcpts_cap * 2 if mail.rcpts_cap else 2
        more = <Rcpt*>realloc(mail.rcpts, cap * sizeof(Rcpt))
        if more == NULL:
            return -1
        mail.rcpts = more
        mail.rcpts_cap = cap
    mail.rcpts[mail.nrcpts].address = text_piece(&mail.text, c.path.p, c.path.n, KEPT_ADDRESS)
    mail.rcpts[mail.nrcpts].reply = 0
    mail.nrcpts += 1
    return <int>(mail.nrcpts - 1)


cdef void unlink_mail(Talk* talk, Mail* mail) noexcept nogil:
    cdef Mail* before = talk.last_mail
    cdef uint32_t i
    if before == NULL:
        return
    while before.next != mail:
        before = before.next
        if before == talk.last_mail:
            return
    before.next = mail.next
    if talk.last_mail == mail:
        talk.last_mail = before if before != mail else NULL
    if talk.open == mail:
        talk.open = NULL
    for i in range(talk.qn if mail.pending else 0):
        if talk.queue[(talk.qhead + i) % talk.qcap].mail == mail:
            talk.queue[(talk.qhead + i) % talk.qcap].mail = NULL
    mail.next = NULL


cdef void mail_end(Verdicts verdicts, Conn* conn, Mail* mail, int outcome, int phase) noexcept nogil:
    cdef Talk* talk = conn.talk
    if talk.open == mail and mail.has_text:
        mime_end(verdicts, conn, mail)
    mime_free(mail.mime)
    mail.mime = NULL
    if outcome == OUTCOME_ABORTED and mail.doubt & DOUBT_GAP:
        outcome = OUTCOME_UNKNOWN                          # what the hole held may have decided it
    elif outcome == OUTCOME_ABORTED and mail.last_refusal:
        # what the client gave up had been refused before
        outcome = OUTCOME_REFUSED
        mail.reply = mail.last_refusal
        phase = mail.refusal_phase
    mail.outcome = <uint8_t>outcome
    mail.phase = <uint8_t>(PHASE_NONE if outcome == OUTCOME_ACCEPTED else phase)
    if outcome >= OUTCOME_STALLED or outcome == OUTCOME_UNKNOWN:
        mail.stage = <uint8_t>predicted_stage(phase, conn.d[CLIENT].acked, mail.text_end)
    mail.ended = 1
    unlink_mail(talk, mail)
    verdicts.end_mail(conn, mail)


cdef void mail_decide(Verdicts verdicts, Conn* conn, Mail* mail, int code) noexcept nogil:
    """The reply to the end of data, or to the last chunk; what only follows from an earlier refusal decides nothing."""
    cdef int outcome = OUTCOME_ACCEPTED if 200 <= code < 300 else OUTCOME_REFUSED if code >= 400 else OUTCOME_UNKNOWN
    cdef int phase = PHASE_DOTREPLY
    if mail.bdat and code >= 400 and mail.last_refusal:
        code = mail.last_refusal
        phase = mail.refusal_phase
    mail.reply = <uint16_t>code
    mail.closer = CLOSER_NONE
    mail_end(verdicts, conn, mail, outcome, phase)


cdef void mail_close(Verdicts verdicts, Conn* conn, Mail* mail, int outcome) noexcept nogil:
    cdef int phase = mail_phase(mail)
    mail.closed = 1
    if conn.talk.open == mail:
        mime_end(verdicts, conn, mail)
        conn.talk.open = NULL
    if mail.pending == 0:
        mail_end(verdicts, conn, mail, outcome, phase)


cdef void broken(Verdicts verdicts, Conn* conn, Mail* mail) noexcept nogil:
    """A mail that the connection's end cut off: where, and what kind of end."""
    cdef Talk* talk = conn.talk
    cdef int64_t acked = conn.d[CLIENT].acked
    cdef int phase, outcome
    cdef uint32_t i
    cdef Pending* p
    cdef Pending* waiting = NULL
    for i in range(talk.qn):
        p = &talk.queue[(talk.qhead + i) % talk.qcap]
        if p.mail == mail:
            waiting = p
            break
    if mail.text_end >= 0:
        # all was sent: what of it did the server acknowledge?
        if acked >= mail.text_end or acked < 0:
            phase = PHASE_DOTREPLY
        elif acked > mail.text_end - 6:
            phase = PHASE_DOT
        else:
            phase = phase_at(mail, acked if acked > mail.text_start else mail.text_start)
    elif mail.has_text:
        phase = phase_at(mail, acked if acked > mail.text_start else mail.text_start)
    elif waiting != NULL:
        phase = waiting.phase
        if waiting.verb == V_DATA and acked >= waiting.end:
            phase = PHASE_REPLY354
    else:
        phase = mail_phase(mail)
    # the first FIN ends the wait, whatever comes behind it
    mail.silence_ns = (conn.fin_ns if conn.fin_ns else conn.moved_ns) - conn.progress_ns
    if mail.silence_ns < 0:
        mail.silence_ns = 0
    mail.closer = conn.closer
    if conn.d[SERVER].has_payload == 0:
        mail.doubt |= DOUBT_ONE_DIRECTION
        outcome = OUTCOME_UNKNOWN
    elif talk.farewell:
        # the server said that it closes: a code, no break
        outcome = OUTCOME_REFUSED
        mail.reply = talk.farewell
        mail.closer = CLOSER_NONE
    elif talk.open == mail and talk.state == S_TEXT and talk.mark != NULL and talk.mark.early > 400:
        # refused inside of the text, whose end never came
        outcome = OUTCOME_REFUSED
        mail.reply = <uint16_t>(talk.mark.early - 1)
        mail.closer = CLOSER_NONE
    elif conn.reset or conn.closer != CLOSER_NONE:
        if conn.closer == CLOSER_CLIENT and mail.silence_ns >= STALL_NS:
            outcome = OUTCOME_STALLED                      # the client gave up waiting
        else:
            outcome = OUTCOME_RESET if conn.reset else OUTCOME_CLOSED
    elif mail.silence_ns >= STALL_NS:
        outcome = OUTCOME_STALLED
    else:
        outcome = OUTCOME_UNKNOWN
        mail.doubt |= DOUBT_CUT_OFF
    mail_end(verdicts, conn, mail, outcome, phase)


cdef void mails_end(Verdicts verdicts, Conn* conn) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail
    if talk == NULL:
        return
    while talk.last_mail != NULL:
        mail = talk.last_mail.next
        if mail.closed and mail.text_end < 0 and not mail.has_text:
            mail.pending = 0
            mail_end(verdicts, conn, mail, OUTCOME_ABORTED, mail_phase(mail))
        elif mail.last_refusal and not mail.has_text and mail.pending == 0:
            mail_end(verdicts, conn, mail, OUTCOME_ABORTED, mail.refusal_phase)
        else:
            broken(verdicts, conn, mail)


cdef void mail_encrypted(Verdicts verdicts, Conn* conn) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail
    cdef Mail* open = talk.open
    if talk.tls_written:
        return
    talk.tls_written = 1
    conn.doubt |= DOUBT_ENCRYPTED
    if open != NULL:
        mail_close(verdicts, conn, open, OUTCOME_ABORTED)
    mail = mail_begin(verdicts, conn, 0)
    if mail == NULL:
        return
    talk.txs -= 1
    mail_end(verdicts, conn, mail, OUTCOME_ENCRYPTED, PHASE_NONE)
