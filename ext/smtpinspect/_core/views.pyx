"""Records as Python sees them: alerts, mails, connections; octets become text only when somebody reads them."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.records cimport Sink, flow_id, flow_state, predicted_stage
from smtpinspect._core.rows cimport Program
from smtpinspect._core.said cimport decoded, endpoint, escaped
from smtpinspect._core.state cimport Alert as CAlert, Conn, Mail as CMail, Piece, Standing, Talk

cdef extern from "Python.h":
    size_t PyList_GET_SIZE(void* list) nogil       # read by the only thread that changes it

from smtpinspect.grammar.words import ACTIONS, CLOSERS, DOUBTS, OUTCOMES, PHASES, STAGES, STATE_WORDS


cdef list doubts(uint32_t bits):
    return [word for i, word in enumerate(DOUBTS) if bits >> i & 1]


def excerpt(octets):
    """Printable text of octets: ASCII as it is, the rest as \\r \\n \\t \\xNN, the backslash doubled."""
    data = bytes(octets)
    cdef bytearray out = bytearray(4 * len(data))
    return out[:escaped(<const uint8_t*><const char*>data, len(data), <char*>out)].decode("ascii")


cdef class Alert:
    """A rule that fired, its action and its evidence (`offset`, `length` in stream octets; `packet` 1-based)."""

    cdef readonly str inspector, profile, rule, detail, action, direction, basis, title
    cdef readonly object phase, stage, tx_id
    cdef readonly bint breaks, after_break
    cdef readonly int64_t offset, length, packet, pcap_cnt, ns
    cdef readonly int64_t start_ns, moved  # of the connection: its first frame; payload octets, both sides, so far
    cdef readonly bytes octets
    cdef readonly uint64_t flow_id
    cdef readonly str client, server
    cdef readonly object row

    @property
    def timestamp(self):
        """Seconds since 1970, UTC, of the frame at which it was decided."""
        return self.ns / 1e9

    @property
    def record(self):
        return "alert"

    def __repr__(self):
        return f"<Alert {self.rule} {self.action} {self.direction}@{self.offset} packet {self.packet}>"


cdef class Mail:
    """One transaction and what became of it in the capture (`outcome`) and behind each product (`verdict`)."""

    cdef readonly uint64_t flow_id
    cdef readonly int64_t tx_id, octets, start_ns, end_ns, plain
    cdef readonly str client, server, outcome, closer
    cdef readonly object reply, phase, stage, declared
    cdef readonly double silence
    cdef readonly list rcpt_replies, confidence, alerts
    cdef readonly dict verdict, broken_by
    cdef readonly bint bdat
    cdef bytes _text
    cdef Piece _helo, _sender, _from, _to, _subject, _id
    cdef bint _has_sender
    cdef list _rcpts, _names

    cdef bytes _piece(self, Piece p):
        return self._text[p.at:p.at + p.n]

    @property
    def record(self):
        return "smtp"

    @property
    def helo(self):
        """The name that the client gave in HELO or EHLO, None when it gave none."""
        return decoded(self._piece(self._helo)) if self._helo.n else None

    @property
    def mail_from(self):
        """The address of MAIL, without brackets; None when the mail has none (encrypted)."""
        return decoded(self._piece(self._sender)) if self._has_sender else None

    @property
    def rcpt_to(self):
        """The addresses of RCPT, refused ones too; `rcpt_replies` has the reply to each."""
        return [decoded(self._text[at:at + n]) for at, n in self._rcpts]

    @property
    def header_from(self):
        return decoded(self._piece(self._from)) if self._from.n else None

    @property
    def header_to(self):
        return decoded(self._piece(self._to)) if self._to.n else None

    @property
    def subject(self):
        """The Subject field as sent, unfolded; None when there is none."""
        return decoded(self._piece(self._subject)) if self._subject.n else None

    @property
    def message_id(self):
        return decoded(self._piece(self._id)) if self._id.n else None

    @property
    def attachments(self):
        """File names of MIME parts, parameter continuations joined (RFC 2231)."""
        return [decoded(self._text[at:at + n]) for at, n in self._names]

    def __repr__(self):
        return f"<Mail {self.mail_from} {self.outcome} {self.verdict}>"


cdef class Flow:
    """One connection."""

    cdef readonly uint64_t flow_id
    cdef readonly str client, server, state, closer
    cdef readonly int64_t pkts_toserver, pkts_toclient, bytes_toserver, bytes_toclient, start_ns, end_ns
    cdef readonly int64_t mails, commands, gaps, first_packet
    cdef readonly dict verdict, broken_by
    cdef readonly list confidence

    @property
    def record(self):
        return "flow"

    def __repr__(self):
        return f"<Flow {self.client} {self.server} mails={self.mails} {self.state}>"


cdef dict verdicts(Program program, Standing* standing, bint whole):
    cdef int i
    out = {}
    for i in range(program.ninspectors):
        if not program.judged[i]:
            continue
        if standing == NULL:
            out[program.labels[i]] = "pass"
        else:
            out[program.labels[i]] = ACTIONS[standing[i].overall if whole else standing[i].strongest]
    return out


cdef dict breaks(Program program, Standing* standing):
    cdef int i
    out = {}
    if standing != NULL:
        for i in range(program.ninspectors):
            if standing[i].broke >= 0:
                out[program.labels[i]] = program.rules[program.rows[standing[i].broke].rule]
    return out


cdef class ObjectSink(Sink):
    """Makes Python objects of the records, in order, in the list `out`."""

    cdef public list out
    cdef dict waiting            # alerts of mails whose record comes in this frame

    def __init__(self, Program program, alerts=True, mails=True, flows=True):
        super().__init__(program, True, mails, flows)
        self.out = []
        self.waiting = {}

    cdef Sink fork(self):
        cdef ObjectSink made = ObjectSink(self.program, self.show_alerts, self.show_mails, self.show_flows)
        made.forked = True
        return made

    cdef size_t written(self) noexcept nogil:
        return PyList_GET_SIZE(<void*>self.out)

    cdef int take_part(self, Sink fork, size_t start, size_t end) except -1:
        self.out += (<ObjectSink>fork).out[start:end]
        return 0

    cdef void forget_written(self) noexcept:
        self.out = []

    cdef int write_alert(self, CAlert* alert) noexcept nogil:
        with gil:
            try:
                self.make_alert(alert)
            except BaseException as error:
                self.error = error
        return 0

    cdef int write_mail(self, Conn* conn, CMail* mail) noexcept nogil:
        with gil:
            try:
                self.make_mail(conn, mail)
            except BaseException as error:
                self.error = error
        return 0

    cdef int write_flow(self, Conn* conn) noexcept nogil:
        with gil:
            try:
                self.make_flow(conn)
            except BaseException as error:
                self.error = error
        return 0

    cdef make_alert(self, CAlert* a):
        cdef Alert made = Alert.__new__(Alert)
        cdef Program program = self.program
        rule = program.table[a.row]
        label = program.labels[program.rows[a.row].inspector]
        made.row = rule
        made.inspector = label
        made.profile = program.profiles[program.rows[a.row].inspector]
        made.rule = rule.id
        made.title = rule.title
        made.detail = rule.detail
        made.action = ACTIONS[a.strength]
        made.breaks = a.breaks
        made.after_break = a.after_break
        made.phase = PHASES[a.phase]
        made.stage = STAGES[predicted_stage(a.phase, a.offset, a.text_end)]
        made.direction = "server" if a.side else "client"
        made.offset = a.offset
        made.length = a.length
        made.packet = a.packet
        made.pcap_cnt = a.frame
        made.ns = a.ns
        made.start_ns = a.conn.start_ns
        made.moved = a.moved
        made.octets = (<const char*>a.octets)[:a.noctets]
        made.basis = rule.basis
        made.tx_id = a.tx if a.tx >= 0 else None
        made.flow_id = flow_id(a.conn)
        made.client = endpoint(a.conn, 0)
        made.server = endpoint(a.conn, 1)
        self.out.append(made)
        if a.tx >= 0:
            self.waiting.setdefault((made.flow_id, a.tx), []).append(made)

    cdef make_mail(self, Conn* conn, CMail* m):
        cdef Mail made = Mail.__new__(Mail)
        cdef uint32_t i
        made.flow_id = flow_id(conn)
        made.tx_id = m.tx
        made.client = endpoint(conn, 0)
        made.server = endpoint(conn, 1)
        made.outcome = OUTCOMES[m.outcome]
        made.reply = m.reply or None
        made.phase = PHASES[m.phase]
        made.stage = STAGES[m.stage]
        made.octets = m.octets
        made.plain = m.plain                    # without the dots of stuffing; 0 where nobody watches SIZE
        made.declared = m.declared if m.declared >= 0 else None
        made.silence = m.silence_ns / 1e9
        made.closer = CLOSERS[m.closer]
        made.start_ns = m.start_ns
        made.end_ns = conn.last_ns
        made.bdat = m.bdat
        made._text = (<const char*>m.text.p)[:m.text.n] if m.text.n else b""
        made._helo = m.helo
        made._sender = m.sender
        made._has_sender = m.has_sender
        made._from = m.header_from
        made._to = m.header_to
        made._subject = m.subject
        made._id = m.message_id
        made._rcpts = [(m.rcpts[i].address.at, m.rcpts[i].address.n) for i in range(m.nrcpts)]
        made.rcpt_replies = [m.rcpts[i].reply or None for i in range(m.nrcpts)]
        made._names = [(m.names[i].at, m.names[i].n) for i in range(m.nnames)]
        made.confidence = doubts(m.doubt | conn.doubt)
        made.verdict = verdicts(self.program, m.standing, False)
        made.broken_by = breaks(self.program, m.standing)
        made.alerts = self.waiting.pop((made.flow_id, m.tx), [])
        if self.show_mails:
            self.out.append(made)

    cdef make_flow(self, Conn* conn):
        cdef Flow made = Flow.__new__(Flow)
        cdef Talk* talk = conn.talk
        made.flow_id = flow_id(conn)
        made.client = endpoint(conn, 0)
        made.server = endpoint(conn, 1)
        made.pkts_toserver = conn.d[0].packets
        made.pkts_toclient = conn.d[1].packets
        made.bytes_toserver = conn.d[0].octets
        made.bytes_toclient = conn.d[1].octets
        made.start_ns = conn.start_ns
        made.end_ns = conn.last_ns
        made.state = STATE_WORDS[flow_state(conn)]
        made.closer = CLOSERS[conn.closer]
        made.mails = talk.txs if talk != NULL else 0
        made.commands = talk.commands if talk != NULL else 0
        made.gaps = conn.d[0].gaps + conn.d[1].gaps
        made.first_packet = conn.first_packet
        made.verdict = verdicts(self.program, talk.standing if talk != NULL else NULL, True)
        made.broken_by = breaks(self.program, talk.standing if talk != NULL else NULL)
        made.confidence = doubts(conn.doubt)
        if self.show_flows:
            self.out.append(made)


cdef class TapeSink(ObjectSink):
    """Connections only: a transcript hears the rest from the machine."""

    cdef int write_alert(self, CAlert* alert) noexcept nogil:
        return 0

    cdef int write_mail(self, Conn* conn, CMail* mail) noexcept nogil:
        return 0
