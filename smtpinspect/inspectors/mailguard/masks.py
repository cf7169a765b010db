"""The octets that MailGuard writes: pure functions from octets to as many octets."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_CMAP: Final = b"SMTP/cmap"
_READ: Final = b"read"
_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")
_CODED: Final = re.compile(rb"[0-9]{3}[ -]")
_STARS: Final = bytes(octet if octet in b"\r\n" else 0x2A for octet in range(256))
_STARS_BUT_20: Final = bytes(octet if octet in b"\r\n20" else 0x2A for octet in range(256))
_CROSSES: Final = bytes(octet if octet in b"\r\n" else 0x58 for octet in range(256))


def banner(greeting: bytes, mask: str, *, keep_sep: bool = True) -> bytes:
    """The greeting behind the box; `mask` is the knob `banner`: none, cmap, first4, keep20, per-line."""
    match mask:
        case "cmap":
            return cmap(greeting)
        case "first4":
            return first4(greeting)
        case "keep20":
            return keep20(greeting, keep_sep=keep_sep)
        case "per-line":
            return per_line(greeting)
        case _:
            return greeting


def cmap(greeting: bytes) -> bytes:
    """Very early PIX: `220 SMTP/cmap____read`, filled with underscores; how it fills is inferred from the look.

    The first line only; one that is too short for the words is masked as first4 does it.
    """
    line = greeting.split(b"\r", 1)[0].split(b"\n", 1)[0]
    room = len(line) - 4 - len(_CMAP) - len(_READ)
    if room < 1:
        return first4(greeting)
    return line[:4] + _CMAP + b"_" * room + _READ + greeting[len(line) :]


def first4(greeting: bytes) -> bytes:
    """PIX 4.4: only the first four octets of the segment stay, so a second line loses its code."""
    return greeting[:4] + greeting[4:].translate(_STARS)


def keep20(greeting: bytes, *, keep_sep: bool = True) -> bytes:
    """PIX 5 and 6: every 2 and 0 stays; with `keep_sep` what follows the code stays too."""
    out = b""
    for line in _LINE.findall(greeting):
        masked = line.translate(_STARS_BUT_20)
        if keep_sep and _CODED.match(line):
            masked = masked[:3] + line[3:4] + masked[4:]
        out += masked
    return out


def per_line(greeting: bytes) -> bytes:
    """FWSM and ASA: code and separator of each line stay, everything else (2 and 0 too) goes."""
    out = b""
    for line in _LINE.findall(greeting):
        kept = 4 if _CODED.match(line) else 0
        out += line[:kept] + line[kept:].translate(_STARS)
    return out


def ehlo(reply: bytes, named: Collection[str]) -> bytes:
    """FWSM and ASA: the text of a line whose keyword is not in `named` becomes X..XA, X..XB and so on.

    The first line (the server's name) stays. Behind Z the letters start again: no source goes so far.
    """
    lines = _LINE.findall(reply)
    out = b"".join(lines[:1])
    masked = 0
    for line in lines[1:]:
        text = line[4:].rstrip(b"\r\n")
        if _CODED.match(line) and text and keyword(text).decode("latin-1") not in named:
            out += keyword_line(line, masked)
            masked += 1
        else:
            out += line
    return out


def keyword_line(line: bytes, masked: int) -> bytes:
    """One line of an EHLO reply as the `masked`th, from 0, that is masked in it."""
    text = line[4:].rstrip(b"\r\n")
    letter = bytes([0x41 + masked % 26]) if text else b""
    return line[:4] + b"X" * (len(text) - 1) + letter + line[4 + len(text) :]


def keyword(text: bytes) -> bytes:
    """The keyword of an EHLO line in upper case: up to a blank, or with its first `=` (AUTH=LOGIN)."""
    name = re.split(rb"[ \t]", text, maxsplit=1)[0].upper()
    head, equals, _ = name.partition(b"=")
    return head + equals


def noop(line: bytes) -> bytes:
    """The verb becomes NOOP, blanks fill up a longer one, the argument stays; a shorter one becomes X."""
    verb = _verb(line)
    if verb < 4:
        return line[:verb].translate(_CROSSES) + line[verb:]
    return b"NOOP".ljust(verb) + line[verb:]


def xxxx_verb(line: bytes) -> bytes:
    """The first four letters of the verb become X, the rest of the line stays."""
    verb = min(_verb(line), 4)
    return line[:verb].translate(_CROSSES) + line[verb:]


def xxxx_all(line: bytes) -> bytes:
    """Everything but CR and LF becomes X."""
    return line.translate(_CROSSES)


def space(line: bytes, offsets: Collection[int]) -> bytes:
    """The octets at these offsets become blanks."""
    out = bytearray(line)
    for offset in offsets:
        out[offset] = 0x20
    return bytes(out)


def _verb(line: bytes) -> int:
    return len(re.split(rb"[ \t\r\n]", line, maxsplit=1)[0])
