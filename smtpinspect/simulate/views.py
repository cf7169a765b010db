"""What one side saw, as a capture: classic pcap, nanoseconds, raw IP."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from smtpinspect.errors import UsageError

RAW: Final = 101  # LINKTYPE_RAW: IPv4 or IPv6 by the version
SECOND: Final = 1_000_000_000


class View:
    """A tap at one side. Without a path packets are counted only."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        self.packets = 0
        self._file: BinaryIO | None = None
        if path is None:
            return
        from dpkt.pcap import Writer  # loaded on use

        try:
            self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
        self._writer = Writer(self._file, linktype=RAW, nano=True)

    def add(self, ns: int, ip: bytes) -> None:
        """A packet that this side sent or received, at this time in nanoseconds since 1970."""
        self.packets += 1
        if self._file is not None:
            self._writer.writepkt(ip, Decimal(ns) / SECOND)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
