"""What headers and bodies share: the line that is read, and its limits."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from smtpinspect._core.lines cimport line_limits, past_limit, phase_at
from smtpinspect._core.rows cimport F_COUNT, fact_begin, Limit, Limits
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport CLIENT, Conn, EXCERPT, Fact, Mail, Mime, PHASE_NONE
from smtpinspect._core.verdicts cimport Verdicts

cdef enum:          # Mode
    HEADER = 0          # of the message
    PART_HEADER = 1
    BODY = 2


cdef inline void next_line(Mime* m, int64_t at) noexcept nogil:
    m.line_start = at
    m.line_n = 0
    m.head_n = 0
    m.tail_n = 0
    m.dot = 0
    m.passed = 0
    m.held_cr = 0


cdef inline void keep_head(Mime* m, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    if m.head_n < EXCERPT:
        if n > EXCERPT - m.head_n:
            n = EXCERPT - m.head_n
        memcpy(m.head + m.head_n, p, n)
        m.head_n += <uint8_t>n


cdef inline void check_line(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int where, int64_t line_end, int64_t packet,
) noexcept nogil:
    """The line has m.line_n octets by now, and a line end of `line_end` octets when it is over (0: not yet)."""
    if past_limit(&verdicts.program.lines[where], m.passed, m.line_n, line_end):
        line_limits(
            verdicts, conn, mail, where, CLIENT, PHASE_NONE, m.line_start, m.line_n, line_end,
            span(m.head, m.head_n), &m.passed, packet,
        )


cdef inline void count_octets(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int what, int64_t before, int64_t n, int64_t offset, Span line,
) noexcept nogil:
    """A count grows from `before` by n that begin at `offset`, one an octet; `line` is evidence, if any."""
    cdef Limits* limits = &verdicts.program.counts[what]
    cdef Limit* limit
    cdef Fact fact
    while m.counts_passed[what] < limits.n:
        limit = &limits.at[m.counts_passed[what]]
        if before + n <= limit.limit:
            return
        m.counts_passed[what] += 1
        fact_begin(&fact, F_COUNT, CLIENT, 0)
        fact.v[0] = what
        fact.v[1] = limit.limit + 1
        fact.offset = offset + (limit.limit - before if limit.limit > before else 0)
        fact.length = line.n if line.n else 1
        fact.octets = line
        fact.packet = verdicts.packet
        fact.phase = phase_at(mail, fact.offset)
        verdicts.judge_row(conn, mail, &fact, limit.row)
