"""One pass of the engine over a capture: each mail with the emulated rules that fire for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.diagnose.model import Case
from smtpinspect.engine import PORTS, Engine, Stats
from smtpinspect.errors import CaptureError
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input


class Survey(NamedTuple):
    """All mails of a capture, and the connections without one. `fault`: why it could not be read to its end."""

    cases: list[Case]
    stats: Stats | None
    fault: CaptureError | None


def survey(
    source: Input, inspectors: Sequence[str | Inspector] | None = None, *, ports: Sequence[int] = PORTS
) -> Survey:
    """Raises UsageError like Engine.run."""
    engine = Engine(inspectors, ports=ports)
    mails: dict[int, list[Mail]] = {}
    alerts: dict[int, list[Alert]] = {}
    cases: list[Case] = []
    stats, fault = None, None
    try:
        for record in engine.run(source):
            if isinstance(record, Mail):
                mails.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Alert):
                alerts.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Flow):
                fired = alerts.pop(record.flow_id, [])
                for mail in mails.pop(record.flow_id, [None]):
                    tx_id = None if mail is None else mail.tx_id
                    mine = tuple(alert for alert in fired if alert.tx_id is None or alert.tx_id == tx_id)
                    cases.append(Case(record, mail, mine))
            else:
                stats = record
    except CaptureError as error:
        fault = error
    return Survey(cases, stats, fault)
