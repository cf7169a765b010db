"""Runs of plain octets, as Python sees them: for tests."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


def runs(bytes octets):
    """Both, in memory that ends where the octets end."""
    cdef size_t n = len(octets)
    cdef uint8_t* p = <uint8_t*>malloc(n)
    if p == NULL and n:
        raise MemoryError
    memcpy(p, <const char*>octets, n)
    found = plain_field(p, n), plain_json(p, n)
    free(p)
    return found
