"""The records of a zip archive while it passes: which member is encrypted, and where members lie.

Sources: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5; WinZip AE-2 for method 99.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.finding cimport Finding

cdef enum:                     # what comes next
    Z_RECORD = 0               # a signature
    Z_LOCAL = 1
    Z_CENTRAL = 2
    Z_NAME = 3
    Z_EXTRA = 4
    Z_COMMENT = 5
    Z_DATA = 6                 # the octets of a member: the caller's
    Z_DESCRIPTOR = 7           # behind them, in one of its forms, or nothing
    Z_SEEK = 8                 # any octets: the next record is looked for
    Z_DONE = 9

cdef enum:
    M_STORED = 0
    M_DEFLATED = 8
    DESCRIBED = 8              # general purpose bit: sizes stand behind the octets
    HEADER = 46                # octets of the longest header

cdef struct Zip:
    uint8_t state
    bint central               # the header that is being read
    bint told                  # an encrypted member
    # the member
    uint32_t flags
    uint32_t method
    bint encrypted
    bint directory
    int64_t size               # octets of it in the archive, -1: not told before it
    uint8_t name_n
    uint8_t[255] name
    # what is left of the header
    uint32_t name_left
    uint32_t extra_left
    uint32_t comment_left
    uint8_t last               # octet of the name
    uint32_t field_id          # of the extra field that is being read
    uint32_t field_n
    uint32_t field_at
    bint large, large_out      # sizes that stand in the extra field 1
    # of a header, a descriptor or what may be one
    uint8_t[HEADER] head
    int at
    # Z_SEEK
    bint strict                # the octets are an archive: only a descriptor with the right size ends them
    int64_t sought             # octets before `head`; -1: those of no member

cdef Zip* zip_new() noexcept nogil                       # NULL: no memory
cdef void zip_free(Zip* z) noexcept nogil
# Octets consumed; stops before a member's octets (Z_DATA), and behind the octet that decided (found.kind >= 0).
cdef Py_ssize_t zip_feed(Zip* z, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil
cdef void zip_data_end(Zip* z) noexcept nogil            # the member's octets are over
cdef void zip_seek(Zip* z, bint counted) noexcept nogil  # their end is not known; counted: from their first one
# Of octets that are looked through: how many cannot begin a record; these may be passed without a look.
cdef Py_ssize_t zip_plain(Zip* z, const uint8_t* p, Py_ssize_t n) noexcept nogil
cdef void zip_pass(Zip* z, Py_ssize_t n) noexcept nogil
