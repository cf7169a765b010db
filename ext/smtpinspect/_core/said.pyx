"""Addresses and octets as text, and what a Python rule may know besides its fact."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from smtpinspect._core.octets cimport digits, hex_digit
from smtpinspect._core.span cimport be16
from smtpinspect._core.state cimport CLIENT, Conn, Mail, Piece
from smtpinspect._core.text cimport short_octets


cdef int escaped(const uint8_t* p, Py_ssize_t n, char* out) noexcept nogil:
    cdef Py_ssize_t i
    cdef int at = 0
    cdef uint8_t c
    for i in range(n):
        c = p[i]
        if 32 <= c < 127 and c != 92:
            out[at] = <char>c
            at += 1
            continue
        out[at] = 92
        at += 1
        if c == 92 or c == 13 or c == 10 or c == 9:
            out[at] = 92 if c == 92 else 114 if c == 13 else 110 if c == 10 else 116
            at += 1
        else:
            out[at] = 120
            out[at + 1] = <char>hex_digit(c >> 4)
            out[at + 2] = <char>hex_digit(c & 15)
            at += 3
    return at


cdef int address(const Conn* conn, int side, char* out) noexcept nogil:
    cdef const uint8_t* p = &conn.key.lo[0] if (side == CLIENT) == (conn.client == 0) else &conn.key.hi[0]
    cdef uint16_t group[8]
    cdef int i, best = -1, best_n = 0, run, at = 0
    if conn.key.family == 4:
        for i in range(4):
            run = 1 if p[i] < 10 else 2 if p[i] < 100 else 3
            digits(<uint8_t*>out + at, run, p[i])
            at += run
            out[at] = 46 if i < 3 else 0
            at += i < 3
        return at
    # RFC 5952 4: lower case, the longest run of zero groups as ::
    for i in range(8):
        group[i] = be16(p + 2 * i)
    i = 0
    while i < 8:
        run = 0
        while i + run < 8 and group[i + run] == 0:
            run += 1
        if run > best_n and run > 1:
            best = i
            best_n = run
        i += run if run else 1
    i = 0
    while i < 8:
        if i == best:
            out[at] = 58
            out[at + 1] = 58
            at += 2
            i += best_n
            continue
        if i and i != best + best_n or (i and best < 0):
            out[at] = 58
            at += 1
        run = 12
        while run and group[i] >> run == 0:
            run -= 4
        while run >= 0:
            out[at] = <char>hex_digit((group[i] >> run) & 15)
            at += 1
            run -= 4
        i += 1
    out[at] = 0
    return at


cdef int port(const Conn* conn, int side) noexcept nogil:
    return conn.key.lo_port if (side == CLIENT) == (conn.client == 0) else conn.key.hi_port


cdef object endpoint(Conn* conn, int side):
    cdef char out[ADDRESS]
    text = out[:address(conn, side, out)].decode("ascii")
    return f"[{text}]:{port(conn, side)}" if conn.key.family == 6 else f"{text}:{port(conn, side)}"


cdef bytes piece(Mail* mail, Piece p):
    return (<const char*>mail.text.p)[p.at:p.at + p.n] if p.n else b""


cdef str decoded(bytes octets):
    """UTF-8 where it is; other octets as \\xNN, so that nothing is lost and nothing breaks a reader."""
    return octets.decode("utf-8", "backslashreplace")


cdef class Said:
    """What a Python rule may know besides the fact: the connection and the open mail."""

    cdef readonly str client
    cdef readonly str server
    cdef readonly bytes helo
    cdef readonly object mail_from
    cdef readonly list rcpt_to


cdef object said(Conn* conn, Mail* mail):
    cdef Said made = Said.__new__(Said)
    cdef uint32_t i
    made.client = endpoint(conn, 0)
    made.server = endpoint(conn, 1)
    made.helo = (<const char*>short_octets(&conn.talk.helo, conn.talk.helo_n))[:conn.talk.helo_n]
    made.rcpt_to = []
    if mail != NULL:
        made.mail_from = decoded(piece(mail, mail.sender)) if mail.has_sender else None
        for i in range(mail.nrcpts):
            made.rcpt_to.append(decoded(piece(mail, mail.rcpts[i].address)))
    return made
