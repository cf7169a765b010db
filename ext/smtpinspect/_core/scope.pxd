"""Which connections each inspector looks at: networks inside, directions, exclusions, ports."""

from libc.stdint cimport uint8_t, uint16_t

from smtpinspect._core.state cimport Conn

cdef struct Network:
    uint8_t family             # 4 or 6
    uint8_t bits
    uint8_t[16] octets

cdef struct Scope:
    int inside                 # first and number, in `networks`
    int n_inside
    int excluded
    int n_excluded
    int ports                  # first and number, in `ports`
    int n_ports
    uint8_t inbound
    uint8_t outbound

cdef class Scopes:
    cdef Scope* scopes         # one per inspector
    cdef Network* networks
    cdef uint16_t* ports
    cdef int n
    cdef readonly bint any     # somebody leaves something out
    cdef int keep(self, Network* network, str text) except -1
    # Does this inspector look at a connection between these two? An address is 4 or 16 octets, by family.
    cdef bint between(
        self, int inspector, int family, const uint8_t* client, const uint8_t* server, uint16_t port,
    ) noexcept nogil
    cdef bint looks_at(self, int inspector, const Conn* conn) noexcept nogil
