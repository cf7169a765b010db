"""A compound file (MS-CFB) passes by: does it hold a VBA project (MS-OVBA 2.2), or a PowerPoint atom that tells?"""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.finding cimport Finding

cdef enum:
    OLE_CHAIN = 256            # limits.OLE_CHAIN
    OLE_CANDIDATES = 32        # limits.OLE_CANDIDATES

cdef struct Ole

cdef Ole* ole_new() noexcept nogil                             # NULL: no memory
cdef void ole_free(Ole* o) noexcept nogil
# Octets consumed. found.kind >= 0: p[consumed - 1] is the last octet that was needed; call again with the rest.
cdef Py_ssize_t ole_feed(Ole* o, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil
cdef int64_t ole_skips(Ole* o) noexcept nogil                  # octets that it need not see next
cdef void ole_skip(Ole* o, int64_t n) noexcept nogil           # they have passed; n <= ole_skips
cdef bint ole_done(Ole* o) noexcept nogil                      # needs nothing more of this part
