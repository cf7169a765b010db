"""Header fields with folding (RFC 5322 2.2): their octets, and what they say of a part."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memchr, memcpy

from smtpinspect._core.attachments cimport part_begins
from smtpinspect._core.lines cimport phase_at
from smtpinspect._core.marks cimport flag, follow_window, see, take_excerpt, utf8
from smtpinspect._core.mimelines cimport BODY, check_line, count_octets, HEADER, keep_head, next_line, PART_HEADER
from smtpinspect._core.octets cimport lower
from smtpinspect._core.params cimport first_token, param, starts, trim
from smtpinspect._core.plain cimport plain_field
from smtpinspect._core.rows cimport (
    COUNT_TO_ADDRESSES, F_FIELD, F_PART, fact_begin, IN_HEADER, IN_PART_HEADER, Limits, name_bit,
)
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport (
    CLIENT, Conn, DOUBT_CAP, Fact, Mail, Mime, MIME_DEPTH, NAME_LENGTH, Piece, Text,
)
from smtpinspect._core.text cimport text_add, text_piece
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.facts import Octets as _Octets
from smtpinspect.grammar import limits as _limits

assert _limits.NAME_LENGTH == NAME_LENGTH and _limits.MIME_DEPTH == MIME_DEPTH

cdef uint32_t KEPT_FIELD = _limits.KEPT_FIELD
cdef uint32_t BOUNDARY = _limits.BOUNDARY
cdef uint16_t ATTACHMENTS = _limits.ATTACHMENTS

cdef enum:          # Interest
    NOTHING = 0
    SUBJECT = 1
    FROM = 2
    TO = 3
    MESSAGE_ID = 4
    CONTENT_TYPE = 5
    CONTENT_ENCODING = 6
    CONTENT_DISPOSITION = 7
    OF_A_RULE = 8              # only a row reads the value

# octet classes that a whole line has, as bits of facts.Octets
cdef int BAD_UTF8 = int(_Octets.BAD_UTF8)
cdef int BARE_LF = int(_Octets.BARE_LF)
cdef int BAD_NAME = int(_Octets.BAD_NAME)
cdef int NO_COLON = int(_Octets.NO_COLON)


cdef bint is_name(Mime* m, const char* word, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if m.name_n != n:
        return False
    for i in range(n):
        if lower(m.name[i]) != <uint8_t>word[i]:
            return False
    return True


cdef int interest_of(Mime* m) noexcept nogil:
    cdef int n = m.name_n
    if m.level == 0:
        if n == 7 and is_name(m, b"subject", 7):
            return SUBJECT
        if n == 4 and is_name(m, b"from", 4):
            return FROM
        if n == 2 and is_name(m, b"to", 2):
            return TO
        if n == 10 and is_name(m, b"message-id", 10):
            return MESSAGE_ID
    if n == 12 and is_name(m, b"content-type", 12):
        return CONTENT_TYPE
    if n == 25 and is_name(m, b"content-transfer-encoding", 25):
        return CONTENT_ENCODING
    if n == 19 and is_name(m, b"content-disposition", 19):
        return CONTENT_DISPOSITION
    return NOTHING


cdef inline bint is_wanted(Mime* m, uint64_t names) noexcept nogil:
    """Is the open field's name among those that rows ask for?"""
    return names != 0 and (names & name_bit(m.name, m.name_n)) != 0


cdef Piece keep_unfolded(Mail* mail, Text* value) noexcept nogil:
    """The value without its line ends, blanks trimmed, in the mail's own memory."""
    cdef Piece made
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t n = value.n, i = 0, end
    cdef uint32_t start = mail.text.n
    trim(&p, &n)
    while i < n:
        end = i + <Py_ssize_t>plain_field(p + i, n - i)
        if end == i and p[i] != 13 and p[i] != 10:
            end += 1
        text_add(&mail.text, p + i, end - i, <uint32_t>0xFFFFFFF0)
        i = end + 1 if end < n and (p[end] == 13 or p[end] == 10) else end
    made.at = start
    made.n = mail.text.n - start
    return made


cdef void field_kept(Mail* mail, Mime* m) noexcept nogil:
    """What a record or the part's description needs of it; the first of a name counts."""
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
        m.encoding_at = m.value_at
        m.encoding_packet = m.field_packet
    elif m.interest == CONTENT_DISPOSITION and m.disposition.n == 0:
        text_add(&m.disposition, m.value.p, m.value.n, KEPT_FIELD)
        m.disposition_at = m.value_at
        m.disposition_packet = m.field_packet


cdef int field_end(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
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
    if m.interest:
        field_kept(mail, m)
    if m.flags & verdicts.program.flags_wanted[F_FIELD] or is_wanted(m, verdicts.program.names_wanted[F_FIELD]):
        fact_begin(&fact, F_FIELD, CLIENT, phase_at(mail, m.field_at))
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


cdef void field_start(Mime* m, int64_t at, int64_t packet) noexcept nogil:
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


cdef void value_start(Verdicts verdicts, Mime* m, int64_t at) noexcept nogil:
    """Behind the colon."""
    m.in_value = 1
    m.interest = <uint8_t>interest_of(m)
    if not m.interest and is_wanted(m, verdicts.program.values_wanted):
        m.interest = OF_A_RULE
    m.comment = m.quoted = m.escaped = m.angle = m.counted = 0
    m.value_at = at


cdef void part_places(Mime* m, Fact* fact, int64_t packet) noexcept nogil:
    """Where the words for type and encoding stand; what is absent is so at the empty line."""
    fact.flag_at[0] = m.line_start
    fact.flag_at[1] = m.line_start
    fact.flag_packet[0] = packet
    fact.flag_packet[1] = packet
    if fact.t[0].n:
        fact.flag_at[0] = m.type_at + (fact.t[0].p - m.type.p)
        fact.flag_packet[0] = m.type_packet
    if fact.t[1].n:
        fact.flag_at[1] = m.encoding_at + (fact.t[1].p - m.encoding.p)
        fact.flag_packet[1] = m.encoding_packet


cdef void to_addresses(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    """Octets of a To field: an address counts at its first @ outside quotes and comments (RFC 5322 3.4)."""
    cdef Py_ssize_t i
    cdef int64_t line_n
    cdef Span line
    cdef uint8_t c
    for i in range(n):
        c = p[i]
        if m.escaped:
            m.escaped = 0
        elif m.quoted:
            m.escaped = c == 92
            m.quoted = c != 34
        elif c == 40 and m.comment < 255:
            m.comment += 1
        elif m.comment:
            m.escaped = c == 92
            m.comment -= c == 41
        elif c == 34:
            m.quoted = 1
        elif c == 60 or c == 62:
            m.angle = c == 60
        elif (c == 44 and not m.angle) or c == 59:
            m.counted = 0
            m.angle = 0
        elif c == 64 and not m.counted:
            m.counted = 1
            line_n = at + i + 1 - m.line_start
            line = span(m.head, m.head_n if line_n > m.head_n else <Py_ssize_t>line_n)
            count_octets(verdicts, conn, mail, m, COUNT_TO_ADDRESSES, m.addresses, 1, at + i, line)
            m.addresses += 1


cdef int end_header(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    """The empty line behind a header: what the part is, and what comes next."""
    cdef Fact fact
    cdef Py_ssize_t raw = -1, at = 0
    cdef int64_t from_at, from_packet
    cdef uint32_t before
    field_end(verdicts, conn, mail, m)
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
        fact_begin(&fact, F_PART, CLIENT, 0)
        fact.t[0] = first_token(&m.type)
        fact.t[1] = first_token(&m.encoding)
        fact.t[2] = span(m.filename.p, m.filename.n)
        fact.v[1] = raw if raw > 0 else 0
        fact.v[2] = m.depth
        fact.v[3] = m.parts
        fact.offset = from_at + at if raw >= 0 else m.line_start
        fact.packet = from_packet if raw >= 0 else verdicts.packet
        fact.length = fact.v[1]
        fact.octets = span(m.filename.p, m.filename.n)
        fact.phase = phase_at(mail, fact.offset)
        part_places(m, &fact, verdicts.packet)
        verdicts.judge(conn, mail, &fact)
    m.parts += 1
    m.mode = BODY
    if starts(&m.type, b"multipart/", 10):
        if m.depth == MIME_DEPTH:
            mail.doubt |= DOUBT_CAP
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
    else:
        part_begins(verdicts, m)
    m.type.n = m.encoding.n = m.disposition.n = 0
    return 0


cdef int header_octets(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at, int64_t packet,
) noexcept nogil:
    """Octets of one header line, line end excluded; they may be a part of it."""
    cdef Py_ssize_t i = 0
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
                field_start(m, m.line_start, packet)
            if not m.in_value:
                m.in_value = 1                     # a field without colon goes on: its own line was judged
                if is_wanted(m, verdicts.program.values_wanted):
                    m.interest = OF_A_RULE
            if m.interest:
                text_add(&m.value, <const uint8_t*>b"\r\n", 2, KEPT_FIELD)
        else:
            field_end(verdicts, conn, mail, m)
            field_start(m, m.line_start, packet)
    keep_head(m, p, n)
    m.line_n += n
    if not m.in_value:
        while i < n:
            if p[i] == 58:
                if m.name_n == 0:
                    flag(m, BAD_NAME, at + i, packet)
                i += 1
                value_start(verdicts, m, at + i)
                break
            if p[i] < 33 or p[i] > 126:
                flag(m, BAD_NAME, at + i, packet)
                see(m, p[i], at + i, packet)
            if m.name_n < NAME_LENGTH:
                m.name[m.name_n] = p[i]
                m.name_n += 1
            i += 1
    if m.interest:
        text_add(&m.value, p + i, n - i, KEPT_FIELD)
    if m.interest == TO and verdicts.program.counts[COUNT_TO_ADDRESSES].n:
        to_addresses(verdicts, conn, mail, m, p + i, n - i, at + i)
    while i < n:
        if not m.u8_need:
            i += <Py_ssize_t>plain_field(p + i, n - i)
            if i == n:
                break
        see(m, p[i], at + i, packet)
        utf8(m, p[i], at + i, packet)
        i += 1
    follow_window(m, p, n)
    return 0


cdef bint plain_line(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at, int where,
) noexcept nogil:
    """A whole line of plain octets, its CRLF excluded; False when it may set a flag or pass a limit."""
    cdef Limits* limits = &verdicts.program.lines[where]
    cdef Py_ssize_t i = 0
    if n == 0 or (limits.n and n + 2 > limits.at[0].limit) or (m.unstuff and p[0] == 46):
        return False
    if p[0] == 32 or p[0] == 9:
        if not m.in_value or not m.in_field or m.u8_need:
            return False
        if m.interest:
            text_add(&m.value, <const uint8_t*>b"\r\n", 2, KEPT_FIELD)
    else:
        while i < n and p[i] > 32 and p[i] != 58:
            i += 1
        if i == 0 or i == n or p[i] != 58:
            return False
        field_end(verdicts, conn, mail, m)
        field_start(m, at, verdicts.packet)
        m.name_n = <uint8_t>(i if i < NAME_LENGTH else NAME_LENGTH)
        memcpy(m.name, p, m.name_n)
        i += 1
        value_start(verdicts, m, at + i)
    if m.interest:
        text_add(&m.value, p + i, n - i, KEPT_FIELD)
    if m.interest == TO and verdicts.program.counts[COUNT_TO_ADDRESSES].n:
        keep_head(m, p, n)
        to_addresses(verdicts, conn, mail, m, p + i, n - i, at + i)
    return True


cdef int header_line_end(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, int64_t at, bint crlf) noexcept nogil:
    """The LF at stream offset `at`."""
    cdef int where = IN_HEADER if m.mode == HEADER else IN_PART_HEADER
    check_line(verdicts, conn, mail, m, where, 2 if crlf else 1, verdicts.packet)
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


cdef int header_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil:
    """Header octets; returns how many were read before the header ended."""
    cdef Py_ssize_t i = 0, end
    cdef const uint8_t* lf
    cdef int where = IN_HEADER if m.mode == HEADER else IN_PART_HEADER
    cdef int mode = m.mode
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
            header_octets(verdicts, conn, mail, m, &cr, 1, at + i - 1, m.cr_packet)
            check_line(verdicts, conn, mail, m, where, 0, m.cr_packet)
        if m.line_n == 0:
            end = i + <Py_ssize_t>plain_field(p + i, n - i)
            if n - end > 1 and p[end] == 13 and p[end + 1] == 10 and plain_line(
                    verdicts, conn, mail, m, p + i, end - i, at + i, where):
                i = end + 2
                next_line(m, at + i)
                continue
        lf = <const uint8_t*>memchr(p + i, 10, n - i)
        end = lf - p if lf != NULL else n
        crlf = end > i and p[end - 1] == 13
        header_octets(verdicts, conn, mail, m, p + i, end - i - (1 if crlf else 0), at + i, verdicts.packet)
        if lf == NULL:
            if crlf:
                m.held_cr = 1
                m.cr_packet = verdicts.packet
            check_line(verdicts, conn, mail, m, where, 1 if crlf else 0, verdicts.packet)
            return <int>n
        header_line_end(verdicts, conn, mail, m, at + end, crlf)
        i = end + 1
        next_line(m, at + i)
    return <int>i
