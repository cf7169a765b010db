"""source → core → inspectors → alerts and mails. `replay` is the face of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple

from smtpinspect._core.eve import EveSink
from smtpinspect._core.records import Sink
from smtpinspect._core.replay import Replay
from smtpinspect._core.rows import Program
from smtpinspect._core.views import Alert, Flow, Mail, ObjectSink
from smtpinspect.errors import UsageError
from smtpinspect.grammar.limits import THREADS
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input, open_source

PORTS: Final = (25, 587, 465, 2525)  # smtp, submission, submissions, and what providers use beside 587
RECORDS: Final = frozenset({"mail", "alert", "flow"})
STEP: Final = 65_536  # frames read before Python looks at progress and at Ctrl-C

Record = Alert | Mail | Flow


class Kernel(NamedTuple):
    """Frames of a live source that passed its filter, those of them that were dropped, and how often it stood still."""

    received: int
    dropped: int
    freezes: int


class Stats(NamedTuple):
    """What a run saw. `truncated` tells why the capture could not be read to its end, None when it could.

    `kernel` counts for a live source, and is None of a capture.
    """

    packets: int
    octets: int
    connections: int
    mails: int
    alerts: dict[str, int]
    seconds: float
    truncated: str | None
    unknown_links: frozenset[int] = frozenset()
    bad_frames: int = 0
    record: str = "stats"
    kernel: Kernel | None = None

    @property
    def smtp(self) -> bool:
        """Was there any SMTP connection?"""
        return self.connections > 0


class Result:
    """All records of a replay."""

    __slots__ = ("alerts", "flows", "mails", "stats")

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.alerts: list[Alert] = []
        self.flows: list[Flow] = []
        self.stats: Stats | None = None


def compile_rows(inspectors: Sequence[Inspector]) -> Program:
    """Compile the rows of these inspectors and of those that always run."""
    chosen = [*zip(registry.label_all(inspectors), inspectors, strict=True)]
    rows = [(label, made, made.table(), True, made.profile) for label, made in chosen]
    rows += [(made.name, made, made.table(), False, made.profile) for made in registry.always()]
    return Program(rows)


def _shown(records: frozenset[str] | set[str]) -> dict[str, bool]:
    """These records, as a sink is told of them."""
    if unknown := set(records) - RECORDS:
        raise ValueError(f"no such records: {', '.join(sorted(unknown))}")
    return {"alerts": "alert" in records, "mails": "mail" in records, "flows": "flow" in records}


class Engine:
    """Inspectors, ready to run over any number of sources.

    `inspectors` holds specs (`mailguard:pix-6,deny_style=noop`) or instances; None means every built-in product at
    its default profile, an empty list none. `ports` are the server ports, beside those that a configuration names;
    a 220 greeting is found on any port.
    What AUTH carries is masked in evidence unless `secrets`. `threads` share the connections; the records and their
    order are the same for any number. Raises UsageError for what it does not know.
    """

    def __init__(
        self,
        inspectors: Sequence[str | Inspector] | None = None,
        *,
        ports: Sequence[int] = PORTS,
        secrets: bool = False,
        threads: int = 1,
    ) -> None:
        if not isinstance(threads, int) or not 1 <= threads <= THREADS:
            raise UsageError(f"{threads!r} threads: 1 to {THREADS} can share the work")
        if isinstance(inspectors, (str, Inspector)):
            inspectors = [inspectors]
        self.inspectors: tuple[Inspector, ...] = (
            registry.default() if inspectors is None else tuple(registry.load(each) for each in inspectors)
        )
        self.labels: tuple[str, ...] = tuple(registry.label_all(self.inspectors))
        self.ports = tuple(dict.fromkeys([*ports, *(port for made in self.inspectors for port in made.ports)]))
        self.secrets = secrets
        self.threads = threads
        self.program = compile_rows(self.inspectors)
        self._progress: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
        self.reading = False  # while it is, an exception loses nothing
        self._stopped = False

    def stop(self) -> None:
        """End the run as Ctrl-C does, before it reads on."""
        self._stopped = True

    @property
    def progress(self) -> tuple[int, int, int, int, int]:
        """Octets read, octets in all (0 when not known), packets, mails and alerts so far."""
        return self._progress

    def looks_at(self, label: str, client: str, server: str) -> bool:
        """Does the inspector of this label look at a connection between these ends (`ADDRESS:PORT`)?"""
        if not self.program.scopes.any:
            return True
        address, _, port = server.rpartition(":")
        opener = client.rpartition(":")[0].strip("[]")
        number = self.labels.index(label)
        return self.program.scopes.looks_between(number, opener, address.strip("[]"), int(port))

    def run(
        self,
        source: Input,
        records: frozenset[str] | set[str] = RECORDS,
        progress: Callable[[Engine], None] | None = None,
    ) -> Iterator[Record | Stats]:
        """Records as they become final, a Stats at the end.

        `records` of {"mail", "alert", "flow"} are made; without "alert", mails have no `alerts`. `progress` is called
        between two steps; of a live source several times a second, whether there were frames or not.
        Raises UsageError for a source that cannot be opened, and CaptureError, after the Stats, for one that could
        not be read to its end. On Ctrl-C the records of what was read come before KeyboardInterrupt goes on.
        """
        sink = ObjectSink(self.program, **_shown(records))
        run = Run(self, source, sink)
        stopped: KeyboardInterrupt | None = None
        try:
            more = True
            while more:
                try:
                    more = run.step()
                except KeyboardInterrupt as error:
                    stopped, more = error, False
                    run.finish()
                yield from sink.out
                sink.out = []
                if progress:
                    progress(self)
            yield run.stats(stopped is not None)
        finally:
            run.close()
        if stopped is not None:
            raise stopped
        run.complain()

    def write_eve(
        self,
        source: Input,
        out: BinaryIO,
        records: frozenset[str] | set[str] = RECORDS,
        progress: Callable[[Engine], None] | None = None,
    ) -> Stats:
        """EVE records (one JSON object a line) written by the core; the stats line comes last, always.

        Raises like `run`. On Ctrl-C the records of what was read are written before KeyboardInterrupt goes on.
        """
        sink = EveSink(self.program, out, **_shown(records))
        run = Run(self, source, sink)
        try:
            try:
                while run.step():
                    sink.drain()
                    if progress:
                        progress(self)
            finally:
                stopped = not run.replay.done
                run.finish()
                stats = run.stats(stopped)
                sink.stats(stats)
                sink.drain()
        finally:
            run.close()
        run.complain()
        return stats


class Run:
    """One pass: the core's loop, its clock and its complaint."""

    def __init__(self, engine: Engine, source: Input, sink: Sink, tape: Any = None) -> None:
        self.engine = engine
        self.sink = sink
        self.start = time.perf_counter()
        self.source = open_source(source)
        threads = 1 if tape is not None else engine.threads
        try:
            self.replay = Replay(self.source, engine.program, sink, engine.ports, tape, engine.secrets, threads)
        except RuntimeError as error:
            self.source.close()
            raise UsageError(f"{threads} threads: {error}") from error

    def step(self) -> bool:
        engine = self.engine
        if engine._stopped:
            engine._stopped = False
            raise KeyboardInterrupt
        engine.reading = True
        try:
            more = self.replay.step(STEP)
        finally:
            engine.reading = False
        self._note()
        return more

    def records(self) -> Iterator[Any]:
        """What an ObjectSink makes, step after step; who asks closes the run. On Ctrl-C the records of what was read
        come before KeyboardInterrupt goes on.
        """
        assert isinstance(self.sink, ObjectSink)
        stopped: KeyboardInterrupt | None = None
        more = True
        while more:
            try:
                more = self.step()
            except KeyboardInterrupt as error:
                stopped, more = error, False
                self.finish()
            made, self.sink.out = self.sink.out, []
            yield from made
        if stopped is not None:
            raise stopped

    def finish(self) -> None:
        """Nothing more is read: what is open ends here."""
        self.replay.finish()
        self._note()

    def _note(self) -> None:
        self.engine._progress = (
            self.source.octets_read,
            self.source.octets_total,
            self.replay.packets,
            self.sink.mails,
            self.sink.fired,
        )

    def stats(self, stopped: bool = False) -> Stats:
        fault = self.replay.fault
        truncated = None if fault is None else str(fault)
        if stopped and fault is None:
            truncated = f"stopped after {self.replay.packets:,} packets"
        counts = getattr(self.source, "counts", None)
        return Stats(
            packets=self.replay.packets,
            octets=self.replay.octets,
            connections=self.replay.connections,
            mails=self.sink.mails,
            alerts=self.sink.alert_counts(),
            seconds=round(time.perf_counter() - self.start, 6),
            truncated=truncated,
            unknown_links=frozenset(self.replay.unknown_links),
            bad_frames=self.replay.bad_frames,
            kernel=None if counts is None else Kernel(*counts),
        )

    def close(self) -> None:
        self.replay.close()
        with suppress(Exception):
            self.source.close()

    def complain(self) -> None:
        if self.replay.fault is not None:
            raise self.replay.fault


def replay(
    source: Input, inspectors: Sequence[str | Inspector] | None = None, *, ports: Sequence[int] = PORTS
) -> Result:
    """Run a source through inspectors and keep all records. Raises like Engine.run."""
    result = Result()
    for record in Engine(inspectors, ports=ports).run(source):
        if isinstance(record, Mail):
            result.mails.append(record)
        elif isinstance(record, Alert):
            result.alerts.append(record)
        elif isinstance(record, Flow):
            result.flows.append(record)
        else:
            result.stats = record
    return result
