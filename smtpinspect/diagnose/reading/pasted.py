"""Text that somebody has copied: quoted with "> ", lines folded at a margin, several attempts one below another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.dispatch import LogReader
from smtpinspect.diagnose.reading.lines import line_of
from smtpinspect.grammar import limits

_QUOTED: Final = re.compile(r"(?:[ \t]*[>|])+ ?")
_WHOLE: Final = 40  # lines that may be one that was folded
Make = Callable[[], LogReader]


def bare(line: str) -> str:
    """Without marks of a quotation, and what a form feed or a carriage return leaves."""
    mark = _QUOTED.match(line)
    return (line[mark.end() :] if mark else line).rstrip("\r\n\0")


def is_folded(lines: Sequence[str], make: Make = LogReader) -> bool:
    """Is there a line that goes on with the one before it, or a quoted one?"""
    reader = make()
    told = enumerate(line for line in lines if line.strip())
    return any(line[0] in " \t>|" or (number and not _begins(line, reader)) for number, line in told)


def readings(lines: Sequence[str], make: Make = LogReader) -> list[Reading]:
    """What the lines tell as they stand, or joined again where that tells more."""
    plain = [text for text in map(bare, lines) if text.strip()]
    best: list[Reading] = []
    for n, tried in enumerate(_joined(plain, make())):
        reader = make()
        told = [each for line in tried for each in reader.feed(line.strip(), idle=True)] + list(reader.rest())
        if not told and (known := [line for line in tried if reader.mta(line.strip())]):
            told = [Reading(known[-1], reader.mta(known[-1].strip()), fate="none")]
        if n == 0 or _worth(told) > _worth(best):
            best = told
    return best


def strange(lines: Sequence[str], told: Sequence[Reading]) -> Iterator[str]:
    """Lines that look like deliveries, are of a form that is not known, and part of nothing that was told."""
    reader = LogReader()
    for line in (bare(each).strip() for each in lines):
        if not any(True for _ in reader.feed(line)) and reader.strange and not any(line in each.line for each in told):
            yield line


def _joined(lines: Sequence[str], reader: LogReader) -> Iterator[Sequence[str]]:
    """As they are; each with those that go on with it; all of them as one: with a blank at the fold, or without."""
    yield lines
    if len(lines) < 2:
        return
    widest = max(map(len, lines))  # a terminal's width: a blank at its margin is lost in a file
    for glue in (" ", ""):
        if not glue:
            lines = [line + " " * (len(line) == widest - 1) for line in lines]
        made: list[str] = []
        for line in lines:
            goes_on = made and len(made[-1]) < limits.MAIL_LOG_LINE and not _begins(line, reader)
            if goes_on:
                made[-1] += glue + (line.strip() if glue else line)
            else:
                made.append(line)
        yield made
        if len(lines) <= _WHOLE:
            yield [glue.join(line.strip() if glue else line for line in lines)]


def _begins(line: str, reader: LogReader) -> bool:
    """Does a new line of a log begin here?"""
    line = bare(line)
    return line[:1].strip() != "" and (line_of(line).when is not None or reader.mta(line) != "")


def _worth(told: Sequence[Reading]) -> int:
    """How much is told: a place and a fate count most."""
    return sum(
        8 * (bool(each.phases) or each.fate == "delivered")
        + bool(each.queue_id) + bool(each.ip) + (each.when is not None)
        for each in told
        if each.fate not in ("received", "none")
    )  # fmt: skip
