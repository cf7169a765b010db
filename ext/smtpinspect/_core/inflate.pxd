"""Raw deflate (RFC 1951) by zlib, which can tell with which compressed octet an octet could first be told."""

from libc.stdint cimport int64_t, uint8_t

cdef extern from "<zlib.h>" nogil:
    ctypedef struct z_stream:
        uint8_t* next_in
        unsigned int avail_in
        uint8_t* next_out
        unsigned int avail_out
        void* (*zalloc)(void*, unsigned int, unsigned int) noexcept nogil
        void (*zfree)(void*, void*) noexcept nogil
        void* opaque

cdef enum:
    CHECKED = 4096             # a piece of input ends at each multiple: limits are looked at there
    OUT = 16384                # octets that are inflated at once
    ARENA = 49152              # zlib's state and window: 39,928 octets in zlib 1.2.13

cdef struct Inflate:
    z_stream z
    int64_t total_in           # octets of the pieces that were read
    int64_t total_out          # octets inflated
    bint ended                 # the deflated octets have come to their end
    bint failed                # they are damaged
    int64_t looked             # at the limits: where in the compressed octets
    int64_t seen               # octets inflated until then
    const uint8_t* piece       # lent by the caller, piece_n octets; 0: none is open
    Py_ssize_t piece_n
    bint drained               # all of it has been inflated
    int64_t before             # octets inflated of it before those in `out`
    Py_ssize_t at              # octets of `out` that were delivered
    Py_ssize_t n               # octets in `out`
    uint8_t* kept              # the arena as it was some octets before the piece; NULL: not kept
    size_t kept_used
    z_stream kept_z
    int64_t kept_out
    uint8_t[CHECKED] since     # the octets from there to the piece
    Py_ssize_t since_n
    size_t used                # of the arena
    uint8_t[OUT] out
    uint8_t[ARENA] arena

# NULL: no memory.
cdef Inflate* inflate_new() noexcept nogil
cdef void inflate_free(Inflate* i) noexcept nogil
# Open a piece, whose octets are lent until it is closed; the octets read of it are told. `watched`: what
# comes out may decide. False: no memory to watch it.
cdef bint inflate_open(Inflate* i, const uint8_t* p, Py_ssize_t n, bint watched) noexcept nogil
cdef Py_ssize_t inflate_room(Inflate* i, Py_ssize_t n, bint watched) noexcept nogil   # of n octets, for a piece
cdef void inflate_more(Inflate* i) noexcept nogil                # fill `out` anew, which was delivered
cdef Py_ssize_t inflate_close(Inflate* i) noexcept nogil         # all was delivered; octets read of the piece
# out[at - 1] has decided: go back to where it could first be told; octets read of the piece until there.
cdef Py_ssize_t inflate_back(Inflate* i) noexcept nogil
# Which of limits.INFLATED_OCTETS ("octets"), of which `total` counts, and limits.INFLATE_RATIO ("ratio") is
# passed, or NULL. It looks only where a piece must end, so that the cut of the input does not matter.
cdef const char* inflate_bomb(Inflate* i, int64_t* total) noexcept nogil
