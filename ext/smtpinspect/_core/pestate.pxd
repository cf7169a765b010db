"""What is known of an executable that passes by: shared by pescan, peentry and peimports."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from smtpinspect._core.packrows cimport PACKER_PATTERN, PACKER_ROWS, T_ANY, T_DIGIT, packer_row

cdef enum:
    PE_HEAD = 5120                 # limits.PE_HEAD
    PE_BEHIND = 2048               # limits.PE_BEHIND
    PE_IMPORTS = 2048              # limits.PE_IMPORTS

cdef enum:
    FILE_HEADER = 24               # with PE\0\0
    SECTION = 40
    WINDOWS = 6                    # places that jumps lead to, and the entry point
    IMPORTS_BEFORE = 512           # of PE_IMPORTS
    GROUPS = 2

cdef enum:                         # what a look at an octet says beside its value
    NOT_YET = -1
    NEVER = -2

cdef struct Window:                # octets that patterns are compared with
    int64_t at                     # in the file
    uint32_t rva
    int n
    int most                       # n, when the rest was not kept
    uint8_t[PACKER_PATTERN] octets

cdef struct Matching:              # how far a row's pattern got
    uint8_t token
    uint8_t window
    uint8_t octet
    bint alive

cdef struct Pe:
    int64_t at                     # octets that have passed
    bint over
    bint gate                      # MZ and PE\0\0 were seen
    bint parsed
    bint[GROUPS] found
    int[GROUPS] best               # rows that are complete and not told yet, -1 none
    int[GROUPS] early              # markers before the gate
    int pe                         # where PE\0\0 stands
    int sections
    int sections_n
    int headers_end
    int name_at                    # octet of the section table that is looked at next
    bint in_name
    uint32_t names
    int bits
    uint32_t image_base
    int64_t entry
    int alive                      # rows
    int windows_n
    bint imports_open
    int64_t imports
    int64_t imports_need
    bint dll
    bint unpacks
    bint no_code
    Window[WINDOWS] windows
    Matching[PACKER_ROWS] rows
    uint8_t[PE_HEAD] head
    uint8_t[PE_BEHIND] behind      # the octets before the entry point
    uint8_t[PE_IMPORTS] around     # the import directory


cdef inline void complete(Pe* e, int number) noexcept nogil:
    """This octet completes a row: of several in a group the first in the table counts."""
    cdef int group = packer_row(number).group
    if not e.found[group] and (e.best[group] < 0 or number < e.best[group]):
        e.best[group] = number


cdef inline bint same(uint16_t token, uint8_t octet) noexcept nogil:
    return token == octet or token == T_ANY or (token == T_DIGIT and 48 <= octet <= 57)


cdef inline uint32_t u16(Pe* e, int at) noexcept nogil:
    return e.head[at] | (<uint32_t>e.head[at + 1] << 8)


cdef inline uint32_t u32(Pe* e, int at) noexcept nogil:
    return u16(e, at) | (u16(e, at + 2) << 16)


cdef inline int64_t offset_of(Pe* e, uint32_t rva) noexcept nogil:
    """Where in the file stands what is loaded at this address; -1: nowhere."""
    cdef int i, at, best = -1
    cdef uint32_t start, raw, least = 0
    for i in range(e.sections_n):
        at = e.sections + SECTION * i
        start = u32(e, at + 12)
        if start <= rva and (best < 0 or start >= least):
            best = at
            least = start
    if best < 0:
        return rva if rva < u32(e, e.pe + FILE_HEADER + 60) else -1
    if rva - least >= u32(e, best + 16):
        return -1
    raw = u32(e, best + 20)
    if u32(e, e.pe + FILE_HEADER + 36) >= 512:
        raw &= ~<uint32_t>511              # the loader rounds down
    return <int64_t>raw + (rva - least)
