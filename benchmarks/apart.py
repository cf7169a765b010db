"""Figures that are no ratio of times on a corpus, each measured by a file of its own beside this one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import targets
from process import Failed
from targets import Figure

HERE = Path(__file__).parent
Captures = Mapping[str, Path]
"""by profile"""
Figures = Iterator[tuple[str, Figure]]


def memory(module: ModuleType, captures: Captures, quick: bool) -> Figures:
    for name, value in module.measure(captures.get("mixed"), quick=quick).items():
        yield name, targets.at_most(name, value)


def start_up(module: ModuleType, captures: Captures, quick: bool) -> Figures:
    told = module.measure(runs=15 if quick else 41)
    for name, seconds in told["seconds"].items():
        yield f"start-up, ms: {name}", Figure(seconds * 1e3, told["bound"] * 1e3, at_most=True)


def api(module: ModuleType, captures: Captures, quick: bool) -> Figures:
    if "chatty" in captures:
        told = module.measure(captures["chatty"], runs=3 if quick else 5)
        for name, ratio in told["ratios"].items():
            yield f"Python API, {name}, times the command", Figure(ratio, told["bound"], at_most=True)


def inspector(module: ModuleType, captures: Captures, quick: bool) -> Figures:
    told = module.measure(list(captures.values()), runs=3 if quick else 5)
    for profile, path in captures.items():
        for fact, share in told["shares"][str(path)].items():
            yield f"inspector for a rare {fact}, {profile}, %", Figure(100 * share, 100 * told["bound"], at_most=True)


def doubling(module: ModuleType, captures: Captures, quick: bool) -> Figures:
    """By instruction count under callgrind: minutes, so not in a quick run."""
    if not quick:
        for name, told in module.measure().items():
            yield f"doubled {name}, times", Figure(max(told["ratios"]), module.TOLERANCE, at_most=True)


MEASURED: dict[str, Callable[[ModuleType, Captures, bool], Figures]] = {
    "startup": start_up,
    "bench_memory": memory,
    "bench_api": api,
    "bench_inspector": inspector,
    "doubling": doubling,
}


def figures(captures: Captures, quick: bool) -> dict[str, Figure]:
    """All of them. One that cannot be measured here is told on standard error."""
    out: dict[str, Figure] = {}
    for name, reader in MEASURED.items():
        if not (HERE / f"{name}.py").exists():
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            out.update(reader(importlib.import_module(name), captures, quick))
        except (Failed, OSError, subprocess.SubprocessError) as failure:
            print(f"{name}: {failure}", file=sys.stderr)
    return out
