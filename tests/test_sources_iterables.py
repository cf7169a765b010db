"""Frames that a program hands over: their times, and items that are none."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpinspect._core import iterated
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.source import open_source
from sourced import RECORDS, whole


def test_iterables() -> None:
    pairs = [(r.time, r.frame) for r in RECORDS]
    expected = [(r.nanoseconds, 1, r.frame, len(r.frame)) for r in RECORDS]
    assert whole(pairs) == whole(iter(pairs)) == whole(pair for pair in pairs) == expected
    assert whole(tuple(pairs)) == expected
    assert whole(map(list, pairs)) == expected
    assert whole([(time, memoryview(frame)) for time, frame in pairs]) == expected
    assert {row[1] for row in whole(iter(pairs), linktype=101)} == {101}
    assert whole([]) == whole(iter(())) == []


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (0, 0),
        (1_700_000_000, 1_700_000_000 * 10**9),
        (1_700_000_000.123456, 1_700_000_000_123456_000),
        (1_700_000_000.9999999, 1_700_000_001_000000_000),
        (0.000000001, 1),
        (12.000000345, 12_000_000_345),
        (-1.5, -1_500_000_000),
        (-1_700_000_000.25, -1_700_000_000_250_000_000),
        (Decimal("1700000000.123456789"), 1_700_000_000_123_456_789),
        (Fraction(1, 8), 125_000_000),
        (True, 10**9),
    ],
)
def test_stamps_of_an_iterable(stamp: Any, expected: int) -> None:
    assert whole([(stamp, b"x")])[0][0] == expected == iterated.nanoseconds(stamp)


@given(st.integers(0, 2**33 * 10**6))
def test_microseconds_survive_a_float(us: int) -> None:
    assert iterated.nanoseconds(us / 10**6) == us * 1000


@pytest.mark.parametrize(
    "item",
    [
        None,
        1.5,
        (1.5,),
        (1.5, b"x", 1),
        ("1.5", b"x"),
        (1.5, "text"),
        (1.5, 5),
        (1.5, None),
        (float("nan"), b"x"),
        (float("inf"), b"x"),
        (10**12, b"x"),
        (Decimal("NaN"), b"x"),
    ],
)
def test_items_that_are_no_frames(item: Any) -> None:
    source = open_source(iter([(1, b"good"), item]))
    rows = handed.records(source)
    assert next(rows)[2] == b"good"
    with pytest.raises(UsageError, match="item 2 is no pair of seconds and octets"):
        next(rows)


def test_an_iterable_that_raises() -> None:
    def frames(error: BaseException) -> Iterator[tuple[int, bytes]]:
        yield 1, b"one"
        raise error

    for error in (ZeroDivisionError(), KeyboardInterrupt(), CaptureError("x", 1, 2, "why")):
        source = open_source(frames(error))
        rows = handed.records(source)
        assert next(rows)[2] == b"one"
        with pytest.raises(type(error)):
            next(rows)
