"""The TCP checksum (RFC 9293 3.1)."""

from libc.stdint cimport uint32_t, uint64_t

from smtpinspect._core.frame cimport Packet
from smtpinspect._core.span cimport be16


cdef inline bint tcp_sound(Packet* t) noexcept nogil:
    """Is it right? (A cut segment cannot be told, and passes.)"""
    cdef uint64_t sum = 6 + <uint64_t>t.body_len
    cdef uint32_t i
    cdef int size = 4 if t.family == 4 else 16
    if t.body_caplen < t.body_len:
        return True
    for i in range(0, size, 2):
        sum += be16(t.src + i) + be16(t.dst + i)
    i = 0
    while i + 2 <= t.body_len:
        sum += be16(t.body + i)
        i += 2
    if i < t.body_len:
        sum += <uint64_t>t.body[i] << 8
    while sum >> 16:
        sum = (sum & 0xFFFF) + (sum >> 16)
    return sum == 0xFFFF
