"""Several captures as one: by time, each with its own end."""

from __future__ import annotations

import gzip
import io
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import capture
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError
from smtpinspect.source import open_source
from sourced import PCAP, RECORDS, ROWS, whole, written


def test_merged_by_time(tmp_path: Path) -> None:
    files = []
    for part in range(4):
        own = RECORDS[part::4]
        octets = capture.pcapng(own) if part % 2 else capture.pcap(own)
        files.append(written(tmp_path, gzip.compress(octets) if part == 2 else octets, str(part)))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        source = open_source([files[i] for i in order])
        assert list(handed.records(source)) == ROWS
        assert source.records == len(RECORDS)
        assert source.octets_read == source.octets_total == sum(file.stat().st_size for file in files)
    stream = io.BytesIO(files[1].read_bytes())
    assert whole([files[0], stream, [files[2], iter([(r.time, r.frame) for r in RECORDS[3::4]])]]) == [
        row if n % 4 != 3 else (*row[:3], len(row[2])) for n, row in enumerate(ROWS)
    ]


def test_merge_keeps_the_order_given_at_equal_times() -> None:
    parts = [[(second, b"%d-%d" % (part, n)) for n, second in enumerate((1, 1, 2))] for part in range(3)]
    frames = [row[2] for row in whole([iter(part) for part in parts])]
    assert frames == [b"0-0", b"0-1", b"1-0", b"1-1", b"2-0", b"2-1", b"0-2", b"1-2", b"2-2"]


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=9))
def test_merge_of_anything(parts: list[list[int]]) -> None:
    """As a sort by time would, of parts that are in order; of others, each part's own order is kept."""
    made = [[(second, b"%d" % number) for second in part] for number, part in enumerate(parts)]
    rows = whole([iter(part) for part in made])
    for number, part in enumerate(parts):
        assert [row[0] // 10**9 for row in rows if row[2] == b"%d" % number] == part
    ordered = [[(second, b"%d" % number) for second in sorted(part)] for number, part in enumerate(parts)]
    if len(parts) > 1:
        expected = sorted((pair for part in ordered for pair in part), key=lambda pair: pair[0])
        got = whole([iter(part) for part in ordered])
        assert [(row[0] // 10**9, row[2]) for row in got] == expected


def test_a_cut_part_does_not_end_the_others(tmp_path: Path) -> None:
    half = len(RECORDS) // 2
    files = [
        written(tmp_path, capture.pcap(RECORDS[:half])[:-1], "first"),
        written(tmp_path, b"no capture", "second"),
        written(tmp_path, capture.pcap(RECORDS[half:]), "third"),
    ]
    source = open_source(files)
    rows = []
    with pytest.raises(CaptureError) as caught:
        for row in handed.records(source):
            rows.append(row)
    assert rows == ROWS[: half - 1] + ROWS[half:]
    assert sorted(Path(fault.path).name for fault in source.faults()) == ["first", "second"]
    assert caught.value is source.faults()[0]


def test_many_files_in_a_row(tmp_path: Path) -> None:
    """Files that follow each other are open one at a time."""
    files = [written(tmp_path, capture.pcap([r]), f"{n}") for n, r in enumerate(RECORDS)]
    files += [written(tmp_path, gzip.compress(capture.pcap([r])), f"{n}.gz") for n, r in enumerate(RECORDS)]
    random.Random(1).shuffle(files)
    source = open_source(files)
    rows = handed.records(source)
    first = next(rows)
    fds = Path("/proc/self/fd")
    if fds.exists():
        opened = sum(str(tmp_path) in os.readlink(fd) for fd in fds.iterdir() if fd.is_symlink())
        assert opened <= 4
    assert sorted([first, *rows]) == sorted(ROWS * 2)


def test_a_merge_answers_for_its_parts(tmp_path: Path) -> None:
    files = [written(tmp_path, capture.pcap(RECORDS[part::2]), str(part)) for part in range(2)]
    source = open_source([files[0], io.BytesIO(files[1].read_bytes())])
    seen = []
    for position, frame in handed.places(source):
        seen.append((position, frame))
        for earlier, octets in seen:
            assert handed.held(source, earlier, len(octets)) == octets
    assert len({position for position, _ in seen}) == len(RECORDS)


def test_a_part_that_is_replaced_meanwhile(tmp_path: Path) -> None:
    """It was looked into at the begin; another file under its name is not taken for it."""
    files = [written(tmp_path, capture.pcap([r]), str(n)) for n, r in enumerate(RECORDS[:2])]
    source = open_source(files)
    rows = handed.records(source)
    assert next(rows) == ROWS[0]
    written(tmp_path, PCAP, "other").rename(files[1])
    with pytest.raises(CaptureError, match=str(files[1])):
        list(rows)
