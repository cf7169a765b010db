"""A pass that only reads: it meets the records that everybody meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpinspect._core.skim import skim
from smtpinspect._core.sources import records
from smtpinspect.source import open_source

PCAPS = sorted((Path(__file__).parents[1] / "pcaps").glob("*.pcap"))


@pytest.mark.parametrize("decode", [False, True])
def test_skim_counts_what_is_read(decode: bool) -> None:
    for path in PCAPS:
        lengths = [len(frame) for _, _, frame, _ in records(open_source(path))]
        assert skim(open_source(path), 1 << 40, decode) == (len(lengths), sum(lengths))


def test_skim_goes_on_where_it_stopped() -> None:
    lengths = [len(frame) for _, _, frame, _ in records(open_source(PCAPS[0]))]
    source = open_source(PCAPS[0])
    assert skim(source, 3) == (3, sum(lengths[:3]))
    assert skim(source, 0) == (0, 0)
    assert skim(source, 1_000) == (len(lengths) - 3, sum(lengths[3:]))
    assert skim(source, 1) == (0, 0)


def test_skim_ends_at_damage(tmp_path: Path) -> None:
    file = tmp_path / "cut.pcap"
    file.write_bytes(PCAPS[0].read_bytes()[:-1])
    n = len([*records(open_source(PCAPS[0]))])
    source = open_source(file)
    assert skim(source, 1 << 40)[0] == n - 1
    assert source.fault() is not None
