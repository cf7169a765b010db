"""How a connection begins that is on no server port: 220 tells SMTP, perhaps behind a SOCKS5 negotiation."""

from smtpinspect._core.state cimport Conn

cdef enum:
    OPENING_OPEN = 0           # more octets are needed
    OPENING_SMTP = 1           # who is the client is known by now, too
    OPENING_SOCKS = 2
    OPENING_OTHER = 3

# What the kept octets of both sides tell.
cdef int opening(Conn* conn) noexcept nogil
# A connection picked up mid-stream begins at the earliest octet seen by now.
cdef void opening_release(Conn* conn) noexcept nogil
