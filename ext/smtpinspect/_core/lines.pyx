"""Lines of commands and replies: read in pieces, kept up to a limit, judged as soon as a limit is passed."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr

from smtpinspect._core.rows cimport F_LINE, fact_begin, Limit, Limits
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport Conn, Fact, Line, Mail, PHASE_NONE
from smtpinspect._core.text cimport text_add, text_free
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

assert _limits.FIRST_SEGMENT == FIRST_SEGMENT

cdef uint32_t KEPT_LINE = _limits.KEPT_LINE


cdef void line_limits(
    Verdicts verdicts, Conn* conn, Mail* mail, int where, int side, int phase, int64_t start, int64_t n,
    int64_t line_end, Span head, uint8_t* passed, int64_t packet,
) noexcept nogil:
    cdef Limits* limits = &verdicts.program.lines[where]
    cdef Limit* limit
    cdef Fact fact
    while passed[0] < limits.n:
        limit = &limits.at[passed[0]]
        if n + (line_end if limit.wire else 0) <= limit.limit:
            return
        passed[0] += 1
        fact_begin(&fact, F_LINE, side, 0)
        fact.v[0] = where
        fact.v[1] = limit.limit + 1
        fact.v[2] = limit.limit + 1
        fact.offset = start + limit.limit
        fact.length = limit.limit + 1
        fact.packet = packet
        fact.phase = phase_at(mail, fact.offset) if phase == PHASE_NONE and mail != NULL else phase
        # nothing behind the deciding octet: how much of that is there depends on the cut
        fact.octets = span(head.p, min(head.n, n, limit.limit + 1))
        fact.t[0] = fact.octets
        verdicts.judge_row(conn, mail, &fact, limit.row)


cdef Py_ssize_t line_read(
    Line* line, const uint8_t* p, Py_ssize_t n, int64_t at, int64_t packet, bint border,
    bint* whole, Span* out, int* end,
) noexcept nogil:
    cdef const uint8_t* lf
    cdef Py_ssize_t took, have
    if line.n == 0:
        line.start = at
        line.packet = packet
        line.cut = 0
    elif border and line.cut == 0:
        line.cut = <uint32_t>line.n if line.n < 0x7FFFFFFF else 0x7FFFFFFF
    lf = <const uint8_t*>memchr(p, 10, n)
    took = lf - p + 1 if lf != NULL else n
    whole[0] = lf != NULL
    if lf != NULL and line.n == 0:
        out[0] = span(p, took - 1)
        line.n = took - 1
    else:
        text_add(&line.kept, p, took - (1 if lf != NULL else 0), KEPT_LINE)
        line.n += took - (1 if lf != NULL else 0)
        out[0] = span(line.kept.p, line.kept.n)
    end[0] = 0
    if lf != NULL:
        end[0] = 1
        have = out.n
        if have == line.n:
            if have and out.p[have - 1] == 13:
                out.n -= 1
                line.n -= 1
                end[0] = 2
        elif (lf > p and (lf - 1)[0] == 13) or (lf == p and line.held_cr):
            line.n -= 1
            end[0] = 2
    elif took:
        line.held_cr = p[took - 1] == 13
    return took


cdef void line_done(Line* line) noexcept nogil:
    line.n = 0
    line.cut = 0
    line.passed = 0
    line.held_cr = 0
    if line.kept.cap > 512:
        text_free(&line.kept)
    line.kept.n = 0
