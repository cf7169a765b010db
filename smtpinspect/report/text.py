"""`replay` for people: a table of mails, what was seen and what would happen, the evidence, sums, what to do next.

Memory does not grow with the capture: a limited number of mails is kept in full, the others are counted.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from smtpinspect._core.views import Alert, Flow, Mail, excerpt

from smtpinspect.actions import Strength
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import linktypes

if TYPE_CHECKING:
    from smtpinspect.engine import Record, Stats
    from smtpinspect.inspectors.base import Inspector

FINE, TROUBLE, DUPLICATE = range(3)  # how a row stands in the queue for a place in the table
SHOWN: Final = 20  # rows of each sort that are printed in full, the others are counted
SHOWN_EACH: Final = 400  # the same with a row for each capture
KEYS: Final = 10_000  # destinations, and sender domains, that are counted one by one
TOP: Final = 5  # of these, how many are printed
COMMON: Final = 2 / 3  # a rule on so many connections tells nothing about one of them
EXCERPT: Final = 48  # characters of evidence, on a terminal

STRENGTH: Final = {strength.word: strength for strength in Strength}
# What an alert does, after its rule's name.
DOES: Final = {
    "pass": "seen",
    "alarm": "alarm only",
    "detach": "stops inspecting",
    "rewrite": "alters",
    "answer": "answers itself",
    "drop": "cuts",
    "drop-flow": "cuts",
    "reset": "resets",
}
_NO_ESMTP: Final = "without ESMTP and TLS"
# What a rewrite comes to for the mail, the most important first: (in a sum, in a cell).
EFFECTS: Final = {
    "mailguard.address-pipe": ("with an altered address", "address altered"),
    "mailguard.address-angle": ("with an altered address", "address altered"),
    "mailguard.ehlo-blocked": (_NO_ESMTP, "no ESMTP, no TLS"),
    "mailguard.starttls-blocked": ("without TLS", "no TLS"),
    "mailguard.command-not-allowed": ("with a command denied", "command denied"),
    "mailguard.command-split": ("with a command overwritten", "command masked"),
    "mailguard.command-termination": ("with a command overwritten", "command masked"),
    "mailguard.ehlo-param-masked": ("without some extensions", "extensions masked"),
    "mailguard.banner-masked": ("with a masked greeting", "greeting masked"),
}
PHASES: Final = {
    "connect": "connecting",
    "greeting": "greeting",
    "ehlo": "EHLO",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "datacmd": "DATA",
    "reply354": "354",
    "databody": "message text",
    "datamid": "message text",
    "dot": "final dot",
    "dotreply": "final dot",
    "quit": "QUIT",
}
# Exim's names for where it was when it got no answer.
WAITED: Final = {
    "connect": "initial connection",
    "greeting": "initial connection",
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "datacmd": "DATA",
    "reply354": "DATA",
}
BASIS: Final = {"confirmed": "confirmed", "inferred": "inferred", "project": "our assumption"}
BROKEN: Final = frozenset({"stalled", "reset", "closed"})
DOUBTS: Final = {
    "one-direction": "only one direction is in the capture",
    "gap": "bytes are missing that the two sides had: the capture lost packets",
    "snaplen": "packets were cut when they were captured: capture with -s 0",
    "super-segments": "offload merged segments: rules about packet borders are not judged "
    "(before capturing: ethtool -K IFACE gro off gso off tso off)",
    "mid-stream": "the capture begins inside the connection",
    "cut-off": "the capture ends before the connection does",
    "encrypted": "TLS: what follows cannot be judged",
    "overlap": "a retransmission carried other bytes than the first copy; the first one was judged",
    "cap": "a limit of this program was reached: not everything was kept",
    "end-mark-disputed": "the server replied in the middle of the text: it may take something else for its end",
}
_GENERATION: Final = re.compile(r"([a-z]+)-(\d.*)")
_AUTH: Final = re.compile(rb"(?i)^(\s*(?:AUTH|X-EXPS)\s+\S+\s+)\S.*", re.DOTALL)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}\s*")


# --- text


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


def count(n: int, word: str, plural: str = "") -> str:
    """`1 mail`, `2,000 mails`."""
    return f"{n:,} {word if n == 1 else plural or word + 's'}"


def clock(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def short(rule: str) -> str:
    """`smtp-217` for `stormshield.smtp-217.header`: what fits in a cell."""
    return ".".join(rule.split(".")[1:2]) or rule


def evidence(alert: Alert, secrets: bool = False) -> str:
    """The octets of an alert; what may be a password is masked."""
    octets = alert.octets
    if not secrets:
        octets = _AUTH.sub(rb"\1***", octets)
        # An answer in an AUTH dialogue that is too long; a command line has a space or is no base64.
        if alert.detail == "command line" and len(octets) > 16 and _BASE64.fullmatch(octets):
            octets = b"***"
    return str(excerpt(octets))


# --- products


@dataclass(frozen=True, slots=True)
class Product:
    """A column: an emulated product under its key in a verdict."""

    label: str
    title: str
    note: str  # what was assumed or set


def products(inspectors: Sequence[Inspector], labels: Sequence[str], specs: Sequence[str]) -> list[Product]:
    """Columns of the table. `specs` are the words of the command line, none when nobody named a product."""
    made: list[Product] = []
    for number, (inspector, label) in enumerate(zip(inspectors, labels, strict=True)):
        spec = specs[number] if specs else ""
        head, _, keys = spec.partition(",")
        title = _title(inspector)
        if any(other.title == title for other in made):
            title = f"{title} #{sum(other.title.startswith(title) for other in made) + 1}"
        assumed = ":" not in head and len(inspector.profiles) > 1
        notes = ["assumed: you did not say which"] if assumed else []
        made.append(Product(label, title, "; ".join([*notes, *([keys] if keys else [])])))
    return made


def _title(inspector: Inspector) -> str:
    """A profile that is a product generation names the product; of others the profile is told."""
    if generation := _GENERATION.fullmatch(inspector.profile):
        return f"{generation[1].upper()} {generation[2]}"
    name = inspector.name.capitalize()
    return f"{name} ({inspector.profile})" if len(inspector.profiles) > 1 else name


# --- what is kept


@dataclass(slots=True)
class _Row:
    """A mail, or a connection without one, that is shown in full."""

    capture: str
    sender: str
    to: str
    outcome: str
    observed: str
    cells: dict[str, tuple[str, str]]  # by label: what it comes to in a sum, text
    breaks: list[Alert]  # what would break it first, by product
    others: dict[str, tuple[Alert, int]]  # the first of each other rule, and how often
    notes: list[str]


@dataclass(slots=True)
class _Talk:
    """What an open connection has shown outside mails; forgotten when it ends."""

    outside: dict[str, tuple[Alert, int]] = field(default_factory=dict)
    breaks: dict[str, Alert] = field(default_factory=dict)  # by label, the earliest
    last_tx: dict[str, int | None] = field(default_factory=dict)  # by rule
    mails: int = 0


@dataclass(slots=True)
class _RuleSum:
    first: Alert
    path: str  # of the capture it is in
    mails: int = 0
    connections: int = 0


@dataclass(slots=True)
class _Sum:
    """Of a destination or of a sender domain."""

    mails: int = 0
    trouble: int = 0  # the capture shows no acceptance
    broken: Counter[str] = field(default_factory=Counter)


class Report:
    """Takes records as they come and prints at the end."""

    def __init__(
        self,
        columns: Sequence[Product],
        *,
        each: bool = False,
        records: Iterable[str] = ("mail", "alert", "flow"),
        secrets: bool = False,
        ports: Sequence[int] = (),
    ) -> None:
        self.columns = columns
        self.each = each
        self.records = frozenset(records)
        self.secrets = secrets
        self.ports = ports
        self.captures = 0
        self.mails = 0
        self.connections = 0
        self.encrypted = 0
        self.alerts = 0
        self.breaks = 0
        self.duplicates = 0
        self.packets = 0
        self.octets = 0
        self.seconds = 0.0
        self.links: set[int] = set()
        self.stopped = False
        self._name, self._path = "", ""
        self._limit = SHOWN_EACH if each else SHOWN
        self._rows: list[_Row] = []
        self._told: set[tuple[int, str, int]] = set()  # breaks that are printed
        self._held = [0, 0, 0]  # rows kept, by sort
        self._hidden = [0, 0, 0]  # and those only counted
        self._talks: dict[int, _Talk] = {}
        self._rules: dict[str, _RuleSum] = {}
        self._kinds: dict[str, Counter[str]] = {column.label: Counter() for column in columns}
        self._outcomes: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._servers: dict[str, _Sum] = {}
        self._domains: dict[str, _Sum] = {}
        self._first_ns, self._last_ns = 0, 0

    # --- records in

    def begin(self, capture: str, path: str) -> None:
        """The records that follow come from this capture."""
        self._name, self._path = capture, path
        self.captures += 1

    def take(self, record: Record | Stats) -> None:
        """A record, in the order of the engine."""
        if isinstance(record, Alert):
            self._alert(record)
        elif isinstance(record, Mail):
            self._mail(record)
        elif isinstance(record, Flow):
            self._flow(record)
        else:
            self._stats(record)

    def fault(self, error: CaptureError) -> None:
        """A capture that could not be read to its end."""
        if self.each:
            row = _Row(
                self._name, "", "", "", "cut off" if error.record else "no capture", {}, [], {}, [error.why]
            )
            self._keep(row, TROUBLE)

    def stop(self, progress: tuple[int, int, int, int, int]) -> None:
        """Ctrl-C: no Stats will come."""
        self.stopped = True
        self.packets += progress[2]
        self.connections += len(self._talks)

    def _stats(self, stats: Stats) -> None:
        self.packets += stats.packets
        self.octets += stats.octets
        self.seconds += stats.seconds
        self.links |= stats.unknown_links
        self._talks.clear()

    def _alert(self, alert: Alert) -> None:
        self.alerts += 1
        self.breaks += alert.breaks
        talk = self._talks.setdefault(alert.flow_id, _Talk())
        summed = self._rules.get(alert.rule)
        if summed is None:
            summed = self._rules[alert.rule] = _RuleSum(alert, self._path)
        if alert.rule not in talk.last_tx:
            summed.connections += 1
        if alert.tx_id is not None and talk.last_tx.get(alert.rule) != alert.tx_id:
            summed.mails += 1
        talk.last_tx[alert.rule] = alert.tx_id
        if alert.breaks and alert.row.kind == "emulate":
            talk.breaks.setdefault(alert.inspector, alert)
        if alert.tx_id is None:
            first, n = talk.outside.get(alert.rule, (alert, 0))
            talk.outside[alert.rule] = (first, n + 1)

    def _mail(self, mail: Mail) -> None:
        talk = self._talks.setdefault(mail.flow_id, _Talk())
        talk.mails += 1
        if mail.outcome == "encrypted":
            self.encrypted += 1
        else:
            self.mails += 1
        own: dict[str, tuple[Alert, int]] = {}
        for alert in mail.alerts:
            first, n = own.get(alert.rule, (alert, 0))
            own[alert.rule] = (first, n + 1)
        breaks = {label: _first(rule, own, talk, label) for label, rule in mail.broken_by.items()}
        cells = self._cells(mail.verdict, mail.broken_by, breaks, [*own.values(), *talk.outside.values()])
        notes = []
        sort = TROUBLE if mail.broken_by or mail.outcome in BROKEN else FINE
        if mail.outcome in BROKEN and mail.phase in ("dot", "dotreply"):
            self.duplicates += 1
            sort = DUPLICATE
            notes.append("MAY HAVE BEEN DELIVERED; retries make duplicates")
        self._outcomes[mail.outcome] += 1
        self._doubts.update(mail.confidence)
        self._sum(self._servers, mail.server, mail)
        if mail.mail_from is not None:
            self._sum(self._domains, _domain(mail.mail_from), mail)
        self._seen(mail.start_ns, mail.end_ns)
        if "mail" not in self.records or not self._room(sort):
            return
        if mail.confidence and mail.outcome != "encrypted":
            notes.append(f"confidence: {', '.join(mail.confidence)}")
        self._keep(
            _Row(
                self._name,
                _sender(mail),
                _recipients(mail),
                mail.outcome,
                _observed(mail),
                cells,
                [alert for alert in breaks.values() if alert is not None],
                {**talk.outside, **own},
                notes,
            ),
            sort,
        )

    def _flow(self, flow: Flow) -> None:
        self.connections += 1
        talk = self._talks.pop(flow.flow_id, None) or _Talk()
        self._seen(flow.start_ns, flow.end_ns)
        if talk.mails:
            return
        self._doubts.update(flow.confidence)
        breaks = {label: talk.breaks.get(label) for label in flow.broken_by}
        cells = self._cells(flow.verdict, flow.broken_by, breaks, [*talk.outside.values()])
        sort = TROUBLE if flow.broken_by else FINE
        if "flow" in self.records and self._room(sort):
            notes = [f"confidence: {', '.join(flow.confidence)}"] if flow.confidence else []
            row = _Row(
                self._name,
                "(no mail)",
                "" if self.each else flow.server,
                "",
                count(flow.commands, "command") if flow.commands else "no command",
                cells,
                [alert for alert in breaks.values() if alert is not None],
                talk.outside,
                notes,
            )
            self._keep(row, sort)

    def _cells(
        self,
        verdict: Mapping[str, str],
        broken_by: Mapping[str, str],
        breaks: Mapping[str, Alert | None],
        fired: Sequence[tuple[Alert, int]],
    ) -> dict[str, tuple[str, str]]:
        made = {}
        for column in self.columns:
            label = column.label
            alerts = [alert for alert, _ in fired if alert.inspector == label]
            kinds, text = _cell(verdict.get(label, "pass"), broken_by.get(label), breaks.get(label), alerts)
            made[column.label] = (kinds[0] if kinds else "", text)
            self._kinds[column.label].update(kinds)
        return made

    def _sum(self, sums: dict[str, _Sum], key: str, mail: Mail) -> None:
        if key not in sums and len(sums) >= KEYS:
            key = "(others)"
        one = sums.setdefault(key, _Sum())
        one.mails += 1
        one.trouble += mail.outcome not in ("accepted", "encrypted")
        one.broken.update(mail.broken_by.keys())

    def _seen(self, start: int, end: int) -> None:
        self._first_ns = min(self._first_ns or start, start)
        self._last_ns = max(self._last_ns, end)

    def _room(self, sort: int) -> bool:
        if self._held[sort] < self._limit:
            return True
        self._hidden[sort] += 1
        return False

    def _keep(self, row: _Row, sort: int) -> None:
        self._held[sort] += 1
        if sort == DUPLICATE and not self.each:
            self._rows.insert(self._held[sort] - 1, row)
        else:
            self._rows.append(row)

    # --- text out

    def lines(self, width: int | None, style: Style) -> Iterator[str]:
        """The report. `width` is that of a terminal, None without one."""
        if self.duplicates:
            told = f"{count(self.duplicates, 'mail')} MAY HAVE BEEN DELIVERED; retries make duplicates."
            yield style(told, "bold")
            yield ""
        if not self._rows and not self.connections:
            yield from self._nothing()
            return
        if not self.each:
            yield from self._head()
        yield from self._emulated(width)
        common = self._common()
        if self._rows:
            yield from self._table(width, style, common)
        yield from self._unshown()
        if self._several():
            yield from self._by_rule(width, common)
        if self._several() and not self.each:
            yield from self._by("By destination", self._servers)
            yield from self._by("By sender domain", self._domains)
        yield from self._limits(width)
        yield ""
        for line in _wrapped(self._total(), width):
            yield style(line, "bold")
        yield from self._next(width)

    def _several(self) -> bool:
        return self.connections > 1 or self.mails > 1

    def _nothing(self) -> Iterator[str]:
        what = "these captures" if self.captures > 1 else "this capture"
        yield f"no SMTP in {what}: {count(self.packets, 'packet')} read."
        if self.links:
            yield from self._unread_links()
        elif self.packets:
            ports = ", ".join(str(port) for port in self.ports)
            yield f"Looked for: server ports {ports}, and a 220 greeting on any port. Other ports: --port N"

    def _head(self) -> Iterator[str]:
        parts = [count(self.connections, "connection"), count(self.mails, "mail")]
        if self.encrypted:
            parts.append(f"{self.encrypted:,} encrypted")
        parts.append(count(self.packets, "packet"))
        when = ""
        if self._last_ns:
            first, last = clock(self._first_ns), clock(self._last_ns)
            last = last.removeprefix(first[:11])
            when = f"{first} UTC" if last == first[11:] else f"{first} to {last} UTC"
        yield ", ".join(p for p in (*parts, when) if p)

    def _emulated(self, width: int | None) -> Iterator[str]:
        if not self.columns:
            return
        told = [f"{one.title} ({one.note})" if one.note else one.title for one in self.columns]
        yield from _wrapped(f"Emulated here, not the products themselves: {'; '.join(told)}.", width)
        yield ""

    def _common(self) -> frozenset[str]:
        """Rules that tell nothing about one mail: they fire for nearly every client."""
        total = self.connections
        if total < 3:
            return frozenset()
        return frozenset(
            rule
            for rule, summed in self._rules.items()
            if summed.connections >= COMMON * total and not summed.first.breaks
        )

    def _table(self, width: int | None, style: Style, common: frozenset[str]) -> Iterator[str]:
        names = ["capture", "mail from"] if self.each else ["mail from", "to"]
        heads = [
            *([name] for name in names),
            ["in the", "capture"],
            *(_two_lines(one.title) for one in self.columns),
        ]
        fixed = len(names)
        lines = [self._plain(row) for row in self._rows]
        widths = [max(map(wide, (*head, *(line[i] for line in lines)))) for i, head in enumerate(heads)]
        if width is not None:
            widths = _shrunk(widths, fixed, width)
            if sum(widths) + 2 * (len(widths) - 1) > width:
                for row, line in zip(self._rows, lines, strict=True):
                    yield from self._stacked(row, line, style)
                    yield from self._details(row, width, style, common)
                return
        before = " " * sum(w + 2 for w in widths[:fixed])
        group = (
            before + padded("OBSERVED", widths[fixed] + 2) + ("WOULD HAPPEN behind" if self.columns else "")
        )
        yield style(group.rstrip(), "dim")
        tall = max(map(len, heads))
        for number in range(tall):
            above = [([""] * (tall - len(head)) + head)[number] for head in heads]
            yield style(_joined(above, widths).rstrip(), "bold")
        shown = ""
        for row, line in zip(self._rows, lines, strict=True):
            if self.each and row.capture == shown:
                line[0] = ""
            shown = row.capture
            colours = [""] * fixed + [_colour(row.outcome)]
            colours += [_colour(row.cells.get(column.label, ("", ""))[0]) for column in self.columns]
            yield _joined(line, widths, style, colours)
            yield from self._details(row, width, style, common)

    def _plain(self, row: _Row) -> list[str]:
        line = [row.capture] if self.each else []
        line += [row.sender] if self.each else [row.sender, row.to]
        line.append(row.observed)
        return line + [row.cells.get(column.label, ("", ""))[1] for column in self.columns]

    def _stacked(self, row: _Row, line: Sequence[str], style: Style) -> Iterator[str]:
        """Too many products for this terminal: a line for each."""
        fixed = len(line) - len(self.columns) - 1
        yield style("  ".join(part for part in line[:fixed] if part), "bold")
        yield f"  OBSERVED      in the capture: {style(row.observed, _colour(row.outcome))}"
        for number, column in enumerate(self.columns):
            kind, text = row.cells.get(column.label, ("", ""))
            lead = "WOULD HAPPEN" if not number else ""
            yield f"  {lead:<12}  behind {column.title}: {style(text, _colour(kind))}"

    def _details(self, row: _Row, width: int | None, style: Style, common: frozenset[str]) -> Iterator[str]:
        for note in row.notes:
            yield from _wrapped(note, width, "  ")
        if "alert" not in self.records:
            return
        first = {alert.rule for alert in row.breaks}
        for alert in row.breaks:
            yield from self._break(alert, width, style)
        alarms = []
        for rule, (alert, n) in row.others.items():
            if rule in first or rule in common:
                continue
            if alert.action == "alarm" and alert.row.kind == "emulate":
                alarms.append(rule if n == 1 else f"{rule} ({n})")
            else:
                yield from self._other(alert, n, width)
        if alarms and not self._several():
            yield from _wrapped(f"alarms only: {', '.join(alarms)}", width, "  ")

    def _break(self, alert: Alert, width: int | None, style: Style) -> Iterator[str]:
        does = f"{_does(alert)}:"
        if (alert.flow_id, alert.rule, alert.offset) in self._told:
            yield from _wrapped(
                f"{alert.rule}  {does} the connection, since packet {alert.packet:,} (above)", width, "  "
            )
            return
        self._told.add((alert.flow_id, alert.rule, alert.offset))
        what = alert.title + (f" ({alert.detail})" if alert.detail else "")
        for line in _wrapped(f"{alert.rule}  {does} {what}", width, "  "):
            yield line.replace(does, style(does, "red"), 1)
        yield from self._where(alert, width)
        for told in _consequences(alert):
            yield from _wrapped(told, width, "    ")

    def _other(self, alert: Alert, n: int, width: int | None) -> Iterator[str]:
        times = f", {n} times" if n > 1 else ""
        later = " (after the break)" if alert.after_break else ""
        yield from _wrapped(f"{alert.rule}  {_does(alert)}: {alert.title}{times}{later}", width, "  ")
        yield from self._where(alert, width)

    def _where(self, alert: Alert, width: int | None) -> Iterator[str]:
        quoted = evidence(alert, self.secrets)
        if width is not None:
            quoted = cut(quoted, EXCERPT)
        place = f"{alert.direction}'s byte {alert.offset:,}, packet {alert.packet:,}"
        sure = BASIS.get(alert.basis, alert.basis)
        if quoted:
            # The line's end counts in the length and is not quoted.
            more = "…" if alert.length > len(alert.octets) + 2 and not quoted.endswith("…") else ""
            place = f'"{quoted}{more}"   {place}'
        yield from _wrapped(f"{place}   ({sure})", width, "    ")

    def _unshown(self) -> Iterator[str]:
        fine, trouble = self._hidden[FINE], self._hidden[TROUBLE] + self._hidden[DUPLICATE]
        if trouble or fine:
            yield ""
            told = [f"{trouble:,} that break or would"] if trouble else []
            told += [f"{fine:,} that do not"] if fine else []
            yield f"… and {' and '.join(told)}, counted below. All of them: --format eve"

    def _by_rule(self, width: int | None, common: frozenset[str]) -> Iterator[str]:
        if not self._rules or "alert" not in self.records:
            return
        yield ""
        yield "By rule"
        plain = {rule: summed for rule, summed in self._rules.items() if rule not in common}
        order = sorted(
            plain.items(),
            key=lambda item: (
                -item[1].first.breaks,
                -STRENGTH[item[1].first.action],
                -item[1].connections,
                item[0],
            ),
        )
        longest = max((len(rule) for rule in plain), default=0)
        for rule, summed in order:
            held = count(summed.connections, "connection")
            if summed.mails:
                held = f"{count(summed.mails, 'mail')} in {held}"
            if not self.each:
                held += f"; first: packet {summed.first.packet:,}"
            yield from _wrapped(f"{rule:<{longest}}  {_does(summed.first):<10}  {held}", width, "  ")
        if common:
            least = min(self._rules[rule].connections for rule in common)
            most = max(self._rules[rule].connections for rule in common)
            some = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            how = (
                "every connection"
                if least == self.connections
                else f"{some} of {self.connections:,} connections"
            )
            yield from _wrapped(f"on {how}: {', '.join(sorted(common))}", width, "  ")

    def _by(self, title: str, sums: Mapping[str, _Sum]) -> Iterator[str]:
        if not sums:
            return
        yield ""
        yield title
        order = sorted(sums.items(), key=lambda item: (-item[1].broken.total(), -item[1].mails, item[0]))
        width = max(wide(key) for key, _ in order[:TOP])
        titles = {column.label: column.title for column in self.columns}
        for key, one in order[:TOP]:
            parts = [count(one.mails, "mail")]
            if one.trouble:
                parts.append(f"{one.trouble:,} not accepted")
            parts += [f"{titles.get(label, label)} would break {n:,}" for label, n in one.broken.items()]
            yield f"  {padded(key, width)}  {', '.join(parts)}"
        if len(order) > TOP:
            yield f"  … and {len(order) - TOP:,} more"

    def _limits(self, width: int | None) -> Iterator[str]:
        if self._doubts or self.links:
            yield ""
            yield "What the capture cannot show"
        for word, n in sorted(self._doubts.items()):
            yield from _wrapped(f"{word} ({n:,}): {DOUBTS.get(word, word)}", width, "  ")
        if self.links:
            for line in self._unread_links():
                yield from _wrapped(line, width, "  ")

    def _unread_links(self) -> Iterator[str]:
        names = ", ".join(linktypes.named(number) for number in sorted(self.links))
        yield f"packets of {names} were not read; read are: {linktypes.readable()}"

    def _total(self) -> str:
        parts = [count(self.captures, "capture")] if self.each else []
        parts += [count(self.mails, "mail")]
        if self.encrypted:
            parts.append(f"{self.encrypted:,} encrypted")
        told = [", ".join(parts)]
        for column in self.columns:
            kinds = self._kinds[column.label]
            listed = [f"{n:,} {words}" for words, n in _ordered(kinds)]
            told.append(f"{column.title}: {', '.join(listed) if listed else 'all pass'}")
        if self.stopped:
            told.append(f"Stopped after {count(self.packets, 'packet')}")
        else:
            told.append(f"{self.seconds:.3f} s" if self.seconds < 0.1 else f"{self.seconds:,.2f} s")
        return ".  ".join(told)

    def _next(self, width: int | None) -> Iterator[str]:
        """Commands to paste: about what breaks most, or else alters most."""
        order = sorted(
            self._rules.items(),
            key=lambda item: (-item[1].first.breaks, -STRENGTH[item[1].first.action], -item[1].connections),
        )
        path = order[0][1].path if order else self._path
        command = "replay" if self.each else "transcript"
        short_enough = self.each or self.mails <= 2 * SHOWN
        commands = (
            [f"smtpinspect {command} {shlex.quote(path)}"] if short_enough and path not in ("", "-") else []
        )
        if order:
            commands.append(f"smtpinspect rules {order[0][0]}")
        line = f"Next: {'      '.join(commands)}"
        if width is None or wide(line) <= width:
            yield line
        else:
            yield from (
                ("Next: " if not number else "      ") + command for number, command in enumerate(commands)
            )


# --- words


def _does(alert: Alert) -> str:
    if alert.row.kind == "seen":
        return "seen"
    if alert.breaks and STRENGTH[alert.action] < Strength.DROP:
        return "hangs the client"
    return DOES[alert.action]


def _cell(
    word: str, broken_by: str | None, by: Alert | None, alerts: Sequence[Alert]
) -> tuple[list[str], str]:
    """What would become of the mail: (what it counts for in a sum, the cell's text)."""
    strength = STRENGTH.get(word, Strength.PASS)
    if broken_by and by is not None and by.phase == "quit":
        return ["cut after delivery"], "cut at QUIT"
    if broken_by:
        how = "reset" if strength == Strength.RESET else "cut" if strength >= Strength.DROP else "hang"
        return [f"would be {how}" if how != "hang" else "would hang"], f"{how}: {short(broken_by)}"
    if strength == Strength.ANSWER:
        return ["with a command answered by it"], "answers itself"
    if strength == Strength.REWRITE:
        fired = {alert.rule for alert in alerts if alert.action == "rewrite"}
        if effects := [effect for rule, effect in EFFECTS.items() if rule in fired]:
            # A masked greeting comes with all the others: alone it is worth telling.
            counted = effects[:-1] if len(effects) > 1 and "mailguard.banner-masked" in fired else effects
            kinds = list(dict.fromkeys(kind for kind, _ in counted))
            if _NO_ESMTP in kinds:
                kinds = [kind for kind in kinds if kind not in ("without TLS", "without some extensions")]
            return kinds, effects[0][1]
        changed = next(iter(sorted(fired)), "")
        return ["would be altered"], f"altered: {short(changed)}" if changed else "altered"
    if strength == Strength.DETACH:
        return ["inspected in part"], "passes, in part unseen"
    if strength == Strength.ALARM:
        return ["with an alarm only"], "passes, alarm"
    return [], "passes"


def _ordered(kinds: Counter[str]) -> list[tuple[str, int]]:
    """Breaks first, then by number."""
    return sorted(kinds.items(), key=lambda item: (not item[0].startswith("would"), -item[1]))


def _colour(word: str) -> str:
    """Of an outcome, or of a cell by what it counts for in a sum."""
    if word in BROKEN or word.startswith("would "):
        return "red"
    if word in ("refused", "aborted", "unknown", "cut after delivery") or word.startswith("with"):
        return "yellow"
    return "green" if word == "accepted" else ""


def _consequences(alert: Alert) -> Iterator[str]:
    if alert.phase == "quit":
        yield "the server has answered for the mail by then"
        return
    if alert.direction == "server" and alert.phase == "dotreply":
        yield "the server has the mail by then: retries make duplicates"
    said = "Remote host closed connection in response to" if alert.action == "reset" else "SMTP timeout after"
    stage = f"   [{alert.stage}]" if alert.stage else ""
    if at := _waited(alert):
        yield f"the sender would log: {said} {at}{stage}"


def _waited(alert: Alert) -> str:
    """What a sender's log names, in Exim's words."""
    if alert.stage == "after-end-of-data":
        return "end of data"
    if alert.stage == "after-sending-data-block":
        return "sending data block"
    if alert.phase != "ehlo":
        return WAITED.get(alert.phase or "", "")
    if alert.direction == "server":
        return "the command whose reply was cut"
    verb = bytes(alert.octets[:4]).upper()
    return verb.decode() if verb in (b"EHLO", b"HELO") else "the command that was cut"


def _sender(mail: Mail) -> str:
    if mail.mail_from is None:
        return "(encrypted)" if mail.outcome == "encrypted" else "(not seen)"
    return safe(mail.mail_from) or "<>"


def _recipients(mail: Mail) -> str:
    to = mail.rcpt_to
    if not to:
        return mail.server if mail.outcome == "encrypted" else ""
    return safe(to[0]) + (f" +{len(to) - 1}" if len(to) > 1 else "")


def _observed(mail: Mail) -> str:
    match mail.outcome:
        case "refused":
            return f"refused {mail.reply}" if mail.reply else "refused"
        case "stalled" | "reset" | "closed":
            at = f" at {PHASES[mail.phase]}" if mail.phase in PHASES else ""
            waited = f", {mail.silence:,.0f} s" if mail.outcome == "stalled" and mail.silence >= 1 else ""
            by = (
                f" by {mail.closer}"
                if mail.outcome != "stalled" and mail.closer in ("client", "server")
                else ""
            )
            return f"{mail.outcome}{by}{at}{waited}"
        case _:
            return mail.outcome


def _domain(address: str) -> str:
    return safe(address.rpartition("@")[2].lower()) or "<>"


def _first(rule: str, own: Mapping[str, tuple[Alert, int]], talk: _Talk, label: str) -> Alert | None:
    """The alert that would have broken the mail: its own, one outside mails, or of an earlier mail."""
    earliest = talk.breaks.get(label)
    if earliest is not None and earliest.rule == rule:
        return earliest
    found = own.get(rule) or talk.outside.get(rule)
    return found[0] if found else None


# --- layout


def _two_lines(title: str) -> list[str]:
    """`Stormshield (high)` over two lines: its cells are narrower."""
    name, space, profile = title.partition(" (")
    return [name, "(" + profile] if space else [title]


def _shrunk(widths: Sequence[int], shrinkable: int, width: int) -> list[int]:
    """Addresses and names give way first, the widest of them first, down to a readable rest."""
    made = list(widths)
    excess = sum(made) + 2 * (len(made) - 1) - width
    while excess > 0 and (most := max(made[:shrinkable], default=0)) > 12:
        made[made.index(most)] -= 1
        excess -= 1
    return made


def _joined(
    cells: Sequence[str], widths: Sequence[int], style: Style | None = None, colours: Sequence[str] = ()
) -> str:
    made = []
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cut(cell, width)
        space = " " * (width - wide(text)) if number < len(cells) - 1 else ""
        made.append((style(text, colours[number]) if style and colours else text) + space)
    return "  ".join(made)


def _wrapped(text: str, width: int | None, indent: str = "") -> Iterator[str]:
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
