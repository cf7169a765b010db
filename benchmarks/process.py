"""Whole processes, measured: time, memory, and what they wrote; several programs in turn."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
BLOCK = 1 << 16
LEAST = 1e-5  # seconds above start-up; less is noise


class Failed(Exception):
    pass


@dataclass(frozen=True)
class Run:
    seconds: float
    busy: float
    """processor seconds of all its threads"""
    peak: int
    """resident octets at most; pages of a mapped file count"""
    output: str
    """its begin"""
    lines: int


def run(words: Sequence[str]) -> Run:
    """A whole process. Little of its output is kept: a child's peak is never told below that of its parent."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C: nobody is left behind
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read()[-2_000:].decode(errors="replace")
            raise Failed(f"{shlex.join(words)}: exit status {process.returncode}\n{last}")
        out.seek(0)
        begin = out.read(BLOCK)
        lines = begin.count(b"\n") + sum(block.count(b"\n") for block in iter(lambda: out.read(BLOCK), b""))
    busy = usage.ru_utime + usage.ru_stime
    return Run(seconds, busy, usage.ru_maxrss * UNIT, begin.decode(errors="replace"), lines)


def warm(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def no_notes(done: Run) -> dict[str, object]:
    return {}


@dataclass(frozen=True)
class Program:
    name: str
    words: Callable[[Path], Sequence[str]]
    """its command line for a capture"""
    capture: Path | None = None
    """an excerpt that it reads instead; its time is multiplied by `scale`"""
    scale: float = 1.0
    notes: Callable[[Run], dict[str, object]] = no_notes
    """what it found, from its first run; fails when it did other work than it was measured for"""


@dataclass
class Taken:
    """What one program took, run by run."""

    scale: float = 1.0
    processor: bool = False
    """processor seconds count, not the clock's"""
    start_up: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)
    failed: str = ""

    def _median(self, runs: list[Run]) -> float:
        return statistics.median(run.busy if self.processor else run.seconds for run in runs)

    @property
    def started(self) -> float:
        return self._median(self.start_up)

    @property
    def seconds(self) -> float:
        """The median above start-up."""
        return max(self._median(self.runs) - self.started, LEAST) * self.scale

    @property
    def peak(self) -> int:
        return max(run.peak for run in self.runs)

    @property
    def fit(self) -> bool:
        """Did it run, and take longer than a start-up of its own?"""
        return not self.failed and self.seconds > LEAST

    def told(self, octets: int) -> dict[str, object]:
        if not self.fit:
            return {"failed": self.failed or "no time above start-up"}
        return {
            "seconds": round(self.seconds, 4),
            "gigabytes_per_second": round(octets / self.seconds / 1e9, 4),
            "runs": [round(run.seconds, 4) for run in self.runs],
            "processor_seconds": [round(run.busy, 4) for run in self.runs],
            "start_up": round(self.started, 4),
            "peak_octets": self.peak,
            **({"scaled_up": round(self.scale, 2)} if self.scale != 1.0 else {}),
            **self.notes,
        }


def in_turn(
    programs: Iterable[Program], capture: Path, start: Path, runs: int, slow: float, processor: bool
) -> dict[str, Taken]:
    """All programs once, all again, and so on, so that a slow spell of the machine meets all of them.

    One that takes longer than `slow` seconds is run once; one that fails is told with the reason.
    """
    out = {program: Taken(program.scale, processor) for program in programs}
    for _ in range(runs):
        for program, taken in out.items():
            if taken.failed or (taken.runs and taken.runs[-1].seconds > slow):
                continue
            try:
                started = run(program.words(start))
                warm(program.capture or capture)  # each time: what is not read for a minute may leave the cache
                done = run(program.words(program.capture or capture))
                taken.notes = taken.notes or program.notes(done)
            except Failed as failure:
                taken.failed = str(failure)
            else:
                taken.start_up.append(started)
                taken.runs.append(done)
    return {program.name: taken for program, taken in out.items()}
