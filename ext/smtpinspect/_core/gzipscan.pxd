"""The members of a gzip file (RFC 1952): their headers and trailers, not what is deflated between them."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:                     # what comes next
    G_HEAD = 0
    G_EXTRA_N = 1
    G_EXTRA = 2
    G_NAME = 3
    G_COMMENT = 4
    G_SUM = 5                  # of the header
    G_DATA = 6
    G_TRAILER = 7
    G_DONE = 8

cdef struct Gzip:
    uint8_t state
    uint8_t flags
    uint32_t at                # octets of this piece
    uint32_t n                 # of the extra field
    uint8_t name_n
    uint8_t[255] name          # as the header tells it

cdef Gzip* gzip_new() noexcept nogil                     # NULL: no memory
cdef void gzip_free(Gzip* g) noexcept nogil
# Octets consumed; stops before deflated octets (G_DATA).
cdef Py_ssize_t gzip_feed(Gzip* g, const uint8_t* p, Py_ssize_t n) noexcept nogil
cdef void gzip_data_end(Gzip* g) noexcept nogil          # the deflated octets are over
