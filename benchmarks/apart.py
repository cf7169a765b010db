"""Figures that are no ratio of times on a corpus, each measured by a file of its own beside this one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import targets
from process import Failed
from targets import Figure

HERE = Path(__file__).parent
Figures = Iterator[tuple[str, Figure]]


def start_up(module: ModuleType, folder: Path, quick: bool) -> Figures:
    told = module.measure(runs=15 if quick else 41)
    for name, seconds in told["seconds"].items():
        yield f"start-up, ms: {name}", Figure(seconds * 1e3, told["bound"] * 1e3, at_most=True)


def doubling(module: ModuleType, folder: Path, quick: bool) -> Figures:
    """By instruction count under callgrind: minutes, so not in a quick run."""
    if not quick:
        for name, told in module.measure().items():
            yield f"doubled {name}, times", Figure(max(told["ratios"]), module.TOLERANCE, at_most=True)


def named(module: ModuleType, folder: Path, quick: bool) -> Figures:
    """What tells its figures by the names in targets.py."""
    for name, value in module.measure(folder, quick=quick).items():
        yield name, targets.at_most(name, value)


MEASURED: dict[str, Callable[[ModuleType, Path, bool], Figures]] = {
    "startup": start_up,
    "bench_memory": named,
    "bench_api": named,
    "bench_inspector": named,
    "doubling": doubling,
}


def figures(folder: Path, quick: bool) -> dict[str, Figure]:
    """All of them; `folder` keeps the corpora. One that cannot be measured here is told on standard error."""
    out: dict[str, Figure] = {}
    for name, reader in MEASURED.items():
        if not (HERE / f"{name}.py").exists():
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            out.update(reader(importlib.import_module(name), folder, quick))
        except (Failed, OSError) as failure:
            print(f"{name}: {failure}", file=sys.stderr)
    return out
