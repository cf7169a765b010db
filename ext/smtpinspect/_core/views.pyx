"""Records as Python sees them: alerts, mails, connections. Each keeps what the core wrote down, and becomes text, lists
and dictionaries only where somebody reads them."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from smtpinspect._core.records cimport Sink, flow_id, flow_state, predicted_stage
from smtpinspect._core.rows cimport Program
from smtpinspect._core.said cimport decoded, endpoint, escaped
from smtpinspect._core.state cimport Alert as CAlert, Conn, Key, Mail as CMail, Piece, Rcpt, Standing, Talk

from smtpinspect.grammar.words import ACTIONS, CLOSERS, DOUBTS, OUTCOMES, PHASES, STAGES, STATE_WORDS

cdef struct Ends:              # of a connection
    Key key
    uint8_t client


cdef inline Ends ends_of(const Conn* conn) noexcept nogil:
    cdef Ends ends
    ends.key = conn.key
    ends.client = conn.client
    return ends


cdef str end_of(const Ends* ends, int side):
    cdef Conn conn             # of which only this is looked at
    conn.key = ends.key
    conn.client = ends.client
    return endpoint(&conn, side)


cdef list doubts(uint32_t bits):
    return [word for i, word in enumerate(DOUBTS) if bits >> i & 1]


def excerpt(octets):
    """Printable text of octets: ASCII as it is, the rest as \\r \\n \\t \\xNN, the backslash doubled."""
    data = bytes(octets)
    cdef bytearray out = bytearray(4 * len(data))
    return out[:escaped(<const uint8_t*><const char*>data, len(data), <char*>out)].decode("ascii")


@cython.no_gc                  # nothing that it leads to leads back
@cython.freelist(64)
cdef class Alert:
    """A rule that fired, its action and its evidence (`offset`, `length` in stream octets; `packet` 1-based)."""

    cdef readonly object row
    cdef readonly str inspector, profile
    cdef readonly int64_t offset, length, packet, pcap_cnt, ns
    cdef readonly int64_t start_ns, moved  # of the connection: its first frame; payload octets, both sides, so far
    cdef readonly uint64_t flow_id
    cdef CAlert c
    cdef Ends ends

    @property
    def rule(self):
        return self.row.id

    @property
    def title(self):
        return self.row.title

    @property
    def detail(self):
        return self.row.detail

    @property
    def basis(self):
        return self.row.basis

    @property
    def action(self):
        return ACTIONS[self.c.strength]

    @property
    def breaks(self):
        return self.c.breaks != 0

    @property
    def after_break(self):
        return self.c.after_break != 0

    @property
    def phase(self):
        return PHASES[self.c.phase]

    @property
    def stage(self):
        return STAGES[predicted_stage(self.c.phase, self.offset, self.c.text_end)]

    @property
    def direction(self):
        return "server" if self.c.side else "client"

    @property
    def timestamp(self):
        """Seconds since 1970, UTC, of the frame at which it was decided."""
        return self.ns / 1e9

    @property
    def octets(self):
        return (<const char*>self.c.octets)[:self.c.noctets]

    @property
    def tx_id(self):
        return self.c.tx if self.c.tx >= 0 else None

    @property
    def client(self):
        return end_of(&self.ends, 0)

    @property
    def server(self):
        return end_of(&self.ends, 1)

    @property
    def record(self):
        return "alert"

    def __repr__(self):
        return f"<Alert {self.rule} {self.action} {self.direction}@{self.offset} packet {self.packet}>"


@cython.freelist(64)
cdef class Mail:
    """One transaction and what became of it in the capture (`outcome`) and behind each product (`verdict`)."""

    cdef readonly uint64_t flow_id
    cdef readonly int64_t tx_id, octets, start_ns, end_ns
    cdef readonly int64_t plain          # octets without the dots of stuffing; 0 where nobody watches SIZE
    cdef CMail c
    cdef Standing* standing
    cdef void* held            # where the pointers of `c` lead
    cdef Ends ends
    cdef Program program
    cdef dict _verdict, _broken_by
    cdef list _alerts

    def __dealloc__(self):
        free(self.held)

    cdef int keep(self, const CMail* mail) except -1:
        """Copy the mail and what it leads to."""
        cdef size_t standing = self.program.ninspectors * sizeof(Standing) if mail.standing != NULL else 0
        cdef size_t rcpts = mail.nrcpts * sizeof(Rcpt)
        cdef size_t names = mail.nnames * sizeof(Piece)
        cdef char* to = <char*>malloc(standing + rcpts + names + mail.text.n + 1)
        if to == NULL:
            raise MemoryError
        self.held = to
        self.c = mail[0]
        if standing:
            self.standing = <Standing*>memcpy(to, mail.standing.each, standing)
        to += standing
        memcpy(to, mail.rcpts, rcpts)
        self.c.rcpts = <Rcpt*>to
        to += rcpts
        memcpy(to, mail.names, names)
        self.c.names = <Piece*>to
        to += names
        memcpy(to, mail.text.p, mail.text.n)
        self.c.text.p = <uint8_t*>to
        return 0

    cdef str text(self, Piece p):
        return decoded((<const char*>self.c.text.p)[p.at:p.at + p.n])

    @property
    def record(self):
        return "smtp"

    @property
    def client(self):
        return end_of(&self.ends, 0)

    @property
    def server(self):
        return end_of(&self.ends, 1)

    @property
    def outcome(self):
        return OUTCOMES[self.c.outcome]

    @property
    def reply(self):
        return self.c.reply or None

    @property
    def phase(self):
        return PHASES[self.c.phase]

    @property
    def stage(self):
        return STAGES[self.c.stage]

    @property
    def declared(self):
        return self.c.declared if self.c.declared >= 0 else None

    @property
    def silence(self):
        return self.c.silence_ns / 1e9

    @property
    def closer(self):
        return CLOSERS[self.c.closer]

    @property
    def bdat(self):
        return self.c.bdat != 0

    @property
    def helo(self):
        """The name that the client gave in HELO or EHLO, None when it gave none."""
        return self.text(self.c.helo) if self.c.helo.n else None

    @property
    def mail_from(self):
        """The address of MAIL, without brackets; None when the mail has none (encrypted)."""
        return self.text(self.c.sender) if self.c.has_sender else None

    @property
    def rcpt_to(self):
        """The addresses of RCPT, refused ones too; `rcpt_replies` has the reply to each."""
        return [self.text(self.c.rcpts[i].address) for i in range(self.c.nrcpts)]

    @property
    def rcpt_replies(self):
        return [self.c.rcpts[i].reply or None for i in range(self.c.nrcpts)]

    @property
    def header_from(self):
        return self.text(self.c.header_from) if self.c.header_from.n else None

    @property
    def header_to(self):
        return self.text(self.c.header_to) if self.c.header_to.n else None

    @property
    def subject(self):
        """The Subject field as sent, unfolded; None when there is none."""
        return self.text(self.c.subject) if self.c.subject.n else None

    @property
    def message_id(self):
        return self.text(self.c.message_id) if self.c.message_id.n else None

    @property
    def attachments(self):
        """File names of MIME parts, parameter continuations joined (RFC 2231)."""
        return [self.text(self.c.names[i]) for i in range(self.c.nnames)]

    @property
    def confidence(self):
        return doubts(self.c.doubt)

    @property
    def verdict(self):
        if self._verdict is None:
            self._verdict = verdicts(self.program, self.standing, False)
        return self._verdict

    @property
    def broken_by(self):
        if self._broken_by is None:
            self._broken_by = breaks(self.program, self.standing)
        return self._broken_by

    @property
    def alerts(self):
        """Those of this mail; none where the run was not asked for alerts."""
        if self._alerts is None:
            self._alerts = []
        return self._alerts

    def __repr__(self):
        return f"<Mail {self.mail_from} {self.outcome} {self.verdict}>"


@cython.freelist(64)
cdef class Flow:
    """One connection."""

    cdef readonly uint64_t flow_id
    cdef readonly int64_t pkts_toserver, pkts_toclient, bytes_toserver, bytes_toclient, start_ns, end_ns
    cdef readonly int64_t mails, commands, gaps, first_packet
    cdef Ends ends
    cdef uint8_t how, who
    cdef uint16_t doubt
    cdef Standing* standing
    cdef Program program
    cdef dict _verdict, _broken_by

    def __dealloc__(self):
        free(self.standing)

    @property
    def client(self):
        return end_of(&self.ends, 0)

    @property
    def server(self):
        return end_of(&self.ends, 1)

    @property
    def state(self):
        return STATE_WORDS[self.how]

    @property
    def closer(self):
        return CLOSERS[self.who]

    @property
    def verdict(self):
        if self._verdict is None:
            self._verdict = verdicts(self.program, self.standing, True)
        return self._verdict

    @property
    def broken_by(self):
        if self._broken_by is None:
            self._broken_by = breaks(self.program, self.standing)
        return self._broken_by

    @property
    def confidence(self):
        return doubts(self.doubt)

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
    cdef size_t n_out            # of a fork: how many there are, for who has no lock
    cdef dict waiting            # alerts of mails whose record comes in this frame

    def __init__(self, Program program, alerts=True, mails=True, flows=True):
        super().__init__(program, alerts, mails, flows)
        self.out = []
        self.waiting = {}

    cdef Sink fork(self):
        cdef ObjectSink made = ObjectSink(self.program, self.show_alerts, self.show_mails, self.show_flows)
        made.forked = True
        return made

    cdef size_t written(self) noexcept nogil:
        return self.n_out

    cdef int take_part(self, Sink fork, size_t start, size_t end) except -1:
        self.out += (<ObjectSink>fork).out[start:end]
        return 0

    cdef void forget_written(self) noexcept:
        self.out = []
        self.n_out = 0

    cdef int put(self, made) except -1:
        self.out.append(made)
        self.n_out += 1
        return 0

    cdef int write_alert(self, CAlert* alert) noexcept nogil:
        with gil:
            try:
                self.make_alert(alert)
            except BaseException as error:
                self.error = error
        return 0

    cdef int write_mail(self, Conn* conn, CMail* mail) noexcept nogil:
        if not self.show_mails:
            return 0
        with gil:
            try:
                self.make_mail(conn, mail)
            except BaseException as error:
                self.error = error
        return 0

    cdef int write_flow(self, Conn* conn) noexcept nogil:
        if not self.show_flows:
            return 0
        with gil:
            try:
                self.make_flow(conn)
            except BaseException as error:
                self.error = error
        return 0

    cdef make_alert(self, CAlert* a):
        cdef Alert made = Alert.__new__(Alert)
        cdef Program program = self.program
        cdef int number = program.rows[a.row].inspector
        made.row = program.table[a.row]
        made.inspector = program.labels[number]
        made.profile = program.profiles[number]
        made.offset = a.offset
        made.length = a.length
        made.packet = a.packet
        made.pcap_cnt = a.frame
        made.ns = a.ns
        made.start_ns = a.conn.start_ns
        made.moved = a.moved
        made.flow_id = flow_id(a.conn)
        made.c = a[0]
        made.c.next = NULL
        made.c.conn = NULL
        made.ends = ends_of(a.conn)
        self.put(made)
        if a.tx >= 0 and not self.instant:
            self.waiting.setdefault((made.flow_id, a.tx), []).append(made)

    cdef make_mail(self, Conn* conn, CMail* m):
        cdef Mail made = Mail.__new__(Mail)
        made.program = self.program
        made.keep(m)
        made.c.doubt |= conn.doubt
        made.ends = ends_of(conn)
        made.flow_id = flow_id(conn)
        made.tx_id = m.tx
        made.octets = m.octets
        made.plain = m.plain
        made.start_ns = m.start_ns
        made.end_ns = conn.last_ns
        if self.waiting:
            made._alerts = self.waiting.pop((made.flow_id, m.tx), None)
        self.put(made)

    cdef make_flow(self, Conn* conn):
        cdef Flow made = Flow.__new__(Flow)
        cdef Talk* talk = conn.talk
        cdef size_t n = self.program.ninspectors * sizeof(Standing)
        made.program = self.program
        made.flow_id = flow_id(conn)
        made.ends = ends_of(conn)
        made.pkts_toserver = conn.d[0].packets
        made.pkts_toclient = conn.d[1].packets
        made.bytes_toserver = conn.d[0].octets
        made.bytes_toclient = conn.d[1].octets
        made.start_ns = conn.start_ns
        made.end_ns = conn.last_ns
        made.how = flow_state(conn)
        made.who = conn.closer
        made.first_packet = conn.first_packet
        made.doubt = conn.doubt
        if talk != NULL:
            made.gaps = talk.gaps
            made.mails = talk.txs
            made.commands = talk.commands
            if talk.standing != NULL:
                made.standing = <Standing*>malloc(n + 1)
                if made.standing == NULL:
                    raise MemoryError
                memcpy(made.standing, talk.standing.each, n)
        self.put(made)


cdef class TapeSink(ObjectSink):
    """Connections only: a transcript hears the rest from the machine."""

    cdef int write_alert(self, CAlert* alert) noexcept nogil:
        return 0

    cdef int write_mail(self, Conn* conn, CMail* mail) noexcept nogil:
        return 0
