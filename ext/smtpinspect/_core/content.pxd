"""The content of an attachment, judged while it passes: what it is, by its first octets, and what lies in it."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.finding cimport Finding

cdef struct Content

# `wants`: bits 1 << C_..., the kinds that somebody asks for. NULL: no memory, or limits.CONTENT_TOTAL is reached.
# `inflated`: octets that count for limits.INFLATED_OCTETS, kept from part to part by the caller; NULL: this part's.
cdef Content* content_new(uint32_t wants, int64_t* inflated) noexcept nogil
cdef void content_free(Content* c) noexcept nogil                        # NULL is no harm
# Octets consumed. found.kind >= 0: p[consumed - 1] is the octet that decided, or the last one of an earlier
# call when 0 were consumed. Call again with the rest, even when it is empty, until nothing is found.
cdef Py_ssize_t content_feed(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil
# Octets that need not be fed; 0: the next one is wanted. INT64_MAX when it is done.
cdef int64_t content_skips(Content* c) noexcept nogil
cdef void content_skip(Content* c, int64_t n) noexcept nogil             # so many have passed; n <= content_skips
cdef bint content_done(Content* c) noexcept nogil                        # needs nothing more of this part
# The part is over. What is found was decided by the last octet; call until found.kind < 0.
cdef void content_end(Content* c, Finding* found) noexcept nogil
cdef void content_gap(Content* c) noexcept nogil                         # octets are missing: nothing more is judged
cdef bint content_limited(Content* c) noexcept nogil                     # a limit kept it from looking at everything
