"""Packed executables from the table of packers, whole or as a prefix.

Each question is asked of a prefix: what it does not hold is unknown and proves nothing. So the octet that decides is
the last one of the shortest prefix that proves it, and nothing here needs to know in which order a file is laid out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

DOCUMENTED = ("UPX", "FSG", "PKLite32", "Petite", "ASPack")
MARKER_WITHIN = {"UPX": (b"UPX!", 1024), "PECompact": (b"PEC2", 0x600)}
SECTIONS = {"UPX": {b"UPX0", b"UPX1"}, "ASPack": {b".aspack", b".adata"}, "MPRESS": {b".MPRESS1", b".MPRESS2"}}
STUBS = (b"Win32 .EXE.", b"Win64 .EXE.", b"It's .NET EXE")
UPX_MUST = {"LoadLibraryA", "GetProcAddress", "ExitProcess"}
UPX_MAY = ({"VirtualProtect"}, {"VirtualProtect", "VirtualAlloc", "VirtualFree"}, {"VirtualProtect", "VirtualAlloc"})
NSPACK = UPX_MUST | {"VirtualProtect", "VirtualAlloc", "VirtualFree"}
ANY = ".... "[:4]
CALL = "55 8B EC A1"  # what PKLite32's call leads to
POINTS = {
    "UPX": (
        "60 BE .... 8D BE .... 57",
        "80 7C 24 08 01 0F 85 .... 60 BE .... 8D BE .... 57",
        "53 56 57 55 48 8D 35 .... 48 8D BE .... 57",
        "48 89 4C 24 08 48 89 54 24 10 4C 89 44 24 18 80 FA 01 0F 85 .... 53 56 57 55 48 8D 35 .... 48 8D BE .... 57",
    ),
    "FSG": (
        "BB .... BF .... BE .... 53 E8 0A 00 00 00 02 D2 75 05 8A 16 46 12 D2",
        "BB .... BF .... BE .... FC B2 80 8A 06 46 88 07 47 02 D2 75 05 8A 16",
        "BE .... BF .... BB .... 53 BB .... B2 80",
        "BB .... BF .... BE .... 53 BB .... B2 80 A4 B6 80 FF D3 73 F9",
        "BE .... AD 93 AD 97 AD 56 96 B2 80 A4 B6 80 FF 13 73",
        "87 25 .... 61 94 55 A4 B6 .. FF 13",
    ),
    "PKLite32": (f"68 .... 68 .... 68 .... E8 call {CALL}", f"68 .... 68 .... B8 .... 2B 44 24 .. 50 E8 call {CALL}"),
    "Petite": (
        "B8 .... 6A .. 68 .... 64 FF 35 .... 64 89 25 .... 66 9C 60 50",
        "B8 .... 68 .... 64 FF 35 .... 64 89 25 .... 66 9C 60 50",
        "66 9C 60 50 8D 88 00 F0 00 00 8D 90 04 16 00 00 8B DC 8B E1",
        "B8 .... 66 9C 60 50 8B D8 03 .. 68 .... 6A .. FF 50",
    ),
    "ASPack": (
        "60 E8 03 00 00 00 E9 EB 04 5D 45 55 C3 E8 01",
        "60 E8 00 00 00 00 5D 81 ED .... B8 .... 03 C5",
        "60 E8 72 05 00 00 EB 4C",
        "60 E9 3D 04 00 00",
    ),
    "PECompact": (
        "B8 .... 50 64 FF 35 00 00 00 00 64 89 25 00 00 00 00 33 C0 89 08",
        "33 C0 8B C4 83 C0 04 93 8B E3 8B 5B FC 81",
    ),
}


class Unknown(Exception):
    """The prefix ends before what is asked for."""


@dataclass(frozen=True)
class Section:
    name: bytes
    virtual_size: int
    rva: int
    raw_size: int
    raw: int


class Program:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pe = self.u32(0x3C)
        if data[:2] != b"MZ" or self.octets(self.pe, 4) != b"PE\0\0":
            raise Unknown

    def octets(self, at: int, n: int) -> bytes:
        if at < 0 or at + n > len(self.data):
            raise Unknown
        return self.data[at : at + n]

    def u16(self, at: int) -> int:
        return int(struct.unpack("<H", self.octets(at, 2))[0])

    def u32(self, at: int) -> int:
        return int(struct.unpack("<I", self.octets(at, 4))[0])

    def text(self, at: int) -> str:
        end = self.data.find(b"\0", at)
        if end < 0:
            raise Unknown
        return self.data[at:end].decode("latin-1")

    def row(self, index: int) -> int:
        return self.pe + 24 + self.u16(self.pe + 20) + 40 * index

    def names(self) -> set[bytes]:
        """Names of the sections, as far as the prefix holds them."""
        found = set()
        for index in range(self.u16(self.pe + 6)):
            try:
                at = self.row(index)
                name = self.data[at : at + 8]
            except Unknown:
                break
            if b"\0" in name or len(name) == 8:  # it ends with the first NUL
                found.add(name.partition(b"\0")[0])
        return found

    def sections(self) -> list[Section]:
        rows = [self.octets(self.row(index), 40) for index in range(self.u16(self.pe + 6))]
        return [Section(r[:8].rstrip(b"\0"), *struct.unpack("<IIII", r[8:24])) for r in rows]

    def wide(self) -> bool:
        return self.u16(self.pe + 24) == 0x20B

    def place(self, rva: int) -> int:
        for s in self.sections():
            if s.rva <= rva < s.rva + max(s.virtual_size, s.raw_size) and rva - s.rva < s.raw_size:
                return s.raw + rva - s.rva
        raise Unknown

    def entry(self) -> int:
        return self.u32(self.pe + 24 + 16)

    def imports(self) -> list[str]:
        """What is taken from the first library; complete, or Unknown."""
        directory = self.pe + 24 + (112 if self.wide() else 96) + 8
        first = self.place(self.u32(directory))
        thunks = self.place(self.u32(first) or self.u32(first + 16))
        width, found = 8 if self.wide() else 4, list[str]()
        while True:
            value = int.from_bytes(self.octets(thunks + width * len(found), width), "little")
            if not value:
                return found
            top = 1 << (8 * width - 1)
            found.append("#" if value & top else self.text(self.place(value) + 2))

    def matches(self, pattern: str) -> bool:
        at = self.place(self.entry())
        for word in pattern.replace(ANY, ".. .. .. ..").split():
            if word == "call":
                at += 4 + int(struct.unpack("<i", self.octets(at, 4))[0])
                continue
            if word != ".." and self.octets(at, 1)[0] != int(word, 16):
                return False
            at += 1
        return True


def section(p: Program, packer: str) -> bool:
    return packer in SECTIONS and p.names() >= SECTIONS[packer]


def marker(p: Program, packer: str) -> bool:
    if packer == "MPRESS":
        return any(p.data[0x2E : 0x2E + len(text)] == text for text in STUBS)
    text, within = MARKER_WITHIN.get(packer, (b"", 0))
    return bool(text) and text in p.data[:within]


def entry_point(p: Program, packer: str) -> bool:
    for pattern in POINTS.get(packer, ()):
        try:
            if p.matches(pattern):
                return True
        except Unknown:
            continue
    return False


def imports(p: Program, packer: str) -> bool:
    if packer == "NsPack":
        return p.u32(p.pe + 24 + 4) == 0 and set(p.imports()) == NSPACK
    sections = p.sections()
    if packer != "UPX" or len(sections) < 3 or sections[0].raw_size or p.entry() == 0x1018:
        return False
    names = set(p.imports())
    return names == UPX_MUST or any(names == UPX_MUST | more for more in UPX_MAY)


EVIDENCE: dict[str, Callable[[Program, str], bool]] = {
    "section": section,
    "marker": marker,
    "entry point": entry_point,
    "imports": imports,
}


def packed_by(data: bytes, packer: str, evidence: str) -> bool:
    try:
        return EVIDENCE[evidence](Program(data), packer)
    except Unknown:
        return False
