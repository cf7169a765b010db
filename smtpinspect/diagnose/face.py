"""A diagnosis, step by step: survey, traces, what is observed, causes, what would help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from smtpinspect.diagnose import contrast, logs, lookalikes
from smtpinspect.diagnose.account import accounts
from smtpinspect.diagnose.causes import questions, rank, sweep, what_if
from smtpinspect.diagnose.model import Case, Diagnosis, Reading, Where
from smtpinspect.diagnose.observe.logged import logged
from smtpinspect.diagnose.observe.outcome import closer_look, observe
from smtpinspect.diagnose.paths import fingerprints, firewall_log, machine, points, proof
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.reading.month import Month
from smtpinspect.diagnose.survey import Survey, Watch, survey
from smtpinspect.diagnose.trace import source_at
from smtpinspect.engine import PORTS
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.source import Input
from smtpinspect.source.again import read_again, renamed

Explain = Callable[[Case], None]


class Asked(NamedTuple):
    """What to diagnose. `inspectors` None: all that are built in."""

    source: Input | None = None
    logs: tuple[str, ...] = ()
    inspectors: tuple[str, ...] | None = None
    taken: Where | None = None
    ports: Sequence[int] = PORTS
    points: tuple[Point, ...] = ()  # captures in path order; the first one is the source
    firewall_logs: tuple[str, ...] = ()
    watch: Watch | None = None  # looks on while the captures are read
    sweep: str = ""  # INSPECTOR[:PROFILE].KNOB: a limit whose values are tried


class Told(NamedTuple):
    """`fault`: why a capture or a log was not read to its end, the first one where several were not (notes tell of the
    others); `month`: what the logs tell in sum of what is not told with a mail, None without.
    """

    diagnosis: Diagnosis
    fault: CaptureError | None = None
    month: Month | None = None
    apart: tuple[Reading, ...] = ()  # of the logs' readings those that are not told with a mail of the capture
    joined: int = 0  # failed attempts that are


def diagnose(asked: Asked) -> Told:
    """Raises UsageError for what cannot be opened or is not known."""
    made = Diagnosis()
    lines = logs.opened(asked.logs)
    faults: list[CaptureError] = []
    explain: Explain | None = None
    if asked.source is not None:
        with read_again(asked.source) as source:
            found, explain = _captures(made, asked, source)
            faults += [renamed(fault, source, asked.source) for fault in found]
    told = logs.read(made, lines) if lines else None
    faults += told.faults if told is not None else ()
    for case in made.cases if told is not None else ():
        seen = logged(case) if case.failed else None
        if seen is not None and explain is not None:
            case.observed = seen
            explain(case)
    for fault in map(str, faults[1:]):
        made.notes += [] if any(fault in note for note in made.notes) else [fault]
    first = faults[0] if faults else None
    return Told(made, first) if told is None else Told(made, first, told.month, told.apart, told.joined)


def _captures(made: Diagnosis, asked: Asked, source: Input) -> tuple[list[CaptureError], Explain]:
    """The steps of a diagnosis from packets; why captures, and logs of firewalls, could not be read to their end, and
    the last of these steps, for a case of which more has become known."""
    seen = survey(source, asked.inspectors, ports=asked.ports, watch=asked.watch)
    if seen.stopped:
        made.notes.append(f"stopped after {seen.stopped:,} packets: what lies behind was not read")
        made.stopped = True
    for case in seen.cases:
        case.observed = observe(case, asked.taken)
    faults = [seen.fault]
    if seen.fault is not None and asked.points:
        made.notes.append(f"{asked.points[0].name}: {seen.fault}")
    closer = closer_look(seen.cases)
    flows = {case.flow.flow_id: case.flow for case in closer}
    made.notes += _left_out(seen, len(flows))
    found = accounts(source, flows.values())
    for case in closer:
        case.account = found.get(case.flow.flow_id)
        case.observed = observe(case, asked.taken)
    if not asked.points:
        closer = _both_sides(made, asked, source, seen.cases, closer)
    # whether a client gave up for what a box did is told by its dialogue only
    failed = [case for case in closer if case.failed or case.observed.outcome == "aborted"]
    for case in failed:
        _read(case)
    fingerprints.of(seen.cases)
    if len(asked.points) > 1:
        compared = points.compare(seen.cases, asked.points, ports=asked.ports)
        made.notes += compared.notes
        made.unmatched += compared.unmatched
        faults.append(compared.fault)
    proof.of(seen.cases)
    confirmed = firewall_log.join(seen.cases, asked.firewall_logs)
    made.notes += confirmed.notes
    made.unmatched += confirmed.unmatched
    faults.append(confirmed.fault)
    told, beside = contrast.of(seen), lookalikes.around(seen)

    def explain(case: Case) -> None:
        alike, out = lookalikes.judge(case, beside)
        rank(case, told, ([*alike, *confirmed.causes(case)], out))
        proof.firm(case, proof.causes(case))
        case.what_if = what_if(case, ports=asked.ports)
        case.questions = questions(case)

    for case in failed:
        explain(case)
    if len(asked.points) > 1:
        _named(seen.cases, asked.points[0].name)
    made.cases, made.left_out = seen.cases, seen.left_out
    if asked.sweep:
        made.sweep = sweep(source, asked.sweep, ports=asked.ports)
    return [fault for fault in faults if fault is not None], explain


def _both_sides(
    made: Diagnosis, asked: Asked, source: Input, cases: list[Case], closer: list[Case]
) -> list[Case]:
    """Where the capture shows both sides of a machine, each connection is told once, as on the client's side. Those
    that remain to be looked at."""
    passed = machine.part(closer, source)
    made.notes += passed.notes
    again = {id(case) for case in passed.again}
    cases[:] = [case for case in cases if id(case) not in again]
    for case in closer:
        before = case.observed
        if case.flow.flow_id in passed.moved:
            _read_again(case, asked)
        if case.trace is not None and case.trace.sides:
            case.observed = observe(case, asked.taken or "between")
            told = case.observed.vantage._replace(told=asked.taken is not None, signs=())
            case.observed = case.observed._replace(vantage=told)
            if before.outcome == "accepted" and case.observed.phase == "dotreply":  # the client never learnt
                case.observed = case.observed._replace(outcome="accepted", accepted=before.accepted)
    return [case for case in closer if id(case) not in again]


def _named(cases: Sequence[Case], point: str) -> None:
    """Where the packets lie that are told of."""
    for case in cases:
        taken = case.observed.vantage._replace(point=point)
        case.observed = case.observed._replace(vantage=taken)


def _read_again(case: Case, asked: Asked) -> None:
    """The mail and its alerts as the client's side shows them: both sides as one stream are none."""
    trace = case.trace
    if trace is None or trace.left_out or trace.packets[-1].number > limits.READ_AGAIN:
        return
    told = survey(source_at(trace), asked.inspectors, ports=asked.ports).cases
    number = None if case.mail is None else case.mail.tx_id
    same = [one for one in told if (None if one.mail is None else one.mail.tx_id) == number]
    if same:
        case.mail, case.alerts = same[0].mail, same[0].alerts


def _left_out(seen: Survey, flows: int) -> Iterator[str]:
    """What is too many to be told; `flows`: connections whose packets are wanted."""
    accepted, others = seen.left_out
    if others:
        yield f"{others:,} more failed, or had no mail: the first {limits.DIAGNOSED_FAILED:,} are explained"
    if accepted:
        yield f"{accepted:,} more were accepted: they count as contrast, and are not listed"
    if flows > limits.TRACES:
        yield f"of {flows:,} connections the packets of {limits.TRACES:,} were looked at; the others have no cause here"


def _read(case: Case) -> None:
    """Its dialogue, from the packets of its connection."""
    case.script = case.account.script if case.account is not None else None
    if case.script is not None and case.mail is not None and case.mail.tx_id < len(case.script.mails):
        case.transaction = case.script.mails[case.mail.tx_id]
