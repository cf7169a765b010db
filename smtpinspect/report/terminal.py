"""Text on a terminal: colours, widths, and nothing of a stranger's that could move the cursor."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Final, TextIO

from smtpinspect.grammar.phrases import clock as clock
from smtpinspect.grammar.phrases import count as count
from smtpinspect.grammar.phrases import took as took

_WORD: Final = re.compile(r"""(?:[^\s'"]|'[^']*'|"(?:[^"\\]|\\.)*"|['"])+""")  # of a shell


class Style:
    """Colours where wanted; a colour never carries a meaning alone."""

    CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, name: str) -> str:
        return f"\x1b[{self.CODES[name]}m{text}\x1b[0m" if self.colour and name and text else text


def wants_colour(out: TextIO) -> bool:
    """Only for a person's terminal (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def safe(text: str) -> str:
    """Text of a stranger: nothing in it moves the cursor or turns the writing direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def wide(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def padded(text: str, width: int) -> str:
    """Filled with blanks to so many columns."""
    return text + " " * (width - wide(text))


def cut(text: str, width: int) -> str:
    """At most so many columns, with a mark where something is missing."""
    if wide(text) <= width:
        return text
    kept = ""
    for char in text:
        if wide(kept + char) >= width:
            break
        kept += char
    return kept + "…"


def wrapped(text: str, width: int | None, indent: str = "") -> Iterator[str]:
    """Wrapped for a terminal; without one nothing is."""
    if width is None or wide(text) + len(indent) <= width:
        yield indent + text
        return
    line = indent
    more = indent + "  "
    for word in text.split(" "):
        if line.strip() and wide(line) + 1 + wide(word) > width:
            yield line.rstrip()
            line = more
        line += word if line in (indent, more) else f" {word}"
    yield line.rstrip()


def pasted(command: str, width: int | None, indent: str = "  ") -> Iterator[str]:
    """A shell command. Where it is too wide it goes on behind a backslash, or behind a further `#`: pasted, it is the
    same."""
    if width is None or wide(command) + len(indent) <= width:
        yield indent + command
        return
    remark = command.startswith("#")
    lead, more, end = indent, f"{indent}# " if remark else f"{indent}  ", "" if remark else " \\"
    line = ""
    for word in command.split(" ") if remark else _WORD.findall(command):
        if line and wide(f"{lead}{line} {word}{end}") > width:
            yield f"{lead}{line}{end}"
            lead, line = more, word
        else:
            line = f"{line} {word}" if line else word
    yield lead + line


def program() -> str:
    """The program as it was called, where that was by a path: a next command must work when it is pasted."""
    called = sys.argv[0] if sys.argv else ""
    typed = os.sep in called and not os.path.isabs(called) and os.path.basename(called) == "smtpinspect"
    return called if typed else "smtpinspect"
