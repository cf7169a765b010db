"""One pass of the engine over a capture: each mail with the emulated rules that fire for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.actions import Strength
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.properties import NAME as PROPERTIES
from smtpinspect.diagnose.properties import Properties
from smtpinspect.diagnose.tally import Tally
from smtpinspect.diagnose.trace import Trace
from smtpinspect.engine import PORTS, Engine, Stats
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input, Source, open_source

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
RAW: Final = 101  # LINKTYPE_RAW: a trace holds whole IP packets
SECOND: Final = 1_000_000_000


class Survey(NamedTuple):
    """All mails of a capture, and the connections without one. `fault`: why it could not be read to its end.

    `specs`: what each inspector's label stands for; `left_out`: cases beyond the limits, accepted and others, that
    were counted only.
    """

    cases: list[Case]
    stats: Stats | None
    fault: CaptureError | None
    specs: Mapping[str, str | Inspector] = {}
    left_out: tuple[int, int] = (0, 0)
    tally: Tally = Tally()


def survey(
    source: Input, inspectors: Sequence[str | Inspector] | None = None, *, ports: Sequence[int] = PORTS
) -> Survey:
    """`inspectors` None: all of EVERY. Raises UsageError like Engine.run."""
    given = tuple(EVERY if inspectors is None else inspectors)
    engine = Engine([*given, Properties()], ports=ports)
    specs = dict(zip(engine.labels, given, strict=False))
    tally = Tally()
    mails: dict[int, list[Mail]] = {}
    marks: dict[int, list[Alert]] = {}  # of Properties
    alerts: dict[int, list[Alert]] = {}
    cases: list[Case] = []
    kept, left = [0, 0], [0, 0]  # by: is there something to explain?
    stats, fault = None, None
    try:
        for record in engine.run(source):
            if isinstance(record, Mail):
                tally.number(record)
                mails.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Alert):
                if record.inspector == PROPERTIES:
                    marks.setdefault(record.flow_id, []).append(record)
                elif record.action not in ("pass", "alarm"):
                    alerts.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Flow):
                fired, seen = alerts.pop(record.flow_id, []), marks.pop(record.flow_id, [])
                for case in _cases(record, mails.pop(record.flow_id, []), fired):
                    if case.mail is not None:
                        tally.add(record, case.mail, [*fired, *seen])
                    failed = case.mail is None or case.mail.outcome not in ("accepted", "encrypted")
                    if kept[failed] >= (limits.DIAGNOSED_ACCEPTED, limits.DIAGNOSED_FAILED)[failed]:
                        left[failed] += 1
                        continue
                    kept[failed] += 1
                    case.specs = specs
                    case.alerts = case.alerts[: limits.DIAGNOSED_ALERTS] if failed else _contrast(case.alerts)
                    cases.append(case)
            else:
                stats = record
    except CaptureError as error:
        fault = error
    return Survey(cases, stats, fault, specs, (left[0], left[1]), tally)


def _cases(flow: Flow, mails: Sequence[Mail], fired: Sequence[Alert]) -> list[Case]:
    if not mails:
        return [Case(flow, None, tuple(fired))]
    return [
        Case(flow, mail, tuple(each for each in fired if each.tx_id is None or each.tx_id == mail.tx_id))
        for mail in mails
    ]


def _contrast(alerts: Sequence[Alert]) -> tuple[Alert, ...]:
    """Of a mail that arrived: what would have cut or refused it, each rule of each inspector once."""
    kept: dict[tuple[str, str], Alert] = {}
    for alert in alerts:
        if alert.breaks or alert.row.action.strength >= Strength.ANSWER:
            kept.setdefault((alert.inspector, alert.rule), alert)
    return tuple(kept.values())


def source_of(trace: Trace) -> Source:
    """The packets of a trace as a source by itself; its frames count from 1."""
    frames = [(Decimal(packet.ns) / SECOND, packet.ip) for packet in trace.packets]
    return open_source(frames, linktype=RAW)
