"""A file that holds no files: a compound file or an executable, by one face."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.finding cimport Finding, found_nothing
from smtpinspect._core.olescan cimport ole_done, ole_feed, ole_free, ole_new, ole_skip, ole_skips
from smtpinspect._core.pescan cimport pe_done, pe_feed, pe_free, pe_new, pe_skip, pe_skips
from smtpinspect._core.sniff cimport L_OLE


cdef bint leaf_open(Leaf* f, int layer) noexcept nogil:
    if layer == L_OLE:
        f.ole = ole_new()
    else:
        f.pe = pe_new()
    return f.ole != NULL or f.pe != NULL


cdef void leaf_close(Leaf* f) noexcept nogil:
    if f.ole != NULL:
        ole_free(f.ole)
    if f.pe != NULL:
        pe_free(f.pe)
    f.ole = NULL
    f.pe = NULL


cdef int64_t leaf_skips(Leaf* f) noexcept nogil:
    return ole_skips(f.ole) if f.ole != NULL else pe_skips(f.pe)


cdef void leaf_skip(Leaf* f, int64_t n) noexcept nogil:
    if f.ole != NULL:
        ole_skip(f.ole, n)
    else:
        pe_skip(f.pe, n)


cdef bint leaf_done(Leaf* f) noexcept nogil:
    return ole_done(f.ole) if f.ole != NULL else pe_done(f.pe)


cdef Py_ssize_t leaf_feed(Leaf* f, const uint8_t* p, Py_ssize_t n, bint again, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0, k
    cdef int64_t skips
    found_nothing(found)
    while (used < n or again) and not leaf_done(f):
        skips = 0 if again else leaf_skips(f)
        again = False
        if skips > 0:
            k = n - used if n - used < skips else <Py_ssize_t>skips
            leaf_skip(f, k)
        elif f.ole != NULL:
            k = ole_feed(f.ole, p + used, n - used, found)
        else:
            k = pe_feed(f.pe, p + used, n - used, found)
        used += k
        if found.kind >= 0:
            break
    return used
