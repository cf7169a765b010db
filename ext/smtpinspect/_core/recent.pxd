"""What of a stream was read last, and where the source has it: retransmissions are compared with that."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from smtpinspect._core.sources cimport AGAIN, Source
from smtpinspect._core.state cimport Direction, RECENT


cdef inline void recent_add(Direction* d, int64_t position, int64_t offset, uint32_t n) noexcept nogil:
    cdef int i
    for i in range(RECENT - 1, 0, -1):
        d.recent_position[i] = d.recent_position[i - 1]
        d.recent_offset[i] = d.recent_offset[i - 1]
        d.recent_n[i] = d.recent_n[i - 1]
    d.recent_position[0] = position
    d.recent_offset[0] = <uint32_t>offset
    d.recent_n[0] = n


cdef inline bint recent_differs(
    Direction* d, Source source, const uint8_t* p, uint32_t n, int64_t offset, int64_t here,
) noexcept nogil:
    """A copy of octets that were read: do they differ? Told as far as the source still holds the first copy."""
    cdef int i
    cdef int64_t at, begin, end, part
    cdef const uint8_t* first
    cdef uint8_t room[AGAIN]
    if n == 0:
        return False
    for i in range(RECENT):
        if d.recent_n[i] == 0:
            continue
        at = d.next - <int64_t>(<uint32_t>d.next - d.recent_offset[i])
        begin = offset if offset > at else at
        end = offset + n
        if end > at + d.recent_n[i]:
            end = at + d.recent_n[i]
        while begin < end:
            part = end - begin if end - begin < AGAIN else AGAIN
            first = source.back(d.recent_position[i] + (begin - at), <uint32_t>part, here, room)
            if first == NULL:
                break
            if memcmp(first, p + (begin - offset), part) != 0:
                return True
            begin += part
    return False
