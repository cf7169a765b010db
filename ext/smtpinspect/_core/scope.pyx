"""Which connections each inspector looks at: networks inside, directions, exclusions, ports."""

from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from smtpinspect._core.state cimport Conn


cdef bint within(const Network* networks, int n, int family, const uint8_t* address) noexcept nogil:
    cdef const Network* one
    cdef int i, at, whole, rest
    for i in range(n):
        one = &networks[i]
        if one.family != family:
            continue
        whole = one.bits >> 3
        at = 0
        while at < whole and one.octets[at] == address[at]:
            at += 1
        rest = one.bits & 7
        if at == whole and (rest == 0 or (one.octets[at] ^ address[at]) >> (8 - rest) == 0):
            return True
    return False


cdef class Scopes:
    """One per inspector, in order: objects with `inside`, `inbound`, `outbound`, `excluded` and `ports`."""

    def __init__(self, scopes):
        cdef Scope* scope
        cdef int at = 0, port = 0
        self.n = len(scopes)
        self.scopes = <Scope*>calloc(max(1, self.n), sizeof(Scope))
        self.networks = <Network*>calloc(
            max(1, sum(len(each.inside) + len(each.excluded) for each in scopes)), sizeof(Network)
        )
        self.ports = <uint16_t*>calloc(max(1, sum(len(each.ports) for each in scopes)), sizeof(uint16_t))
        if self.scopes == NULL or self.networks == NULL or self.ports == NULL:
            raise MemoryError
        for i, each in enumerate(scopes):
            scope = &self.scopes[i]
            scope.inbound = each.inbound
            scope.outbound = each.outbound
            scope.inside = at
            scope.n_inside = len(each.inside)
            scope.excluded = at + scope.n_inside
            scope.n_excluded = len(each.excluded)
            for text in (*each.inside, *each.excluded):
                self.keep(&self.networks[at], text)
                at += 1
            scope.ports = port
            scope.n_ports = len(each.ports)
            for number in each.ports:
                self.ports[port] = number
                port += 1
            if scope.n_ports or scope.n_excluded or not scope.inbound or (scope.n_inside and not scope.outbound):
                self.any = True

    cdef int keep(self, Network* network, str text) except -1:
        import ipaddress  # slow to import, and wanted only where somebody names networks
        made = ipaddress.ip_network(text)
        cdef bytes octets = made.network_address.packed
        network.family = made.version
        network.bits = made.prefixlen
        memcpy(network.octets, <const char*>octets, len(octets))
        return 0

    def __dealloc__(self):
        free(self.scopes)
        free(self.networks)
        free(self.ports)

    cdef bint between(
        self, int inspector, int family, const uint8_t* client, const uint8_t* server, uint16_t port,
    ) noexcept nogil:
        cdef Scope* scope = &self.scopes[inspector]
        cdef const Network* inside = self.networks + scope.inside
        cdef const Network* excluded = self.networks + scope.excluded
        cdef int n = scope.n_inside, i
        for i in range(scope.n_ports):
            if self.ports[scope.ports + i] == port:
                break
        else:
            if scope.n_ports:
                return False
        if within(excluded, scope.n_excluded, family, client) or within(excluded, scope.n_excluded, family, server):
            return False
        # Two hosts inside are inbound to each other (SonicOS: between trusted zones); so is what nobody told us of.
        if within(inside, n, family, client) and not within(inside, n, family, server):
            return scope.outbound
        return scope.inbound

    cdef bint looks_at(self, int inspector, const Conn* conn) noexcept nogil:
        cdef const uint8_t* client = &conn.key.lo[0] if conn.client == 0 else &conn.key.hi[0]
        cdef const uint8_t* server = &conn.key.hi[0] if conn.client == 0 else &conn.key.lo[0]
        cdef uint16_t port = conn.key.hi_port if conn.client == 0 else conn.key.lo_port
        return self.between(inspector, conn.key.family, client, server, port)

    def looks_between(self, int inspector, str client, str server, uint16_t port):
        """Does this inspector look at a connection from this address to that one's port (text, of one family)?"""
        import ipaddress
        a = ipaddress.ip_address(client)
        cdef bytes p = a.packed
        cdef bytes q = ipaddress.ip_address(server).packed
        if len(p) != len(q) or not 0 <= inspector < self.n:
            raise ValueError("two addresses of one family, and an inspector's number")
        cdef const uint8_t* to = <const uint8_t*><const char*>q
        return bool(self.between(inspector, a.version, <const uint8_t*><const char*>p, to, port))
