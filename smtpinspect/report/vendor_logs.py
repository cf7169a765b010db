"""`--format asa | stormshield | sonicwall`: the lines that the product itself would have logged, as a stream.

A segment raises one alarm (the product's module chooses which), and a connection that was cut raises none any more.
Lines come in the order of the records (those of a mail when it ends, sorted by capture time among themselves), at most
`limits.ALERTS_PER_RULE` of a rule and mail. What is kept is bounded by the connections that are open.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, cast

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.engine import Engine, Record, Stats
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.logline import Event

# The format and the inspector whose log it is.
PRODUCTS: Final = {"asa": "mailguard", "stormshield": "stormshield", "sonicwall": "sonicwall"}


class Log(Protocol):
    """What a product's module `logs` has."""

    END: str

    def write(self, event: Event) -> list[str]:
        """Lines without their end."""

    def choose(self, alerts: Sequence[Alert], event_of: Callable[[Alert], Event]) -> Alert | None:
        """The one alarm of a segment."""

    def ends(self, alert: Alert) -> bool:
        """Is this the end of the connection, for who reads the log?"""


def specs(form: str, given: Sequence[str] | None) -> list[str]:
    """The inspectors of a run: those given, or the format's own. Raises UsageError when none given is the format's."""
    product = PRODUCTS[form]
    if not given:
        return [product]
    if not any(spec.partition(",")[0].partition(":")[0] == product for spec in given):
        raise UsageError(
            f"--format {form} writes the log of {product}, which is not among the inspectors given. "
            f"Add -i {product}, or leave out -i"
        )
    return [*given]


class _Written:
    """What one log holds of one connection: the last segments by side, and when it ended (time, frame)."""

    def __init__(self) -> None:
        self.segments: dict[str, deque[int]] = {
            side: deque(maxlen=limits.LOG_SEGMENTS) for side in ("client", "server")
        }
        self.ended: tuple[int, int] | None = None

    def tells(self, alert: Alert) -> bool:
        """Does its segment have a line, or was the connection over?"""
        over = self.ended is not None and (alert.ns, alert.packet) > self.ended
        return over or alert.packet in self.segments[alert.direction]


class VendorLog:
    """Records go in, lines come out."""

    def __init__(self, engine: Engine, form: str) -> None:
        product = PRODUCTS[form]
        self.log = cast(Log, importlib.import_module(f"smtpinspect.inspectors.{product}.logs"))
        chosen = zip(engine.labels, engine.inspectors, strict=True)
        self.inspectors = {label: made for label, made in chosen if made.name == product}
        self.number = 0
        self._waiting: list[Alert] = []  # outside mails, of one frame
        self._written: dict[int, dict[str, _Written]] = {}  # by connection and inspector, while it is open

    def lines(self, records: Iterable[Record | Stats]) -> Iterator[str]:
        """The lines of these records, each with its end."""
        for record in records:
            yield from self.take(record)

    def take(self, record: Record | Stats) -> Iterator[str]:
        """The lines that this record completes."""
        if isinstance(record, Alert):
            if record.tx_id is None:
                if self._waiting and self._waiting[-1].pcap_cnt != record.pcap_cnt:
                    yield from self._write(self._waiting, None)
                    self._waiting = []
                self._waiting.append(record)
            return
        alerts, self._waiting = self._waiting, []
        if isinstance(record, Mail):
            yield from self._write([*alerts, *record.alerts], record)
        else:
            yield from self._write(alerts, None)
        if isinstance(record, Flow):
            self._written.pop(record.flow_id, None)

    def at_once(self, alerts: Sequence[Alert]) -> Iterator[str]:
        """The lines of what one packet fired, before its mail is known."""
        while len(self._written) > limits.REMEMBERED:
            del self._written[next(iter(self._written))]
        yield from self._write(alerts, None)

    def _write(self, alerts: Sequence[Alert], mail: Mail | None) -> Iterator[str]:
        segments: dict[tuple[int, str, str, int], list[Alert]] = {}
        for alert in alerts:
            if alert.inspector in self.inspectors and alert.row.kind != "seen":
                place = (alert.flow_id, alert.inspector, alert.direction, alert.packet)
                segments.setdefault(place, []).append(alert)
        chosen = (self.log.choose(found, lambda alert: self._event(alert, mail)) for found in segments.values())
        for alert in sorted(filter(None, chosen), key=lambda a: (a.ns, a.packet, a.offset)):
            written = self._written.setdefault(alert.flow_id, {}).setdefault(alert.inspector, _Written())
            if written.tells(alert):
                continue
            written.segments[alert.direction].append(alert.packet)
            if self.log.ends(alert):
                written.ended = alert.ns, alert.packet
            self.number += 1
            for line in self.log.write(self._event(alert, mail)):
                yield line + self.log.END

    def _event(self, alert: Alert, mail: Mail | None) -> Event:
        return Event(alert, mail if alert.tx_id is not None else None, self.inspectors[alert.inspector], self.number)
