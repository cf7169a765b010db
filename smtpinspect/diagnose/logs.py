"""Logs beside a diagnosis: lines about a mail of the capture go with it, the others are counted by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Diagnosis, Reading
from smtpinspect.diagnose.reading import NO_LINE, read_file, read_text
from smtpinspect.diagnose.reading.joined import Joiner
from smtpinspect.diagnose.reading.month import Counting, Month
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits

WITH_MAIL, FAILED, DELIVERED, IDLE = range(4)  # which readings are kept first
QUOTED: Final = 60  # characters of a line that is none


class Log(NamedTuple):
    """A file of lines, or the lines themselves, as they were named."""

    name: str
    readings: Iterable[Reading]


class Logged(NamedTuple):
    """`month`: the sum of what is not told with a mail of the capture; `apart`: these readings, as far as there is
    room; `joined`: failed attempts that are told with a mail; `faults`: why logs were not read to their end.
    """

    month: Month
    apart: tuple[Reading, ...]
    joined: int
    faults: tuple[CaptureError, ...]


class _Kept:
    """Readings with their number, some of each kind; in all no more than a limit."""

    def __init__(self) -> None:
        self._kinds: tuple[list[tuple[int, Reading]], ...] = ([], [], [], [])

    def add(self, kind: int, number: int, told: Reading) -> None:
        if len(self._kinds[kind]) < limits.DIAGNOSED_READINGS:
            self._kinds[kind].append((number, told))

    def apart(self) -> list[tuple[int, Reading]]:
        """All but what is told with a mail, as far as that leaves room."""
        some = [*self._kinds[FAILED], *self._kinds[DELIVERED], *self._kinds[IDLE]]
        return some[: limits.DIAGNOSED_READINGS - len(self._kinds[WITH_MAIL])]

    def all(self) -> list[tuple[int, Reading]]:
        return [*self._kinds[WITH_MAIL], *self.apart()]


def opened(logs: Sequence[str]) -> list[Log]:
    """Files, and lines that are given as such; nothing of a file is read yet. Raises UsageError for what is neither.

    Lines that are given one behind the other may be of one attempt; each must be one by itself.
    """
    found: list[Log] = []
    for lines, some in groupby(logs, lambda log: log != "-" and " " in log and not os.path.exists(log)):
        made = [Log(log, _readings(log)) for log in some]
        together = "\n".join(log.name for log in made)
        found += [Log(together, read_text(together))] if lines and len(made) > 1 else made
    return found


def _readings(log: str) -> Iterable[Reading]:
    if log == "-" or os.path.exists(log):
        return read_file(log, idle=True)
    if " " not in log and (os.sep in log or log.endswith((".log", ".gz", ".txt"))):
        raise UsageError(f"--log {log}: no such file")
    told = read_text(log)
    if not told:
        shown = log[:QUOTED].encode("unicode_escape").decode() + ("..." if len(log) > QUOTED else "")
        raise UsageError(f"--log '{shown}' is no file, and {NO_LINE}")
    return told


def read(made: Diagnosis, logs: Sequence[Log]) -> Logged:
    """Read them to their end, or to Ctrl-C; `made` gets the readings, each of its cases the lines about it.

    Raises UsageError for a file that cannot be opened, and where there is nothing to tell at all.
    """
    tally, joiner, kept = Counting(), Joiner(made.cases), _Kept()
    joined = number = 0
    faults: list[CaptureError] = []
    silent: list[str] = []
    try:
        for log in logs:
            before, strange = number, 0
            try:
                for told in log.readings:
                    if not told.mta and told.fate == "none":
                        strange += 1
                        continue
                    number += 1
                    if joiner.take(told):
                        joined += told.failed
                        kept.add(WITH_MAIL, number, told)
                    else:
                        tally.add(told)
                        idle = told.fate in ("received", "none")
                        kept.add(IDLE if idle else FAILED if told.failed else DELIVERED, number, told)
            except CaptureError as error:
                faults.append(error)
            else:
                silent += [log.name] if number == before else []
            if strange and number > before:
                made.notes.append(_unread(log.name, strange))
    except KeyboardInterrupt:
        made.notes.append("stopped while the log was read: what lies behind is not counted")
        made.stopped = True
    _nothing(made, silent, number)
    joiner.fill()
    made.readings = _in_order(kept.all())
    if any(case.failed for case in made.cases) and not any(case.log_lines for case in made.cases):
        made.unmatched.append("--log: no line is about a failed mail of the capture")
    return Logged(tally.month(), tuple(_in_order(kept.apart())), joined, tuple(faults))


def _unread(name: str, lines: int) -> str:
    which = "1 line that looks like a delivery was" if lines == 1 else f"{lines:,} lines that look like deliveries were"
    return f"{name}: {which} not read: the form is not known here, and what it tells is in no number"


def _in_order(numbered: Sequence[tuple[int, Reading]]) -> list[Reading]:
    return [told for _, told in sorted(numbered, key=lambda each: each[0])]


def _nothing(made: Diagnosis, silent: Sequence[str], readings: int) -> None:
    """Files without a line of a mail server: an error, unless there is something else to tell, or they are empty."""
    for log in silent:
        empty = log != "-" and os.path.isfile(log) and not os.path.getsize(log)
        told = f"{log}: it is empty" if empty else f"--log {log}: {NO_LINE}"
        if not (empty or made.cases or readings):
            raise UsageError(told)
        made.notes.append(told)
