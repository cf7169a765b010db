"""An executable (PE) passes by: which packer made it? grammar.packers tells by what.

Looked at are the headers, which must end within PE_HEAD octets; the octets at the entry point and where its jumps and
calls lead; and, when the headers look like those of a packed file, the import directory. All else may be skipped. A
jump back is followed only into the first PE_HEAD octets, the PE_BEHIND before the entry point and what was read
otherwise. One finding for the documented packers, one for the optional ones: the first of each that is complete.

No octet is read that pe_skips leaves out, so the result does not depend on who skips.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memset

from smtpinspect._core.counted cimport counted_give, counted_take
from smtpinspect._core.finding cimport C_PE_PACKED, Finding, found_nothing, found_so
from smtpinspect._core.packrows cimport (
    BY_SECTION,
    PackerRow,
    marker_row,
    markers_end,
    packer_row,
    packer_rows,
    section_name,
)
from smtpinspect._core.peentry cimport entry_begin, entry_leave, entry_octet, entry_wants
from smtpinspect._core.peimports cimport imports_look
from smtpinspect._core.pestate cimport (
    FILE_HEADER,
    GROUPS,
    IMPORTS_BEFORE,
    PE_BEHIND,
    PE_HEAD,
    PE_IMPORTS,
    Pe,
    SECTION,
    complete,
    offset_of,
    same,
    u16,
    u32,
)

from smtpinspect.grammar import limits as _limits

assert _limits.PE_HEAD == PE_HEAD and _limits.PE_BEHIND == PE_BEHIND and _limits.PE_IMPORTS == PE_IMPORTS
cdef int PE_SECTIONS = _limits.PE_SECTIONS

cdef enum:
    DOS_HEADER = 64
    OPTIONAL_HEADER = 136          # up to the import directory, in both forms
    NAME = 8
    DLL = 0x2000
    UPACK = 0x1018                 # its entry point


cdef Pe* pe_new() noexcept nogil:
    cdef Pe* e = <Pe*>counted_take(sizeof(Pe))
    if e != NULL:
        memset(e, 0, sizeof(Pe))
        e.best[0] = e.best[1] = e.early[0] = e.early[1] = -1
    return e


cdef void pe_free(Pe* e) noexcept nogil:
    counted_give(e)


cdef Py_ssize_t pe_feed(Pe* e, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0
    cdef int64_t skips
    found_nothing(found)
    if tell(e, found):
        return 0
    while used < n:
        skips = pe_skips(e)
        if skips >= n - used:
            pe_skip(e, n - used)
            return n
        if skips:
            pe_skip(e, skips)
            used += skips
        step(e, p[used])
        used += 1
        if tell(e, found):
            return used
    return n


cdef int64_t pe_skips(Pe* e) noexcept nogil:
    cdef int64_t least
    if e.best[0] >= 0 or e.best[1] >= 0:
        return 0
    if e.over:
        return INT64_MAX
    if not e.parsed or e.at < markers_end():
        return 0
    least = entry_wants(e)
    if e.imports_open:
        least = min(least, e.imports - IMPORTS_BEFORE - e.at)
    if least == INT64_MAX:
        e.over = True
    elif e.at < PE_HEAD:
        return 0
    return max(least, 0)


cdef void pe_skip(Pe* e, int64_t n) noexcept nogil:
    e.at += n


cdef bint pe_done(Pe* e) noexcept nogil:
    return pe_skips(e) == INT64_MAX


cdef bint tell(Pe* e, Finding* found) noexcept nogil:
    cdef PackerRow* row
    cdef int i
    for i in range(GROUPS):
        if e.best[i] >= 0:
            row = packer_row(e.best[i])
            found_so(found, C_PE_PACKED, row.packer, row.evidence)
            e.best[i] = -1
            e.found[i] = True
            e.over = e.found[0] and e.found[1]
            entry_leave(e, i)
            return True
    return False


cdef void step(Pe* e, uint8_t octet) noexcept nogil:
    cdef int64_t at = e.at, place
    if at < PE_HEAD:
        e.head[at] = octet
    if e.parsed:
        place = at - (e.entry - PE_BEHIND)
        if 0 <= place < PE_BEHIND:
            e.behind[place] = octet
        place = at - (e.imports - IMPORTS_BEFORE)
        if 0 <= place < PE_IMPORTS:
            e.around[place] = octet
    e.at += 1
    if at < markers_end():
        markers(e)
    if not e.parsed:
        headers(e)
        return
    entry_octet(e, at, octet)
    if e.imports_open and at >= e.imports_need:
        imports_look(e)


# --- headers ---------------------------------------------------------------------------------------


cdef void markers(Pe* e) noexcept nogil:
    """Those that end with the octet that came last."""
    cdef PackerRow* row
    cdef int i, k, start, place = 0
    while True:
        i = marker_row(place)
        if i < 0:
            return
        place += 1
        row = packer_row(i)
        start = <int>e.at - row.n
        if start < row.first or e.at > row.within:
            continue
        for k in range(row.n - 1, -1, -1):
            if not same(row.tokens[k], e.head[start + k]):
                break
        else:
            if e.gate:
                complete(e, i)
            elif e.early[row.group] < 0:
                e.early[row.group] = i


cdef void headers(Pe* e) noexcept nogil:
    cdef int have = <int>e.at, i
    if have == 2 and (e.head[0] != 77 or e.head[1] != 90):
        e.over = True
        return
    if have < DOS_HEADER:
        return
    if have == DOS_HEADER:
        if u32(e, 0x3C) > PE_HEAD - FILE_HEADER - OPTIONAL_HEADER:
            e.over = True
            return
        e.pe = <int>u32(e, 0x3C)
    if not e.gate:
        if have < e.pe + 4:
            return
        if u32(e, e.pe) != 0x4550:
            e.over = True
            return
        e.gate = True
        for i in range(GROUPS):
            if e.early[i] >= 0:
                complete(e, e.early[i])
    if not e.sections:
        if have < e.pe + FILE_HEADER:
            return
        e.sections = e.name_at = e.pe + FILE_HEADER + <int>u16(e, e.pe + 20)
        e.sections_n = min(<int>u16(e, e.pe + 6), PE_SECTIONS)
        e.headers_end = max(e.sections + SECTION * e.sections_n, e.pe + FILE_HEADER + OPTIONAL_HEADER)
        if e.headers_end > PE_HEAD:
            e.over = True
            return
    while e.name_at < have and e.name_at < e.sections + SECTION * e.sections_n:
        look_at_name(e)
        e.name_at += 1
    if have >= e.headers_end:
        parse(e)


cdef void look_at_name(Pe* e) noexcept nogil:
    """An octet of the section table: does it complete a name?"""
    cdef int place = (e.name_at - e.sections) % SECTION, n, number, i
    cdef PackerRow* row
    if place == 0:
        e.in_name = True
    if not e.in_name or (e.head[e.name_at] and place < NAME - 1):
        return
    e.in_name = False
    n = place + 1 if e.head[e.name_at] else place
    number = section_name(&e.head[e.name_at - place], n)
    if number < 0:
        return
    e.names |= <uint32_t>1 << number
    for i in range(packer_rows()):
        row = packer_row(i)
        if row.by == BY_SECTION and row.names & ~e.names == 0:
            complete(e, i)


cdef void parse(Pe* e) noexcept nogil:
    """The headers are there: where the entry point and the import directory lie."""
    cdef int o = e.pe + FILE_HEADER, i
    cdef uint32_t magic = u16(e, o), entry = u32(e, o + 16), code = u32(e, o + 4)
    e.parsed = True
    e.entry = e.imports = -1
    if magic == 0x10B:
        e.bits = 32
        e.image_base = u32(e, o + 28)
    elif magic == 0x20B:
        e.bits = 64
    else:
        return
    e.dll = u16(e, e.pe + 22) & DLL != 0
    e.no_code = code == 0
    e.unpacks = (
        e.sections_n > 2 and u32(e, e.sections + 16) == 0 and code != 0 and u32(e, o + 12) != 0 and entry != UPACK
    )
    if entry:
        e.entry = offset_of(e, entry)
    if e.entry >= 0:
        entry_begin(e, entry)
    i = o + (92 if e.bits == 32 else 108)
    if (e.unpacks or e.no_code) and u32(e, i) > 1:
        e.imports = offset_of(e, u32(e, i + 12))
        e.imports_open = e.imports >= 0
        if e.imports_open:
            imports_look(e)


cdef class PeScanner:
    """For tests: an executable in pieces."""

    cdef Pe* pe
    cdef int64_t fed

    def __cinit__(self):
        self.pe = pe_new()
        if self.pe == NULL:
            raise MemoryError

    def __dealloc__(self):
        pe_free(self.pe)

    def feed(self, const uint8_t[::1] octets not None):
        cdef Finding found
        cdef Py_ssize_t n = octets.shape[0], at = 0
        made = []
        found_nothing(&found)
        while at < n or found.kind >= 0:
            at += pe_feed(self.pe, &octets[0] + at, n - at, &found)
            if found.kind >= 0:
                made.append((self.fed + at - 1, found.kind, found.detail.decode(), found.evidence.decode()))
        self.fed += n
        return made

    def skip(self, int64_t n):
        assert 0 <= n <= self.skips
        pe_skip(self.pe, n)
        self.fed += n

    @property
    def skips(self):
        return pe_skips(self.pe)

    @property
    def done(self):
        return pe_done(self.pe)
