"""What a file is, by its first octets and never by its name."""

from libc.stdint cimport uint8_t, uint32_t

from smtpinspect._core.finding cimport (
    C_ARCHIVE_NESTED, C_OLE_VBA, C_OOXML_VBA, C_PE_PACKED, C_ZIP_ENCRYPTED,
)

cdef enum:
    MAGICS = 6
    ANY = 1 << C_ZIP_ENCRYPTED | 1 << C_OLE_VBA | 1 << C_OOXML_VBA | 1 << C_PE_PACKED | 1 << C_ARCHIVE_NESTED

cdef struct Magic:
    const char* octets
    int n
    int layer
    uint32_t for_any           # of these kinds; in a zip of `in_zip`
    uint32_t in_zip

cdef Magic[MAGICS] TABLE
TABLE[:] = [
    Magic(b"PK\3\4", 4, L_ZIP, ANY, ANY),              # a local header
    Magic(b"PK\5\6", 4, L_ZIP, ANY, ANY),              # the end of an empty archive
    Magic(b"PK\6\10", 4, L_ZIP, ANY, ANY),             # an archive extra data record
    Magic(b"\x1f\x8b\x08", 3, L_GZIP, ANY, ANY),       # deflate is its only method
    Magic(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, L_OLE, 1 << C_OLE_VBA, 1 << C_OOXML_VBA),
    Magic(b"MZ", 2, L_PE, 1 << C_PE_PACKED, 1 << C_PE_PACKED),
]


cdef int sniff_begin(Sniff* s, uint32_t wants, bint in_zip) noexcept nogil:
    cdef int i
    s.n = 0
    s.alive = 0
    for i in range(MAGICS):
        if wants & (TABLE[i].in_zip if in_zip else TABLE[i].for_any):
            s.alive |= <uint32_t>1 << i
    return L_SNIFF if s.alive else L_DONE


cdef int sniff_octet(Sniff* s, uint8_t octet) noexcept nogil:
    cdef int i
    s.head[s.n] = octet
    s.n += 1
    for i in range(MAGICS):
        if not s.alive >> i & 1:
            continue
        if <uint8_t>TABLE[i].octets[s.n - 1] != octet:
            s.alive &= ~(<uint32_t>1 << i)
        elif s.n == TABLE[i].n:
            return TABLE[i].layer
    return L_SNIFF if s.alive else L_DONE
