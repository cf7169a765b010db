"""The year of times without one (RFC 3164): the order of the lines in their file decides."""

from __future__ import annotations

import os
import re
import time
from typing import Final

from smtpinspect.diagnose.reading import files
from smtpinspect.diagnose.reading.lines import AHEAD, LEAD, bsd_time
from smtpinspect.errors import CaptureError

_DAY: Final = 86_400
_HALF: Final = 183 * _DAY
_PIECE: Final = 65_536  # octets at both ends of a file in which its first and last time are looked for
_STAMP: Final = re.compile(LEAD + r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)")
_TIME: Final = re.compile(b"^" + _STAMP.pattern.encode(), re.MULTILINE)


def anchor(path: str | os.PathLike[str], now: float | None) -> float | None:
    """The time of which the times in this file are the past: `now`, or another one where its lines run in order.

    Between the first and the last line the year turns once at most, and the last one is not in the future. Raises
    UsageError for what cannot be opened.
    """
    log = files.Log(path)
    head = log.head(_PIECE)
    log.close()
    begins = _TIME.search(head)
    if begins is None:
        return now
    ends = _TIME.findall(files.tail(path, _PIECE) if len(head) == _PIECE else head)
    today = time.time() if now is None else now
    last = bsd_time(ends[-1].decode(), today) if ends else None
    if last is None:
        return now
    year = time.gmtime(last).tm_year
    first = bsd_time(f"{begins[1][:6].decode()} {year}{begins[1][6:].decode()}")
    if first is None:
        return now
    if first <= last:  # all of one year
        return now if year == time.gmtime(today).tm_year else _end_of(year)
    if first - last < _HALF and not _turns_once(path):
        return now  # files that were put together
    return last + (first - last) / 2 - AHEAD * _DAY


def _end_of(year: int) -> float:
    return bsd_time(f"Dec 31 {year} 00:00:00") or 0.0


def _turns_once(path: str | os.PathLike[str]) -> bool:
    """Do the days run in order but for one step, from the end of a year to the beginning of the next?"""
    before, stamp, turns = None, "", 0
    try:
        for line in files.lines(path):
            found = _STAMP.match(line)
            if found is None or found[1][:6] == stamp:
                continue
            stamp = found[1][:6]
            day = bsd_time(f"{stamp} 2000 00:00:00")  # a leap year
            if day is None:
                continue
            if before is not None and day < before - _DAY:
                turns += 1
                if turns > 1 or before - day < _HALF:
                    return False
            before = day
    except CaptureError:
        pass
    return turns == 1
