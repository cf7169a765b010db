"""Searches that the C library has no call for, as Python sees them: for tests."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


def after_break(bytes octets, uint8_t x, uint8_t y, uint8_t z):
    """In memory that ends where the octets end."""
    cdef size_t n = len(octets)
    cdef uint8_t* p = <uint8_t*>malloc(n + 1)
    if p == NULL:
        raise MemoryError
    memcpy(p + 1, <const char*>octets, n)
    found = scan_after_break3(p + 1, n, x, y, z) if x != y else scan_after_break(p + 1, n, x)
    free(p)
    return found
