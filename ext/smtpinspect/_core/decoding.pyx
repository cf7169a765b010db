"""Transfer encodings undone as the octets pass, each octet as soon as its bits are there.

`step` is what an encoding means, octet by octet; the rest are short cuts that come to the same.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcpy

from smtpinspect._core.octets cimport hex_value
from smtpinspect._core.scan cimport scan_after_break

cdef extern from "alphabet.h":
    size_t alphabet_count(const uint8_t* p, size_t n, int* padded) nogil

cdef enum:
    NO_DIGIT = 64              # of base64
    PAD = 65
    QUICK = 64                 # fewer octets are not worth a short cut

cdef enum:                     # Decoding.have, quoted-printable
    Q_PLAIN = 0
    Q_EQUALS = 1
    Q_DIGIT = 2
    Q_CR = 3                   # behind the equals sign

cdef enum:                     # Decoding.have, uuencode: characters of the open group, or
    U_LENGTH = 4               # the next octet tells the line's length
    U_REST = 5                 # of a line that has given all it announced

cdef uint8_t[256] DIGIT


def _fill():
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for i in range(256):
        DIGIT[i] = NO_DIGIT
    for i, letter in enumerate(letters):
        DIGIT[letter] = i
    DIGIT[61] = PAD


_fill()


cdef void decoding_start(Decoding* d, int encoding, bint unstuff) noexcept nogil:
    d.encoding = <uint8_t>encoding
    d.unstuff = unstuff
    d.at_line = 1
    d.have = U_LENGTH if encoding == UUENCODE else 0
    d.bits = 0
    d.left = 0
    d.over = 0


cdef inline int sixth(Decoding* d, uint8_t v, uint8_t* out) noexcept nogil:
    """Six more bits: an octet is there with the second, third and fourth character of a group."""
    if d.have == 0:
        d.bits = v
        d.have = 1
        return 0
    if d.have == 1:
        out[0] = <uint8_t>((d.bits << 2) | (v >> 4))
        d.bits = v & 15
        d.have = 2
    elif d.have == 2:
        out[0] = <uint8_t>((d.bits << 4) | (v >> 2))
        d.bits = v & 3
        d.have = 3
    else:
        out[0] = <uint8_t>((d.bits << 6) | v)
        d.have = 0
    return 1


cdef inline int step64(Decoding* d, uint8_t c, uint8_t* out) noexcept nogil:
    cdef uint8_t v = DIGIT[c]
    if v < NO_DIGIT:
        return sixth(d, v, out)
    if v == PAD:
        d.have = 0                                 # what follows is a group of its own
    return 0


cdef int step_quoted(Decoding* d, uint8_t c, uint8_t* out) noexcept nogil:
    """RFC 2045 6.7; what is no escape is passed as it is."""
    cdef int n = 0
    if d.have == Q_EQUALS:
        if c == 10:
            d.have = Q_PLAIN
            return 0
        if c == 13:
            d.have = Q_CR
            return 0
        if hex_value(c) >= 0:
            d.have = Q_DIGIT
            d.bits = c
            return 0
        out[0] = 61
        n = 1
    elif d.have == Q_DIGIT:
        if hex_value(c) >= 0:
            out[0] = <uint8_t>(hex_value(d.bits) * 16 + hex_value(c))
            d.have = Q_PLAIN
            return 1
        out[0] = 61
        out[1] = d.bits
        n = 2
    elif d.have == Q_CR:
        if c == 10:
            d.have = Q_PLAIN
            return 0
        out[0] = 61
        out[1] = 13
        n = 2
    d.have = Q_PLAIN
    if c == 61:
        d.have = Q_EQUALS
        return n
    out[n] = c
    return n + 1


cdef int step_uu(Decoding* d, uint8_t c, uint8_t* out) noexcept nogil:
    """POSIX uuencode: a character tells the line's octets; blanks that were lost at its end are zeros."""
    cdef int n = 0, made
    if d.have == U_LENGTH:
        if c == 10 or c == 13:
            return 0
        d.left = (c - 32) & 63 if 32 <= c <= 96 else 0
        d.have = 0 if d.left else U_REST
        return 0
    if c == 10:
        while d.left:
            made = sixth(d, 0, out + n)
            n += made
            d.left -= <uint8_t>made
        d.have = U_LENGTH
        return n
    if d.have == U_REST or c < 32:
        return 0
    n = sixth(d, (c - 32) & 63, out)
    d.left -= <uint8_t>n
    if d.left == 0:
        d.have = U_REST
    return n


cdef inline int step(Decoding* d, uint8_t c, uint8_t* out) noexcept nogil:
    """One wire octet: how many octets came out of it."""
    cdef bint first = d.at_line
    if d.encoding == BASE64:
        return step64(d, c, out)
    d.at_line = c == 10
    if first and d.unstuff and c == 46:
        return 0
    if d.encoding == QUOTED_PRINTABLE:
        return step_quoted(d, c, out)
    if d.encoding == UUENCODE:
        return step_uu(d, c, out)
    out[0] = c
    return 1


cdef inline bint ends(const Decoding* d, uint8_t c) noexcept nogil:
    """A line that begins so is no data: `end`, or the next `begin`."""
    return d.encoding == UUENCODE and d.have == U_LENGTH and (c == 101 or c == 98)


cdef Py_ssize_t run_of(const Decoding* d, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """Octets before the next dot that stuffing added; the first is none."""
    cdef Py_ssize_t i
    if not d.unstuff:
        return n
    i = <Py_ssize_t>scan_after_break(p, n, 46)
    while i < n and p[i - 1] != 10:
        i += <Py_ssize_t>scan_after_break(p + i, n - i, 46)
    return i


cdef Py_ssize_t decode(
    Decoding* d, const uint8_t* p, Py_ssize_t n, uint8_t* out, Py_ssize_t room, Py_ssize_t* made,
) noexcept nogil:
    cdef Py_ssize_t i = 0, k = 0, run
    cdef uint8_t a, b, c, e
    cdef const uint8_t* found
    while i < n and room - k >= BURST:
        if d.encoding == BASE64:
            while d.have == 0 and i + 4 <= n and k + 3 <= room:
                a = DIGIT[p[i]]
                b = DIGIT[p[i + 1]]
                c = DIGIT[p[i + 2]]
                e = DIGIT[p[i + 3]]
                if (a | b | c | e) >= NO_DIGIT:
                    break
                out[k] = <uint8_t>((a << 2) | (b >> 4))
                out[k + 1] = <uint8_t>((b << 4) | (c >> 2))
                out[k + 2] = <uint8_t>((c << 6) | e)
                k += 3
                i += 4
            if i < n and k < room:
                k += step64(d, p[i], out + k)
                i += 1
            continue
        if (d.encoding == AS_IS or (d.encoding == QUOTED_PRINTABLE and d.have == Q_PLAIN)) and not d.at_line:
            run = n - i if n - i < room - k else room - k
            if d.encoding == QUOTED_PRINTABLE:
                found = <const uint8_t*>memchr(p + i, 61, run)
                if found != NULL:
                    run = found - (p + i)
            if run:
                run = run_of(d, p + i, run)
                memcpy(out + k, p + i, run)
                i += run
                k += run
                d.at_line = p[i - 1] == 10
                continue
        if ends(d, p[i]):
            d.over = 1
            break
        k += step(d, p[i], out + k)
        i += 1
    made[0] = k
    return i


cdef Py_ssize_t skip64(Decoding* d, const uint8_t* p, Py_ssize_t n, int64_t* passed) noexcept nogil:
    """Count characters; only the last one matters for what comes next."""
    cdef Py_ssize_t i, count
    cdef int padded = 0
    cdef uint8_t nothing[BURST]
    count = <Py_ssize_t>alphabet_count(p, n, &padded)
    if padded:
        for i in range(n):
            passed[0] += step64(d, p[i], nothing)
        return n
    if count == 0:
        return n
    passed[0] += (d.have + count) * 3 // 4 - d.have * 3 // 4
    d.have = <uint8_t>((d.have + count) & 3)
    i = n - 1
    while DIGIT[p[i]] >= NO_DIGIT:
        i -= 1
    d.bits = DIGIT[p[i]]
    if d.have == 2:
        d.bits &= 15
    elif d.have == 3:
        d.bits &= 3
    return n


cdef Py_ssize_t decoding_skip(
    Decoding* d, const uint8_t* p, Py_ssize_t n, int64_t most, int64_t* passed,
) noexcept nogil:
    cdef Py_ssize_t i = 0, run
    passed[0] = 0
    if d.encoding != BASE64 and d.encoding != AS_IS:
        return 0
    while i < n:
        # no octet makes more than one
        run = n - i
        if run > most - passed[0]:
            run = <Py_ssize_t>(most - passed[0])
        if run < QUICK:
            break
        if d.encoding == BASE64:
            i += skip64(d, p + i, run, passed)
            continue
        if d.at_line and d.unstuff and p[i] == 46:
            d.at_line = 0
            i += 1
            continue
        run = run_of(d, p + i, run)
        i += run
        passed[0] += run
        d.at_line = p[i - 1] == 10
    return i


cdef Py_ssize_t decoding_where(const Decoding* before, const uint8_t* p, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef Decoding d = before[0]
    cdef Py_ssize_t i, made = 0
    cdef uint8_t nothing[BURST]
    for i in range(n):
        made += step(&d, p[i], nothing)
        if made > k:
            return i
    return n - 1


_ENCODINGS = {"8bit": AS_IS, "base64": BASE64, "quoted-printable": QUOTED_PRINTABLE, "uuencode": UUENCODE}


cdef class Decoder:
    """For tests: one part's octets, in pieces of any size."""

    cdef Decoding state
    cdef readonly list positions
    cdef int64_t at

    def __init__(self, str encoding, bint unstuff=False):
        decoding_start(&self.state, _ENCODINGS[encoding], unstuff)
        self.positions = []
        self.at = 0

    @property
    def over(self):
        return bool(self.state.over)

    def feed(self, bytes octets, Py_ssize_t room=4096):
        cdef const uint8_t* p = <const uint8_t*><const char*>octets
        cdef Py_ssize_t n = len(octets), i = 0, took, made = 0, k
        cdef Decoding before
        cdef bytearray out = bytearray(max(room, BURST))
        cdef uint8_t* buffer = <uint8_t*><char*>out
        made_of = []
        self.positions = []
        while i < n and not self.state.over:
            before = self.state
            took = decode(&self.state, p + i, n - i, buffer, len(out), &made)
            made_of.append(bytes(out[:made]))
            for k in range(made):
                self.positions.append(self.at + i + decoding_where(&before, p + i, took, k))
            i += took
        self.at += i
        return b"".join(made_of)

    def skip(self, bytes octets, int64_t most):
        cdef int64_t passed = 0
        cdef const uint8_t* p = <const uint8_t*><const char*>octets
        cdef Py_ssize_t took = decoding_skip(&self.state, p, len(octets), most, &passed)
        self.at += took
        return took, passed
