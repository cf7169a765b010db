"""Searches that the C library has no call for (scan.h)."""

from libc.stdint cimport uint8_t

cdef extern from "scan.h":
    # First i >= 1 where p[i] is `needle` and p[i-1] is CR, LF, NUL or another octet up to CR; n when there is none.
    size_t scan_after_break(const uint8_t* p, size_t n, uint8_t needle) nogil
    # The same for three needles at once; two of them may be one.
    size_t scan_after_break3(const uint8_t* p, size_t n, uint8_t x, uint8_t y, uint8_t z) nogil
