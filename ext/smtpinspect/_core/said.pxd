"""Addresses and octets as text, and what a Python rule may know besides its fact."""

from libc.stdint cimport uint8_t

from smtpinspect._core.state cimport Conn, Mail, Piece

cdef enum:
    ADDRESS = 48               # octets that an address takes as text, with its end

cdef int address(const Conn* conn, int side, char* out) noexcept nogil    # how many octets were written
cdef int port(const Conn* conn, int side) noexcept nogil
# ASCII as it is, \\r \\n \\t \\xNN, the backslash doubled; `out` has room for 4 * n; how many were written
cdef int escaped(const uint8_t* p, Py_ssize_t n, char* out) noexcept nogil
cdef object endpoint(Conn* conn, int side)          # "ip:port", "[ip]:port"
cdef bytes piece(Mail* mail, Piece p)
cdef str decoded(bytes octets)                      # UTF-8 where it is, other octets as \\xNN
cdef object said(Conn* conn, Mail* mail)            # the connection and the open mail (may be NULL)
