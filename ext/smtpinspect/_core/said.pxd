"""Addresses and octets as text, and what a Python rule may know besides its fact."""

from smtpinspect._core.state cimport Conn, Mail, Piece

cdef object endpoint(Conn* conn, int side)          # "ip:port", "[ip]:port"
cdef bytes piece(Mail* mail, Piece p)
cdef str decoded(bytes octets)                      # UTF-8 where it is, other octets as \\xNN
cdef object said(Conn* conn, Mail* mail)            # the connection and the open mail (may be NULL)
