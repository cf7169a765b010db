"""Segments that wait: copies in the order of their offsets, the first copy of an octet wins.

A segment is kept in a piece of memory of its own; the pieces are used again, since small segments come often. They are
a list. Where the place of a new one is far from all that are known, they become a treap too: a tree by offsets in which
nobody lies under one with a smaller random number, so that it is about as deep as the logarithm of its size.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from smtpinspect._core.octets cimport mix
from smtpinspect._core.seq cimport seq_diff
from smtpinspect._core.state cimport Aside, Direction, Stored

cdef enum:
    WALK = 8                  # steps along the list before a tree is asked


cdef Aside* aside_of(Direction* d) noexcept nogil:
    if d.aside == NULL:
        d.aside = <Aside*>calloc(1, sizeof(Aside))
        if d.aside != NULL:
            d.aside.rst_at = -1
    return d.aside


cdef extern from "prefetch.h" nogil:
    void prefetch(const void* p)


cdef inline Stored* piece(Store* store, uint32_t n) noexcept nogil:
    """Room for n octets."""
    cdef uint32_t size = (<uint32_t>sizeof(Stored) + n + 63) // 64
    cdef Stored* s
    if size < SIZES and store.free[size] != NULL:
        s = store.free[size]
        store.free[size] = s.next
        store.spare -= size * 64
        prefetch(s.next)
        return s
    s = <Stored*>malloc(size * 64)
    if s != NULL:
        s.size = <uint8_t>size if size < SIZES else 0
    return s


cdef void store_give(Store* store, Stored* s) noexcept nogil:
    if s.size == 0 or store.spare > SPARE:
        free(s)
        return
    s.next = store.free[s.size]
    store.free[s.size] = s
    store.spare += <uint32_t>s.size * 64


cdef void store_free(Store* store) noexcept nogil:
    cdef int size
    cdef Stored* s
    for size in range(SIZES):
        while store.free[size] != NULL:
            s = store.free[size]
            store.free[size] = s.next
            free(s)
    store.spare = 0


cdef void store_hold(Direction* d, int64_t ns) noexcept nogil:
    """The head of the store waits since then."""
    d.aside.hold_ns = ns if ns else 1


cdef Stored* store_take(Store* store, Direction* d) noexcept nogil:
    cdef Stored* s = d.first
    cdef Aside* a = d.aside
    d.first = s.next
    if s.next == NULL:
        a.last = NULL
    else:
        # it is next, and was written long ago
        prefetch(s.next)
        prefetch(<uint8_t*>s.next + 64)
        prefetch(<uint8_t*>s.next + 128)
    if a.near == s:
        a.near = s.next
    if a.root != NULL:
        uproot(a)
    a.stored_n -= 1
    a.stored_octets -= s.n
    store.octets -= s.n
    a.hold_ns = 0
    return s


cdef void store_clear(Store* store, Direction* d) noexcept nogil:
    while d.first != NULL:
        store_give(store, store_take(store, d))
    free(d.aside)
    d.aside = NULL


cdef void store_shift(Direction* d, int64_t delta) noexcept nogil:
    cdef Stored* s = d.first
    while s != NULL:
        s.offset += delta
        s = s.next
    if d.fin_at >= 0:
        d.fin_at += delta
    if d.aside != NULL and d.aside.rst_at >= 0:
        d.aside.rst_at += delta


cdef void store_base(Direction* d, uint32_t base) noexcept nogil:
    if d.known:
        store_shift(d, seq_diff(d.base, base))
    d.base = base
    d.known = 1
    d.next = 0


cdef void plant(Aside* a, Stored* s) noexcept nogil:
    """Into the tree: what lies under its place goes to both sides of it."""
    cdef Stored** at = &a.root
    cdef Stored** left = &s.left
    cdef Stored** right = &s.right
    cdef Stored* t
    while at[0] != NULL and at[0].height >= s.height:
        at = &at[0].left if s.offset < at[0].offset else &at[0].right
    t = at[0]
    at[0] = s
    while t != NULL:
        if t.offset < s.offset:
            left[0] = t
            left = &t.right
            t = left[0]
        else:
            right[0] = t
            right = &t.left
            t = right[0]
    left[0] = NULL
    right[0] = NULL


cdef void uproot(Aside* a) noexcept nogil:
    """The first one, out of the tree."""
    cdef Stored** at = &a.root
    while at[0].left != NULL:
        at = &at[0].left
    at[0] = at[0].right


cdef Stored* last_before(Direction* d, int64_t offset) noexcept nogil:
    """The last one that begins here or before; segments come mostly behind all others, or near the one before."""
    cdef Aside* a = d.aside
    cdef Stored* s = a.last
    cdef Stored* t
    cdef int _
    if s == NULL or s.offset <= offset:
        return s
    if offset < d.first.offset:
        return NULL
    if offset - d.first.offset < s.offset - offset:
        s = d.first
    if distance(a.near, offset) < distance(s, offset):
        s = a.near
    for _ in range(WALK):
        if s.offset > offset:
            s = s.prev
        elif s.next.offset <= offset:
            s = s.next
        else:
            return s
    if a.root == NULL:
        s = d.first
        while s != NULL:
            plant(a, s)
            s = s.next
    t = a.root
    while t != NULL:
        if t.offset <= offset:
            s = t
            t = t.right
        else:
            t = t.left
    return s


cdef inline int64_t distance(const Stored* s, int64_t offset) noexcept nogil:
    return s.offset - offset if s.offset > offset else offset - s.offset


cdef int store_keep(
    Store* store, Direction* d, const uint8_t* p, uint32_t n, uint32_t missing, int64_t offset, int64_t ack,
    int64_t number, int64_t ns, bint border, bint merged,
) noexcept nogil:
    """Copy octets into the store, around those that are there already."""
    cdef Aside* a = aside_of(d)
    cdef Stored* s
    cdef Stored* behind
    cdef Stored* made
    cdef uint32_t before, same
    cdef int differs = 0
    if a == NULL:
        return -1
    s = last_before(d, offset)
    while True:
        if s != NULL and s.offset + s.n + s.missing > offset:
            # from here to its end it is there already, and stays as it is
            same = <uint32_t>(s.offset + s.n - offset) if s.offset + s.n > offset else 0
            if same > n:
                same = n
            if same and memcmp(p, <uint8_t*>(s + 1) + (offset - s.offset), same) != 0:
                differs = 1
            before = <uint32_t>(s.offset + s.n + s.missing - offset)
            if before >= n + missing:
                a.near = s
                return differs
            if before >= n:
                missing -= before - n
                p += n
                n = 0
            else:
                p += before
                n -= before
            offset += before
            border = False
        behind = s.next if s != NULL else d.first
        if behind != NULL and behind.offset <= offset:
            s = behind
            continue
        # new octets up to the next kept segment
        before = n
        if behind != NULL and behind.offset < offset + n + missing:
            before = <uint32_t>(behind.offset - offset)
        made = piece(store, before if before < n else n)
        if made == NULL:
            return -1
        made.offset = offset
        made.ack = ack
        made.packet = number
        made.ns = ns
        made.n = before if before < n else n
        made.missing = (
            missing if behind == NULL or behind.offset >= offset + n + missing else before - n if before > n else 0
        )
        made.border = border
        made.merged = merged
        store.seed = mix(store.seed, number)
        made.height = <uint32_t>store.seed
        memcpy(<uint8_t*>(made + 1), p, made.n)
        made.prev = s
        made.next = behind
        if s == NULL:
            d.first = made
        else:
            s.next = made
        if behind == NULL:
            a.last = made
        else:
            behind.prev = made
        if a.root != NULL:
            plant(a, made)
        a.near = made
        a.stored_n += 1
        a.stored_octets += made.n
        store.octets += made.n
        if behind == NULL or behind.offset >= offset + n + missing:
            break
        p += made.n
        n -= made.n
        if before > made.n:
            missing -= before - made.n
        offset += before
        border = False
        s = behind
    if a.hold_ns == 0:
        store_hold(d, ns)
    return differs


cdef class Kept:
    """For tests: the store of one direction."""

    cdef Direction d
    cdef Store store

    def __init__(self):
        memset(&self.d, 0, sizeof(Direction))
        memset(&self.store, 0, sizeof(Store))

    def __dealloc__(self):
        store_clear(&self.store, &self.d)
        store_free(&self.store)

    def keep(self, bytes octets, int64_t offset, uint32_t missing=0, int64_t number=0, bint border=True):
        cdef const uint8_t* p = <const uint8_t*><const char*>octets
        return store_keep(
            &self.store, &self.d, p, <uint32_t>len(octets), missing, offset, -1, number, 1, border, False,
        )

    def take(self):
        cdef Stored* s
        if self.d.first == NULL:
            return None
        s = store_take(&self.store, &self.d)
        told = s.offset, (<char*>(s + 1))[:s.n], s.missing, s.packet, bool(s.border)
        store_give(&self.store, s)
        return told

    @property
    def octets(self):
        return self.store.octets, stored_octets(&self.d), stored_n(&self.d)
