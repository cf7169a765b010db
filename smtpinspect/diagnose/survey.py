"""One pass of the engine over a capture: each mail with the emulated rules that fire for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.actions import Strength
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.properties import NAME as PROPERTIES
from smtpinspect.diagnose.properties import Properties
from smtpinspect.diagnose.tally import Tally
from smtpinspect.engine import PORTS, Engine
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input

# What is judged when nobody names an inspector: every generation, and, behind the defaults, the switches and the
# tighter limits that a box may have. Of two that fit alike the one that stands first is named.
EVERY: Final = (
    "stormshield:high",
    "mailguard:pix-6",
    "mailguard:asa-9-tls",
    "mailguard:asa-8",
    "mailguard:pix-5",
    "mailguard:pix-4.4",
    "mailguard:pix-4.0",
    "mailguard:fwsm-3",
    "mailguard:asa-7.0",
    "sonicwall",
    "stormshield:high,preset=rfc5321,scope=message+envelope,filter_chunked_extension=on,filter_exchange_extensions=on,"
    "filter_turning_extensions=on,filter_pipelining_extension=on,bdat_size=102400,xexch50_size=102400,"
    "bare_lf_is_invalid=on,mime_headers=on,reply_codes=500+502+504+555,blank_is_empty=on",
    "mailguard:pix-5,eod_split=crlfdotcrlf",
    "mailguard:asa-8,special_character=on,body-line-length.action=drop-connection",
    "sonicwall,extended_packers=on,block_multiple_compress_files=on",
)


class Survey(NamedTuple):
    """All mails of a capture, and the connections without one. `fault`: why it could not be read to its end.

    `specs`: what each inspector's label stands for; `left_out`: accepted mails, and other cases, beyond the limits.
    `stopped`: packets that were read when somebody stopped it, 0 else.
    """

    cases: list[Case]
    fault: CaptureError | None
    specs: Mapping[str, str | Inspector]
    left_out: tuple[int, int]
    tally: Tally
    stopped: int = 0


Watch = Callable[[Engine], AbstractContextManager[object]]  # who looks on while an engine reads


class _Open:
    """What is kept of a connection until it is over: alerts with their number, so that their order can be told."""

    def __init__(self) -> None:
        self.mails: list[tuple[Mail, list[tuple[int, Alert]]]] = []
        self.alerts: list[tuple[int, Alert]] = []
        self.marks: list[Alert] = []  # of Properties
        self.mailed = False  # has it had a mail, kept or not?

    def of(self, tx_id: int) -> tuple[list[tuple[int, Alert]], list[Alert]]:
        """The alerts and marks of a mail, which are not kept here any longer."""
        mine = [each for each in self.alerts if each[1].tx_id == tx_id]
        marks = [each for each in self.marks if each.tx_id == tx_id]
        self.alerts = [each for each in self.alerts if each[1].tx_id != tx_id]
        self.marks = [each for each in self.marks if each.tx_id != tx_id]
        return mine, marks


class _Reader:
    """Makes cases of records. Of a connection no more is kept than of a capture."""

    def __init__(self, specs: Mapping[str, str | Inspector]) -> None:
        self.specs = specs
        self.tally = Tally()
        self.cases: list[Case] = []
        self.kept, self.left = [0, 0], [0, 0]  # by: is there something to explain?
        self._open: dict[int, _Open] = {}
        self._alerts = 0

    def alert(self, alert: Alert) -> None:
        known = self._open.setdefault(alert.flow_id, _Open())
        if alert.inspector == PROPERTIES:
            known.marks.append(alert)
        elif alert.action not in ("pass", "alarm"):
            self._alerts += 1
            known.alerts.append((self._alerts, alert))

    def mail(self, mail: Mail) -> None:
        known = self._open.setdefault(mail.flow_id, _Open())
        known.mailed = True
        mine, marks = known.of(mail.tx_id)
        self.tally.add(mail, [*(each for _, each in [*mine, *known.alerts]), *marks, *known.marks])
        if self._room(_failed(mail)):
            known.mails.append((mail, _kept(mail, mine)))

    def flow(self, flow: Flow) -> None:
        known = self._open.pop(flow.flow_id, None) or _Open()
        for mail, mine in known.mails:
            more = [each for each in known.alerts if each[1].tx_id is None or each[1].tx_id == mail.tx_id]
            alerts = _kept(mail, sorted([*mine, *more], key=lambda each: each[0]))
            self._case(flow, mail, alerts)
        if not known.mailed and self._room(True):
            self._case(flow, None, known.alerts[: limits.DIAGNOSED_ALERTS])

    def _case(self, flow: Flow, mail: Mail | None, alerts: Sequence[tuple[int, Alert]]) -> None:
        self.cases.append(Case(flow, mail, tuple(alert for _, alert in alerts), specs=self.specs))

    def _room(self, failed: bool) -> bool:
        if self.kept[failed] >= (limits.DIAGNOSED_ACCEPTED, limits.DIAGNOSED_FAILED)[failed]:
            self.left[failed] += 1
            return False
        self.kept[failed] += 1
        return True


def survey(
    source: Input,
    inspectors: Sequence[str | Inspector] | None = None,
    *,
    ports: Sequence[int] = PORTS,
    watch: Watch | None = None,
) -> Survey:
    """`inspectors` None: all of EVERY. On Ctrl-C what was read counts. Raises UsageError like Engine.run."""
    given = tuple(EVERY if inspectors is None else inspectors)
    engine = Engine([*given, Properties()], ports=ports)
    reader = _Reader(dict(zip(engine.labels, given, strict=False)))
    fault, stopped = None, 0
    try:
        with watch(engine) if watch is not None else nullcontext():
            for record in engine.run(source):
                if isinstance(record, Alert):
                    reader.alert(record)
                elif isinstance(record, Mail):
                    reader.mail(record)
                elif isinstance(record, Flow):
                    reader.flow(record)
    except CaptureError as error:
        fault = error
    except KeyboardInterrupt:
        stopped = engine.progress[2]
    return Survey(reader.cases, fault, reader.specs, (reader.left[0], reader.left[1]), reader.tally, stopped)


def _failed(mail: Mail) -> bool:
    return mail.outcome not in ("accepted", "encrypted")


def _kept(mail: Mail, alerts: Sequence[tuple[int, Alert]]) -> list[tuple[int, Alert]]:
    """Of a mail that arrived: what would have cut, refused or answered in it, each rule of each inspector once."""
    if _failed(mail):
        return list(alerts[: limits.DIAGNOSED_ALERTS])
    kept: dict[tuple[str, str], tuple[int, Alert]] = {}
    for number, alert in alerts:
        if alert.breaks or alert.row.action.strength >= Strength.ANSWER:
            kept.setdefault((alert.inspector, alert.rule), (number, alert))
    return list(kept.values())
