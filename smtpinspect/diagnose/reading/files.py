"""Lines of a log: plain or packed, in any encoding, of any length; memory stays flat."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits
from smtpinspect.source.unpack import LONGEST_MAGIC, Damaged, Octets, packing_of

CHUNK: Final = 1 << 20
LogInput = str | os.PathLike[str] | BinaryIO
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def lines(source: LogInput) -> Iterator[str]:
    """Raises UsageError for what cannot be opened, CaptureError where it cannot be read on."""
    path, raw = _opened(source)
    octets = Octets(raw, owned=raw is not source)
    number = 0
    try:
        for line in _split(octets):
            number += 1
            yield line
    except (Damaged, OSError) as error:
        raise CaptureError(path, octets.octets_read, number + 1, str(error)) from error
    finally:
        octets.close()


def head(source: LogInput, size: int) -> bytes:
    """Its first octets, unpacked; what is damaged is short."""
    _, raw = _opened(source)
    octets, found = Octets(raw, owned=raw is not source), b""
    try:
        while len(found) < size and (more := octets.read(size - len(found))):
            found += more
    except (Damaged, OSError):
        pass
    finally:
        octets.close()
    return found


def tail(path: str | os.PathLike[str], size: int) -> bytes:
    """Its last octets, unpacked; what is damaged ends there."""
    _, raw = _opened(path)
    packed = packing_of(raw.read(LONGEST_MAGIC)) is not None
    raw.seek(0 if packed else max(raw.seek(0, os.SEEK_END) - size, 0))
    octets, found = Octets(raw, owned=True), b""
    try:
        while more := octets.read(CHUNK):
            found = (found + more)[-size:]
    except (Damaged, OSError):
        pass
    finally:
        octets.close()
    return found


def _opened(source: LogInput) -> tuple[str, BinaryIO]:
    if not isinstance(source, (str, os.PathLike)):
        return str(getattr(source, "name", "the log")), source
    path = os.fspath(source)
    try:
        if path == "-":
            import sys

            return "standard input", sys.stdin.buffer
        if os.path.isdir(path):
            raise UsageError(f"{path} is a directory; a log is wanted")
        return path, open(path, "rb")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _split(octets: Octets) -> Iterator[str]:
    first = octets.read(CHUNK)
    for mark, name in _MARKS:
        if first.startswith(mark):
            if name != "utf-8":
                yield from _wide(first[len(mark) :], octets, name)
                return
            first = first[len(mark) :]
    rest, skip = b"", False
    while first:
        whole = rest + first
        parts = whole.split(b"\n")
        rest = parts.pop()
        if skip and parts:  # the end of a line that was too long
            parts, skip = parts[1:], False
        for part in parts:
            yield text_of(part)
        if skip:
            rest = b""
        elif len(rest) > limits.MAIL_LOG_LINE:
            yield text_of(rest)
            rest, skip = b"", True
        first = octets.read(CHUNK)
    if rest and not skip:
        yield text_of(rest)


def text_of(octets: bytes) -> str:
    """At most so much of a line; octets that are no UTF-8 as `\\xNN`."""
    return octets[:limits.MAIL_LOG_LINE].rstrip(b"\r\n\0 ").decode("utf-8", "backslashreplace")


def _wide(first: bytes, octets: Octets, name: str) -> Iterator[str]:
    """UTF-16, as PowerShell writes it."""
    decoder = codecs.getincrementaldecoder(name)("backslashreplace")
    rest, skip = "", False
    while first:
        *whole, rest = (rest + decoder.decode(first)).split("\n")
        if skip and whole:
            whole, skip = whole[1:], False
        yield from (line[:limits.MAIL_LOG_LINE].rstrip("\r\0 ") for line in whole)
        if skip:
            rest = ""
        elif len(rest) > limits.MAIL_LOG_LINE:
            yield rest[:limits.MAIL_LOG_LINE]
            rest, skip = "", True
        first = octets.read(CHUNK)
    if rest and not skip:
        yield rest.rstrip("\r\0 ")


def of_octets(octets: bytes) -> Iterator[str]:
    """The lines of what is in memory."""
    return lines(io.BytesIO(octets))
