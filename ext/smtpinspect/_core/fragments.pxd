"""IP fragments put together again (RFC 791 3.2, RFC 8200 4.5), in bounded memory."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from smtpinspect._core.frame cimport Packet

cdef struct Tracker

cdef class Fragments:
    cdef readonly uint64_t overlaps       # conflicting overlaps seen
    cdef readonly uint64_t incomplete     # datagrams given up (time, cap, damage)
    cdef bint conflict                    # in the datagram that was lent last
    cdef readonly uint64_t waiting        # datagrams begun, and neither whole nor given up yet
    cdef readonly uint64_t octets         # held for them
    cdef uint64_t max_trackers
    cdef uint64_t max_octets
    cdef uint64_t patience                # nanoseconds
    cdef uint64_t trackers                # also those that only remember that a datagram was given up
    cdef uint64_t seed
    cdef Tracker** buckets
    cdef Tracker* oldest
    cdef Tracker* newest
    cdef Tracker* lent                    # whose payload the caller reads
    # Takes one fragment. Returns 1 when it completes a datagram: `packet.body` then lends the whole
    # payload until the next call, and the caller goes on with tcp_decode. Returns 0 else.
    cdef int push(self, Packet* packet, int64_t ns) noexcept nogil
    cdef Tracker* _find(self, const Packet* packet, int64_t ns) noexcept nogil
    cdef bint _room(self, Tracker* of, uint32_t end) noexcept nogil
    cdef void _unlink(self, Tracker* which) noexcept nogil
    cdef void _free(self, Tracker* which) noexcept nogil
    cdef void _drop_oldest(self) noexcept nogil
    cdef int _give_up(self, Tracker* which) noexcept nogil
