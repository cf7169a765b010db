"""Addresses and octets as text, and what a Python rule may know besides its fact."""

from libc.stdint cimport uint8_t, uint32_t

from smtpinspect._core.state cimport CLIENT, Conn, Mail, Piece

import ipaddress


cdef object address(Conn* conn, int side):
    cdef bint lo = (side == CLIENT) == (conn.client == 0)
    cdef const uint8_t* p = &conn.key.lo[0]
    if not lo:
        p = &conn.key.hi[0]
    if conn.key.family == 4:
        return f"{p[0]}.{p[1]}.{p[2]}.{p[3]}"
    return str(ipaddress.IPv6Address((<const char*>p)[:16]))


cdef int port(Conn* conn, int side) noexcept:
    return conn.key.lo_port if (side == CLIENT) == (conn.client == 0) else conn.key.hi_port


cdef object endpoint(Conn* conn, int side):
    text = address(conn, side)
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
    made.helo = (<const char*>conn.talk.helo.p)[:conn.talk.helo.n] if conn.talk.helo.n else b""
    made.rcpt_to = []
    if mail != NULL:
        made.mail_from = decoded(piece(mail, mail.sender)) if mail.has_sender else None
        for i in range(mail.nrcpts):
            made.rcpt_to.append(decoded(piece(mail, mail.rcpts[i].address)))
    return made
