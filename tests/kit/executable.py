"""Executables (PE), by hand: headers, sections, an import directory, octets at the entry point."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADERS = 0x400
PAGE = 0x1000
BASE = 0x400000
DLL = 0x2000


@dataclass(frozen=True)
class Section:
    """Loaded at the next page; `size` in memory when it is not that of the octets."""

    name: bytes
    octets: bytes = b""
    size: int = 0


def executable(
    sections: Sequence[Section] = (Section(b".text", bytes(0x200)),),
    entry: int = PAGE,
    bits: int = 32,
    pe_at: int = 0x80,
    imports: int = 0,
    code: int = 0x200,
    uninitialised: int = 0,
    flags: int = 0x102,
    stub: bytes = b"",
    gap: bytes = b"",
) -> bytes:
    """`entry` and `imports` are addresses; `stub` stands at 0x40, `gap` behind the section table."""
    optional = struct.pack("<HBBIIIII", 0x10B if bits == 32 else 0x20B, 14, 0, code, 0, uninitialised, entry, PAGE)
    optional += struct.pack("<II" if bits == 32 else "<Q", *((PAGE, BASE) if bits == 32 else (BASE,)))
    optional += struct.pack("<II6HIIIIHH", PAGE, 0x200, 4, 0, 0, 0, 4, 0, 0, 0x100000, HEADERS, 0, 3, 0)
    optional += bytes(4 * (4 if bits == 32 else 8)) + struct.pack("<II", 0, 16)
    optional += struct.pack("<4I", 0, 0, imports, 40 if imports else 0).ljust(128, b"\0")
    machine = 0x14C if bits == 32 else 0x8664
    head = b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, len(optional), flags) + optional
    address, at, body = PAGE, max(HEADERS, -(-(pe_at + len(head) + 40 * len(sections)) // 0x200) * 0x200), b""
    for section in sections:
        raw = section.octets.ljust(-(-len(section.octets) // 0x200) * 0x200, b"\0")
        size = section.size or len(section.octets) or PAGE
        head += struct.pack("<8s6I", section.name, size, address, len(raw), at if raw else 0, 0, 0) + bytes(8)
        address += -(-max(size, len(raw)) // PAGE) * PAGE
        at += len(raw)
        body += raw
    dos = b"MZ" + bytes(58) + struct.pack("<I", pe_at)
    front = (dos + stub).ljust(pe_at, b"\0")[:pe_at] + head + gap
    return front.ljust(at - len(body), b"\0") + body


def imported(names: Sequence[str], address: int, bits: int = 32) -> bytes:
    """An import directory that is loaded at `address`: one DLL with these functions."""
    size = 4 if bits == 32 else 8
    thunks = address + 40
    dll = thunks + size * (len(names) + 1)
    texts = b"KERNEL32.DLL\0".ljust(14, b"\0")
    pointers = []
    for name in names:
        pointers.append(dll + len(texts))
        texts += b"\0\0" + name.encode() + b"\0"
        texts += b"\0" * (len(texts) % 2)
    table = b"".join(pointer.to_bytes(size, "little") for pointer in [*pointers, 0])
    return struct.pack("<5I", 0, 0, 0, dll, thunks) + bytes(20) + table + texts
