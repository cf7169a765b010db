"""A compound file (MS-CFB) passes by: does it hold a VBA project (MS-OVBA 2.2), or a PowerPoint atom that tells of one?

A project is a storage VBA with the streams dir and _VBA_PROJECT, and a stream PROJECT beside it. The directory tells,
and its sectors lie anywhere, in a chain that the FAT holds. The FAT may pass before or behind them. So an entry counts
when its sector is known to be of the chain, or not known not to be: as soon as the whole chain is known, entries in
other sectors (a compound file inside a stream) count no more. It is known when each FAT sector that it goes through
passes behind the one before it, and stands in the header's DIFAT (109 sectors: 6.8 MB with sectors of 512).

PowerPoint 97-2003 keeps its project inside a stream. There the VbaInfoAtom in its container tells (MS-PPT 2.4.10,
2.4.11), in a file that has a stream "PowerPoint Document". One that lies across two sectors that are not neighbours
is not seen.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from smtpinspect._core.counted cimport counted_give, counted_take
from smtpinspect._core.finding cimport C_OLE_VBA, Finding, found_nothing, found_so

from smtpinspect.grammar import limits as _limits

assert _limits.OLE_CHAIN == OLE_CHAIN and _limits.OLE_CANDIDATES == OLE_CANDIDATES

cdef enum:
    HEADER = 512
    LARGEST_SECTOR = 4096
    DIFAT = 109                    # entries in the header (MS-CFB 2.2)
    SLOT = 128                     # a directory entry (MS-CFB 2.6.1)
    ENTRY = 80                     # its head: name, length, type, colour, siblings, child
    ATOM = 24                      # container and atom up to fHasMacros

cdef enum:                         # what was seen
    SEEN_VBA = 1
    SEEN_DIR = 2
    SEEN_VBA_PROJECT = 4
    SEEN_PROJECT = 8
    SEEN_PROJECT_WHOLE = 15
    SEEN_POWERPOINT = 16
    SEEN_ATOM = 32
    SEEN_PRESENTATION = 48

cdef uint32_t LAST_SECTOR = 0xFFFFFFFA     # MAXREGSECT: higher numbers are marks
cdef uint32_t END_OF_CHAIN = 0xFFFFFFFE
cdef uint32_t NO_STREAM = 0xFFFFFFFF

cdef uint8_t[8] MAGIC = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]
# RT_VbaInfo (version 15, instance 1, 20 octets), RT_VbaInfoAtom (version 2, 12 octets)
cdef uint8_t[16] ATOM_HEAD = [0x1F, 0, 0xFF, 0x03, 20, 0, 0, 0, 0x02, 0, 0x00, 0x04, 12, 0, 0, 0]
cdef uint8_t[4] HAS_MACROS = [1, 0, 0, 0]

cdef enum:
    NAMES = 5

# Names as MS-OVBA 2.2 and MS-PPT 2.1.2 give them, upper case: entries are compared without case (MS-CFB 2.6.4).
ctypedef const char* Text

cdef Text[NAMES] NAME = [b"VBA", b"DIR", b"_VBA_PROJECT", b"PROJECT", b"POWERPOINT DOCUMENT"]
cdef int[NAMES] TYPE = [1, 2, 2, 2, 2]     # storage, stream
cdef int[NAMES] LENGTH = [3, 3, 12, 7, 19]
cdef int[NAMES] BIT = [SEEN_VBA, SEEN_DIR, SEEN_VBA_PROJECT, SEEN_PROJECT, SEEN_POWERPOINT]

cdef struct Candidate:             # a sector with such entries, not known to be of the directory
    uint32_t sector
    int seen

cdef struct Ole:
    int64_t at                     # octets that have passed
    int64_t sector_size
    int shift
    bint over
    bint whole                     # the directory's chain is known to its end
    bint lost                      # it cannot be followed
    int chain_n
    uint32_t[OLE_CHAIN] chain
    uint32_t[DIFAT] fat            # where the FAT lies
    int64_t fat_sector             # that is kept in `sector`, -1 none
    int sure                       # seen in sectors of the chain
    int other                      # seen elsewhere: an atom, and what found no room among the candidates
    int candidates_n
    Candidate[OLE_CANDIDATES] candidates
    uint8_t[ATOM - 1 + SLOT] slot  # this slot, and what stood before it
    uint8_t[LARGEST_SECTOR] sector


cdef Ole* ole_new() noexcept nogil:
    cdef Ole* o = <Ole*>counted_take(sizeof(Ole))
    if o != NULL:
        memset(o, 0, sizeof(Ole))
        o.fat_sector = -1
    return o


cdef void ole_free(Ole* o) noexcept nogil:
    counted_give(o)


cdef Py_ssize_t ole_feed(Ole* o, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0, k
    cdef int in_slot
    found_nothing(found)
    while used < n and not o.over:
        in_slot = <int>(o.at % SLOT)
        k = (ENTRY if in_slot < ENTRY else SLOT) - in_slot
        if k > n - used:
            k = n - used
        k = take(o, p + used, k, in_slot)
        used += k
        if o.over:
            return n
        if fires(o, found):
            return used
    return n


cdef int64_t ole_skips(Ole* o) noexcept nogil:
    return INT64_MAX if o.over else 0


cdef void ole_skip(Ole* o, int64_t n) noexcept nogil:
    o.at += n


cdef bint ole_done(Ole* o) noexcept nogil:
    return o.over


cdef Py_ssize_t take(Ole* o, const uint8_t* p, Py_ssize_t k, int in_slot) noexcept nogil:
    """Octets of one slot; fewer when an atom ends among them."""
    cdef int64_t in_sector
    cdef Py_ssize_t end
    memcpy(&o.slot[ATOM - 1 + in_slot], p, k)
    if not o.other & SEEN_ATOM:
        end = atom_end(o, in_slot, k)
        if end:
            o.other |= SEEN_ATOM
            k = end
    if o.at < HEADER:
        memcpy(&o.sector[o.at], p, k)
    elif o.fat_sector >= 0:
        in_sector = o.at & (o.sector_size - 1)
        memcpy(&o.sector[in_sector], p, k)
    o.at += k
    in_slot += <int>k
    if o.at < HEADER:
        if in_slot == SLOT:
            next_slot(o)
        return k
    if o.at == HEADER:
        header(o)
        next_slot(o)
        if not o.over and o.shift == 9:
            next_sector(o)
        return k
    if in_slot == ENTRY and o.at > o.sector_size:
        entry(o, &o.slot[ATOM - 1])
    elif in_slot == SLOT:
        next_slot(o)
        if not o.at & (o.sector_size - 1):
            sector_end(o)
    return k


cdef void next_slot(Ole* o) noexcept nogil:
    memmove(&o.slot[0], &o.slot[SLOT], ATOM - 1)


cdef Py_ssize_t atom_end(Ole* o, int in_slot, Py_ssize_t k) noexcept nogil:
    """How many of the k octets just put into the slot an atom needs that they complete; 0: none."""
    cdef const uint8_t* start = &o.slot[in_slot]
    cdef const uint8_t* end = start + k           # behind the last place where one may begin
    cdef const uint8_t* q = start
    while q < end:
        q = <const uint8_t*>memchr(q, ATOM_HEAD[0], end - q)
        if q == NULL:
            return 0
        if memcmp(q, ATOM_HEAD, 16) == 0 and memcmp(q + 20, HAS_MACROS, 4) == 0:
            return q - start + 1
        q += 1
    return 0


cdef uint32_t u32(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef uint32_t u16(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8)


cdef void header(Ole* o) noexcept nogil:
    cdef const uint8_t* h = o.sector
    cdef int i
    o.shift = u16(h + 0x1E)
    if memcmp(h, MAGIC, 8) != 0 or u16(h + 0x1C) != 0xFFFE or (o.shift != 9 and o.shift != 12):
        o.over = True
        return
    o.sector_size = (<int64_t>1) << o.shift
    o.chain[0] = u32(h + 0x30)
    o.chain_n = 1
    if o.chain[0] > LAST_SECTOR:
        o.over = True
        return
    for i in range(DIFAT):
        o.fat[i] = u32(h + 0x4C + 4 * i)


cdef uint32_t sector_now(Ole* o) noexcept nogil:
    """The sector of the next octet."""
    return <uint32_t>((o.at >> o.shift) - 1)


cdef int64_t fat_of(Ole* o) noexcept nogil:
    """Which sector of the FAT tells what follows the end of the chain as it is known; -1: not to be told."""
    cdef uint32_t place = o.chain[o.chain_n - 1] >> (o.shift - 2)
    if place >= DIFAT or o.fat[place] > LAST_SECTOR:
        return -1
    return o.fat[place]


cdef void next_sector(Ole* o) noexcept nogil:
    """A sector begins: is it the one of the FAT that is wanted?"""
    cdef int64_t wanted
    o.fat_sector = -1
    if o.whole or o.lost:
        return
    wanted = fat_of(o)
    if wanted < 0 or wanted < sector_now(o):
        o.lost = True
    elif wanted == sector_now(o):
        o.fat_sector = wanted


cdef void sector_end(Ole* o) noexcept nogil:
    cdef uint32_t last
    if o.fat_sector >= 0:
        follow(o)
    next_sector(o)
    if o.whole:
        last = sector_now(o) - 1
        o.over = passed_all(o, last)


cdef bint passed_all(Ole* o, uint32_t last) noexcept nogil:
    """The whole directory has passed, and no atom is waited for."""
    cdef int i
    for i in range(o.chain_n):
        if o.chain[i] > last:
            return False
    return not o.sure & SEEN_POWERPOINT


cdef void follow(Ole* o) noexcept nogil:
    """The chain goes on as far as this sector of the FAT tells."""
    cdef uint32_t mask = (<uint32_t>1 << (o.shift - 2)) - 1, then
    cdef int64_t here = o.fat_sector
    while fat_of(o) == here:
        then = u32(&o.sector[4 * (o.chain[o.chain_n - 1] & mask)])
        if then == END_OF_CHAIN:
            o.whole = True
            settle(o)
            return
        if then > LAST_SECTOR or o.chain_n == OLE_CHAIN or in_chain(o, then):
            o.lost = True
            return
        o.chain[o.chain_n] = then
        o.chain_n += 1


cdef bint in_chain(Ole* o, uint32_t sector) noexcept nogil:
    cdef int i
    for i in range(o.chain_n):
        if o.chain[i] == sector:
            return True
    return False


cdef void settle(Ole* o) noexcept nogil:
    """The chain is whole: candidates are of it, or they were none."""
    cdef int i
    for i in range(o.candidates_n):
        if in_chain(o, o.candidates[i].sector):
            o.sure |= o.candidates[i].seen
    o.candidates_n = 0
    o.other &= SEEN_ATOM


cdef void entry(Ole* o, const uint8_t* e) noexcept nogil:
    cdef uint32_t sector
    cdef int i, seen = named(e)
    if seen == 0:
        return
    sector = <uint32_t>(((o.at - 1) >> o.shift) - 1)
    if in_chain(o, sector):
        o.sure |= seen
        return
    if o.whole:
        return
    for i in range(o.candidates_n):
        if o.candidates[i].sector == sector:
            o.candidates[i].seen |= seen
            return
    if o.candidates_n == OLE_CANDIDATES:
        o.other |= seen
        return
    o.candidates[o.candidates_n].sector = sector
    o.candidates[o.candidates_n].seen = seen
    o.candidates_n += 1


cdef bint plausible(uint32_t stream) noexcept nogil:
    return stream <= LAST_SECTOR or stream == NO_STREAM


cdef int named(const uint8_t* e) noexcept nogil:
    """The bit of a well-formed entry with one of the names; 0: it has none."""
    cdef uint32_t n = u16(e + 0x40)
    cdef int i
    cdef uint8_t k
    cdef uint8_t c
    if e[0x43] > 1 or not (plausible(u32(e + 0x44)) and plausible(u32(e + 0x48)) and plausible(u32(e + 0x4C))):
        return 0
    for i in range(NAMES):
        if n != 2 * <uint32_t>LENGTH[i] + 2 or e[0x42] != TYPE[i]:
            continue
        for k in range(LENGTH[i] + 1):
            c = e[2 * k]
            if c >= 97 and c <= 122:
                c -= 32
            if e[2 * k + 1] or c != <uint8_t>NAME[i][k]:
                break
        else:
            return BIT[i]
    return 0


cdef bint fires(Ole* o, Finding* found) noexcept nogil:
    cdef int i, seen = o.sure | o.other
    for i in range(o.candidates_n):
        seen |= o.candidates[i].seen
    if seen & SEEN_PROJECT_WHOLE != SEEN_PROJECT_WHOLE and seen & SEEN_PRESENTATION != SEEN_PRESENTATION:
        return False
    if seen & SEEN_PROJECT_WHOLE == SEEN_PROJECT_WHOLE:
        found_so(found, C_OLE_VBA, b"compound", b"storage")
    else:
        found_so(found, C_OLE_VBA, b"powerpoint", b"atom")
    o.over = True
    return True


cdef class OleScanner:
    """For tests: a compound file in pieces."""

    cdef Ole* ole
    cdef int64_t fed

    def __cinit__(self):
        self.ole = ole_new()
        if self.ole == NULL:
            raise MemoryError

    def __dealloc__(self):
        ole_free(self.ole)

    def feed(self, const uint8_t[::1] octets not None):
        cdef Finding found
        cdef Py_ssize_t n = octets.shape[0], at = 0
        made = []
        while at < n:
            at += ole_feed(self.ole, &octets[at], n - at, &found)
            if found.kind >= 0:
                made.append((self.fed + at - 1, found.kind, found.detail.decode(), found.evidence.decode()))
        self.fed += n
        return made

    def skip(self, int64_t n):
        assert 0 <= n <= self.skips
        ole_skip(self.ole, n)
        self.fed += n

    @property
    def skips(self):
        return ole_skips(self.ole)

    @property
    def done(self):
        return ole_done(self.ole)
