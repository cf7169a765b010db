"""TCP sequence numbers: 32 bits that wrap (RFC 9293 3.4)."""

from libc.stdint cimport int32_t, uint32_t


cdef inline int32_t seq_diff(uint32_t a, uint32_t b) noexcept nogil:
    """How far a lies behind b, as a signed number; right while they are less than 2**31 apart."""
    return <int32_t>(a - b)
