"""IP and TCP packets as octets: read, made, and changed copies of them, checksums right.

Packets are made with dpkt. What a copy changes is written into the octets themselves, so that options, IP options and
extension headers stay as they were sent. (RFC 791, RFC 8200, RFC 9293, RFC 2018; checksums RFC 1071.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16

_TCP: Final = 6
_MORE_OR_OFFSET: Final = 0x3FFF  # of the IPv4 fragment field: MF and the offset
# Extension headers whose length stands in their second octet, in units of eight octets behind the first eight.
_EXTENSIONS: Final = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options (RFC 8200 4)
_MOST_EXTENSIONS: Final = 8
_END, _NOP, _SACK, _TIMESTAMPS = 0, 1, 5, 8  # option kinds (RFC 9293 3.2, RFC 2018 3, RFC 7323 3.2)
_MODULUS: Final = 1 << 32


class Segment(NamedTuple):
    """A TCP segment in its IP packet. `options` are those of TCP, padding included."""

    src: str
    dst: str
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes
    ttl: int
    ip_id: int  # 0 in IPv6


class Layout(NamedTuple):
    """Where in a packet's octets things lie."""

    tcp: int
    payload: int
    end: int  # what lies behind is padding


def layout(ip: bytes) -> Layout | None:
    """Where TCP and its payload lie; None: no TCP, a fragment, or malformed."""
    n = len(ip)
    if n < 40:
        return None
    version = ip[0] >> 4
    if version == 4:
        tcp = (ip[0] & 15) * 4
        end = ip[2] << 8 | ip[3]
        if ip[9] != _TCP or (ip[6] << 8 | ip[7]) & _MORE_OR_OFFSET or tcp < 20:
            return None
    elif version == 6:
        end = (ip[4] << 8 | ip[5]) + 40
        tcp, kind = 40, ip[6]
        for _ in range(_MOST_EXTENSIONS):
            if kind not in _EXTENSIONS or tcp + 8 > n:
                break
            kind, tcp = ip[tcp], tcp + 8 + ip[tcp + 1] * 8
        if kind != _TCP:
            return None
    else:
        return None
    if end > n or tcp + 20 > end:
        return None
    payload = tcp + (ip[tcp + 12] >> 4) * 4
    if payload < tcp + 20 or payload > end:
        return None
    return Layout(tcp, payload, end)


@lru_cache(1_024)
def _text(address: bytes) -> str:
    return str(ip_address(address))


@lru_cache(1_024)
def _packed(address: str) -> bytes:
    return ip_address(address).packed


def parse(ip: bytes) -> Segment | None:
    """The segment in an IP packet (no link header); None: no TCP, a fragment, or malformed."""
    at = layout(ip)
    if at is None:
        return None
    sport, dport, seq, ack, _, flags, window = struct.unpack_from("!HHIIBBH", ip, at.tcp)
    if ip[0] >> 4 == 4:
        src, dst, ttl, ip_id = ip[12:16], ip[16:20], ip[8], ip[4] << 8 | ip[5]
    else:
        src, dst, ttl, ip_id = ip[8:24], ip[24:40], ip[7], 0
    return Segment(
        src=_text(src),
        dst=_text(dst),
        sport=sport,
        dport=dport,
        seq=seq,
        ack=ack,
        flags=flags,
        window=window,
        options=ip[at.tcp + 20 : at.payload],
        payload=ip[at.payload : at.end],
        ttl=ttl,
        ip_id=ip_id,
    )


def build(segment: Segment) -> bytes:
    """The IP packet of a segment, IPv4 (DF set, as TCP does) or IPv6 by its addresses, checksums right.

    Raises ValueError for addresses of two families and for options that are too long or not padded to 4 octets.
    """
    from dpkt import ip, ip6, tcp  # loaded on use: parsing needs none of it

    src, dst = _packed(segment.src), _packed(segment.dst)
    if len(src) != len(dst):
        raise ValueError(f"{segment.src} and {segment.dst} are of two families")
    if len(segment.options) % 4 or len(segment.options) > 40:
        raise ValueError(f"{len(segment.options)} octets of TCP options: a multiple of 4, at most 40")
    carried = tcp.TCP(
        sport=segment.sport,
        dport=segment.dport,
        seq=segment.seq % _MODULUS,
        ack=segment.ack % _MODULUS,
        off=5 + len(segment.options) // 4,
        flags=segment.flags,
        win=segment.window,
        opts=segment.options,
        data=segment.payload,
    )
    if len(src) == 4:
        return bytes(
            ip.IP(
                src=src,
                dst=dst,
                p=_TCP,
                ttl=segment.ttl,
                id=segment.ip_id,
                df=1,
                len=20 + len(carried),
                data=carried,
            )
        )
    made = ip6.IP6(src=src, dst=dst, nxt=_TCP, hlim=segment.ttl, plen=len(carried), data=carried)
    made.extension_hdrs = {}
    made.all_extension_headers = []
    return bytes(made)


def edited(
    ip: bytes,
    *,
    payload: bytes | None = None,
    seq: int | None = None,
    ack: int | None = None,
    sack: int | Callable[[int], int] | None = None,
    flags: int | None = None,
) -> bytes:
    """A copy with another payload, other numbers, other flags; `sack` is added to the edges of SACK blocks, or tells
    the new one of each.

    All else stays, IP and TCP options too. Raises ValueError for what is no TCP packet.
    """
    at = layout(ip)
    if at is None:
        raise ValueError("no TCP segment")
    out = bytearray(ip[: at.payload])
    out += ip[at.payload : at.end] if payload is None else payload
    tcp = at.tcp
    if seq is not None:
        out[tcp + 4 : tcp + 8] = (seq % _MODULUS).to_bytes(4, "big")
    if ack is not None:
        out[tcp + 8 : tcp + 12] = (ack % _MODULUS).to_bytes(4, "big")
    if flags is not None:
        out[tcp + 13] = flags
    if sack:
        for block in _sack_edges(ip[tcp + 20 : at.payload]):
            where = tcp + 20 + block
            edge = int.from_bytes(out[where : where + 4], "big")
            edge = edge + sack if isinstance(sack, int) else sack(edge)
            out[where : where + 4] = (edge % _MODULUS).to_bytes(4, "big")
    if payload is not None:
        _write_length(out)
    return _checked(out, tcp)


def sack_blocks(options: bytes) -> tuple[tuple[int, int], ...]:
    """The blocks of a SACK option (RFC 2018): left and right edges as sequence numbers."""
    edges = [int.from_bytes(options[at : at + 4], "big") for at in _sack_edges(options)]
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def with_sack(options: bytes, blocks: tuple[tuple[int, int], ...]) -> bytes:
    """The same options with these blocks in the place of theirs; there must be as many."""
    out = bytearray(options)
    edges = [edge for block in blocks for edge in block]
    for at, edge in zip(_sack_edges(options), edges, strict=True):
        out[at : at + 4] = (edge % _MODULUS).to_bytes(4, "big")
    return bytes(out)


def timestamps(options: bytes) -> tuple[int, int] | None:
    """Value and echo of a timestamp option (RFC 7323); None without one."""
    for kind, at, n in _walk(options):
        if kind == _TIMESTAMPS and n == 10:
            value, echo = struct.unpack_from("!II", options, at + 2)
            return value, echo
    return None


def stamped(value: int, echo: int) -> bytes:
    """A timestamp option, padded."""
    return struct.pack("!BBBBII", _NOP, _NOP, _TIMESTAMPS, 10, value, echo)


def sound(ip: bytes) -> bool:
    """Are the checksums of IPv4 and TCP right?"""
    at = layout(ip)
    if at is None:
        return False
    if ip[0] >> 4 == 4 and _sum(ip[: (ip[0] & 15) * 4]) != 0xFFFF:
        return False
    return _sum(_pseudo(ip, at.end - at.tcp) + ip[at.tcp : at.end]) == 0xFFFF


def filled(ip: bytes) -> bytes:
    """A copy with right checksums, that of IPv4 too. Raises ValueError for what is no TCP packet."""
    at = layout(ip)
    if at is None:
        raise ValueError("no TCP segment")
    return edited(ip, payload=ip[at.payload : at.end])


def _write_length(out: bytearray) -> None:
    """The length of the packet, and with it IPv4's own checksum."""
    if out[0] >> 4 == 6:
        out[4:6] = (len(out) - 40).to_bytes(2, "big")
        return
    out[2:4] = len(out).to_bytes(2, "big")
    head = (out[0] & 15) * 4
    out[10:12] = b"\0\0"
    out[10:12] = (0xFFFF - _sum(bytes(out[:head]))).to_bytes(2, "big")


def _checked(out: bytearray, tcp: int) -> bytes:
    out[tcp + 16 : tcp + 18] = b"\0\0"
    whole = bytes(out)
    checksum = 0xFFFF - _sum(_pseudo(whole, len(whole) - tcp) + whole[tcp:])
    out[tcp + 16 : tcp + 18] = checksum.to_bytes(2, "big")
    return bytes(out)


def _pseudo(ip: bytes, n: int) -> bytes:
    """The pseudo header of n octets of TCP (RFC 9293 3.1, RFC 8200 8.1)."""
    addresses = ip[12:20] if ip[0] >> 4 == 4 else ip[8:40]
    return addresses + n.to_bytes(4, "big") + b"\0\0\0\x06"


def _sum(octets: bytes) -> int:
    """The ones' complement sum of 16-bit words: the number that they are, modulo 65,535."""
    if len(octets) % 2:
        octets += b"\0"
    rest = int.from_bytes(octets, "big") % 0xFFFF
    return rest or (0xFFFF if any(octets) else 0)


def _walk(options: bytes) -> list[tuple[int, int, int]]:
    """Kind, place and length of each option; what is malformed ends it."""
    found = []
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NOP:
            at += 1
            continue
        n = options[at + 1] if at + 1 < len(options) else 0
        if n < 2 or at + n > len(options):
            break
        found.append((options[at], at, n))
        at += n
    return found


def _sack_edges(options: bytes) -> list[int]:
    """Where in the options each edge of a SACK block lies."""
    return [
        at + 2 + 4 * i for kind, at, n in _walk(options) if kind == _SACK and n % 8 == 2 for i in range((n - 2) // 4)
    ]
