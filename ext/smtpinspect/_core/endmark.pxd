"""The end of mail data: CRLF.CRLF and nothing else (RFC 5321 4.1.1.4); look-alikes get a number."""

from libc.stdint cimport uint8_t

cdef enum:                 # what stands before a dot
    B_NOTHING = 0
    B_CRLF = 1             # or the text's beginning
    B_LF = 2
    B_CR = 3
    B_CRLF_NUL = 4
    B_CR_CRLF = 5

cdef enum:
    OPEN = -1              # more octets are needed to tell

# What the octets before a dot amount to; `start`: the text began there.
cdef int before_dot(const uint8_t* tail, int n, bint start) noexcept nogil
# The nn of D-nn (1 is the end of data), 0 for no mark, OPEN while the octets behind the dot do not tell.
cdef int mark_variant(int before, const uint8_t* behind, int n) noexcept nogil
# How many octets behind the dot belong to the mark.
cdef int mark_length(int variant) noexcept nogil
