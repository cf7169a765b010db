"""An executable (PE) passes by: which packer made it? grammar.packers tells by what."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.finding cimport Finding
from smtpinspect._core.pestate cimport Pe

cdef Pe* pe_new() noexcept nogil                               # NULL: no memory
cdef void pe_free(Pe* e) noexcept nogil
# Octets consumed. found.kind >= 0: p[consumed - 1] is the last octet that was needed, or the last one of the call
# before when 0 were consumed; call again with the rest, even when it is empty.
cdef Py_ssize_t pe_feed(Pe* e, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil
cdef int64_t pe_skips(Pe* e) noexcept nogil                    # octets that it need not see next
cdef void pe_skip(Pe* e, int64_t n) noexcept nogil             # they have passed; n <= pe_skips
cdef bint pe_done(Pe* e) noexcept nogil                        # needs nothing more of this part
