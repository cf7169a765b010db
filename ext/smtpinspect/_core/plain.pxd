"""Runs of plain octets (plain.h)."""

from libc.stdint cimport uint8_t

cdef extern from "plain.h":
    # The first octet that is neither printable ASCII nor HTAB; n when there is none.
    size_t plain_field(const uint8_t* p, size_t n) nogil
    # The first octet that a JSON string cannot hold as it is, or that is no ASCII; n when there is none.
    size_t plain_json(const uint8_t* p, size_t n) nogil
