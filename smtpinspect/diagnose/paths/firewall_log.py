"""The firewall's own log beside a capture: lines joined with connections by 5-tuple and time."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice, permutations
from pathlib import Path
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert
from smtpinspect.diagnose.model import CONFIDENCE, Case, Cause, Confidence, Sign
from smtpinspect.diagnose.paths.firewall_lines import (
    DRIFT,
    SLACK,
    Address,
    Ends,
    Translations,
    address,
    contradicted,
    ends_of,
    hosts_of,
    stops,
    unlike,
)
from smtpinspect.diagnose.reading import files, recognise
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.logline import LogLine, endpoint

ZONE: Final = 900.0  # zones differ by quarters of an hour
FARTHEST: Final = 14.25 * 3600  # no zone is further from UTC; more is another day
HOUR: Final = 3_600.0
VOTES: Final = 3  # connections that must agree before a clock may be further off
SHOWN: Final = 16  # lines of a connection that are kept as signs
QUOTED: Final = 1_000  # characters of a line that a sign quotes; syslog over UDP seldom has more
UNNAMED: Final = "its inspection ended this connection; the line names no rule"
NO_PORTS: Final = "it names no ports: it may be of another connection between these hosts"
PRODUCTS: Final = "Cisco ASA, Stormshield, SonicWall"
_BSD: Final = re.compile(r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +(\d\d?) (\d\d):(\d\d):(\d\d)(?!\d)")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIRST: Final = 100  # lines that tell whose log it is
_MESSAGE: Final = re.compile(r"%(?:ASA|FWSM|PIX)-(?:\w+-)?\d-\d{6}|\bid=firewall (?:time|sn)=")
_IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_NUMBER: Final = re.compile(r"(?<!\d)\d{2,5}(?!\d)")


class Line(NamedTuple):
    """A line of the log: its number from 1, its text, what was understood (None: it is no alarm), when (s, UTC);
    `doubt`: why it may be of another connection; `at`: when by the capture's clock, where that is known to a minute.
    """

    number: int
    text: str
    parsed: LogLine | None
    when: float | None
    doubt: str = ""
    at: float | None = None


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
    mails: bool = False  # its lines are a mail server's


class Joined(NamedTuple):
    """`notes` are about the logs, `unmatched` about those without a line of any connection, `lines`
    those of each connection, by its flow_id; `fault`: of one of the logs."""

    notes: list[str]
    lines: dict[int, list[Line]]
    fault: CaptureError | None = None
    doubts: dict[int, Sign] = {}  # by flow_id: why its lines may be another connection's
    unmatched: tuple[str, ...] = ()

    def causes(self, case: Case) -> list[Cause]:
        """What the firewall itself says that it did to this connection; nothing of a mail without a failure."""
        made: dict[str, Cause] = {}
        flow_id = case.flow.flow_id
        for line in self.lines.get(flow_id, ()) if case.failed else ():
            if line.parsed is None or not stops(line.parsed) or contradicted(case, line.parsed, line.at):
                continue
            cause = _cause(case, line.parsed, _sign(line))
            confidence, doubt = unlike(case, line.parsed, line.at)
            doubts = [self.doubts[flow_id]] if flow_id in self.doubts else []
            doubts += [Sign(None, text, "log") for text in (line.doubt, doubt) if text]
            if doubts:
                least: Confidence = "likely" if confidence == "certain" else confidence
                cause = cause._replace(confidence=least, evidence=(*cause.evidence, *doubts))
            before = made.get(cause.cause)
            if before is not None:
                sure = min(cause, before, key=lambda each: [*CONFIDENCE].index(each.confidence))
                cause = sure._replace(evidence=before.evidence + cause.evidence)
            made[cause.cause] = cause
        # that the connection was ended says less than why
        named = [cause for cause in made.values() if "." in cause.cause]
        return named or list(made.values())


def join(cases: Sequence[Case], paths: Iterable[str]) -> Joined:
    """Fill `logged` of the cases from these files, plain or packed. Raises UsageError for what cannot be opened."""
    flows = {case.flow.flow_id: case for case in cases}
    notes: list[str] = []
    unmatched: list[str] = []
    joined: dict[int, list[Line]] = {}
    silent: set[int] = set()
    fault: CaptureError | None = None
    doubts: dict[int, Sign] = {}
    for path in paths:
        log = read(path, flows.values())
        fault = fault or log.fault
        offset, sure, told = _clock(log, flows.values())
        met: set[int] = set()
        for flow_id, case in flows.items():
            clock = offset if sure and _is_zone(offset) else None
            mine = [_at(line, clock) for line in log.found.get(_ends(case), ()) if _meets(line, case, offset)]
            met.update(line.number for line in mine)
            if mine and not sure:
                text = f"its clock would be {_hours(offset)} off: the line may be of another connection"
                doubts[flow_id] = Sign(None, text, "log")
            joined.setdefault(flow_id, []).extend(mine)
            begin, end = case.flow.start_ns / 1e9 + offset, case.flow.end_ns / 1e9 + offset
            if log.first is not None and log.last is not None and log.first <= end and begin <= log.last:
                silent.add(flow_id)
        (notes if met or not flows else unmatched).append(told)
        notes += _elsewhen(log, flows.values(), offset, met)
        notes += _accepted(log, cases, met)
    for case in cases:
        lines = joined.get(case.flow.flow_id, [])
        case.logged = (*(_sign(line) for line in lines[:SHOWN]), *objections(case, lines[:SHOWN]))
        if lines and not any(line.parsed is not None and stops(line.parsed) for line in lines):
            text = "the log has this connection, but no alarm of an inspection that stopped anything"
            case.logged += (Sign(None, text),)
        elif not lines and case.flow.flow_id in silent:
            case.logged = (Sign(None, "the log goes over this time, and has no line of this connection"),)
    return Joined(notes, joined, fault, doubts, tuple(unmatched))


def objections(case: Case, lines: Iterable[Line]) -> list[Sign]:
    """What the capture says against lines of its log."""
    told = ((line, contradicted(case, line.parsed, line.at)) for line in lines if line.parsed is not None)
    return [Sign(None, f"line {line.number:,} is contradicted by the capture: {why}") for line, why in told if why]


def _at(line: Line, offset: float | None) -> Line:
    return line if line.when is None or offset is None else line._replace(at=line.when - offset)


def _accepted(log: Log, cases: Sequence[Case], met: set[int]) -> Iterator[str]:
    """Lines that say that a connection was stopped all of whose mails were accepted: the first one."""
    failed = {case.flow.flow_id for case in cases if case.failed or case.observed.outcome != "accepted"}
    found: dict[int, Case] = {}
    for case in cases:
        for line in log.found.get(_ends(case), ()) if case.flow.flow_id not in failed else ():
            told = line.parsed if line.number in met and not line.doubt else None
            if told is not None and stops(told) and told.action != "rewrite":
                found[line.number] = case
    if found:
        number, case = next(iter(found.items()))
        more = f" (and {len(found) - 1:,} more such lines)" if len(found) > 1 else ""
        ends = f"{case.flow.client} to {case.flow.server}"
        yield f"{log.name}: line {number:,} says that an inspection stopped {ends}, whose mail was accepted here{more}"


# --- reading


def read(path: str, cases: Iterable[Case]) -> Log:
    """The lines of the connections of these cases. Raises UsageError for a file that cannot be opened."""
    about = next((case.flow.start_ns / 1e9 for case in cases), 0.0)
    wanted = {_ends(case) for case in cases}
    meant = _Wanted(wanted)
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
            for ends, doubt in meant.by(text, parsed):
                kept = found.setdefault(ends, [])
                if len(kept) < limits.LOG_JOINED:
                    kept.append(Line(lines, text, parsed, when, doubt))
    except CaptureError as error:
        fault = error
    return Log(Path(path).name, lines, understood, found, first, last, fault, not understood and _of_mails(path))


def is_firewall_log(head: bytes) -> bool:
    """Is this the beginning of a firewall's log? An alarm, or another message of a product, is in its first lines."""
    readers = [_reader(name) for name in registry.BUILT_IN]
    try:
        lines = islice(files.of_octets(head), _FIRST)
        return any(_MESSAGE.search(line) or any(reader(line) is not None for reader in readers) for line in lines)
    except CaptureError:
        return False


def _of_mails(path: str) -> bool:
    return path != "-" and recognise(files.head(path, limits.MAIL_LOG_HEAD))


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


class _Wanted:
    """The connections of which a log's lines are wanted."""

    def __init__(self, wanted: set[Ends]) -> None:
        self._wanted = wanted
        self._translations = Translations(wanted)
        self._hosts: dict[frozenset[str], set[Ends]] = {}
        self._half: dict[tuple[Address, int], set[Ends]] = {}  # by one end, and the other's port
        for ends in wanted:
            self._hosts.setdefault(frozenset(host for host, _ in ends), set()).add(ends)
            for one, two in permutations(ends):
                self._half.setdefault((one, two[1]), set()).add(ends)

    def by(self, text: str, parsed: LogLine | None) -> Iterator[tuple[Ends, str]]:
        """Those that a line speaks of, and why it may speak of another one."""
        if parsed is None:
            built = self._translations.built(text)
            yield from ((ends, "") for ends in ({built} if built else self._named(text)))
            return
        told = list(ends_of(parsed))
        for ends in told:
            mine = self._translations.wanted(parsed, ends)
            if mine is not None:
                yield mine, ""
                return
        for ends in self._hosts.get(hosts_of(parsed), ()):
            yield ends, NO_PORTS
        if told and stops(parsed) and not any(ends in self._translations for ends in told):
            yield from self._half_named(told[0])

    def _half_named(self, told: Ends) -> Iterator[tuple[Ends, str]]:
        """By the client's address and port, and the server's port: the server may stand behind another address."""
        for one, two in permutations(told):
            if one[1] < two[1]:
                continue  # the client's port is the higher one
            for ends in self._half.get((one, two[1]), ()):
                other = next(host for host, port in ends if (host, port) != one)
                text = f"it names {two[0]} instead of {other}, and no line of the log joins the two"
                yield ends, f"{text}: translated, or another connection"

    def _named(self, text: str) -> Iterator[Ends]:
        """By the addresses and ports that stand in a line of unknown form."""
        told = frozenset(_IPV4.findall(text))
        if len(told) < 2:
            return
        ports = {int(number) for number in _NUMBER.findall(text)}
        for pair, many in self._hosts.items():
            if pair <= told:
                yield from (ends for ends in many if all(port in ports for _, port in ends))


def _ends(case: Case) -> Ends:
    return frozenset((address(host), port) for host, port in map(endpoint, (case.flow.client, case.flow.server)))


# --- time


def _clock(log: Log, cases: Iterable[Case]) -> tuple[float, bool, str]:
    """By how many seconds the log's clock is ahead of the capture's, whether that is beyond doubt, and what is to be
    said of the log.

    One connection shifts it by a zone only, and a minute besides; any other clock needs `VOTES` that agree.
    """
    spans: list[tuple[int, float, float]] = []
    for case in cases:
        begin, end = case.flow.start_ns / 1e9, case.flow.end_ns / 1e9
        for line in log.found.get(_ends(case), ()):
            if line.when is not None and line.parsed is not None and line.doubt in ("", NO_PORTS):
                spans.append((case.flow.flow_id, line.when - end - SLACK, line.when - begin + SLACK))
    spans = spans[: limits.LOG_JOINED]
    best, votes, met = 0.0, 0, 0
    for offset in sorted({0.0, *(_offset(low, high) for _, low, high in spans)}, key=abs):
        within = [flow_id for flow_id, low, high in spans if low <= offset <= high]
        agree = len(set(within))
        if agree > votes and (_is_zone(offset) or agree >= VOTES):
            best, votes, met = offset, agree, len(within)
    about = sum(len(lines) for lines in log.found.values())
    told = f"{log.name}: {log.lines:,} line{'s' * (log.lines != 1)}, alarms among them: {log.understood:,}; "
    told += f"about this capture: {about:,}"
    if not log.lines and log.fault is None:
        told = f"{log.name}: it is empty"
    elif not log.understood and not about:
        told = f"{log.name}: no line of a firewall's log that is known ({PRODUCTS})"
        told += f"; it is a mail server's: give it with --log {log.name}" if log.mails else ""
    # a line of the same ports at a third time may as well be of the connection that was captured
    whole = abs(best - round(best / HOUR) * HOUR) <= DRIFT and abs(best) <= 14 * HOUR + DRIFT and met == len(spans)
    sure = abs(best) <= DRIFT or votes > 1 or whole
    return best, sure, told + _ahead(best) if about else told


def _is_zone(offset: float) -> bool:
    zone = round(offset / ZONE) * ZONE
    return abs(offset - zone) <= DRIFT and abs(zone) <= FARTHEST


def _offset(low: float, high: float) -> float:
    """The clock's error in this span: whole zones where one fits, else the least."""
    if low <= 0 <= high:
        return 0.0
    zone = round((low + high) / 2 / ZONE) * ZONE
    if low <= zone <= high:
        return zone
    early, late = low + SLACK / 2, high - SLACK / 2  # not at the border itself
    return early if early - early // ZONE * ZONE <= -(-late // ZONE) * ZONE - late else late


def _hours(seconds: float) -> str:
    hours, rest = divmod(round(abs(seconds)), 3_600)
    return f"{hours}:{rest // 60:02d} h"


def _ahead(offset: float) -> str:
    if not offset:
        return ""
    way = "ahead of" if offset > 0 else "behind"
    zone = round(offset / ZONE) * ZONE
    if abs(offset - zone) > SLACK or abs(zone) > FARTHEST:
        return f"; its clock is some {abs(offset):,.0f} seconds {way} the capture's"
    return f"; its clock is {_hours(zone)} {way} the capture's: another zone"


def _elsewhen(log: Log, cases: Iterable[Case], offset: float, met: set[int]) -> Iterator[str]:
    """Of lines with the ports of a connection, at a time that is not its own: the first one."""
    for case in cases:
        for line in log.found.get(_ends(case), ()):
            if line.parsed is None or line.when is None or line.number in met or line.doubt:
                continue
            apart = line.when - offset - case.flow.start_ns / 1e9
            way = "after" if apart > 0 else "before"
            when = f"{_hours(apart)} {way} {case.flow.client} to {case.flow.server} began"
            yield f"{log.name}: line {line.number:,} has the same ports at another time, {when}; it was not joined"
            return


def _meets(line: Line, case: Case, offset: float) -> bool:
    """Is the line of this connection, and not of another one between the same ends?"""
    if line.when is None:
        return True
    at = line.when - offset
    return case.flow.start_ns / 1e9 - SLACK <= at <= case.flow.end_ns / 1e9 + SLACK


# --- what it says


def _sign(line: Line) -> Sign:
    """Word for word; what is too long ends with three dots."""
    text = line.text if len(line.text) <= QUOTED else f"{line.text[:QUOTED]}..."
    return Sign(None, f"line {line.number:,}: {text}", "log")


def _cause(case: Case, told: LogLine, sign: Sign) -> Cause:
    """The rule that the line names; of several that it may mean, the one that fires here."""
    alert: Alert | None = next((each for each in case.alerts if told.rule and _same(each.rule, told.rule)), None)
    return Cause(
        cause=alert.rule if alert else told.rule or told.product,
        kind="rule",
        confidence="certain",
        title=alert.title if alert else _title(told),
        evidence=(sign,),
        degree="confirmed",
        alert=alert,
        inspector=alert.inspector if alert else told.product,
        product=told.product,
    )


def _title(told: LogLine) -> str:
    if not told.rule:
        return UNNAMED
    return told.text if len(told.text) <= 120 else f"{told.text[:120].rpartition(' ')[0]} ..."


def _same(rule: str, told: str) -> bool:
    return rule == told or rule.startswith(f"{told}.")
