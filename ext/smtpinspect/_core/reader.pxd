"""Frames in batches: decoded, joined from fragments, and each known to its lane."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.connections cimport LANES
from smtpinspect._core.fragments cimport Fragments
from smtpinspect._core.frame cimport Packet
from smtpinspect._core.sources cimport Record, Source
from smtpinspect._core.state cimport Key

cdef enum:
    AGE_EVERY = 1024           # frames between two looks for idle connections; no batch goes beyond one

cdef struct Seen:              # a TCP segment
    Packet packet
    Key key
    uint32_t hash
    uint8_t lane
    uint8_t from_lo
    uint8_t conflict           # joined from fragments that disagree
    uint32_t order             # frames of the batch before it
    int64_t ns
    int64_t here               # octet of the source behind the frame
    int64_t position           # of its payload in the source, -1 when it is not there as it is

cdef struct Batch:
    Seen* seen
    uint8_t* joined            # room for the one datagram that it may have been joined from fragments
    int n
    int64_t first              # number of its first frame
    int64_t last               # and of its last one, whatever that was
    int64_t ns                 # of the last one
    int count[LANES]           # segments of each lane
    int16_t* of_lane           # and which: AGE_EVERY of them for each lane

cdef int batch_make(Batch* batch) noexcept nogil       # -1: no memory
cdef void batch_free(Batch* batch) noexcept nogil

cdef class Reader:
    cdef Source source
    cdef Fragments fragments
    cdef uint64_t seed
    cdef int64_t packets       # frames so far
    cdef int64_t octets
    cdef int64_t bad_frames
    cdef int64_t last_ns       # of the last frame
    cdef set unknown_links
    # At most this many frames into the batch, whose octets are lent until the next call, or the one after it when the
    # source overlaps. Returns why it ended: sources.Next.
    cdef int fill(self, Batch* batch, int64_t most) noexcept nogil
    cdef bint join(self, Batch* batch, Packet* packet, int64_t ns) noexcept nogil
    cdef void take(self, Batch* batch, const Record* record, bint joined) noexcept nogil
