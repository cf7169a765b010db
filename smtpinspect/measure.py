"""What a capture costs, and how much of it each stage, inspector and rule.

Measured by leaving out: the same frames go through the program with and without what is to be told, and the
difference is its cost. `none` runs without any rule, `all` with every one, `records` writes EVE besides. Each
inspector and each rule runs alone: that is what it costs a firewall that checks nothing else, and the difference of
two short runs stands out where that of two long ones would not. Rules that share work (all that look into attachments
do) each bear the whole of it, so that they do not add up to what their inspector costs.

The cases take short turns, run by run, and `none` comes several times in each: a slow spell of the machine meets all.
A cost is the median, over the runs, of what a case took more than `none` in the same run, in processor time of all
threads: to wait for the disk or for another program is no rule's cost. A median, since a run that was disturbed must
not count, and the least of them would be that of the luckiest run. Speed is the clock on the wall, which is what a user
waits. What the copies of `none` cost by the same reckoning is the noise; below twice of it no cost is told.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal

from smtpinspect._core.eve import EveSink
from smtpinspect._core.records import Sink
from smtpinspect._core.rows import Program
from smtpinspect._core.skim import skim
from smtpinspect.engine import Engine, Run
from smtpinspect.errors import CaptureError
from smtpinspect.facts import CONTENT
from smtpinspect.inspectors import registry
from smtpinspect.source import Input, Source, open_source

RUNS: Final = 15
LEAST: Final = 5  # runs, however long they take
LONG: Final = 75.0  # seconds after which no further run begins, where nobody asked for a number of runs
TURN: Final = 0.05  # seconds of a turn, in as many passes as fit: 15 turns are 0.75 s a case, and a minute for 55 cases
PART: Final = 256_000_000  # octets of frames that a pass reads at most
COPIES: Final = 8  # of `none` in each run
PIECE: Final = 4_096  # frames between two looks at how much was read
STEP: Final = 65_536  # frames between two looks for Ctrl-C

STAGES: Final = ("reading", "frames", "dialogue", "attachments", "rules", "records")

How = Literal["read", "frames", "count", "write"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds; a test brings its own."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time  # of all threads


@dataclass(slots=True, eq=False)
class Case:
    """One way to pass over the frames, and the seconds that a pass took in each run."""

    name: str
    how: How = "count"
    program: Program | None = None
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    alerts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a stage, an inspector or a rule. `seconds` of a pass: None when it was not measured, 0.0 when less than
    the noise.
    """

    name: str
    seconds: float | None
    owner: str = ""  # the label of a rule's inspector
    alerts: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known so far, about one pass over the measured part."""

    packets: int = 0
    octets: int = 0  # captured octets of these packets
    connections: int = 0
    mails: int = 0
    whole: bool = True  # was it the capture to its end?
    threads: int = 1
    runs: int = 0  # that every case has behind it
    wall: float | None = None  # seconds with all rules, records written; the median
    wall_none: float | None = None  # without any rule, records counted
    cpu: float | None = None  # as `wall`, in processor time
    noise: float | None = None
    stages: tuple[Cost, ...] = ()  # in the order of STAGES
    inspectors: tuple[Cost, ...] = ()
    together: Cost = Cost("together", None)  # all inspectors
    rules: tuple[Cost, ...] = ()
    fault: CaptureError | None = None


class Bench:
    """Measures a capture with an engine's inspectors.

    `again` gives the capture as often as it is asked: it is read from the start for each pass. Of a long one the
    first part is measured: what one pass with all rules reads within TURN, at most PART octets; all of it if `whole`.
    """

    def __init__(
        self, engine: Engine, again: Callable[[], Input], *, whole: bool = False, clock: Clock | None = None
    ) -> None:
        self.engine = engine
        self.again = again
        self.whole = whole
        self.clock = clock or Clock()
        self.copies = [Case("none", program=Program([])) for _ in range(COPIES)]
        self.all = Case("all", program=engine.program)
        self.content = Case("attachments", program=self._only(lambda row: row.when.kind is CONTENT))
        self.read = Case("reading", "read")
        self.frames = Case("frames", "frames")
        self.write = Case("records", "write", engine.program)
        self.inspectors: list[tuple[Case, str]] = []
        self.rules: list[tuple[Case, str]] = []
        for label, made, _ in self._labelled():
            rows = made.table()
            if rows:
                only = self._program([(label, made, rows)])
                self.inspectors.append((Case(label, program=only), label))
            for rule in dict.fromkeys(row.id for row in rows):
                only = self._program([(label, made, [row for row in rows if row.id == rule])])
                self.rules.append((Case(rule, program=only), label))
        self._seen = Measured(threads=getattr(engine, "threads", 1))

    def turns(self, runs: int | None = None) -> Iterator[tuple[int, int, str]]:
        """Measure; before each step tell (how many are done, how many there are, what comes next).

        RUNS, or fewer on a machine that is busy, unless `runs` tells. To stop is to ask no more: `measured` has what
        is known.
        """
        begun = self.clock.wall()
        yield 0, 0, "first pass"
        yield from self._survey()
        if not self._seen.packets:
            return
        order = self._order()
        n = (runs or RUNS) * len(order)
        for run in range(runs or RUNS):
            if runs is None and run >= LEAST and self.clock.wall() - begun > LONG:
                return
            for place, case in enumerate(order):
                yield run * len(order) + place, n, case.name
                self._turn(case)
            self._seen = replace(self._seen, runs=run + 1)

    def measured(self) -> Measured:
        """What the passes so far come to."""
        none = _medians([case.cpu for case in self.copies])
        noise = self._noise()
        content = self.content.cpu if self.engine.program.wants_content else none
        nothing = [0.0] * len(self.read.cpu)
        # Of two short passes the difference is surer than of those that the noise is taken from.
        costs = [over(self.read.cpu, nothing, 0.0), over(self.frames.cpu, self.read.cpu, 0.0)]
        chain = (self.frames.cpu, none, content, self.all.cpu, self.write.cpu)
        costs += [over(after, before, noise or 0.0) for before, after in pairwise(chain)]
        stages = tuple(Cost(name, seconds) for name, seconds in zip(STAGES, costs, strict=True))
        alerts = {owner: case.alerts for case, owner in self.inspectors}
        return replace(
            self._seen,
            wall=statistics.median(self.write.wall) if self.write.wall else None,
            wall_none=statistics.median(_medians([case.wall for case in self.copies])) if none else None,
            cpu=statistics.median(self.write.cpu) if self.write.cpu else None,
            noise=noise,
            stages=stages,
            inspectors=tuple(
                Cost(case.name, over(case.cpu, none, noise), owner, sum(case.alerts.values()))
                for case, owner in self.inspectors
            ),
            together=Cost("together", over(self.all.cpu, none, noise), "", sum(self.all.alerts.values())),
            rules=tuple(
                Cost(case.name, over(case.cpu, none, noise), owner, alerts[owner].get(case.name, 0))
                for case, owner in self.rules
            ),
        )

    def _noise(self) -> float | None:
        """Twice the most that a copy of `none` seems to cost beside the others."""
        seen = [case.cpu for case in self.copies if case.cpu]
        if len(seen) < 2:
            return None
        return 2 * max(abs(_more(one, _medians([s for s in seen if s is not one]))) for one in seen)

    @contextmanager
    def ready(self, case: Case) -> Iterator[Callable[[], object]]:
        """A pass, made ready: opening and setting up are not measured."""
        frames = self._seen.packets
        source = open_source(self.again())
        with closing(source):
            if case.program is None:
                yield partial(_skim, source, frames, case.how == "frames")
            elif case.how == "write":
                with open(os.devnull, "wb") as nowhere:
                    eve = EveSink(case.program, nowhere)
                    yield partial(_pass, self._run(case.program, source, eve), frames, eve.drain)
            else:
                sink = Sink(case.program)
                yield partial(_pass, self._run(case.program, source, sink), frames)
                case.alerts = sink.alert_counts()

    def _order(self) -> list[Case]:
        """The cases of a run: first what everything else is compared with, the copies of `none` evenly between."""
        cases = [self.read, self.frames, self.all, self.write, self.content]
        cases += [case for case, _ in (*self.inspectors, *self.rules)]
        gap = len(cases) / (len(self.copies) - 1)
        for place, copied in reversed([*enumerate(self.copies)]):
            cases.insert(round(place * gap), copied)
        return cases

    def _turn(self, case: Case) -> None:
        clock = self.clock
        cpu = wall = passes = 0.0
        begun = clock.wall()
        while not passes or clock.wall() - begun < TURN:
            with self.ready(case) as work:
                cpu, wall = cpu - clock.cpu(), wall - clock.wall()
                work()
                cpu, wall = cpu + clock.cpu(), wall + clock.wall()
            passes += 1
        case.cpu.append(cpu / passes)
        case.wall.append(wall / passes)

    def _survey(self) -> Iterator[tuple[int, int, str]]:
        """Which part is measured, and what it holds."""
        program = self.engine.program
        begun = self.clock.cpu()
        with closing(open_source(self.again())) as source:
            sink = Sink(program)
            replay = self._run(program, source, sink).replay
            more = True
            while more and (self.whole or not replay.packets or self._room(replay.octets, begun)):
                more = replay.step(PIECE)
                yield 0, 0, "first pass"
            replay.finish()
        with closing(open_source(self.again())) as source:
            octets = _skim(source, replay.packets, False)
        self._seen = replace(
            self._seen,
            packets=replay.packets,
            octets=octets,
            connections=replay.connections,
            mails=sink.mails,
            whole=not more,
            fault=replay.fault,
        )

    def _room(self, octets: int, begun: float) -> bool:
        return octets < PART and self.clock.cpu() - begun < TURN

    def _run(self, program: Program, source: Source, sink: Sink) -> Run:
        engine = copy(self.engine)
        engine.program = program
        return Run(engine, source, sink)

    def _labelled(self) -> list[tuple[str, Any, bool]]:
        chosen = zip(self.engine.labels, self.engine.inspectors, strict=True)
        return [*((label, made, True) for label, made in chosen), *((m.name, m, False) for m in registry.always())]

    def _program(self, parts: Sequence[tuple[str, Any, Sequence[Any]]]) -> Program:
        judged = {label: judged for label, _, judged in self._labelled()}
        return Program([(label, made, rows, judged[label], made.profile) for label, made, rows in parts])

    def _only(self, wanted: Callable[[Any], bool]) -> Program:
        return self._program([(label, made, [*filter(wanted, made.table())]) for label, made, _ in self._labelled()])


def _pass(run: Run, frames: int, drain: Callable[[], None] | None = None) -> None:
    replay = run.replay
    while replay.packets < frames and replay.step(min(STEP, frames - replay.packets)):
        if drain:
            drain()
    replay.finish()
    if drain:
        drain()


def _skim(source: Source, frames: int, decode: bool) -> int:
    """Read, and perhaps take apart, so many frames; their octets."""
    total = 0
    while frames > 0:
        n, octets = skim(source, min(STEP, frames), decode)
        total += octets
        frames = frames - n if n else 0
    return total


def over(after: Sequence[float], before: Sequence[float], noise: float | None) -> float | None:
    """What the one took more than the other; 0.0 within the noise, None when one of them was not measured."""
    if not after or not before or noise is None:
        return None
    more = _more(after, before)
    return more if more > noise else 0.0


def _more(after: Sequence[float], before: Sequence[float]) -> float:
    return statistics.median(one - other for one, other in zip(after, before, strict=False))


def _medians(cases: Sequence[Sequence[float]]) -> list[float]:
    """Of each run, as far as one of them got."""
    runs = max(map(len, cases))
    return [statistics.median(seconds[run] for seconds in cases if run < len(seconds)) for run in range(runs)]


def shares(costs: Sequence[Cost]) -> list[float]:
    """What each is of them all: parts of 1."""
    seconds = [cost.seconds or 0.0 for cost in costs]
    total = sum(seconds)
    return [part / total if total else 0.0 for part in seconds]
