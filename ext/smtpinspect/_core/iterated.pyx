"""Records from an iterable of Python's."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from smtpinspect._core.sources cimport NEXT_BAD, NEXT_END, NEXT_RECORD, NEXT_TURN, Record
from smtpinspect._core.windows cimport LEAST_READ, MAX_RECORD, Windowed

from smtpinspect.errors import CaptureError, UsageError

cdef object END = object()


cdef class Frames(Windowed):
    """An iterable of pairs (timestamp, frame)."""

    cdef object items
    cdef object failure
    cdef int linktype
    cdef int ended          # Next, once it is not NEXT_RECORD

    def __init__(self, items, str name, *, int linktype):
        self.items = iter(items)
        self.name = name
        self.linktype = linktype
        self.keeps = True

    cdef int next(self, Record* out) noexcept nogil:
        if self.ended != NEXT_RECORD:
            return self.ended
        if self.lent and self.limit - self.end < LEAST_READ:
            return NEXT_TURN
        with gil:
            self.ended = self._next(out)
        return self.ended

    cdef int _next(self, Record* out) noexcept:
        try:
            item = next(self.items, END)
            if item is END:
                return NEXT_END
            try:
                when, frame = item
                out.ns = nanoseconds(when)
                octets = <bytes>(frame if type(frame) is bytes else _octets(frame))
            except (TypeError, ValueError, ArithmeticError) as error:
                raise UsageError(
                    f"{self.name}: item {self.records + 1:,} is no pair of seconds and octets: "
                    f"{item!r:.60} ({error})"
                ) from error
            if len(octets) > MAX_RECORD:
                raise UsageError(f"{self.name}: item {self.records + 1:,} has more than {MAX_RECORD:,} bytes")
            if self.limit - self.end < len(octets) or self.now == NULL:
                if not self._turn(len(octets)):
                    raise MemoryError
            memcpy(<void*>self.end, PyBytes_AS_STRING(octets), len(octets))
        except BaseException as failure:
            self.failure = failure
            return NEXT_BAD
        out.p = self.end
        out.caplen = out.wirelen = <uint32_t>len(octets)
        out.linktype = self.linktype
        out.position = self.now.base + (out.p - self.now.start)
        self.end += out.caplen
        self.at = self.end
        self.octets_read += out.caplen
        self.records += 1
        return NEXT_RECORD

    cpdef object fault(self):
        if self.failure is not None and not isinstance(self.failure, CaptureError):
            raise self.failure
        return self.failure

    cpdef void close(self):
        self.items = iter(())
        self._drop()
        if self.ended == NEXT_RECORD:
            self.ended = NEXT_END


def _octets(frame):
    if isinstance(frame, (bytes, bytearray, memoryview)) or hasattr(frame, "__bytes__"):
        return bytes(frame)
    raise TypeError(f"{type(frame).__name__} where octets belong")


def nanoseconds(when) -> int:
    """Seconds since 1970, as nanoseconds.

    An int, a Decimal or a Fraction is taken exactly. A float of our days has steps of a quarter of a
    microsecond, so it is taken to the microsecond (to the nanosecond where its steps are smaller).
    """
    if not isinstance(when, (int, float)):
        from decimal import Decimal
        from numbers import Rational
        if not isinstance(when, (Rational, Decimal)):
            if not hasattr(when, "__float__"):
                raise TypeError(f"{type(when).__name__} where seconds belong")
            when = float(when)   # of another number's kind, as numpy's
    if isinstance(when, float):
        if abs(when) < 1 << 22:
            return round(when * 1e9)
        whole = when.__floor__()
        return whole * 1_000_000_000 + round((when - whole) * 1e6) * 1000
    return round(when * 1_000_000_000)
