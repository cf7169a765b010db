"""A table of connections: found by addresses and ports, aged by capture time. There is one per lane."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from smtpinspect._core.frame cimport ACK, Packet, SYN
from smtpinspect._core.octets cimport mix
from smtpinspect._core.span cimport be32
from smtpinspect._core.state cimport Conn, Key, KIND_SMTP, KIND_UNDECIDED

from smtpinspect.grammar import limits as _limits

cdef int64_t IDLE_NS = _limits.IDLE_NS

cdef enum:
    SLAB = 64                  # connections allocated at once
    LINK = 64                  # octets before a slab's connections: the slab before it
    BUCKETS = 256              # of a new table


cdef inline uint64_t word(const uint8_t* p) noexcept nogil:
    cdef uint64_t v
    memcpy(&v, p, 8)
    return v


cdef inline bint same(const Key* a, const Key* b) noexcept nogil:
    return (word(a.lo) == word(b.lo) and word(a.hi) == word(b.hi) and a.lo_port == b.lo_port
            and a.hi_port == b.hi_port and a.family == b.family
            and (a.family == 4 or (word(a.lo + 8) == word(b.lo + 8) and word(a.hi + 8) == word(b.hi + 8))))


cdef bint key_of(const Packet* t, Key* key, uint32_t* hash, uint64_t seed) noexcept nogil:
    cdef int i = 0
    cdef uint32_t src, dst
    cdef uint64_t h
    cdef bint from_lo
    memset(key, 0, sizeof(Key))
    key.family = t.family
    if t.family == 4:
        src, dst = be32(t.src), be32(t.dst)
        from_lo = src < dst or (src == dst and t.sport <= t.dport)
        memcpy(key.lo, t.src if from_lo else t.dst, 4)
        memcpy(key.hi, t.dst if from_lo else t.src, 4)
    else:
        while i < 16 and t.src[i] == t.dst[i]:
            i += 1
        from_lo = t.src[i] < t.dst[i] if i < 16 else t.sport <= t.dport
        memcpy(key.lo, t.src if from_lo else t.dst, 16)
        memcpy(key.hi, t.dst if from_lo else t.src, 16)
    key.lo_port = t.sport if from_lo else t.dport
    key.hi_port = t.dport if from_lo else t.sport
    h = mix(mix(seed, <uint64_t>key.lo_port << 16 | key.hi_port), word(key.lo))
    h = mix(h, word(key.hi))
    if t.family != 4:
        h = mix(mix(h, word(key.lo + 8)), word(key.hi + 8))
    hash[0] = <uint32_t>(h >> 17)
    return from_lo


cdef int lane_of(const Key* key) noexcept nogil:
    cdef uint64_t h = word(key.lo) + word(key.lo + 8) * 3 + word(key.hi) * 5 + word(key.hi + 8) * 7
    return <int>(mix(h, <uint64_t>key.lo_port << 16 | key.hi_port) >> 28 & (LANES - 1))


cdef int table_make(Table* table, const uint8_t* ports) noexcept nogil:
    memset(table, 0, sizeof(Table))
    table.ports = ports
    table.size = BUCKETS
    table.buckets = <Conn**>calloc(table.size, sizeof(Conn*))
    return -1 if table.buckets == NULL else 0


cdef void table_free(Table* table) noexcept nogil:
    cdef void** slab = table.slabs
    while slab != NULL:
        table.slabs = <void**>slab[0]
        free(slab)
        slab = table.slabs
    free(table.buckets)


cdef int grow(Table* table) noexcept nogil:
    cdef Conn** more = <Conn**>calloc(<size_t>table.size * 2, sizeof(Conn*))
    cdef Conn* conn
    cdef Conn* after
    cdef uint32_t i, slot
    if more == NULL:
        return -1
    for i in range(table.size):
        conn = table.buckets[i]
        while conn != NULL:
            after = conn.bucket
            slot = conn.hash & (table.size * 2 - 1)
            conn.bucket = more[slot]
            more[slot] = conn
            conn = after
    free(table.buckets)
    table.buckets = more
    table.size *= 2
    return 0


cdef Conn* table_find(
    Table* table, const Packet* t, const Key* key, uint32_t hash, bint from_lo, uint64_t number, int64_t ns,
) noexcept nogil:
    cdef Conn* conn = table.buckets[hash & (table.size - 1)]
    while conn != NULL:
        if conn.hash == hash and same(&conn.key, key):
            return conn
        conn = conn.bucket
    return make(table, t, key, hash, from_lo, number, ns)


cdef Conn* make(
    Table* table, const Packet* t, const Key* key, uint32_t hash, bint from_lo, uint64_t number, int64_t ns,
) noexcept nogil:
    cdef uint8_t* ports = <uint8_t*>table.ports
    cdef Conn* conn
    cdef void** slab
    cdef int i
    if table.free_list == NULL:
        slab = <void**>malloc(LINK + SLAB * sizeof(Conn))
        if slab == NULL:
            return NULL
        slab[0] = table.slabs
        table.slabs = slab
        for i in range(SLAB):
            conn = <Conn*>(<uint8_t*>slab + LINK) + i
            conn.bucket = table.free_list
            table.free_list = conn
    if table.n >= table.size:
        grow(table)
    conn = table.free_list
    table.free_list = conn.bucket
    memset(conn, 0, sizeof(Conn))
    conn.key = key[0]
    conn.hash = hash
    conn.first_packet = number
    conn.start_ns = ns
    conn.last_ns = ns
    conn.moved_ns = ns
    conn.progress_ns = ns
    for i in range(2):
        conn.d[i].acked = -1
        conn.d[i].fin_at = -1
    # client: who sent the SYN; else the side that is not on a server port; else who gets the 220
    if t.flags & SYN:
        conn.client = (0 if from_lo else 1) if not t.flags & ACK else (1 if from_lo else 0)
        conn.role_known = 2
    elif ports[t.dport] and ports[t.sport]:
        conn.client = 0 if from_lo else 1      # both serve: the 220 will tell
    elif ports[t.dport]:
        conn.client = 0 if from_lo else 1
        conn.role_known = 1
    elif ports[t.sport]:
        conn.client = 1 if from_lo else 0
        conn.role_known = 1
    else:
        conn.client = 0 if from_lo else 1
    if conn.role_known and ports[key.hi_port if conn.client == 0 else key.lo_port]:
        conn.kind = KIND_SMTP
    else:
        conn.kind = KIND_UNDECIDED
    conn.bucket = table.buckets[hash & (table.size - 1)]
    table.buckets[hash & (table.size - 1)] = conn
    conn.older = table.newest
    if table.newest != NULL:
        table.newest.newer = conn
    else:
        table.oldest = conn
    table.newest = conn
    table.n += 1
    return conn


cdef void unlink_age(Table* table, Conn* conn) noexcept nogil:
    if conn.older != NULL:
        conn.older.newer = conn.newer
    elif conn.done:
        table.first_closed = conn.newer
    else:
        table.oldest = conn.newer
    if conn.newer != NULL:
        conn.newer.older = conn.older
    elif conn.done:
        table.last_closed = conn.older
    else:
        table.newest = conn.older
    conn.older = NULL
    conn.newer = NULL


cdef void table_close(Table* table, Conn* conn, int64_t ns) noexcept nogil:
    unlink_age(table, conn)
    conn.done = 1
    conn.moved_ns = ns
    conn.older = table.last_closed
    if table.last_closed != NULL:
        table.last_closed.newer = conn
    else:
        table.first_closed = conn
    table.last_closed = conn
    table.n_closed += 1


cdef void table_remove(Table* table, Conn* conn) noexcept nogil:
    cdef Conn** at = &table.buckets[conn.hash & (table.size - 1)]
    unlink_age(table, conn)
    if conn.done:
        table.n_closed -= 1
    while at[0] != conn:
        at = &at[0].bucket
    at[0] = conn.bucket
    conn.bucket = table.free_list
    table.free_list = conn
    table.n -= 1


cdef Conn* table_expired(Table* table, int64_t ns) noexcept nogil:
    cdef Conn* conn
    while table.oldest != NULL:
        conn = table.oldest
        if conn.moved_ns + IDLE_NS >= ns:
            return NULL
        if conn.last_ns + IDLE_NS < ns:
            return conn
        # it was active since: to the end, by its last frame
        unlink_age(table, conn)
        conn.moved_ns = conn.last_ns
        conn.older = table.newest
        if table.newest != NULL:
            table.newest.newer = conn
        else:
            table.oldest = conn
        table.newest = conn
    return NULL
