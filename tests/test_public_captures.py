"""Transcripts of captures that nobody here made, against expectations derived without this project's code."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import public
import smtpinspect


@cache
def transcripts(capture: Path) -> list[dict[str, Any]]:
    return smtpinspect.transcript(capture)


@pytest.mark.parametrize("expectation", public.parameters())
def test_connection(expectation: public.Expectation) -> None:
    ends = (expectation.stream["client"], expectation.stream["server"])
    same_ends = [t for t in transcripts(expectation.capture) if (t["client"], t["server"]) == ends]
    # The same ports twice are two connections: the rank among their like tells them apart.
    rank = sum(
        e.capture == expectation.capture
        and e.place < expectation.place
        and ends == (e.stream["client"], e.stream["server"])
        for e in public.expectations()
    )
    assert len(same_ends) > rank, f"no connection {ends[0]} to {ends[1]} is reported"
    assert public.differences(expectation, same_ends[rank]) == {}


def captures() -> list[Any]:
    if not public.FOLDER.is_dir():
        return public.parameters()
    return [pytest.param(p, id=p.name) for p in sorted({e.capture for e in public.expectations()})]


@pytest.mark.parametrize("capture", captures())
def test_connections_of_a_capture(capture: Path) -> None:
    """Every SMTP connection is there, in order of its first frame, and nothing else is."""
    expected = [
        (e.stream["client"], e.stream["server"]) for e in public.expectations() if e.capture == capture
    ]
    assert [(t["client"], t["server"]) for t in transcripts(capture)] == expected
