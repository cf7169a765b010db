"""Octets that must outlive their frame: a growing piece of memory with a cap."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from smtpinspect._core.state cimport Piece, Short, SHORT, Text


cdef inline uint32_t text_add(Text* t, const uint8_t* p, Py_ssize_t n, uint32_t cap) noexcept nogil:
    """Append up to `cap` octets in all; returns how many were taken."""
    cdef uint32_t want, size
    cdef uint8_t* more
    if n <= 0 or t.n >= cap:
        return 0
    want = <uint32_t>n if n < <Py_ssize_t>(cap - t.n) else cap - t.n
    if t.n + want > t.cap:
        size = t.cap * 2 if t.cap else 64
        while size < t.n + want:
            size *= 2
        more = <uint8_t*>realloc(t.p, size)
        if more == NULL:
            return 0
        t.p = more
        t.cap = size
    memcpy(t.p + t.n, p, want)
    t.n += want
    return want


cdef inline void text_set(Text* t, const uint8_t* p, Py_ssize_t n, uint32_t cap) noexcept nogil:
    """Keep these octets (at most cap) instead, in as little memory as they need."""
    cdef uint8_t* more
    if n > <Py_ssize_t>cap:
        n = cap
    t.n = 0
    if n <= 0:
        return
    if <uint32_t>n > t.cap:
        more = <uint8_t*>realloc(t.p, n)
        if more == NULL:
            return
        t.p = more
        t.cap = <uint32_t>n
    memcpy(t.p, p, n)
    t.n = <uint32_t>n


cdef inline const uint8_t* short_octets(const Short* kept, uint16_t kept_n) noexcept nogil:
    if kept_n > SHORT:
        return kept.p
    return kept.own


cdef inline void short_free(Short* kept, uint16_t kept_n) noexcept nogil:
    if kept_n > SHORT:
        free(kept.p)


cdef inline void short_set(
    Short* kept, uint16_t* kept_n, const uint8_t* p, Py_ssize_t n, uint16_t cap,
) noexcept nogil:
    """As text_set, where each octet of a connection counts."""
    short_free(kept, kept_n[0])
    kept_n[0] = 0
    if n > cap:
        n = cap
    if n > SHORT:
        kept.p = <uint8_t*>malloc(n)
        if kept.p == NULL:
            return
    if n > 0:
        memcpy(kept.p if n > SHORT else kept.own, p, n)
        kept_n[0] = <uint16_t>n


cdef inline void text_begin(Text* t, uint32_t size) noexcept nogil:
    """Memory for so many octets at once, where that many are likely."""
    t.p = <uint8_t*>malloc(size)
    t.n = 0
    t.cap = size if t.p != NULL else 0


cdef inline void text_free(Text* t) noexcept nogil:
    free(t.p)
    t.p = NULL
    t.n = 0
    t.cap = 0


cdef inline Piece text_piece(Text* t, const uint8_t* p, Py_ssize_t n, uint32_t cap) noexcept nogil:
    """Keep n octets (at most cap) and say where they lie."""
    cdef Piece made
    made.at = t.n
    made.n = text_add(t, p, n if n < <Py_ssize_t>cap else <Py_ssize_t>cap, <uint32_t>0xFFFFFFF0)
    return made
