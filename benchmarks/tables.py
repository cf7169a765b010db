"""Figures as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from corpora import Corpus
from process import Taken
from targets import Figure


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def by_profile(figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """A row for each figure, a column for each profile: value / target."""
    names = dict.fromkeys(name for held in figures.values() for name in held)
    rows = [[name, *(str(held.get(name, "")) for held in figures.values())] for name in names]
    return table(("value / target", *figures), rows)


def others(figures: Mapping[str, Figure]) -> str:
    return table(("value / target", ""), [(name, str(figure)) for name, figure in figures.items()])


HEADS = "program;seconds;GB/s;of floor;mails/s;packets/s;peak MB;start ms;found".split(";")


def programs(held: Corpus, taken: Mapping[str, Taken]) -> str:
    """What each took, on one corpus."""
    rows = []
    for name, one in taken.items():
        if not one.fit:
            reason = one.failed or "no time above start-up"
            rows.append([name, *[""] * (len(HEADS) - 2), reason.splitlines()[0][:80]])
            continue
        rows.append(
            [
                name,
                f"{one.seconds:.3f}",
                f"{held.octets / one.seconds / 1e9:.3f}",
                f"{taken['floor'].seconds / one.seconds:.4f}",
                f"{held.mails / one.seconds:,.0f}",
                f"{held.frames / one.seconds:,.0f}",
                f"{one.peak / 1e6:.0f}",
                f"{one.started * 1e3:.0f}",
                ", ".join(f"{value} {key}" for key, value in one.notes.items()),
            ]
        )
    title = f"{held.profile}: {held.octets:,} octets, {held.frames:,} frames, {held.mails:,} mails"
    return f"{title}\n{table(HEADS, rows)}"


def machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(": ")[2] if named else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load at start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
