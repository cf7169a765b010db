"""A mail's text: header fields with folding, MIME parts. Fed in pieces of any size."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.state cimport Conn, Mail, Mime
from smtpinspect._core.verdicts cimport Verdicts

cdef Mime* mime_new(bint unstuff, int64_t offset) noexcept nogil
cdef void mime_free(Mime* mime) noexcept nogil
# Octets of the text as sent, at this stream offset, without the end mark.
cdef int mime_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, const uint8_t* p, Py_ssize_t n, int64_t offset,
) noexcept nogil
# The same for octets that hold nothing but lines of a body, as nearly all do; 0: not these, nothing was done.
# Whether the first octet is a dot that may end the text is not looked at.
cdef bint mime_passes(
    Verdicts verdicts, Conn* conn, Mail* mail, const uint8_t* p, Py_ssize_t n, int64_t offset,
) noexcept nogil
# A hole: no fact spans it.
cdef int mime_gap(Verdicts verdicts, Conn* conn, Mail* mail, int64_t n) noexcept nogil
# The text is over (end mark, last chunk, end of the connection).
cdef int mime_end(Verdicts verdicts, Conn* conn, Mail* mail) noexcept nogil
