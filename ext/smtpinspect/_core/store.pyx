"""Segments that wait: copies in the order of their offsets, the first copy of an octet wins."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from smtpinspect._core.state cimport Direction, Stored


cdef void store_hold(Direction* d, int64_t ns) noexcept nogil:
    """The head of the store waits since then."""
    d.hold_ns = ns if ns else 1


cdef Stored* store_take(Direction* d, int64_t* total) noexcept nogil:
    cdef Stored* s = d.first
    d.first = s.next
    if s.next == NULL:
        d.last = NULL
    d.stored_n -= 1
    d.stored_octets -= s.n
    total[0] -= s.n
    d.hold_ns = 0
    return s


cdef void store_clear(Direction* d, int64_t* total) noexcept nogil:
    while d.first != NULL:
        free(store_take(d, total))


cdef void store_shift(Direction* d, int64_t delta) noexcept nogil:
    cdef Stored* s = d.first
    while s != NULL:
        s.offset += delta
        s = s.next
    if d.fin_at >= 0:
        d.fin_at += delta
    if d.rst_at >= 0:
        d.rst_at += delta


cdef int store_keep(
    Direction* d, int64_t* total, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
    int64_t number, int64_t ns, bint border, bint merged,
) noexcept nogil:
    """Copy octets into the store, around those that are there already."""
    cdef Stored** at = &d.first
    cdef Stored* s
    cdef Stored* made
    cdef uint32_t before, same
    cdef int differs = 0
    if d.last != NULL and d.last.offset + d.last.n + d.last.missing <= offset:
        at = &d.last.next
    while True:
        # octets that a kept segment holds stay as they are
        while at[0] != NULL and at[0].offset + at[0].n + at[0].missing <= offset:
            at = &at[0].next
        s = at[0]
        if s != NULL and s.offset <= offset:
            # from here to its end it is there already
            same = <uint32_t>(s.offset + s.n - offset) if s.offset + s.n > offset else 0
            if same > n:
                same = n
            if same and memcmp(p, <uint8_t*>(s + 1) + (offset - s.offset), same) != 0:
                differs = 1
            before = <uint32_t>(s.offset + s.n + s.missing - offset)
            if before >= n + missing:
                return differs
            if before >= n:
                missing -= before - n
                p += n
                n = 0
            else:
                p += before
                n -= before
            offset += before
            border = False
            at = &s.next
            continue
        # new octets up to the next kept segment
        before = n
        if s != NULL and s.offset < offset + n + missing:
            before = <uint32_t>(s.offset - offset)
        made = <Stored*>malloc(sizeof(Stored) + (before if before < n else n))
        if made == NULL:
            return -1
        made.offset = offset
        made.ack = ack
        made.packet = number
        made.ns = ns
        made.n = before if before < n else n
        made.missing = missing if s == NULL or s.offset >= offset + n + missing else (before - n if before > n else 0)
        made.border = border
        made.merged = merged
        memcpy(<uint8_t*>(made + 1), p, made.n)
        made.next = s
        at[0] = made
        if s == NULL:
            d.last = made
        d.stored_n += 1
        d.stored_octets += made.n
        total[0] += made.n
        if s == NULL or s.offset >= offset + n + missing:
            break
        p += made.n
        n -= made.n
        if before > made.n:
            missing -= before - made.n
        offset += before
        border = False
        at = &made.next
    if d.hold_ns == 0:
        store_hold(d, ns)
    return differs
