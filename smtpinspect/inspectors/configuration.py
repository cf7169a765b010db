"""A product's own configuration as settings: the text, what was found in it, and who can read it."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits

_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# What a pager leaves in a pasted session, before the carriage return that overwrites it.
_PAGER: Final = r"(?i)<-+ ?More ?-+>|--+ ?More ?--+"


class Line(NamedTuple):
    """A line of a configuration (the first is 1), and what it means."""

    number: int
    text: str
    meaning: str


class Configuration(NamedTuple):
    """What a product's configuration says about SMTP.

    `keys` are those of the inspector `product`; `profile` is empty where nothing tells the generation, and
    `assumed` where the kind of its lines does, but no version.
    `active` is False when the configuration switches the inspection off: `notes` tell why. `ports` are the
    server ports that it names. `beyond` tells why the inspector cannot be set up from this text at all.
    """

    product: str
    title: str
    profile: str = ""
    keys: Mapping[str, Any] = {}
    active: bool = True
    ports: tuple[int, ...] = ()
    found: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    beyond: str = ""
    assumed: bool = False


class Row(NamedTuple):
    """A line as a reader wants it: its number, its blanks in front, its words."""

    number: int
    indent: int
    text: str


class Reading:
    """What a reader writes down while it goes on, whatever it meets."""

    def __init__(self) -> None:
        self.found: list[Line] = []
        self.unknown: list[Line] = []
        self.notes: list[str] = []

    def find(self, row: Row, meaning: str) -> None:
        """This line counts, and means that."""
        if len(self.found) < limits.CONFIG_LINES:
            self.found.append(Line(row.number, shown(row.text), meaning))

    def miss(self, row: Row, why: str) -> None:
        """This line would count, but is not understood."""
        if len(self.unknown) < limits.CONFIG_LINES:
            self.unknown.append(Line(row.number, shown(row.text), why))

    def note(self, text: str) -> None:
        """What the user should know; told once."""
        if text not in self.notes and len(self.notes) < limits.CONFIG_PORTS:
            self.notes.append(text)

    def lines(self) -> dict[str, Any]:
        """The fields of a Configuration, lines in their order."""
        return {
            "found": tuple(sorted(self.found, key=lambda line: line.number)),
            "unknown": tuple(sorted(self.unknown, key=lambda line: line.number)),
            "notes": tuple(self.notes),
        }


def shown(text: str) -> str:
    """A line as it is quoted: its blanks as one each, cut where it is too long."""
    text = " ".join(text[: 2 * limits.CONFIG_QUOTED].split())
    return text if len(text) <= limits.CONFIG_QUOTED else text[: limits.CONFIG_QUOTED - 1] + "…"


def has(text: str, signs: Iterable[str]) -> bool:
    """Does one of these words, in small letters, stand anywhere in the text?"""
    lower = text.lower()
    return any(sign in lower for sign in signs)


def rows(text: str) -> Iterator[Row]:
    """The lines that are not empty; whatever ends them, and without what a terminal's pager left."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole[: limits.CONFIG_LINE].rstrip()
        if "\r" in line:
            line = re.sub(_PAGER, "", line).rpartition("\r")[2]
        elif line.startswith(("<", "-")):
            line = re.sub(_PAGER, "", line)
        bare = line.lstrip()
        if bare:
            yield Row(number, len(line) - len(bare), bare)


def text_of(path: str | os.PathLike[str]) -> str:
    """The text of a file. Raises UsageError for what cannot be opened, is too large or is no text."""
    name = os.fspath(path)
    if not name:
        raise UsageError("an empty name; the path of a configuration is wanted")
    try:
        if os.path.isdir(name):
            raise UsageError(f"{name}: is a directory; name a configuration in it")
        with open(name, "rb") as file:
            return decoded(file, name)
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file{_nearest(name)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name!r}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decoded(file: BinaryIO, name: str) -> str:
    """What a stream holds, as text in UTF-8, UTF-16 (with its mark) or Latin-1. Raises UsageError."""
    pieces, total = [], 0
    while total <= limits.CONFIG_OCTETS and (piece := file.read(limits.CONFIG_OCTETS + 1 - total)):
        pieces.append(piece)
        total += len(piece)
    octets = b"".join(pieces)
    if not octets.strip():
        raise UsageError(f"{name}: is empty; what the firewall prints belongs into it")
    if len(octets) > limits.CONFIG_OCTETS:
        raise UsageError(
            f"{name}: larger than {limits.CONFIG_OCTETS >> 20} MiB: no configuration is; "
            f"cut out the lines about mail"
        )
    for mark, encoding in _BOMS:
        if octets.startswith(mark):
            return octets[len(mark) :].decode(encoding, "replace")
    if b"\0" in octets:
        raise UsageError(f"{name}: binary bytes, no text; a configuration is what the firewall prints")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def reader(package: str) -> Callable[[str], Configuration | None] | None:
    """`read` of the module `config` in an inspector's folder; None where there is none."""
    if not package:
        return None
    try:
        found = importlib.import_module(f"{package}.config")
    except ModuleNotFoundError as error:
        if error.name in (package, f"{package}.config"):
            return None
        raise
    made: Callable[[str], Configuration | None] | None = getattr(found, "read", None)
    return made if callable(made) else None


def _nearest(path: str) -> str:
    from smtpinspect.grammar.phrases import alike

    folder, name = os.path.split(path)
    try:
        near = alike(name, os.listdir(folder or "."))
    except OSError:
        return ""
    return f"; did you mean {os.path.join(folder, near)}?" if near else ""
