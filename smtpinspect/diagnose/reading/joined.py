"""Which lines of a mail server's log are about which mail of a capture."""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from calendar import timegm
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smtpinspect.diagnose.model import Case, Reading
from smtpinspect.diagnose.reading.lines import NO_YEAR
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.simulate.clock import SECOND

NEAR: Final = 30.0  # seconds that a line may come behind the last packet of its attempt
EARLY: Final = 2.0  # a log counts whole seconds
WAIT: Final = 3_660.0  # no sender waits longer for a reply that never comes (Sendmail's Timeout.datafinal)
ZONE: Final = 900.0  # a log without a zone is off by a multiple of a quarter of an hour
FARTHEST: Final = 14.25 * 3_600
CLOSE: Final = 5.0  # seconds off the end, of a line in another zone
_ZONES: Final = tuple(n * ZONE for n in range(-round(FARTHEST / ZONE), round(FARTHEST / ZONE) + 1) if n)
_LITTLE: Final = 0.001  # seconds: sums of them are not exact
FEW: Final = 64  # mails among which a line without an address may find its own
_PHRASE: Final = re.compile(r"\b(MAIL FROM|RCPT TO):<([^>]*)>")
_UNTOLD: Final = ("unknown", "aborted", "encrypted")


class Joiner:
    """Takes readings as they come; each goes to the one mail that it fits best, if any.

    It has this server's address (a receiver's line: the client's), and this mail's sender, recipient and Message-ID
    where both know them. Where it has a time, it lies behind the beginning of the connection and near its end, or as
    long behind it as a sender waits; or it is off by a time zone. Without a time it must be the only such mail. A line
    that tells of a later delivery of that mail goes with it.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._by_peer: dict[tuple[str, str], _Peer] = {}  # an address, and a recipient ("": all)
        self._found: dict[int, list[Reading]] = {}
        self._queued: dict[tuple[str, str], Case] = {}
        self._ended: dict[tuple[int, str], float] = {}
        for case in cases:
            names = _names(case)[1]
            for address in set(case.path):
                for name in {"", *(names or ("-",))}:
                    self._by_peer.setdefault((address, name), _Peer()).cases.append(case)

    def take(self, reading: Reading) -> bool:
        """Is it told with a mail that has failed?"""
        if not self._cases or reading.fate in ("received", "none") or reading.waiting:
            return False
        key = (reading.queue_id, reading.recipient)
        best = _best(self._near(reading), reading)
        if best is None and reading.fate == "delivered" and reading.queue_id:
            best = self._queued.get(key)
        if best is None or (reading.failed and not self._one_attempt(best, reading)):
            return False
        found = self._found.setdefault(id(best), [])
        if bare(reading) and any(each.failed and each.queue_id == reading.queue_id for each in found):
            return best.failed  # what another line says better
        if len(found) < limits.LOG_JOINED:
            found.append(_without_chunks(best, reading))
            if reading.failed and reading.queue_id:
                self._queued[key] = best
        return best.failed

    def _one_attempt(self, case: Case, reading: Reading) -> bool:
        """Are the lines of this side that the mail has so far of the same time? An attempt ends once."""
        if reading.when is None:
            return True
        first = self._ended.setdefault((id(case), reading.side), reading.when)
        return abs(reading.when - first) <= NEAR

    def fill(self) -> None:
        """Write `case.log_lines`."""
        for case in self._cases:
            case.log_lines = tuple(self._found.get(id(case), ()))

    def _near(self, reading: Reading) -> Iterator[Case]:
        if not reading.ip:
            return iter(self._cases if len(self._cases) <= FEW else ())
        names: tuple[str, ...] = ("",)
        if reading.recipient:
            names = (*reading.recipient.lower().split(","), "-")  # "-": a mail whose recipients are not known
        peers = (self._by_peer.get((reading.ip, name)) for name in names)
        return (case for peer in peers if peer is not None for case in peer.around(reading))


class _Peer:
    """The mails of one address and recipient. Of many, those are found whose time may be a line's (`_apart`)."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self._begins: list[tuple[float, int]] = []  # in seconds, with their places among the cases; sorted
        self._ends: list[tuple[float, int]] = []
        self._longest = 0.0

    def around(self, reading: Reading) -> Iterator[Case]:
        """In the order in which they were added."""
        if reading.when is None or len(self.cases) <= FEW:
            yield from self.cases
            return
        if len(self._begins) < len(self.cases):
            self._begins = sorted((case.flow.start_ns / SECOND, n) for n, case in enumerate(self.cases))
            self._ends = sorted((case.flow.end_ns / SECOND, n) for n, case in enumerate(self.cases))
            self._longest = max((case.flow.end_ns - case.flow.start_ns) / SECOND for case in self.cases)
        when = _when(reading, self._begins[0][0])
        found = {*_within(self._begins, when - NEAR - self._longest, when + EARLY)}
        if "drop" in reading.broken:
            found.update(_within(self._ends, when - WAIT, when))
        if reading.seconds is not None:
            found.update(_within(self._begins, when - reading.seconds - NEAR, when - reading.seconds + NEAR))
        for zone in _ZONES if reading.local else ():
            found.update(_within(self._ends, when - zone - CLOSE, when - zone + CLOSE))
            if reading.seconds is not None:
                begun = when - reading.seconds - zone
                found.update(_within(self._begins, begun - CLOSE, begun + CLOSE))
        yield from (self.cases[n] for n in sorted(found))


def _within(times: Sequence[tuple[float, int]], first: float, last: float) -> Iterator[int]:
    """The places of what lies between these seconds, a little more than that."""
    for at in range(bisect_left(times, (first - _LITTLE, -1)), len(times)):
        moment, n = times[at]
        if moment > last + _LITTLE:
            return
        yield n


def _best(cases: Iterable[Case], reading: Reading) -> Case | None:
    fitting = [case for case in cases if _same(case, reading)]
    if reading.when is None:
        mails = {(case.path, *_names(case)) for case in fitting}
        return fitting[0] if len(mails) == 1 and (reading.ip or len(fitting) == 1) else None
    found = [(apart, n) for n, case in enumerate(fitting) if (apart := _apart(case, reading)) is not None]
    return fitting[min(found)[1]] if found else None


def _same(case: Case, reading: Reading) -> bool:
    """May it be this mail, whenever it was?"""
    if reading.ip and reading.ip != case.path[reading.side == "sender"]:
        return False
    untold = case.observed.outcome in _UNTOLD
    if not (untold or case.failed if reading.failed else untold or case.observed.outcome == "accepted"):
        return False
    sender, recipients, number = _names(case)
    for command, address in _PHRASE.findall(reading.text):
        known = recipients if command == "RCPT TO" else (sender,) if sender else ()
        if known and address.lower() not in known:
            return False
    return (
        (not reading.recipient or not recipients or bool({*reading.recipient.lower().split(",")} & {*recipients}))
        and (not reading.sender or not sender or reading.sender.lower() == sender)
        and (not reading.message_id or not number or reading.message_id == number)
    )


def agrees(case: Case, reading: Reading) -> bool:
    """Does the capture show the break at a place that the line may mean?"""
    seen = case.observed
    if seen.phase is None or bare(reading):
        return seen.phase is None or seen.broken.kind in reading.broken
    return seen.phase in reading.phases


def bare(reading: Reading) -> bool:
    """Is it Exim's line of a recipient with the system's error alone, and no host? That names no place."""
    return reading.mta == "exim" and reading.phases == ("connect",) and not reading.ip and bool(reading.recipient)


def _without_chunks(case: Case, reading: Reading) -> Reading:
    """Only with CHUNKING text goes out before the replies to MAIL and RCPT are read; this mail went out by DATA."""
    mail = case.transaction
    sent = mail is not None and mail.data is not None and not mail.chunks
    if not sent or reading.mta != "exim" or not _PHRASE.search(reading.text):
        return reading
    left = tuple(phase for phase in reading.phases if phase not in IN_TEXT)
    return reading._replace(phases=left, duplicate_risk=False) if left != reading.phases else reading


def _names(case: Case) -> tuple[str, tuple[str, ...], str]:
    mail = case.mail
    if mail is None:
        return "", (), ""
    number = (mail.message_id or "").strip("<>")
    return (mail.mail_from or "").lower(), tuple(each.lower() for each in mail.rcpt_to), number


def _apart(case: Case, reading: Reading) -> float | None:
    """How far the line's time is from where this attempt's would be, in seconds; None for that of another attempt."""
    begin, end = case.flow.start_ns / SECOND, case.flow.end_ns / SECOND
    when = _when(reading, begin)
    begun = None if reading.seconds is None else abs(when - reading.seconds - begin)
    if begun is not None and begun <= NEAR:
        return begun
    if begin - EARLY <= when <= end + NEAR:
        return abs(when - end)
    if "drop" in reading.broken and end < when <= end + WAIT and (begun is None or reading.seconds == 0):
        return when - end
    if not reading.local:
        return None
    spans = [when - end] if reading.seconds is None else [when - end, when - reading.seconds - begin]
    zones = [(abs(span - zone), abs(zone)) for span in spans if (zone := round(span / ZONE) * ZONE)]
    near = [off + WAIT for off, zone in zones if off <= CLOSE and zone <= FARTHEST]
    return min(near, default=None)


def _when(reading: Reading, about: float) -> float:
    """Of a time without a year (RFC 3164 4.1.2), the one that is nearest to the capture."""
    when = reading.when or 0.0
    if not NO_YEAR.match(reading.line):
        return when
    moment, year = time.gmtime(when), time.gmtime(about).tm_year
    tried = [timegm((each, *moment[1:6])) for each in (year - 1, year, year + 1)]
    return float(min(tried, key=lambda each: abs(each - about)))
