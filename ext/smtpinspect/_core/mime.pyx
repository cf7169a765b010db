"""A mail's text: header fields with folding (RFC 5322 2.2), MIME parts (RFC 2045, 2046, 2231).

Fed in pieces of any size; keeps no octets but heads of what a rule or a report reads.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from smtpinspect._core.rows cimport (
    COUNT_BODY, COUNT_HEADER, COUNT_OVER_SIZE, F_COUNT, F_FIELD, F_PART, IN_BODY, IN_HEADER,
    IN_PART_HEADER, Limit, Limits,
)
from smtpinspect._core.lines cimport line_limits, phase_at
from smtpinspect._core.octets cimport hex_value, lower
from smtpinspect._core.span cimport span
from smtpinspect._core.state cimport (
    BEFORE, CAP, CLIENT, Conn, EXCERPT, Fact, GAP, MIME_DEPTH, Mail, Mime, NAME_LENGTH, NO_PHASE, Piece, Text,
)
from smtpinspect._core.text cimport text_add, text_free, text_piece
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.facts import Octets as _Octets
from smtpinspect.grammar import limits as _limits

cdef extern from "scan.h":
    size_t scan_after_break(const uint8_t* p, size_t n, uint8_t needle) nogil

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

assert _limits.MIME_DEPTH == MIME_DEPTH and _limits.NAME_LENGTH == NAME_LENGTH and _limits.EXCERPT == EXCERPT

cdef uint32_t KEPT_FIELD = _limits.KEPT_FIELD
cdef uint32_t BOUNDARY = _limits.BOUNDARY
cdef uint16_t ATTACHMENTS = _limits.ATTACHMENTS

cdef enum:          # Mode
    HEADER = 0          # of the message
    PART_HEADER = 1
    BODY = 2

cdef enum:          # Interest
    NOTHING = 0
    SUBJECT = 1
    FROM = 2
    TO = 3
    MESSAGE_ID = 4
    CONTENT_TYPE = 5
    CONTENT_ENCODING = 6
    CONTENT_DISPOSITION = 7

# octet classes, as bits of facts.Octets, and what ends a quick look
cdef uint8_t[256] PLAIN             # 1: needs no look in a field value
cdef int EIGHT_BIT = int(_Octets.EIGHT_BIT)
cdef int BAD_UTF8 = int(_Octets.BAD_UTF8)
cdef int CONTROL = int(_Octets.CONTROL)
cdef int BARE_CR = int(_Octets.BARE_CR)
cdef int BARE_LF = int(_Octets.BARE_LF)
cdef int BAD_NAME = int(_Octets.BAD_NAME)
cdef int NO_COLON = int(_Octets.NO_COLON)
cdef int NUL = int(_Octets.NUL)


def _fill():
    for i in range(256):
        PLAIN[i] = 32 <= i < 127 or i == 9


_fill()


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
    text_free(&m.value)
    text_free(&m.type)
    text_free(&m.encoding)
    text_free(&m.disposition)
    text_free(&m.filename)
    text_free(&m.boundaries)
    free(m)


# --- fields ---------------------------------------------------------------------------------------

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


cdef inline void take_excerpt(Mime* m) noexcept nogil:
    """Evidence is the head of the line with the first flagged octet, or what surrounds it further on."""
    if m.flagged == 1:
        m.flagged = 2
        if m.window_at == 0:
            m.excerpt_n = m.head_n
            memcpy(m.excerpt, m.head, m.head_n)


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


cdef bint is_name(Mime* m, const char* word, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if m.name_n != n:
        return False
    for i in range(n):
        if lower(m.name[i]) != <uint8_t>word[i]:
            return False
    return True


cdef int interest_of(Mime* m) noexcept nogil:
    if m.level == 0:
        if is_name(m, b"subject", 7):
            return SUBJECT
        if is_name(m, b"from", 4):
            return FROM
        if is_name(m, b"to", 2):
            return TO
        if is_name(m, b"message-id", 10):
            return MESSAGE_ID
    if m.name_n < 12:
        return NOTHING
    if is_name(m, b"content-type", 12):
        return CONTENT_TYPE
    if is_name(m, b"content-transfer-encoding", 25):
        return CONTENT_ENCODING
    if is_name(m, b"content-disposition", 19):
        return CONTENT_DISPOSITION
    return NOTHING


cdef void trim(const uint8_t** p, Py_ssize_t* n) noexcept nogil:
    while n[0] and (p[0][0] == 32 or p[0][0] == 9 or p[0][0] == 13 or p[0][0] == 10):
        p[0] += 1
        n[0] -= 1
    while n[0] and (p[0][n[0] - 1] == 32 or p[0][n[0] - 1] == 9 or p[0][n[0] - 1] == 13 or p[0][n[0] - 1] == 10):
        n[0] -= 1


cdef Piece keep_unfolded(Mail* mail, Text* value) noexcept nogil:
    """The value without its line ends, blanks trimmed, in the mail's own memory."""
    cdef Piece made
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t n = value.n, i
    cdef uint32_t start = mail.text.n
    trim(&p, &n)
    for i in range(n):
        if p[i] != 13 and p[i] != 10:
            text_add(&mail.text, p + i, 1, <uint32_t>0xFFFFFFF0)
    made.at = start
    made.n = mail.text.n - start
    return made


cdef int end_field(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    cdef Fact fact
    cdef const uint8_t* p
    cdef Py_ssize_t n
    if not m.in_field:
        return 0
    m.in_field = 0
    if m.u8_need:
        flag(m, BAD_UTF8, m.line_start, m.field_packet)
        m.u8_need = 0
    take_excerpt(m)
    if m.interest == SUBJECT and mail.subject.n == 0:
        mail.subject = keep_unfolded(mail, &m.value)
    elif m.interest == FROM and mail.header_from.n == 0:
        mail.header_from = keep_unfolded(mail, &m.value)
    elif m.interest == TO and mail.header_to.n == 0:
        mail.header_to = keep_unfolded(mail, &m.value)
    elif m.interest == MESSAGE_ID and mail.message_id.n == 0:
        mail.message_id = keep_unfolded(mail, &m.value)
    elif m.interest == CONTENT_TYPE and m.type.n == 0:
        text_add(&m.type, m.value.p, m.value.n, KEPT_FIELD)
        m.type_at = m.value_at
        m.type_packet = m.field_packet
    elif m.interest == CONTENT_ENCODING and m.encoding.n == 0:
        text_add(&m.encoding, m.value.p, m.value.n, KEPT_FIELD)
    elif m.interest == CONTENT_DISPOSITION and m.disposition.n == 0:
        text_add(&m.disposition, m.value.p, m.value.n, KEPT_FIELD)
        m.disposition_at = m.value_at
        m.disposition_packet = m.field_packet
    if verdicts.program.n_of_kind[F_FIELD]:
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_FIELD
        fact.side = CLIENT
        fact.phase = phase_at(mail, m.field_at)
        fact.v[1] = m.level
        fact.v[2] = m.flags
        fact.t[0] = span(m.name, m.name_n)
        p = m.value.p
        n = m.value.n
        trim(&p, &n)
        fact.t[1] = span(p, n)
        fact.offset = m.field_at
        fact.packet = m.field_packet
        fact.length = 1
        fact.octets = span(m.excerpt, m.excerpt_n)
        if m.flags:
            memcpy(fact.flag_at, m.flag_at, sizeof(m.flag_at))
            memcpy(fact.flag_packet, m.flag_packet, sizeof(m.flag_packet))
        verdicts.judge(conn, mail, &fact)
    m.value.n = 0
    return 0


cdef void start_field(Mime* m, int64_t at, int64_t packet) noexcept nogil:
    m.in_field = 1
    m.in_value = 0
    m.interest = NOTHING
    m.name_n = 0
    m.flags = 0
    m.flagged = 0
    m.excerpt_n = 0
    m.u8_need = 0
    m.field_at = at
    m.field_packet = packet
    m.value.n = 0


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
    m.u8_low = 0x80
    m.u8_high = 0xBF
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


# --- limits on lines and counts -----------------------------------------------------------------

cdef inline void check_line(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int where, int64_t line_end) noexcept nogil:
    """The line has m.line_n octets by now, and a line end of `line_end` octets when it is over (0: not yet)."""
    if m.passed < verdicts.program.lines[where].n:
        line_limits(
            verdicts, conn, mail, where, CLIENT, NO_PHASE, m.line_start, m.line_n, line_end,
            span(m.head, m.head_n), &m.passed,
        )


cdef void count(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int what, int64_t before, int64_t n, int64_t offset) noexcept nogil:
    """A count grows from `before` by n octets that begin at `offset`."""
    cdef Limits* limits = &verdicts.program.counts[what]
    cdef Limit* limit
    cdef Fact fact
    while m.body_passed[what] < limits.n:
        limit = &limits.at[m.body_passed[what]]
        if before + n <= limit.limit:
            return
        m.body_passed[what] += 1
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_COUNT
        fact.side = CLIENT
        fact.v[0] = what
        fact.v[1] = limit.limit + 1
        fact.offset = offset + (limit.limit - before if limit.limit > before else 0)
        fact.length = 1
        fact.packet = verdicts.packet
        fact.phase = phase_at(mail, fact.offset)
        verdicts.judge_row(conn, mail, &fact, limit.row)


# --- parameters of Content-Type and Content-Disposition -------------------------------------------

cdef Py_ssize_t param(Text* value, const char* word, Py_ssize_t word_n, Text* out, Py_ssize_t* raw_at) noexcept nogil:
    """Append a parameter's octets to `out`, its continuations joined (RFC 2231 3); its length as sent, -1 when absent."""
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t n = value.n, i = 0, name, name_n, j, start, total = -1
    cdef bint coded, quoted, first
    cdef uint8_t c
    cdef int ticks
    while i < n and p[i] != 59:
        i += 1
    while i < n:
        i += 1                                     # behind the semicolon
        while i < n and (p[i] == 32 or p[i] == 9 or p[i] == 13 or p[i] == 10):
            i += 1
        name = i
        while i < n and p[i] != 61 and p[i] != 59:
            i += 1
        name_n = i - name
        while name_n and (p[name + name_n - 1] == 32 or p[name + name_n - 1] == 9):
            name_n -= 1
        if i >= n or p[i] == 59:
            continue
        i += 1
        while i < n and (p[i] == 32 or p[i] == 9 or p[i] == 13 or p[i] == 10):
            i += 1
        j = 0
        while j < word_n and j < name_n and lower(p[name + j]) == <uint8_t>word[j]:
            j += 1
        coded = False
        first = True
        if j == word_n and j < name_n and p[name + j] == 42:
            # word*, word*0, word*0*
            coded = p[name + name_n - 1] == 42
            j += 1
            first = j == name_n or p[name + j] == 48
            while j < name_n and (48 <= p[name + j] <= 57 or p[name + j] == 42):
                j += 1
        quoted = i < n and p[i] == 34
        if quoted:
            i += 1
        start = i
        if j != name_n or j < word_n:
            # another parameter
            while i < n and (p[i] != 34 if quoted else p[i] != 59):
                i += 2 if quoted and p[i] == 92 else 1
            while i < n and p[i] != 59:
                i += 1
            continue
        if total < 0:
            total = 0
            raw_at[0] = start
        if coded and first:
            # charset'language' comes first, where it comes
            j = i
            ticks = 0
            while j < n and p[j] != 59 and p[j] != 34 and ticks < 2:
                ticks += p[j] == 39
                j += 1
            if ticks == 2:
                total += j - i
                i = j
        while i < n:
            c = p[i]
            if quoted:
                if c == 34:
                    break
                if c == 92 and i + 1 < n:
                    i += 1
                    c = p[i]
            elif c == 59:
                break
            total += 1
            if c == 13 or c == 10:
                total -= 1
            else:
                if coded and c == 37 and i + 2 < n and hex_value(p[i + 1]) >= 0 and hex_value(p[i + 2]) >= 0:
                    c = <uint8_t>(hex_value(p[i + 1]) * 16 + hex_value(p[i + 2]))
                    i += 2
                    total += 2
                text_add(out, &c, 1, KEPT_FIELD)
            i += 1
        if not quoted:
            while out.n and (out.p[out.n - 1] == 32 or out.p[out.n - 1] == 9):
                out.n -= 1
                total -= 1
        while i < n and p[i] != 59:
            i += 1
    return total


cdef bint starts(Text* value, const char* word, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t have = value.n, i
    trim(&p, &have)
    if have < n:
        return False
    for i in range(n):
        if lower(p[i]) != <uint8_t>word[i]:
            return False
    return True


cdef Py_ssize_t token_n(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n and p[i] != 59 and p[i] != 32 and p[i] != 9 and p[i] != 13 and p[i] != 10:
        i += 1
    return i


cdef int end_header(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    """The empty line behind a header: what the part is, and what comes next."""
    cdef Fact fact
    cdef Py_ssize_t raw = -1, at = 0, n
    cdef const uint8_t* p
    cdef int64_t from_at, from_packet
    cdef uint32_t before
    end_field(verdicts, conn, mail, m)
    m.filename.n = 0
    raw = param(&m.disposition, b"filename", 8, &m.filename, &at)
    from_at = m.disposition_at
    from_packet = m.disposition_packet
    if raw < 0:
        raw = param(&m.type, b"name", 4, &m.filename, &at)
        from_at = m.type_at
        from_packet = m.type_packet
    if m.filename.n and mail.nnames < ATTACHMENTS:
        if mail.names == NULL:
            mail.names = <Piece*>calloc(ATTACHMENTS, sizeof(Piece))
        if mail.names != NULL:
            mail.names[mail.nnames] = text_piece(&mail.text, m.filename.p, m.filename.n, KEPT_FIELD)
            mail.nnames += 1
    if verdicts.program.n_of_kind[F_PART]:
        memset(&fact, 0, sizeof(Fact))
        fact.kind = F_PART
        fact.side = CLIENT
        p = m.type.p
        n = m.type.n
        trim(&p, &n)
        fact.t[0] = span(p, token_n(p, n))
        p = m.encoding.p
        n = m.encoding.n
        trim(&p, &n)
        fact.t[1] = span(p, token_n(p, n))
        fact.t[2] = span(m.filename.p, m.filename.n)
        fact.v[1] = raw if raw > 0 else 0
        fact.v[2] = m.depth
        fact.v[3] = m.parts
        fact.offset = from_at + at if raw >= 0 else m.line_start
        fact.packet = from_packet if raw >= 0 else verdicts.packet
        fact.length = fact.v[1]
        fact.octets = span(m.filename.p, m.filename.n)
        fact.phase = phase_at(mail, fact.offset)
        verdicts.judge(conn, mail, &fact)
    m.parts += 1
    m.mode = BODY
    if starts(&m.type, b"multipart/", 10):
        if m.depth == MIME_DEPTH:
            mail.doubt |= CAP
        else:
            before = m.boundaries.n
            param(&m.type, b"boundary", 8, &m.boundaries, &at)
            if 0 < m.boundaries.n - before <= BOUNDARY:
                m.boundary[m.depth].at = before
                m.boundary[m.depth].n = m.boundaries.n - before
                m.depth += 1
            else:
                m.boundaries.n = before
    elif starts(&m.type, b"message/rfc822", 14) and m.level < 255:
        # the message inside begins with a header of its own
        m.mode = PART_HEADER
        m.level += 1
    m.type.n = 0
    m.encoding.n = 0
    m.disposition.n = 0
    return 0


cdef bint is_boundary(Mime* m) noexcept nogil:
    """The line's head against the open boundaries, innermost first; opens or closes what it names."""
    cdef int i
    cdef Py_ssize_t n, rest
    cdef const uint8_t* p = m.value.p
    n = m.value.n
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


# --- octets ---------------------------------------------------------------------------------------

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


cdef int header_octets(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    """Octets of one header line, line end excluded; they may be a part of it."""
    cdef Py_ssize_t i = 0, end
    cdef int64_t packet = verdicts.packet
    if n == 0:
        return 0
    if m.line_n == 0:
        if m.unstuff and p[0] == 46:
            m.dot = 1
            m.line_n = 1
            keep_head(m, p, 1)
            p += 1
            n -= 1
            at += 1
            if n == 0:
                return 0
    if m.line_n == m.dot:
        # the line's first octet (behind a stuffed dot) decides
        if p[0] == 32 or p[0] == 9:
            if not m.in_field:
                start_field(m, m.line_start, packet)
                m.in_value = 1
            elif not m.in_value:
                m.in_value = 1                     # a field without colon goes on: its own line was judged
            if m.interest or verdicts.program.wants_value:
                text_add(&m.value, <const uint8_t*>b"\r\n", 2, KEPT_FIELD)
        else:
            end_field(verdicts, conn, mail, m)
            start_field(m, m.line_start, packet)
    keep_head(m, p, n)
    m.line_n += n
    if not m.in_value:
        while i < n:
            if p[i] == 58:
                if m.name_n == 0:
                    flag(m, BAD_NAME, at + i, packet)
                m.in_value = 1
                m.interest = <uint8_t>interest_of(m)
                i += 1
                m.value_at = at + i
                break
            if p[i] < 33 or p[i] > 126:
                flag(m, BAD_NAME, at + i, packet)
                see(m, p[i], at + i, packet)
            if m.name_n < NAME_LENGTH:
                m.name[m.name_n] = p[i]
                m.name_n += 1
            i += 1
    if m.interest or verdicts.program.wants_value:
        text_add(&m.value, p + i, n - i, KEPT_FIELD)
    end = n
    while i < end:
        if PLAIN[p[i]]:
            if m.u8_need:
                utf8(m, p[i], at + i, packet)
        else:
            see(m, p[i], at + i, packet)
            utf8(m, p[i], at + i, packet)
        i += 1
    follow_window(m, p, n)
    return 0


cdef int header_line_end(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int64_t at, bint crlf) noexcept nogil:
    """The LF at stream offset `at`."""
    cdef int where = IN_HEADER if m.mode == HEADER else IN_PART_HEADER
    check_line(verdicts, conn, mail, m, where, 2 if crlf else 1)
    if m.line_n == m.dot:
        # an empty line, or one that held a stuffed dot alone
        end_header(verdicts, conn, mail, m)
    else:
        if not crlf:
            flag(m, BARE_LF, at, verdicts.packet)
        if not m.in_value:
            flag(m, NO_COLON, m.line_start, m.field_packet)
        follow_window(m, NULL, 0)
        take_excerpt(m)
    return 0


cdef int feed_header(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    """Header octets; returns how many were read before the header ended."""
    cdef Py_ssize_t i = 0, end
    cdef const uint8_t* lf
    cdef int where = IN_HEADER if m.mode == HEADER else IN_PART_HEADER
    cdef int mode = m.mode
    cdef int64_t cr_packet
    cdef uint8_t cr = 13
    cdef bint crlf
    while i < n and m.mode == mode:
        if m.held_cr:
            m.held_cr = 0
            if p[i] == 10:
                header_line_end(verdicts, conn, mail, m, at + i, True)
                i += 1
                next_line(m, at + i)
                continue
            # that CR was an octet of the line
            cr_packet = verdicts.packet
            verdicts.packet = m.cr_packet
            header_octets(verdicts, conn, mail, m, &cr, 1, at + i - 1)
            check_line(verdicts, conn, mail, m, where, 0)
            verdicts.packet = cr_packet
        lf = <const uint8_t*>memchr(p + i, 10, n - i)
        end = lf - p if lf != NULL else n
        crlf = end > i and p[end - 1] == 13
        header_octets(verdicts, conn, mail, m, p + i, end - i - (1 if crlf else 0), at + i)
        if lf == NULL:
            if crlf:
                m.held_cr = 1
                m.cr_packet = verdicts.packet
            check_line(verdicts, conn, mail, m, where, 1 if crlf else 0)
            return <int>n
        header_line_end(verdicts, conn, mail, m, at + end, crlf)
        i = end + 1
        next_line(m, at + i)
    return <int>i


cdef void body_lines(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    """Only lines that could pass the next limit are looked at: jump that far, and look back for a line end."""
    cdef Limits* limits = &verdicts.program.lines[IN_BODY]
    cdef Py_ssize_t i = 0, reach, far
    cdef const uint8_t* lf
    cdef const uint8_t* earlier
    cdef bint crlf, was_cr = m.held_cr
    m.held_cr = 0
    if n and was_cr and p[0] != 10:
        m.line_n += 1                              # that CR was an octet of the line
        check_line(verdicts, conn, mail, m, IN_BODY, 0)
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
        lf = <const uint8_t*>memrchr(p + i, 10, reach)
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
                    check_line(verdicts, conn, mail, m, IN_BODY, 2 if crlf else 1)
            i = lf - p + 1
            next_line(m, at + i)
            continue
        keep_head(m, p + i, reach)
        m.line_n += reach
        i += reach
        if i == n and p[n - 1] == 13:
            m.held_cr = 1
            m.line_n -= 1
        check_line(verdicts, conn, mail, m, IN_BODY, 0)


cdef int feed_body(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    """Body octets up to the next part header; returns how many were read."""
    cdef Py_ssize_t i = 0
    cdef const uint8_t* lf
    if m.depth == 0:
        if verdicts.program.lines[IN_BODY].n:
            body_lines(verdicts, conn, mail, m, p, n, at)
        return <int>n
    while i < n:
        if not m.in_value:
            # at a line's first octet, or somewhere in a line that is no boundary
            if m.in_field == 0 and p[i] == 45:
                m.in_value = 1                     # may be a boundary: its head is kept
                m.value.n = 0
                continue
            i += scan_after_break(p + i, n - i, 45)
            if i < n and p[i - 1] == 10:
                m.in_field = 0
                continue
            if i < n:
                i += 1
                m.in_field = 1
                continue
            m.in_field = p[n - 1] != 10
            break
        lf = <const uint8_t*>memchr(p + i, 10, n - i)
        if lf == NULL:
            text_add(&m.value, p + i, n - i, BOUNDARY + 4)
            i = n
            break
        text_add(&m.value, p + i, lf - p - i, BOUNDARY + 4)
        i = lf - p + 1
        m.in_value = 0
        m.in_field = 0
        if is_boundary(m):
            m.value.n = 0
            if m.mode != BODY or m.depth == 0:
                break
        m.value.n = 0
    if verdicts.program.lines[IN_BODY].n:
        body_lines(verdicts, conn, mail, m, p, i, at)
    if m.mode != BODY:
        next_line(m, at + i)
    return <int>i


cdef void over_size(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
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
            count(verdicts, conn, mail, m, COUNT_OVER_SIZE, mail.plain - mail.declared, next_dot - i, at + i)
            mail.plain += next_dot - i
        m.at_line = 0
        if next_dot >= n:
            break
        i = next_dot + 1
    m.at_line = p[n - 1] == 10


cdef int mime_feed(Verdicts verdicts, Conn* conn, Mail* mail, const uint8_t* p, Py_ssize_t n, int64_t offset) noexcept nogil:
    cdef Mime* m = conn.talk.mime
    cdef Py_ssize_t i = 0, took
    if m == NULL or n <= 0:
        return 0
    mail.octets += n
    if mail.declared >= 0 and verdicts.program.counts[COUNT_OVER_SIZE].n:
        over_size(verdicts, conn, mail, m, p, n, offset)
    while i < n:
        if m.mode == BODY:
            took = feed_body(verdicts, conn, mail, m, p + i, n - i, offset + i)
            if verdicts.program.counts[COUNT_BODY].n:
                count(verdicts, conn, mail, m, COUNT_BODY, m.body_octets, took, offset + i)
            m.body_octets += took
        else:
            took = feed_header(verdicts, conn, mail, m, p + i, n - i, offset + i)
            if m.level == 0:
                if verdicts.program.counts[COUNT_HEADER].n:
                    count(verdicts, conn, mail, m, COUNT_HEADER, m.header_octets, took, offset + i)
                m.header_octets += took
            if m.mode == BODY:
                m.in_field = 0
                m.in_value = 0
                m.value.n = 0
        i += took
    return 0


cdef int mime_gap(Verdicts verdicts, Conn* conn, Mail* mail, int64_t n) noexcept nogil:
    cdef Mime* m = conn.talk.mime
    mail.octets += n
    mail.doubt |= GAP
    if m == NULL:
        return 0
    if m.mode != BODY:
        end_field(verdicts, conn, mail, m)
        # what the hole held is not known: take no line behind it for a field
        m.mode = BODY
    m.in_field = 1
    m.in_value = 0
    m.held_cr = 0
    m.passed = 255
    m.value.n = 0
    return 0


cdef int mime_end(Verdicts verdicts, Conn* conn, Mail* mail) noexcept nogil:
    cdef Mime* m = conn.talk.mime
    if m == NULL:
        return 0
    if m.mode != BODY:
        if m.in_field:
            end_field(verdicts, conn, mail, m)
        if m.type.n or m.disposition.n:
            end_header(verdicts, conn, mail, m)
    conn.talk.mime = NULL
    mime_free(m)
    return 0
