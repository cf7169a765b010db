"""A diagnosis, step by step: survey, traces, what is observed, causes, what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smtpinspect.diagnose.model import Diagnosis, Where
from smtpinspect.diagnose.observe.outcome import observe
from smtpinspect.diagnose.survey import survey
from smtpinspect.diagnose.trace import traces
from smtpinspect.engine import PORTS
from smtpinspect.errors import CaptureError
from smtpinspect.source import Input


class Asked(NamedTuple):
    """What to diagnose. `inspectors` None: all that are built in."""

    source: Input | None = None
    logs: tuple[str, ...] = ()
    inspectors: tuple[str, ...] | None = None
    taken: Where | None = None
    ports: Sequence[int] = PORTS


class Told(NamedTuple):
    """`fault`: why the capture could not be read to its end."""

    diagnosis: Diagnosis
    fault: CaptureError | None = None


def diagnose(asked: Asked) -> Told:
    """Raises UsageError for what cannot be opened or is not known."""
    made = Diagnosis()
    fault = None
    if asked.source is not None:
        seen = survey(asked.source, asked.inspectors, ports=asked.ports)
        fault = seen.fault
        for case in seen.cases:
            case.observed = observe(case)
        closer = [case for case in seen.cases if case.failed]
        found = traces(asked.source, {case.flow.flow_id: case.flow for case in closer}.values())
        for case in closer:
            case.trace = found.get(case.flow.flow_id)
            case.observed = observe(case)
        made.cases = seen.cases
    return Told(made, fault)
