"""The parts of a mail as a scanner of contents sees them: decoded, one after the other."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.state cimport Conn, Mail, Mime
from smtpinspect._core.verdicts cimport Verdicts

cdef enum:          # Tracking
    NOT_JUDGED = 0         # no part, or nothing in it that a rule could ask for
    FRESH = 1              # no octet of it has been decoded
    SCANNED = 2
    LINES = 3              # a line `begin MODE NAME` may come (uuencode)


cdef inline bint part_judged(const Mime* m) noexcept nogil:
    return (m.as_sent.state | m.in_lines.state) != NOT_JUDGED


# A header that is no multipart's is over; m.type, m.encoding and m.filename tell what it said.
cdef void part_begins(Verdicts verdicts, Mime* m) noexcept nogil
# Octets of the part as sent. They may hold the line end before a boundary, but nothing of the boundary.
cdef void part_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at, int64_t packet,
) noexcept nogil
cdef void part_ends(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil
# Forget the part: a hole, or the end of all.
cdef void part_free(Mime* m) noexcept nogil
