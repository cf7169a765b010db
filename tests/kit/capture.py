"""Capture files: classic pcap in its four magics, pcapng in all its variety, wrapped or cut."""

from __future__ import annotations

import gzip
import importlib
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from kit.link import LINKS, Link
from kit.wire import Packet

Order = Literal["<", ">"]
MICRO, NANO = 0xA1B2C3D4, 0xA1B23C4D
SNAPLEN = 262144


class Record(NamedTuple):
    """A frame as a capture holds it; `length` is what was on the wire."""

    time: float
    frame: bytes
    length: int

    @property
    def nanoseconds(self) -> int:
        """Whole microseconds: a float of this size holds no more."""
        return round(self.time * 1e6) * 1000


def records(
    packets: Iterable[Packet], link: Link = LINKS["ethernet"], snaplen: int = SNAPLEN
) -> list[Record]:
    """Packets as frames of a link type, cut at the capture length."""
    result = []
    for p in packets:
        frame = link.encode(p)
        length = len(frame) + (0 if p.length is None else p.length - len(p.octets))
        result.append(Record(p.time, frame[:snaplen], length))
    return result


def frames(packets: Iterable[Packet], link: Link = LINKS["ethernet"]) -> list[tuple[float, bytes]]:
    """(timestamp, frame) pairs, as an engine takes them."""
    return [(r.time, r.frame) for r in records(packets, link)]


def pcap(
    items: Iterable[Record], *, link: int = 1, magic: int = MICRO, order: Order = "<", snaplen: int = SNAPLEN
) -> bytes:
    """A classic capture file."""
    pieces = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
    unit = 1 if magic == NANO else 1000
    for r in items:
        seconds, rest = divmod(r.nanoseconds, 10**9)
        pieces += struct.pack(f"{order}IIII", seconds, rest // unit, len(r.frame), r.length), r.frame
    return b"".join(pieces)


class Pcapng:
    """One section of a pcapng file, written block by block."""

    def __init__(self, order: Order = "<", *, section_length: bool = False, options: bytes = b"") -> None:
        self.order = order
        self.body = b""
        self.units: list[tuple[int, int]] = []  # (numerator, denominator): ticks per second of each interface
        self.explicit = section_length
        self.header_options = options

    def block(self, kind: int, body: bytes) -> Pcapng:
        """A block of any type, padded to a multiple of four."""
        body += b"\0" * (-len(body) % 4)
        length = struct.pack(f"{self.order}I", len(body) + 12)
        self.body += struct.pack(f"{self.order}I", kind) + length + body + length
        return self

    def option(self, code: int, value: bytes) -> bytes:
        return struct.pack(f"{self.order}HH", code, len(value)) + value + b"\0" * (-len(value) % 4)

    def interface(
        self,
        link: int = 1,
        *,
        resolution: int | None = None,
        snaplen: int = SNAPLEN,
        offset: int | None = None,
    ) -> Pcapng:
        """An Interface Description Block; `resolution` is if_tsresol: n for 10^-n, 0x80 | n for 2^-n."""
        options = b""
        if resolution is not None:
            options += self.option(9, bytes([resolution]))
        if offset is not None:
            options += self.option(14, struct.pack(f"{self.order}q", offset))
        if options:
            options += self.option(0, b"")
        value = 6 if resolution is None else resolution
        self.units.append((2 ** (value & 0x7F) if value & 0x80 else 10**value, offset or 0))
        return self.block(1, struct.pack(f"{self.order}HHI", link, 0, snaplen) + options)

    def packet(self, r: Record, interface: int = 0, options: bytes = b"") -> Pcapng:
        """An Enhanced Packet Block."""
        per_second, offset = self.units[interface]
        ticks = (r.nanoseconds - offset * 10**9) * per_second // 10**9
        head = struct.pack(
            f"{self.order}IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(r.frame), r.length
        )
        return self.block(6, head + r.frame + b"\0" * (-len(r.frame) % 4) + options)

    def simple(self, r: Record) -> Pcapng:
        """A Simple Packet Block: no time, first interface."""
        return self.block(3, struct.pack(f"{self.order}I", r.length) + r.frame)

    def obsolete(self, r: Record, interface: int = 0) -> Pcapng:
        """The Packet Block of old writers."""
        per_second, offset = self.units[interface]
        ticks = (r.nanoseconds - offset * 10**9) * per_second // 10**9
        head = struct.pack(
            f"{self.order}HHIIII", interface, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(r.frame), r.length
        )
        return self.block(2, head + r.frame)

    def octets(self) -> bytes:
        """The section with its header block."""
        length = len(self.body) if self.explicit else -1
        body = struct.pack(f"{self.order}IHHq", 0x1A2B3C4D, 1, 0, length) + self.header_options
        total = struct.pack(f"{self.order}I", len(body) + 12)
        return b"\x0a\x0d\x0d\x0a" + total + body + total + self.body


def pcapng(
    items: Iterable[Record], *, link: int = 1, order: Order = "<", resolution: int | None = None
) -> bytes:
    """A capture file of one section and one interface."""
    section = Pcapng(order).interface(link, resolution=resolution)
    for r in items:
        section.packet(r)
    return section.octets()


def gzipped(octets: bytes, cuts: Sequence[int] = ()) -> bytes:
    """gzip, one member per piece."""
    edges = [0, *cuts, len(octets)]
    return b"".join(gzip.compress(octets[a:b], mtime=0) for a, b in pairwise(edges))


def zstandard() -> Any:
    """The zstandard package, or None where it is not installed."""
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None
