"""The server's lines: the greeting, EHLO keywords, and replies, each paired with the command that it answers."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.dialogue cimport Dialogue
from smtpinspect._core.state cimport Conn

# Returns how many octets were read: the rest waits where a reply has told what octets of the client are that wait.
cdef Py_ssize_t replies_feed(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil
