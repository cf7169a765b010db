"""Octets that are written as three: `=53` (RFC 2045 6.7, RFC 2047 4.2) and `%53` (RFC 3986 2.1, RFC 8187 3.2)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from smtpinspect.diagnose.anonymise.words import KEPT

# One `=` with small letters, or behind a name that is known, is a parameter's rather than an octet's; so is any behind
# these names. What is not read as octets here is replaced as the word that it looks like.
_ESCAPED: Final = re.compile(
    rb"(?<!(?i:boundary))(?<!(?i:charset))(?<!(?i:size))(?<!(?i:body))(?:(?:=[0-9A-Fa-f]{2}){2,}|=[0-9A-F]{2})"
    rb"|%[0-9A-Fa-f]{2}"
)
_VALUE: Final = re.compile(rb"=([A-Za-z0-9]{3,})")
_NAME: Final = re.compile(rb"[A-Za-z0-9]{2,16}\Z")
# Control characters that mean nothing to a reader of mail; those of two digits may be the beginning of a number.
_CONTROLS: Final = (
    bytes((1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19)),
    bytes((0x0E, 0x0F, 0x1A, 0x1C, 0x1D, 0x1E, 0x1F)),
)


class Written(NamedTuple):
    """An octet of a plain text, and how it was written."""

    place: int
    octet: int
    text: bytes


def apart(text: bytes) -> tuple[bytes, list[Written]]:
    """The text with each of these octets as one; which they are."""
    if b"=" not in text and b"%" not in text:
        return text, []
    plain = bytearray()
    written: list[Written] = []
    at = 0
    for found in _ESCAPED.finditer(text):
        begin, end = found.span()
        if text[begin : begin + 1] == b"=" and _is_parameter(text, begin, end):
            continue
        plain += text[at:begin]
        for n in range(begin, end, 3):
            octet = int(text[n + 1 : n + 3], 16)
            written.append(Written(len(plain), octet, text[n : n + 3]))
            plain.append(octet)
        at = end
    return bytes(plain + text[at:]), written


def _is_parameter(text: bytes, begin: int, end: int) -> bool:
    """NOTIFY=FAILURE, filename=BACKUP.exe"""
    value = _VALUE.match(text, begin)
    if value and not value[1].isdigit() and value[1].lower().decode() in KEPT:
        return True
    name = _NAME.search(text, max(begin - 16, 0), begin) if end - begin == 3 else None
    return name is not None and name[0].lower().decode() in KEPT


def together(plain: bytes, written: list[Written]) -> bytes:
    """A plain text of the same length with these octets written as they were."""
    if not written:
        return plain
    out = bytearray()
    at = 0
    for n, (place, was, text) in enumerate(written):
        out += plain[at:place]
        octet = plain[place]
        for group in _CONTROLS:
            if octet in group:
                octet = group[(octet + n + 1) % len(group)]
        digits = b"%02X" % octet
        out += text if octet == was else text[:1] + (digits if text[1:] == text[1:].upper() else digits.lower())
        at = place + 1
    return bytes(out + plain[at:])
