"""Reads captures with dpkt, the peer reader; nothing of the engine is involved."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dpkt

from kit.segment import ACK, RST, SYN, Direction, Segment


@dataclass
class Connection:
    client: str
    server: str
    first_frame: int
    segments: list[Segment] = field(default_factory=list)
    closed: bool = False


End = tuple[str, int]


def endpoint(end: End) -> str:
    address, port = end
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def network_layer(link: int, frame: bytes) -> Any:
    """The IP packet in a frame of the link types that the public captures use."""
    if link == 1:
        return dpkt.ethernet.Ethernet(frame).data
    if link == 0:
        return (dpkt.ip.IP if frame[4] >> 4 == 4 else dpkt.ip6.IP6)(frame[4:])
    raise ValueError(f"the peer reader does not know link type {link}")


def frames(path: Path) -> list[tuple[float, int, bytes]]:
    """All records of a capture as (time, link type, frame)."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        reader = dpkt.pcapng.Reader(file) if magic == b"\x0a\x0d\x0d\x0a" else dpkt.pcap.Reader(file)
        return [(float(time), reader.datalink(), bytes(frame)) for time, frame in reader]


def connections(path: Path, ports: tuple[int, ...] = (25, 587, 465, 2525)) -> list[Connection]:
    """Every TCP connection of a capture in order of its first frame."""
    found: list[Connection] = []
    current: dict[frozenset[End], tuple[Connection, End]] = {}
    for number, (time, link, frame) in enumerate(frames(path), 1):
        ip = network_layer(link, frame)
        if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6) or not isinstance(ip.data, dpkt.tcp.TCP):
            continue
        tcp = ip.data
        source = (str(ipaddress.ip_address(ip.src)), tcp.sport)
        target = (str(ipaddress.ip_address(ip.dst)), tcp.dport)
        key = frozenset((source, target))
        opens = tcp.flags & SYN and not tcp.flags & ACK
        known = current.get(key)
        if known is None or (opens and reopened(known[0], tcp.seq)):
            if tcp.flags & SYN:
                client = target if tcp.flags & ACK else source
            else:
                client = target if source[1] in ports and target[1] not in ports else source
            server = source if client == target else target
            connection = Connection(endpoint(client), endpoint(server), number)
            known = current[key] = (connection, client)
            found.append(connection)
        connection, client = known
        direction: Direction = "C" if source == client else "S"
        whole = ip.len - ip.hl * 4 if isinstance(ip, dpkt.ip.IP) else ip.plen
        length = max(0, whole - tcp.off * 4)
        payload = bytes(tcp.data)[:length]
        connection.segments.append(
            Segment(direction, tcp.seq, tcp.ack, tcp.flags, payload, time, cut=length - len(payload))
        )
        connection.closed |= bool(tcp.flags & RST)
    return found


def reopened(connection: Connection, seq: int) -> bool:
    """A SYN with another initial number starts a new connection on the same ports."""
    return not any(s.syn and s.direction == "C" and s.seq == seq for s in connection.segments)
