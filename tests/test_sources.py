"""Capture files, streams, iterables and merges: every record, octet for octet, and where reading ended."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit import capture
from public import ABSENT, FOLDER
from smtpinspect._core import iterated
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.source import open_source, unpack

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


# --- formats


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [capture.MICRO, capture.NANO])
def test_the_four_magics(magic: int, order: capture.Order, tmp_path: Path) -> None:
    octets = capture.pcap(RECORDS, magic=magic, order=order)
    for way in ways(octets, tmp_path):
        assert whole(way) == ROWS


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    head = struct.pack("<IHHiIII", capture.NANO, 2, 4, 0, 0, 65535, 1)
    octets = head + struct.pack("<IIII", 0xFFFFFFFF, 999_999_999, 1, 1) + b"x"
    assert whole(io.BytesIO(octets)) == [(0xFFFFFFFF * 10**9 + 999_999_999, 1, b"x", 1)]


def test_link_type_field_of_pcap() -> None:
    """Its upper half tells of a frame check sequence."""
    octets = PCAP[:20] + struct.pack("<I", 0x5400_0071) + PCAP[24:]
    assert {row[1] for row in whole(io.BytesIO(octets))} == {0x71}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("resolution", [None, 0, 3, 6, 7, 9, 0x80 | 10, 0x80 | 20, 0x80 | 30])
@pytest.mark.parametrize("explicit", [False, True])
def test_pcapng(resolution: int | None, order: capture.Order, explicit: bool, tmp_path: Path) -> None:
    records = [r._replace(time=float(int(r.time))) for r in RECORDS] if resolution == 0 else RECORDS
    section = capture.Pcapng(order, section_length=explicit).interface(1, resolution=resolution)
    for r in records:
        section.packet(r)
    for way in ways(section.octets(), tmp_path):
        assert whole(way) == [(r.nanoseconds, 1, r.frame, r.length) for r in records]


@pytest.mark.parametrize(
    ("resolution", "ticks", "offset", "expected"),
    [
        (6, 1, 0, 1000),
        (9, 1, 0, 1),
        (12, 1_999, 0, 1),
        (28, 10**19, 0, 1),
        (29, 2**64 - 1, 0, 0),
        (127, 2**64 - 1, 0, 0),
        (0x80 | 32, 3 << 31, 0, 1_500_000_000),
        (0x80 | 63, 2**63, 0, 10**9),
        (0x80 | 64, 2**63, 0, 500_000_000),
        (0x80 | 127, 2**64 - 1, 0, 0),
        (6, 5, -1, 5000 - 10**9),
        (6, 5, 1000, 5000 + 10**12),
        (6, 2**64 - 1, 0, 2**63 - 1),  # later than an int64 can tell
        (0, 2**64 - 1, 2**62, 2**63 - 1),
        (9, 0, -(2**63), -9 * 10**18),
        (9, 2**63 - 1, 1, 2**63 - 1),
    ],
)
def test_pcapng_stamps(resolution: int, ticks: int, offset: int, expected: int) -> None:
    section = capture.Pcapng().interface(1, resolution=resolution, offset=offset)
    section.block(6, struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 1, 1) + b"x")
    assert whole(io.BytesIO(section.octets())) == [(expected, 1, b"x", 1)]


def test_interfaces_and_sections(tmp_path: Path) -> None:
    """Interfaces count anew in each section, which has its own byte order."""
    first, second = capture.Pcapng("<"), capture.Pcapng(">", section_length=True)
    first.interface(1).packet(RECORDS[0]).interface(101, resolution=9).packet(RECORDS[1], 1)
    first.packet(RECORDS[2], 0)
    second.interface(113, resolution=0x80 | 20).packet(RECORDS[3])
    octets = first.octets() + second.octets() + first.octets()
    links = [1, 101, 1, 113, 1, 101, 1]
    order = [0, 1, 2, 3, 0, 1, 2]
    for way in ways(octets, tmp_path):
        rows = whole(way)
        assert [row[1] for row in rows] == links
        assert [row[0] // 1000 for row in rows] == [RECORDS[i].nanoseconds // 1000 for i in order]
        assert [row[2] for row in rows] == [RECORDS[i].frame for i in order]
    rows, fault = read(io.BytesIO(first.octets() + capture.Pcapng(">").octets() + first.body[-64:]))
    assert len(rows) == 3
    assert fault is not None


def test_blocks_that_tell_no_record(tmp_path: Path) -> None:
    section = capture.Pcapng(options=struct.pack("<HH4s", 4, 4, b"test")).interface(1)
    for n, r in enumerate(RECORDS):
        section.block((10, 4, 5, 0x0BAD, 0x40000BAD, 0x7777, 0)[n % 7], bytes(4 * n))
        if n == 20:
            section.block(10, bytes(3_000_000))  # larger than a stream's window
        section.obsolete(r) if n % 2 else section.packet(r, options=section.option(1, b"note") + bytes(4))
    for way in [written(tmp_path, section.octets()), io.BytesIO(section.octets())]:
        assert whole(way) == ROWS


def test_simple_packet_blocks() -> None:
    """No time of their own: that of the record before; no caplen: the interface's capture length cuts."""
    section = capture.Pcapng().interface(1, snaplen=20)
    section.packet(RECORDS[0]._replace(frame=b"1234"))
    section.simple(RECORDS[1]._replace(frame=b"x" * 20, length=50))
    section.simple(RECORDS[2]._replace(frame=b"x" * 7, length=7))
    assert whole(io.BytesIO(section.octets())) == [
        (ROWS[0][0], 1, b"1234", 4),
        (ROWS[0][0], 1, b"x" * 20, 50),
        (ROWS[0][0], 1, b"x" * 7, 7),
    ]


def test_more_captured_than_there_was() -> None:
    octets = PCAP[:24] + struct.pack("<IIII", 1, 0, 4, 2) + b"abcd" + struct.pack("<IIII", 2, 0, 0, 0)
    assert whole(io.BytesIO(octets)) == [(10**9, 1, b"abcd", 4), (2 * 10**9, 1, b"", 0)]


# --- a second reader


def by_dpkt(file: Path) -> list[tuple[int, bytes]]:
    with file.open("rb") as octets:
        return [(round(Decimal(ts) * 10**6), frame) for ts, frame in dpkt.pcap.UniversalReader(octets)]


OURS = sorted((Path(__file__).resolve().parents[1] / "pcaps").glob("*.pcap*"))
PUBLIC = sorted(FOLDER.glob("*.pcap*"))


@pytest.mark.parametrize("file", [*OURS, *PUBLIC], ids=lambda file: file.name)
def test_as_dpkt_reads_it(file: Path) -> None:
    expected = by_dpkt(file)
    for way in (file, io.BytesIO(file.read_bytes())):
        rows = whole(way)
        assert [row[2] for row in rows] == [frame for _, frame in expected]
        # dpkt gives floats: good to the microsecond
        assert all(abs(row[0] // 1000 - us) <= 1 for row, (us, _) in zip(rows, expected, strict=True))


def test_public_captures_are_there() -> None:
    if not PUBLIC:
        pytest.skip(ABSENT)


def test_stamps_as_dpkt_reads_them(tmp_path: Path) -> None:
    """Nanoseconds, which dpkt gives as decimals."""
    file = tmp_path / "nano.pcap"
    stamps = [
        Decimal(n) + Decimal(n * 7_654_321 % 10**9) / 10**9 for n in range(1_600_000_000, 1_600_000_200)
    ]
    with file.open("wb") as octets:
        writer = dpkt.pcap.Writer(octets, nano=True)
        for stamp in stamps:
            writer.writepkt(b"frame", stamp)
    with file.open("rb") as octets:
        assert [row[0] for row in whole(file)] == [int(ts * 10**9) for ts, _ in dpkt.pcap.Reader(octets)]
    assert [row[0] for row in whole([(stamp, b"frame") for stamp in stamps])] == [
        row[0] for row in whole(file)
    ]


# --- what is cut, damaged, or no capture


@pytest.mark.parametrize("octets", [PCAP, PCAPNG], ids=["pcap", "pcapng"])
def test_cut_at_every_octet(octets: bytes, tmp_path: Path) -> None:
    """All whole records, then a fault that tells where; no fault where a file may end."""
    make = capture.pcap if octets is PCAP else capture.pcapng
    edges = [len(make(RECORDS[:n])) for n in range(len(RECORDS) + 1)]
    may_end = {*edges, 28} if octets is PCAPNG else set(edges)
    file = written(tmp_path, octets)
    for end in range(len(octets), -1, -1):
        os.truncate(file, end)
        complete = max(0, sum(edge <= end for edge in edges) - 1)
        for way in (file, io.BytesIO(octets[:end])):
            rows, fault = read(way)
            assert rows == ROWS[:complete]
            if end in may_end:
                assert fault is None
                continue
            assert fault is not None
            assert fault.offset == (end if octets.startswith(octets[:end]) and end else 0)
            assert fault.record == (0 if end < (24 if octets is PCAP else 28) else complete + 1)
            if end:
                assert f"at byte {end:,}" in str(fault)
                assert "cut off inside" in str(fault)


def test_what_a_cut_capture_says(tmp_path: Path) -> None:
    file = written(tmp_path, PCAP[:-10], "big.pcap")
    rows, fault = read(file)
    assert str(fault) == (
        f"{file}: cut off inside record 39 at byte {len(PCAP) - 10:,} "
        f"(record says {len(FRAMES[-1])} bytes, {len(FRAMES[-1]) - 10} are there)"
    )
    assert fault is not None
    assert (fault.path, fault.offset, fault.record) == (str(file), len(PCAP) - 10, 39)
    assert len(rows) == 38


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "it is empty"),
        (b"2026-03-03 10:10:02 SMTP timeout after end of data\n", "text, '2026-03-03 10:10:02 SMTP timeout"),
        ("Ünïcode tèxt, nothing else\n".encode(), "text"),
        (b"\x00" * 100, "zeros"),
        (b"\x7fELF\x02\x01\x01\x00", "7f 45 4c 46"),
        (b"PK\x03\x04" + bytes(30), "packed with zip"),
        (gzip.compress(gzip.compress(PCAP)), "packed with gzip"),
        (gzip.compress(b"just text"), "text, 'just text'"),
        (b"snoop\0\0\0\0\0\0\2\0\0\0\4", "a snoop capture"),
        (b"\xa1\xb2\xcd\x34" + PCAP[4:], "modified pcap"),
        (b"\x34\xcd\xb2\xa1" + PCAP[4:], "magic is 34 cd b2 a1"),
        (b"\xd4\xc3\xb2", "cut off inside the file header"),
        (PCAP[:4] + b"\x09\x00" + PCAP[6:], "pcap version 9.4"),
        (b"\xff", "begins with ff"),
        (b" \n", "text"),
    ],
    ids=range(15),
)
def test_no_capture(octets: bytes, said: str, tmp_path: Path) -> None:
    for way in (written(tmp_path, octets), io.BytesIO(octets)):
        rows, fault = read(way)
        assert rows == []
        assert fault is not None
        assert said in str(fault)
        assert fault.record == 0
        assert fault.offset <= len(octets)


def block(kind: int, body: bytes, *, length: int | None = None, trailer: int | None = None) -> bytes:
    size = len(body) + 12 if length is None else length
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size if trailer is None else trailer)


SECTION = capture.Pcapng().interface(1).packet(RECORDS[0]).octets()
PACKET = struct.pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd"


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (PCAP[:24] + struct.pack("<IIII", 0, 0, (16 << 20) + 1, 60) + bytes(100), "more than the 16,777,216"),
        (PCAP[:24] + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 60), "4,294,967,295 bytes"),
        (PCAP[:24] + struct.pack("<IIII", 0, 0, 300_000, 300_000) + bytes(100), "100 are there"),
        (SECTION + block(6, PACKET, length=8), "impossible block length 8"),
        (SECTION + block(6, PACKET, length=37), "impossible block length 37"),
        (SECTION + block(6, PACKET, trailer=40), "36 at its begin and 40 at its end"),
        (SECTION + block(0x1234, PACKET, trailer=40), "36 at its begin and 40 at its end"),
        (SECTION + block(6, b"\1" + PACKET[1:]), "interface number 1, but 1 are described"),
        (SECTION + block(6, PACKET[:12] + b"\5" + PACKET[13:]), "says 5 bytes, its block has room for 4"),
        (SECTION + block(6, PACKET[:12]), "impossible block length 24"),
        (SECTION + block(3, b""), "impossible block length 12"),
        (SECTION + block(1, b"1234"), "impossible block length 16"),
        (SECTION + block(0x0A0D0D0A, b"\x4d\x3c\x2b\x1a"), "impossible block length 16"),
        (SECTION + block(0x0A0D0D0A, b"abcd" + bytes(12)), "0x61626364 tells no byte order"),
        (SECTION + block(0x0A0D0D0A, b"\x4d\x3c\x2b\x1a\2\0\0\0" + bytes(8)), "pcapng version 2.0"),
        (SECTION + struct.pack("<II", 6, 0x7FFFFFFC) + bytes(40), "more than the"),
        (SECTION + struct.pack("<II", 0x1234, 0x7FFFFFFC) + bytes(64), "cut off inside"),
        (capture.Pcapng().octets() + block(6, PACKET), "interface number 0, but 0"),
        (capture.Pcapng().octets() + block(3, b"\4\0\0\0abcd"), "interface number 0, but 0"),
        (SECTION + capture.Pcapng().interface(1).body * 65_540, "more than 65,536 interfaces"),
    ],
    ids=range(20),
)
def test_damage(octets: bytes, said: str, tmp_path: Path) -> None:
    for way in (written(tmp_path, octets), io.BytesIO(octets), Trickle(octets, 10_000)):
        rows, fault = read(way)
        assert len(rows) == (1 if octets.startswith(SECTION) else 0)
        assert fault is not None
        assert said in str(fault)
        assert fault.offset <= len(octets)
        assert fault.record == len(rows) + 1


def test_the_fault_outlives_the_source(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, b"no capture at all"))
    assert source.fault() is None
    with pytest.raises(CaptureError):
        next(handed.records(source))
    source.close()
    assert "no capture at all" in str(source.fault())
    with pytest.raises(CaptureError):
        next(handed.records(source))


BEGINNINGS = [b"", PCAP[:24], PCAP[:100], SECTION, PCAPNG[:60], b"\x1f\x8b\x08", gzip.compress(PCAP)[:60]]


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400))
@example(b"\x0a\x0d\x0d\x0a", b"")
def test_any_octets_give_records_or_a_capture_error(begin: bytes, octets: bytes) -> None:
    for way in (io.BytesIO(begin + octets), Trickle(begin + octets, 5)):
        rows, _ = read(way)
        assert sum(len(row[2]) for row in rows) <= 2000 * len(begin + octets)


@given(st.sampled_from([PCAP, PCAPNG]), st.integers(0, len(PCAP) - 5), st.binary(min_size=1, max_size=5))
def test_patched_captures(octets: bytes, at: int, patch: bytes) -> None:
    patched = octets[:at] + patch + octets[at + len(patch) :]
    rows, fault = read(io.BytesIO(patched))
    again, same = read(Trickle(patched, 61))
    assert rows == again
    assert str(fault).partition(": ")[2] == str(same).partition(": ")[2]


# --- large records, windows, octets once more


def large(sizes: list[int]) -> tuple[bytes, list[bytes]]:
    rng = random.Random(5)
    frames = [rng.randbytes(min(size, 997)) * (size // 997 + 1) for size in sizes]
    frames = [frame[:size] for frame, size in zip(frames, sizes, strict=True)]
    return capture.pcap([capture.Record(n, f, len(f)) for n, f in enumerate(frames)]), frames


@pytest.mark.parametrize("size", [(16 << 20) - 1, 16 << 20, (16 << 20) + 1])
def test_the_largest_record(size: int, tmp_path: Path) -> None:
    octets, frames = large([10, size, 600_000, size, 20])
    for way in (written(tmp_path, octets), io.BytesIO(octets), Trickle(octets, 65_536)):
        rows, fault = read(way)
        if size > 16 << 20:
            assert len(rows) == 1
            assert "more than" in str(fault)
        else:
            assert fault is None
            assert [row[2] for row in rows] == frames
    if size <= 16 << 20:
        assert [row[2] for row in whole(list(enumerate(frames)))] == frames
    else:
        with pytest.raises(UsageError, match="item 2 has more than"):
            read(list(enumerate(frames)))


def sized(seed: int) -> list[int]:
    """Records of all sizes: many windows, and some records larger than one."""
    rng = random.Random(seed)
    kinds: list[Callable[[], int]] = [
        lambda: rng.randrange(100),
        lambda: rng.randrange(70_000),
        lambda: rng.randrange(700_000),
        lambda: 1460,
    ]
    return [rng.choice(kinds)() for _ in range(250)]


def sources(octets: bytes, folder: Path) -> Iterator[Any]:
    yield written(folder, octets)
    yield io.BytesIO(octets)
    yield Trickle(octets, 30_000)
    yield [(Fraction(row[0], 10**9), row[2]) for row in whole(io.BytesIO(octets))]


@pytest.mark.parametrize("seed", range(3))
def test_octets_once_more(seed: int, tmp_path: Path) -> None:
    """`back` answers the same for every kind of source: the last 16 MiB, and nothing before them."""
    octets, frames = large(sized(seed))
    assert len(octets) > 20 << 20
    for way in sources(octets, tmp_path):
        source = open_source(way)
        seen: list[tuple[int, bytes]] = []
        end = 0
        for n, (position, frame) in enumerate(handed.places(source)):
            assert frame == frames[n]
            end = position + len(frame)
            seen.append((position, frame))
            for back in (1, 2, 3, 10, 50, 150):
                if back < len(seen):
                    at, earlier = seen[-back]
                    held = handed.held(source, at, len(earlier))
                    assert held == (earlier if at >= end - (16 << 20) else None)
                    if len(earlier) > 5:
                        expected = earlier[2:5] if at + 2 >= end - (16 << 20) else None
                        assert handed.held(source, at + 2, 3) == expected
        assert end > 16 << 20
        assert handed.held(source, -1, 1) is None
        assert handed.held(source, end, 1) is None
        assert handed.held(source, end - 1, 2) is None
        source.close()
        assert handed.held(source, end - 1, 1) is None


def resident() -> int:
    """Octets of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    one = capture.pcap([capture.Record(1, bytes(1460), 1460)])
    file = tmp_path / "large.pcap"
    with file.open("wb") as out:
        out.write(one[:24])
        for _ in range(200):
            out.write(one[24:] * 400)  # 118 MB
    for way in (file, file.open("rb")):
        before = resident()
        most = 0
        source = open_source(way)
        for n, _ in enumerate(handed.records(source)):
            if n % 5000 == 0:
                most = max(most, resident() - before)
        assert source.octets_read == file.stat().st_size
        assert most < 24 << 20


# --- packed


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


# --- where captures come from


def test_standard_input(tmp_path: Path) -> None:
    """A pipe cannot be read twice, nor sought in; a cut one is told as a file is."""
    code = (
        "from smtpinspect.source import open_source\n"
        "from smtpinspect._core.sources import records\n"
        "n = 0\n"
        "try:\n"
        "    for n, _ in enumerate(records(open_source('-')), 1): pass\n"
        "except Exception as error: print(error)\n"
        "print(n)\n"
    )

    def run(octets: bytes) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], input=octets, capture_output=True, timeout=60, check=True
        )
        return done.stdout.decode()

    for octets in (PCAP, PCAPNG, gzip.compress(PCAP)):
        assert run(octets) == f"{len(RECORDS)}\n"
    assert run(PCAP[:-1]).startswith("standard input: cut off inside record 39")
    assert run(b"").startswith("standard input: not a capture: it is empty")


def test_a_pipe_is_read_as_it_comes() -> None:
    """The records that were written are seen before the writer goes on."""
    end, start = os.pipe()
    edges = [len(capture.pcap(RECORDS[:n])) for n in range(len(RECORDS) + 1)]
    with os.fdopen(end, "rb") as reader, os.fdopen(start, "wb", buffering=0) as writer:
        rows = handed.records(open_source(reader))
        writer.write(PCAP[: edges[1]])
        assert next(rows) == ROWS[0]
        writer.write(PCAP[edges[1] : edges[3]])
        assert [next(rows), next(rows)] == ROWS[1:3]
        writer.write(PCAP[edges[3] :])
        writer.close()
        assert list(rows) == ROWS[3:]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(gzip.compress(PCAP),))
    writer.start()
    assert whole(fifo) == ROWS
    writer.join()


def test_a_file_object_is_not_closed(tmp_path: Path) -> None:
    for octets in (PCAP, gzip.compress(PCAP)):
        with written(tmp_path, octets).open("rb") as file:
            assert whole(file) == ROWS
            assert not file.closed


def test_paths_of_all_types(tmp_path: Path) -> None:
    file = written(tmp_path, PCAP, "Größe 1.pcap")
    assert whole(file) == whole(str(file)) == whole([file]) == whole((file,)) == ROWS
    source = open_source(file)
    assert open_source(source) is source
    assert source.name == str(file)


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PCAP, "capture.pcap")
    cases: list[tuple[Any, str]] = [
        (tmp_path / "capture.pcpa", "no such file; did you mean .*capture.pcap?"),
        (tmp_path / "missing" / "capture.pcap", "no such file .*missing is no directory"),
        (tmp_path, "is a directory; name the captures in it"),
        (tmp_path / "capture.pcap" / "deeper", "Not a directory"),
        ("a\0b", "null"),
        (tmp_path / ("x" * 5000), "name too long"),
        (b"octets", "wrap them in io.BytesIO"),
        (42, "int is neither"),
        (io.StringIO("text"), "is open as text"),
        ([tmp_path / "capture.pcap", tmp_path], "is a directory"),
        (["-", "-"], "once only"),
    ]
    for what, said in cases:
        with pytest.raises(UsageError, match=said):
            open_source(what)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input"):
        open_source("-")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = written(tmp_path, PCAP)
    file.chmod(0)
    with pytest.raises(UsageError, match="may not read"):
        open_source(file)


class Failing(io.RawIOBase):
    """Gives octets, then raises."""

    def __init__(self, octets: bytes, error: BaseException) -> None:
        self.octets, self.error = octets, error

    def read(self, n: int = -1) -> bytes:
        octets, self.octets = self.octets[:n], self.octets[n:]
        if not octets:
            raise self.error
        return octets


def test_a_file_object_that_fails() -> None:
    rows, fault = read(Failing(PCAP[:-3], OSError(5, "Input/output error")))
    assert rows == ROWS[:-1]
    assert "Input/output error" in str(fault)
    assert "record 39" in str(fault)
    rows, fault = read(Failing(PCAP, OSError(5, "Input/output error")))
    assert rows == ROWS
    assert fault is not None
    for error in (KeyboardInterrupt(), SystemExit(1)):
        source = open_source(Failing(PCAP, error))
        with pytest.raises(type(error)):
            list(handed.records(source))
        source.close()


def test_a_file_object_that_gives_text() -> None:
    class Text:
        def read(self, n: int) -> Any:
            return "text"

    with pytest.raises(UsageError, match="open the file in binary mode"):
        list(handed.records(open_source(Text())))


# --- iterables


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


# --- several as one


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


def test_a_file_that_grows_and_one_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    octets, frames = large([1000] * 3000)
    file = written(tmp_path, octets)
    rows = handed.records(open_source(file))
    assert next(rows)[2] == frames[0]
    os.truncate(file, len(octets) // 2 + 5)
    with pytest.raises(CaptureError, match="cut off inside"):
        for _ in rows:
            pass
    file.write_bytes(octets)
    rows = handed.records(open_source(file))
    next(rows)
    with file.open("ab") as more:
        more.write(octets[24:])
    assert sum(1 for _ in rows) == 2 * len(frames) - 1
