"""What a capture says of itself: packets that its kernel had no time to write down."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final

from smtpinspect.source import Input

SECTION, STATISTICS = 0x0A0D0D0A, 5  # draft-ietf-opsawg-pcapng 4.1, 4.6
DROPPED: Final = (5, 7)  # isb_ifdrop, isb_osdrop
MAGIC: Final = 0x1A2B3C4D
LONGEST: Final = 1 << 16  # octets of a block of statistics; it has some options


def lost_by_kernel(source: Input) -> int:
    """How many the Interface Statistics Blocks of pcapng files tell; 0 where there are none, as in pcap files, in what
    is packed, and in what can be read once only."""
    paths = source if isinstance(source, (list, tuple)) else [source]
    total = 0
    for path in paths:
        if isinstance(path, (str, os.PathLike)) and os.path.isfile(path):
            with open(path, "rb") as file:
                total += sum(_lost(file).values())
    return total


def _lost(file: BinaryIO) -> dict[tuple[int, int, int], int]:
    """By section, interface and option: the last one counts."""
    found: dict[tuple[int, int, int], int] = {}
    order, section = "<", 0
    while len(head := file.read(12)) == 12:
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if head[8:] == struct.pack("<I", MAGIC) else ">"
            section += 1
        elif not section:
            break
        kind, size, interface = struct.unpack(f"{order}III", head)
        if size < 12:
            break
        if kind == STATISTICS and 20 < size <= LONGEST:
            body = file.read(size - 12)[8:-4]
            found.update({(section, interface, code): number for code, number in _options(body, order)})
        else:
            file.seek(size - 12, os.SEEK_CUR)
    return found


def _options(body: bytes, order: str) -> list[tuple[int, int]]:
    """Those that count what was dropped."""
    found = []
    at = 0
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        if code in DROPPED and size == 8 and at + 12 <= len(body):
            found.append((code, struct.unpack_from(f"{order}Q", body, at + 4)[0]))
        at += 4 + size + -size % 4
    return found
