"""The firewall's own log beside a capture: lines joined with connections by 5-tuple and time."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert
from smtpinspect.diagnose.model import Case, Cause, Sign
from smtpinspect.diagnose.reading import files
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.logline import End, LogLine, clean, endpoint

SLACK: Final = 2.0  # seconds: a log counts whole ones, and writes a moment later
ZONE: Final = 900.0  # zones differ by quarters of an hour
FARTHEST: Final = 14.25 * 3600  # no zone is further from UTC; more is another day
VOTES: Final = 3  # connections that must agree before a clock may be further off
SHOWN: Final = 16  # lines of a connection that are kept as signs
BREAKS: Final = frozenset({"drop", "reset", "rewrite"})  # what a line says was done that may break a mail
QUOTED: Final = 240  # characters of a line that a sign quotes
_BSD: Final = re.compile(r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +(\d\d?) (\d\d):(\d\d):(\d\d)(?!\d)")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_NUMBER: Final = re.compile(r"(?<!\d)\d{2,5}(?!\d)")

Address = tuple[str, int]
Ends = frozenset[Address]


class Line(NamedTuple):
    """A line of the log: its number from 1, its text, what was understood (None: it is no alarm), when (s, UTC)."""

    number: int
    text: str
    parsed: LogLine | None
    when: float | None


class Log(NamedTuple):
    """What a log holds of the connections that were asked for, by their ends; `first` and `last`: when, over all;
    `fault`: why it was not read to its end.
    """

    name: str
    lines: int
    understood: int
    found: dict[Ends, list[Line]]
    first: float | None = None
    last: float | None = None
    fault: CaptureError | None = None


class Joined(NamedTuple):
    """`notes` are about the logs, `lines` those of each connection, by its flow_id; `fault`: of one of the logs."""

    notes: list[str]
    lines: dict[int, list[Line]]
    fault: CaptureError | None = None

    def causes(self, case: Case) -> list[Cause]:
        """What the firewall itself says that it did to this connection; nothing of a mail without a failure."""
        made: dict[str, Cause] = {}
        for line in self.lines.get(case.flow.flow_id, ()) if case.failed else ():
            if line.parsed is None or line.parsed.action not in BREAKS:
                continue
            cause = _cause(case, line.parsed, _sign(line))
            before = made.get(cause.cause)
            made[cause.cause] = cause if before is None else before._replace(evidence=before.evidence + cause.evidence)
        # that the connection was ended says less than why
        named = [cause for cause in made.values() if "." in cause.cause]
        return named or list(made.values())


def join(cases: Sequence[Case], paths: Iterable[str]) -> Joined:
    """Fill `logged` of the cases from these files, plain or packed. Raises UsageError for what cannot be opened."""
    flows = {case.flow.flow_id: case for case in cases}
    notes: list[str] = []
    joined: dict[int, list[Line]] = {}
    silent: set[int] = set()
    fault: CaptureError | None = None
    for path in paths:
        log = read(path, flows.values())
        fault = fault or log.fault
        offset, told = _clock(log, flows.values())
        notes.append(told)
        for flow_id, case in flows.items():
            mine = [line for line in log.found.get(_ends(case), ()) if _meets(line, case, offset)]
            joined.setdefault(flow_id, []).extend(mine)
            begin, end = case.flow.start_ns / 1e9 + offset, case.flow.end_ns / 1e9 + offset
            if log.first is not None and log.last is not None and log.first <= end and begin <= log.last:
                silent.add(flow_id)
    for case in cases:
        lines = joined.get(case.flow.flow_id, [])
        case.logged = tuple(_sign(line) for line in lines[:SHOWN])
        if lines and not any(line.parsed is not None and line.parsed.action in BREAKS for line in lines):
            case.logged += (Sign(None, "the log has this connection, but no alarm that stopped anything"),)
        elif not lines and case.flow.flow_id in silent:
            case.logged = (Sign(None, "the log goes over this time, and has no line of this connection"),)
    return Joined(notes, joined, fault)


# --- reading


def read(path: str, cases: Iterable[Case]) -> Log:
    """The lines of the connections of these cases. Raises UsageError for a file that cannot be opened."""
    about = next((case.flow.start_ns / 1e9 for case in cases), 0.0)
    wanted = {_ends(case) for case in cases}
    addresses: dict[frozenset[str], set[Ends]] = {}
    for ends in wanted:
        addresses.setdefault(frozenset(address for address, _ in ends), set()).add(ends)
    readers = [_reader(name) for name in registry.BUILT_IN]
    found: dict[Ends, list[Line]] = {}
    lines = understood = 0
    first = last = fault = None
    try:
        for lines, text in enumerate(files.lines(path), 1):
            parsed = next((made for made in (reader(text) for reader in readers) if made is not None), None)
            when = _when(text, parsed, about)
            if when is not None:
                first = when if first is None else min(first, when)
                last = when if last is None else max(last, when)
            understood += parsed is not None
            for ends in _about(text, parsed, wanted, addresses):
                kept = found.setdefault(ends, [])
                if len(kept) < limits.LOG_JOINED:
                    kept.append(Line(lines, text, parsed, when))
    except CaptureError as error:
        fault = error
    return Log(Path(path).name, lines, understood, found, first, last, fault)


def _reader(product: str) -> Callable[[str], LogLine | None]:
    made: Callable[[str], LogLine | None] = importlib.import_module(f"smtpinspect.inspectors.{product}.logs").parse
    return made


def _when(text: str, parsed: LogLine | None, about: float) -> float | None:
    """Of a line without a year (RFC 3164 4.1.2), the one in which it is nearest to the capture."""
    if parsed is not None and parsed.time is not None:
        return parsed.time.timestamp()
    found = _BSD.search(text[:80])
    if found is None:
        return None
    month, day, *clock = found.groups()
    hour, minute, second = map(int, clock)
    year = datetime.fromtimestamp(about, UTC).year
    told = []
    for each in (year - 1, year, year + 1):
        with suppress(ValueError):
            when = datetime(each, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
            told.append(when.timestamp())
    return min(told, key=lambda when: abs(when - about), default=None)


def _about(
    text: str, parsed: LogLine | None, wanted: set[Ends], addresses: dict[frozenset[str], set[Ends]]
) -> Iterator[Ends]:
    """The connections that a line speaks of: by both ends, by both addresses where it has no ports."""
    if parsed is not None and parsed.source is not None and parsed.destination is not None:
        one, two = _end(parsed.source), _end(parsed.destination)
        if one[1] and two[1]:
            if frozenset((one, two)) in wanted:
                yield frozenset((one, two))
        else:
            yield from addresses.get(frozenset((one[0], two[0])), ())
    elif parsed is None:
        told = frozenset(_IPV4.findall(text))
        if len(told) < 2:
            return
        ports = {int(number) for number in _NUMBER.findall(text)}
        for pair, many in addresses.items():
            if pair <= told:
                yield from (ends for ends in many if all(port in ports for _, port in ends))


def _end(end: End) -> Address:
    return _address(end.address), end.port


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _ends(case: Case) -> Ends:
    return frozenset((_address(address), port) for address, port in map(endpoint, (case.flow.client, case.flow.server)))


# --- time


def _clock(log: Log, cases: Iterable[Case]) -> tuple[float, str]:
    """By how many seconds the log's clock is ahead of the capture's, and what is to be said of the log."""
    spans: list[tuple[int, float, float]] = []
    for case in cases:
        begin, end = case.flow.start_ns / 1e9, case.flow.end_ns / 1e9
        for line in log.found.get(_ends(case), ()):
            if line.when is not None and line.parsed is not None:
                spans.append((case.flow.flow_id, line.when - end - SLACK, line.when - begin + SLACK))
    spans = spans[: limits.LOG_JOINED]
    best, votes = 0.0, 0
    for offset in sorted({0.0, *(_offset(low, high) for _, low, high in spans)}, key=abs):
        agree = {flow_id for flow_id, low, high in spans if low <= offset <= high}
        if len(agree) > votes and (abs(offset) <= FARTHEST or len(agree) >= VOTES):
            best, votes = offset, len(agree)
    about = sum(len(lines) for lines in log.found.values())
    told = f"{log.name}: {log.lines:,} lines, {log.understood:,} of them alarms; {about:,} about this capture"
    return best, told + _ahead(best) if about else told


def _offset(low: float, high: float) -> float:
    """The clock's error in this span: whole zones where one fits, else the least."""
    if low <= 0 <= high:
        return 0.0
    zone = round((low + high) / 2 / ZONE) * ZONE
    return zone if low <= zone <= high else (low + high) / 2


def _ahead(offset: float) -> str:
    if not offset:
        return ""
    way = "ahead of" if offset > 0 else "behind"
    zone = round(offset / ZONE) * ZONE
    if abs(offset - zone) > SLACK or abs(zone) > FARTHEST:
        return f"; its clock is some {abs(offset):,.0f} seconds {way} the capture's"
    hours, minutes = divmod(int(abs(zone)) // 60, 60)
    return f"; its clock is {hours}:{minutes:02d} h {way} the capture's: another zone"


def _meets(line: Line, case: Case, offset: float) -> bool:
    """Is the line of this connection, and not of another one between the same ends?"""
    if line.when is None:
        return True
    at = line.when - offset
    return case.flow.start_ns / 1e9 - SLACK <= at <= case.flow.end_ns / 1e9 + SLACK


# --- what it says


def _sign(line: Line) -> Sign:
    return Sign(None, f"line {line.number:,}: {clean(line.text, QUOTED)}", "log")


def _cause(case: Case, told: LogLine, sign: Sign) -> Cause:
    """The rule that the line names; of several that it may mean, the one that fires here."""
    alert: Alert | None = next((each for each in case.alerts if told.rule and _same(each.rule, told.rule)), None)
    return Cause(
        cause=alert.rule if alert else told.rule or told.product,
        kind="rule",
        confidence="certain",
        title=alert.title if alert else clean(told.text, 120),
        evidence=(sign,),
        degree="confirmed",
        alert=alert,
        inspector=alert.inspector if alert else told.product,
        product=told.product,
    )


def _same(rule: str, told: str) -> bool:
    return rule == told or rule.startswith(f"{told}.")
