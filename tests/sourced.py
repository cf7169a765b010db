"""A capture in memory, the ways to hand it over, and what a source gives of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit import capture
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError
from smtpinspect.source import open_source

Row = tuple[int, int, bytes, int]  # nanoseconds, link type, octets, octets on the wire

FRAMES = [bytes(range(n % 256)) * (1 + n % 7) for n in range(1, 40)]
RECORDS = [capture.Record(1_700_000_000 + n / 8, frame, len(frame) + n % 3) for n, frame in enumerate(FRAMES)]
ROWS: list[Row] = [(r.nanoseconds, 1, r.frame, r.length) for r in RECORDS]
PCAP = capture.pcap(RECORDS)
PCAPNG = capture.pcapng(RECORDS)


def read(what: Any, **options: Any) -> tuple[list[Row], CaptureError | None]:
    """What a source gives, and its fault."""
    rows: list[Row] = []
    with open_source(what, **options) as source:
        try:
            for row in handed.records(source):
                rows.append(row)
        except CaptureError as error:
            assert error is source.fault()
            return rows, error
        assert source.fault() is None
        assert source.faults() == []
    return rows, None


def whole(what: Any, **options: Any) -> list[Row]:
    rows, fault = read(what, **options)
    assert fault is None, fault
    return rows


def written(folder: Path, octets: bytes, name: str = "capture") -> Path:
    file = folder / name
    file.write_bytes(octets)
    return file


class Trickle(io.RawIOBase):
    """A file object that gives no more than a few octets at once."""

    def __init__(self, octets: bytes, most: int) -> None:
        self.octets, self.at, self.most = octets, 0, most

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        octets = self.octets[self.at : self.at + min(self.most, len(room))]
        room[: len(octets)] = octets
        self.at += len(octets)
        return len(octets)


def ways(octets: bytes, folder: Path) -> Iterator[Any]:
    """The same octets as a file and as streams."""
    yield written(folder, octets)
    yield io.BytesIO(octets)
    yield Trickle(octets, 7)
