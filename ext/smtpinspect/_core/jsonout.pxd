"""JSON written octet by octet, without the interpreter."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, strlen

from smtpinspect._core.span cimport Span

cdef class JsonOut:
    cdef uint8_t* p
    cdef size_t n                  # octets written and not taken
    cdef size_t cap
    cdef int64_t second            # that `date` tells: a capture's records come many in a second
    cdef char date[24]
    cdef bytes take(self)
    cdef bint more(self, size_t n) noexcept nogil
    cdef void number(self, int64_t v) noexcept nogil
    # A string: UTF-8 as it is, octets that are none as \\xNN in the text; `path`: in angle brackets.
    cdef void text(self, const uint8_t* p, size_t n, bint path) noexcept nogil
    # A string: at most EXCERPT octets of evidence as people write them.
    cdef void excerpt(self, const uint8_t* p, int n) noexcept nogil
    cdef void timestamp(self, int64_t ns) noexcept nogil                         # 2026-03-03T10:00:02.000000+0000
    cdef void tell_date(self, int64_t second) noexcept nogil
    cdef void seconds(self, int64_t ns) noexcept nogil                           # 0 for a negative time


cdef inline bint room(JsonOut out, size_t n) noexcept nogil:
    return out.n + n <= out.cap or out.more(n)


cdef inline void put(JsonOut out, Span s) noexcept nogil:
    """Octets as they are."""
    if room(out, s.n):
        memcpy(out.p + out.n, s.p, s.n)
        out.n += s.n


cdef inline void raw(JsonOut out, const char* s) noexcept nogil:
    """A literal as it is: its length is known where this is compiled into."""
    cdef size_t n = strlen(s)
    if room(out, n):
        memcpy(out.p + out.n, s, n)
        out.n += n


cdef inline void named(JsonOut out, const char* key, int64_t v) noexcept nogil:
    """`key` as it is, then the number."""
    raw(out, key)
    out.number(v)
