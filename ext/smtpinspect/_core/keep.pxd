"""The frames of open connections, kept until it is known whether somebody wants them."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.sources cimport Record, Source
from smtpinspect._core.state cimport Conn, Key

cdef struct Frame:              # its octets lie behind it
    Frame* next
    int64_t number
    int64_t ns
    uint32_t caplen
    uint32_t wirelen
    uint8_t syn

cdef struct Chain:              # the frames of a pair of ends; with ports 0: the IP fragments between two addresses
    Key key
    Chain* bucket
    Chain* older                # by their last frames
    Chain* newer
    Frame* first
    Frame* last
    int64_t octets
    uint8_t full

cdef class Kept(Source):
    cdef Source inner
    cdef Chain** buckets
    cdef uint32_t size          # a power of two
    cdef uint32_t n
    cdef Chain* oldest
    cdef Chain* newest
    cdef int64_t total          # octets of all chains
    cdef list out               # of connections that are wanted, as records of a capture
    cdef readonly int64_t connections   # that were wanted
    cdef readonly int64_t cut           # and of those: that could not be kept whole
    cdef readonly int linktype          # of what was kept; -1: nothing was
    cdef void keep(self, const Record* record) noexcept nogil
    # It is over; `wanted` asks for its frames, up to this number.
    cdef void over(self, const Conn* conn, int64_t number, bint wanted) noexcept nogil
    cdef void hand_out(self, const Conn* conn, Chain* chain, int64_t number) noexcept
    cdef Chain** place(self, const Key* key) noexcept nogil
    cdef Chain* chain_of(self, const Key* key) noexcept nogil
    cdef void newest_is(self, Chain* chain) noexcept nogil
    cdef void unlink(self, Chain* chain) noexcept nogil
    cdef void drop_first(self, Chain* chain) noexcept nogil
    cdef void forget(self, Chain* chain) noexcept nogil
