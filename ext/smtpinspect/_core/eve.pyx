"""EVE records (one JSON object a line, Suricata's field names), written without the interpreter."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, strlen

from smtpinspect._core.octets cimport hex_digit
from smtpinspect._core.records cimport Sink, flow_id, flow_state, predicted_stage
from smtpinspect._core.rows cimport Program
from smtpinspect._core.said cimport ADDRESS, address, escaped, port
from smtpinspect._core.state cimport (
    Alert, CLIENT, Conn, EXCERPT, IS_ENCRYPTED, Mail, Piece, Standing, Talk,
)

import json

from smtpinspect.actions import Strength
from smtpinspect.grammar.words import ACTIONS, CLOSERS, DOUBTS, OUTCOMES, PHASES, STAGES, STATE_WORDS

cdef enum:
    FULL = 1 << 20             # octets kept before they are handed to the file
    REWRITE = 3                # of actions.Strength
    ANSWER = 4

assert int(Strength.REWRITE) == REWRITE and int(Strength.ANSWER) == ANSWER

cdef list _words = []                  # keeps the octets below alive


cdef const char* word(object text):
    octets = b"null" if text is None else json.dumps(text).encode()
    _words.append(octets)
    return <const char*><bytes>octets

cdef const char* PHASE_WORD[16]
cdef const char* STAGE_WORD[4]
cdef const char* OUTCOME_WORD[8]
cdef const char* CLOSER_WORD[8]
cdef const char* DOUBT_WORD[16]
cdef const char* ACTION_WORD[8]
cdef const char* STATE_WORD[3]
cdef int NDOUBTS = len(DOUBTS)


def _fill():
    for i, text in enumerate(PHASES):
        PHASE_WORD[i] = word(text)
    for i, text in enumerate(STAGES):
        STAGE_WORD[i] = word(text)
    for i, text in enumerate(OUTCOMES):
        OUTCOME_WORD[i] = word(text)
    for i, text in enumerate(CLOSERS):
        CLOSER_WORD[i] = word(text)
    for i, text in enumerate(DOUBTS):
        DOUBT_WORD[i] = word(text)
    for i, text in enumerate(ACTIONS):
        ACTION_WORD[i] = word(text)
    for i, text in enumerate(STATE_WORDS):
        STATE_WORD[i] = word(text)


_fill()


cdef class EveSink(Sink):
    cdef object file
    cdef uint8_t* p
    cdef size_t n
    cdef size_t cap
    cdef list kept
    cdef const char** row_head         # "inspector":..,"profile":..,"rule":..,"detail":.. of each row
    cdef const char** row_alert        # gid .. category of each row
    cdef const char** row_basis
    cdef const char** label            # of each inspector
    cdef const char** rule             # of each rule
    cdef uint8_t* in_verdict

    def __init__(self, Program program, file, alerts=True, mails=True, flows=True):
        cdef int i
        super().__init__(program, alerts, mails, flows)
        self.file = file
        self.kept = []
        self.row_head = self.strings([
            f'"inspector":{json.dumps(program.labels[program.rows[i].inspector])},'
            f'"profile":{json.dumps(program.profiles[program.rows[i].inspector])},'
            f'"rule":{json.dumps(rule.id)},"detail":{json.dumps(rule.detail)}'
            for i, rule in enumerate(program.table)])
        self.row_alert = self.strings([
            f'"gid":{program.gids[program.rows[i].inspector]},"signature_id":{rule.signature_id},"rev":{getattr(rule, "rev", 1)},'
            f'"signature":{json.dumps(rule.title)},"category":{json.dumps(rule.family)}'
            for i, rule in enumerate(program.table)])
        self.row_basis = self.strings([json.dumps(rule.basis) for rule in program.table])
        self.label = self.strings([json.dumps(label) for label in program.labels])
        self.rule = self.strings([json.dumps(rule) for rule in program.rules])
        self.in_verdict = <uint8_t*>calloc(program.ninspectors + 1, 1)
        if self.in_verdict == NULL:
            raise MemoryError
        for i in range(program.ninspectors):
            self.in_verdict[i] = program.judged[i]

    cdef const char** strings(self, list texts) except NULL:
        cdef const char** made = <const char**>malloc((len(texts) + 1) * sizeof(char*))
        cdef int i
        if made == NULL:
            raise MemoryError
        for i, text in enumerate(texts):
            octets = text.encode()
            self.kept.append(octets)
            made[i] = <const char*><bytes>octets
        return made

    def __dealloc__(self):
        free(self.p)
        free(self.row_head)
        free(self.row_alert)
        free(self.row_basis)
        free(self.label)
        free(self.rule)
        free(self.in_verdict)

    def drain(self):
        """Hand what is written so far to the file."""
        if self.n:
            data = (<const char*>self.p)[:self.n]
            self.n = 0
            self.file.write(data)

    def stats(self, stats):
        """The last line."""
        self.drain()
        line = {
            "event_type": "stats",
            "smtpinspect": {
                "packets": stats.packets, "octets": stats.octets, "connections": stats.connections,
                "mails": stats.mails, "alerts": stats.alerts, "seconds": stats.seconds,
                "truncated": stats.truncated,
            },
        }
        self.file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    # --- octets ---------------------------------------------------------------------------------------

    cdef bint room(self, size_t n) noexcept nogil:
        cdef size_t size
        cdef uint8_t* more
        if self.n + n <= self.cap:
            return True
        size = self.cap * 2 if self.cap else 1 << 16
        while size < self.n + n:
            size *= 2
        more = <uint8_t*>realloc(self.p, size)
        if more == NULL:
            return False
        self.p = more
        self.cap = size
        return True

    cdef void raw(self, const char* s) noexcept nogil:
        cdef size_t n = strlen(s)
        if self.room(n):
            memcpy(self.p + self.n, s, n)
            self.n += n

    cdef void number(self, int64_t v) noexcept nogil:
        cdef char digits[24]
        cdef int i = 24
        cdef uint64_t u = <uint64_t>v if v >= 0 else <uint64_t>(-v)
        while True:
            i -= 1
            digits[i] = <char>(48 + u % 10)
            u //= 10
            if u == 0:
                break
        if v < 0:
            i -= 1
            digits[i] = 45
        if self.room(24):
            memcpy(self.p + self.n, digits + i, 24 - i)
            self.n += 24 - i

    cdef void named(self, const char* key, int64_t v) noexcept nogil:
        self.raw(key)
        self.number(v)

    cdef void text(self, const uint8_t* p, size_t n, bint path) noexcept nogil:
        """A JSON string: UTF-8 as it is, octets that are none as \\xNN in the text."""
        cdef size_t i = 0, k, size
        cdef uint8_t c
        cdef uint8_t* out
        if not self.room(6 * n + 8):
            return
        out = self.p + self.n
        out[0] = 34
        out += 1
        if path:
            out[0] = 60
            out += 1
        while i < n:
            c = p[i]
            if 32 <= c < 127:
                if c == 34 or c == 92:
                    out[0] = 92
                    out += 1
                out[0] = c
                out += 1
                i += 1
                continue
            if c < 128:
                # \u00NN
                memcpy(out, b"\\u00", 4)
                out[4] = hex_digit(c >> 4)
                out[5] = hex_digit(c & 15)
                out += 6
                i += 1
                continue
            size = utf8_size(p + i, n - i)
            if size:
                for k in range(size):
                    out[k] = p[i + k]
                out += size
                i += size
                continue
            memcpy(out, b"\\\\x", 3)
            out[3] = hex_digit(c >> 4)
            out[4] = hex_digit(c & 15)
            out += 5
            i += 1
        if path:
            out[0] = 62
            out += 1
        out[0] = 34
        out += 1
        self.n = out - self.p

    cdef void excerpt(self, const uint8_t* p, int n) noexcept nogil:
        """Octets of evidence as people write them, as a JSON string."""
        cdef char out[4 * EXCERPT]
        self.text(<uint8_t*>out, escaped(p, n, out), False)

    cdef void piece(self, Mail* mail, Piece p) noexcept nogil:
        self.text(mail.text.p + p.at, p.n, False)

    cdef void timestamp(self, int64_t ns) noexcept nogil:
        """2026-03-03T10:00:02.000000+0000"""
        cdef char out[48]
        cdef int64_t us = ns // 1000, seconds, days, era, doe, yoe, doy, mp, y, m, d, rest
        if ns < 0 and us * 1000 > ns:
            us -= 1
        seconds = us // 1000000
        if us % 1000000 < 0:
            seconds -= 1
        us -= seconds * 1000000
        days = seconds // 86400
        if seconds % 86400 < 0:
            days -= 1
        rest = seconds - days * 86400
        # the civil calendar from days since 1970-01-01 (Gregorian, 400-year eras)
        days += 719468
        era = days // 146097
        doe = days - era * 146097
        yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
        y = yoe + era * 400
        doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
        mp = (5 * doy + 2) // 153
        d = doy - (153 * mp + 2) // 5 + 1
        m = mp + 3 if mp < 10 else mp - 9
        if m <= 2:
            y += 1
        snprintf(out, 48, b"\"%04d-%02d-%02dT%02d:%02d:%02d.%06d+0000\"", <int>y, <int>m, <int>d, <int>(rest // 3600),
                 <int>(rest // 60 % 60), <int>(rest % 60), <int>us)
        self.raw(out)

    cdef void end_point(self, Conn* conn, int side, const char* ip, const char* number) noexcept nogil:
        cdef char out[ADDRESS]
        address(conn, side, out)
        self.raw(ip)
        self.raw(out)
        self.named(number, port(conn, side))

    # --- records ----------------------------------------------------------------------------------------

    cdef void head(self, Conn* conn, int64_t ns, const char* event, int side, int64_t frame) noexcept nogil:
        self.raw(b'{"timestamp":')
        self.timestamp(ns)
        self.named(b',"flow_id":', <int64_t>flow_id(conn))
        if frame > 0:
            self.named(b',"pcap_cnt":', frame)
        self.raw(b',"event_type":')
        self.raw(event)
        self.end_point(conn, side, b',"src_ip":"', b'","src_port":')
        self.end_point(conn, 1 - side, b',"dest_ip":"', b'","dest_port":')
        self.raw(b',"proto":"TCP","app_proto":"smtp"')

    cdef void finish(self) noexcept nogil:
        if self.room(1):
            self.p[self.n] = 10
            self.n += 1
        if self.n > FULL:
            with gil:
                try:
                    self.drain()
                except BaseException as error:
                    self.n = 0
                    if self.error is None:
                        self.error = error

    cdef void doubts(self, uint32_t bits) noexcept nogil:
        cdef int i
        cdef bint comma = False
        self.raw(b'"confidence":[')
        for i in range(NDOUBTS):
            if bits >> i & 1:
                if comma:
                    self.raw(b",")
                self.raw(DOUBT_WORD[i])
                comma = True
        self.raw(b"]")

    cdef void standing(self, Standing* standing, bint whole) noexcept nogil:
        cdef int i
        cdef bint comma = False
        self.raw(b'"verdict":{')
        for i in range(self.program.ninspectors):
            if not self.in_verdict[i]:
                continue
            if comma:
                self.raw(b",")
            comma = True
            self.raw(self.label[i])
            self.raw(b":")
            if standing == NULL:
                self.raw(ACTION_WORD[0])
            else:
                self.raw(ACTION_WORD[standing[i].overall if whole else standing[i].strongest])
        self.raw(b'},"broken_by":{')
        comma = False
        for i in range(self.program.ninspectors):
            if standing != NULL and standing[i].broke >= 0:
                if comma:
                    self.raw(b",")
                comma = True
                self.raw(self.label[i])
                self.raw(b":")
                self.raw(self.rule[self.program.rows[standing[i].broke].rule])
        self.raw(b"}")

    cdef int write_alert(self, Alert* a) noexcept nogil:
        self.head(a.conn, a.ns, b'"alert"', a.side, a.frame)
        if a.tx >= 0:
            self.named(b',"tx_id":', a.tx)
        self.raw(b',"alert":{"action":')
        self.raw(b'"blocked",' if a.strength >= ANSWER else b'"allowed",')
        self.raw(self.row_alert[a.row])
        self.named(b',"severity":', 1 if a.breaks else 2 if REWRITE <= a.strength <= ANSWER else 3)
        self.raw(b'},"smtpinspect":{')
        self.raw(self.row_head[a.row])
        self.raw(b',"action":')
        self.raw(ACTION_WORD[a.strength])
        self.raw(b',"breaks":true' if a.breaks else b',"breaks":false')
        self.raw(b',"after_break":true' if a.after_break else b',"after_break":false')
        self.raw(b',"phase":')
        self.raw(PHASE_WORD[a.phase])
        self.raw(b',"stage":')
        self.raw(STAGE_WORD[predicted_stage(a.phase, a.offset, a.text_end)])
        self.raw(b',"direction":"server"' if a.side else b',"direction":"client"')
        self.named(b',"offset":', a.offset)
        self.named(b',"length":', a.length)
        self.named(b',"packet":', a.packet)
        self.raw(b',"octets":')
        self.excerpt(a.octets, a.noctets)
        self.raw(b',"basis":')
        self.raw(self.row_basis[a.row])
        self.raw(b"}}")
        self.finish()
        return 0

    cdef void addresses(self, Mail* mail, Piece p) noexcept nogil:
        """A To field's addresses: parted at commas outside quotes, comments and brackets."""
        cdef const uint8_t* s = mail.text.p + p.at
        cdef uint32_t i = 0, start = 0, end
        cdef int depth = 0
        cdef bint quoted = False, comma = False
        self.raw(b'"to":[')
        while i <= p.n:
            if i == p.n or (s[i] == 44 and not quoted and depth == 0):
                end = i
                while start < end and (s[start] == 32 or s[start] == 9):
                    start += 1
                while end > start and (s[end - 1] == 32 or s[end - 1] == 9):
                    end -= 1
                if end > start:
                    if comma:
                        self.raw(b",")
                    comma = True
                    self.text(s + start, end - start, False)
                start = i + 1
            elif s[i] == 92 and quoted:
                i += 1
            elif s[i] == 34:
                quoted = not quoted
            elif not quoted and (s[i] == 40 or s[i] == 60):
                depth += 1
            elif not quoted and (s[i] == 41 or s[i] == 62) and depth:
                depth -= 1
            i += 1
        self.raw(b"]")

    cdef int write_mail(self, Conn* conn, Mail* m) noexcept nogil:
        cdef uint32_t i
        cdef bint comma = False
        if not self.show_mails:
            return 0
        self.head(conn, conn.last_ns, b'"smtp"', CLIENT, 0)
        self.named(b',"tx_id":', m.tx)
        self.raw(b',"smtp":{')
        if m.helo.n:
            self.raw(b'"helo":')
            self.piece(m, m.helo)
            comma = True
        if m.has_sender:
            if comma:
                self.raw(b",")
            comma = True
            self.raw(b'"mail_from":')
            self.text(m.text.p + m.sender.at, m.sender.n, True)
        if m.outcome != IS_ENCRYPTED:
            if comma:
                self.raw(b",")
            self.raw(b'"rcpt_to":[')
            for i in range(m.nrcpts):
                if i:
                    self.raw(b",")
                self.text(m.text.p + m.rcpts[i].address.at, m.rcpts[i].address.n, True)
            self.raw(b"]")
        self.raw(b"}")
        if m.has_text:
            self.raw(b',"email":{')
            if m.header_from.n:
                self.raw(b'"from":')
                self.piece(m, m.header_from)
                self.raw(b",")
            self.addresses(m, m.header_to)
            if m.subject.n:
                self.raw(b',"subject":')
                self.piece(m, m.subject)
            if m.message_id.n:
                self.raw(b',"message_id":')
                self.piece(m, m.message_id)
            self.raw(b',"attachment":[')
            for i in range(m.nnames):
                if i:
                    self.raw(b",")
                self.piece(m, m.names[i])
            self.raw(b"]}")
        self.raw(b',"smtpinspect":{"outcome":')
        self.raw(OUTCOME_WORD[m.outcome])
        self.raw(b',"reply":')
        if m.reply:
            self.number(m.reply)
        else:
            self.raw(b"null")
        self.raw(b',"rcpt_replies":[')
        for i in range(m.nrcpts):
            if i:
                self.raw(b",")
            if m.rcpts[i].reply:
                self.number(m.rcpts[i].reply)
            else:
                self.raw(b"null")
        self.raw(b'],"phase":')
        self.raw(PHASE_WORD[m.phase])
        self.raw(b',"stage":')
        self.raw(STAGE_WORD[m.stage])
        self.named(b',"octets":', m.octets)
        self.raw(b',"silence":')
        self.seconds(m.silence_ns)
        self.raw(b',"closer":')
        self.raw(CLOSER_WORD[m.closer])
        self.raw(b",")
        self.standing(m.standing, False)
        self.raw(b",")
        self.doubts(m.doubt | conn.doubt)
        self.raw(b"}}")
        self.finish()
        return 0

    cdef void seconds(self, int64_t ns) noexcept nogil:
        cdef char out[40]
        if ns < 0:
            ns = 0
        snprintf(out, 40, b"%lld.%06d", <long long>(ns // 1000000000), <int>(ns % 1000000000 // 1000))
        self.raw(out)

    cdef int write_flow(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        if not self.show_flows:
            return 0
        self.head(conn, conn.last_ns, b'"flow"', CLIENT, 0)
        self.named(b',"flow":{"pkts_toserver":', conn.d[0].packets)
        self.named(b',"pkts_toclient":', conn.d[1].packets)
        self.named(b',"bytes_toserver":', conn.d[0].octets)
        self.named(b',"bytes_toclient":', conn.d[1].octets)
        self.raw(b',"start":')
        self.timestamp(conn.start_ns)
        self.raw(b',"end":')
        self.timestamp(conn.last_ns)
        self.raw(b',"state":')
        self.raw(STATE_WORD[flow_state(conn)])
        self.named(b'},"smtpinspect":{"mails":', talk.txs if talk != NULL else 0)
        self.named(b',"commands":', talk.commands if talk != NULL else 0)
        self.named(b',"gaps":', conn.d[0].gaps + conn.d[1].gaps)
        self.raw(b",")
        self.standing(talk.standing if talk != NULL else NULL, True)
        self.raw(b",")
        self.doubts(conn.doubt)
        self.raw(b"}}")
        self.finish()
        return 0


cdef size_t utf8_size(const uint8_t* p, size_t n) noexcept nogil:
    """Octets of the character that begins here, 0 when it is no UTF-8 (RFC 3629 4)."""
    cdef uint8_t c = p[0]
    cdef uint8_t low = 0x80, high = 0xBF
    cdef size_t size, k
    if 0xC2 <= c <= 0xDF:
        size = 2
    elif 0xE0 <= c <= 0xEF:
        size = 3
        low = 0xA0 if c == 0xE0 else 0x80
        high = 0x9F if c == 0xED else 0xBF
    elif 0xF0 <= c <= 0xF4:
        size = 4
        low = 0x90 if c == 0xF0 else 0x80
        high = 0x8F if c == 0xF4 else 0xBF
    else:
        return 0
    if n < size or not low <= p[1] <= high:
        return 0
    for k in range(2, size):
        if p[k] < 0x80 or p[k] > 0xBF:
            return 0
    return size
