"""A diagnosis, step by step: survey, traces, what is observed, causes, what would help."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpinspect.diagnose import contrast, lookalikes
from smtpinspect.diagnose.causes import questions, rank, sweep, what_if
from smtpinspect.diagnose.model import Case, Diagnosis, Reading, Where
from smtpinspect.diagnose.observe.outcome import closer_look, observe
from smtpinspect.diagnose.paths import fingerprints, firewall_log, machine, points, proof
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.reading import NO_LINE, read_file, read_text
from smtpinspect.diagnose.reading.joined import Joiner
from smtpinspect.diagnose.reading.month import Counting, Month
from smtpinspect.diagnose.survey import Survey, Watch, survey
from smtpinspect.diagnose.trace import source_at, source_of, traces
from smtpinspect.engine import PORTS
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits
from smtpinspect.simulate.script import script_of
from smtpinspect.source import Input
from smtpinspect.source.again import read_again


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
    """`fault`: why a capture or a log was not read to its end; `month`: what the logs tell in sum of what is
    not told with a mail, None without.
    """

    diagnosis: Diagnosis
    fault: CaptureError | None = None
    month: Month | None = None
    apart: tuple[Reading, ...] = ()  # of the logs' readings those that are not told with a mail of the capture
    joined: int = 0  # failed attempts that are


def diagnose(asked: Asked) -> Told:
    """Raises UsageError for what cannot be opened or is not known."""
    made = Diagnosis()
    fault = None
    if asked.source is not None:
        with read_again(asked.source) as source:
            fault = _captures(made, asked, source)
    if not asked.logs:
        return Told(made, fault)
    month, unread, apart, with_mail = _logs(made, asked.logs)
    if any(case.failed for case in made.cases) and not any(case.log_lines for case in made.cases):
        made.unmatched.append("--log: no line is about a failed mail of the capture")
    return Told(made, unread or fault, month, tuple(apart), with_mail)


def _captures(made: Diagnosis, asked: Asked, source: Input) -> CaptureError | None:
    """The steps of a diagnosis from packets; why the capture could not be read to its end."""
    seen = survey(source, asked.inspectors, ports=asked.ports, watch=asked.watch)
    if seen.stopped:
        made.notes.append(f"stopped after {seen.stopped:,} packets: what lies behind was not read")
        made.stopped = True
    for case in seen.cases:
        case.observed = observe(case, asked.taken)
    fault: CaptureError | None = None
    if seen.fault is not None and asked.points:
        made.notes.append(f"{asked.points[0].name}: {seen.fault}")
    closer = closer_look(seen.cases)
    flows = {case.flow.flow_id: case.flow for case in closer}
    made.notes += _left_out(seen, len(flows))
    found = traces(source, flows.values())
    for case in closer:
        case.trace = found.get(case.flow.flow_id)
        case.observed = observe(case, asked.taken)
    if not asked.points:
        closer = _both_sides(made, asked, source, seen.cases, closer)
    # whether a client gave up for what a box did is told by its dialogue only
    failed = [case for case in closer if case.failed or case.observed.outcome == "aborted"]
    for case in failed:
        _read(case, asked.ports)
    fingerprints.of(seen.cases)
    if len(asked.points) > 1:
        compared = points.compare(seen.cases, asked.points, ports=asked.ports)
        made.notes += compared.notes
        made.unmatched += compared.unmatched
        fault = compared.fault
    proof.of(seen.cases)
    logged = firewall_log.join(seen.cases, asked.firewall_logs)
    made.notes += logged.notes
    made.unmatched += logged.unmatched
    told, beside = contrast.of(seen), lookalikes.around(seen)
    for case in failed:
        alike, out = lookalikes.judge(case, beside)
        rank(case, told, ([*alike, *logged.causes(case)], out))
        proof.firm(case, proof.causes(case))
        case.what_if = what_if(case, ports=asked.ports)
        case.questions = questions(case)
    made.cases, made.left_out = seen.cases, seen.left_out
    if asked.sweep:
        made.sweep = sweep(source, asked.sweep, ports=asked.ports)
    return seen.fault or fault or logged.fault


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


def _logs(made: Diagnosis, logs: Sequence[str]) -> tuple[Month, CaptureError | None, list[Reading], int]:
    """Lines, and files of them. What is told with a mail is kept, then failures as far as there is room, then
    deliveries; the sums count all but the first ones.
    """
    tally, joiner = Counting(), Joiner(made.cases)
    with_mail: list[tuple[int, Reading]] = []
    attempts = 0
    fault: CaptureError | None = None
    kept: dict[bool | None, list[tuple[int, Reading]]] = {True: [], False: [], None: []}  # by: has it failed?
    room = limits.DIAGNOSED_READINGS
    number = 0
    try:
        for log in logs:
            before = number
            try:
                for told in _readings(log):
                    number += 1
                    if joiner.take(told):
                        attempts += told.failed
                        if len(with_mail) < room:
                            with_mail.append((number, told))
                        continue
                    tally.add(told)
                    some = kept[None if told.fate in ("received", "none") else told.failed]
                    if len(some) < room:
                        some.append((number, told))
            except CaptureError as error:
                fault = error
            if number == before and fault is None:
                _nothing(made, log)
    except KeyboardInterrupt:
        made.notes.append("stopped while the log was read: what lies behind is not counted")
        made.stopped = True
    joiner.fill()
    chosen = [*kept[True], *kept[False], *kept[None]][: room - len(with_mail)]
    made.readings = [told for _, told in sorted([*with_mail, *chosen], key=lambda each: each[0])]
    return tally.month(), fault, [told for _, told in sorted(chosen, key=lambda each: each[0])], attempts


def _nothing(made: Diagnosis, log: str) -> None:
    """A file without a line of a mail server: an error, unless there is something else to tell, or it is empty."""
    empty = log != "-" and os.path.isfile(log) and not os.path.getsize(log)
    told = f"{log}: it is empty" if empty else f"--log {log}: {NO_LINE}"
    if not empty and not made.cases and not made.readings:
        raise UsageError(told)
    made.notes.append(told)


def _readings(log: str) -> Iterator[Reading]:
    if log == "-" or os.path.exists(log):
        yield from read_file(log, idle=True)
        return
    if " " not in log and (os.sep in log or log.endswith((".log", ".gz", ".txt"))):
        raise UsageError(f"--log {log}: no such file")
    told = read_text(log)
    if not told:
        shown = log[:60].encode("unicode_escape").decode() + ("..." if len(log) > 60 else "")
        raise UsageError(f"--log '{shown}' is no file, and {NO_LINE}")
    yield from told


def _read(case: Case, ports: Sequence[int]) -> None:
    """Its dialogue, from the packets of its connection."""
    if case.trace is None or not case.trace.packets:
        return
    script = script_of(source_of(case.trace), 1, ports=(*ports, int(case.flow.server.rpartition(":")[2])))
    case.script = script
    if script is not None and case.mail is not None and case.mail.tx_id < len(script.mails):
        case.transaction = script.mails[case.mail.tx_id]
