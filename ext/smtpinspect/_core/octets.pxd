"""Small things that are done with octets in more than one place."""

from libc.stdint cimport uint8_t, uint64_t


cdef inline uint8_t upper(uint8_t c) noexcept nogil:
    return c - 32 if 97 <= c <= 122 else c


cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c + 32 if 65 <= c <= 90 else c


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    """SP or HTAB."""
    return c == 32 or c == 9


cdef inline uint8_t hex_digit(int v) noexcept nogil:
    return <uint8_t>(48 + v if v < 10 else 87 + v)


cdef inline int hex_value(uint8_t c) noexcept nogil:
    """-1 when it is no hexadecimal digit."""
    c = lower(c)
    if 48 <= c <= 57:
        return c - 48
    return c - 87 if 97 <= c <= 102 else -1


cdef inline void digits(uint8_t* out, int n, uint64_t v) noexcept nogil:
    """The last n decimal digits."""
    while n:
        n -= 1
        out[n] = <uint8_t>(48 + v % 10)
        v //= 10


cdef inline uint64_t mix(uint64_t h, uint64_t v) noexcept nogil:
    """A step of a hash with a fixed key."""
    h = (h ^ v) * <uint64_t>0x9FB21C651E98DF25
    return h ^ (h >> 32)
