"""What a mail server's own log says of a mail that is in a capture: evidence beside the packets, no second story."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smtpinspect.diagnose.model import Case, Reading
from smtpinspect.diagnose.reading.joined import agrees, bare
from smtpinspect.diagnose.reading.means import HOW, KINDS, elapsed, place, requeue
from smtpinspect.mta.words import iso
from smtpinspect.report.simulate_page import span

LINES: Final = 4
LONG: Final = 600  # characters of a line


def lines(case: Case) -> Iterator[str]:
    """Each line as it stands, and behind a line break what it says, and whether the packets say so."""
    for reading in case.log_lines[:LINES]:
        first = reading.line.splitlines()[0] if reading.line else ""
        quoted = first if len(first) <= LONG else f"{first[:LONG]}..."
        yield "\n".join([quoted, *_says(case, reading)])
    if len(case.log_lines) > LINES:
        yield f"and {len(case.log_lines) - LINES} more lines of this mail"


def _says(case: Case, reading: Reading) -> Iterator[str]:
    if reading.fate == "delivered":
        when = f", {iso(reading.when)} by its clock" if reading.when is not None else ""
        yield f"delivered{' at a later attempt' if case.failed else ''}{when}"
        return
    seen = case.observed.phase
    where = place(reading.phases)
    if where:
        how = HOW.get(reading.broken, "").partition(":")[0]
        said = "the system's error alone, which names no place" if bare(reading) and seen != "connect" else where
        yield f"it says: {said}{f'; {how}' if how else ''}"
        if case.observed.by_log and case.observed.silence >= 1 and reading.break_kind == "drop":
            yield f"so it waited {span(case.observed.silence)} in vain; the capture ends before"
        kind = case.observed.broken.kind
        other = reading.broken and kind in KINDS and kind not in reading.broken
        if agrees(case, reading) and other and seen != "connect":  # a FIN in reply to a SYN is ignored
            yield f"the packets show this place, yet {KINDS[kind]}: it may be of another attempt, or of another side"
        elif agrees(case, reading):
            more = seen is not None and (len(reading.phases) > 1 or said != where)
            yield "the packets agree, and tell the place closer" if more else "the packets agree"
        else:
            yield "the packets of this capture show another place: it may be of another attempt, or of another side"
    if reading.seconds is not None and (rule := elapsed(reading)):
        yield f"it took {span(reading.seconds)}: {rule}"
    fate = {"deferred": "it is tried again", "bounced": "it came back to its sender"}.get(reading.fate, "")
    if fate:
        again = requeue(reading) if reading.fate == "deferred" and reading.side == "sender" else ""
        yield f"{fate}{f'; at once: {again}' if again else ''}"
