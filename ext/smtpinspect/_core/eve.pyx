"""EVE records (one JSON object a line, Suricata's field names), written without the interpreter."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from smtpinspect._core.jsonout cimport JsonOut
from smtpinspect._core.records cimport flow_id, flow_state, predicted_stage, Sink
from smtpinspect._core.rows cimport Program
from smtpinspect._core.said cimport ADDRESS, address, port
from smtpinspect._core.state cimport Alert, CLIENT, Conn, Mail, OUTCOME_ENCRYPTED, Piece, Standing, Talk

import json

from smtpinspect.actions import Strength
from smtpinspect.grammar.words import ACTIONS, CLOSERS, DOUBTS, OUTCOMES, PHASES, STAGES, STATE_WORDS

cdef enum:
    FULL = 1 << 20             # octets kept before they are handed to the file
    WORDS = 16                 # of one kind
    REWRITE = 3                # of actions.Strength
    ANSWER = 4

assert int(Strength.REWRITE) == REWRITE and int(Strength.ANSWER) == ANSWER
assert max(map(len, (PHASES, STAGES, OUTCOMES, CLOSERS, DOUBTS, ACTIONS, STATE_WORDS))) <= WORDS

cdef list _words = []                  # keeps the octets below alive


cdef const char* word(object text):
    octets = b"null" if text is None else json.dumps(text).encode()
    _words.append(octets)
    return <const char*><bytes>octets

cdef const char* PHASE_WORD[WORDS]
cdef const char* STAGE_WORD[WORDS]
cdef const char* OUTCOME_WORD[WORDS]
cdef const char* CLOSER_WORD[WORDS]
cdef const char* DOUBT_WORD[WORDS]
cdef const char* ACTION_WORD[WORDS]
cdef const char* STATE_WORD[WORDS]
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
    cdef JsonOut out
    cdef list kept
    cdef const char** row_head         # "inspector":..,"profile":..,"rule":..,"detail":.. of each row
    cdef const char** row_alert        # gid .. category of each row
    cdef const char** row_basis
    cdef const char** label            # of each inspector
    cdef const char** rule             # of each rule
    cdef uint8_t* in_verdict
    cdef EveSink of                    # a fork: whose strings these are

    def __init__(self, Program program, file, alerts=True, mails=True, flows=True):
        cdef int i
        super().__init__(program, alerts, mails, flows)
        self.file = file
        self.out = JsonOut()
        self.kept = []
        self.row_head = self.strings([
            f'"inspector":{json.dumps(program.labels[program.rows[i].inspector])},'
            f'"profile":{json.dumps(program.profiles[program.rows[i].inspector])},'
            f'"rule":{json.dumps(rule.id)},"detail":{json.dumps(rule.detail)}'
            for i, rule in enumerate(program.table)])
        self.row_alert = self.strings([
            f'"gid":{program.gids[program.rows[i].inspector]},"signature_id":{rule.signature_id},'
            f'"rev":{getattr(rule, "rev", 1)},'
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
        if self.of is not None:
            return
        free(self.row_head)
        free(self.row_alert)
        free(self.row_basis)
        free(self.label)
        free(self.rule)
        free(self.in_verdict)

    cdef Sink fork(self):
        cdef EveSink made = EveSink.__new__(EveSink)
        Sink.__init__(made, self.program, self.show_alerts, self.show_mails, self.show_flows)
        made.forked = True
        made.of = self
        made.out = JsonOut()
        made.row_head, made.row_alert, made.row_basis = self.row_head, self.row_alert, self.row_basis
        made.label, made.rule, made.in_verdict = self.label, self.rule, self.in_verdict
        return made

    cdef size_t written(self) noexcept nogil:
        return self.out.n

    cdef int take_part(self, Sink fork, size_t start, size_t end) except -1:
        cdef JsonOut theirs = (<EveSink>fork).out
        if not self.out.room(end - start):
            raise MemoryError
        memcpy(self.out.p + self.out.n, theirs.p + start, end - start)
        self.out.n += end - start
        if self.out.n > FULL:
            self.drain()
        return 0

    cdef void forget_written(self) noexcept:
        self.out.n = 0

    def drain(self):
        """Hand what is written so far to the file."""
        if self.out.n:
            self.file.write(self.out.take())

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

    # --- parts of records ---------------------------------------------------------------------------

    cdef void piece(self, Mail* mail, Piece p) noexcept nogil:
        self.out.text(mail.text.p + p.at, p.n, False)

    cdef void end_point(self, Conn* conn, int side, const char* ip, const char* number) noexcept nogil:
        cdef char out[ADDRESS]
        address(conn, side, out)
        self.out.raw(ip)
        self.out.raw(out)
        self.out.named(number, port(conn, side))

    # --- records ----------------------------------------------------------------------------------------

    cdef void head(self, Conn* conn, int64_t ns, const char* event, int side, int64_t frame) noexcept nogil:
        self.out.raw(b'{"timestamp":')
        self.out.timestamp(ns)
        self.out.named(b',"flow_id":', <int64_t>flow_id(conn))
        if frame > 0:
            self.out.named(b',"pcap_cnt":', frame)
        self.out.raw(b',"event_type":')
        self.out.raw(event)
        self.end_point(conn, side, b',"src_ip":"', b'","src_port":')
        self.end_point(conn, 1 - side, b',"dest_ip":"', b'","dest_port":')
        self.out.raw(b',"proto":"TCP","app_proto":"smtp"')

    cdef void finish(self) noexcept nogil:
        self.out.raw(b"\n")
        if self.out.n > FULL and not self.forked:
            with gil:
                try:
                    self.drain()
                except BaseException as error:
                    if self.error is None:
                        self.error = error

    cdef void doubts(self, uint32_t bits) noexcept nogil:
        cdef int i
        cdef bint comma = False
        self.out.raw(b'"confidence":[')
        for i in range(NDOUBTS):
            if bits >> i & 1:
                if comma:
                    self.out.raw(b",")
                self.out.raw(DOUBT_WORD[i])
                comma = True
        self.out.raw(b"]")

    cdef void standing(self, Standing* standing, bint whole) noexcept nogil:
        cdef int i
        cdef bint comma = False
        self.out.raw(b'"verdict":{')
        for i in range(self.program.ninspectors):
            if not self.in_verdict[i]:
                continue
            if comma:
                self.out.raw(b",")
            comma = True
            self.out.raw(self.label[i])
            self.out.raw(b":")
            if standing == NULL:
                self.out.raw(ACTION_WORD[0])
            else:
                self.out.raw(ACTION_WORD[standing[i].overall if whole else standing[i].strongest])
        self.out.raw(b'},"broken_by":{')
        comma = False
        for i in range(self.program.ninspectors):
            if standing != NULL and standing[i].broke >= 0:
                if comma:
                    self.out.raw(b",")
                comma = True
                self.out.raw(self.label[i])
                self.out.raw(b":")
                self.out.raw(self.rule[self.program.rows[standing[i].broke].rule])
        self.out.raw(b"}")

    cdef int write_alert(self, Alert* a) noexcept nogil:
        self.head(a.conn, a.ns, b'"alert"', a.side, a.frame)
        if a.tx >= 0:
            self.out.named(b',"tx_id":', a.tx)
        self.out.raw(b',"alert":{"action":')
        self.out.raw(b'"blocked",' if a.strength >= ANSWER else b'"allowed",')
        self.out.raw(self.row_alert[a.row])
        self.out.named(b',"severity":', 1 if a.breaks else 2 if REWRITE <= a.strength <= ANSWER else 3)
        self.out.raw(b'},"smtpinspect":{')
        self.out.raw(self.row_head[a.row])
        self.out.raw(b',"action":')
        self.out.raw(ACTION_WORD[a.strength])
        self.out.raw(b',"breaks":true' if a.breaks else b',"breaks":false')
        self.out.raw(b',"after_break":true' if a.after_break else b',"after_break":false')
        self.out.raw(b',"phase":')
        self.out.raw(PHASE_WORD[a.phase])
        self.out.raw(b',"stage":')
        self.out.raw(STAGE_WORD[predicted_stage(a.phase, a.offset, a.text_end)])
        self.out.raw(b',"direction":"server"' if a.side else b',"direction":"client"')
        self.out.named(b',"offset":', a.offset)
        self.out.named(b',"length":', a.length)
        self.out.named(b',"packet":', a.packet)
        self.out.raw(b',"octets":')
        self.out.excerpt(a.octets, a.noctets)
        self.out.raw(b',"basis":')
        self.out.raw(self.row_basis[a.row])
        self.out.raw(b"}}")
        self.finish()
        return 0

    cdef void addresses(self, Mail* mail, Piece p) noexcept nogil:
        """A To field's addresses: parted at commas outside quotes, comments and brackets."""
        cdef const uint8_t* s = mail.text.p + p.at
        cdef uint32_t i = 0, start = 0, end
        cdef int depth = 0
        cdef bint quoted = False, comma = False
        self.out.raw(b'"to":[')
        while i <= p.n:
            if i == p.n or (s[i] == 44 and not quoted and depth == 0):
                end = i
                while start < end and (s[start] == 32 or s[start] == 9):
                    start += 1
                while end > start and (s[end - 1] == 32 or s[end - 1] == 9):
                    end -= 1
                if end > start:
                    if comma:
                        self.out.raw(b",")
                    comma = True
                    self.out.text(s + start, end - start, False)
                start = i + 1
            elif s[i] == 92 and quoted and i + 1 < p.n:
                i += 1
            elif s[i] == 34:
                quoted = not quoted
            elif not quoted and (s[i] == 40 or s[i] == 60):
                depth += 1
            elif not quoted and (s[i] == 41 or s[i] == 62) and depth:
                depth -= 1
            i += 1
        self.out.raw(b"]")

    cdef int write_mail(self, Conn* conn, Mail* m) noexcept nogil:
        cdef uint32_t i
        cdef bint comma = False
        if not self.show_mails:
            return 0
        self.head(conn, conn.last_ns, b'"smtp"', CLIENT, 0)
        self.out.named(b',"tx_id":', m.tx)
        self.out.raw(b',"smtp":{')
        if m.helo.n:
            self.out.raw(b'"helo":')
            self.piece(m, m.helo)
            comma = True
        if m.has_sender:
            if comma:
                self.out.raw(b",")
            comma = True
            self.out.raw(b'"mail_from":')
            self.out.text(m.text.p + m.sender.at, m.sender.n, True)
        if m.outcome != OUTCOME_ENCRYPTED:
            if comma:
                self.out.raw(b",")
            self.out.raw(b'"rcpt_to":[')
            for i in range(m.nrcpts):
                if i:
                    self.out.raw(b",")
                self.out.text(m.text.p + m.rcpts[i].address.at, m.rcpts[i].address.n, True)
            self.out.raw(b"]")
        self.out.raw(b"}")
        if m.has_text:
            self.out.raw(b',"email":{')
            if m.header_from.n:
                self.out.raw(b'"from":')
                self.piece(m, m.header_from)
                self.out.raw(b",")
            self.addresses(m, m.header_to)
            if m.subject.n:
                self.out.raw(b',"subject":')
                self.piece(m, m.subject)
            if m.message_id.n:
                self.out.raw(b',"message_id":')
                self.piece(m, m.message_id)
            self.out.raw(b',"attachment":[')
            for i in range(m.nnames):
                if i:
                    self.out.raw(b",")
                self.piece(m, m.names[i])
            self.out.raw(b"]}")
        self.out.raw(b',"smtpinspect":{"outcome":')
        self.out.raw(OUTCOME_WORD[m.outcome])
        self.out.raw(b',"reply":')
        if m.reply:
            self.out.number(m.reply)
        else:
            self.out.raw(b"null")
        self.out.raw(b',"rcpt_replies":[')
        for i in range(m.nrcpts):
            if i:
                self.out.raw(b",")
            if m.rcpts[i].reply:
                self.out.number(m.rcpts[i].reply)
            else:
                self.out.raw(b"null")
        self.out.raw(b'],"phase":')
        self.out.raw(PHASE_WORD[m.phase])
        self.out.raw(b',"stage":')
        self.out.raw(STAGE_WORD[m.stage])
        self.out.named(b',"octets":', m.octets)
        self.out.raw(b',"silence":')
        self.out.seconds(m.silence_ns)
        self.out.raw(b',"closer":')
        self.out.raw(CLOSER_WORD[m.closer])
        self.out.raw(b",")
        self.standing(m.standing, False)
        self.out.raw(b",")
        self.doubts(m.doubt | conn.doubt)
        self.out.raw(b"}}")
        self.finish()
        return 0

    cdef int write_flow(self, Conn* conn) noexcept nogil:
        cdef Talk* talk = conn.talk
        if not self.show_flows:
            return 0
        self.head(conn, conn.last_ns, b'"flow"', CLIENT, 0)
        self.out.named(b',"flow":{"pkts_toserver":', conn.d[0].packets)
        self.out.named(b',"pkts_toclient":', conn.d[1].packets)
        self.out.named(b',"bytes_toserver":', conn.d[0].octets)
        self.out.named(b',"bytes_toclient":', conn.d[1].octets)
        self.out.raw(b',"start":')
        self.out.timestamp(conn.start_ns)
        self.out.raw(b',"end":')
        self.out.timestamp(conn.last_ns)
        self.out.raw(b',"state":')
        self.out.raw(STATE_WORD[flow_state(conn)])
        self.out.named(b'},"smtpinspect":{"mails":', talk.txs if talk != NULL else 0)
        self.out.named(b',"commands":', talk.commands if talk != NULL else 0)
        self.out.named(b',"gaps":', conn.d[0].gaps + conn.d[1].gaps)
        self.out.raw(b",")
        self.standing(talk.standing if talk != NULL else NULL, True)
        self.out.raw(b",")
        self.doubts(conn.doubt)
        self.out.raw(b"}}")
        self.finish()
        return 0
