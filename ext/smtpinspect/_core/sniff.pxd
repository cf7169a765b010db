"""What a file is, by its first octets and never by its name."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    L_SNIFF = 0                # not known yet
    L_ZIP = 1
    L_GZIP = 2
    L_OLE = 3
    L_PE = 4
    L_DONE = 5                 # nothing that anybody asks for

cdef enum:
    HEAD = 8                   # octets of the longest magic

cdef struct Sniff:
    uint32_t alive             # magics that it may still be, as bits
    int n
    uint8_t[HEAD] head

# `wants`: bits 1 << C_...; what can hold none of them is not looked for. A layer, or L_SNIFF.
cdef int sniff_begin(Sniff* s, uint32_t wants, bint in_zip) noexcept nogil
cdef int sniff_octet(Sniff* s, uint8_t octet) noexcept nogil
