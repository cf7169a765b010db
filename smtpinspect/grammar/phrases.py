"""Counts, moments and durations as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

_SECOND: Final = 1_000_000_000  # ns


def count(n: int, word: str, plural: str = "") -> str:
    """`1 mail`, `2,000 mails`."""
    return f"{n:,} {word if n == 1 else plural or word + 's'}"


def alike(name: str, names: Iterable[str]) -> str:
    """The file's name that may have been meant, "" for none; what all end in (.pcap) tells nothing."""
    import difflib  # wanted only for what somebody misspelt

    best, found = 0.7, ""
    stem, _, ending = name.lower().rpartition(".")
    for other in names:
        told = other.lower()
        same = not stem or told.endswith(f".{ending}")
        pair = (stem or ending, told.rpartition(".")[0] or told) if same else (name.lower(), told)
        score = difflib.SequenceMatcher(None, *pair).ratio()
        if score > best:
            best, found = score, other
    return found


def clock(ns: int) -> str:
    """A capture's time, in UTC."""
    return f"{datetime.fromtimestamp(ns // _SECOND, UTC):%Y-%m-%d %H:%M:%S}"


def took(seconds: float) -> str:
    """A duration as a person reads it."""
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds:,.2f} s"


def seconds(ns: int) -> str:
    """For people: `7 s`, `0.3 s`, `12 ms`."""
    value = ns / _SECOND
    if value < 0.1:
        return f"{max(value * 1000, 1):.0f} ms"
    return f"{value:,.0f} s" if value >= 9.95 else f"{value:.1f} s"


def span(seconds: float) -> str:
    """A duration in one or two units."""
    if seconds < 1:
        return "0 s" if seconds < 0.05 else f"{seconds:.1f} s"
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            whole = seconds / size
            return f"{whole:.1f}".removesuffix(".0") + f" {word}" if word != "d" else _days(whole)
    return f"{seconds:.1f}".removesuffix(".0") + " s"


def _days(days: float) -> str:
    text = f"{days:.1f}".removesuffix(".0")
    return f"{text} day" if text == "1" else f"{text} days"
