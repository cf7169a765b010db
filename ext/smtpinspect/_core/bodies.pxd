"""Bodies: the boundaries of their parts (RFC 2046 5.1), and long lines."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.state cimport Conn, Mail, Mime
from smtpinspect._core.verdicts cimport Verdicts

# Body octets up to the next part header; returns how many were read.
cdef int body_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil
# Is there nothing in these octets but lines of the body that is read, and no dot that may end the text? The first
# octet is not looked at for that.
cdef bint body_plain(const Mime* m, const uint8_t* p, Py_ssize_t n) noexcept nogil
# body_feed for such octets: all of them are read.
cdef void body_passes(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil
# The text is over: a line without its end may have been a boundary, or not.
cdef void body_ends(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil
