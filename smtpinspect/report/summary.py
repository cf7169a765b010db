"""What a report needs of a stream of records: sums, and a limited number of mails in full.

Memory does not grow with the capture: rows over the limit, and keys over theirs, are only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.grammar.words import BROKEN
from smtpinspect.report import words
from smtpinspect.report.terminal import count

if TYPE_CHECKING:
    from smtpinspect.engine import Record, Stats
    from smtpinspect.errors import CaptureError

FINE, TROUBLE, DUPLICATE = range(3)  # sorts of rows; each has places of its own
SHOWN: Final = 20  # rows of each sort
SHOWN_EACH: Final = 400  # the same when each capture has its own rows
KEYS: Final = 10_000  # destinations, and sender domains, that are counted one by one
COMMON: Final = 2 / 3  # a rule on so many connections tells nothing about one of them

Key = tuple[str, str]  # of a product in a verdict, and a rule's id: two profiles share their rules' ids
Fired = Mapping[Key, tuple[Alert, int]]  # the first alert, and how often


class Row:
    """A mail, or a connection without one."""

    __slots__ = ("breaks", "capture", "cells", "fired", "later", "notes", "observed", "outcome", "sender", "to")

    def __init__(
        self,
        capture: str,
        sender: str,
        to: str,
        outcome: str,
        observed: str,
        cells: dict[str, tuple[str, str]] | None = None,
        breaks: Iterable[Alert] = (),
        fired: Fired | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.capture = capture
        self.sender = sender
        self.to = to
        self.outcome = outcome
        self.observed = observed
        self.cells = {} if cells is None else cells  # by product: (in a sum, text)
        self.breaks = [*breaks]  # by product, what would break it first
        self.fired: Fired = {} if fired is None else fired
        self.later: Fired = {}  # behind the connection's last mail
        self.notes = [*notes]


class RuleSum:
    """What a rule did: the first time, and in which capture that is."""

    __slots__ = ("connections", "first", "mails", "path")

    def __init__(self, first: Alert, path: str) -> None:
        self.first = first
        self.path = path
        self.mails = 0
        self.connections = 0


class MailSum:
    """The mails of a destination, or of a sender domain."""

    __slots__ = ("broken", "mails", "trouble")

    def __init__(self) -> None:
        self.mails = 0
        self.trouble = 0  # the capture shows no acceptance
        self.broken: Counter[str] = Counter()  # by product


class _Talk:
    """What an open connection has shown; forgotten when it ends."""

    __slots__ = ("breaks", "last", "last_tx", "mails", "outside")

    def __init__(self) -> None:
        self.outside: dict[Key, tuple[Alert, int]] = {}  # of no mail
        self.breaks: dict[str, Alert] = {}  # by product, the earliest
        self.last_tx: dict[Key, int | None] = {}
        self.mails = 0
        self.last: Row | None = None  # of its mails


class Summary:
    """Takes the records of one or more runs, in their order. `labels` are the products' keys in a verdict.

    `looks_at` tells whether a product looks at a connection between two ends at all (Engine.looks_at).
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        each: bool = False,
        records: Iterable[str] = ("mail", "alert", "flow"),
        looks_at: Callable[[str, str, str], bool] | None = None,
    ) -> None:
        self.labels = labels
        self.looks_at = looks_at
        self.each = each
        self.records = frozenset(records)
        self.captures = 0
        self.mails = 0
        self.encrypted = 0
        self.connections = 0
        self.packets = 0
        self.seconds = 0.0
        self.alerts = 0
        self.breaks = 0
        self.duplicates = 0
        self.first_ns = 0
        self.last_ns = 0
        self.stopped = False
        self.path = ""
        self.rows: list[Row] = []
        self.hidden = [0, 0, 0]  # by sort: rows for which there was no place
        self.rules: dict[Key, RuleSum] = {}
        self.kinds: dict[str, Counter[str]] = {label: Counter() for label in labels}
        self.doubts: Counter[str] = Counter()
        self.servers: dict[str, MailSum] = {}
        self.domains: dict[str, MailSum] = {}
        self._name = ""
        self._held = [0, 0, 0]
        self._limit = SHOWN_EACH if each else SHOWN
        self._talks: dict[int, _Talk] = {}
        self._told = False  # the Stats of this source have come

    @property
    def several(self) -> bool:
        """Is there anything to sum up?"""
        return self.connections > 1 or self.mails > 1

    def common(self) -> frozenset[Key]:
        """Rules that fire for nearly every client, and break nothing."""
        if self.connections < 3:
            return frozenset()
        least = COMMON * self.connections
        return frozenset(
            key for key, one in self.rules.items() if one.connections >= least and not one.first.breaks
        )

    def begin(self, name: str, path: str, captures: int = 1) -> None:
        """The records that follow come from this capture, or from several as one stream."""
        self._name, self.path = name, path
        self._told = False
        self.captures += captures

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
            seen = "cut off" if error.record else "no capture"
            self._keep(Row(self._name, "", "", "unknown", seen, notes=[error.why]), TROUBLE)

    def stop(self, packets: int) -> None:
        """Ctrl-C, after so many packets of this source; its Stats may have come, or will not."""
        self.stopped = True
        if self._told:
            return
        self.packets += packets
        self.connections += len(self._talks)
        self._talks.clear()

    def _stats(self, stats: Stats) -> None:
        self._told = True
        self.packets += stats.packets
        self.seconds += stats.seconds
        self._talks.clear()
        if self.each and not stats.connections and self._room(FINE):
            self._keep(Row(self._name, "", "", "", "no SMTP"), FINE)

    def _alert(self, alert: Alert) -> None:
        self.alerts += 1
        self.breaks += alert.breaks
        talk = self._talks.setdefault(alert.flow_id, _Talk())
        key = (alert.inspector, alert.rule)
        one = self.rules.get(key)
        if one is None:
            one = self.rules[key] = RuleSum(alert, self.path)
        one.connections += key not in talk.last_tx
        one.mails += alert.tx_id is not None and talk.last_tx.get(key) != alert.tx_id
        talk.last_tx[key] = alert.tx_id
        if alert.breaks and alert.row.kind == "emulate":
            talk.breaks.setdefault(alert.inspector, alert)
        if alert.tx_id is None:
            _add(talk.outside, alert)

    def _mail(self, mail: Mail) -> None:
        talk = self._talks.setdefault(mail.flow_id, _Talk())
        talk.mails += 1
        encrypted = mail.outcome == "encrypted"
        self.encrypted += encrypted
        self.mails += not encrypted
        own: dict[Key, tuple[Alert, int]] = {}
        for alert in mail.alerts:
            _add(own, alert)
        fired = {**talk.outside, **own}
        breaks = {label: _first(rule, fired, talk, label) for label, rule in mail.broken_by.items()}
        cells = self._cells(mail, breaks, [*own.values(), *talk.outside.values()])
        notes = []
        refused = any(kind == "would be refused" for kind, _ in cells.values())
        sort = TROUBLE if mail.broken_by or refused or mail.outcome in BROKEN else FINE
        if mail.outcome in BROKEN and mail.phase in ("dot", "dotreply"):
            self.duplicates += 1
            sort = DUPLICATE
            notes.append("MAY HAVE BEEN DELIVERED; retries make duplicates")
        if mail.confidence and not encrypted:
            notes.append(f"confidence: {', '.join(mail.confidence)}")
        self.doubts.update(mail.confidence)
        _count(self.servers, mail.server, mail)
        if mail.mail_from is not None:
            _count(self.domains, words.domain(mail.mail_from), mail)
        self._seen(mail.start_ns, mail.end_ns)
        if "mail" in self.records and self._room(sort):
            row = Row(
                self._name,
                words.sender(mail),
                words.recipients(mail),
                mail.outcome,
                words.observed(mail),
                cells,
                [alert for alert in breaks.values() if alert is not None],
                fired,
                notes=notes,
            )
            talk.last = row
            self._keep(row, sort)
        else:
            talk.last = None

    def _flow(self, flow: Flow) -> None:
        self.connections += 1
        talk = self._talks.pop(flow.flow_id, None) or _Talk()
        self._seen(flow.start_ns, flow.end_ns)
        if talk.mails:
            if talk.last is not None:
                told = talk.last.fired
                talk.last.later = {key: found for key, found in talk.outside.items() if key not in told}
            return
        self.doubts.update(flow.confidence)
        breaks = {label: talk.breaks.get(label) for label in flow.broken_by}
        cells = self._cells(flow, breaks, [*talk.outside.values()])
        sort = TROUBLE if flow.broken_by else FINE
        if "flow" in self.records and self._room(sort):
            row = Row(
                self._name,
                "(no mail)",
                flow.server,
                "",
                count(flow.commands, "command") if flow.commands else "no command",
                cells,
                [alert for alert in breaks.values() if alert is not None],
                talk.outside,
                notes=[f"confidence: {', '.join(flow.confidence)}"] if flow.confidence else [],
            )
            self._keep(row, sort)

    def _cells(
        self,
        record: Mail | Flow,
        breaks: Mapping[str, Alert | None],
        fired: Sequence[tuple[Alert, int]],
    ) -> dict[str, tuple[str, str]]:
        made = {}
        for label in self.labels:
            alerts = [alert for alert, _ in fired if alert.inspector == label]
            word = record.verdict.get(label, "pass")
            kinds, text = words.cell(word, record.broken_by.get(label), breaks.get(label), alerts)
            if self.looks_at is not None and not self.looks_at(label, record.client, record.server):
                kinds, text = ["not inspected"], "not inspected"
            made[label] = (kinds[0] if kinds else "", text)
            self.kinds[label].update(kinds)
        return made

    def _seen(self, start: int, end: int) -> None:
        self.first_ns = min(self.first_ns or start, start)
        self.last_ns = max(self.last_ns, end)

    def _room(self, sort: int) -> bool:
        if self._held[sort] < self._limit:
            return True
        self.hidden[sort] += 1
        return False

    def _keep(self, row: Row, sort: int) -> None:
        self._held[sort] += 1
        if sort == DUPLICATE and not self.each:
            # What may have been delivered already comes first.
            self.rows.insert(self._held[sort] - 1, row)
        else:
            self.rows.append(row)


def _add(fired: dict[Key, tuple[Alert, int]], alert: Alert) -> None:
    key = (alert.inspector, alert.rule)
    first, n = fired.get(key, (alert, 0))
    fired[key] = (first, n + 1)


def _count(sums: dict[str, MailSum], key: str, mail: Mail) -> None:
    if key not in sums and len(sums) >= KEYS:
        key = "(others)"
    one = sums.setdefault(key, MailSum())
    one.mails += 1
    one.trouble += mail.outcome not in ("accepted", "encrypted")
    one.broken.update(mail.broken_by.keys())


def _first(rule: str, fired: Fired, talk: _Talk, label: str) -> Alert | None:
    """The alert that would have broken the mail: the connection's first break, or one of its own."""
    earliest = talk.breaks.get(label)
    if earliest is not None and earliest.rule == rule:
        return earliest
    return fired[label, rule][0] if (label, rule) in fired else None
