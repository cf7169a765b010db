"""From a dialogue to TCP segments, from segments to IP packets; checksums are right unless asked."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from kit.dialogue import Turn
from kit.segment import ACK, FIN, PSH, RST, SYN, Direction, Segment

START = 1_700_000_000.0
MASK = 0xFFFFFFFF
Close = Literal["fin", "rst", "none"]


class Packet(NamedTuple):
    """One IP packet; `length` is its size on the wire when the capture holds less of it."""

    time: float
    octets: bytes
    direction: Direction = "C"
    length: int | None = None


@dataclass(frozen=True)
class Ends:
    """The two ends of a connection."""

    client: str = "192.0.2.10"
    server: str = "198.51.100.25"
    client_port: int = 40112
    server_port: int = 25

    @property
    def v6(self) -> bool:
        return ":" in self.client

    def names(self) -> tuple[str, str]:
        """Client and server as records write them."""
        form = "[{}]:{}" if self.v6 else "{}:{}"
        return form.format(self.client, self.client_port), form.format(self.server, self.server_port)


V4 = Ends()
V6 = Ends("2001:db8::10", "2001:db8:1::25")


def build(
    turns: Sequence[Turn],
    *,
    mss: int = 1460,
    client_isn: int = 1000,
    server_isn: int = 500_000,
    start: float = START,
    step: float = 0.001,
    handshake: bool = True,
    close: Close = "fin",
    only: Direction | None = None,
) -> list[Segment]:
    """The segments of a connection: each acknowledges all that the other side sent in earlier turns.

    `handshake=False` begins in mid-stream, `only` keeps one direction.
    """
    result: list[Segment] = []
    sent: dict[Direction, int] = {"C": client_isn, "S": server_isn}
    time = start

    def send(side: Direction, flags: int, payload: bytes = b"") -> None:
        nonlocal time
        peer: Direction = "S" if side == "C" else "C"
        ack = sent[peer] & MASK if flags & ACK else 0
        result.append(Segment(side, sent[side] & MASK, ack, flags, payload, time))
        sent[side] += len(payload) + bool(flags & SYN) + bool(flags & FIN)
        time += step

    if handshake:
        send("C", SYN)
        send("S", SYN | ACK)
        send("C", ACK)
    else:
        sent = {"C": client_isn + 1, "S": server_isn + 1}
    for turn in turns:
        time += turn.wait
        for at in range(0, len(turn.octets), mss):
            last = at + mss >= len(turn.octets)
            send(turn.side, ACK | (PSH if last else 0), turn.octets[at : at + mss])
    if close == "fin":
        send("C", FIN | ACK)
        send("S", FIN | ACK)
        send("C", ACK)
    elif close == "rst":
        send("C", RST | ACK)
    return [s for s in result if only is None or s.direction == only]


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071): a sum of 16-bit words with the carry brought back is a remainder."""
    total = int.from_bytes(octets + b"\0" * (len(octets) % 2), "big")
    return 0xFFFF - (total % 0xFFFF or 0xFFFF) if total else 0xFFFF


@cache
def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def tcp(s: Segment, ends: Ends) -> bytes:
    """The TCP segment with its header."""
    source, target, sport, dport = ends.client, ends.server, ends.client_port, ends.server_port
    if s.direction == "S":
        source, target, sport, dport = target, source, dport, sport
    options = s.options + b"\0" * (-len(s.options) % 4)
    offset_flags = (5 + len(options) // 4) << 12 | s.flags
    head = struct.pack(">HHIIHHHH", sport, dport, s.seq, s.ack, offset_flags, s.window, 0, s.urgent) + options
    whole = head + s.payload
    pseudo = packed(source) + packed(target) + (
        struct.pack(">IxxxB", len(whole), 6) if ends.v6 else struct.pack(">BBH", 0, 6, len(whole))
    )
    total = checksum(pseudo + whole)
    if s.bad_checksum:
        total ^= 0x5555
    return whole[:16] + struct.pack(">H", total) + whole[18:]


def ip4(
    source: str, target: str, payload: bytes, *, ttl: int = 64, ident: int = 0, protocol: int = 6
) -> bytes:
    """An IPv4 packet without options."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident, 0x4000, ttl, protocol, 0)
    head += packed(source) + packed(target)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ip6(source: str, target: str, payload: bytes, *, ttl: int = 64, protocol: int = 6) -> bytes:
    """An IPv6 packet without extension headers."""
    head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, ttl)
    return head + packed(source) + packed(target) + payload


def packet(s: Segment, ends: Ends = V4, ident: int = 0) -> Packet:
    """The IP packet of one segment. A segment that was cut keeps its true length in the IP header."""
    whole = tcp(s.but(payload=s.payload + bytes(s.cut)) if s.cut else s, ends)
    source, target = (ends.client, ends.server) if s.direction == "C" else (ends.server, ends.client)
    ttl = s.ttl if s.ttl is not None else 64 if s.direction == "C" else 57
    octets = (
        ip6(source, target, whole, ttl=ttl) if ends.v6 else ip4(source, target, whole, ttl=ttl, ident=ident)
    )
    if not s.cut:
        return Packet(s.time, octets, s.direction)
    return Packet(s.time, octets[: -s.cut], s.direction, len(octets))


def packets(segments: Iterable[Segment], ends: Ends = V4) -> list[Packet]:
    """The IP packets of segments, in their order."""
    return [packet(s, ends, ident & 0xFFFF) for ident, s in enumerate(segments, 1)]
