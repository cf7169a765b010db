"""What a connection costs while nobody speaks, and that twice as much of anything costs twice as much."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from smtpinspect._core.dialogue import sizes
from smtpinspect.engine import STEP, Engine

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import dimensions
import doubling

# Octets, as they are on a 64-bit machine. Who adds a field makes room for it, or says why it is worth a million times
# its size. A direction's first 64 are what a segment in order needs.
SIZES = {"Conn": 320, "Direction": 96, "Talk": 184}
# An idle connection in all, with its place in the table and what malloc adds: inspectors, is there a dialogue, octets.
IDLE = {
    "handshake": (None, False, 350),
    "dialogue": ([], True, 540),
    "dialogue-with-alerts": (None, True, 590),  # MailGuard masks each greeting
}


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="a 32-bit machine has other sizes")
@pytest.mark.parametrize(("name", "most"), SIZES.items())
def test_sizes(name: str, most: int) -> None:
    assert sizes()[name] <= most


class Allocated(ctypes.Structure):
    """mallinfo2 (malloc.h of glibc 2.33 and later)."""

    _fields_ = [(name, ctypes.c_size_t) for name in "arena o s hblks hblkhd u f uordblks fordblks keep".split()]


def allocated() -> int:
    """Octets that malloc has given out: exact, where resident memory is not."""
    told = ctypes.CDLL(None).mallinfo2
    told.restype = Allocated
    got = told()
    return int(got.uordblks + got.hblkhd)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no mallinfo2: not glibc 2.33 or later")
@pytest.mark.parametrize(("inspectors", "said", "most"), IDLE.values(), ids=IDLE)
def test_an_idle_connection(tmp_path: Path, inspectors: list[str] | None, said: bool, most: int) -> None:
    """Between two looks, so that what is there only once does not count."""
    first = dimensions.Talk()
    frames = len(first.hello().frames if said else first.frames)
    count = 3 * STEP // frames
    path = tmp_path / "idle.pcap"
    talks = (dimensions.Talk(i) for i in range(count))
    doubling.written([frame for talk in talks for frame in (talk.hello() if said else talk).frames], path)
    looks: list[int] = []
    with open(os.devnull, "wb") as nowhere:
        Engine(inspectors).write_eve(str(path), nowhere, progress=lambda _: looks.append(allocated()))
    each = (looks[1] - looks[0]) / (STEP / frames)
    assert SIZES["Conn"] <= each <= most


# --- twice as much -------------------------------------------------------------------------------------


def test_every_dimension_can_be_written(tmp_path: Path) -> None:
    """A few of each: what is measured under callgrind is what it says, and ends."""
    for name in dimensions.DIMENSIONS:
        captures = doubling.captures_of(name, 4, tmp_path)
        stats = Engine().write_eve([str(path) for path in captures], io.BytesIO())
        assert stats.connections and not stats.bad_frames and stats.truncated is None, name


@pytest.mark.parametrize("name", dimensions.DIMENSIONS)
def test_twice_as_much_costs_twice_as_much(name: str, request: pytest.FixtureRequest) -> None:
    """One doubling; `benchmarks/doubling.py` shows them all."""
    if not request.config.getoption("--deep"):
        pytest.skip("--deep counts instructions, a minute for each dimension")
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind here")
    row: dict[str, Any] = doubling.measure([name], doublings=1, jobs=os.cpu_count() or 1)[name]
    assert row["passes"], row
