"""Mail servers' logs, bounces and what providers quote: read back to the phase, the kind of break, the mail's fate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import files, pasted, years
from smtpinspect.diagnose.reading.bounces import is_bounce, is_message, read_bounce
from smtpinspect.diagnose.reading.dispatch import LogReader
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits

__all__ = ["NO_LINE", "read_bounce", "read_file", "read_line", "read_text", "recognise"]

# What is said where read_line has nothing to tell.
NO_LINE: Final = "no line of a mail server that is known: Exim, Postfix, Sendmail, OpenSMTPD, qmail, Exchange"
_SHORT: Final = 65_536  # octets of a file that may have been copied by hand


def read_line(text: str) -> Reading | None:
    """What a line tells, or several lines of one attempt, folded or quoted; None for no line of a mail server.

    Of several readings the last one counts that names a phase. A line that tells nothing of a delivery gives the fate
    "received" or "none".
    """
    told = read_text(text)
    told = [each for each in told if each.phases] or [each for each in told if each.fate != "none"] or told
    return told[-1] if told else None


def read_text(text: str) -> list[Reading]:
    """All that pasted lines tell, one or several, folded or quoted; also of those that are of no delivery."""
    return pasted.readings(text[:limits.PASTED].splitlines() or [text])


def read_file(source: files.LogInput, *, now: float | None = None, idle: bool = False) -> Iterator[Reading]:
    """A reading for each attempt, as its last line comes: delivered mails, too. "-" is standard input; packed or not.

    A file that holds a bounce gives what that tells. `idle`: also readings of the fates "received" and "none", for
    lines of a mail server that tell nothing of a delivery; with "none" and no MTA for one that looks like a
    delivery's, in a form that is not known.

    `now`: seconds since 1970, of which times without a year are the past; the order of a file's lines goes before.
    Raises UsageError for what cannot be opened; CaptureError, behind the readings before, where it cannot be read on.
    """
    log = files.Log(source)
    if is_bounce(log.head(limits.MAIL_LOG_HEAD)):
        bounce = log.head(limits.BOUNCE_OCTETS)
        log.close()
        yield from read_bounce(bounce, log.path)
        return
    if isinstance(source, (str, os.PathLike)) and source != "-" and os.path.isfile(source):
        now = years.anchor(source, now)
    short = log.head(_SHORT + 1)
    if len(short) <= _SHORT and not log.damaged:
        copied = list(files.of_octets(short))
        if pasted.is_folded(copied):
            log.close()
            told = pasted.readings(copied, lambda: LogReader(now))
            yield from (each for each in told if idle or each.fate not in ("received", "none"))
            if idle:
                yield from (Reading(line, fate="none") for line in pasted.strange(copied, told))
            return
    reader = LogReader(now)
    fault: CaptureError | None = None
    try:
        for line in files.lines(log):
            yield from reader.feed(line, idle=idle)
            if idle and reader.strange:
                yield Reading(line, fate="none")
    except CaptureError as error:
        fault = error
    yield from reader.rest()
    if fault is not None:
        raise fault


def recognise(head: bytes) -> bool:
    """Is this the beginning of a mail log, or of a bounce?"""
    if is_bounce(head[:limits.MAIL_LOG_HEAD]):
        return True
    if is_message(head):
        return False
    reader = LogReader()
    try:
        for line in files.of_octets(head[:limits.MAIL_LOG_HEAD]):
            if reader.knows(pasted.bare(line).strip()):
                return True
    except CaptureError:
        pass
    return False
