"""The records of a zip archive while it passes: which member is encrypted, and where members lie.

A member whose end is not told before it, and which is not deflated, is read until the next record:
a data descriptor with the signature and the right number of octets, or a header whose fields make sense. The
central directory would tell for sure, but it comes too late for somebody who judges while octets pass.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memmove, memset

from smtpinspect._core.counted cimport counted_give, counted_take
from smtpinspect._core.finding cimport C_ZIP_ENCRYPTED, Finding, found_nothing, found_so
from smtpinspect._core.span cimport le16, le32

cdef enum:                     # signatures, as le32 reads them
    S_LOCAL = 0x04034B50
    S_CENTRAL = 0x02014B50
    S_DESCRIPTOR = 0x08074B50
    S_EXTRA_DATA = 0x08064B50  # in front of an encrypted central directory
    S_SIGNATURE = 0x05054B50
    S_END = 0x06054B50
    S_END_64 = 0x06064B50
    S_LOCATOR = 0x07064B50

cdef enum:                     # general purpose bits
    ENCRYPTED = 1
    STRONG = 64
    MASKED = 0x2000            # the central directory is encrypted, local headers are masked
    UNDEFINED = 0xC780         # bits without a meaning: no header

cdef enum:
    LOCAL_N = 30
    CENTRAL_N = 46
    CENTRAL_SEEN = 34          # of a central header: enough to believe it
    DESCRIPTOR_N = 16          # with signature, 32-bit sizes
    DESCRIPTOR_MOST = 28       # 24 with 64-bit sizes, and the next signature
    M_AES = 99
    X_SIZES = 0x0001           # extra fields
    X_STRONG = 0x0017
    X_AES = 0x9901
    AES_N = 7
    LARGE = -1                 # 0xFFFFFFFF: see the extra field 1

cdef const char* LOCAL_WORD = b"local header"
cdef const char* CENTRAL_WORD = b"central directory"
cdef const char* AES_WORDS[4]
AES_WORDS[:] = [b"", b"aes-128", b"aes-192", b"aes-256"]


cdef Zip* zip_new() noexcept nogil:
    cdef Zip* z = <Zip*>counted_take(sizeof(Zip))
    if z != NULL:
        memset(z, 0, sizeof(Zip))
    return z


cdef void zip_free(Zip* z) noexcept nogil:
    counted_give(z)


cdef void tell(Zip* z, const char* detail, bint named, Finding* found) noexcept nogil:
    """An archive is told once."""
    cdef int i
    if z.told:
        return
    z.told = True
    found_so(found, C_ZIP_ENCRYPTED, detail, CENTRAL_WORD if z.central else LOCAL_WORD)
    if named:
        found.name_n = z.name_n
        for i in range(z.name_n):
            found.name[i] = z.name[i]


# ---- headers: fixed part, name, extra fields, comment

cdef void flags_read(Zip* z, uint32_t flags, Finding* found) noexcept nogil:
    z.flags = flags
    if flags & MASKED:
        tell(z, b"cd-encrypted", False, found)


cdef void header_read(Zip* z, Finding* found) noexcept nogil:
    """The fixed part is whole."""
    cdef const uint8_t* p = &z.head[0]
    cdef const uint8_t* fields = p + 10 if z.central else p + 8  # method and what both headers have behind it
    cdef uint32_t size = le32(fields + 10)
    z.method = le16(fields)
    z.large = size == <uint32_t>LARGE
    z.large_out = le32(fields + 14) == <uint32_t>LARGE
    z.size = size
    if z.large or size == 0 and z.flags & (DESCRIBED | MASKED):
        z.size = -1
    z.name_left = le16(fields + 18)
    z.extra_left = le16(fields + 20)
    z.comment_left = le16(fields + 22) if z.central else 0
    z.encrypted = z.flags & (ENCRYPTED | STRONG | MASKED) or z.method == M_AES
    z.name_n = 0
    z.last = 0
    z.field_at = 0
    z.state = Z_NAME
    if z.name_left == 0:
        name_read(z, found)


cdef void name_read(Zip* z, Finding* found) noexcept nogil:
    """Without the name a directory cannot be told from a file."""
    z.directory = z.last == 47
    if not z.directory:
        if z.flags & STRONG:
            tell(z, b"strong", True, found)
        elif z.flags & ENCRYPTED and z.method != M_AES:
            tell(z, b"zipcrypto", True, found)
    z.state = Z_EXTRA
    if z.extra_left == 0:
        extra_read(z, found)


cdef void extra_read(Zip* z, Finding* found) noexcept nogil:
    if z.flags & ENCRYPTED and z.method == M_AES and not z.directory:
        tell(z, b"", True, found)  # the strength is missing
    z.at = 0
    if not z.central:
        z.state = Z_DATA
    else:
        z.state = Z_COMMENT if z.comment_left else Z_RECORD


cdef void extra_octet(Zip* z, uint8_t c, Finding* found) noexcept nogil:
    """One octet of the extra fields; `head` keeps the first ones of each."""
    cdef uint32_t at = z.field_at
    if at < HEADER:
        z.head[at] = c
    z.field_at += 1
    z.extra_left -= 1
    if at == 3:
        z.field_id = le16(&z.head[0])
        z.field_n = le16(&z.head[2])
        if z.field_id == X_STRONG and z.field_n <= z.extra_left and not z.directory:
            z.encrypted = True
            tell(z, b"strong", True, found)
    elif z.field_id == X_AES and at == 8 and z.method == M_AES and z.field_n >= AES_N and not z.directory:
        if z.head[6] == 65 and z.head[7] == 69 and 1 <= c <= 3:
            tell(z, AES_WORDS[c], True, found)
    elif z.field_id == X_SIZES and at == (19 if z.large_out else 11) and z.large and z.field_n + 4 > at:
        large_size(z, le64(&z.head[at - 7]))
    if at >= 3 and z.field_at == z.field_n + 4:
        z.field_at = 0
        z.field_id = 0
    if z.extra_left == 0:
        z.field_id = 0
        extra_read(z, found)


cdef inline uint64_t le64(const uint8_t* p) noexcept nogil:
    return le32(p) | <uint64_t>le32(p + 4) << 32


cdef void large_size(Zip* z, uint64_t size) noexcept nogil:
    """From the extra field 1."""
    if size or not z.flags & (DESCRIBED | MASKED):
        z.size = <int64_t>(size if size < <uint64_t>1 << 62 else <uint64_t>1 << 62)


# ---- what comes behind a record

cdef bint record(Zip* z, uint32_t signature, Finding* found) noexcept nogil:
    """Begin the record with this signature."""
    if signature == S_LOCAL or signature == S_CENTRAL:
        z.central = signature == S_CENTRAL
        z.state = Z_CENTRAL if z.central else Z_LOCAL
        z.at = 4
        return True
    if signature == S_EXTRA_DATA:
        z.central = True
        tell(z, b"cd-encrypted", False, found)
    elif signature not in (S_END, S_END_64, S_LOCATOR, S_SIGNATURE):
        return False
    z.state = Z_DONE  # all headers have been seen
    return True


cdef void reread(Zip* z) noexcept nogil:
    """What `head` holds is no record: look for one, there too."""
    z.state = Z_SEEK
    z.sought = -1
    z.strict = False
    drop(z)
    sift(z)


cdef void descriptor_octet(Zip* z, uint8_t c, Finding* found) noexcept nogil:
    """Its form is known only by where the next record begins."""
    cdef int n = z.at - 3
    z.head[z.at] = c
    z.at += 1
    # nothing; the rest of 64-bit sizes; 32-bit sizes, or 64-bit ones, both with the signature or without it
    if n in (0, 8, 12, 16, 20, 24) and record(z, le32(&z.head[n]), found):
        return
    if z.at == DESCRIPTOR_MOST:
        reread(z)


cdef void zip_data_end(Zip* z) noexcept nogil:
    z.at = 0
    z.state = Z_DESCRIPTOR if z.flags & DESCRIBED else Z_RECORD


# ---- looking for a record

cdef void zip_seek(Zip* z, bint counted) noexcept nogil:
    z.at = 0
    z.state = Z_SEEK
    z.sought = 0 if counted else -1
    z.strict = False


cdef bint plausible(const uint8_t* p) noexcept nogil:
    """The fields from `version needed` on, of a local or central header: could they be one?"""
    cdef uint32_t method = le16(p + 4)
    return p[0] < 100 and le16(p + 2) & UNDEFINED == 0 and (method <= 20 or 93 <= method <= 99)


cdef int candidate(Zip* z) noexcept nogil:
    """`head` may begin a record. -1: no, 0: more octets are needed, else the signature."""
    cdef const uint8_t* p = &z.head[0]
    cdef uint32_t signature
    cdef uint8_t kind
    if z.at < 4:
        kind = p[2] if z.at > 2 else 3
        return -1 if p[0] != 80 or z.at > 1 and p[1] != 75 or kind not in (1, 3, 7) else 0
    signature = le32(p)
    if signature == S_LOCAL and not z.strict:
        return 0 if z.at < LOCAL_N else (signature if plausible(p + 4) and le16(p + 26) else -1)
    if signature == S_CENTRAL and not z.strict:
        return 0 if z.at < CENTRAL_SEEN else (signature if plausible(p + 6) and le16(p + 28) else -1)
    if signature == S_DESCRIPTOR and z.sought >= 0:
        if z.at < DESCRIPTOR_N:
            return 0
        return signature if le32(p + 8) == <uint32_t>z.sought else -1
    return -1


cdef void drop(Zip* z) noexcept nogil:
    """Up to the next octet that may begin a record."""
    cdef int k = 1
    while k < z.at and z.head[k] != 80:
        k += 1
    z.at -= k
    memmove(&z.head[0], &z.head[k], z.at)
    if z.sought >= 0:
        z.sought += k


cdef int sift(Zip* z) noexcept nogil:
    cdef int what = 0
    while z.at > 0:
        what = candidate(z)
        if what >= 0:
            return what
        drop(z)
    return 0


cdef void seek_octet(Zip* z, uint8_t c, Finding* found) noexcept nogil:
    cdef int what
    z.head[z.at] = c
    z.at += 1
    what = sift(z)
    if what == S_DESCRIPTOR:
        z.at = 0
        z.state = Z_DESCRIPTOR
    elif what:
        z.central = what == S_CENTRAL
        z.state = Z_CENTRAL if z.central else Z_LOCAL
        flags_read(z, le16(&z.head[8 if z.central else 6]), found)
        if not z.central:
            header_read(z, found)


cdef Py_ssize_t zip_plain(Zip* z, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* at
    if z.at > 0 or n == 0:
        return 0
    at = <const uint8_t*>memchr(p, 80, n)
    return at - p if at != NULL else n


cdef void zip_pass(Zip* z, Py_ssize_t n) noexcept nogil:
    if z.sought >= 0:
        z.sought += n


cdef Py_ssize_t seek(Zip* z, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t i = 0, k
    while i < n and z.state == Z_SEEK and found.kind < 0:
        k = zip_plain(z, p + i, n - i)
        zip_pass(z, k)
        i += k
        if i < n:
            seek_octet(z, p[i], found)
            i += 1
    return i


# ---- octets in

cdef void octet(Zip* z, uint8_t c, Finding* found) noexcept nogil:
    if z.state == Z_NAME:
        if z.name_n < 255:
            z.name[z.name_n] = c
            z.name_n += 1
        z.last = c
        z.name_left -= 1
        if z.name_left == 0:
            name_read(z, found)
        return
    if z.state == Z_EXTRA:
        extra_octet(z, c, found)
        return
    if z.state == Z_DESCRIPTOR:
        descriptor_octet(z, c, found)
        return
    z.head[z.at] = c
    z.at += 1
    if z.state == Z_RECORD:
        if z.at == 4 and not record(z, le32(&z.head[0]), found):
            reread(z)
    elif z.state == Z_LOCAL:
        if z.at == 8:
            flags_read(z, le16(&z.head[6]), found)
        elif z.at == LOCAL_N:
            header_read(z, found)
    elif z.state == Z_CENTRAL:
        if z.at == 10:
            flags_read(z, le16(&z.head[8]), found)
        elif z.at == CENTRAL_N:
            header_read(z, found)


cdef Py_ssize_t zip_feed(Zip* z, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t i = 0, k
    found_nothing(found)
    while i < n and found.kind < 0 and z.state != Z_DATA and z.state != Z_DONE:
        if z.state == Z_SEEK:
            i += seek(z, p + i, n - i, found)
        elif z.state == Z_COMMENT:
            k = n - i if n - i < z.comment_left else <Py_ssize_t>z.comment_left
            z.comment_left -= <uint32_t>k
            i += k
            if z.comment_left == 0:
                z.state = Z_RECORD
        else:
            octet(z, p[i], found)
            i += 1
    return i
