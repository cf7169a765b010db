"""What headers and bodies share: the line that is read, and its limits."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from smtpinspect._core.lines cimport line_limits
from smtpinspect._core.span cimport span
from smtpinspect._core.state cimport CLIENT, Conn, EXCERPT, Mail, Mime, PHASE_NONE
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
    if m.passed < verdicts.program.lines[where].n:
        line_limits(
            verdicts, conn, mail, where, CLIENT, PHASE_NONE, m.line_start, m.line_n, line_end,
            span(m.head, m.head_n), &m.passed, packet,
        )
