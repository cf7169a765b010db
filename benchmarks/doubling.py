"""Does twice as much cost twice as much? Counted in instructions, under callgrind, so that noise does not matter.

    python benchmarks/doubling.py [--only header-count,frames] [--jobs 2] [--json FILE]

Each dimension is a capture of n, 2n and 4n of something; the command runs on each, and the instructions of the same
command on ten frames are subtracted. A ratio of 2 per doubling is linear; n * n gives 4, n * log n at these sizes 2.15.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from dimensions import DIMENSIONS, Talk

# Above 2 lie the counts of start-up, which differ by 0.1% from run to run (0.5 million of 500), and tables that
# double in steps. The next worse law, n * log n, is 2.15 for the n of thousands here.
TOLERANCE = 2.05


def written(frames: Sequence[bytes], path: Path, first: int = 0, step: int = 1) -> None:
    """As classic pcap, ten microseconds between two frames."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        for i, frame in enumerate(frames):
            seconds, micro = divmod(10 * (first + i * step), 1_000_000)
            out.write(struct.pack("<IIII", 1_700_000_000 + seconds, micro, len(frame), len(frame)) + frame)


def instructions(captures: Sequence[Path], python: str, folder: Path) -> int:
    """What the command takes, without the interpreter's random hashes."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    kept = folder / f"{captures[0].stem}.callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={kept}", python, "-m", "smtpinspect", "replay"]
    command += [*map(str, captures), "--format", "eve", "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected *: *(\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return int(found[1])


def captures_of(name: str, n: int, folder: Path) -> list[Path]:
    made = DIMENSIONS[name]
    frames_made = list(made.make(n))
    count = n if made.files else 1
    paths = [folder / f"{name}-{n}-{i}.pcap" for i in range(count)]
    for i, path in enumerate(paths):
        written(frames_made[i::count], path, i, count)
    return paths


def measure(
    names: Iterable[str] | None = None,
    *,
    python: str = sys.executable,
    doublings: int = 2,
    scale: float = 1.0,
    jobs: int = 1,
) -> dict[str, dict[str, object]]:
    """Per dimension its sizes, the instructions above start-up, the ratio of each doubling, and whether it passes."""
    if shutil.which("valgrind") is None:
        raise FileNotFoundError("valgrind")
    chosen = list(DIMENSIONS if names is None else names)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(jobs) as pool:
        folder = Path(temporary)
        ten = folder / "start-up.pcap"
        written(Talk().hello().frames[:10], ten)
        start = pool.submit(instructions, [ten], python, folder)
        counted = {
            (name, k): pool.submit(counted_once, name, int(DIMENSIONS[name].n * scale) << k, python, folder)
            for name in chosen
            for k in range(doublings + 1)
        }
        result: dict[str, dict[str, object]] = {}
        for name in chosen:
            costs = [counted[name, k].result() - start.result() for k in range(doublings + 1)]
            ratios = [round(after / before, 3) for before, after in pairwise(costs)]
            result[name] = {
                "n": [int(DIMENSIONS[name].n * scale) << k for k in range(doublings + 1)],
                "instructions": costs,
                "ratios": ratios,
                "passes": max(ratios) <= TOLERANCE,
            }
    return result


def counted_once(name: str, n: int, python: str, folder: Path) -> int:
    captures = captures_of(name, n, folder)
    try:
        return instructions(captures, python, folder)
    finally:
        for path in captures:
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="dimensions, with commas between them")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(DIMENSIONS)
    unknown = sorted(set(names) - set(DIMENSIONS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(DIMENSIONS)}")
    figures = measure(names, jobs=given.jobs, scale=given.scale)
    print(f"{'dimension':24}{'n':>10}{'million instructions':>30}   ratio per doubling")
    for name, row in figures.items():
        n, costs, ratios = row["n"], row["instructions"], row["ratios"]
        assert isinstance(n, list) and isinstance(costs, list) and isinstance(ratios, list)
        shown = " ".join(f"{cost / 1e6:9.1f}" for cost in costs)
        told = "" if row["passes"] else "   more than linear"
        print(f"{name:24}{n[0]:>10}{shown:>30}   {' '.join(f'{ratio:.3f}' for ratio in ratios)}{told}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["passes"] for row in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
