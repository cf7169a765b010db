"""The SMTP machine: two streams of octets in, facts out. grammar.states is its table."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from smtpinspect._core.client cimport client_feed
from smtpinspect._core.commands cimport Command, command_parse, surely_command, V_DATA, V_STARTTLS, V_X_ANONYMOUSTLS
from smtpinspect._core.dialogue cimport Dialogue
from smtpinspect._core.lines cimport line_done
from smtpinspect._core.mailtext cimport chunk_done, chunk_feed, text_begins, text_feed
from smtpinspect._core.mime cimport mime_free, mime_gap
from smtpinspect._core.records cimport free_mail, standings_free
from smtpinspect._core.replies cimport replies_feed
from smtpinspect._core.rows cimport F_TLS, fact_begin
from smtpinspect._core.socks cimport socks_skip
from smtpinspect._core.span cimport span, Span
from smtpinspect._core.state cimport (
    BORDERS, CLIENT, Conn, DOUBT_GAP, DOUBT_ONE_DIRECTION, DOUBT_SUPER_SEGMENTS, Fact, Line, Mail, PHASE_GREETING,
    SERVER, TAIL, Talk,
)
from smtpinspect._core.states cimport (
    D_TEXT, E_CLIENT_GAP, E_IMPLICIT_TLS, E_NO_REPLY, E_NO_REPLY_COMMAND, E_NO_REPLY_TLS, E_PLAIN, E_SERVER_GAP,
    S_AUTH, S_CHUNK, S_COMMAND, S_LOST, S_TEXT, S_TLS, S_WAIT,
)
from smtpinspect._core.tape cimport Tape
from smtpinspect._core.text cimport short_free, text_free
from smtpinspect._core.transactions cimport mail_encrypted, mails_end, unlink_mail
from smtpinspect._core.verdicts cimport Verdicts


cdef class Machine:
    def __init__(self, Verdicts verdicts, tape=None):
        self.tape = Tape(tape)
        self.dialogue = Dialogue(verdicts, self.tape)

    cdef int start(self, Conn* conn, bint late) noexcept nogil:
        cdef Talk* talk = <Talk*>calloc(1, sizeof(Talk))
        if talk == NULL:
            return -1
        conn.talk = talk
        talk.state = S_LOST if late else S_COMMAND
        talk.began_late = late
        talk.unsure = late
        return 0

    cdef void free_talk(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Mail* mail
        cdef int side
        if talk == NULL:
            return
        while talk.last_mail != NULL:
            mail = talk.last_mail.next
            unlink_mail(talk, mail)
            mime_free(mail.mime)
            free_mail(mail)
        for side in range(2):
            if talk.line[side] != NULL:
                text_free(&talk.line[side].kept)
                free(talk.line[side])
        short_free(&talk.helo, talk.helo_n)
        if talk.reply != NULL:
            text_free(&talk.reply.greeting)
            free(talk.reply)
        free(talk.mark)
        free(talk.queue)
        standings_free(talk.standing)
        free(talk)
        conn.talk = NULL

    # --- octets ---------------------------------------------------------------------------------

    cdef Py_ssize_t feed(
        self, Conn* conn, int side, const uint8_t* p, Py_ssize_t n, int64_t at, const Arrival* a,
    ) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Py_ssize_t i = 0
        cdef bint border = a.border
        self.dialogue.verdicts.packet = a.packet
        if a.merged:
            conn.doubt |= DOUBT_SUPER_SEGMENTS
        if talk.socks.on[side]:
            i = socks_skip(&talk.socks, side, p, n)
        if side == SERVER:
            return i + replies_feed(self.dialogue, conn, p + i, n - i, at + i, border)
        self.dialogue.merged = a.merged
        self.dialogue.ack = a.ack
        if border:
            talk.before = talk.border
            talk.before_ns = talk.border_ns
            talk.new_border = 1
            talk.border = at
            talk.border_ns = a.ns
            if talk.mark != NULL:
                talk.mark.border_at = (talk.mark.border_at + 1) % BORDERS
                talk.mark.borders[talk.mark.border_at] = at
                talk.mark.border_ns[talk.mark.border_at] = a.ns
        while i < n:
            if talk.state == S_TEXT:
                i += text_feed(self.dialogue, conn, p + i, n - i, at + i)
            elif talk.state == S_CHUNK:
                i += chunk_feed(self.dialogue, conn, p + i, n - i, at + i)
            elif talk.state == S_WAIT:
                return i
            elif talk.state == S_TLS:
                if not talk.tls_written:
                    if p[i] != 0x16 and p[i] != 0x80 and 65 <= (p[i] & 0xDF) <= 90:
                        self.dialogue.event(conn, E_PLAIN)
                        continue
                    mail_encrypted(self.dialogue.verdicts, conn)
                return n
            else:
                if at + i == 0 and not talk.greeted and talk.commands == 0 and begins_tls(p + i, n - i):
                    self.implicit_tls(conn)
                    return n
                i += client_feed(self.dialogue, conn, p + i, n - i, at + i, border)
                border = False
        return n

    cdef int implicit_tls(self, Conn* conn) noexcept nogil:
        cdef Fact fact
        self.dialogue.event(conn, E_IMPLICIT_TLS)
        fact_begin(&fact, F_TLS, CLIENT, PHASE_GREETING)
        fact.v[0] = 1
        fact.packet = self.dialogue.verdicts.packet
        self.dialogue.verdicts.judge(conn, NULL, &fact)
        mail_encrypted(self.dialogue.verdicts, conn)
        self.tape.implicit_tls(conn)
        return 0

    cdef bint waits(self, Conn* conn) noexcept nogil:
        return conn.talk.state == S_WAIT

    # --- holes and ends -----------------------------------------------------------------------------

    cdef int gap(self, Conn* conn, int side, int64_t n, int64_t at) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef int64_t left = n
        conn.doubt |= DOUBT_GAP
        if side == SERVER:
            if talk.state == S_TLS:
                return 0
            self.dialogue.event(conn, E_SERVER_GAP)
            talk.greeted = 1 if at > 0 or n > 4 else talk.greeted
            talk.skip_line[SERVER] = 1
            line_lost(talk.line[SERVER])
            talk.in_reply = 0
            return 0
        if talk.state == S_TEXT:
            talk.unsure = 1                        # the end mark may lie in the hole
            if talk.mark != NULL:
                talk.mark.pre = 0
                memset(talk.mark.tail, 255, TAIL)
            if talk.open != NULL:
                mime_gap(self.dialogue.verdicts, conn, talk.open, n)
            self.tape.text_gap(conn, n, False)
        elif talk.state == S_CHUNK:
            if left > talk.here.chunk_left:
                left = talk.here.chunk_left
            if talk.chunk_mail:
                if talk.open != NULL:
                    mime_gap(self.dialogue.verdicts, conn, talk.open, left)
                self.tape.text_gap(conn, left, True)
            talk.here.chunk_left -= left
            if talk.here.chunk_left == 0:
                chunk_done(self.dialogue, conn, at + left)
                if left < n:
                    self.dialogue.event(conn, E_CLIENT_GAP)
                    talk.skip_line[CLIENT] = 1
        elif talk.state != S_TLS:
            self.dialogue.event(conn, E_CLIENT_GAP)
            talk.skip_line[CLIENT] = 1
            line_lost(talk.line[CLIENT])
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
            self.dialogue.event(conn, E_NO_REPLY_TLS)
            return 0
        if talk.asked != V_DATA or (end < n and surely_command(span(p, end), &c)):
            self.dialogue.event(conn, E_NO_REPLY_COMMAND)
            return 0
        if self.dialogue.event(conn, E_NO_REPLY) != D_TEXT:
            return 0
        text_begins(self.dialogue, conn, talk.here.asked_end, True)
        talk.open.doubt |= DOUBT_GAP if conn.d[SERVER].has_payload else DOUBT_ONE_DIRECTION
        self.tape.text_begin(conn, -1)
        return 0

    cdef int end(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        cdef Line* line
        cdef Span text
        if talk == NULL:
            return 0
        line = talk.line[CLIENT]
        if line != NULL and line.n and not talk.skip_line[CLIENT]:
            text = span(line.kept.p, line.kept.n)
            if talk.state == S_COMMAND:
                self.tape.command(conn, text, line.n)
            elif talk.state == S_AUTH:
                self.tape.answer(conn, text, line.n)
        if talk.in_reply:
            self.tape.reply(conn, talk.reply_code, talk.queue[talk.qhead].ordinal if talk.qn else -1)
        if talk.mark != NULL and talk.mark.pre:
            self.tape.text(conn, <const uint8_t*>b".", 1, False)
            self.tape.text(conn, talk.mark.post, talk.mark.post_n, False)
        if talk.state == S_TLS and not talk.tls_written:
            mail_encrypted(self.dialogue.verdicts, conn)
        mails_end(self.dialogue.verdicts, conn)
        return 0


cdef void line_lost(Line* line) noexcept nogil:
    """A hole lies in it."""
    if line != NULL:
        line_done(line)


cdef bint begins_tls(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """A handshake record (RFC 8446 5.1)."""
    return n >= 2 and p[0] == 0x16 and p[1] == 3
