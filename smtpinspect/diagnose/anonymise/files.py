"""What attachments hold, replaced: octets of 128 and more, but for what the scanners of content go by.

Of a ZIP its records, with names replaced but for their kind; of a compound file (OLE) its header, its FAT and the names
in its directory; of a program its headers and the octets at its entry point, which tell a packer. A deflated member is
made anew where one of these lies in it and there is room enough; else it becomes one that inflates to noise.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

from smtpinspect.diagnose.anonymise import programs
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.grammar import limits

_LOCAL, _CENTRAL, _END, _BEHIND = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08"
_RECORD: Final = re.compile(rb"PK(?:\x07\x08|\x03\x04|\x01\x02)")  # a member without a size ends there
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OPENED: Final = (_LOCAL, _OLE, b"MZ")  # what scanners look into
_EXTRAS: Final = frozenset((0x0001, 0x9901))  # ZIP64, and AES (WinZip), by which encryption is told
_OFFICE: Final = re.compile(rb"(?:word|xl|ppt|docProps|customXml|_rels|\[Content_Types\])[/.]")
_BLOCK: Final = 65_535  # octets of a stored block (RFC 1951 3.2.4)


class _Opened:
    """Archives that are open in each other, and how many octets may still be inflated from the outermost one."""

    def __init__(self) -> None:
        self.depth = 0
        self.room = limits.ANONYMISED_INFLATED


def file(octets: bytes, texts: Texts, opened: _Opened | None = None) -> bytes:
    """The octets of a file replaced; as many."""
    opened = opened or _Opened()
    if octets.startswith(_LOCAL) and opened.depth <= limits.ARCHIVE_DEPTH:
        opened.depth += 1
        made = _zip(octets, texts, opened)
        opened.depth -= 1
    elif octets.startswith(_OLE):
        made = _compound(octets, texts)
    elif octets.startswith(b"MZ"):
        made = programs.replaced(octets, texts)
    elif octets.startswith(b"\x1f\x8b\x08"):
        made = _gzip(octets, texts)
    elif _is_text(octets):
        made = b"".join(texts.free(line) for line in octets.splitlines(keepends=True))
    else:
        made = texts.noise(octets, len(octets))
    return made if len(made) == len(octets) else texts.noise(octets, len(octets))


def _is_text(octets: bytes) -> bool:
    """Control characters are few in a text of any charset but UTF-16."""
    head = octets[:4_096]
    odd = sum(octet < 0x20 and octet not in (9, 10, 13) for octet in head)
    high = sum(octet >= 0x80 for octet in head)
    return odd == 0 and high * 2 <= len(head)


def deflated(octets: bytes, texts: Texts) -> bytes:
    """As many octets that inflate to noise (RFC 1951: stored blocks, the last one marked)."""
    left = len(octets)
    if left < 5:
        return texts.noise(octets, left)
    out = bytearray()
    while left:
        n = min(left - 5, _BLOCK)
        if 0 < left - 5 - n < 5:
            n -= 5
        last = n == left - 5
        out += struct.pack("<BHH", last, n, n ^ 0xFFFF) + texts.noise(octets[:64] + b"%d" % left, n)
        left -= n + 5
    return bytes(out)


def _gzip(octets: bytes, texts: Texts) -> bytes:
    """The header without its fields of text, a body that inflates to noise, another checksum."""
    if len(octets) < 18 or octets[3] & 0b1_1110:
        return texts.noise(octets, len(octets))
    return octets[:10] + deflated(octets[10:-8], texts) + texts.random(octets[-8:-4], 4) + octets[-4:]


def _zip(octets: bytes, texts: Texts, opened: _Opened) -> bytes:
    out = bytearray()
    at = 0
    while at < len(octets):
        mark = octets[at : at + 4]
        if mark == _LOCAL and at + 30 <= len(octets):
            at = _member(octets, at, out, texts, opened)
        elif mark == _CENTRAL and at + 46 <= len(octets):
            n, extra, comment = struct.unpack_from("<HHH", octets, at + 28)
            out += _without_sum(octets[at : at + 46], 16, texts)
            at += 46
            out += _named(octets[at : at + n], texts)
            out += _extra(octets[at + n : at + n + extra])
            out += texts.free(octets[at + n + extra : at + n + extra + comment])
            at += n + extra + comment
        elif mark == _END and at + 22 <= len(octets):
            out += octets[at : at + 22] + texts.noise(octets[at:], len(octets) - at - 22)
            break
        elif mark == _BEHIND:
            out += _without_sum(octets[at : at + 16], 4, texts)
            at += 16
        else:  # what no record tells: up to the next one
            following = octets.find(b"PK", at + 1)
            end = following if following > 0 else len(octets)
            out += texts.noise(octets[at:end], end - at)
            at = end
    return bytes(out)


def _without_sum(record: bytes, at: int, texts: Texts) -> bytes:
    """A record with another checksum: by the right one a short text can be guessed."""
    told = record[at : at + 4]
    return record[:at] + (texts.random(told, 4)[: len(told)] if any(told) else told) + record[at + 4 :]


def _named(name: bytes, texts: Texts) -> bytes:
    """The name of a member: those of an office document's parts stay."""
    return texts.line(name) if _OFFICE.match(name) else texts.file_name(name)


def _member(octets: bytes, at: int, out: bytearray, texts: Texts, opened: _Opened) -> int:
    flags, method = struct.unpack_from("<HH", octets, at + 6)
    size, _, n, extra = struct.unpack_from("<IIHH", octets, at + 18)
    out += _without_sum(octets[at : at + 30], 14, texts)
    at += 30
    out += _named(octets[at : at + n], texts) + _extra(octets[at + n : at + n + extra])
    at += n + extra
    if flags & 8 and not size:
        behind = _RECORD.search(octets, at)
        end = behind.start() if behind else len(octets)
    else:
        end = min(at + size, len(octets))
    data = octets[at:end]
    if flags & 1:
        out += texts.noise(data, len(data))
    elif method == 0:
        out += file(data, texts, opened) if data else b""
    elif method == 8:
        out += _again(data, texts, opened) or deflated(data, texts)
    else:
        out += texts.noise(data, len(data))
    return end


class _Zeros(Texts):
    """Zeros for noise: what is deflated again must not grow."""

    def __init__(self, texts: Texts) -> None:
        self.__dict__.update(vars(texts))

    def noise(self, about: bytes, n: int) -> bytes:
        return bytes(max(n, 0))


def _again(data: bytes, texts: Texts, opened: _Opened) -> bytes:
    """A deflated file of a kind that scanners open, replaced and deflated to as many octets; nothing of any other, and
    nothing where no more may be inflated."""
    unpacker = zlib.decompressobj(-15)
    try:
        octets = unpacker.decompress(data, len(_OLE))
        if not octets.startswith(_OPENED) or opened.room <= 0:
            return b""
        octets += unpacker.decompress(unpacker.unconsumed_tail, min(limits.ANONYMISED_FILE, opened.room))
    except zlib.error:
        return b""
    opened.room -= len(octets)
    if not unpacker.eof or unpacker.unused_data:
        return b""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    made = packer.compress(file(octets, _Zeros(texts), opened)) + packer.flush(zlib.Z_FULL_FLUSH)
    left = len(data) - len(made)
    # Empty blocks fill it up: a stored one has 5 octets, one behind an empty block of fixed codes 6 (RFC 1951 3.2).
    sixes = left % 5
    fives = left // 5 - sixes
    if fives < 1:
        return b""
    stored = b"\0\0\xff\xff"
    return made + (b"\x02\0" + stored) * sixes + (b"\0" + stored) * (fives - 1) + b"\1" + stored


def _extra(extra: bytes) -> bytes:
    """Fields that no scanner reads are emptied."""
    out = bytearray(extra)
    at = 0
    while at + 4 <= len(extra):
        kind, n = struct.unpack_from("<HH", extra, at)
        if kind not in _EXTRAS:
            out[at + 4 : at + 4 + n] = bytes(len(out[at + 4 : at + 4 + n]))
        at += 4 + n
    return bytes(out)


def _compound(octets: bytes, texts: Texts) -> bytes:
    """[MS-CFB] 2: the header, the sectors of the FAT that it names, the directory's chain."""
    if len(octets) < 512 or octets[28:30] != b"\xfe\xff":
        return octets[:8] + texts.noise(octets, len(octets) - 8)
    size = 1 << min(octets[30], 16)
    first = int.from_bytes(octets[48:52], "little")
    sectors = len(octets) // size + 1
    fats = [n for n in struct.unpack_from("<109I", octets, 76) if n < sectors]
    out = bytearray(octets[:8] + bytes(16) + octets[24:76] + _numbers(octets[76:512], sectors))
    out += texts.noise(octets, len(octets) - 512)
    entries: list[int] = []
    for sector in fats:
        begin = (sector + 1) * size
        part = _numbers(octets[begin : begin + size], sectors)
        out[begin : begin + size] = part
        entries += struct.unpack(f"<{len(part) // 4}I", part[: len(part) // 4 * 4])
    sector, seen = first, 0
    while sector < 0xFFFFFFFA and seen < limits.OLE_CHAIN:
        begin = (sector + 1) * size
        for at in range(begin, min(begin + size, len(octets)), 128):
            out[at : at + 128] = _entry(octets[at : at + 128], texts)
        sector = entries[sector] if sector < len(entries) else 0xFFFFFFFE
        seen += 1
    return bytes(out[: len(octets)])


def _numbers(octets: bytes, sectors: int) -> bytes:
    """Numbers of sectors ([MS-CFB] 2.1); what can be none is zero."""
    whole = octets[: len(octets) // 4 * 4]
    numbers = (n if n < sectors or n >= 0xFFFFFFFA else 0 for (n,) in struct.iter_unpack("<I", whole))
    return b"".join(n.to_bytes(4, "little") for n in numbers) + bytes(len(octets) - len(whole))


def _entry(entry: bytes, texts: Texts) -> bytes:
    """A directory entry ([MS-CFB] 2.6.1): its name is replaced, unless it is one that every document has."""
    if len(entry) < 128:
        return texts.noise(entry, len(entry))
    name = entry[:64].decode("utf-16-le", "replace")
    plain = "".join(char if ord(char) < 0x80 else "x" for char in name).encode()
    made = texts.line(plain.replace(b"_", b" ")).decode("ascii", "replace")
    told = "".join(new if old.isalnum() else old for old, new in zip(name, made, strict=True))
    return told.encode("utf-16-le", "replace")[:64].ljust(64, b"\0") + entry[64:80] + bytes(36) + entry[116:128]
