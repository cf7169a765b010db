"""What an executable begins with: patterns of grammar.packers, and where their jumps and calls lead."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t

from smtpinspect._core.packrows cimport (
    BY_ENTRY,
    PACKER_PATTERN,
    PackerRow,
    T_ABS32,
    T_REL8,
    packer_row,
    packer_rows,
)
from smtpinspect._core.pestate cimport (
    Matching,
    NEVER,
    PE_BEHIND,
    PE_HEAD,
    Pe,
    WINDOWS,
    Window,
    complete,
    offset_of,
    same,
)


cdef void entry_begin(Pe* e, uint32_t rva) noexcept nogil:
    cdef int i
    window_at(e, e.entry, rva)
    for i in range(packer_rows()):
        if packer_row(i).by == BY_ENTRY and packer_row(i).bits in (0, e.bits):
            e.rows[i].alive = not e.found[packer_row(i).group]
            e.alive += e.rows[i].alive
    for i in range(packer_rows()):
        if e.rows[i].alive:
            advance(e, i)


cdef void entry_octet(Pe* e, int64_t at, uint8_t octet) noexcept nogil:
    cdef int i, changed = 0
    cdef Window* w
    for i in range(e.windows_n):
        w = &e.windows[i]
        if w.n < w.most and w.at + w.n == at:
            w.octets[w.n] = octet
            w.n += 1
            changed |= 1 << i
    if not changed or not e.alive:
        return
    for i in range(packer_rows()):
        if e.rows[i].alive and changed & (1 << e.rows[i].window):
            advance(e, i)


cdef void entry_leave(Pe* e, int group) noexcept nogil:
    cdef int i
    for i in range(packer_rows()):
        if e.rows[i].alive and packer_row(i).group == group:
            drop(e, i)


cdef int64_t entry_wants(Pe* e) noexcept nogil:
    cdef int64_t least = INT64_MAX
    cdef int i
    if not e.alive:
        return INT64_MAX
    if e.at < e.entry:
        least = e.entry - PE_BEHIND - e.at
    for i in range(e.windows_n):
        if e.windows[i].n < e.windows[i].most:
            least = min(least, e.windows[i].at + e.windows[i].n - e.at)
    return least


cdef int kept(Pe* e, int64_t at) noexcept nogil:
    """An octet that has passed; NEVER when it was not kept."""
    cdef int i
    cdef Window* w
    if at < PE_HEAD:
        return e.head[at]
    if e.entry - PE_BEHIND <= at < e.entry:
        return e.behind[at - (e.entry - PE_BEHIND)]
    for i in range(e.windows_n):
        w = &e.windows[i]
        if w.at <= at < w.at + w.n:
            return w.octets[at - w.at]
    return NEVER


cdef int window_at(Pe* e, int64_t at, uint32_t rva) noexcept nogil:
    """The window that begins here; -1: too many."""
    cdef int i, octet
    cdef Window* w
    for i in range(e.windows_n):
        if e.windows[i].at == at and e.windows[i].rva == rva:
            return i
    if e.windows_n == WINDOWS:
        return -1
    w = &e.windows[e.windows_n]
    w.at = at
    w.rva = rva
    w.n = 0
    w.most = PACKER_PATTERN
    while w.n < w.most and at + w.n < e.at:
        octet = kept(e, at + w.n)
        if octet == NEVER:
            w.most = w.n
            break
        w.octets[w.n] = <uint8_t>octet
        w.n += 1
    e.windows_n += 1
    return e.windows_n - 1


cdef void drop(Pe* e, int number) noexcept nogil:
    e.rows[number].alive = False
    e.alive -= 1


cdef void advance(Pe* e, int number) noexcept nogil:
    """Compare a row's pattern as far as octets are there."""
    cdef PackerRow* row = packer_row(number)
    cdef Matching* m = &e.rows[number]
    cdef Window* w
    cdef int width
    cdef uint16_t token
    while True:
        if m.token == row.n:
            complete(e, number)
            drop(e, number)
            return
        token = row.tokens[m.token]
        w = &e.windows[m.window]
        width = 1 if token <= T_REL8 else 4
        if m.octet + width > w.n:
            if m.octet + width > w.most:
                drop(e, number)
            return
        if token < T_REL8:
            if not same(token, w.octets[m.octet]):
                drop(e, number)
                return
            m.octet += 1
        elif not led(e, m, w, token):
            drop(e, number)
            return
        m.token += 1


cdef bint led(Pe* e, Matching* m, Window* w, uint16_t token) noexcept nogil:
    """Go where an operand leads."""
    cdef const uint8_t* q = &w.octets[m.octet]
    cdef uint32_t there = q[0]
    cdef int64_t at
    cdef int window
    if token == T_REL8:
        there = w.rva + m.octet + 1 + (there if there < 128 else there - 256)
    else:
        there |= (<uint32_t>q[1] << 8) | (<uint32_t>q[2] << 16) | (<uint32_t>q[3] << 24)
        there = there - e.image_base if token == T_ABS32 else w.rva + m.octet + 4 + there
    at = offset_of(e, there)
    if at < 0:
        return False
    window = window_at(e, at, there)
    if window < 0:
        return False
    m.window = <uint8_t>window
    m.octet = 0
    return True
