"""The formats pcap and pcapng. Subclasses of `Capture` say where the octets come from."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.sources cimport Record
from smtpinspect._core.windows cimport Windowed

cdef enum Mode:
    AT_START
    PCAP           # the next record's header lies below the horizon
    PCAP_SLOW
    PCAPNG         # the next block's least form lies below the horizon
    PCAPNG_SLOW
    AT_END
    AT_FAULT

cdef enum Why:
    NO_FAULT
    NO_CAPTURE
    PCAP_VERSION
    CUT_HEADER
    CUT_RECORD
    CUT_BLOCK
    ABSURD_LENGTH
    BLOCK_LENGTH
    BLOCK_TRAILER
    BYTE_ORDER
    SECTION_VERSION
    NO_SUCH_INTERFACE
    TOO_MANY_INTERFACES
    RECORD_LENGTH
    NO_MEMORY
    SYSTEM_ERROR     # of the operating system; `said` is its number
    READER_FAILED    # an exception of a stream's reader; `failure` holds it


cdef struct Interface:
    int linktype
    uint32_t snaplen
    uint64_t factor     # nanoseconds of one tick, or ticks of one nanosecond when `divides`
    bint divides
    uint64_t most       # ticks that an int64 can hold as nanoseconds
    int shift           # resolution of 2**-shift seconds; -1: a power of ten
    int64_t offset      # nanoseconds


cdef class Capture(Windowed):
    cdef const uint8_t* horizon   # never more than MAX_RECORD + 32 behind `at`
    cdef Mode mode
    cdef bint big                 # big-endian
    cdef int linktype
    cdef int64_t fraction         # nanoseconds of the stamp's second part (pcap)
    cdef bint whole               # there is nothing behind the window
    cdef Interface* interfaces
    cdef uint32_t interface_count
    cdef uint32_t interface_room
    cdef int64_t last_ns          # for blocks without a stamp
    cdef Why why
    cdef int64_t why_at
    cdef uint64_t said
    cdef uint64_t there
    cdef bint headless            # the file header is at fault, no record
    cdef object failure
    cdef object told              # the fault, put into words
    cdef int64_t _fill(self, uint8_t* room, uint64_t n) noexcept nogil   # at most n octets; 0: no more, -1: `why` tells
    cdef bint _later(self) noexcept nogil           # is what comes next being read, just now, by somebody else?
    cdef void _restart(self) noexcept nogil
    cdef bint _need(self, uint64_t n) noexcept nogil
    cdef bint _skip(self, uint64_t n) noexcept nogil
    cdef int _slow(self, Record* out) noexcept nogil
    cdef int _begin(self) noexcept nogil
    cdef bint _begins_like_a_magic(self) noexcept nogil
    cdef int _slow_pcap(self, Record* out) noexcept nogil
    cdef int _slow_pcapng(self, Record* out) noexcept nogil
    cdef bint _byte_order(self, const uint8_t* p) noexcept nogil
    cdef int _block(self, const uint8_t* p, uint32_t length, Record* out) noexcept nogil
    cdef int _interface(self, const uint8_t* p, uint32_t length) noexcept nogil
    cdef int _over(self) noexcept nogil
    cdef int _bad(self, Why why, int64_t where, uint64_t said=*, uint64_t there=*) noexcept nogil
    cdef int _cut(self, Why why, uint64_t said, uint64_t there) noexcept nogil
    cdef int _cut_block(self, uint32_t kind, uint32_t length) noexcept nogil
    cdef bint _raises(self)
    cdef str _why(self)
