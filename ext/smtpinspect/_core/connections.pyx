"""The table of connections: found by addresses and ports, aged by capture time."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from smtpinspect._core.frame cimport ACK, Packet, SYN
from smtpinspect._core.octets cimport mix
from smtpinspect._core.state cimport Conn, Key, KIND_SMTP, KIND_UNDECIDED

from smtpinspect.grammar import limits as _limits

cdef int64_t IDLE_NS = _limits.IDLE_NS
cdef int64_t LINGER_NS = _limits.LINGER_NS
cdef uint32_t REMEMBERED = _limits.REMEMBERED
cdef uint32_t CONNECTIONS = _limits.CONNECTIONS

cdef enum:
    SLAB = 256                 # connections allocated at once


cdef uint32_t hash_of(const Key* key) noexcept nogil:
    cdef uint64_t a, b, h = <uint64_t>key.lo_port << 16 | key.hi_port
    cdef uint32_t lo, hi
    if key.family == 4:
        memcpy(&lo, key.lo, 4)
        memcpy(&hi, key.hi, 4)
        h = mix(h, <uint64_t>lo << 32 | hi)
    else:
        memcpy(&a, key.lo, 8)
        memcpy(&b, key.lo + 8, 8)
        h = mix(mix(h, a), b)
        memcpy(&a, key.hi, 8)
        memcpy(&b, key.hi + 8, 8)
        h = mix(mix(h, a), b)
    return <uint32_t>(h >> 17)


cdef bint make_key(Packet* t, Key* key) noexcept nogil:
    """The ordered pair of ends; True when the packet comes from the lower one."""
    cdef int size = 4 if t.family == 4 else 16
    cdef int order = memcmp(t.src, t.dst, size)
    cdef bint from_lo = order < 0 or (order == 0 and t.sport <= t.dport)
    memset(key, 0, sizeof(Key))
    key.family = t.family
    if from_lo:
        memcpy(key.lo, t.src, size)
        memcpy(key.hi, t.dst, size)
        key.lo_port = t.sport
        key.hi_port = t.dport
    else:
        memcpy(key.lo, t.dst, size)
        memcpy(key.hi, t.src, size)
        key.lo_port = t.dport
        key.hi_port = t.sport
    return from_lo


cdef class Table:
    def __init__(self, ports):
        for port in ports:
            if not 0 < port < 65536:
                raise ValueError(f"{port} is no TCP port")
            self.ports[port] = True
        self.size = 1 << 12
        self.buckets = <Conn**>calloc(self.size, sizeof(Conn*))
        if self.buckets == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_slabs):
            free(self.slabs[i])
        free(self.slabs)
        free(self.buckets)

    cdef int grow(self) noexcept nogil:
        cdef Conn** more = <Conn**>calloc(<size_t>self.size * 2, sizeof(Conn*))
        cdef Conn* conn
        cdef Conn* after
        cdef uint32_t i, slot
        if more == NULL:
            return -1
        for i in range(self.size):
            conn = self.buckets[i]
            while conn != NULL:
                after = conn.bucket
                slot = conn.hash & (self.size * 2 - 1)
                conn.bucket = more[slot]
                more[slot] = conn
                conn = after
        free(self.buckets)
        self.buckets = more
        self.size *= 2
        return 0

    cdef Conn* find(self, Packet* t, uint64_t number, int64_t ns, int* side) noexcept nogil:
        cdef Key key
        cdef bint from_lo = make_key(t, &key)
        cdef uint32_t hash = hash_of(&key)
        cdef Conn* conn = self.buckets[hash & (self.size - 1)]
        while conn != NULL:
            if conn.hash == hash and memcmp(&conn.key, &key, sizeof(Key)) == 0:
                side[0] = (0 if from_lo else 1) ^ conn.client
                return conn
            conn = conn.bucket
        conn = self.make(&key, hash, t, from_lo, number, ns)
        if conn != NULL:
            side[0] = (0 if from_lo else 1) ^ conn.client
        return conn

    cdef Conn* make(self, Key* key, uint32_t hash, Packet* t, bint from_lo, uint64_t number, int64_t ns) noexcept nogil:
        cdef Conn* conn
        cdef Conn* slab
        cdef void** more
        cdef int i
        if self.free_list == NULL:
            more = <void**>realloc(self.slabs, (self.n_slabs + 1) * sizeof(void*))
            if more == NULL:
                return NULL
            self.slabs = more
            slab = <Conn*>calloc(SLAB, sizeof(Conn))
            if slab == NULL:
                return NULL
            self.slabs[self.n_slabs] = slab
            self.n_slabs += 1
            for i in range(SLAB):
                slab[i].bucket = self.free_list
                self.free_list = &slab[i]
        if self.n >= self.size:
            self.grow()
        conn = self.free_list
        self.free_list = conn.bucket
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
        elif self.ports[t.dport] and self.ports[t.sport]:
            conn.client = 0 if from_lo else 1      # both serve: the 220 will tell
        elif self.ports[t.dport]:
            conn.client = 0 if from_lo else 1
            conn.role_known = 1
        elif self.ports[t.sport]:
            conn.client = 1 if from_lo else 0
            conn.role_known = 1
        else:
            conn.client = 0 if from_lo else 1
        if conn.role_known and self.ports[key.hi_port if conn.client == 0 else key.lo_port]:
            conn.kind = KIND_SMTP
        else:
            conn.kind = KIND_UNDECIDED
        conn.bucket = self.buckets[hash & (self.size - 1)]
        self.buckets[hash & (self.size - 1)] = conn
        conn.older = self.newest
        if self.newest != NULL:
            self.newest.newer = conn
        else:
            self.oldest = conn
        self.newest = conn
        self.n += 1
        return conn

    cdef void unlink_age(self, Conn* conn) noexcept nogil:
        if conn.older != NULL:
            conn.older.newer = conn.newer
        elif conn.done:
            self.first_closed = conn.newer
        else:
            self.oldest = conn.newer
        if conn.newer != NULL:
            conn.newer.older = conn.older
        elif conn.done:
            self.last_closed = conn.older
        else:
            self.newest = conn.older
        conn.older = NULL
        conn.newer = NULL

    cdef void close(self, Conn* conn, int64_t ns) noexcept nogil:
        self.unlink_age(conn)
        conn.done = 1
        conn.moved_ns = ns
        conn.older = self.last_closed
        if self.last_closed != NULL:
            self.last_closed.newer = conn
        else:
            self.first_closed = conn
        self.last_closed = conn
        self.n_closed += 1

    cdef void remove(self, Conn* conn) noexcept nogil:
        cdef Conn** at = &self.buckets[conn.hash & (self.size - 1)]
        self.unlink_age(conn)
        if conn.done:
            self.n_closed -= 1
        while at[0] != conn:
            at = &at[0].bucket
        at[0] = conn.bucket
        conn.bucket = self.free_list
        self.free_list = conn
        self.n -= 1

    cdef void forget_closed(self, int64_t ns) noexcept nogil:
        while self.first_closed != NULL and (
                self.n_closed > REMEMBERED or self.first_closed.moved_ns + LINGER_NS < ns):
            self.remove(self.first_closed)

    cdef Conn* expired(self, int64_t ns) noexcept nogil:
        cdef Conn* conn
        while self.oldest != NULL:
            conn = self.oldest
            if self.n - self.n_closed > CONNECTIONS:
                return conn
            if conn.moved_ns + IDLE_NS >= ns:
                return NULL
            if conn.last_ns + IDLE_NS < ns:
                return conn
            # it was active since: to the end, by its last frame
            self.unlink_age(conn)
            conn.moved_ns = conn.last_ns
            conn.older = self.newest
            if self.newest != NULL:
                self.newest.newer = conn
            else:
                self.oldest = conn
            self.newest = conn
        return NULL
