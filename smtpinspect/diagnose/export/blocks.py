"""Captures as pcapng blocks (draft-ietf-opsawg-pcapng), so that what is written holds what was read.

Blocks of a pcapng file are handed on octet by octet: interfaces with their options, clocks to the last tick, byte
order. A pcap file becomes one section with one interface of the same link type and resolution; several captures, or
frames from elsewhere, a section with an interface for each link type, in nanoseconds. dpkt's writer knows one
interface, microseconds and its own byte order, so it is not used here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from smtpinspect.grammar import limits
from smtpinspect.source import Input, open_source
from smtpinspect.source.again import frames_again
from smtpinspect.source.unpack import Damaged, Octets, Readable

SECTION, INTERFACE, OLD_PACKET, SIMPLE, PACKET = 0x0A0D0D0A, 1, 2, 3, 6  # 4.1, 4.2, appendix, 4.4, 4.3
COMMENT: Final = 1  # opt_comment, 3.5
RESOLUTION, OFFSET, FCS = 9, 14, 13  # if_tsresol, if_tsoffset, if_fcslen, 4.2
MAGIC: Final = 0x1A2B3C4D
PACKETS: Final = frozenset({OLD_PACKET, SIMPLE, PACKET})
# Of a pcap file: its first four octets, to (byte order, ticks of a second).
PCAP: Final = {
    bytes.fromhex("d4c3b2a1"): ("<", 6),
    bytes.fromhex("a1b2c3d4"): (">", 6),
    bytes.fromhex("4d3cb2a1"): ("<", 9),
    bytes.fromhex("a1b23c4d"): (">", 9),
}
READ: Final = 1 << 18  # octets that are read at once
LONGEST: Final = 0xFFFF  # octets of an option


class Block(NamedTuple):
    """`octets` is all of it, in byte order `order`. Of a packet `number` counts from 1, `data` is its frame.

    `link` and `ns` are 0 where the block does not tell (a packet of no interface, a Simple Packet Block's time).
    """

    kind: int
    octets: bytes
    order: str
    number: int = 0
    link: int = 0
    ns: int = 0
    data: bytes = b""
    wirelen: int = 0


class _Interface(NamedTuple):
    link: int
    snaplen: int
    unit: int  # if_tsresol: n for 10^-n, 0x80 | n for 2^-n
    offset: int  # seconds


def block(order: str, kind: int, body: bytes) -> bytes:
    """A block around this body, padded."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def option(order: str, code: int, value: bytes) -> bytes:
    """An option, padded; a text that is too long ends where it must."""
    value = value[:LONGEST]
    return struct.pack(f"{order}HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def blocks(source: Input) -> Iterator[Block]:
    """The blocks of a capture, unpacked, whatever it was; damage just ends them.

    Raises UsageError for what cannot be opened. Packets are numbered as the engine numbers them.
    """
    if isinstance(source, (str, os.PathLike)) and source != "-" and os.path.isfile(source):
        open_source(source).close()  # whether it can be read is told there
        with open(source, "rb") as raw:
            yield from _file(raw)
    else:
        yield from _mixed(source)


class _Reader:
    """Whole pieces, or the end."""

    def __init__(self, raw: Readable) -> None:
        self.octets = Octets(raw)
        self.held = b""
        self.at = 0

    def take(self, n: int) -> bytes | None:
        if self.at + n > len(self.held):
            parts, have = [self.held[self.at :]], len(self.held) - self.at
            while have < n:
                try:
                    more = self.octets.read(READ)
                except (Damaged, OSError, ValueError):
                    more = b""
                if not more:
                    return None
                parts.append(more)
                have += len(more)
            self.held, self.at = b"".join(parts), 0
        self.at += n
        return self.held[self.at - n : self.at]


def _file(raw: Readable) -> Iterator[Block]:
    reader = _Reader(raw)
    magic = reader.take(4)
    if magic is None:
        return
    if magic in PCAP:
        yield from _pcap(reader, *PCAP[magic])
    elif magic == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(reader)


# ---- pcap


def _pcap(reader: _Reader, order: str, digits: int) -> Iterator[Block]:
    head = reader.take(20)
    if head is None:
        return
    _, _, _, _, snaplen, network = struct.unpack(f"{order}HHiIII", head)
    link = network & 0xFFFF
    # draft-ietf-opsawg-pcap 4: the P bit, and the length of the FCS in 16-bit words
    fcs = (network >> 28) * 2 if network & 0x04000000 else None
    yield opening(order)
    yield interface(order, link, digits, snaplen, fcs)
    number = 0
    while (head := reader.take(16)) is not None:
        seconds, part, size, wirelen = struct.unpack(f"{order}IIII", head)
        data = reader.take(size) if size <= limits.EXPORT_BLOCK else None
        if data is None:
            return
        number += 1
        yield packet(order, 0, seconds * 10**digits + part, data, wirelen)._replace(
            number=number, link=link, ns=seconds * 10**9 + part * 10 ** (9 - digits)
        )


def opening(order: str) -> Block:
    """A Section Header Block of unknown length."""
    return Block(SECTION, block(order, SECTION, struct.pack(f"{order}IHHq", MAGIC, 1, 0, -1)), order)


def interface(order: str, link: int, digits: int, snaplen: int, fcs: int | None = None) -> Block:
    """An Interface Description Block."""
    told = option(order, RESOLUTION, bytes([digits]))
    if fcs is not None:
        told += option(order, FCS, bytes([fcs]))
    body = struct.pack(f"{order}HHI", link, 0, snaplen) + told + option(order, 0, b"")
    return Block(INTERFACE, block(order, INTERFACE, body), order)


def packet(order: str, number: int, ticks: int, data: bytes, wirelen: int) -> Block:
    """An Enhanced Packet Block on interface `number`."""
    ticks &= (1 << 64) - 1
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wirelen)
    whole = block(order, PACKET, head + data)
    return Block(PACKET, whole, order, data=data, wirelen=wirelen)


# ---- several captures, standard input, frames


def _mixed(source: Input) -> Iterator[Block]:
    frames = frames_again(source)
    links: dict[int, int] = {}
    yield opening("<")
    for number, (ns, link, data, wirelen) in enumerate(frames, 1):
        if link not in links:
            links[link] = len(links)
            yield interface("<", link, 9, 0)
        yield packet("<", links[link], ns, data, wirelen)._replace(number=number, link=link, ns=ns)


# ---- pcapng


def _pcapng(reader: _Reader) -> Iterator[Block]:
    order, number = "<", 0
    interfaces: list[_Interface] = []
    kind: bytes | None = b"\x0a\x0d\x0d\x0a"
    while kind is not None:
        size = reader.take(4)
        if size is None:
            return
        before = b""
        if kind == b"\x0a\x0d\x0d\x0a":
            before = reader.take(4) or b""
            order = "<" if before == struct.pack("<I", MAGIC) else ">"
            interfaces = []
        (total,) = struct.unpack(f"{order}I", size)
        if total < 12 + len(before) or total % 4 or total > limits.EXPORT_BLOCK:
            return
        rest = reader.take(total - 8 - len(before))
        if rest is None or rest[-4:] != size:  # the reader of captures stops there, too
            return
        found = Block(struct.unpack(f"{order}I", kind)[0], kind + size + before + rest, order)
        if found.kind == INTERFACE and total >= 20:
            interfaces.append(_described(found))
        elif found.kind in PACKETS:
            number += 1
            found = _read(found, interfaces)._replace(number=number)
        yield found
        kind = reader.take(4)


def _described(found: Block) -> _Interface:
    link, _, snaplen = struct.unpack_from(f"{found.order}HHI", found.octets, 8)
    told = dict(options(found.octets[16:-4], found.order))
    unit = told.get(RESOLUTION, b"\6")[:1]
    offset = told.get(OFFSET, b"")
    seconds = struct.unpack(f"{found.order}q", offset)[0] if len(offset) == 8 else 0
    return _Interface(link, snaplen, unit[0] if unit else 6, seconds)


def options(octets: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(code, value) up to the end mark, or to where it makes no sense."""
    at = 0
    while at + 4 <= len(octets):
        code, size = struct.unpack_from(f"{order}HH", octets, at)
        if code == 0 or at + 4 + size > len(octets):
            return
        yield code, octets[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4


def _read(found: Block, interfaces: Sequence[_Interface]) -> Block:
    octets, order = found.octets, found.order
    if found.kind == SIMPLE:
        if len(octets) < 16 or not interfaces:
            return found
        (wirelen,) = struct.unpack_from(f"{order}I", octets, 8)
        size = min(wirelen, interfaces[0].snaplen or wirelen, len(octets) - 16)
        return found._replace(link=interfaces[0].link, data=octets[12 : 12 + size], wirelen=wirelen)
    if len(octets) < 32:
        return found
    which, high, low, size, wirelen = struct.unpack_from(f"{order}IIIII", octets, 8)
    if found.kind == OLD_PACKET:
        (which,) = struct.unpack_from(f"{order}H", octets, 8)
    if which >= len(interfaces) or size > len(octets) - 32:
        return found
    on = interfaces[which]
    base = 2 ** (on.unit & 0x7F) if on.unit & 0x80 else 10**on.unit
    ns = ((high << 32) | low) * 10**9 // base + on.offset * 10**9
    return found._replace(link=on.link, ns=ns, data=octets[28 : 28 + size], wirelen=wirelen)


def commented(found: Block, texts: Sequence[str]) -> Block | None:
    """The packet with these comments, before the ones that it has; None: its kind of block takes none."""
    if found.kind not in (PACKET, OLD_PACKET) or len(found.octets) < 32:
        return None
    order = found.order
    (size,) = struct.unpack_from(f"{order}I", found.octets, 20)
    behind = 28 + size + -size % 4
    if behind > len(found.octets) - 4:
        return None
    mine = b"".join(option(order, COMMENT, _utf8(text)) for text in texts)
    old = found.octets[behind:-4] or option(order, 0, b"")
    return found._replace(octets=block(order, found.kind, found.octets[8:behind] + mine + old))


def _utf8(text: str) -> bytes:
    """As much as an option holds, without half a character."""
    return text.encode("utf-8", "backslashreplace")[:LONGEST].decode("utf-8", "ignore").encode()
