"""Large records and files: windows, octets asked for once more, memory, what changes while it is read."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kit import capture
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.source import open_source
from sourced import Trickle, read, whole, written


def large(sizes: list[int]) -> tuple[bytes, list[bytes]]:
    rng = random.Random(5)
    frames = [rng.randbytes(min(size, 997)) * (size // 997 + 1) for size in sizes]
    frames = [frame[:size] for frame, size in zip(frames, sizes, strict=True)]
    return capture.pcap([capture.Record(n, f, len(f)) for n, f in enumerate(frames)]), frames


@pytest.mark.parametrize("size", [(16 << 20) - 1, 16 << 20, (16 << 20) + 1])
def test_the_largest_record(size: int, tmp_path: Path) -> None:
    octets, frames = large([10, size, 600_000, size, 20])
    for way in (written(tmp_path, octets), io.BytesIO(octets), Trickle(octets, 65_536)):
        rows, fault = read(way)
        if size > 16 << 20:
            assert len(rows) == 1
            assert "more than" in str(fault)
        else:
            assert fault is None
            assert [row[2] for row in rows] == frames
    if size <= 16 << 20:
        assert [row[2] for row in whole(list(enumerate(frames)))] == frames
    else:
        with pytest.raises(UsageError, match="item 2 has more than"):
            read(list(enumerate(frames)))


def sized(seed: int) -> list[int]:
    """Records of all sizes: many windows, and some records larger than one."""
    rng = random.Random(seed)
    kinds: list[Callable[[], int]] = [
        lambda: rng.randrange(100),
        lambda: rng.randrange(70_000),
        lambda: rng.randrange(700_000),
        lambda: 1460,
    ]
    return [rng.choice(kinds)() for _ in range(250)]


def sources(octets: bytes, folder: Path) -> Iterator[Any]:
    yield written(folder, octets)
    yield io.BytesIO(octets)
    yield Trickle(octets, 30_000)
    yield [(Fraction(row[0], 10**9), row[2]) for row in whole(io.BytesIO(octets))]


@pytest.mark.parametrize("seed", range(3))
def test_octets_once_more(seed: int, tmp_path: Path) -> None:
    """`back` answers the same for every kind of source: the last 16 MiB, and nothing before them."""
    octets, frames = large(sized(seed))
    assert len(octets) > 20 << 20
    for way in sources(octets, tmp_path):
        source = open_source(way)
        seen: list[tuple[int, bytes]] = []
        end = 0
        for n, (position, frame) in enumerate(handed.places(source)):
            assert frame == frames[n]
            end = position + len(frame)
            seen.append((position, frame))
            for back in (1, 2, 3, 10, 50, 150):
                if back < len(seen):
                    at, earlier = seen[-back]
                    held = handed.held(source, at, len(earlier))
                    assert held == (earlier if at >= end - (16 << 20) else None)
                    if len(earlier) > 5:
                        expected = earlier[2:5] if at + 2 >= end - (16 << 20) else None
                        assert handed.held(source, at + 2, 3) == expected
        assert end > 16 << 20
        assert handed.held(source, -1, 1) is None
        assert handed.held(source, end, 1) is None
        assert handed.held(source, end - 1, 2) is None
        source.close()
        assert handed.held(source, end - 1, 1) is None


def resident() -> int:
    """Octets of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    one = capture.pcap([capture.Record(1, bytes(1460), 1460)])
    file = tmp_path / "large.pcap"
    with file.open("wb") as out:
        out.write(one[:24])
        for _ in range(200):
            out.write(one[24:] * 400)  # 118 MB
    for way in (file, file.open("rb")):
        before = resident()
        most = 0
        source = open_source(way)
        for n, _ in enumerate(handed.records(source)):
            if n % 5000 == 0:
                most = max(most, resident() - before)
        assert source.octets_read == file.stat().st_size
        assert most < 24 << 20


def test_a_file_that_grows_and_one_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    octets, frames = large([1000] * 3000)
    file = written(tmp_path, octets)
    rows = handed.records(open_source(file))
    assert next(rows)[2] == frames[0]
    os.truncate(file, len(octets) // 2 + 5)
    with pytest.raises(CaptureError, match="cut off inside"):
        for _ in rows:
            pass
    file.write_bytes(octets)
    rows = handed.records(open_source(file))
    next(rows)
    with file.open("ab") as more:
        more.write(octets[24:])
    assert sum(1 for _ in rows) == 2 * len(frames) - 1
