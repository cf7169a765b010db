"""Hand-made programs: python headers.py OUT (OUT holds what programs.sh built).

For packers that cannot be had (FSG, PKLite32, Petite, ASPack, PECompact, MPRESS, NsPack): headers and a few octets at
the entry point, as published (grammar/packers.py names the sources). Nothing in them runs. Also packed programs whose
names, marker or entry point were wiped, and near misses.
"""

from __future__ import annotations

import pathlib
import random
import struct
import sys
from dataclasses import dataclass, field

ALIGN = 0x200
TOKEN = "...."  # a 32-bit value that patterns skip


def octets(pattern: str) -> bytes:
    """Hexadecimal; dots are octets that a pattern skips."""
    return bytes(0x11 if word == ".." else int(word, 16) for word in pattern.replace(TOKEN, ".. .. .. ..").split())


@dataclass
class Section:
    name: bytes
    data: bytes = b""
    virtual: int = 0x1000


@dataclass
class Program:
    """A PE file; `entry` is (section, offset in it); `at_dos` is put into the DOS header's stub."""

    sections: list[Section]
    entry: tuple[int, int] = (0, 0)
    bits: int = 32
    dos: bytes = b""
    dos_at: int = 0x40
    pe_at: int = 0x80
    code_size: int = 0x200
    bss_size: int = 0
    imports: tuple[bytes, list[bytes]] | None = None
    rvas: list[int] = field(default_factory=list)

    def write(self) -> bytes:
        if self.imports:
            self.sections = [*self.sections, Section(b".idata", b"\0" * 0x200)]
        magic, optional_n = (0x10B, 224) if self.bits == 32 else (0x20B, 240)
        headers = self.pe_at + 24 + optional_n + 40 * len(self.sections)
        raw, rva = -(-headers // ALIGN) * ALIGN, 0x1000
        first_raw, table, body = raw, b"", b""
        for section in self.sections:
            self.rvas.append(rva)
            if self.imports and section is self.sections[-1]:
                section.data = self.import_data(rva)
            n = -(-len(section.data) // ALIGN) * ALIGN
            virtual = max(section.virtual, n)
            table += struct.pack(
                "<8sIIIIIIHHI", section.name, virtual, rva, n, raw if n else first_raw, 0, 0, 0, 0, 0xE0000020
            )
            body += section.data.ljust(n, b"\0")
            raw, rva = raw + n, rva + -(-virtual // 0x1000) * 0x1000
        entry = self.rvas[self.entry[0]] + self.entry[1]
        dos = bytearray(b"MZ".ljust(self.pe_at, b"\0"))
        struct.pack_into("<I", dos, 0x3C, self.pe_at)
        dos[self.dos_at : self.dos_at + len(self.dos)] = self.dos
        machine = 0x14C if self.bits == 32 else 0x8664
        coff = struct.pack("<4sHHIIIHH", b"PE\0\0", machine, len(self.sections), 0, 0, 0, optional_n, 0x102)
        optional = struct.pack("<HBBIIIII", magic, 14, 0, self.code_size, 0, self.bss_size, entry, 0x1000)
        optional += struct.pack("<II", 0x1000, 0x400000) if self.bits == 32 else struct.pack("<Q", 0x140000000)
        optional += struct.pack("<IIHHHHHHIIIIHH", 0x1000, ALIGN, 4, 0, 0, 0, 4, 0, 0, rva, first_raw, 0, 3, 0)
        optional += struct.pack("<IIII" if self.bits == 32 else "<QQQQ", 1 << 20, 4096, 1 << 20, 4096)
        optional += struct.pack("<II", 0, 16) + struct.pack("<II", 0, 0)
        optional += struct.pack("<II", self.rvas[-1] if self.imports else 0, 40 if self.imports else 0)
        optional = optional.ljust(optional_n, b"\0")
        return (bytes(dos) + coff + optional + table).ljust(first_raw, b"\0") + body

    def import_data(self, rva: int) -> bytes:
        """Import directory, thunks, names: in this order."""
        assert self.imports
        dll, names = self.imports
        width = 4 if self.bits == 32 else 8
        thunks_at, names_at = 40, 40 + width * (len(names) + 1)
        thunks, texts = b"", b""
        for name in names:
            thunks += (rva + names_at + len(texts)).to_bytes(width, "little")
            texts += b"\0\0" + name + b"\0"
        thunks += bytes(width)
        dll_at = names_at + len(texts)
        head = struct.pack("<IIIII", rva + thunks_at, 0, 0, rva + dll_at, rva + thunks_at) + bytes(20)
        return head + thunks + texts + dll + b"\0"


def at_entry(pattern: str, name: bytes = b".text", behind: bytes = b"", bits: int = 32) -> bytes:
    code = b"\x90" * 0x40 + octets(pattern) + behind
    return Program([Section(name, code), Section(b".data", b"data")], (0, 0x40), bits).write()


def pklite() -> bytes:
    """The call is followed: what it calls lies in front of the entry point."""
    code = (
        octets("55 8B EC A1").ljust(0x20, b"\x90")
        + octets("68 .... 68 .... 68 .... E8")
        + struct.pack("<i", -0x20 - 20)
    )
    return Program([Section(b".text", code), Section(b".pklstb", b"stub")], (0, 0x20)).write()


def pklite_b8() -> bytes:
    head = octets("68 .... 68 .... B8 .... 2B 44 24 .. 50 E8")
    code = head + struct.pack("<i", 0x30 - len(head) - 4)
    return Program([Section(b".text", code.ljust(0x30, b"\x90") + octets("55 8B EC A1"))]).write()


NSPACK = [b"LoadLibraryA", b"GetProcAddress", b"VirtualProtect", b"VirtualAlloc", b"VirtualFree", b"ExitProcess"]
UPX_IMPORTS = [b"LoadLibraryA", b"GetProcAddress", b"VirtualProtect", b"ExitProcess"]


def unpacking(entry: tuple[int, int], *more: bytes) -> bytes:
    """No octets in the first section, and the imports of an unpacker."""
    names = (b"KERNEL32.DLL", [*UPX_IMPORTS, *more])
    return Program([Section(b".a"), Section(b".b", b"\x90" * 64)], entry, bss_size=0x1000, imports=names).write()


def made() -> dict[str, bytes]:
    plain = [Section(b".text", b"\x55\x8b\xec\xc3"), Section(b".data", b"data")]
    noise = random.Random(42).randbytes(8192)
    return {
        "fsg-1.0.exe": at_entry("BB .... BF .... BE .... 53 E8 0A 00 00 00 02 D2 75 05 8A 16 46 12 D2", b""),
        "fsg-1.1.exe": at_entry("BB .... BF .... BE .... FC B2 80 8A 06 46 88 07 47 02 D2 75 05 8A 16", b""),
        "fsg-1.31.exe": at_entry("BE .... BF .... BB .... 53 BB .... B2 80", b""),
        "fsg-1.33.exe": at_entry("BE .... AD 93 AD 97 AD 56 96 B2 80 A4 B6 80 FF 13 73", b""),
        "fsg-2.0.exe": at_entry("87 25 .... 61 94 55 A4 B6 .. FF 13", b""),
        "pklite32-1.1.exe": pklite(),
        "pklite32-1.1-b8.exe": pklite_b8(),
        "petite-2.1.exe": at_entry("B8 .... 6A .. 68 .... 64 FF 35 .... 64 89 25 .... 66 9C 60 50"),
        "petite-2.2.exe": at_entry("B8 .... 68 .... 64 FF 35 .... 64 89 25 .... 66 9C 60 50"),
        "petite-1.3.exe": at_entry("66 9C 60 50 8D 88 00 F0 00 00 8D 90 04 16 00 00 8B DC 8B E1"),
        "aspack-sections.exe": Program([*plain, Section(b".aspack", b"\x60"), Section(b".adata")]).write(),
        "aspack-2.12-entry.exe": at_entry("60 E8 03 00 00 00 E9 EB 04 5D 45 55 C3 E8 01"),
        "aspack-1.07b-entry.exe": at_entry("60 E8 00 00 00 00 5D 81 ED .... B8 .... 03 C5"),
        "pecompact-2.exe": at_entry("B8 .... 50 64 FF 35 00 00 00 00 64 89 25 00 00 00 00 33 C0 89 08"),
        "pecompact-marker.exe": Program(plain, dos=b"PEC2\x0f\x27\x00\x00").write(),
        "mpress.exe": Program([Section(b".MPRESS1", b"\x60"), Section(b".MPRESS2", b"\x61")]).write(),
        "mpress-stub.exe": Program(plain, dos=b"Win32 .EXE.", dos_at=0x2E, pe_at=0x80).write(),
        "nspack.exe": Program(plain, code_size=0, imports=(b"KERNEL32.DLL", NSPACK)).write(),
        "near-upx0-alone.exe": Program([Section(b"UPX0"), *plain]).write(),
        "near-aspack-alone.exe": Program([*plain, Section(b".aspack", b"\x90")]).write(),
        "near-marker-late.exe": Program([Section(b".text", (b"\x90" * 0x400) + b"UPX!")]).write(),
        "near-noise.exe": Program([Section(b".text", noise)]).write(),
        "near-entry-early.exe": at_entry("90 60 BE .... 8D BE .... 57"),
        "near-nspack-code.exe": Program(plain, imports=(b"KERNEL32.DLL", NSPACK)).write(),
        "near-dos.exe": b"MZ" + bytes(0x3A) + struct.pack("<I", 0x80) + bytes(0x40) + b"NE\0\0UPX0UPX1UPX!" + bytes(64),
        "upx-imports-hand.exe": unpacking((1, 0)),
        "near-upack.exe": unpacking((0, 0x18)),
        "near-imports-more.exe": unpacking((1, 0), b"GetTickCount"),
    }


def patched(packed: bytes, *wiped: bytes) -> bytes:
    """A program packed by upx with other section names, and what tells of upx besides set to NOP."""
    octets = packed
    for number, name in enumerate((b".text", b".data", b".more")):
        octets = octets.replace(b"UPX%d\0\0\0\0" % number, name.ljust(8, b"\0"))
    for mark in wiped:
        at = octets.rindex(mark) if mark != b"UPX!" else octets.index(mark)
        octets = octets[:at] + b"\x90" * len(mark) + octets[at + len(mark) :]
    return octets


def main(out: str) -> None:
    to = pathlib.Path(out)
    for name, program in made().items():
        (to / name).write_bytes(program)
    for bits, begin in (32, b"\x60\xbe"), (64, b"\x53\x56\x57\x55\x48\x8d\x35"):
        for kind in "exe", "dll":
            packed = (to / f"upx-hello{bits}.{kind}").read_bytes()
            (to / f"upx-wiped{bits}.{kind}").write_bytes(patched(packed, b"UPX!"))
        packed = (to / f"upx-hello{bits}.exe").read_bytes()
        (to / f"upx-renamed{bits}.exe").write_bytes(patched(packed))
        (to / f"upx-imports{bits}.exe").write_bytes(patched(packed, b"UPX!", begin))


if __name__ == "__main__":
    main(*sys.argv[1:])
