"""What executables hold, replaced: the headers, the imports and the octets at the entry point stay, by which the rules
tell a packer.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.grammar import limits
from smtpinspect.grammar.packers import ROWS

_STUB: Final = 2 * limits.PACKER_PATTERN  # octets from the entry point on
_NAME: Final = re.compile(rb"[A-Za-z]{4,}")
_WIDE: Final = re.compile(rb"(?:[\x20-\x7e]\0){3,}")  # what its resources tell of whose it is
_TOLD: Final = frozenset(
    name.lower().encode()
    for row in ROWS
    if row.evidence in ("section", "imports")
    for name in re.findall("[A-Za-z]{4,}", row.pattern)
)
_MARKED: Final = max(row.within for row in ROWS)
# A packer's marker, with the version before it.
_MARK: Final = re.compile(
    b"|".join(
        rb"(?:\d\.\d\d\0)?" + re.escape(text.encode())
        for row in ROWS
        if row.evidence == "marker"
        for text in re.findall("'([^']+)'", row.pattern)
    )
)


def _unnamed(octets: bytes, texts: Texts) -> bytes:
    near = _NAME.sub(lambda name: name[0] if name[0].lower() in _TOLD else texts.word(name[0]), octets)
    return _WIDE.sub(lambda found: texts.free(found[0]), near)


def replaced(octets: bytes, texts: Texts) -> bytes:
    """Its octets, as many; what it names itself and others goes, but for names by which a packer is told."""
    out = bytearray(texts.noise(octets, len(octets)))
    out[:64] = _unnamed(octets[:64], texts)
    for found in _MARK.finditer(octets[:_MARKED]):
        out[found.start() : found.end()] = found[0]
    if len(octets) < 64:
        return bytes(out)
    pe = int.from_bytes(octets[60:64], "little")
    if octets[pe : pe + 4] != b"PE\0\0" or pe + 24 > limits.PE_HEAD:
        return bytes(out)
    sections, optional = struct.unpack_from("<H12xH", octets, pe + 6)
    table = pe + 24 + optional
    end = min(table + 40 * min(sections, limits.PE_SECTIONS), limits.PE_HEAD)
    out[pe:end] = _unnamed(octets[pe:end], texts)
    if optional >= 28:
        entry = int.from_bytes(octets[pe + 40 : pe + 44], "little")
        wide = octets[pe + 24 : pe + 26] == b"\x0b\x02"
        imports = int.from_bytes(octets[pe + 24 + (120 if wide else 104) :][:4], "little")
        for n in range(min(sections, limits.PE_SECTIONS)):
            row = octets[table + 40 * n : table + 40 * n + 40]
            if len(row) < 24:
                break
            virtual, address, raw, place = struct.unpack_from("<IIII", row, 8)
            if entry and address <= entry < address + max(virtual, raw):
                begin = place + entry - address
                out[begin : begin + _STUB] = octets[begin : begin + _STUB]
            if imports and address <= imports < address + max(virtual, raw):
                begin, behind = max(place + imports - address - limits.PE_IMPORTS, 0), place + imports - address
                behind += limits.PE_IMPORTS
                out[begin:behind] = _unnamed(octets[begin:behind], texts)
    return bytes(out[: len(octets)])
