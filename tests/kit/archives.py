"""Writes zip and gzip files octet by octet, right or wrong in any field."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

STORED, DEFLATED, AES = 0, 8, 99
ENCRYPTED, DESCRIBED, STRONG, MASKED = 1, 8, 64, 0x2000
DESCRIPTORS = {"32": "<4sLLL", "64": "<4sLQQ", "bare32": "<LLL", "bare64": "<LQQ", "none": ""}


def deflated(octets: bytes, level: int = 6) -> bytes:
    """RFC 1951, without a header; level 0 gives stored blocks."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(octets) + packer.flush()


def field(number: int, octets: bytes) -> bytes:
    """An extra field."""
    return struct.pack("<HH", number, len(octets)) + octets


def aes(strength: int, version: int = 2, method: int = DEFLATED) -> bytes:
    """The extra field of WinZip's AES."""
    return field(0x9901, struct.pack("<H2sBH", version, b"AE", strength, method))


@dataclass(frozen=True)
class Member:
    """One member. `central_...`: what the central directory says instead."""

    name: bytes = b"a.txt"
    octets: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    central_flags: int | None = None
    extra: bytes = b""
    central_extra: bytes | None = None
    described: Literal["", "32", "64", "bare32", "bare64", "none"] = ""
    large: bool = False  # sizes in the extra field 1
    level: int = 6
    told: int | None = None  # the size that the header tells, whatever it is
    comment: bytes = b""

    @property
    def packed(self) -> bytes:
        return deflated(self.octets, self.level) if self.method == DEFLATED else self.octets

    def local(self) -> bytes:
        packed = self.packed
        sizes = [len(packed) if self.told is None else self.told, len(self.octets)]
        if self.described:
            sizes = [0, 0]
        extra = self.extra
        if self.large:
            extra += field(1, struct.pack("<QQ", sizes[1], sizes[0]))
            sizes = [0xFFFFFFFF, 0xFFFFFFFF]
        flags = self.flags | (DESCRIBED if self.described else 0)
        crc = 0 if self.described else zlib.crc32(self.octets)
        head = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, flags, self.method, 0, 33, crc, *sizes, len(self.name), len(extra)
        )
        return head + self.name + extra

    def behind(self) -> bytes:
        form = DESCRIPTORS.get(self.described, "")
        given: list[bytes | int] = [zlib.crc32(self.octets), len(self.packed), len(self.octets)]
        return struct.pack(form, *([b"PK\7\x08"] if "s" in form else []), *given) if form else b""

    def central(self, at: int) -> bytes:
        flags = self.flags if self.central_flags is None else self.central_flags
        flags |= DESCRIBED if self.described else 0
        extra = self.extra if self.central_extra is None else self.central_extra
        head = struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, self.method, 0, 33, zlib.crc32(self.octets), len(self.packed),
            len(self.octets), len(self.name), len(extra), len(self.comment), 0, 0, 0, at,
        )  # fmt: skip
        return head + self.name + extra + self.comment


def zip_of(*members: Member, between: bytes = b"", before_central: bytes = b"", comment: bytes = b"") -> bytes:
    """The archive; `between`: octets behind each member that belong to nothing."""
    made, heads = b"", b""
    for member in members:
        heads += member.central(len(made))
        made += member.local() + member.packed + member.behind() + between
    made += before_central
    n = len(members)
    return made + heads + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(heads), len(made), len(comment)) + comment


def gzip_of(
    octets: bytes, *, extra: bytes = b"", name: bytes = b"", comment: bytes = b"", summed: bool = False, level: int = 6
) -> bytes:
    """One gzip member."""
    flags = 2 * summed | 4 * bool(extra) | 8 * bool(name) | 16 * bool(comment)
    head = bytes([0x1F, 0x8B, 8, flags]) + bytes(6)
    head += struct.pack("<H", len(extra)) + extra if extra else b""
    head += name + b"\0" if name else b""
    head += comment + b"\0" if comment else b""
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if summed else b""
    return head + deflated(octets, level) + struct.pack("<LL", zlib.crc32(octets), len(octets) & 0xFFFFFFFF)
