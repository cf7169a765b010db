"""Where records come from, one after the other: what every kind of source can do."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum Next:
    NEXT_RECORD = 0
    NEXT_END = 1     # whole to its last octet
    NEXT_BAD = 2     # cut off or damaged: `Source.fault` tells where and why
    NEXT_TURN = 3    # there may be more, but what was lent must be given back first
    NEXT_WAIT = 4    # nothing is lent; there will be more, and time goes by: look at what else there is to do

cdef enum:
    AGAIN = 4096     # octets that `back` gives at once

cdef struct Record:
    const uint8_t* p        # the captured octets; lent until the next call of next()
    uint32_t caplen         # how many were captured
    uint32_t wirelen        # how many there were
    int64_t ns              # since 1970, UTC
    int linktype            # LINKTYPE_ value
    int64_t position        # octet of `p` in the source (for Source.back); -1 when it has none

cdef class Source:
    # octets read so far, and all of them when known (0 else): for the progress line
    cdef readonly int64_t octets_read
    cdef readonly int64_t octets_total
    cdef readonly str name          # what messages call it
    cdef readonly int64_t records   # given so far
    cdef bint lends_many            # what was lent stays until NEXT_TURN; else until the next call
    cdef bint lent                  # set while a record is lent: NEXT_TURN instead of taking it back
    cdef int64_t quiet_ns           # behind NEXT_WAIT: all records before this time were given; 0: nobody knows
    cdef int next(self, Record* out) noexcept nogil
    # At most AGAIN earlier octets again, maybe in `room`; NULL when they are no longer held. `here` is the octet
    # behind the record that asks, -1: behind the last one read. Several threads may ask, while none calls anything
    # else but read_ahead.
    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil
    # One that overlaps lends a round longer. A round begins with settle(), which tells how many parts of what next()
    # will want are to be read ahead, each once, and ends with collect(). In between one thread may call next(), others
    # read_ahead(), and all may read what was lent before the round.
    cdef bint overlaps
    cdef void overlap(self) noexcept nogil          # for a source that can: from now on it does
    cdef int settle(self) noexcept nogil
    cdef void read_ahead(self, int part) noexcept nogil
    cdef void collect(self) noexcept nogil
    cpdef object fault(self)     # None or a smtpinspect.errors.CaptureError
    cpdef void close(self)
    # nothing more will be asked of it but back(): let go of what can be had again
    cdef void _rest(self) noexcept nogil
    # the same, and start afresh; False when it cannot be read a second time
    cdef bint _rewind(self) noexcept nogil
