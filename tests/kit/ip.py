"""What lies between a frame and its segment: IPv4 options, IPv6 extension headers, fragments of both."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kit.wire import Packet, checksum

HOP_BY_HOP, ROUTING, FRAGMENT, AUTH_HEADER, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135


def is_v6(octets: bytes) -> bool:
    return octets[0] >> 4 == 6


def reheader4(head: bytes, length: int, *, offset_field: int | None = None) -> bytes:
    """An IPv4 header with another total length (and fragment field), its checksum made right."""
    fragment = struct.unpack(">H", head[6:8])[0] if offset_field is None else offset_field
    fields = head[:2], struct.pack(">H", length), head[4:6], struct.pack(">H", fragment), head[8:10]
    head = b"".join((*fields, b"\0\0", head[12:]))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:]


def split4(octets: bytes) -> tuple[bytes, bytes]:
    """Header (with options) and payload of an IPv4 packet."""
    size = (octets[0] & 15) * 4
    return octets[:size], octets[size:]


def with_options(packet: Packet, options: bytes) -> Packet:
    """The IPv4 packet with options, padded with End of Options."""
    head, payload = split4(packet.octets)
    options += b"\0" * (-len(options) % 4)
    head = bytes([0x40 | (20 + len(options)) // 4]) + head[1:20] + options
    return packet._replace(octets=reheader4(head, len(head) + len(payload)) + payload)


def with_extensions(packet: Packet, kinds: Sequence[int]) -> Packet:
    """The IPv6 packet with a chain of extension headers before its payload."""
    head, payload = packet.octets[:40], packet.octets[40:]
    following = head[6]
    chain = b""
    for kind in reversed(kinds):
        if kind == AUTH_HEADER:
            body = struct.pack(">BBHII", following, 1, 0, 7, 1)  # length in words, less two
        elif kind == FRAGMENT:
            body = struct.pack(">BBHI", following, 0, 0, 77)  # an atomic fragment
        elif kind == ROUTING:
            body = struct.pack(">BBBBI", following, 0, 253, 0, 0)
        else:
            body = struct.pack(">BBBB4x", following, 0, 1, 4)  # PadN
        chain = body + chain
        following = kind
    head = head[:4] + struct.pack(">HB", len(chain) + len(payload), following) + head[7:]
    return packet._replace(octets=head + chain + payload)


def fragments(packet: Packet, size: int, ident: int = 0x1234) -> list[Packet]:
    """The packet in fragments of `size` payload octets (a multiple of 8), in order."""
    assert size % 8 == 0
    if is_v6(packet.octets):
        head, payload, following = packet.octets[:40], packet.octets[40:], packet.octets[6]
    else:
        head, payload = split4(packet.octets)
        head = head[:4] + struct.pack(">H", ident & 0xFFFF) + head[6:]
    result = []
    for at in range(0, len(payload), size):
        piece, more = payload[at : at + size], at + size < len(payload)
        if is_v6(packet.octets):
            extension = struct.pack(">BBHI", following, 0, at | more, ident)
            octets = head[:4] + struct.pack(">HB", 8 + len(piece), FRAGMENT) + head[7:] + extension + piece
        else:
            octets = reheader4(head, len(head) + len(piece), offset_field=at // 8 | more << 13) + piece
        result.append(packet._replace(octets=octets))
    return result
