"""Many small connections as the frames of one capture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from kit import capture, wire
from kit.capture import Record
from kit.dialogue import DELIVERY, parse
from kit.segment import Segment


def connection(number: int, text: str = DELIVERY, start: float = wire.START, **options: Any) -> list[Record]:
    """The frames of one connection of its own."""
    return of_segments(number, wire.build(parse(text), start=start, **options))


def of_segments(number: int, segments: Iterable[Segment]) -> list[Record]:
    ends = wire.Ends(client=f"192.0.2.{number % 250 + 1}", client_port=20_000 + number)
    return capture.records(wire.packets(segments, ends))


def dealt(parts: Iterable[Sequence[Record]], rng: Random) -> list[Record]:
    """Frames of all parts, those of each in their order; the time goes on by itself."""
    left = [iter(part) for part in parts]
    out: list[Record] = []
    while left:
        at = rng.randrange(len(left))
        if (record := next(left[at], None)) is None:
            left.pop(at)
        else:
            out.append(record)
    return out


def steadily(frames: Sequence[Record], step: float = 1e-4, start: float = wire.START) -> list[Record]:
    return [record._replace(time=start + i * step) for i, record in enumerate(frames)]
