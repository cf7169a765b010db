"""Octets lent by somebody else: a pointer and a length. Reads are bounds-checked by their callers' one test."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Span:
    const uint8_t* p
    Py_ssize_t n


cdef inline Span span(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Span made
    made.p = p
    made.n = n
    return made


cdef inline uint16_t be16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((p[0] << 8) | p[1])


cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint16_t le16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((p[1] << 8) | p[0])


cdef inline uint32_t le32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[3] << 24) | (<uint32_t>p[2] << 16) | (<uint32_t>p[1] << 8) | p[0]
