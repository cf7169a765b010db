"""How a connection begins that is on no server port: 220 tells SMTP, perhaps behind a SOCKS5 negotiation."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from smtpinspect._core.socks cimport socks_end
from smtpinspect._core.state cimport CLIENT, CLOSER_CLIENT, CLOSER_SERVER, Conn, Direction, SERVER, Stored
from smtpinspect._core.store cimport store_shift, stored_n, stored_octets

from smtpinspect.grammar import limits as _limits

cdef uint32_t UNDECIDED_OCTETS = _limits.UNDECIDED_OCTETS
cdef uint32_t UNDECIDED_SEGMENTS = _limits.UNDECIDED_SEGMENTS

cdef enum:
    PRELUDE = 48               # octets of each side that tell


cdef int opening(Conn* conn) noexcept nogil:
    cdef uint8_t head[2][PRELUDE]
    cdef int n[2]
    cdef int side, server, end, k
    cdef Stored* s
    cdef int64_t at
    cdef bint full = (stored_octets(&conn.d[0]) + stored_octets(&conn.d[1]) >= UNDECIDED_OCTETS
                      or stored_n(&conn.d[0]) + stored_n(&conn.d[1]) >= UNDECIDED_SEGMENTS)
    for side in range(2):
        n[side] = 0
        at = 0
        s = conn.d[side].first
        while s != NULL and s.offset == at and n[side] < PRELUDE:
            k = PRELUDE - n[side]
            if s.n < <uint32_t>k:
                k = <int>s.n
            memcpy(&head[side][n[side]], <uint8_t*>(s + 1), k)
            n[side] += k
            at += s.n
            s = s.next
    for server in range(1, -1, -1):
        if server == CLIENT and conn.role_known == 2:
            break
        if n[server] == 0:
            continue
        if looks_220(head[server], n[server]):
            if n[server] < 4:
                if full:
                    break
                return OPENING_OPEN
            if server == CLIENT:
                swap_roles(conn)
            conn.role_known = 2
            return OPENING_SMTP
        if server == CLIENT or (n[CLIENT] and head[CLIENT][0] != 5):
            continue
        end = socks_end(head[SERVER], n[SERVER])
        if end < 0 or (end and n[SERVER] < end + 4):
            if full or n[SERVER] == PRELUDE:
                break
            return OPENING_OPEN
        if end and looks_220(&head[SERVER][end], n[SERVER] - end):
            return OPENING_SOCKS
    return OPENING_OPEN if n[SERVER] == 0 and not full else OPENING_OTHER


cdef bint looks_220(const uint8_t* p, int n) noexcept nogil:
    return p[0] == 50 and (n < 2 or p[1] == 50) and (n < 3 or p[2] == 48) and (n < 4 or p[3] == 32 or p[3] == 45)


cdef void swap_roles(Conn* conn) noexcept nogil:
    cdef Direction d = conn.d[0]
    conn.d[0] = conn.d[1]
    conn.d[1] = d
    conn.client = 1 - conn.client
    if conn.closer == CLOSER_CLIENT:
        conn.closer = CLOSER_SERVER
    elif conn.closer == CLOSER_SERVER:
        conn.closer = CLOSER_CLIENT


cdef void opening_release(Conn* conn) noexcept nogil:
    cdef int side
    cdef Direction* d
    cdef Stored* s
    cdef int64_t begin
    conn.picked_up = 0
    for side in range(2):
        d = &conn.d[side]
        if d.first == NULL or d.syn or d.next > 0:
            continue
        begin = d.first.offset
        store_shift(d, -begin)
        if d.acked >= 0:
            d.acked -= begin
        d.base += <uint32_t>begin
        # acknowledgements count from the new beginning too
        s = conn.d[1 - side].first
        while s != NULL:
            if s.ack >= 0:
                s.ack = s.ack - begin if s.ack > begin else 0
            s = s.next
