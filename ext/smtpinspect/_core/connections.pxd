"""A table of connections: found by addresses and ports, aged by capture time. There is one per lane."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.frame cimport Packet
from smtpinspect._core.state cimport Conn, Key

cdef extern from "prefetch.h" nogil:
    void prefetch(const void* p)

cdef enum:
    LANES = 16                     # groups of connections; what one does depends on no other

    SLAB = 64                      # connections allocated at once

# A connection is known by its number, half as long as a pointer: its slab and its place in that; 0 is none.
cdef struct Table:
    uint32_t* buckets
    uint32_t size                  # a power of two
    uint32_t n
    uint32_t n_closed
    uint32_t free_list
    uint32_t oldest                # open ones, by when they were last looked at
    uint32_t newest
    uint32_t first_closed          # remembered for their late frames
    uint32_t last_closed
    uint32_t n_slabs
    Conn** slabs
    const uint8_t* ports           # 65,536 of them, 1: a server listens there

cdef inline Conn* conn_at(const Table* table, uint32_t number) noexcept nogil:
    return &table.slabs[number // SLAB][number % SLAB] if number else NULL


# The ordered pair of ends and its hash by a secret seed; True when the packet comes from the lower one.
cdef bint key_of(const Packet* t, Key* key, uint32_t* hash, uint64_t seed) noexcept nogil
# Of these ends, always the same one.
cdef int lane_of(const Key* key) noexcept nogil
cdef int table_make(Table* table, const uint8_t* ports) noexcept nogil       # -1: no memory
cdef void table_free(Table* table) noexcept nogil
# The connection of this packet; a new one when there is none, NULL when there is no memory.
cdef Conn* table_find(
    Table* table, const Packet* t, const Key* key, uint32_t hash, bint from_lo, uint64_t number, int64_t ns,
) noexcept nogil
cdef void table_close(Table* table, Conn* conn, int64_t ns) noexcept nogil    # its records are written
cdef void table_remove(Table* table, Conn* conn) noexcept nogil
# An open one that has been idle for too long, or NULL; it stays first until it is removed.
cdef Conn* table_expired(Table* table, int64_t ns) noexcept nogil


cdef inline void prefetch_span(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    while i < n:
        prefetch(p + i)
        i += 64


cdef inline int side_of(const Conn* conn, bint from_lo) noexcept nogil:
    return (0 if from_lo else 1) ^ conn.client


# What table_find will read, asked of the memory in two steps: where the chain begins, then its first connection.

cdef inline void prefetch_bucket(const Table* table, uint32_t hash) noexcept nogil:
    prefetch(&table.buckets[hash & (table.size - 1)])


cdef inline Conn* prefetch_conn(const Table* table, uint32_t hash) noexcept nogil:
    cdef Conn* conn = conn_at(table, table.buckets[hash & (table.size - 1)])
    if conn != NULL:
        prefetch(conn)
        prefetch(<const uint8_t*>conn + 64)
        prefetch(&conn.d[0])
        prefetch(&conn.d[1])
    return conn


cdef inline void prefetch_talk(const Table* table, uint32_t hash) noexcept nogil:
    cdef Conn* conn = conn_at(table, table.buckets[hash & (table.size - 1)])
    if conn != NULL and conn.talk != NULL:
        prefetch(conn.talk)
        prefetch(<const uint8_t*>conn.talk + 64)
