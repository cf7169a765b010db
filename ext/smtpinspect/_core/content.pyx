"""The content of an attachment, judged while it passes: what it is, by its first octets, and what lies in it.

A Content is one layer: it sniffs, then hands its octets to the scanner of that kind. The members of an archive
go to a child, which is a Content again. All layers of a part share a Scan.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset, strcmp

from smtpinspect._core.counted cimport counted_give, counted_take
from smtpinspect._core.finding cimport (
    C_ARCHIVE_NESTED, C_KINDS, C_OLE_VBA, C_OOXML_VBA, C_SCAN_LIMIT, Finding, found_nothing, found_so,
)
from smtpinspect._core.gzipscan cimport G_DATA, G_DONE, Gzip, gzip_data_end, gzip_feed, gzip_free, gzip_new
from smtpinspect._core.inflate cimport (
    Inflate, inflate_back, inflate_bomb, inflate_close, inflate_free, inflate_more, inflate_new, inflate_open,
    inflate_room,
)
from smtpinspect._core.leaf cimport Leaf, leaf_close, leaf_done, leaf_feed, leaf_open, leaf_skip, leaf_skips
from smtpinspect._core.sniff cimport L_DONE, L_GZIP, L_SNIFF, L_ZIP, Sniff, sniff_begin, sniff_octet
from smtpinspect._core.zipscan cimport (
    DESCRIBED, M_DEFLATED, M_STORED, Z_DATA, Z_DONE, Z_SEEK, Zip, zip_data_end, zip_feed, zip_free, zip_new, zip_pass,
    zip_plain, zip_seek,
)
from smtpinspect.grammar import limits as _limits

cdef int ARCHIVE_DEPTH = _limits.ARCHIVE_DEPTH
cdef uint32_t CONTENT_FINDINGS = _limits.CONTENT_FINDINGS

cdef enum:                     # how the octets of a zip member are read
    R_NONE = 0                 # no member is open
    R_SKIP = 1
    R_STORED = 2
    R_DEFLATED = 3
    R_SOUGHT = 4               # stored, its end not told

cdef enum:
    UNWATCHED = 1 << 23        # more than a piece of input can become: CHECKED * 1032, and OUT
    ANY = (1 << C_SCAN_LIMIT) - 1  # kinds that are worth looking

cdef struct Scan:              # of one part, all its layers
    uint32_t wants
    bint over                  # nothing more is judged
    bint limited
    bint depth_told
    uint32_t[C_KINDS] told
    int64_t* inflated          # octets, of all layers at the last look
    int64_t own                # they are counted here when nobody else counts them

cdef struct Content:
    Scan* scan
    int depth
    uint8_t layer              # L_...
    bint in_zip
    bint unread                # a zip, too deep to be read
    bint more                  # found something: wants to be asked again, even without octets
    Sniff sniff
    bint nested, deep          # to be told: archive-nested, scan-limit depth
    bint replay                # `sniff.head` is still to be read by the layer's scanner
    # one of them, by the layer
    Zip* zip
    Gzip* gzip
    Leaf leaf
    # what an archive holds
    uint8_t how                # R_...
    int64_t left               # octets of the member in the archive, -1: not known
    Inflate* inflate
    Content* child


# ---- making, ending

cdef void begin(Content* c, Scan* scan, int depth, bint in_zip) noexcept nogil:
    memset(c, 0, sizeof(Content))
    c.scan = scan
    c.depth = depth
    c.in_zip = in_zip
    c.layer = sniff_begin(&c.sniff, scan.wants, in_zip)


cdef Content* content_new(uint32_t wants, int64_t* inflated) noexcept nogil:
    cdef Content* c = <Content*>counted_take(sizeof(Content) + sizeof(Scan))
    cdef Scan* scan = <Scan*>(c + 1)
    if c == NULL:
        return NULL
    memset(scan, 0, sizeof(Scan))
    scan.wants, scan.inflated = wants, inflated if inflated != NULL else &scan.own
    begin(c, scan, 0, False)
    return c


cdef void content_free(Content* c) noexcept nogil:
    if c != NULL:
        finish(c)
        counted_give(c)


cdef void close_member(Content* c) noexcept nogil:
    content_free(c.child)
    c.child = NULL
    inflate_free(c.inflate)
    c.inflate = NULL
    c.how = R_NONE


cdef void finish(Content* c) noexcept nogil:
    """Nothing more of this layer is wanted."""
    close_member(c)
    zip_free(c.zip)
    gzip_free(c.gzip)
    leaf_close(&c.leaf)
    c.zip = NULL
    c.gzip = NULL
    c.layer = L_DONE


cdef bint told(Content* c, Finding* found) noexcept nogil:
    """Is it asked for? Then it is complete but for its name. A kind is told so often, and no longer looked for."""
    cdef Scan* scan = c.scan
    cdef int kind = found.kind
    if not scan.wants >> kind & 1:
        found_nothing(found)
        return False
    found.depth = c.depth
    scan.told[kind] += 1
    if scan.told[kind] >= CONTENT_FINDINGS:
        scan.wants &= ~(<uint32_t>1 << kind)
        if not scan.wants & ANY:
            scan.over = True
    return True


cdef void become(Content* c, int layer) noexcept nogil:
    cdef bint made
    c.layer = layer
    c.replay = True
    if layer == L_ZIP or layer == L_GZIP:
        c.nested = c.depth > 0
        if c.depth >= ARCHIVE_DEPTH:
            c.scan.limited = True
            c.deep = not c.scan.depth_told
            c.scan.depth_told = True
            c.unread = layer == L_ZIP
            c.layer = L_DONE
            return
        if layer == L_ZIP:
            c.zip = zip_new()
        else:
            c.gzip = gzip_new()
        made = c.zip != NULL or c.gzip != NULL
    else:
        made = leaf_open(&c.leaf, layer)
    if not made:
        c.scan.limited = True
        c.layer = L_DONE


# ---- members of archives

cdef void open_child(Content* c) noexcept nogil:
    c.child = <Content*>counted_take(sizeof(Content))
    if c.child == NULL:
        c.scan.limited = True
    else:
        begin(c.child, c.scan, c.depth + 1, c.zip != NULL)


cdef bint wanted(Content* c) noexcept nogil:
    """Does the member that is open want its octets?"""
    return c.child != NULL and (c.child.more or not content_done(c.child))


cdef void name_it(Content* c, Finding* found) noexcept nogil:
    """It lies in the member that is open."""
    found.name_n = c.zip.name_n if c.zip != NULL else c.gzip.name_n
    memcpy(&found.name[0], &c.zip.name[0] if c.zip != NULL else &c.gzip.name[0], found.name_n)


cdef Py_ssize_t deliver(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    """Octets of a member to the child."""
    cdef int64_t skips
    cdef Py_ssize_t k
    if not wanted(c):
        return n
    skips = content_skips(c.child)
    if skips > 0:
        k = n if n < skips else <Py_ssize_t>skips
        content_skip(c.child, k)
        return k
    k = content_feed(c.child, p, n, found)
    if found.kind >= 0 and found.name_n == 0:
        name_it(c, found)
    return k


cdef bint bomb(Content* c, Finding* found) noexcept nogil:
    cdef const char* which = inflate_bomb(c.inflate, c.scan.inflated)
    if which == NULL:
        return False
    c.scan.limited = True
    c.scan.over = True
    found_so(found, C_SCAN_LIMIT, which, b"")
    if told(c, found):
        name_it(c, found)
    return True


cdef Py_ssize_t deflated(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    """Octets of a deflated member; all n are read unless it ends, something is found, or it is wanted no more."""
    cdef Inflate* i = c.inflate
    cdef Py_ssize_t used = 0, k
    cdef bint watched
    while True:
        while i.at < i.n or c.child != NULL and c.child.more:
            i.at += deliver(c, &i.out[0] + i.at, i.n - i.at, found)
            if found.kind >= 0:
                return used + inflate_back(i)
            if c.scan.over:
                return n
        watched = wanted(c)
        if not watched and (c.left >= 0 or c.zip == NULL):
            return used + i.piece_n  # what is left of it can be skipped
        if i.piece_n:
            if not i.drained:
                inflate_more(i)
                continue
            used += inflate_close(i)
        if bomb(c, found) or i.ended or i.failed or used == n:
            return used
        if watched and content_skips(c.child) >= UNWATCHED:
            watched = False
        k = inflate_room(i, n - used, watched)
        if not inflate_open(i, p + used, k, watched):
            c.scan.limited = True
            content_free(c.child)
            c.child = NULL
            inflate_open(i, p + used, k, False)


cdef bint open_inflate(Content* c) noexcept nogil:
    c.inflate = inflate_new()
    if c.inflate == NULL:
        c.scan.limited = True
    return c.inflate != NULL


cdef void open_member(Content* c) noexcept nogil:
    """Decide how to read the octets that come next."""
    cdef Zip* z = c.zip
    cdef bint readable = not z.encrypted and (z.method == M_STORED or z.method == M_DEFLATED)
    c.left = z.size
    if z.size == 0 or z.directory and z.size < 0 and z.method == M_STORED:
        zip_data_end(z)
        return
    if readable and not z.directory:
        open_child(c)
    if readable and z.method == M_DEFLATED and (c.child != NULL or z.size < 0) and open_inflate(c):
        c.how = R_DEFLATED
    elif z.size > 0:
        c.how = R_STORED if readable and z.method == M_STORED else R_SKIP
    else:
        if z.method != M_STORED:
            content_free(c.child)
            c.child = NULL
        c.how = R_SOUGHT
        zip_seek(z, True)


cdef void end_member(Content* c) noexcept nogil:
    close_member(c)
    zip_data_end(c.zip)


cdef Py_ssize_t deflated_member(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t k = deflated(c, p, n if c.left < 0 or n < c.left else <Py_ssize_t>c.left, found)
    if c.left >= 0:
        c.left -= k
    if found.kind >= 0 or c.scan.over:
        return k
    if c.left > 0:
        if not wanted(c) or c.inflate.ended or c.inflate.failed:
            close_member(c)
            c.how = R_SKIP
    elif c.left == 0 or c.inflate.ended:
        end_member(c)
    elif c.inflate.failed:
        close_member(c)
        zip_seek(c.zip, False)
    return k


cdef Py_ssize_t sought_member(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    """Stored, and only the next record ends it: the zip's scanner and the child read the same octets."""
    cdef bint watched = wanted(c)
    cdef Py_ssize_t k = 0
    if watched and c.child.more:
        deliver(c, p, 0, found)
        return 0
    c.zip.strict = c.zip.flags & DESCRIBED and c.child != NULL and (
        c.child.unread or watched and c.child.layer == L_ZIP)
    if watched:
        k = zip_plain(c.zip, p, n)
    if k > 0:
        k = deliver(c, p, k, found)
        zip_pass(c.zip, k)
        return k
    k = zip_feed(c.zip, p, 1 if watched and n else n, found)
    if c.zip.state != Z_SEEK:
        close_member(c)
    if found.kind >= 0:
        told(c, found)
    elif c.child != NULL:
        deliver(c, p, k, found)
    return k


cdef Py_ssize_t member(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t k
    if c.how == R_DEFLATED:
        return deflated_member(c, p, n, found)
    if c.how == R_SOUGHT:
        return sought_member(c, p, n, found)
    if c.left > 0 and n > c.left:
        n = <Py_ssize_t>c.left
    k = n
    if c.how == R_STORED:
        if not wanted(c):
            close_member(c)
            c.how = R_SKIP
        elif n or c.child.more:
            k = deliver(c, p, n if c.left else 0, found)
    c.left -= k
    if c.left == 0 and found.kind < 0:
        end_member(c)
    return k


# ---- layers: octets consumed; nothing is found only when all are

cdef Py_ssize_t zip_layer(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0
    while not c.scan.over:
        if c.how != R_NONE:
            used += member(c, p + used, n - used, found)
            if found.kind >= 0 or c.how != R_NONE and used == n:
                return used
            continue
        if c.zip.state == Z_DATA:
            open_member(c)
            continue
        if c.zip.state == Z_DONE:
            finish(c)
            return n
        if used == n:
            return n
        used += zip_feed(c.zip, p + used, n - used, found)
        if found.kind >= 0 and told(c, found):
            return used
    return n


cdef Py_ssize_t gzip_layer(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0
    if c.child == NULL:
        open_child(c)
    while not c.scan.over:
        if c.gzip.state == G_DONE or not wanted(c):
            finish(c)
            return n
        if c.gzip.state != G_DATA:
            if used == n:
                return n
            used += gzip_feed(c.gzip, p + used, n - used)
            continue
        if c.inflate == NULL and not open_inflate(c):
            finish(c)
            return n
        used += deflated(c, p + used, n - used, found)
        if found.kind >= 0:
            return used
        if c.inflate.failed:
            finish(c)
            return n
        if c.inflate.ended:
            inflate_free(c.inflate)
            c.inflate = NULL
            gzip_data_end(c.gzip)
        elif used == n and wanted(c):
            return n
    return n


cdef Py_ssize_t leaf_layer(Content* c, const uint8_t* p, Py_ssize_t n, bint again, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0
    while True:
        used += leaf_feed(&c.leaf, p + used, n - used, again, found)
        if found.kind < 0:
            if leaf_done(&c.leaf):
                finish(c)
            return n
        if found.kind == C_OLE_VBA and c.in_zip and strcmp(found.evidence, b"storage") == 0:
            found_so(found, C_OOXML_VBA, b"vbaProject", found.evidence)
        if told(c, found):
            return used
        again = True


cdef Py_ssize_t layer_feed(Content* c, const uint8_t* p, Py_ssize_t n, bint again, Finding* found) noexcept nogil:
    if c.layer == L_ZIP:
        return zip_layer(c, p, n, found)
    if c.layer == L_GZIP:
        return gzip_layer(c, p, n, found)
    return leaf_layer(c, p, n, again, found)


cdef Py_ssize_t content_feed(Content* c, const uint8_t* p, Py_ssize_t n, Finding* found) noexcept nogil:
    cdef Py_ssize_t used = 0
    cdef bint again = c.more
    cdef int layer
    c.more = True  # unless nothing is found
    found_nothing(found)
    while c.layer == L_SNIFF and used < n:
        layer = sniff_octet(&c.sniff, p[used])
        used += 1
        if layer == L_DONE:
            c.layer = L_DONE
        elif layer != L_SNIFF:
            become(c, layer)
    if c.nested and not c.scan.over:
        c.nested = False
        found_so(found, C_ARCHIVE_NESTED, b"gzip" if c.sniff.n == 3 else b"zip", b"marker")
        if told(c, found):
            return used
    if c.deep and not c.scan.over:
        c.deep = False
        found_so(found, C_SCAN_LIMIT, b"depth", b"marker")
        if told(c, found):
            return used
    if c.replay and c.layer != L_DONE and not c.scan.over:
        c.replay = False
        layer_feed(c, &c.sniff.head[0], c.sniff.n, False, found)
        if found.kind >= 0:
            return used
    if c.layer != L_DONE and c.layer != L_SNIFF and not c.scan.over:
        used += layer_feed(c, p + used, n - used, again, found)
        if found.kind >= 0:
            return used
    c.more = False
    return n


cdef int64_t content_skips(Content* c) noexcept nogil:
    cdef int64_t skips
    if c.more:
        return 0
    if content_done(c):
        return INT64_MAX
    if c.layer in (L_SNIFF, L_GZIP):
        return 0
    if c.layer != L_ZIP:
        return leaf_skips(&c.leaf)
    if c.how != R_SKIP and c.how != R_STORED:
        return 0
    skips = content_skips(c.child) if wanted(c) else c.left
    return skips if skips < c.left else c.left


cdef void content_skip(Content* c, int64_t n) noexcept nogil:
    if content_done(c):
        return
    if c.layer != L_ZIP:
        leaf_skip(&c.leaf, n)
        if leaf_done(&c.leaf):
            finish(c)
        return
    if wanted(c):
        content_skip(c.child, n)
    c.left -= n
    if c.left == 0:
        end_member(c)


cdef bint content_done(Content* c) noexcept nogil:
    return c.layer == L_DONE and not c.nested and not c.deep or c.scan.over


cdef void content_end(Content* c, Finding* found) noexcept nogil:
    content_feed(c, &c.sniff.head[0], 0, found)
    if found.kind < 0:
        finish(c)


cdef void content_gap(Content* c) noexcept nogil:
    c.scan.over = True
    c.more = False
    finish(c)


cdef bint content_limited(Content* c) noexcept nogil:
    return c.scan.limited
