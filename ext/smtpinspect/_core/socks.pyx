"""What may come before the dialogue: a SOCKS5 negotiation (RFC 1928 3, 4, 6), a balancer's PROXY header."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memset

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport CLIENT, SERVER, Socks

cdef enum:
    NOT_YET = 255              # the message's length is not known; none is that long and of use here
    IPV4 = 1                   # types of address
    DOMAIN = 3
    IPV6 = 4


cdef Py_ssize_t socks_skip(Socks* socks, int side, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int k
    while i < n and socks.on[side]:
        k = socks.read[side]
        if k == 1:
            # the client lists methods, the server names one
            socks.methods[side] = p[i] if side == CLIENT else 0
            socks.need[side] = NOT_YET
        elif k >= 2:
            # version, command or reply, reserved, type, address, port
            k -= 2 + socks.methods[side]
            if k == 3:
                socks.need[side] = 4 + 4 + 2 if p[i] == IPV4 else 4 + 16 + 2 if p[i] == IPV6 else NOT_YET
            elif k == 4 and socks.need[side] == NOT_YET:
                socks.need[side] = <uint8_t>(5 + p[i] + 2)
            if k >= 0 and k + 1 == socks.need[side]:
                socks.on[side] = 0
        socks.read[side] += 1
        i += 1
        if socks.read[side] == NOT_YET:
            socks.on[side] = 0
    return i


cdef int socks_end(const uint8_t* p, int n) noexcept nogil:
    cdef Socks socks
    cdef int end
    if n and p[0] != 5:
        return 0
    if n >= 2 and p[1] != 0:
        return 0                                   # a method that is a dialogue of its own
    if n >= 6 and p[5] != IPV4 and p[5] != DOMAIN and p[5] != IPV6:
        return 0
    memset(&socks, 0, sizeof(Socks))
    socks.on[SERVER] = 1
    end = <int>socks_skip(&socks, SERVER, p, n)
    return -1 if socks.on[SERVER] else end


cdef bint is_proxy(Span line) noexcept nogil:
    """The text form; it comes before the greeting."""
    return line.n > 10 and memcmp(line.p, <const char*>b"PROXY ", 6) == 0
