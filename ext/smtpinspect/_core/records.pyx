"""Alerts, mails and connections on their way out: in order, to whoever writes them."""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc

from smtpinspect._core.octets cimport mix
from smtpinspect._core.rows cimport Program
from smtpinspect._core.state cimport Alert, Conn, Mail, OUTCOME_ENCRYPTED, Standings
from smtpinspect._core.text cimport text_free

from smtpinspect.grammar import limits as _limits

assert _limits.SOCKET == SOCKET


cdef uint64_t flow_id(const Conn* conn) noexcept nogil:
    """53 bits of a hash with a fixed key: the ordered 5-tuple and the first frame's time."""
    cdef const uint64_t* lo = <const uint64_t*>conn.key.lo
    cdef const uint64_t* hi = <const uint64_t*>conn.key.hi
    cdef uint64_t h = <uint64_t>0x736D7470696E7370
    cdef int side
    for side in range(2):
        # client first, whatever its address
        if (side == 0) == (conn.client == 0):
            h = mix(mix(mix(h, lo[0]), lo[1]), conn.key.lo_port)
        else:
            h = mix(mix(mix(h, hi[0]), hi[1]), conn.key.hi_port)
    h = mix(mix(h, 6), <uint64_t>conn.start_ns)
    return h >> 11


cdef void standings_free(Standings* standing) noexcept nogil:
    if standing != NULL:
        free(standing.breaks)
        free(standing)


cdef void free_mail(Mail* mail) noexcept nogil:
    cdef Alert* alert
    while mail.alerts != NULL:
        alert = mail.alerts
        mail.alerts = alert.next
        free(alert)
    text_free(&mail.text)
    free(mail.rcpts)
    free(mail.names)
    if mail.nested != NULL:
        text_free(&mail.nested.line)
        free(mail.nested)
    standings_free(mail.standing)
    free(mail)


cdef struct Part:              # of what a fork wrote
    int64_t frame
    int fork
    size_t start
    size_t end


cdef int by_frame(const void* a, const void* b) noexcept nogil:
    cdef const Part* x = <const Part*>a
    cdef const Part* y = <const Part*>b
    if x.frame != y.frame:
        return -1 if x.frame < y.frame else 1
    return -1 if x.start < y.start else 1 if x.start > y.start else 0


@cython.no_gc_clear                             # __dealloc__ needs what a collector would have cleared
cdef class Sink:
    """Keeps the records of one frame until it ends, then hands them on sorted; this one only counts."""

    def __init__(self, Program program, alerts=True, mails=True, flows=True):
        self.program = program
        self.show_alerts = alerts
        self.show_mails = mails
        self.show_flows = flows
        self.alerts = <int64_t*>calloc(program.nrules + 1, sizeof(int64_t))
        self.first_of_row = <Alert**>calloc(program.nrows + 1, sizeof(Alert*))
        self.last_of_row = <Alert**>calloc(program.nrows + 1, sizeof(Alert*))
        if self.alerts == NULL or self.first_of_row == NULL or self.last_of_row == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Alert* alert
        cdef Mail* mail
        cdef int i
        for i in range(self.program.nrows if self.first_of_row != NULL else 0):
            while self.first_of_row[i] != NULL:
                alert = self.first_of_row[i]
                self.first_of_row[i] = alert.next
                free(alert)
        free(self.first_of_row)
        free(self.last_of_row)
        while self.first_mail != NULL:
            mail = self.first_mail
            self.first_mail = mail.next
            free_mail(mail)
        free(self.alerts)
        free(self.mail_conns)
        free(self.flows)
        free(self.marks)

    def tell(self, Sink also):
        """Hand on to another sink, too, what this one writes."""
        self.also = also

    @property
    def fired(self):
        """Alerts so far, shown or not."""
        return sum(self.alerts[i] for i in range(self.program.nrules))

    def alert_counts(self):
        """How often each rule fired, shown or not."""
        out = {}
        for i in range(self.program.nrules):
            if self.alerts[i]:
                rule = self.program.rules[i]
                out[rule] = out.get(rule, 0) + self.alerts[i]
        return dict(sorted(out.items()))

    cdef int take_alert(self, Alert* alert) noexcept nogil:
        if not self.show_alerts:
            free(alert)
            return 0
        # in row order, those of one row as they came
        alert.next = NULL
        if self.first_of_row[alert.row] == NULL:
            self.first_of_row[alert.row] = alert
        else:
            self.last_of_row[alert.row].next = alert
        self.last_of_row[alert.row] = alert
        self.pending_alerts = True
        self.pending = True
        return 0

    cdef int take_mail(self, Conn* conn, Mail* mail) noexcept nogil:
        cdef Conn** more
        mail.next = NULL
        if self.n_mails == self.cap_mails:
            more = <Conn**>realloc(self.mail_conns, (self.cap_mails * 2 + 8) * sizeof(Conn*))
            if more == NULL:
                free_mail(mail)
                return -1
            self.mail_conns = more
            self.cap_mails = self.cap_mails * 2 + 8
        self.mail_conns[self.n_mails] = conn
        self.n_mails += 1
        if self.last_mail == NULL:
            self.first_mail = mail
        else:
            self.last_mail.next = mail
        self.last_mail = mail
        self.pending = True
        return 0

    cdef int take_flow(self, Conn* conn) noexcept nogil:
        cdef Conn** more
        if self.n_flows == self.cap_flows:
            more = <Conn**>realloc(self.flows, (self.cap_flows * 2 + 8) * sizeof(Conn*))
            if more == NULL:
                return -1
            self.flows = more
            self.cap_flows = self.cap_flows * 2 + 8
        self.flows[self.n_flows] = conn
        self.n_flows += 1
        self.pending = True
        return 0

    cdef int flush(self, int64_t frame) noexcept nogil:
        cdef Alert* alert
        cdef Mail* mail
        cdef int i
        self.pending = False
        if self.pending_alerts:
            self.pending_alerts = False
            for i in range(self.program.nrows):
                while self.first_of_row[i] != NULL:
                    alert = self.first_of_row[i]
                    self.first_of_row[i] = alert.next
                    self.told += 1
                    self.write_alert(alert)
                    if self.also is not None:
                        self.also.write_alert(alert)
                    free(alert)
        i = 0
        while self.first_mail != NULL:
            mail = self.first_mail
            self.first_mail = mail.next
            if mail.outcome != OUTCOME_ENCRYPTED:
                self.mails += 1
            self.write_mail(self.mail_conns[i], mail)
            if self.also is not None:
                self.also.write_mail(self.mail_conns[i], mail)
            i += 1
            free_mail(mail)
        self.last_mail = NULL
        self.n_mails = 0
        for i in range(self.n_flows):
            self.write_flow(self.flows[i])
            if self.also is not None:
                self.also.write_flow(self.flows[i])
        self.n_flows = 0
        if self.forked:
            self.mark(frame)
        return 0

    cdef void mark(self, int64_t frame) noexcept nogil:
        cdef size_t end = self.written()
        cdef size_t cap = self.cap_marks * 2 + 64
        cdef Mark* more
        if end == (self.marks[self.n_marks - 1].end if self.n_marks else 0):
            return
        if self.n_marks == self.cap_marks:
            more = <Mark*>realloc(self.marks, cap * sizeof(Mark))
            if more == NULL:
                self.starved = True
                return
            self.marks = more
            self.cap_marks = cap
        self.marks[self.n_marks] = Mark(frame=frame, end=end)
        self.n_marks += 1

    cdef Sink fork(self):
        cdef Sink made = Sink(self.program, self.show_alerts, self.show_mails, self.show_flows)
        made.forked = True
        return made

    cdef int gather(self, list forks) except -1:
        cdef Sink fork
        cdef Part* parts
        cdef size_t n = 0, i, start
        cdef int k, rule
        for fork in forks:
            n += fork.n_marks
            self.mails += fork.mails
            fork.mails = 0
            for rule in range(self.program.nrules):
                self.alerts[rule] += fork.alerts[rule]
                fork.alerts[rule] = 0
            if fork.starved:
                raise MemoryError
            if fork.error is not None and self.error is None:
                self.error = fork.error
        if n == 0:
            return 0
        parts = <Part*>malloc(n * sizeof(Part))
        if parts == NULL:
            raise MemoryError
        n = 0
        for k, fork in enumerate(forks):
            start = 0
            for i in range(fork.n_marks):
                parts[n] = Part(frame=fork.marks[i].frame, fork=k, start=start, end=fork.marks[i].end)
                start = fork.marks[i].end
                n += 1
        qsort(parts, n, sizeof(Part), by_frame)
        try:
            for i in range(n):
                self.take_part(forks[parts[i].fork], parts[i].start, parts[i].end)
        finally:
            free(parts)
            for fork in forks:
                fork.n_marks = 0
                fork.forget_written()
        return 0

    cdef size_t written(self) noexcept nogil:
        return 0

    cdef int take_part(self, Sink fork, size_t start, size_t end) except -1:
        return 0

    cdef void forget_written(self) noexcept:
        pass

    cdef int write_alert(self, Alert* alert) noexcept nogil:
        return 0

    cdef int write_mail(self, Conn* conn, Mail* mail) noexcept nogil:
        return 0

    cdef int write_flow(self, Conn* conn) noexcept nogil:
        return 0
