"""Header fields with folding (RFC 5322 2.2): their octets, and what they say of a part."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.state cimport Conn, Mail, Mime
from smtpinspect._core.verdicts cimport Verdicts

# Header octets; returns how many were read before the header ended.
cdef int header_feed(
    Verdicts verdicts, Conn* conn, Mail* mail, Mime* m, const uint8_t* p, Py_ssize_t n, int64_t at,
) noexcept nogil
# The field that is open is over.
cdef int field_end(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil
# The empty line behind a header: what the part is, and what comes next.
cdef int end_header(Verdicts verdicts, Conn* conn, Mail* mail, Mime* m) noexcept nogil
