"""What may come before the dialogue: a SOCKS5 negotiation (RFC 1928 3, 4, 6), a balancer's PROXY header."""

from libc.stdint cimport uint8_t

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Socks

# How many of these octets belong to the side's part of the negotiation: the client's methods and request, the
# server's choice and answer.
cdef Py_ssize_t socks_skip(Socks* socks, int side, const uint8_t* p, Py_ssize_t n) noexcept nogil
# Where the server's part ends in its first octets; 0 when they are none, -1 when more are needed to tell.
cdef int socks_end(const uint8_t* p, int n) noexcept nogil
cdef bint is_proxy(Span line) noexcept nogil
