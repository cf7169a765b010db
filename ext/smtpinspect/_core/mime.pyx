"""A mail's text: headers and bodies in turn, and counts of octets. Fed in pieces of any size.

Keeps no octets but heads of what a rule or a report reads.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free

from smtpinspect._core.attachments cimport part_ends, part_free
from smtpinspect._core.bodies cimport body_ends, body_feed, body_passes, body_plain
from smtpinspect._core.fields cimport end_header, field_end, header_feed
from smtpinspect._core.mimelines cimport BODY, count_octets
from smtpinspect._core.rows cimport COUNT_BODY, COUNT_HEADER, COUNT_OVER_SIZE
from smtpinspect._core.scan cimport scan_after_break
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport Conn, DOUBT_GAP, Mail, Mime
from smtpinspect._core.text cimport text_free
from smtpinspect._core.verdicts cimport Verdicts


cdef Span NOTHING = span(NULL, 0)


cdef Mime* mime_new(bint unstuff, int64_t offset) noexcept nogil:
    cdef Mime* m = <Mime*>calloc(1, sizeof(Mime))
    if m != NULL:
        m.unstuff = unstuff
        m.line_start = offset
        m.at_line = 1
    return m


cdef void mime_free(Mime* m) noexcept nogil:
    if m == NULL:
        return
    part_free(m)
    text_free(&m.value)
    text_free(&m.dashes)
    text_free(&m.dash_packets)
    text_free(&m.type)
    text_free(&m.encoding)
    text_free(&m.disposition)
    text_free(&m.filename)
    text_free(&m.boundaries)
    free(m)


cdef void over_size(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    """The declared size counts the message without the dots of stuffing (RFC 1870 3)."""
    cdef Py_ssize_t i = 0, next_dot
    while i < n:
        # octets up to the next dot that stuffing added
        next_dot = i
        if not (m.unstuff and m.at_line and i == 0 and p[0] == 46):
            next_dot = i + <Py_ssize_t>scan_after_break(p + i, n - i, 46) if m.unstuff else n
            while next_dot < n and (p + next_dot - 1)[0] != 10:
                next_dot += <Py_ssize_t>scan_after_break(p + next_dot, n - next_dot, 46)
        if next_dot > i:
            count_octets(
                verdicts, conn, mail, m, COUNT_OVER_SIZE, mail.plain - mail.declared, next_dot - i, at + i, NOTHING,
            )
            mail.plain += next_dot - i
        m.at_line = 0
        if next_dot >= n:
            break
        i = next_dot + 1
    m.at_line = p[n - 1] == 10


cdef void body_count(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int64_t n, int64_t offset,
) noexcept nogil:
    """The headers of parts belong to the body (RFC 5322 2.3)."""
    if verdicts.program.counts[COUNT_BODY].n:
        count_octets(verdicts, conn, mail, m, COUNT_BODY, m.body_octets, n, offset, NOTHING)
    m.body_octets += n


cdef bint mime_passes(
    Verdicts verdicts, Conn* conn, Mail* mail, const uint8_t* p, Py_ssize_t n, int64_t offset,
) noexcept nogil:
    cdef Mime* m = mail.mime
    if m == NULL or m.mode != BODY or not body_plain(m, p, n):
        return False
    mail.octets += n
    if mail.declared >= 0 and verdicts.program.counts[COUNT_OVER_SIZE].n:
        over_size(verdicts, conn, mail, m, p, n, offset)
    body_passes(verdicts, conn, mail, m, p, n, offset)
    body_count(verdicts, conn, mail, m, n, offset)
    return True


cdef int mime_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, const uint8_t* p, Py_ssize_t n, int64_t offset,
) noexcept nogil:
    cdef Mime* m = mail.mime
    cdef Py_ssize_t i = 0, took
    cdef uint8_t level
    if m == NULL or n <= 0:
        return 0
    mail.octets += n
    if mail.declared >= 0 and verdicts.program.counts[COUNT_OVER_SIZE].n:
        over_size(verdicts, conn, mail, m, p, n, offset)
    while i < n:
        level = m.level
        if m.mode == BODY:
            took = body_feed(verdicts, conn, mail, m, p + i, n - i, offset + i)
            body_count(verdicts, conn, mail, m, took, offset + i)
        else:
            took = header_feed(verdicts, conn, mail, m, p + i, n - i, offset + i)
            if level:
                body_count(verdicts, conn, mail, m, took, offset + i)
            else:
                if verdicts.program.counts[COUNT_HEADER].n:
                    count_octets(verdicts, conn, mail, m, COUNT_HEADER, m.header_octets, took, offset + i, NOTHING)
                m.header_octets += took
            if m.mode == BODY:
                m.in_line = 0
                m.in_dashes = 0
                m.dashes.n = 0
        i += took
    return 0


cdef int mime_gap(Verdicts verdicts, Conn* conn, Mail* mail, int64_t n) noexcept nogil:
    cdef Mime* m = mail.mime
    mail.octets += n
    mail.doubt |= DOUBT_GAP
    if m == NULL:
        return 0
    if m.mode != BODY:
        field_end(verdicts, conn, mail, m)
        # what the hole held is not known: take no line behind it for a field
        m.mode = BODY
    part_free(m)
    m.in_line = 1
    m.in_dashes = 0
    m.held_cr = 0
    m.passed = 255
    m.dashes.n = 0
    return 0


cdef int mime_end(Verdicts verdicts, Conn* conn, Mail* mail) noexcept nogil:
    cdef Mime* m = mail.mime
    if m == NULL:
        return 0
    if m.mode != BODY:
        if m.in_field:
            field_end(verdicts, conn, mail, m)
        if m.type.n or m.disposition.n:
            end_header(verdicts, conn, mail, m)
    else:
        body_ends(verdicts, conn, mail, m)
    part_ends(verdicts, conn, mail, m)
    mail.mime = NULL
    mime_free(m)
    return 0
