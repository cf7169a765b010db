"""Lines of commands and replies: read in pieces, kept up to a limit, judged as soon as a limit is passed."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.rows cimport Limits
from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn, Line, Mail, PHASE_DATABODY, PHASE_DATAMID
from smtpinspect._core.verdicts cimport Verdicts

cdef enum:
    FIRST_SEGMENT = 1460       # limits.FIRST_SEGMENT


cdef inline int phase_at(Mail* mail, int64_t offset) noexcept nogil:
    """The phase of an octet in the text."""
    return PHASE_DATABODY if offset - mail.text_start < FIRST_SEGMENT else PHASE_DATAMID


cdef inline bint past_limit(const Limits* limits, int passed, int64_t n, int64_t line_end) noexcept nogil:
    """May a line of this length have passed its next limit? (line_limits knows which ones count the line end.)"""
    return passed < limits.n and n + line_end > limits.at[passed].limit


# The line has n octets by now, line end excluded, and a line end of `line_end` octets when it is over.
cdef void line_limits(
    Verdicts verdicts, Conn* conn, Mail* mail, int where, int side, int phase, int64_t start, int64_t n,
    int64_t line_end, Span head, uint8_t* passed, int64_t packet,
) noexcept nogil

# Reads up to and including the next LF. Returns how many octets were taken; `whole` tells whether the line
# is over, `out` then lends its octets without the line end (at most limits.KEPT_LINE), `end` its line end's length.
cdef Py_ssize_t line_read(
    Line* line, const uint8_t* p, Py_ssize_t n, int64_t at, int64_t packet, bint border,
    bint* whole, Span* out, int* end,
) noexcept nogil
cdef void line_done(Line* line) noexcept nogil
