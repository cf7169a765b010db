"""Segments that wait, against a plain map of octets: the first copy of each wins."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpinspect._core.store import Kept

# offset, octets, how many were cut off behind them
SEGMENTS = st.lists(
    st.tuples(st.integers(0, 60), st.binary(max_size=20), st.integers(0, 5)).filter(lambda s: len(s[1]) + s[2] > 0),
    max_size=40,
)
CUT = None
Plain = dict[int, int | None]


def keep(plain: Plain, offset: int, octets: bytes, missing: int) -> bool:
    """Are those that were there already others?"""
    differs = False
    for i, octet in enumerate([*octets, *[CUT] * missing]):
        had = plain.setdefault(offset + i, octet)
        differs |= None not in (had, octet) and had != octet
    return differs


def taken(kept: Kept) -> tuple[Plain, list[int]]:
    """All that is left, and where its pieces begin."""
    plain: Plain = {}
    begins = []
    while (piece := kept.take()) is not None:
        offset, octets, missing, *_ = piece
        begins.append(offset)
        for i, octet in enumerate([*octets, *[CUT] * missing]):
            assert offset + i not in plain
            plain[offset + i] = octet
    return plain, begins


@given(SEGMENTS)
def test_every_octet_once_and_the_first_copy(segments: list[tuple[int, bytes, int]]) -> None:
    kept, plain = Kept(), Plain()
    for offset, octets, missing in segments:
        assert kept.keep(octets, offset, missing) == keep(plain, offset, octets, missing)
    assert kept.octets[:2] == (sum(octet is not CUT for octet in plain.values()),) * 2
    found, begins = taken(kept)
    assert found == plain
    assert begins == sorted(begins)
    assert kept.octets == (0, 0, 0)


@given(SEGMENTS, st.lists(st.integers(0, 3), max_size=40))
def test_some_are_taken_between(segments: list[tuple[int, bytes, int]], takes: list[int]) -> None:
    """As a stream goes on: what is taken does not come again."""
    kept, plain, read = Kept(), Plain(), 0
    for (offset, octets, missing), times in zip(segments, [*takes, *[0] * 40], strict=False):
        kept.keep(octets, offset + read, missing)
        keep(plain, offset + read, octets, missing)
        for _ in range(times):
            piece = kept.take()
            if piece is None:
                break
            at, got, cut, *_ = piece
            assert at == min(plain)
            assert [plain.pop(at + i) for i in range(len(got) + cut)] == [*got, *[CUT] * cut]
            read = at + len(got) + cut
    assert taken(kept)[0] == plain


@given(st.permutations(range(60)), st.integers(1, 700))
def test_any_order(order: list[int], size: int) -> None:
    kept = Kept()
    for number in order:
        assert kept.keep(bytes([number]) * size, number * size, number=number) == 0
    for number in range(60):
        assert kept.take() == (number * size, bytes([number]) * size, 0, number, True)
    assert kept.take() is None


@pytest.mark.parametrize("seed", range(40))
def test_many_in_any_order(seed: int) -> None:
    """So many that places are looked for in the tree; half the time all come again, in other sizes."""
    random, times = Random(seed), seed & 1
    kept, plain = Kept(), Plain()
    offsets = [random.randrange(4_000) for _ in range(500)]
    for offset in offsets + offsets * times:
        octets = random.randbytes(random.randrange(1, 9))
        assert kept.keep(octets, offset) == keep(plain, offset, octets, 0)
        if random.random() < 0.2:
            at, got, *_ = kept.take()
            assert at == min(plain)
            assert [plain.pop(at + i) for i in range(len(got))] == [*got]
    assert taken(kept)[0] == plain


def test_only_the_first_piece_begins_a_segment() -> None:
    kept = Kept()
    kept.keep(b"cd", 2, number=1)
    assert kept.keep(b"abXdef", 0, number=2) == 1
    assert kept.take() == (0, b"ab", 0, 2, True)
    assert kept.take() == (2, b"cd", 0, 1, True)
    assert kept.take() == (4, b"ef", 0, 2, False)
