"""The face of a source, and its records for Python."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef class Source:
    """Where records come from. Read it once, from one thread at a time."""

    def __cinit__(self, *args, **kwargs):
        self.name = ""
        self.lends_many = True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    cdef int next(self, Record* out) noexcept nogil:
        return NEXT_END

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        return NULL

    cdef void overlap(self) noexcept nogil:
        pass

    cdef int settle(self) noexcept nogil:
        return 0

    cdef void read_ahead(self, int part) noexcept nogil:
        pass

    cdef void collect(self) noexcept nogil:
        pass

    cpdef object fault(self):
        """Why next() returned NEXT_BAD.

        Raises what is not the capture's doing: Ctrl-C, an error in the caller's own iterable.
        """
        return None

    def faults(self):
        """All of them: each of several files can have one."""
        fault = self.fault()
        return [] if fault is None else [fault]

    cpdef void close(self):
        pass

    cdef bint _rewind(self) noexcept nogil:
        return False

    cdef void _rest(self) noexcept nogil:
        pass


def records(Source source not None):
    """(nanoseconds, link type, octets, octets on the wire) of each record; raises the fault at the end."""
    cdef Record record
    while advanced(source, &record):
        yield record.ns, record.linktype, record.p[:record.caplen], record.wirelen


def places(Source source not None):
    """(position, octets) of each record, for tests."""
    cdef Record record
    while advanced(source, &record):
        yield record.position, record.p[:record.caplen]


cdef bint advanced(Source source, Record* record) except -1:
    cdef int got
    with nogil:
        got = source.next(record)
    if got == NEXT_BAD:
        raise source.fault()
    return got == NEXT_RECORD


def held(Source source not None, int64_t position, uint32_t n):
    """Octets that Source.back still holds, or None; for tests."""
    cdef uint8_t room[AGAIN]
    cdef bytes out = b""
    cdef const uint8_t* p
    cdef uint32_t part
    while n:
        part = min(n, <uint32_t>AGAIN)
        p = source.back(position, part, -1, room)
        if p == NULL:
            return None
        out += p[:part]
        position += part
        n -= part
    return out
