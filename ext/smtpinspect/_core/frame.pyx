"""A frame taken apart: link layer, IP, TCP header.

Nothing behind the length in the IP header is payload (padding, trailers), and nothing behind the captured
octets is read. Checksums are not looked at: a capture taken on the sending host shows them unfilled.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from smtpinspect._core.sources cimport Record
from smtpinspect._core.span cimport be16, be32

cdef enum Link:              # smtpinspect/grammar/linktypes.py tells where the numbers come from
    LINK_NULL = 0
    LINK_ETHERNET = 1
    LINK_RAW_12 = 12         # on OpenBSD this number is LOOP
    LINK_RAW_14 = 14
    LINK_RAW = 101
    LINK_LOOP = 108
    LINK_COOKED = 113
    LINK_IP4 = 228
    LINK_IP6 = 229
    LINK_COOKED_2 = 276

cdef enum Ether:
    ETHER_LLC = 0x0004       # in a cooked header: an 802.2 header follows
    ETHER_LEAST = 0x0600     # below it, the field is a length (IEEE 802.3 3.2.6)
    ETHER_IP4 = 0x0800
    ETHER_VLAN = 0x8100      # IEEE 802.1Q
    ETHER_IP6 = 0x86DD
    ETHER_SERVICE = 0x88A8   # IEEE 802.1ad
    ETHER_QINQ_1 = 0x9100    # tags from before 802.1ad
    ETHER_QINQ_2 = 0x9200
    ETHER_QINQ_3 = 0x9300

cdef enum Protocol:
    HOP_BY_HOP = 0
    TCP = 6
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    NOTHING = 59
    DESTINATION = 60
    MOBILITY = 135
    HIP = 139
    SHIM6 = 140

cdef enum:
    MAX_EXTENSIONS = 256     # IPv6 extension headers of a packet: more than 1,500 octets can hold
    ETHERNET_LEAST = 46      # a shorter payload is padded (IEEE 802.3 3.2.8)
    OPTION_JUMBO = 0xC2      # RFC 2675
    ARPHRD_NETLINK = 824     # the device kind of a cooked header


cdef int tcp_decode(Packet* out) noexcept nogil:
    cdef const uint8_t* p = out.body
    cdef uint32_t size
    if out.proto != TCP:
        return IS_OTHER
    if out.body_caplen < 20:
        return IS_BAD
    size = (p[12] >> 4) * 4
    if size < 20 or size > out.body_len:
        return IS_BAD
    out.sport = be16(p)
    out.dport = be16(p + 2)
    out.seq = be32(p + 4)
    out.ack = be32(p + 8)
    out.flags = p[13] & 0x3F
    out.window = be16(p + 14)
    out.payload_len = out.body_len - size
    if size > out.body_caplen:
        size = out.body_caplen   # the options are cut: what lies before `payload` was captured, always
    out.payload = p + size
    out.payload_caplen = out.body_caplen - size
    return IS_TCP


cdef inline int ip4(const uint8_t* p, uint32_t caplen, uint32_t wirelen, Packet* out) noexcept nogil:
    cdef uint32_t head, total, place
    if caplen < 20 or p[0] >> 4 != 4:
        return IS_BAD
    head = (p[0] & 15) * 4
    total = be16(p + 2)
    if total == 0 and wirelen > ETHERNET_LEAST:
        total = wirelen   # segmentation offload: the length did not fit, or was to be filled in later
    if head < 20 or head > caplen or total < head:
        return IS_BAD
    out.family = 4
    out.ttl = p[8]
    out.proto = p[9]
    out.src = p + 12
    out.dst = p + 16
    out.body = p + head
    out.body_len = total - head
    out.body_caplen = (total if total < caplen else caplen) - head
    place = be16(p + 6)
    if place & 0x3FFF:
        out.frag_id = be16(p + 4)
        out.frag_offset = (place & 0x1FFF) * 8
        out.frag_more = (place >> 13) & 1
        return IS_FRAGMENT
    return tcp_decode(out)


cdef int extensions_decode(Packet* out) noexcept nogil:
    cdef const uint8_t* p
    cdef uint32_t size, place
    cdef int _i
    for _i in range(MAX_EXTENSIONS):
        p = out.body
        if out.proto not in (
            HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY, HIP, SHIM6
        ):
            return IS_TCP
        if out.body_caplen < 8:
            return IS_BAD
        place = 0
        if out.proto == FRAGMENT:
            size = 8
            place = be16(p + 2) & 0xFFF9   # 0: whole in itself, an "atomic" fragment (RFC 6946)
            if place:
                out.frag_id = be32(p + 4)
                out.frag_offset = place & 0xFFF8
                out.frag_more = place & 1
        elif out.proto == AUTHENTICATION:
            size = (p[1] + 2) * 4
        else:
            size = (p[1] + 1) * 8
        if size > out.body_caplen or size > out.body_len:
            return IS_BAD
        out.proto = p[0]
        out.body += size
        out.body_len -= size
        out.body_caplen -= size
        if place:
            return IS_FRAGMENT
    return IS_BAD


cdef uint32_t jumbo_length(const uint8_t* p, uint32_t caplen) noexcept nogil:
    """The length in the hop-by-hop options at p (RFC 2675); 0: it is not there."""
    cdef uint32_t at = 2
    cdef uint32_t size
    if caplen < 8:
        return 0
    size = (p[1] + 1) * 8
    if size > caplen:
        size = caplen
    while at + 6 <= size:
        if p[at] == OPTION_JUMBO and p[at + 1] == 4:
            return be32(p + at + 2)
        at += 1 if p[at] == 0 else 2 + p[at + 1]
    return 0


cdef int ip6(const uint8_t* p, uint32_t caplen, uint32_t wirelen, Packet* out) noexcept nogil:
    cdef uint32_t length
    cdef int got = IS_TCP
    if caplen < 40 or p[0] >> 4 != 6:
        return IS_BAD
    length = be16(p + 4)
    if length == 0 and p[6] == HOP_BY_HOP:
        length = jumbo_length(p + 40, caplen - 40)
    if length == 0 and p[6] != NOTHING:
        length = wirelen - 40   # segmentation offload
    out.family = 6
    out.ttl = p[7]
    out.proto = p[6]
    out.src = p + 8
    out.dst = p + 24
    out.body = p + 40
    out.body_len = length
    out.body_caplen = length if length < caplen - 40 else caplen - 40
    if out.proto != TCP:
        got = extensions_decode(out)
    return tcp_decode(out) if got == IS_TCP else got


cdef inline int network(
    uint32_t kind, const uint8_t* p, uint32_t caplen, uint32_t wirelen, Packet* out
) noexcept nogil:
    """What lies behind an EtherType, through tags and LLC.

    LATER: tunnels are unwrapped here (MPLS, PPPoE: by EtherType) and at the end of ip4 and ip6 (GRE, IP in
    IP, VXLAN and others: by protocol and port), as `grammar/linktypes.py` lists them.
    """
    while True:
        if kind == ETHER_IP4:
            return ip4(p, caplen, wirelen, out)
        if kind == ETHER_IP6:
            return ip6(p, caplen, wirelen, out)
        if kind in (ETHER_VLAN, ETHER_SERVICE, ETHER_QINQ_1, ETHER_QINQ_2, ETHER_QINQ_3):
            if caplen < 4:
                return IS_BAD
            kind = be16(p + 2)
            p += 4
            caplen -= 4
            wirelen -= 4
        elif kind < ETHER_LEAST:
            if kind != ETHER_LLC and kind < caplen:
                caplen = wirelen = kind   # the rest is padding
            if caplen < 3:
                return IS_BAD
            if p[0] == 0x06 and p[1] == 0x06 and p[2] == 0x03:
                kind = ETHER_IP4
                p += 3
                caplen -= 3
                wirelen -= 3
            elif p[0] == 0xAA and p[1] == 0xAA and p[2] == 0x03:   # SNAP
                if caplen < 8:
                    return IS_BAD
                if p[3] or p[4] or (p[5] and p[5] != 0xF8):        # RFC 1042, IEEE 802.1H
                    return IS_OTHER
                kind = be16(p + 6)
                p += 8
                caplen -= 8
                wirelen -= 8
            else:
                return IS_OTHER
        else:
            return IS_OTHER


cdef int cooked(
    uint32_t kind, uint32_t hardware, const uint8_t* p, uint32_t caplen, uint32_t wirelen, Packet* out
) noexcept nogil:
    if hardware == ARPHRD_NETLINK or (kind < ETHER_LEAST and kind != ETHER_LLC):
        return IS_OTHER   # the field holds no EtherType
    return network(kind, p, caplen, wirelen, out)


cdef int frame_decode(const Record* record, Packet* out) noexcept nogil:
    cdef const uint8_t* p = record.p
    cdef uint32_t caplen = record.caplen
    cdef uint32_t wirelen = record.wirelen
    cdef int linktype = record.linktype
    out.family = 0
    if linktype == LINK_ETHERNET:
        if caplen < 14:
            return IS_BAD
        return network(be16(p + 12), p + 14, caplen - 14, wirelen - 14, out)
    if linktype == LINK_COOKED:
        if caplen < 16:
            return IS_BAD
        return cooked(be16(p + 14), be16(p + 2), p + 16, caplen - 16, wirelen - 16, out)
    if linktype == LINK_COOKED_2:
        if caplen < 20:
            return IS_BAD
        return cooked(be16(p), be16(p + 8), p + 20, caplen - 20, wirelen - 20, out)
    if linktype == LINK_IP4:
        return ip4(p, caplen, wirelen, out)
    if linktype == LINK_IP6:
        return ip6(p, caplen, wirelen, out)
    if linktype not in (LINK_NULL, LINK_LOOP, LINK_RAW, LINK_RAW_12, LINK_RAW_14):
        return IS_UNKNOWN_LINK
    if linktype == LINK_NULL or linktype == LINK_LOOP or (linktype == LINK_RAW_12 and caplen and p[0] == 0):
        # four octets of address family, which differs by byte order and system: the version behind does not
        if caplen < 4:
            return IS_BAD
        p += 4
        caplen -= 4
        wirelen -= 4
    if caplen == 0:
        return IS_BAD
    if p[0] >> 4 == 4:
        return ip4(p, caplen, wirelen, out)
    if p[0] >> 4 == 6:
        return ip6(p, caplen, wirelen, out)
    return IS_OTHER


cdef object fields_of(int decoded, const Packet* packet):
    if decoded not in (IS_TCP, IS_FRAGMENT, IS_OTHER) or not packet.family:
        return None
    size = 4 if packet.family == 4 else 16
    fields = {
        "kind": ("tcp", "fragment", "other")[decoded],
        "family": packet.family, "ttl": packet.ttl, "proto": packet.proto,
        "src": packet.src[:size], "dst": packet.dst[:size],
        "body": packet.body[:packet.body_caplen], "body_len": packet.body_len,
    }
    if decoded == IS_FRAGMENT:
        fields |= {"id": packet.frag_id, "offset": packet.frag_offset, "more": bool(packet.frag_more)}
    elif decoded == IS_TCP:
        fields |= {
            "sport": packet.sport, "dport": packet.dport, "seq": packet.seq, "ack": packet.ack,
            "window": packet.window, "flags": packet.flags,
            "payload": packet.payload[:packet.payload_caplen], "payload_len": packet.payload_len,
        }
    return fields


cdef int take_apart(
    int linktype, const uint8_t* p, uint32_t caplen, object wirelen, Packet* packet
) except -1:
    cdef Record record
    memset(&record, 0, sizeof(Record))
    memset(packet, 0, sizeof(Packet))
    record.p, record.caplen, record.linktype = p, caplen, linktype
    record.wirelen = caplen if wirelen is None else max(caplen, <uint32_t>wirelen)
    return frame_decode(&record, packet)


def decode(int linktype, bytes frame not None, wirelen=None):
    """The fields of a frame, for tests; None when no whole IP header, or no whole TCP header, is in it."""
    cdef Packet packet
    cdef int decoded = take_apart(linktype, frame, <uint32_t>len(frame), wirelen, &packet)
    return fields_of(decoded, &packet)


def kind(int linktype, bytes frame not None, wirelen=None):
    """What a frame is: tcp, fragment, other, unknown-link or bad; for tests."""
    cdef Packet packet
    cdef int decoded = take_apart(linktype, frame, <uint32_t>len(frame), wirelen, &packet)
    return ("tcp", "fragment", "other", "unknown-link", "bad")[decoded]
