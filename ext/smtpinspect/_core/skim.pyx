"""A pass over a source that does nothing with its records: what reading alone takes."""

from libc.stdint cimport int64_t

from smtpinspect._core.frame cimport Packet, frame_decode
from smtpinspect._core.sources cimport NEXT_RECORD, Record, Source


def skim(Source source not None, int64_t frames, bint decode=False):
    """(records, captured octets) of at most so many further records; `decode` takes their frames apart, too."""
    cdef int64_t octets = 0, n
    with nogil:
        n = read_on(source, frames, decode, &octets)
    return n, octets


cdef int64_t read_on(Source source, int64_t frames, bint decode, int64_t* octets) noexcept nogil:
    cdef Record record
    cdef Packet packet
    cdef int64_t n = 0
    while n < frames and source.next(&record) == NEXT_RECORD:
        octets[0] += record.caplen
        if decode:
            frame_decode(&record, &packet)
        n += 1
    return n
