"""What is left of a text, in whatever form it is written: the decoders of a curious reader, and the words they find."""

from __future__ import annotations

import base64
import html
import quopri
import re
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Final

from smtpinspect.diagnose.anonymise.streams import lay
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.anonymise.words import KEPT
from smtpinspect.engine import PORTS

WORD: Final = re.compile(rb"[A-Za-z]{4,}")
LONG: Final = 6  # letters from which on a word comes by no chance where octets are shifted
ALLOWED: Final = {run.lower() for word in KEPT for run in WORD.findall(word.encode())}
_RUN: Final = re.compile(rb"(?:[A-Za-z0-9+/]{20,}={0,2}\r?\n?)+")
_B64: Final = re.compile(rb"[A-Za-z0-9+/]{8,}")
_MARKS: Final = re.compile(rb"PK(?=[\1\3\5\7])|UT(?=[\5\t\r]\0)")  # of an archive: no part of a word
_GAPS: Final = re.compile(rb"(?<![A-Za-z]{2})(?<=[A-Za-z])(?:[ ._*-]|=20)(?=[A-Za-z](?![A-Za-z]))")


def runs(text: bytes) -> bytes:
    """Lines of base64, each run of them decoded."""
    parts = [part for run in _RUN.findall(text) for part in re.sub(rb"[\r\n]", b"", run).split(b"=")]
    return _MARKS.sub(b" ", b"\0".join(base64.b64decode(run[: len(run) & ~3]) for run in parts))


def shifted(text: bytes) -> bytes:
    """Whatever could be base64, decoded from each of its four places (three of them differ)."""
    found = [run[at:] for run in _B64.findall(text) for at in range(4)]
    return _MARKS.sub(b" ", b"\0".join(base64.b64decode(run[: len(run) & ~3]) for run in found))


READERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": lambda text: re.sub(rb"=[0-9A-F]{2}", b" ", _MARKS.sub(b" ", text)),
    "quoted-printable": quopri.decodestring,
    "Q": lambda text: quopri.decodestring(text, header=True),
    "URL": urllib.parse.unquote_to_bytes,
    "HTML": lambda text: html.unescape(text.decode("latin-1")).encode("utf-8", "replace"),
    "UTF-16": lambda text: text.replace(b"\0", b""),
    "UTF-16, quoted": lambda text: quopri.decodestring(text).replace(b"\0", b""),
    "spaced": lambda text: _GAPS.sub(b"", text),
    "base64": runs,
    "base64, any": shifted,
}


def words(text: bytes) -> set[bytes]:
    """The words of a text as it stands. Zeros in base64 are AAAA, a keyword that MailGuard masks is XXXXXXXA."""
    found = {word.lower() for word in WORD.findall(text)}
    return {word for word in found if len(set(word)) > 1 and not re.fullmatch(rb"x{4,}[a-z]", word)}


def read(text: bytes) -> dict[str, set[bytes]]:
    """The words that each reader finds."""
    text = re.sub(rb"(?i:SIZE|BODY)=", b" ", text)  # no octet is written so
    return {name: words(reader(text)) for name, reader in READERS.items()}


def written(text: bytes) -> set[bytes]:
    """The words of an original, as it is meant to be read, but for those of the protocols."""
    found = read(_RUN.sub(b" ", text))
    del found["base64, any"]
    return set().union(*found.values(), words(runs(text))) - ALLOWED


def left(text: bytes, before: set[bytes]) -> set[tuple[str, bytes]]:
    """Which of these words some reader finds in a text, and which reader."""
    return {
        (name, word)
        for name, found in read(text).items()
        for word in found & before
        if len(word) >= LONG or name != "base64, any"
    }


def streams(path: str, texts: Texts) -> Iterator[tuple[int, bytes, bytes]]:
    """Both streams of each connection, as they were and as they are now; side 0 is the client's."""
    laid = lay(path, texts, PORTS)
    try:
        for flow in laid.flows:
            for side in (0, 1):
                pieces = laid.spool.pieces(flow.first_packet, side, 0, 1 << 40)
                yield side, b"\n".join(old for _, old, _ in pieces), b"\n".join(new for _, _, new in pieces)
    finally:
        laid.spool.close()


_SOMEBODY: Final = re.compile(rb"(?:From|To|Cc|Reply-To|Sender|Subject|Organization)[ \t]*:", re.IGNORECASE)
_STRUCTURED: Final = re.compile(
    rb"[!-9;-~]+[ \t]*:|[ \t]|--|begin [0-7]{3}|end\r?\n|\.\r?\n|[A-Za-z0-9+/]{40,}={0,2}\r?\n"
)


def same(old: bytes, new: bytes) -> set[bytes]:
    """Words, those of the protocols too, that stand in the texts of mails as they stood."""
    found: set[bytes] = set()
    at = 0
    header = text = False
    for line in old.splitlines(keepends=True):
        now = new[at : at + len(line)]
        at += len(line)
        if not text:
            text = header = line.strip().upper() == b"DATA"
            continue
        if line.rstrip(b"\r\n") in (b".", b"RSET", b"QUIT"):
            text = False
            continue
        header = header and line.strip() != b""
        begin = named.end() if (named := _SOMEBODY.match(line)) else 0
        if not begin and (header or _STRUCTURED.match(line)):
            continue
        for word in re.finditer(rb"(?<![=%A-Za-z0-9\x80-\xff?])[A-Za-z]{3,}(?![A-Za-z0-9?-])", line[begin:]):
            if now[begin:][word.start() : word.end()] == word[0]:
                found.add(word[0])
    return {word for word in found if len(set(word)) > 1}
