"""Raw deflate (RFC 1951) by zlib, which can tell with which compressed octet an octet could first be told.

zlib works in pieces. When an octet that came out decides, its state is put back to an earlier one, what was read
since is inflated again, and the piece octet by octet. All that zlib allocates lies in one arena, so its state is
copied, and put back at the same addresses, with one memcpy.
"""

from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy, memset

from smtpinspect._core.counted cimport counted_give, counted_take
from smtpinspect.grammar import limits as _limits

cdef extern from "<zlib.h>" nogil:
    enum:
        Z_NO_FLUSH
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
    int inflateInit2(z_stream* z, int bits)
    int inflate(z_stream* z, int flush)

cdef enum:
    RAW = -15                  # no zlib header, a window of 32 KiB
    SNIFFED = 64               # the first piece: mostly enough to tell what a member is


cdef int64_t INFLATED_OCTETS = _limits.INFLATED_OCTETS
cdef int64_t INFLATE_RATIO = _limits.INFLATE_RATIO
cdef int64_t INFLATE_FLOOR = _limits.INFLATE_FLOOR


cdef void* arena_take(void* opaque, unsigned int items, unsigned int size) noexcept nogil:
    cdef Inflate* i = <Inflate*>opaque
    cdef size_t n = <size_t>items * size
    cdef size_t at = i.used + (-<uintptr_t>(&i.arena[0] + i.used) & 63)  # as malloc aligns, and more
    if at > ARENA or n > ARENA - at:
        return NULL
    i.used = at + n
    return &i.arena[0] + at


cdef void arena_give(void* opaque, void* p) noexcept nogil:
    pass


cdef Inflate* inflate_new() noexcept nogil:
    cdef Inflate* i = <Inflate*>counted_take(sizeof(Inflate))
    if i == NULL:
        return NULL
    memset(i, 0, sizeof(Inflate) - OUT - ARENA)
    i.z.zalloc = arena_take
    i.z.zfree = arena_give
    i.z.opaque = i
    if inflateInit2(&i.z, RAW) != Z_OK:
        counted_give(i)
        return NULL
    return i


cdef void inflate_free(Inflate* i) noexcept nogil:
    if i != NULL:
        counted_give(i.kept)
        counted_give(i)


cdef Py_ssize_t inflate_room(Inflate* i, Py_ssize_t n, bint watched) noexcept nogil:
    cdef Py_ssize_t room = CHECKED - <Py_ssize_t>(i.total_in % CHECKED)
    if watched and i.total_in < SNIFFED:
        room = SNIFFED - <Py_ssize_t>i.total_in
    return n if n < room else room


cdef bint inflate_open(Inflate* i, const uint8_t* p, Py_ssize_t n, bint watched) noexcept nogil:
    if not watched:
        counted_give(i.kept)
        i.kept = NULL
    elif i.kept == NULL or i.since_n + n > CHECKED:
        if i.kept == NULL:
            i.kept = <uint8_t*>counted_take(ARENA)
            if i.kept == NULL:
                return False
        memcpy(i.kept, &i.arena[0], i.used)
        i.kept_used = i.used
        i.kept_z = i.z
        i.kept_out = i.total_out
        i.since_n = 0
    i.piece = p
    i.piece_n = n
    i.before = 0
    i.at = i.n = 0
    i.drained = False
    i.z.next_in = <uint8_t*>p
    i.z.avail_in = <unsigned int>n
    return True


cdef void run(Inflate* i) noexcept nogil:
    cdef int done
    i.z.next_out = &i.out[0]
    i.z.avail_out = OUT
    done = inflate(&i.z, Z_NO_FLUSH)
    i.at = 0
    i.n = OUT - <Py_ssize_t>i.z.avail_out
    i.total_out += i.n
    i.ended = done == Z_STREAM_END
    i.failed = done != Z_STREAM_END and done != Z_OK and done != Z_BUF_ERROR
    i.drained = i.ended or i.failed or i.z.avail_out > 0


cdef void inflate_more(Inflate* i) noexcept nogil:
    i.before += i.n
    run(i)


cdef void close(Inflate* i, Py_ssize_t n) noexcept nogil:
    """So many octets of the piece were read."""
    if i.kept != NULL:
        memcpy(&i.since[0] + i.since_n, i.piece, n)
        i.since_n += n
    i.total_in += n
    i.piece_n = 0
    i.z.avail_in = 0


cdef Py_ssize_t inflate_close(Inflate* i) noexcept nogil:
    cdef Py_ssize_t n = i.piece_n
    if i.ended or i.failed:
        n -= i.z.avail_in
    close(i, n)
    return n


cdef Py_ssize_t inflate_back(Inflate* i) noexcept nogil:
    cdef int64_t wanted = i.before + i.at
    cdef int64_t produced = 0
    cdef Py_ssize_t n = 0
    if i.piece_n == 0:
        return 0
    if i.kept == NULL:
        return inflate_close(i)
    memcpy(&i.arena[0], i.kept, i.kept_used)
    i.used = i.kept_used
    i.z = i.kept_z
    i.total_out = i.kept_out
    i.z.next_in = &i.since[0]
    i.z.avail_in = <unsigned int>i.since_n
    i.drained = i.since_n == 0
    while not i.drained:
        run(i)
    while n < i.piece_n:
        i.z.next_in = <uint8_t*>i.piece + n
        i.z.avail_in = 1
        run(i)  # an octet gives 1,806 at most
        n += 1
        if produced + i.n >= wanted or i.ended or i.failed:
            break
        produced += i.n
    i.at = <Py_ssize_t>(wanted - produced)
    if i.at > i.n:
        i.at = i.n
    close(i, n)
    return n


cdef const char* inflate_bomb(Inflate* i, int64_t* total) noexcept nogil:
    if i.total_in == i.looked or i.total_in % CHECKED and not i.ended and not i.failed:
        return NULL
    i.looked = i.total_in
    total[0] += i.total_out - i.seen
    i.seen = i.total_out
    if total[0] > INFLATED_OCTETS:
        return b"octets"
    if i.total_out > INFLATE_FLOOR and i.total_out > INFLATE_RATIO * i.total_in:
        return b"ratio"
    return NULL
