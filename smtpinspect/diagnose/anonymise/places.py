"""What each line of a stream is, and so which of its words stay: a command, a reply, a header field, a text.

Words that SMTP and MIME know are names, too: where somebody wrote freely, none of them stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.anonymise.words import KEPT, TRACED, TYPED, WRITTEN
from smtpinspect.grammar.verbs import VERBS

Replace = Callable[[bytes], bytes]

_VERBS: Final = frozenset(verb.name for verb in VERBS if verb.name) | {b"XXXX", b"X", b"PROXY"}
# What a proxy or a balancer was told may stand before it.
_VERB: Final = re.compile(rb"(?s:.*[\0-\x08\x0b\x0c\x0e-\x1f])?[^A-Za-z0-9\r\n]*([A-Za-z0-9-]+)")
_HEAD: Final = 600  # octets of a line in which its verb stands
_DATA: Final = re.compile(rb"[ \t]*DATA[ \t]*\r*\n", re.IGNORECASE)
_END: Final = (b".\r\n", b".\n")
# What no text begins with: the server did not want it.
_COMMAND: Final = re.compile(
    rb"(?:(?:MAIL FROM|RCPT TO) ?:|(?:EHLO|HELO) \S+\s*\Z|(?:RSET|QUIT|NOOP|DATA|STARTTLS)[ \t]*\r*\n)", re.IGNORECASE
)
_NAMING: Final = re.compile(rb"([ \t]*(?:EHLO|HELO|LHLO|VRFY|EXPN|ETRN)[ \t]+)(.*)", re.IGNORECASE | re.DOTALL)
_GIVING: Final = re.compile(rb"[ \t]*(?:XCLIENT|XFORWARD)[ \t]", re.IGNORECASE)
_GIVEN: Final = re.compile(rb"(?<==)[^ \t\r\n]+")
_PATH: Final = re.compile(rb"<[^<>\r\n]*>?")
# What VRFY tells (RFC 5321 3.5.1): a name, and its mailbox.
_VERIFIED: Final = re.compile(rb"(25[0-2][ -])(?!\d\.)([^<>\r\n]+<[^<>@\r\n]+@[^<>\r\n]+>\r*\n?)")
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_SIGNED: Final = re.compile(rb"(?:[\w-]*dkim-signature|arc-[\w-]+|domainkey-signature)\Z")  # RFC 6376, 8617, 4870
_DELIMITER: Final = re.compile(rb"--(?:[\x21-\xff]{1,200}|[0-9A-Za-z'()+_,./:=? -]{1,74})[ \t]*\r*\n?")
_PARAMETER: Final = re.compile(
    rb"(?<![A-Za-z0-9-])([A-Za-z0-9-]+)((?:\*\d{0,2}\*?)?[ \t]*=[ \t]*)(\"[^\"\r\n]*\"?|[^;\s\"]*)"
)
_FOLDED: Final = re.compile(rb"boundary(?:\*\d?\*?)?[ \t]*=[ \t]*\r*\n", re.IGNORECASE)
_HOP: Final = re.compile(
    rb"(?i:(?<=from )|(?<=by )|(?<=helo[= ])|(?<=ehlo )|(?<=sender: ))[^\s()\[\];]+"
    rb"|(?<![^\s()\[\];])[^\s()\[\];]+(?= ?\[)"
)
_UU_BEGIN: Final = re.compile(rb"begin [0-7]{3,4} ", re.IGNORECASE)
_FILE: Final = (b"name", b"filename")


class Places:
    """The lines of one stream in their order."""

    def __init__(self, texts: Texts, *, replies: bool) -> None:
        self._texts, self._replies = texts, replies
        self._text = self._first = False  # the text of a mail; none of it has come yet
        self._lost = False  # octets are missing: it may have ended in them
        self._field = b""  # the header field that goes on
        self._quoted = self._folded = False  # within quotes; its boundary stands on the next line
        self._command = False

    def line(self, line: bytes, *, begins: bool, chunk: bool) -> bytes:
        """A line, or a piece of one that does not begin, replaced; `chunk`: BDAT announced it."""
        if self._replies:
            found = _VERIFIED.fullmatch(line) if begins else None
            return found[1] + self._texts.free(found[2]) if found else self._texts.line(line, reply=begins)
        if begins:
            self._command = self._is_command(line, chunk)
            if self._command:
                self._field = b""
        return self._commanded(line, begins) if self._command else self._sent(line, begins)

    def gap(self) -> None:
        """Octets are missing here."""
        self._lost = True

    def _is_command(self, line: bytes, chunk: bool) -> bool:
        if chunk:
            return False
        if self._text:
            if (self._first or self._lost) and _COMMAND.match(line):
                self._text = False
            elif line in _END:
                self._text = False
                return False
            self._first = False
        if self._text:
            return False
        self._lost = False
        self._text = self._first = bool(_DATA.fullmatch(line))
        found = _VERB.match(line[:_HEAD])
        return found is not None and found[1].upper() in _VERBS

    def _commanded(self, line: bytes, begins: bool) -> bytes:
        texts = self._texts
        found = _NAMING.match(line) if begins else None
        if found is not None:
            return texts.line(found[1]) + texts.names(found[2])
        paths = _GIVEN if _GIVING.match(line) else _PATH
        return _parted(line, paths, texts.names, texts.line)

    def _sent(self, line: bytes, begins: bool) -> bytes:
        """A line of a message: header fields are told by their names, wherever they stand."""
        texts = self._texts
        head = b""
        if begins and line[:1] not in b" \t":
            if _DELIMITER.fullmatch(line):
                self._field = b""
                return texts.boundary(line)
            if uu := _UU_BEGIN.match(line):
                return uu[0] + texts.file_name(line[uu.end() :])
            if line.rstrip(b"\r\n").lower() == b"end":
                return line
            found = _FIELD.match(line)
            name = found[1].lower() if found else b""
            known = name in TYPED or name in TRACED or name in WRITTEN
            self._field = name if known else b""
            self._quoted = self._folded = False
            if found and known:
                head = texts.line(found[0])
            elif found and name.startswith(b"x-"):
                head = line[:2]
        value = line[len(head) :]
        if self._field in TYPED:
            return head + self._typed(value)
        if self._field in TRACED:
            if self._field == b"received":
                return head + _parted(value, _HOP, texts.names, texts.line)
            return head + texts.line(value, tags=bool(_SIGNED.match(self._field)))
        return head + texts.free(value)

    def _typed(self, value: bytes) -> bytes:
        """Types and parameters (RFC 2045 5.1): values of names are replaced, and boundaries as boundaries."""
        texts = self._texts
        if self._folded:
            self._folded = False
            return texts.boundary(value)
        lead = b""
        if self._quoted:  # a file's name goes on
            inner, quote, _ = value.partition(b'"')
            lead, value = texts.file_name(inner), value[len(inner) :]
            if quote:
                self._quoted, lead, value = False, lead + quote, value[1:]
        self._quoted ^= bool(value.count(b'"') % 2)
        self._folded = bool(_FOLDED.search(value))
        return lead + _parted(value, _PARAMETER, self._parameter, texts.line)

    def _parameter(self, text: bytes) -> bytes:
        found = _PARAMETER.fullmatch(text)
        if found is None:
            return self._texts.free(text)
        name = found[1].lower()
        if name == b"boundary":
            return found[1] + found[2] + self._texts.boundary(found[3])
        if name in _FILE:
            return found[1] + found[2] + self._texts.file_name(found[3])
        if KEPT.issuperset(name.decode().split("-")):
            return found[1] + found[2] + self._texts.line(found[3])
        return self._texts.free(text)


def _parted(line: bytes, parts: re.Pattern[bytes], inner: Replace, outer: Replace) -> bytes:
    out = b""
    at = 0
    for found in parts.finditer(line):
        out += outer(line[at : found.start()]) + inner(found[0])
        at = found.end()
    return out + outer(line[at:])
