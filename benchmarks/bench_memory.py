"""What open connections hold, and a stream without end: peaks of resident memory. Linux only.

    python benchmarks/bench_memory.py [--size 50G] [--corpus CAPTURE] [--quick]

Captures come through a pipe from small C programs (`idle.c`, `repeat.c`) and are kept nowhere. Octets of a connection
are the slope of the peak between two numbers of open connections; tables grow by doubling, and one number is
four times the other, so that they are filled alike.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import corpora
import corpus
import native
import ours
from process import UNIT, Failed

STATES = {
    "handshake": "octets per connection, handshake only",
    "greeted": "octets per idle connection",
    "text": "octets per connection in a mail's text",
}
FEW, MANY, MILLION = 100_000, 400_000, 1_000_000
TOLD = (1, 10, 25, 50, 100)  # gigabytes of a stream at which memory is told
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Streamed:
    peak: int
    """resident octets at most"""
    seconds: float
    connections: int
    along: dict[int, int]
    """resident octets after so many gigabytes"""


def streamed(source: Sequence[str]) -> Streamed:
    """Our command behind a pipe. `source` may tell its gigabytes, a line each, on its standard error."""
    command = ours.OURS.replace(" -o /dev/null", "").replace("{capture}", "-")
    words = ours.words(command)(Path("-"))
    along: dict[int, int] = {}
    with tempfile.TemporaryFile() as out:
        feeder = subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process = subprocess.Popen(words, stdin=feeder.stdout, stdout=out)
        assert feeder.stdout and feeder.stderr
        feeder.stdout.close()  # so that the feeder ends when the reader does
        try:
            said = ""
            for said in feeder.stderr:
                if said.strip().isdigit():
                    along[int(said)] = resident(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            feeder.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if feeder.wait() or process.returncode:
            raise Failed(
                f"{shlex.join(source)} | {shlex.join(words)}: {feeder.returncode}, {process.returncode} {said}"
            )
        out.seek(-min(out.seek(0, os.SEEK_END), 1 << 16), os.SEEK_END)
        stats = json.loads(out.read().splitlines()[-1])["smtpinspect"]
    return Streamed(usage.ru_maxrss * UNIT, stats["seconds"], stats["connections"], along)


def resident(pid: int) -> int:
    pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def opened(folder: Path, state: str, count: int) -> Streamed:
    done = streamed([str(native.build("idle", folder)), state, str(count)])
    if done.connections != count:
        raise Failed(f"{count} connections were opened, {done.connections} seen")
    return done


def per_connection(folder: Path, state: str, few: int, many: int) -> float:
    return (opened(folder, state, many).peak - opened(folder, state, few).peak) / (many - few)


def repeated(folder: Path, capture: Path, octets: int) -> Streamed:
    return streamed([str(native.build("repeat", folder)), str(capture), str(octets)])


def growth(done: Streamed) -> float:
    """Memory at the end as a multiple of that after half of the stream; before, tables of closed connections fill."""
    end = max(done.along)
    return done.along[end] / done.along[(end + 1) // 2]


def measure(repeat: Path | None, quick: bool = False) -> dict[str, float]:
    """Figures by the names of targets.py; `repeat` is the corpus of the stream."""
    few, many = (FEW // 5, MANY // 5) if quick else (FEW, MANY)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        out = {name: per_connection(scratch, state, few, many) for state, name in STATES.items()}
        if not quick:
            out["peak with 1,000,000 connections, MB"] = opened(scratch, "greeted", MILLION).peak / 1e6
        if repeat:
            done = repeated(scratch, repeat, (5 if quick else 50) * GIGABYTE)
            out["peak of the stream, MB"] = done.peak / 1e6
            if not quick:  # the tables of closed connections fill for 15 GB
                out["memory at the stream's end, times that at half"] = growth(done)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="50G", help="of the stream (50G); 0 for none")
    parser.add_argument("--corpus", type=Path, help="the capture that it repeats (mixed, 1 GB, kept in --dir)")
    parser.add_argument("--dir", type=Path, default=Path(__file__).parent / ".corpora")
    parser.add_argument("--quick", action="store_true", help="a fifth of the connections, not the million")
    given = parser.parse_args()
    few, many = (FEW // 5, MANY // 5) if given.quick else (FEW, MANY)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for state, name in STATES.items():
            print(f"{name}: {per_connection(scratch, state, few, many):.0f}", flush=True)
            if not given.quick:
                done = opened(scratch, state, MILLION)
                print(f"  1,000,000 of them: peak {done.peak / 1e6:,.0f} MB, {done.seconds:.1f} s", flush=True)
        if octets := corpus.octets(given.size):
            capture = given.corpus or corpora.made(given.dir, "mixed", "1G", 1).path
            done = repeated(scratch, capture, octets)
            told = ", ".join(
                f"{at} GB {done.along[at] / 1e6:.1f}" for at in sorted({*TOLD, max(done.along)} & set(done.along))
            )
            print(f"stream of {given.size}, {done.connections:,} connections, {done.seconds:.0f} s: MB after {told}")
            print(f"  peak {done.peak / 1e6:.1f} MB; end / half {growth(done):.3f}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
