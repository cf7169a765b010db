"""From a fact to alerts, and from alerts to the standing of each inspector towards a mail and a connection."""

from libc.stdint cimport int8_t, int16_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, malloc
from libc.string cimport memcpy, memset

from smtpinspect._core.octets cimport upper
from smtpinspect._core.records cimport Sink
from smtpinspect._core.rows cimport F_LINE, F_TLS, Fired, IN_AUTH, MOST, Program, Row
from smtpinspect._core.said cimport said
from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Alert, Break, CLIENT, Conn, EXCERPT, Fact, FEW, Mail, Standing, Standings, Talk

from smtpinspect.actions import Strength
from smtpinspect.grammar import limits as _limits

assert _limits.EXCERPT == EXCERPT
assert _limits.ALERTS_PER_RULE < 256           # they are counted in an octet

cdef int ALERTS_PER_RULE = _limits.ALERTS_PER_RULE
cdef int8_t DETACH = int(Strength.DETACH)
cdef int8_t DROP = int(Strength.DROP)


cdef Standings* standings_make(Program program) noexcept nogil:
    cdef Standings model
    cdef size_t size = <size_t>(<char*>&model.each[0] - <char*>&model) + program.ninspectors * sizeof(Standing)
    cdef Standings* made = <Standings*>malloc(size)
    cdef int i
    if made != NULL:
        memset(made, 0, size)
        for i in range(program.ninspectors):
            made.each[i].broke = -1
    return made


cdef Break* break_of(Standings* standings, Program program, int inspector) noexcept nogil:
    """NULL: no memory."""
    cdef int n = program.ninspectors
    cdef uint8_t* per_rule
    cdef int i
    if standings.breaks == NULL:
        standings.breaks = <Break*>calloc(n * sizeof(Break) + program.nrules, 1)
        if standings.breaks == NULL:
            return NULL
        per_rule = <uint8_t*>&standings.breaks[n]
        for i in range(FEW):
            if standings.few[i]:
                per_rule[standings.few[i] - 1] = standings.few_told[i]
    return &standings.breaks[inspector]


cdef uint8_t* told(Standings* standings, Program program, int rule) noexcept nogil:
    """How many alerts of this rule, to be counted on; NULL: no memory."""
    cdef int i
    if standings.breaks == NULL:
        for i in range(FEW):
            if standings.few[i] == 0:
                standings.few[i] = <uint16_t>(rule + 1)
            if standings.few[i] == rule + 1:
                return &standings.few_told[i]
        if break_of(standings, program, 0) == NULL:
            return NULL
    return <uint8_t*>&standings.breaks[program.ninspectors] + rule


cdef void broke(
    Standings* standings, Program program, int inspector, int row, int strength, int side, int64_t offset, int64_t tx,
) noexcept nogil:
    """A break: the earliest counts, of two in one mail and direction the lower offset, whichever was seen first."""
    cdef Standing* standing = &standings.each[inspector]
    cdef Break* own = break_of(standings, program, inspector)
    if own == NULL:
        return
    if standing.broke < 0 or (own.tx == tx and own.side == side and offset < own.at):
        standing.broke = <int16_t>row
        own.side = <uint8_t>side
        own.at = offset
        own.tx = tx
    if strength > standing.broke_strength:
        standing.broke_strength = <int8_t>strength


cdef int shown(const Fact* fact) noexcept nogil:
    """How many octets of evidence may be told: what stands behind an AUTH mechanism is a secret (RFC 4954 4)."""
    cdef const uint8_t* p = fact.octets.p
    cdef Py_ssize_t n = fact.octets.n if fact.octets.n < EXCERPT else EXCERPT
    cdef Py_ssize_t i = 0, word
    if fact.side != CLIENT or n == 0:
        return EXCERPT
    if fact.kind == F_LINE and fact.v[0] == IN_AUTH:
        return 0
    if fact.kind == F_TLS:
        # more commands may follow: one line is enough
        while i < n and p[i] != 10:
            i += 1
        n = i
        i = 0
    while i < n and (p[i] == 32 or p[i] == 9):
        i += 1
    word = i
    while i < n and p[i] != 32 and p[i] != 9:
        i += 1
    if not hides(p + word, i - word):
        return <int>n if fact.kind == F_TLS else EXCERPT
    while i < n and (p[i] == 32 or p[i] == 9):
        i += 1
    while i < n and p[i] != 32 and p[i] != 9:
        i += 1
    return <int>i


cdef bint hides(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """verbs.hides()"""
    return same_word(p, n, b"AUTH", 4) or same_word(p, n, b"X-EXPS", 6) or same_word(p, n, b"NOOP", 4) or (
        n >= 4 and same_word(p, 4, b"XXXX", 4))


cdef bint same_word(const uint8_t* p, Py_ssize_t n, const char* word, Py_ssize_t word_n) noexcept nogil:
    cdef Py_ssize_t i
    if n != word_n:
        return False
    for i in range(n):
        if upper(p[i]) != <uint8_t>word[i]:
            return False
    return True


cdef class Verdicts:
    def __init__(self, Program program, Sink sink):
        self.program = program
        self.sink = sink

    cdef int judge(self, Conn* conn, Mail* mail, Fact* fact) noexcept nogil:
        cdef Fired fired[MOST]
        cdef int n, i
        cdef uint32_t given
        if self.program.n_of_kind[fact.kind] == 0:
            return 0
        given = conn.talk.given | (mail.given if mail != NULL else 0)
        n = self.program.match(fact, given, fired)
        for i in range(n):
            self.fire(conn, mail, fact, &fired[i])
        return n

    cdef int judge_row(self, Conn* conn, Mail* mail, Fact* fact, int row) noexcept nogil:
        cdef uint32_t given = conn.talk.given | (mail.given if mail != NULL else 0)
        cdef Fired fired
        if self.program.holds(row, fact, given, &fired):
            self.fire(conn, mail, fact, &fired)
            return 1
        return 0

    cdef int fire(self, Conn* conn, Mail* mail, Fact* fact, const Fired* decided) noexcept nogil:
        cdef int number = decided.row
        cdef int64_t offset = decided.offset
        cdef Row* row = &self.program.rows[number]
        cdef Talk* talk = conn.talk
        cdef Standings* owns
        cdef Standing* own
        cdef Standing* whole
        cdef int64_t* fired
        cdef Mail* other
        cdef int strength = row.strength
        cdef bint breaks = row.breaks
        if talk.standing == NULL:
            talk.standing = standings_make(self.program)
            if talk.standing == NULL:
                return -1
            self.leave_out(conn)
        whole = &talk.standing.each[row.inspector]
        if whole.detached:
            return 0
        if row.method:
            strength = self.ask(conn, mail, fact, number)
            if strength < 0:
                return 0
            breaks = strength >= DROP or (row.breaks and strength == row.strength)
        if mail != NULL:
            if mail.standing == NULL:
                mail.standing = standings_make(self.program)
            if mail.standing == NULL:
                return -1
        owns = mail.standing if mail != NULL else talk.standing
        own = &owns.each[row.inspector]
        fired = self.sink.alerts + row.rule
        fired[0] += 1
        if not row.seen and strength > own.strongest:
            own.strongest = <int8_t>strength
        if not row.seen and strength > whole.overall:
            whole.overall = <int8_t>strength
        if self.sink.show_alerts and self.tell(conn, mail, fact, decided, strength, breaks) < 0:
            return -1
        if breaks and not row.seen:
            broke(
                owns, self.program, row.inspector, number, strength, fact.side, offset, mail.tx if mail != NULL else -1,
            )
            if own != whole:
                broke(talk.standing, self.program, row.inspector, number, strength, fact.side, offset, mail.tx)
        if mail == NULL and fact.answers and not row.seen:
            # the reply to an earlier command counts for the mails that have begun behind it
            other = talk.last_mail
            while other != NULL:
                other = other.next
                if other.ordinal >= fact.answers:
                    if other.standing == NULL:
                        other.standing = standings_make(self.program)
                    if other.standing != NULL:
                        own = &other.standing.each[row.inspector]
                        if strength > own.strongest:
                            own.strongest = <int8_t>strength
                        if breaks:
                            broke(
                                other.standing, self.program, row.inspector, number, strength, fact.side, offset, -1,
                            )
                if other == talk.last_mail:
                    break
        if strength == DETACH:
            whole.detached = 1
        return 1

    cdef int ask(self, Conn* conn, Mail* mail, Fact* fact, int row) noexcept with gil:
        """Python's word: a strength, -1 when the row does not fire. (By itself, since whoever holds Python objects
        takes the interpreter's lock whenever it is called.)"""
        try:
            return self.program.ask(row, fact, said(conn, mail))
        except BaseException as error:
            if self.error is None:
                self.error = error
            return -1

    cdef int tell(
        self, Conn* conn, Mail* mail, Fact* fact, const Fired* decided, int strength, bint breaks,
    ) noexcept nogil:
        """An alert for the sink, a mail's when the mail ends; so many of one rule in a mail or connection.

        Who wants them at once acts upon them: on all of them.
        """
        cdef Row* row = &self.program.rows[decided.row]
        cdef Span octets = fact.t[row.about - 1] if row.about else fact.octets
        cdef uint8_t* count = told(mail.standing if mail != NULL else conn.talk.standing, self.program, row.rule)
        cdef Alert* alert
        if not self.sink.instant:
            if count == NULL or count[0] >= ALERTS_PER_RULE:
                return 0
            count[0] += 1
        alert = <Alert*>malloc(sizeof(Alert))
        if alert == NULL:
            return -1
        memset(alert, 0, sizeof(Alert) - EXCERPT)
        alert.conn = conn
        alert.row = decided.row
        alert.strength = <int8_t>strength
        alert.side = <uint8_t>fact.side
        alert.phase = <uint8_t>fact.phase
        alert.breaks = breaks
        alert.after_break = conn.talk.standing.each[row.inspector].broke >= 0
        alert.offset = decided.offset
        alert.length = octets.n if row.about else fact.length
        alert.packet = decided.packet
        alert.frame = self.frame
        alert.ns = self.ns
        alert.moved = conn.d[0].octets + conn.d[1].octets
        alert.tx = mail.tx if mail != NULL else -1
        alert.text_end = -1
        alert.noctets = <uint8_t>(EXCERPT if self.secrets else shown(fact))
        if octets.n < alert.noctets:
            alert.noctets = <uint8_t>octets.n
        if alert.noctets:
            memcpy(alert.octets, octets.p, alert.noctets)
        if mail == NULL or self.sink.instant:
            self.sink.take_alert(alert)
        else:
            if mail.last_alert == NULL:
                mail.alerts = alert
            else:
                mail.last_alert.next = alert
            mail.last_alert = alert
        return 0

    cdef void leave_out(self, Conn* conn) noexcept nogil:
        """Who does not look at this connection has left it from the start."""
        cdef int i
        if self.program.scopes.any:
            for i in range(self.program.ninspectors):
                conn.talk.standing.each[i].detached = not self.program.scopes.looks_at(i, conn)

    cdef int begin_mail(self, Conn* conn, Mail* mail) noexcept nogil:
        """What the connection has come to so far counts for this mail too."""
        cdef Standings* whole = conn.talk.standing
        cdef int n = self.program.ninspectors
        if whole == NULL:
            return 0
        mail.standing = standings_make(self.program)
        if mail.standing == NULL:
            return -1
        memcpy(mail.standing.each, whole.each, n * sizeof(Standing))
        if whole.breaks != NULL:
            if break_of(mail.standing, self.program, 0) == NULL:
                return -1
            memcpy(mail.standing.breaks, whole.breaks, n * sizeof(Break))
        return 0

    cdef int end_mail(self, Conn* conn, Mail* mail) noexcept nogil:
        cdef Standings* whole = conn.talk.standing
        cdef Standing* own
        cdef Break* first
        cdef Alert* alert
        cdef int n = self.program.ninspectors
        cdef int i
        for i in range(n if whole != NULL and whole.breaks != NULL else 0):
            # breaks of earlier mails that became known since
            if whole.each[i].broke < 0 or whole.breaks[i].tx >= mail.tx or whole.breaks[i].tx < 0:
                continue
            if mail.standing == NULL:
                mail.standing = standings_make(self.program)
                if mail.standing == NULL:
                    return -1
            first = break_of(mail.standing, self.program, i)
            if first == NULL:
                return -1
            first[0] = whole.breaks[i]
            own = &mail.standing.each[i]
            own.broke = whole.each[i].broke
            if self.program.rows[own.broke].strength > own.broke_strength:
                own.broke_strength = self.program.rows[own.broke].strength
        if mail.standing != NULL:
            for i in range(n):
                own = &mail.standing.each[i]
                if own.broke >= 0 and own.broke_strength > own.strongest:
                    own.strongest = own.broke_strength
        while mail.alerts != NULL:
            alert = mail.alerts
            mail.alerts = alert.next
            alert.next = NULL
            if mail.text_end >= 0 and alert.side == 0:
                alert.text_end = mail.text_end
            if mail.standing != NULL and mail.standing.breaks != NULL:
                i = self.program.rows[alert.row].inspector
                own = &mail.standing.each[i]
                first = &mail.standing.breaks[i]
                if first.tx == mail.tx and own.broke >= 0 and first.side == alert.side:
                    # judged at a field's or a line's end: only the octets tell which came first
                    if alert.offset != first.at:
                        alert.after_break = alert.offset > first.at
                    elif alert.row == own.broke:
                        alert.after_break = 0
            self.sink.take_alert(alert)
        mail.last_alert = NULL
        return self.sink.take_mail(conn, mail)
