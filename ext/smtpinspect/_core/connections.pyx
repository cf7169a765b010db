"""A table of connections: found by addresses and ports, aged by capture time. There is one per lane."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset
from posix.stdlib cimport posix_memalign

from smtpinspect._core.frame cimport ACK, Packet, SYN
from smtpinspect._core.octets cimport mix
from smtpinspect._core.span cimport be32
from smtpinspect._core.state cimport Conn, Key, KIND_SMTP, KIND_UNDECIDED

from smtpinspect.grammar import limits as _limits

cdef int64_t IDLE_NS = _limits.IDLE_NS

cdef enum:
    LINE = 64                  # octets of the memory's caches
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
    table.buckets = <uint32_t*>calloc(table.size, sizeof(uint32_t))
    return -1 if table.buckets == NULL else 0


cdef void table_free(Table* table) noexcept nogil:
    cdef uint32_t i
    for i in range(table.n_slabs):
        free(table.slabs[i])
    free(table.slabs)
    free(table.buckets)


cdef int grow(Table* table) noexcept nogil:
    cdef uint32_t* more = <uint32_t*>calloc(<size_t>table.size * 2, sizeof(uint32_t))
    cdef Conn* conn
    cdef uint32_t i, slot, at, after
    if more == NULL:
        return -1
    for i in range(table.size):
        at = table.buckets[i]
        while at:
            conn = conn_at(table, at)
            after = conn.bucket
            slot = conn.hash & (table.size * 2 - 1)
            conn.bucket = more[slot]
            more[slot] = at
            at = after
    free(table.buckets)
    table.buckets = more
    table.size *= 2
    return 0


cdef Conn* table_find(
    Table* table, const Packet* t, const Key* key, uint32_t hash, bint from_lo, uint64_t number, int64_t ns,
) noexcept nogil:
    cdef Conn* conn = conn_at(table, table.buckets[hash & (table.size - 1)])
    while conn != NULL:
        if conn.hash == hash and same(&conn.key, key):
            return conn
        conn = conn_at(table, conn.bucket)
    return make(table, t, key, hash, from_lo, number, ns)


cdef int add_slab(Table* table) noexcept nogil:
    cdef Conn** more = <Conn**>realloc(table.slabs, (table.n_slabs + 1) * sizeof(Conn*))
    cdef void* room = NULL
    cdef Conn* slab
    cdef uint32_t i, first = table.n_slabs * SLAB
    if more == NULL:
        return -1
    table.slabs = more
    if posix_memalign(&room, LINE, SLAB * sizeof(Conn)) != 0:
        return -1
    slab = <Conn*>room
    more[table.n_slabs] = slab
    table.n_slabs += 1
    for i in range(0 if first else 1, SLAB):
        slab[i].bucket = table.free_list
        table.free_list = first + i
    return 0


cdef Conn* make(
    Table* table, const Packet* t, const Key* key, uint32_t hash, bint from_lo, uint64_t number, int64_t ns,
) noexcept nogil:
    cdef uint8_t* ports = <uint8_t*>table.ports
    cdef Conn* conn
    cdef uint32_t at
    cdef int i
    if table.free_list == 0 and add_slab(table) < 0:
        return NULL
    if table.n >= table.size:
        grow(table)
    at = table.free_list
    conn = conn_at(table, at)
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
    table.buckets[hash & (table.size - 1)] = at
    add_newest(table, conn, at)
    table.n += 1
    return conn


cdef inline void add_newest(Table* table, Conn* conn, uint32_t at) noexcept nogil:
    conn.older = table.newest
    if table.newest:
        conn_at(table, table.newest).newer = at
    else:
        table.oldest = at
    table.newest = at


cdef uint32_t unlink_age(Table* table, Conn* conn) noexcept nogil:
    """Its number: the one before it knows."""
    cdef uint32_t* at
    cdef uint32_t number
    if conn.older:
        at = &conn_at(table, conn.older).newer
    elif conn.done:
        at = &table.first_closed
    else:
        at = &table.oldest
    number = at[0]
    at[0] = conn.newer
    if conn.newer:
        conn_at(table, conn.newer).older = conn.older
    elif conn.done:
        table.last_closed = conn.older
    else:
        table.newest = conn.older
    conn.older = 0
    conn.newer = 0
    return number


cdef void table_close(Table* table, Conn* conn, int64_t ns) noexcept nogil:
    cdef uint32_t at = unlink_age(table, conn)
    conn.done = 1
    conn.moved_ns = ns
    conn.older = table.last_closed
    if table.last_closed:
        conn_at(table, table.last_closed).newer = at
    else:
        table.first_closed = at
    table.last_closed = at
    table.n_closed += 1


cdef void table_remove(Table* table, Conn* conn) noexcept nogil:
    cdef uint32_t* at = &table.buckets[conn.hash & (table.size - 1)]
    cdef uint32_t number = unlink_age(table, conn)
    if conn.done:
        table.n_closed -= 1
    while at[0] != number:
        at = &conn_at(table, at[0]).bucket
    at[0] = conn.bucket
    conn.bucket = table.free_list
    table.free_list = number
    table.n -= 1


cdef Conn* table_expired(Table* table, int64_t ns) noexcept nogil:
    cdef Conn* conn
    while table.oldest:
        conn = conn_at(table, table.oldest)
        if conn.moved_ns + IDLE_NS >= ns:
            return NULL
        if conn.last_ns + IDLE_NS < ns:
            return conn
        # it was active since: to the end, by its last frame
        conn.moved_ns = conn.last_ns
        add_newest(table, conn, unlink_age(table, conn))
    return NULL
