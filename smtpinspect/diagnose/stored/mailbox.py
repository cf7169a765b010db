"""Messages in files, as the octets that would go over the wire: one file, an mbox, a Maildir, standard input.

Of a bounce it is the mail that came back.

An mbox may have any size: it is read in pieces, and again from the place of a message.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, BinaryIO, Final, NamedTuple

from smtpinspect.diagnose.reading.bounces import is_bounce
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.grammar.magics import CAPTURES
from smtpinspect.source.unpack import LONGEST_MAGIC, Damaged, Octets, packing_of

# A separator of mbox (RFC 4155): `From `, a sender, a date with its time; it stands behind an empty line.
SEPARATOR: Final = re.compile(rb"From \S+ .*\d\d:\d\d")
# A part of a report (RFC 3462 2) that holds the mail, or its header.
_RETURNED: Final = re.compile(
    rb"^(--[^\r\n]{1,70})\r?\n(?:[!-9;-~]+:[^\n]*\n|[ \t][^\n]*\n){0,50}?"
    rb"content-type:[ \t]*(?:message/rfc822|text/rfc822-headers)\b[^\n]*\n"
    rb"(?:[!-9;-~]+:[^\n]*\n|[ \t][^\n]*\n){0,50}\r?\n",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_QUOTED: Final = re.compile(rb">+From ")
_LENGTH: Final = re.compile(rb"content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_BETWEEN: Final = re.compile(rb"(?:\r?\n)*\Z|(?:\r?\n)*" + SEPARATOR.pattern)
_LOOK: Final = 1_000  # octets behind the end that a Content-Length names


class Stored(NamedTuple):
    """A message: of which file, the how many-th in it (0: it is the whole file), where its octets lie.

    `line` is the number of its first line in the file.
    `crlf`: its lines end as they do on the wire, so that LF alone is no line end.
    """

    file: str
    number: int
    begin: int
    line: int
    crlf: bool
    returned: bool = False  # it is the mail that a bounce has brought back
    bare: bool = False  # lines stand before its first empty one, and none is a header field


class Piece(NamedTuple):
    """Octets of a line, or a part of a very long one, as they go over the wire. `line`: its number in the file."""

    wire: bytes
    line: int
    first: bool  # the line begins here


class Box:
    """A file with messages. What is packed or comes from a pipe is laid into a temporary file first."""

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        self.file = _opened(path)
        head = self.file.read(LONGEST_MAGIC)
        self.file.seek(0)
        if head.startswith(CAPTURES):
            self.file.close()
            raise UsageError(f"{self.name}: a capture, not a message: smtpinspect replay reads it")
        self.reader: object = None  # who stands where the file stands
        self.mbox = head.startswith(b"From ")
        self._border = b""  # of the part of a bounce that is read
        self._inside: tuple[int, int] | None = None  # its first octet, and line
        self.bare = False
        if not self.mbox:
            self._look_inside()
            lines = self.file.read(limits.MESSAGE_PIECE).split(b"\n")
            self.file.seek(0)
            header = list(takewhile(bytes.strip, lines))
            self.bare = bool(header) and not any(map(_FIELD.match, header))

    def _look_inside(self) -> None:
        """Of a bounce the mail that came back counts."""
        octets = self.file.read(limits.BOUNCE_OCTETS)
        self.file.seek(0)
        found = _RETURNED.search(octets) if is_bounce(octets[: limits.MAIL_LOG_HEAD]) else None
        if found is not None and octets[found.end() :].strip():
            self._border = found[1].rstrip()
            self._inside = found.end(), octets.count(b"\n", 0, found.end()) + 1

    def close(self) -> None:
        self.file.close()

    def messages(self) -> Iterator[tuple[Stored, Iterator[Piece]]]:
        """Each message with its pieces, which must be read before the next message is asked for."""
        lines = _Lines(self, *(self._inside or ()))
        number = 0
        while (stored := self._next(lines, number + 1)) is not None:
            number += 1
            pieces = self._pieces(lines, stored.crlf)
            yield stored, pieces
            for _ in pieces:  # what nobody wanted
                pass

    def again(self, stored: Stored) -> Iterator[Piece]:
        """The pieces of one message once more."""
        return self._pieces(_Lines(self, stored.begin, stored.line), stored.crlf)

    def _next(self, lines: _Lines, number: int) -> Stored | None:
        if self.mbox:
            lines.next()  # the separator
        begin, line = lines.at, lines.number + 1
        first = lines.peek()
        if not first and (number > 1 or not self.mbox):
            return None
        if self._inside and number > 1:
            return None
        returned = self._inside is not None
        return Stored(self.name, number if self.mbox else 0, begin, line, first.endswith(b"\r\n"), returned, self.bare)

    def _pieces(self, lines: _Lines, crlf: bool) -> Iterator[Piece]:
        begins, empty, blank = True, False, b""
        told, until, header = 0, 0, self.mbox  # what Content-Length says; where the message ends by it
        while octets := lines.peek():
            if self.mbox and begins and (empty or lines.at == until) and lines.at >= until and SEPARATOR.match(octets):
                return  # the empty line before a separator, or before the end, is the mbox's own
            if self._border and begins and octets.startswith(self._border):
                return
            lines.next()
            if header and begins:
                header = bool(octets.strip())
                found = _LENGTH.match(octets)
                told = told or (int(found[1]) if found else 0)
                until = 0 if header or not told else self._ends(lines, lines.at + told)
            if blank:
                yield Piece(blank, lines.number - 1, True)
                blank = b""
            whole = octets.endswith(b"\n")
            if self.mbox and begins and octets[:1] == b">" and _QUOTED.match(octets):
                octets = octets[1:]
            wire = octets if crlf or not whole or octets.endswith(b"\r\n") else octets[:-1] + b"\r\n"
            if begins and wire.startswith(b"."):
                wire = b"." + wire  # RFC 5321 4.5.2
            empty = begins and octets in (b"\n", b"\r\n")
            if empty and self.mbox:
                blank = wire
            else:
                yield Piece(wire, lines.number, begins)
            begins = whole if not crlf else octets.endswith(b"\r\n")

    def _ends(self, lines: _Lines, at: int) -> int:
        """That place, where a message ends there: behind it stands a separator, or nothing; else 0.

        Where mails have a Content-Length (mboxcl, mboxcl2), lines that look like a separator need no quoting."""
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(min(at, size))
        behind = self.file.read(_LOOK)
        self.file.seek(lines.read_to)
        return at if at <= size and _BETWEEN.match(behind) else 0


class _Lines:
    """Lines with one to look ahead; a very long line comes in parts, as one line."""

    def __init__(self, box: Box, at: int = 0, number: int = 1) -> None:
        self.box, self.file = box, box.file
        self.at = at  # of the octets that come next
        self.number = number - 1  # of the line that was read last
        self._ahead: bytes | None = None
        self._part = False
        self.read_to = at  # where the file stands

    def peek(self) -> bytes:
        if self._ahead is None:
            if self.box.reader is not self:  # somebody looked at another message meanwhile
                self.box.reader = self
                self.file.seek(self.read_to)
            self._ahead = self.file.readline(limits.MESSAGE_PIECE)
            # CR LF stays together
            if self._ahead.endswith(b"\r") and len(self._ahead) == limits.MESSAGE_PIECE:
                self._ahead += self.file.read(1)
            self.read_to += len(self._ahead)
        return self._ahead

    def next(self) -> bytes:
        octets = self.peek()
        self._ahead = None
        self.at += len(octets)
        if octets and not self._part:
            self.number += 1
        self._part = bool(octets) and not octets.endswith(b"\n")
        return octets


def boxes(path: str) -> Iterator[Box]:
    """The files of this argument, opened one after the other; who gets one closes it.

    Raises UsageError for what is no message, mbox or Maildir and for what cannot be read.
    """
    if path != "-" and os.path.isdir(path):
        folders = [os.path.join(path, name) for name in ("cur", "new") if os.path.isdir(os.path.join(path, name))]
        if not os.path.isdir(os.path.join(path, "cur")):
            raise UsageError(f"{path}: a directory, but no Maildir: it has no cur")
        for folder in folders:
            for name in sorted(os.listdir(folder)):
                whole = os.path.join(folder, name)
                if not name.startswith(".") and os.path.isfile(whole):
                    yield Box(whole)
        return
    box = Box(path)
    if fault := _no_message(box):
        box.close()
        raise UsageError(f"{box.name}: no message: {fault}")
    yield box


def _no_message(box: Box) -> str:
    """Why a file holds none, where its first octets tell."""
    head = box.file.read(limits.MESSAGE_PIECE)
    box.file.seek(0)
    if not head:
        return "it is empty"
    wide = len(head) >= 8 and not (any(head[1:8:2]) and any(head[:8:2]))
    if wide or head.startswith(_WIDE_MARKS):
        return "text in UTF-16 or UTF-32; a mail server sends ASCII or UTF-8: iconv -f utf-16 -t utf-8 makes it that"
    return ""


def _opened(path: str) -> BinaryIO:
    try:
        if path == "-":
            if sys.stdin is None:
                raise UsageError("standard input (-) is closed")
            if sys.stdin.isatty():
                raise UsageError("standard input (-) is a terminal; send a message into it")
            raw: Any = getattr(sys.stdin, "buffer", sys.stdin)
            return _spooled(raw, "standard input")
        file = open(path, "rb")  # noqa: SIM115  # a Box closes it
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    head = file.peek(LONGEST_MAGIC)[:LONGEST_MAGIC]
    if packing_of(head) is None and file.seekable():
        return file
    with file:
        return _spooled(file, path)


def _spooled(raw: BinaryIO, name: str) -> BinaryIO:
    import tempfile

    octets = Octets(raw)
    made = tempfile.TemporaryFile()  # noqa: SIM115  # a Box closes it
    try:
        while piece := octets.read(limits.MESSAGE_PIECE):
            made.write(piece)
    except (Damaged, OSError) as error:
        made.close()
        raise UsageError(f"{name}: cannot be read: {error}") from None
    made.seek(0)
    return made
