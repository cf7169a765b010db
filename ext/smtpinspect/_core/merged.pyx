"""Several sources as one."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from smtpinspect._core.sources cimport NEXT_BAD, NEXT_END, NEXT_RECORD, Record, Source

cdef enum:
    MERGE_SHIFT = 44                     # bits of a merged position that are the part's own

cdef int64_t PLACE = (<int64_t>1 << MERGE_SHIFT) - 1


cdef class Merged(Source):
    """Several sources as one, in the order of their records' time; of the same time, in the order given.

    A part is looked into for the time of its first record, and then rests until that time has come: of a
    thousand files that follow each other, one is open. A part that is cut off does not end the others.
    """

    cdef list parts
    cdef void** each        # the parts, borrowed from `parts`
    cdef Record* heads      # each part's next record
    cdef bint* resting      # of which only the time counts: the part must be read again
    cdef int* heap          # of indices; the first is the next to be given
    cdef int size           # of the heap
    cdef int count
    cdef bint begun
    cdef bint lent          # the first of the heap was given and is to be replaced
    cdef bint faulty
    cdef bint broken        # `failure` ends it all
    cdef int over           # the part that ended last, and still answers back(); -1: none
    cdef list found         # faults of parts
    cdef object failure

    def __init__(self, parts, str name):
        cdef int i
        self.parts = [<Source?>part for part in parts]
        self.name = name
        self.lends_many = False
        self.count = <int>len(self.parts)
        self.found = []
        self.over = -1
        self.each = <void**>malloc((self.count + 1) * sizeof(void*))
        self.heads = <Record*>malloc((self.count + 1) * sizeof(Record))
        self.resting = <bint*>malloc((self.count + 1) * sizeof(bint))
        self.heap = <int*>malloc((self.count + 1) * sizeof(int))
        if self.each == NULL or self.heads == NULL or self.resting == NULL or self.heap == NULL:
            raise MemoryError
        for i in range(self.count):
            self.each[i] = <void*>self.parts[i]
            self.resting[i] = False
        if all(part.octets_total for part in self.parts):
            self.octets_total = sum(part.octets_total for part in self.parts)

    def __dealloc__(self):
        free(self.each)
        free(self.heads)
        free(self.resting)
        free(self.heap)

    cdef int next(self, Record* out) noexcept nogil:
        cdef int i
        if not self.begun:
            self._begin()
        elif self.lent:
            self._replace(self._advance(self.heap[0]))
        self.lent = False
        while self.size and not self.broken:
            i = self.heap[0]
            if self.resting[i]:
                self.resting[i] = False
                self._replace(self._advance(i))
                continue
            out[0] = self.heads[i]
            if 0 <= out.position < <int64_t>1 << MERGE_SHIFT:
                out.position |= <int64_t>i << MERGE_SHIFT
            else:
                out.position = -1
            self.lent = True
            self.records += 1
            return NEXT_RECORD
        return NEXT_BAD if self.faulty else NEXT_END

    cdef void _begin(self) noexcept nogil:
        cdef int i, at
        cdef int64_t octets
        self.begun = True
        for i in range(self.count):
            if self.broken or not self._advance(i):
                continue
            octets = (<Source>self.each[i]).octets_read
            self.resting[i] = (<Source>self.each[i])._rewind()
            self.octets_read += (<Source>self.each[i]).octets_read - octets
            at = self.size
            self.size += 1
            while at and self._earlier(i, self.heap[(at - 1) // 2]):
                self.heap[at] = self.heap[(at - 1) // 2]
                at = (at - 1) // 2
            self.heap[at] = i

    cdef bint _advance(self, int i) noexcept nogil:
        """Reads the part's next record. False: it has no more."""
        cdef int64_t octets = (<Source>self.each[i]).octets_read
        cdef int got = (<Source>self.each[i]).next(&self.heads[i])
        self.octets_read += (<Source>self.each[i]).octets_read - octets
        if got == NEXT_RECORD:
            return True
        if got == NEXT_BAD:
            self.faulty = True
            with gil:
                self._note(i)
        if self.over >= 0:
            (<Source>self.each[self.over])._rest()
        self.over = i
        return False

    cdef void _note(self, int i) noexcept:
        try:
            self.found += self.parts[i].faults()
        except BaseException as failure:
            self.failure = failure
            self.broken = True

    cdef inline bint _earlier(self, int a, int b) noexcept nogil:
        return self.heads[a].ns < self.heads[b].ns or (self.heads[a].ns == self.heads[b].ns and a < b)

    cdef void _replace(self, bint more) noexcept nogil:
        """Puts the heap in order again, whose first has a new record, or none."""
        cdef int i = self.heap[0]
        cdef int at = 0
        cdef int child
        if not more:
            self.size -= 1
            i = self.heap[self.size]
        while True:
            child = 2 * at + 1
            if child + 1 < self.size and self._earlier(self.heap[child + 1], self.heap[child]):
                child += 1
            if child >= self.size or self._earlier(i, self.heap[child]):
                break
            self.heap[at] = self.heap[child]
            at = child
        self.heap[at] = i

    cdef const uint8_t* back(self, int64_t position, uint32_t n, int64_t here, uint8_t* room) noexcept nogil:
        cdef int64_t i = position >> MERGE_SHIFT
        if position < 0 or i >= self.count:
            return NULL
        # of another part than the one that asks: as far as that one was read
        here = here & PLACE if here >> MERGE_SHIFT == i else -1
        return (<Source>self.each[i]).back(position & PLACE, n, here, room)

    cpdef object fault(self):
        if self.failure is not None:
            raise self.failure
        return self.found[0] if self.found else None

    def faults(self):
        if self.failure is not None:
            raise self.failure
        return list(self.found)

    cpdef void close(self):
        for part in self.parts:
            part.close()
