"""Writes zip archives octet by octet, with whatever the two headers of a member say."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

STORED, DEFLATED, AES = 0, 8, 99
ENCRYPTED, DESCRIPTOR, STRONG, MASKED = 1, 1 << 3, 1 << 6, 1 << 13
STAMP = (10 << 11, 46 << 9 | 1 << 5 | 5)  # 10:00, 5 January 2026


def aes_extra(strength: int, method: int = DEFLATED) -> bytes:
    """Extra field 0x9901 of WinZip AE-2."""
    return struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", strength, method)


@dataclass
class Member:
    name: str
    data: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    central_flags: int | None = None  # None: the same
    extra: bytes = b""
    central_extra: bytes | None = None
    central_method: int | None = None
    zip64: bool = False  # sizes in extra field 1 of the local header
    signed: bool = True  # the data descriptor has its signature
    opaque: bool = False  # the data stand as they are, whatever the method


def pack(member: Member) -> bytes:
    if member.opaque or member.method != DEFLATED:
        return member.data
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return press.compress(member.data) + press.flush()


def write(members: list[Member], comment: bytes = b"", before: bytes = b"", blind: bool = False) -> bytes:
    """`before` stands in front of the central directory, which is made unreadable when it is `blind`."""
    out, central = b"", b""
    for m in members:
        octets, at, name = pack(m), len(out), m.name.encode()
        crc, later = zlib.crc32(m.data), bool(m.flags & DESCRIPTOR)
        sizes = (0, 0, 0) if later else (crc, len(octets), len(m.data))
        extra = m.extra
        if m.zip64:
            extra += struct.pack("<HHQQ", 1, 16, 0 if later else len(m.data), 0 if later else len(octets))
            sizes = (sizes[0], 0xFFFFFFFF, 0xFFFFFFFF)
        version = 51 if m.method == AES else 45 if m.zip64 else 20
        out += struct.pack("<4sHHHHH", b"PK\3\4", version, m.flags, m.method, *STAMP)
        out += struct.pack("<IIIHH", *sizes, len(name), len(extra)) + name + extra + octets
        if later:
            out += b"PK\7\x08" if m.signed else b""
            out += struct.pack("<IQQ" if m.zip64 else "<III", crc, len(octets), len(m.data))
        flags = m.flags if m.central_flags is None else m.central_flags
        method = m.method if m.central_method is None else m.central_method
        more = m.extra if m.central_extra is None else m.central_extra
        central += struct.pack("<4sHHHHHH", b"PK\1\2", 51, version, flags, method, *STAMP)
        central += struct.pack("<IIIHHHHHII", crc, len(octets), len(m.data), len(name), len(more), 0, 0, 0, 0, at)
        central += name + more
    out += before
    central = bytes(octet ^ 0xA5 for octet in central) if blind else central
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, len(members), len(members), len(central), len(out), len(comment))
    return out + central + end + comment
