"""Packed captures: each packing, whole, cut, damaged, and as a bomb."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from smtpinspect._core import sources as handed
from smtpinspect.source import open_source, unpack
from sourced import PCAP, RECORDS, ROWS, read, ways, whole, written


def packers() -> dict[str, Callable[[bytes], bytes]]:
    found: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda octets: gzip.compress(octets, mtime=0),
        "bzip2": bz2.compress,
        "xz": lzma.compress,
    }
    with suppress(ImportError):
        found["zstd"] = import_module("zstandard").ZstdCompressor(write_checksum=True).compress
    with suppress(ImportError):
        found["lz4"] = import_module("lz4.frame").compress
    return found


PACKERS = packers()
KINDS = pytest.mark.parametrize("kind", PACKERS)


@KINDS
def test_packed(kind: str, tmp_path: Path) -> None:
    """Whole or in several members, with padding between, whatever the name."""
    pack = PACKERS[kind]
    members = [pack(PCAP[:3]), pack(b""), pack(PCAP[3:700]), pack(PCAP[700:])]
    for packed in (pack(PCAP), b"".join(members), bytes(8).join(members) + bytes(512)):
        for way in ways(packed, tmp_path):
            assert whole(way) == ROWS
        assert whole(written(tmp_path, packed, "capture.txt")) == ROWS


@KINDS
def test_packed_and_cut(kind: str, tmp_path: Path) -> None:
    packed = PACKERS[kind](PCAP[:600]) + PACKERS[kind](PCAP[600:])
    for end in range(1, len(packed), 3):
        rows, fault = read(written(tmp_path, packed[:end]))
        assert rows == ROWS[: len(rows)]
        assert fault is not None
        if end >= unpack.LONGEST_MAGIC:
            assert "cut off" in str(fault)
    assert rows  # what was whole before the cut


@KINDS
def test_packed_and_damaged(kind: str) -> None:
    packed = PACKERS[kind](PCAP)
    for at in range(6, len(packed), 11):
        octets = bytearray(packed)
        octets[at] ^= 0x55
        rows, _ = read(io.BytesIO(bytes(octets)))
        if kind != "lz4":  # whose frames hold no checksum of their content unless asked
            assert rows[:1] in ([], ROWS[:1])
    rows, fault = read(io.BytesIO(packed + b"something else"))
    assert rows == ROWS
    assert f"behind the {kind} data there is something else" in str(fault)


@pytest.mark.skipif("zstd" not in PACKERS, reason="needs zstandard")
def test_zstd_frames_that_are_skipped() -> None:
    skip = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"12345"
    pack = PACKERS["zstd"]
    assert whole(io.BytesIO(skip + pack(PCAP[:99]) + skip + pack(PCAP[99:]) + skip)) == ROWS


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(unpack, "import_module", nothing)
    monkeypatch.setattr(sys, "version_info", (3, 13))
    _, fault = read(written(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(40)))
    assert "pip install 'smtpinspect[zstd]'" in str(fault)
    assert "zstandard" in str(fault)


@KINDS
def test_decompression_bomb(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A little that unpacks to much ends at the cap."""
    monkeypatch.setattr(unpack, "RATIO_FREE", 1 << 20)
    monkeypatch.setattr(unpack, "MAX_RATIO", 50)
    head = PCAP[:24] + struct.pack("<IIII", 0, 0, 60_000, 60_000) + bytes(60_000)
    octets = head + head[24:] * 300
    rows, fault = read(io.BytesIO(PACKERS[kind](octets)))
    assert "decompression bomb" in str(fault)
    assert 0 < len(rows) < 300


def test_progress(tmp_path: Path) -> None:
    file = written(tmp_path, gzip.compress(PCAP * 1))
    for way, total in (
        (file, file.stat().st_size),
        (io.BytesIO(PCAP), 0),
        (written(tmp_path, PCAP, "p"), len(PCAP)),
    ):
        source = open_source(way)
        assert source.octets_total == total
        assert len(list(handed.records(source))) == source.records == len(RECORDS)
        assert source.octets_read == (total or len(PCAP))
