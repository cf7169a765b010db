"""Bodies: the boundaries of their parts (RFC 2046 5.1), and long lines."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from smtpinspect._core.attachments cimport LINES, NOT_JUDGED, part_ends, part_feed, part_judged, SCANNED
from smtpinspect._core.mimelines cimport BODY, check_line, keep_head, next_line, PART_HEADER
from smtpinspect._core.rows cimport IN_BODY, Limits
from smtpinspect._core.scan cimport scan_after_break, scan_after_break3
from smtpinspect._core.state cimport Conn, Mail, Mime
from smtpinspect._core.text cimport text_add
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <string.h>
    #if defined(__GLIBC__)
    extern void *memrchr(const void *, int, size_t);
    #else
    static void *memrchr(const void *s, int c, size_t n)
    {
        const unsigned char *p = (const unsigned char *)s + n;
        while (n--)
            if (*--p == (unsigned char)c)
                return (void *)p;
        return 0;
    }
    #endif
    """
    void* memrchr(const void* s, int c, size_t n) nogil

cdef uint32_t BOUNDARY = _limits.BOUNDARY

cdef struct Held:
    int64_t packet
    int64_t n


cdef bint is_boundary(Mime* m) noexcept nogil:
    """The line's head against the open boundaries, innermost first; opens or closes what it names."""
    cdef int i
    cdef Py_ssize_t n, rest
    cdef const uint8_t* p = m.dashes.p
    n = m.dashes.n
    if n < 3 or p[0] != 45 or p[1] != 45:
        return False
    for i in range(m.depth - 1, -1, -1):
        if n - 2 >= m.boundary[i].n and memcmp(p + 2, m.boundaries.p + m.boundary[i].at, m.boundary[i].n) == 0:
            rest = 2 + m.boundary[i].n
            if n - rest >= 2 and p[rest] == 45 and p[rest + 1] == 45:
                m.depth = <uint8_t>i
                m.boundaries.n = m.boundary[i].at
                m.mode = BODY
            else:
                while rest < n and (p[rest] == 32 or p[rest] == 9 or p[rest] == 13):
                    rest += 1
                if rest < n:
                    continue                       # a longer word that begins alike
                m.depth = <uint8_t>(i + 1)
                m.boundaries.n = m.boundary[i].at + m.boundary[i].n
                m.mode = PART_HEADER
                m.level = <uint8_t>(i + 1)
            return True
    return False


cdef void body_lines(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    """Only lines that could pass the next limit are looked at: jump that far, and look back for a line end."""
    cdef Limits* limits = &verdicts.program.lines[IN_BODY]
    cdef Py_ssize_t i = 0, reach, far
    cdef const uint8_t* lf
    cdef const uint8_t* earlier
    cdef bint crlf, was_cr = m.held_cr
    m.held_cr = 0
    if n and was_cr and p[0] != 10:
        m.line_n += 1                              # that CR was an octet of the line
        check_line(verdicts, conn, mail, m, IN_BODY, 0, verdicts.packet)
    while i < n:
        if m.passed >= limits.n:
            lf = <const uint8_t*>memchr(p + i, 10, n - i)
            if lf == NULL:
                return
            i = lf - p + 1
            next_line(m, at + i)
            continue
        reach = limits.at[m.passed].limit + 2 - m.line_n      # one octet more, for a CR
        if reach < 1:
            reach = 1
        if reach > n - i:
            reach = n - i
        # behind a limit this line's own end counts: the lines behind it have all limits before them again
        lf = <const uint8_t*>(memchr(p + i, 10, reach) if m.passed else memrchr(p + i, 10, reach))
        if lf != NULL:
            far = lf - (p + i)
            if m.line_n + far >= limits.at[m.passed].limit:
                # this line may be too long, unless another line end lies before
                earlier = <const uint8_t*>memrchr(p + i, 10, far)
                if earlier != NULL:
                    lf = earlier
                else:
                    crlf = (lf - 1)[0] == 13 if far else was_cr and i == 0
                    keep_head(m, p + i, far)
                    m.line_n += far - (1 if crlf and far else 0)
                    check_line(verdicts, conn, mail, m, IN_BODY, 2 if crlf else 1, verdicts.packet)
            i = lf - p + 1
            next_line(m, at + i)
            continue
        keep_head(m, p + i, reach)
        m.line_n += reach
        i += reach
        if i == n and p[n - 1] == 13:
            m.held_cr = 1
            m.line_n -= 1
        check_line(verdicts, conn, mail, m, IN_BODY, 0, verdicts.packet)


cdef bint fits(Mime* m) noexcept nogil:
    """May the line become a boundary still?"""
    cdef int i
    cdef Py_ssize_t n = m.dashes.n, rest
    cdef const uint8_t* p = m.dashes.p
    if n > 1 and p[1] != 45:
        return False
    for i in range(m.depth):
        rest = 2 + m.boundary[i].n
        if n <= rest:
            if n <= 2 or memcmp(p + 2, m.boundaries.p + m.boundary[i].at, n - 2) == 0:
                return True
            continue
        if memcmp(p + 2, m.boundaries.p + m.boundary[i].at, m.boundary[i].n) != 0:
            continue
        if p[rest] == 45 and (n - rest == 1 or p[rest + 1] == 45):
            return True
        while rest < n and (p[rest] == 32 or p[rest] == 9 or p[rest] == 13):
            rest += 1
        if rest == n:
            return True
    return False


cdef void hold(Verdicts verdicts, Mime* m, Py_ssize_t n) noexcept nogil:
    """The call ends within such a line, of which it has read n octets."""
    cdef Held held
    held.packet = verdicts.packet
    held.n = n
    text_add(&m.dash_packets, <const uint8_t*>&held, sizeof(Held), sizeof(Held) * (BOUNDARY + 4))


cdef void let_go(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    """It was no boundary: what earlier calls held of it is the part's."""
    cdef uint32_t i
    cdef Held held
    cdef Py_ssize_t done = 0
    for i in range(m.dash_packets.n // sizeof(Held)):
        memcpy(&held, m.dash_packets.p + i * sizeof(Held), sizeof(Held))
        if held.n > m.dashes.n - done:
            held.n = m.dashes.n - done
        part_feed(verdicts, conn, mail, m, m.dashes.p + done, held.n, m.dashes_at + done, held.packet)
        done += held.n
    m.dash_packets.n = 0


cdef void body_ends(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    if m.in_dashes and not is_boundary(m):
        let_go(verdicts, conn, mail, m)
    m.in_dashes = 0


cdef inline bint looked_at(const Mime* m) noexcept nogil:
    """Does more of the part's octets count than a line `begin`?"""
    return m.as_sent.state != NOT_JUDGED or m.in_lines.state == SCANNED or m.in_lines.part != NULL


cdef bint body_plain(const Mime* m, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint8_t dash = 45 if m.depth else 46
    cdef uint8_t letter = 98 if m.in_lines.state == LINES and not looked_at(m) else 46
    cdef Py_ssize_t i
    if m.in_dashes or (p[0] == 45 and m.depth and not m.in_line) or (p[0] == letter and m.in_lines.at_line):
        return False
    i = <Py_ssize_t>scan_after_break3(p, n, 46, dash, letter)
    while i < n:
        if n - i < 6:
            return False
        if p[i] == 46:
            if p[i + 1] <= 13:
                return False                       # may be an end mark
        elif p[i - 1] == 10 and (p[i + 1] == 45 if p[i] == 45 else memcmp(p + i, b"begin ", 6) == 0):
            return False
        i += <Py_ssize_t>scan_after_break3(p + i, n - i, 46, dash, letter)
    return True


cdef void body_passes(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    cdef bint at_line = p[n - 1] == 10
    m.in_line = not at_line
    if looked_at(m):
        part_feed(verdicts, conn, mail, m, p, n, at, verdicts.packet)
    else:
        m.in_lines.at_line = at_line
    if verdicts.program.lines[IN_BODY].n:
        body_lines(verdicts, conn, mail, m, p, n, at)


cdef int body_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    """Body octets up to the next part header; returns how many were read."""
    cdef Py_ssize_t i = 0, end, given = 0, dash = 0    # octets that the part has got; where the line with dashes begins
    cdef const uint8_t* lf
    if m.depth == 0:
        if part_judged(m):
            part_feed(verdicts, conn, mail, m, p, n, at, verdicts.packet)
        if verdicts.program.lines[IN_BODY].n:
            body_lines(verdicts, conn, mail, m, p, n, at)
        return <int>n
    while i < n:
        if not m.in_dashes:
            # at a line's first octet, or somewhere in a line that is no boundary
            if not m.in_line and p[i] == 45:
                m.in_dashes = 1                     # may be a boundary: its head is kept
                m.dashes.n = 0
                m.dash_packets.n = 0
                m.dashes_at = at + i
                dash = i
                continue
            i += scan_after_break(p + i, n - i, 45)
            if i < n and p[i - 1] == 10:
                m.in_line = 0
                continue
            if i < n:
                i += 1
                m.in_line = 1
                continue
            m.in_line = p[n - 1] != 10
            break
        lf = <const uint8_t*>memchr(p + i, 10, n - i)
        end = lf - p if lf != NULL else n
        text_add(&m.dashes, p + i, end - i, BOUNDARY + 4)
        i = end
        if lf == NULL and fits(m):
            break
        m.in_dashes = 0
        m.in_line = lf == NULL
        if lf != NULL:
            i += 1
            if is_boundary(m):
                if part_judged(m):
                    part_feed(verdicts, conn, mail, m, p + given, dash - given, at + given, verdicts.packet)
                    part_ends(verdicts, conn, mail, m)
                given = i
                m.dashes.n = 0
                if m.mode != BODY or m.depth == 0:
                    break
        if part_judged(m) and m.dash_packets.n:
            let_go(verdicts, conn, mail, m)
        m.dashes.n = 0
    if part_judged(m):
        end = dash if m.in_dashes else i
        part_feed(verdicts, conn, mail, m, p + given, end - given, at + given, verdicts.packet)
        if m.in_dashes:
            hold(verdicts, m, i - dash)
    if verdicts.program.lines[IN_BODY].n:
        body_lines(verdicts, conn, mail, m, p, i, at)
    if m.mode != BODY:
        next_line(m, at + i)
    return <int>i
