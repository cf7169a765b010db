"""grammar.packers as C arrays: packed once, when this is imported."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    PACKER_ROWS = 320          # limits.PACKER_ROWS
    PACKER_PATTERN = 72        # limits.PACKER_PATTERN
    PACKER_NAMES = 8           # of sections, and of functions

cdef enum:                     # tokens behind the 256 octets
    T_ANY = 256
    T_DIGIT = 257
    T_REL8 = 258
    T_REL32 = 259
    T_ABS32 = 260

cdef enum:                     # grammar.packers.Evidence
    BY_SECTION = 0
    BY_MARKER = 1
    BY_ENTRY = 2
    BY_IMPORTS = 3

cdef enum:                     # grammar.packers.Condition
    IF_ALWAYS = 0
    IF_UNPACKS = 1
    IF_UNPACKS_DLL = 2
    IF_NO_CODE = 3

cdef struct PackerRow:
    const char* packer
    const char* evidence
    uint8_t group              # 0 documented, 1 optional
    uint8_t by
    uint8_t bits               # 32, 64, 0 both
    uint8_t condition
    uint16_t first             # octets of the file in which a marker lies
    uint16_t within
    uint8_t n                  # tokens, or functions
    uint32_t names             # sections: bits of SECTION_NAMES
    uint16_t[PACKER_PATTERN] tokens    # or numbers of FUNCTION_NAMES

cdef PackerRow* packer_row(int number) noexcept nogil
cdef int packer_rows() noexcept nogil
cdef int marker_row(int place) noexcept nogil                  # the rows of markers; -1 behind the last
cdef int markers_end() noexcept nogil                          # no marker is looked for behind
cdef int section_name(const uint8_t* p, int n) noexcept nogil  # its number, -1: none
cdef const char* function_name(int number) noexcept nogil      # NULL behind the last
