"""The parts of a mail: what their octets decode to goes to the scanner, what it finds becomes a fact.

A part costs nothing before its first decoded octet, and nothing once the scanner has seen enough.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memmove, strlen

from smtpinspect._core.content cimport (
    Content, content_done, content_end, content_feed, content_free, content_limited, content_new, content_skip,
    content_skips,
)
from smtpinspect._core.decoding cimport (
    AS_IS, BASE64, BURST, decode, Decoding, decoding_skip, decoding_start, decoding_where, QUOTED_PRINTABLE, UUENCODE,
)
from smtpinspect._core.finding cimport Finding, found_nothing
from smtpinspect._core.lines cimport phase_at
from smtpinspect._core.octets cimport is_blank, lower
from smtpinspect._core.params cimport first_token, starts
from smtpinspect._core.rows cimport F_CONTENT, fact_begin
from smtpinspect._core.scan cimport scan_after_break
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport CLIENT, Conn, DOUBT_CAP, EXCERPT, Fact, Mail, Mime, Track
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.grammar import limits as _limits

cdef enum:
    BEGIN_LINE = 320           # limits.BEGIN_LINE
    DECODED = 4096             # octets that are decoded at a time

assert _limits.BEGIN_LINE == BEGIN_LINE

cdef struct Part:
    Content* content
    Decoding decoding
    int64_t last_at            # of the last octet that was fed
    int64_t last_packet
    uint8_t tail_n
    uint8_t tail[EXCERPT]      # the last octets as sent: evidence
    uint32_t line_n            # LINES: octets so far of a line that may be `begin`; 0 none
    uint8_t line[BEGIN_LINE]
    uint32_t name_n            # of what is uuencoded
    uint8_t name[BEGIN_LINE]

# May something that a scanner knows begin with this octet?
cdef uint8_t[256] MAGIC


def _ask_scanner():
    cdef Content* content
    cdef Finding found
    cdef uint8_t c
    for i in range(256):
        c = i
        content = content_new(0xFFFFFFFF, NULL)
        if content == NULL:
            raise MemoryError
        content_feed(content, &c, 1, &found)
        MAGIC[i] = not content_done(content)
        content_free(content)


_ask_scanner()


cdef bint is_token(Span token, const char* word) noexcept nogil:
    cdef Py_ssize_t i
    if token.n != <Py_ssize_t>strlen(word):
        return False
    for i in range(token.n):
        if lower(token.p[i]) != <uint8_t>word[i]:
            return False
    return True


cdef void part_begins(Verdicts verdicts, Mime* m) noexcept nogil:
    cdef Span token
    part_free(m)
    if verdicts.program.wants_content == 0:
        return
    token = first_token(&m.encoding)
    m.as_sent.state = FRESH
    m.as_sent.encoding = AS_IS
    m.in_lines.encoding = UUENCODE
    m.in_lines.at_line = 1
    if is_token(token, b"base64"):
        m.as_sent.encoding = BASE64
    elif is_token(token, b"quoted-printable"):
        m.as_sent.encoding = QUOTED_PRINTABLE
    elif is_token(token, b"x-uuencode") or is_token(token, b"uuencode") or is_token(token, b"x-uue"):
        m.as_sent.state = NOT_JUDGED
        m.in_lines.state = LINES
    elif m.type.n == 0 or starts(&m.type, b"text/", 5):
        m.in_lines.state = LINES


cdef void track_free(Track* track) noexcept nogil:
    cdef Part* part = <Part*>track.part
    track.state = NOT_JUDGED
    track.part = NULL
    if part != NULL:
        content_free(part.content)
        free(part)


cdef void part_free(Mime* m) noexcept nogil:
    track_free(&m.as_sent)
    track_free(&m.in_lines)


cdef void close_contents(Mail* mail, Track* track, bint at_line) noexcept nogil:
    """Nothing that is still to come of these contents matters; behind uuencoded ones others may come."""
    if content_limited((<Part*>track.part).content):
        mail.doubt |= DOUBT_CAP
    track_free(track)
    if track.encoding == UUENCODE:
        track.state = LINES
        track.at_line = at_line


cdef Part* open_part(Verdicts verdicts, Mail* mail, Mime* m, Track* track) noexcept nogil:
    """A scanner and a decoder; NULL when there is no memory for them: the part is not judged then."""
    cdef Part* part = <Part*>track.part
    if part == NULL:
        part = <Part*>calloc(1, sizeof(Part))
        track.part = part
    if part != NULL:
        part.content = content_new(verdicts.program.wants_content, &track.inflated)
    if part == NULL or part.content == NULL:
        mail.doubt |= DOUBT_CAP
        track_free(track)
        return NULL
    decoding_start(&part.decoding, track.encoding, m.unstuff)
    part.tail_n = 0
    track.state = SCANNED
    return part


cdef void keep_tail(Part* part, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t stay
    if n >= EXCERPT:
        memcpy(part.tail, p + n - EXCERPT, EXCERPT)
        part.tail_n = EXCERPT
        return
    stay = part.tail_n if part.tail_n + n <= EXCERPT else EXCERPT - n
    memmove(part.tail, part.tail + part.tail_n - stay, stay)
    memcpy(part.tail + stay, p, n)
    part.tail_n = <uint8_t>(stay + n)


cdef void tell(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const Part* part, Finding* found, int64_t offset,
    int64_t packet,
) noexcept nogil:
    """The deciding octet is the tail's last."""
    cdef Fact fact
    fact_begin(&fact, F_CONTENT, CLIENT, phase_at(mail, offset))
    fact.v[0] = found.kind
    fact.v[1] = found.depth
    fact.t[0] = span(<const uint8_t*>found.detail, strlen(found.detail))
    fact.t[1] = span(<const uint8_t*>found.evidence, strlen(found.evidence))
    if found.name_n:
        fact.t[2] = span(found.name, found.name_n)
    elif part.name_n:
        fact.t[2] = span(part.name, part.name_n)
    else:
        fact.t[2] = span(m.filename.p, m.filename.n)
    fact.offset = offset
    fact.length = 1
    fact.packet = packet
    fact.octets = span(part.tail, part.tail_n)
    verdicts.judge(conn, mail, &fact)


cdef Py_ssize_t fresh(
    Verdicts verdicts, Mail* mail, Mime* m, Track* track, const uint8_t* p, Py_ssize_t n,
) noexcept nogil:
    """Most parts hold nothing that is looked for: their first octet tells, before anything is kept."""
    cdef Decoding decoding
    cdef uint8_t out[BURST]
    cdef Py_ssize_t i = 0, made = 0
    decoding_start(&decoding, track.encoding, m.unstuff)
    while i < n and made == 0:
        decode(&decoding, p + i, 1, out, BURST, &made)
        i += 1
    if made == 0 or MAGIC[out[0]]:
        open_part(verdicts, mail, m, track)
        return 0
    track.state = NOT_JUDGED
    return i


cdef Py_ssize_t scan(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, Track* track, const uint8_t* p, Py_ssize_t n, int64_t at,
    int64_t packet,
) noexcept nogil:
    """Octets for the scanner; returns how many were read before it had seen enough."""
    cdef Part* part = <Part*>track.part
    cdef Decoding before
    cdef Finding found
    cdef uint8_t out[DECODED]
    cdef Py_ssize_t i = 0, kept = 0, k, used, took, made, where
    cdef int64_t skips, passed
    while i < n:
        skips = content_skips(part.content)
        if skips:
            took = decoding_skip(&part.decoding, p + i, n - i, skips, &passed)
            if passed:
                content_skip(part.content, passed)
            if took:
                i += took
                continue
        before = part.decoding
        took = decode(&part.decoding, p + i, n - i, out, DECODED, &made)
        if part.decoding.over and took == 0:
            # the lines of uuencode are over
            keep_tail(part, p + kept, i - kept)
            if i:
                part.last_at = at + i - 1
                part.last_packet = packet
            end_contents(verdicts, conn, mail, m, part)
            close_contents(mail, track, True)
            return i
        k = 0
        while k < made:
            skips = content_skips(part.content)
            if skips:
                used = made - k if made - k < skips else <Py_ssize_t>skips
                content_skip(part.content, used)
                k += used
                continue
            found_nothing(&found)
            used = content_feed(part.content, out + k, made - k, &found)
            k += used
            if found.kind >= 0:
                where = i + decoding_where(&before, p + i, took, k - 1)
                keep_tail(part, p + kept, where + 1 - kept)
                kept = where + 1
                while found.kind >= 0:
                    tell(verdicts, conn, mail, m, part, &found, at + where, packet)
                    content_feed(part.content, out + k, 0, &found)
            if content_done(part.content):
                close_contents(mail, track, p[i + took - 1] == 10)
                return i + took
        i += took
    keep_tail(part, p + kept, n - kept)
    part.last_at = at + n - 1
    part.last_packet = packet
    return n


cdef void end_contents(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, Part* part) noexcept nogil:
    """What the end itself shows is decided by the last octet."""
    cdef Finding found
    found_nothing(&found)
    content_end(part.content, &found)
    while found.kind >= 0:
        tell(verdicts, conn, mail, m, part, &found, part.last_at, part.last_packet)
        content_end(part.content, &found)


cdef bint begins(Verdicts verdicts, Mail* mail, Mime* m, Track* track) noexcept nogil:
    """A whole line: `begin`, an octal mode, a name."""
    cdef Part* part = <Part*>track.part
    cdef Py_ssize_t n = part.line_n, i = 6, name
    while n and (is_blank(part.line[n - 1]) or part.line[n - 1] == 13):
        n -= 1
    while i < n and 48 <= part.line[i] <= 55:
        i += 1
    if not 8 < i < 12 or i >= n or not is_blank(part.line[i]):
        return False
    while i < n and is_blank(part.line[i]):
        i += 1
    name = i
    if open_part(verdicts, mail, m, track) == NULL:
        return False
    part.name_n = <uint32_t>(n - name)
    memcpy(part.name, part.line + name, n - name)
    part.line_n = 0
    return True


cdef Py_ssize_t lines(
    Verdicts verdicts, Mail* mail, Mime* m, Track* track, const uint8_t* p, Py_ssize_t n,
) noexcept nogil:
    """Octets of a text up to and including a `begin` line; a line that octets part is kept."""
    cdef const char* word = b"begin "
    cdef Part* part = <Part*>track.part
    cdef Py_ssize_t i = 0, next_b, have
    while i < n:
        if part != NULL and part.line_n:
            have = part.line_n
            if p[i] == 10:
                i += 1
                track.at_line = 1
                if have > 6 and begins(verdicts, mail, m, track):
                    return i
                if track.state != LINES:
                    return n
                part.line_n = 0
                continue
            if have < 6 and p[i] != <uint8_t>word[have]:
                part.line_n = 0
                track.at_line = 0
                continue
            if have < BEGIN_LINE:
                part.line[have] = p[i]
                part.line_n += 1
            i += 1
            continue
        if track.at_line and p[i] == 98:
            have = n - i if n - i < 6 else 6
            if memcmp(p + i, word, have) == 0:
                if part == NULL:
                    part = <Part*>calloc(1, sizeof(Part))
                    track.part = part
                if part == NULL:
                    track_free(track)
                    return n
                part.line[0] = 98
                part.line_n = 1
                i += 1
                continue
        next_b = i + <Py_ssize_t>scan_after_break(p + i, n - i, 98)
        i = next_b
        track.at_line = p[i - 1] == 10
    return n


cdef void track_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, Track* track, const uint8_t* p, Py_ssize_t n, int64_t at,
    int64_t packet,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n and track.state != NOT_JUDGED:
        if track.state == SCANNED:
            i += scan(verdicts, conn, mail, m, track, p + i, n - i, at + i, packet)
        elif track.state == LINES:
            i += lines(verdicts, mail, m, track, p + i, n - i)
        else:
            i += fresh(verdicts, mail, m, track, p + i, n - i)


cdef void part_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at, int64_t packet,
) noexcept nogil:
    track_feed(verdicts, conn, mail, m, &m.as_sent, p, n, at, packet)
    track_feed(verdicts, conn, mail, m, &m.in_lines, p, n, at, packet)


cdef void track_ends(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, Track* track) noexcept nogil:
    if track.state == SCANNED:
        end_contents(verdicts, conn, mail, m, <Part*>track.part)
        close_contents(mail, track, False)
    track_free(track)


cdef void part_ends(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil:
    track_ends(verdicts, conn, mail, m, &m.as_sent)
    track_ends(verdicts, conn, mail, m, &m.in_lines)
