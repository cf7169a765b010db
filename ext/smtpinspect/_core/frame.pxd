"""A frame taken apart: link layer, IP, TCP header."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from smtpinspect._core.sources cimport Record

cdef enum Decoded:
    IS_TCP = 0
    IS_FRAGMENT = 1      # an IP fragment: give it to `fragments`
    IS_OTHER = 2         # whole, but not TCP over IP
    IS_UNKNOWN_LINK = 3  # a link type that is not read
    IS_BAD = 4           # damaged or cut before the end of the TCP header

cdef enum TcpFlag:
    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32

cdef struct Packet:
    uint8_t family          # 4 or 6
    uint8_t ttl             # TTL or hop limit
    uint8_t proto           # the transport protocol behind all extension headers
    const uint8_t* src      # 4 or 16 octets
    const uint8_t* dst
    const uint8_t* body     # IP payload (behind extension headers)
    uint32_t body_caplen    # of which were captured
    uint32_t body_len       # by the IP header (the frame's length where that says 0: segmentation offload)
    # fragments only
    uint32_t frag_id
    uint32_t frag_offset    # octets
    uint8_t frag_more
    # TCP
    uint16_t sport
    uint16_t dport
    uint32_t seq
    uint32_t ack
    uint16_t window
    uint8_t flags
    const uint8_t* payload
    uint32_t payload_caplen
    uint32_t payload_len    # on the wire, which may be more than was captured

cdef int frame_decode(const Record* record, Packet* out) noexcept nogil
# the TCP header at out.body, for frame_decode and for a reassembled datagram
cdef int tcp_decode(Packet* out) noexcept nogil
# steps over IPv6 extension headers at out.body: IS_TCP when `proto` and `body` are of what lies behind them
cdef int extensions_decode(Packet* out) noexcept nogil
# for tests: the fields as a dictionary, or None
cdef object fields_of(int decoded, const Packet* packet)
