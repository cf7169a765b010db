"""A file that holds no files: a compound file or an executable, by one face."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.finding cimport Finding
from smtpinspect._core.olescan cimport Ole
from smtpinspect._core.pescan cimport Pe

cdef struct Leaf:              # one of them
    Ole* ole
    Pe* pe

cdef bint leaf_open(Leaf* f, int layer) noexcept nogil       # L_OLE or L_PE. False: no memory
cdef void leaf_close(Leaf* f) noexcept nogil
cdef int64_t leaf_skips(Leaf* f) noexcept nogil
cdef void leaf_skip(Leaf* f, int64_t n) noexcept nogil
cdef bint leaf_done(Leaf* f) noexcept nogil
# Octets consumed: all, unless something is found or it is done. `again`: something was found in the last call.
cdef Py_ssize_t leaf_feed(Leaf* f, const uint8_t* p, Py_ssize_t n, bint again, Finding* found) noexcept nogil
