"""What a scan of an attachment's octets can find."""

from libc.stdint cimport uint8_t

cdef enum:                    # facts.CONTENT.kind
    C_ZIP_ENCRYPTED = 0
    C_OLE_VBA = 1
    C_OOXML_VBA = 2
    C_PE_PACKED = 3
    C_ARCHIVE_NESTED = 4
    C_SCAN_LIMIT = 5
    C_KINDS = 6

cdef struct Finding:
    int kind                  # C_..., -1 none
    int depth                 # archives around it
    const char* detail        # static words
    const char* evidence
    uint8_t name_n
    uint8_t[255] name         # of the member it lies in; empty outside archives


cdef inline void found_nothing(Finding* found) noexcept nogil:
    found.kind = -1
    found.depth = 0
    found.detail = b""
    found.evidence = b""
    found.name_n = 0


cdef inline void found_so(Finding* found, int kind, const char* detail, const char* evidence) noexcept nogil:
    """A finding without a name; whoever knows depth and name fills them in."""
    found_nothing(found)
    found.kind = kind
    found.detail = detail
    found.evidence = evidence
