"""Marks on a header field: which classes of octets it holds, and the evidence."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memmove

from smtpinspect._core.state cimport BEFORE, EXCERPT, Mime

from smtpinspect.facts import Octets as _Octets

cdef int EIGHT_BIT = int(_Octets.EIGHT_BIT)
cdef int BAD_UTF8 = int(_Octets.BAD_UTF8)
cdef int CONTROL = int(_Octets.CONTROL)
cdef int BARE_CR = int(_Octets.BARE_CR)
cdef int NUL = int(_Octets.NUL)


cdef void flag(Mime* m, int bit, int64_t at, int64_t packet) noexcept nogil:
    cdef int i = 0
    while (bit >> i) > 1:
        i += 1
    if m.flags & bit:
        return
    m.flags |= bit
    m.flag_at[i] = at
    m.flag_packet[i] = packet
    if not m.flagged:
        m.flagged = 1
        m.excerpt_n = 0
        m.window_at = at - m.line_start - BEFORE if at - m.line_start >= EXCERPT - 8 else 0


cdef void copy_window(Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    """Octets at this place of the line into the evidence, as far as its window reaches."""
    cdef int64_t begin = m.window_at + m.excerpt_n, end = m.window_at + EXCERPT
    if begin < at:
        begin = at
    if end > at + n:
        end = at + n
    if begin < end and begin == m.window_at + m.excerpt_n:
        memcpy(m.excerpt + m.excerpt_n, p + (begin - at), end - begin)
        m.excerpt_n += <uint8_t>(end - begin)


cdef void follow_window(Mime* m, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """After n more octets of the line: what of them is evidence, and the last ones for a flag that comes next."""
    cdef int64_t at = m.line_n - n
    if m.flagged == 1 and m.window_at:
        copy_window(m, m.tail, m.tail_n, at - m.tail_n)
        copy_window(m, p, n, at)
    if n >= BEFORE:
        memcpy(m.tail, p + n - BEFORE, BEFORE)
        m.tail_n = BEFORE
    elif n:
        if m.tail_n + n > BEFORE:
            memmove(m.tail, m.tail + m.tail_n + n - BEFORE, BEFORE - n)
            m.tail_n = <uint8_t>(BEFORE - n)
        memcpy(m.tail + m.tail_n, p, n)
        m.tail_n += <uint8_t>n


cdef void utf8(Mime* m, uint8_t c, int64_t at, int64_t packet) noexcept nogil:
    """One octet of a value against RFC 3629 4."""
    if m.u8_need:
        if m.u8_low <= c <= m.u8_high:
            m.u8_need -= 1
            m.u8_low = 0x80
            m.u8_high = 0xBF
            return
        m.u8_need = 0
        flag(m, BAD_UTF8, at, packet)
    if c < 0x80:
        return
    m.u8_low, m.u8_high = 0x80, 0xBF
    if 0xC2 <= c <= 0xDF:
        m.u8_need = 1
    elif 0xE0 <= c <= 0xEF:
        m.u8_need = 2
        if c == 0xE0:
            m.u8_low = 0xA0
        elif c == 0xED:
            m.u8_high = 0x9F
    elif 0xF0 <= c <= 0xF4:
        m.u8_need = 3
        if c == 0xF0:
            m.u8_low = 0x90
        elif c == 0xF4:
            m.u8_high = 0x8F
    else:
        flag(m, BAD_UTF8, at, packet)


cdef void see(Mime* m, uint8_t c, int64_t at, int64_t packet) noexcept nogil:
    """One octet of a value that is not plain."""
    if c >= 0x80:
        flag(m, EIGHT_BIT, at, packet)
    elif c == 0:
        flag(m, CONTROL, at, packet)
        flag(m, NUL, at, packet)
    elif c == 13:
        flag(m, BARE_CR, at, packet)
    elif (c < 32 and c != 9 and c != 10) or c == 127:
        flag(m, CONTROL, at, packet)
