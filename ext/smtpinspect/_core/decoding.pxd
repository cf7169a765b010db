"""Transfer encodings undone as the octets pass: base64, quoted-printable, uuencode, and the dots of stuffing."""

from libc.stdint cimport int64_t, uint8_t

cdef enum:          # Encoding
    AS_IS = 0              # 7bit, 8bit, binary
    BASE64 = 1
    QUOTED_PRINTABLE = 2
    UUENCODE = 3           # the lines behind `begin`

cdef enum:
    BURST = 64             # one wire octet makes no more octets than this

cdef struct Decoding:
    uint8_t encoding
    uint8_t unstuff        # DATA: a dot at a line's beginning was added
    uint8_t at_line
    uint8_t have           # base64: characters of the open group; else a state
    uint8_t bits           # those of them that are in no octet yet; quoted-printable: the first digit
    uint8_t left           # uuencode: octets that the line still announces
    uint8_t over           # uuencode: the next octet begins a line that is no data

cdef void decoding_start(Decoding* d, int encoding, bint unstuff) noexcept nogil
# Octets out of p; returns how many of p were read, 0 only when d.over or n is 0. `room` is BURST at least.
cdef Py_ssize_t decode(
    Decoding* d, const uint8_t* p, Py_ssize_t n, uint8_t* out, Py_ssize_t room, Py_ssize_t* made,
) noexcept nogil
# Read on without making octets, as long as no more than `most` pass: returns how many of p were read. It may stop
# early, and reads nothing of an encoding that it cannot count.
cdef Py_ssize_t decoding_skip(
    Decoding* d, const uint8_t* p, Py_ssize_t n, int64_t most, int64_t* passed,
) noexcept nogil
# Which octet of p completed octet k of those that decode() made of it; `before`: the state then.
cdef Py_ssize_t decoding_where(const Decoding* before, const uint8_t* p, Py_ssize_t n, Py_ssize_t k) noexcept nogil
