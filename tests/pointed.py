"""Two captures of one path: what a box makes of a dialogue, seen on both of its sides, with NAT where wanted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import dpkt

from kit import capture, wire
from kit.segment import Segment
from smtpinspect.enforce import craft
from smtpinspect.simulate.captures import Asked, simulate

RAW = 101


class Nat(NamedTuple):
    """What a router changes: addresses, ports, sequence numbers of both sides, hops, and what another clock shows."""

    addresses: dict[str, str]
    ports: dict[int, int]
    client_isn: int = 0
    server_isn: int = 0
    hops: int = 1
    seconds: float = 0.0


NAT = Nat(
    addresses={"192.0.2.10": "203.0.113.7", "198.51.100.25": "10.1.1.25"},
    ports={40112: 61001},
    client_isn=1_234_567,
    server_isn=0x9000_0000,
    seconds=-7_200.5,
)


def played(segments: list[Segment], inspector: str, folder: Path, *, broken: str = "") -> tuple[Path, Path]:
    """A dialogue through a box: what the client's side and the server's side capture."""
    whole = folder / "whole.pcap"
    whole.write_bytes(capture.pcap(capture.records(wire.packets(segments))))
    paths = folder / "client.pcap", folder / "server.pcap"
    simulate(
        Asked(str(whole), inspector, broken=broken, write_client=str(paths[0]), write_server=str(paths[1]))
    )
    return paths


def packets(path: Path) -> Iterator[tuple[float, bytes]]:
    with path.open("rb") as file:
        for when, packet in dpkt.pcap.Reader(file):
            yield float(when), bytes(packet)


def translated(path: Path, nat: Nat) -> Path:
    """The same capture, taken behind a router that translates; sequence numbers move by a constant of each side."""
    out = path.with_suffix(".nat.pcap")
    rows = []
    for when, ip in packets(path):
        segment = craft.parse(ip)
        assert segment is not None
        by_client = segment.dport in (25, 587)
        mine, theirs = (nat.client_isn, nat.server_isn) if by_client else (nat.server_isn, nat.client_isn)
        moved = craft.edited(
            ip, seq=segment.seq + mine, ack=segment.ack + theirs if segment.flags & craft.ACK else None, sack=theirs
        )
        rows.append((when + nat.seconds, _ends(moved, segment, nat)))
    _write(out, rows)
    return out


def hopped(path: Path, hops: dict[bool, tuple[int, int]], point: int) -> Path:
    """The same capture with the hops left that packets of the client (True) and of the server have at this point."""
    out = path.with_suffix(".hops.pcap")
    rows = []
    for when, ip in packets(path):
        segment = craft.parse(ip)
        assert segment is not None
        moved = bytearray(ip)
        moved[8] = hops[segment.dport == 25][point]
        rows.append((when, craft.filled(bytes(moved))))
    _write(out, rows)
    return out


def further(path: Path, seconds: float) -> Path:
    """The same capture, taken further from the client: its packets come later there, the server's went earlier."""
    out = path.with_suffix(".further.pcap")
    rows = [(when + (seconds if ip[22:24] == b"\0\x19" else -seconds), ip) for when, ip in packets(path)]
    _write(out, rows)
    return out


def part(path: Path, first: int, end: int | None, name: str) -> Path:
    """Some of its packets, as of a capture that began later, or ended earlier."""
    out = path.with_suffix(f".{name}.pcap")
    _write(out, [*packets(path)][first:end])
    return out


def _ends(ip: bytes, segment: craft.Segment, nat: Nat) -> bytes:
    out = bytearray(ip)
    at = craft.layout(ip)
    assert at is not None and ip[0] >> 4 == 4
    out[12:16] = ip_address(nat.addresses.get(segment.src, segment.src)).packed
    out[16:20] = ip_address(nat.addresses.get(segment.dst, segment.dst)).packed
    ports = [nat.ports.get(port, port) for port in (segment.sport, segment.dport)]
    struct.pack_into("!HH", out, at.tcp, *ports)
    out[8] -= nat.hops
    return craft.filled(bytes(out))


def _write(path: Path, rows: list[tuple[float, bytes]]) -> None:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=RAW)
        for when, ip in rows:
            writer.writepkt(ip, ts=when)
