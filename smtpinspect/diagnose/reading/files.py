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


class Log:
    """A log that is open, unpacked. Its first octets may be looked at before it is read, also those of a pipe.

    Raises UsageError for what cannot be opened.
    """

    def __init__(self, source: LogInput) -> None:
        self.path, raw = _opened(source)
        self._octets = Octets(raw, owned=raw is not source)
        self._head = b""
        self._fault: Damaged | OSError | None = None

    def head(self, size: int) -> bytes:
        """Its first octets, which are read all the same; what is damaged is short."""
        try:
            while len(self._head) < size and (more := self._octets.read(size - len(self._head))):
                self._head += more
        except (Damaged, OSError) as error:
            self._fault = error
        return self._head[:size]

    def read(self, size: int) -> bytes:
        """At most so many octets, none at its end. Raises Damaged and OSError."""
        if self._head:
            made, self._head = self._head[:size], self._head[size:]
            return made
        if self._fault is not None:
            raise self._fault
        return self._octets.read(size)

    @property
    def damaged(self) -> bool:
        """Did what was looked at end before its end?"""
        return self._fault is not None

    @property
    def octets_read(self) -> int:
        """Of the file as it lies there, packed or not."""
        return self._octets.octets_read

    def close(self) -> None:
        """A stream that somebody else has opened stays open."""
        self._octets.close()


def lines(source: LogInput | Log) -> Iterator[str]:
    """Raises UsageError for what cannot be opened, CaptureError where it cannot be read on."""
    log = source if isinstance(source, Log) else Log(source)
    number = 0
    try:
        for line in _split(log):
            number += 1
            yield line
    except (Damaged, OSError) as error:
        fault = CaptureError(log.path, log.octets_read, number + 1, str(error))
        fault.unit = "line"
        raise fault from error
    finally:
        log.close()


def head(path: str | os.PathLike[str], size: int) -> bytes:
    """Its first octets, unpacked. Raises UsageError for what cannot be opened."""
    log = Log(path)
    try:
        return log.head(size)
    finally:
        log.close()


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


def _split(octets: Log) -> Iterator[str]:
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


def _wide(first: bytes, octets: Log, name: str) -> Iterator[str]:
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
