"""Marks on a header field: which classes of octets it holds, and the evidence."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from smtpinspect._core.state cimport Mime


cdef inline void take_excerpt(Mime* m) noexcept nogil:
    """Evidence is the head of the line with the first flagged octet, or what surrounds it further on."""
    if m.flagged == 1:
        m.flagged = 2
        if m.window_at == 0:
            m.excerpt_n = m.head_n
            memcpy(m.excerpt, m.head, m.head_n)


# A class of facts.Octets, first seen here.
cdef void flag(Mime* m, int bit, int64_t at, int64_t packet) noexcept nogil
# After n more octets of the line: what of them is evidence, and the last ones for a flag that comes next.
cdef void follow_window(Mime* m, const uint8_t* p, Py_ssize_t n) noexcept nogil
# One octet of a value: against RFC 3629 4; and one that is not plain.
cdef void utf8(Mime* m, uint8_t c, int64_t at, int64_t packet) noexcept nogil
cdef void see(Mime* m, uint8_t c, int64_t at, int64_t packet) noexcept nogil
