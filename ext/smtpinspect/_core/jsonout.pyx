"""JSON written octet by octet, without the interpreter."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from smtpinspect._core.octets cimport digits, hex_digit
from smtpinspect._core.plain cimport plain_json
from smtpinspect._core.said cimport escaped
from smtpinspect._core.state cimport EXCERPT


cdef uint8_t[200] PAIRS                 # of decimal digits, 00 to 99


def _fill():
    for i in range(100):
        PAIRS[2 * i] = 48 + i // 10
        PAIRS[2 * i + 1] = 48 + i % 10


_fill()


cdef inline int64_t floored(int64_t a, int64_t b) noexcept nogil:
    """a / b towards minus infinity, b positive: // cuts towards zero here (setup.py: cdivision)."""
    return a // b - (1 if a % b < 0 else 0)


cdef size_t utf8_size(const uint8_t* p, size_t n) noexcept nogil:
    """Octets of the character that begins here, 0 when it is no UTF-8 (RFC 3629 4)."""
    cdef uint8_t c = p[0]
    cdef uint8_t low = 0x80, high = 0xBF
    cdef size_t size, k
    if 0xC2 <= c <= 0xDF:
        size = 2
    elif 0xE0 <= c <= 0xEF:
        size = 3
        low = 0xA0 if c == 0xE0 else 0x80
        high = 0x9F if c == 0xED else 0xBF
    elif 0xF0 <= c <= 0xF4:
        size = 4
        low = 0x90 if c == 0xF0 else 0x80
        high = 0x8F if c == 0xF4 else 0xBF
    else:
        return 0
    if n < size or not low <= p[1] <= high:
        return 0
    for k in range(2, size):
        if p[k] < 0x80 or p[k] > 0xBF:
            return 0
    return size


cdef class JsonOut:
    def __dealloc__(self):
        free(self.p)

    cdef bytes take(self):
        data = (<const char*>self.p)[:self.n] if self.n else b""
        self.n = 0
        return data

    cdef bint more(self, size_t n) noexcept nogil:
        """Room for n octets behind those that are written."""
        cdef size_t size = self.cap * 2 if self.cap else 1 << 16
        cdef uint8_t* larger
        while size < self.n + n:
            size *= 2
        larger = <uint8_t*>realloc(self.p, size)
        if larger == NULL:
            return False
        self.p = larger
        self.cap = size
        return True

    cdef void number(self, int64_t v) noexcept nogil:
        cdef uint64_t u = <uint64_t>v if v >= 0 else <uint64_t>0 - <uint64_t>v
        cdef uint8_t[48] out           # from its middle on others may be copied along
        cdef int i = 24
        if not room(self, 24):
            return
        while u >= 100:
            i -= 2
            memcpy(out + i, PAIRS + 2 * (u % 100), 2)
            u //= 100
        i -= 2
        memcpy(out + i, PAIRS + 2 * u, 2)
        if u < 10:
            i += 1
        if v < 0:
            i -= 1
            out[i] = 45
        memcpy(self.p + self.n, out + i, 24)
        self.n += 24 - i

    cdef void text(self, const uint8_t* p, size_t n, bint path) noexcept nogil:
        """A JSON string: UTF-8 as it is, octets that are none as \\xNN in the text."""
        cdef size_t i = 0, k, size
        cdef uint8_t c
        cdef uint8_t* out
        if not room(self, 6 * n + 8):
            return
        out = self.p + self.n
        out[0] = 34
        out += 1
        if path:
            out[0] = 60
            out += 1
        while i < n:
            size = plain_json(p + i, n - i)
            if size:
                memcpy(out, p + i, size)
                out += size
                i += size
                continue
            c = p[i]
            if c == 34 or c == 92:
                out[0] = 92
                out[1] = c
                out += 2
                i += 1
                continue
            if c < 128:
                # \u00NN
                memcpy(out, b"\\u00", 4)
                out[4] = hex_digit(c >> 4)
                out[5] = hex_digit(c & 15)
                out += 6
                i += 1
                continue
            size = utf8_size(p + i, n - i)
            if size:
                for k in range(size):
                    out[k] = p[i + k]
                out += size
                i += size
                continue
            memcpy(out, b"\\\\x", 3)
            out[3] = hex_digit(c >> 4)
            out[4] = hex_digit(c & 15)
            out += 5
            i += 1
        if path:
            out[0] = 62
            out += 1
        out[0] = 34
        out += 1
        self.n = out - self.p

    cdef void excerpt(self, const uint8_t* p, int n) noexcept nogil:
        """Octets of evidence as people write them, as a JSON string."""
        cdef char out[4 * EXCERPT]
        self.text(<uint8_t*>out, escaped(p, n, out), False)

    cdef void timestamp(self, int64_t ns) noexcept nogil:
        """2026-03-03T10:00:02.000000+0000"""
        cdef int64_t second = floored(ns, 1000000000)
        cdef uint8_t* out
        if not room(self, 40):
            return
        if second != self.second or self.date[0] == 0:
            self.tell_date(second)
        out = self.p + self.n
        memcpy(out, self.date, 21)
        digits(out + 21, 6, <uint64_t>((ns - second * 1000000000) // 1000))
        memcpy(out + 27, b'+0000"', 6)
        self.n += 33

    cdef void tell_date(self, int64_t second) noexcept nogil:
        cdef int64_t days = floored(second, 86400), rest = second - days * 86400
        cdef int64_t era, doe, yoe, doy, mp, y, m, d
        cdef uint8_t* date = <uint8_t*>self.date
        # the civil calendar from days since 1970-01-01 (Gregorian, 400-year eras)
        days += 719468
        era = days // 146097
        doe = days - era * 146097
        yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
        y = yoe + era * 400
        doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
        mp = (5 * doy + 2) // 153
        d = doy - (153 * mp + 2) // 5 + 1
        m = mp + 3 if mp < 10 else mp - 9
        if m <= 2:
            y += 1
        # (of int64 nanoseconds no year is before 1677 or after 2262)
        memcpy(date, b'"0000-00-00T00:00:00.', 21)
        digits(date + 1, 4, <uint64_t>y)
        digits(date + 6, 2, <uint64_t>m)
        digits(date + 9, 2, <uint64_t>d)
        digits(date + 12, 2, <uint64_t>(rest // 3600))
        digits(date + 15, 2, <uint64_t>(rest // 60 % 60))
        digits(date + 18, 2, <uint64_t>(rest % 60))
        self.second = second

    cdef void seconds(self, int64_t ns) noexcept nogil:
        if ns < 0:
            ns = 0
        self.number(ns // 1000000000)
        if room(self, 7):
            self.p[self.n] = 46
            digits(self.p + self.n + 1, 6, <uint64_t>(ns % 1000000000 // 1000))
            self.n += 7
