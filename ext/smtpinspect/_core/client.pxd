"""The client's lines: commands, empty lines, answers in the AUTH dialogue."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.dialogue cimport Dialogue
from smtpinspect._core.state cimport Conn

# Octets up to the next line end; returns how many were read. `border`: the first one began a segment.
cdef Py_ssize_t client_feed(
    Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at, bint border,
) noexcept nogil
