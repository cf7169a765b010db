"""The members of a gzip file (RFC 1952): their headers and trailers, not what is deflated between them."""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from smtpinspect._core.counted cimport counted_give, counted_take

# RFC 1952 2.3
cdef uint8_t[3] MAGIC = [0x1F, 0x8B, 8]
cdef enum:
    HEAD_N = 10
    TRAILER_N = 8
    FLAGS_AT = 3
    F_SUM = 2
    F_EXTRA = 4
    F_NAME = 8
    F_COMMENT = 16
    F_RESERVED = 0xE0


cdef Gzip* gzip_new() noexcept nogil:
    cdef Gzip* g = <Gzip*>counted_take(sizeof(Gzip))
    if g != NULL:
        memset(g, 0, sizeof(Gzip))
    return g


cdef void gzip_free(Gzip* g) noexcept nogil:
    counted_give(g)


cdef void go(Gzip* g, uint8_t state) noexcept nogil:
    """To this part of the header, or to the next one that is there."""
    g.at = 0
    if state == G_EXTRA_N and not g.flags & F_EXTRA:
        state = G_NAME
    if state == G_NAME and not g.flags & F_NAME:
        state = G_COMMENT
    if state == G_COMMENT and not g.flags & F_COMMENT:
        state = G_SUM
    if state == G_SUM and not g.flags & F_SUM:
        state = G_DATA
    g.state = state


cdef void head_octet(Gzip* g, uint8_t c) noexcept nogil:
    if g.at < 3 and c != MAGIC[g.at] or g.at == FLAGS_AT and c & F_RESERVED:
        g.state = G_DONE
        return
    if g.at == 0:
        g.name_n = 0
    if g.at == FLAGS_AT:
        g.flags = c
    g.at += 1
    if g.at == HEAD_N:
        go(g, G_EXTRA_N)


cdef void octet(Gzip* g, uint8_t c) noexcept nogil:
    if g.state == G_HEAD:
        head_octet(g, c)
        return
    g.at += 1
    if g.state == G_EXTRA_N:
        g.n = c if g.at == 1 else g.n | <int>c << 8
        if g.at == 2:
            go(g, G_EXTRA if g.n else G_NAME)
    elif g.state == G_EXTRA:
        if g.at == g.n:
            go(g, G_NAME)
    elif g.state == G_NAME:
        if c == 0:
            go(g, G_COMMENT)
        elif g.name_n < 255:
            g.name[g.name_n] = c
            g.name_n += 1
    elif g.state == G_COMMENT:
        if c == 0:
            go(g, G_SUM)
    elif g.state == G_SUM:
        if g.at == 2:
            go(g, G_DATA)
    elif g.state == G_TRAILER:
        if g.at == TRAILER_N:
            go(g, G_HEAD)


cdef Py_ssize_t gzip_feed(Gzip* g, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n and g.state != G_DATA and g.state != G_DONE:
        octet(g, p[i])
        i += 1
    return i


cdef void gzip_data_end(Gzip* g) noexcept nogil:
    go(g, G_TRAILER)
