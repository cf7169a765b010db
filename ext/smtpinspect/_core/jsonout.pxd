"""JSON written octet by octet, without the interpreter."""

from libc.stdint cimport int64_t, uint8_t

cdef class JsonOut:
    cdef uint8_t* p
    cdef size_t n                  # octets written and not taken
    cdef size_t cap
    cdef bytes take(self)
    cdef bint room(self, size_t n) noexcept nogil
    cdef void raw(self, const char* s) noexcept nogil                            # as it is
    cdef void number(self, int64_t v) noexcept nogil
    cdef void named(self, const char* key, int64_t v) noexcept nogil             # `key` as it is, then the number
    # A string: UTF-8 as it is, octets that are none as \\xNN in the text; `path`: in angle brackets.
    cdef void text(self, const uint8_t* p, size_t n, bint path) noexcept nogil
    # A string: at most EXCERPT octets of evidence as people write them.
    cdef void excerpt(self, const uint8_t* p, int n) noexcept nogil
    cdef void timestamp(self, int64_t ns) noexcept nogil                         # 2026-03-03T10:00:02.000000+0000
    cdef void seconds(self, int64_t ns) noexcept nogil                           # 0 for a negative time
