"""pcap and pcapng: every record, octet for octet, its time and link type; and what dpkt reads of the same files."""

from __future__ import annotations

import io
import struct
from decimal import Decimal
from pathlib import Path

import dpkt
import pytest

from kit import capture
from public import ABSENT, FOLDER
from sourced import PCAP, RECORDS, ROWS, read, ways, whole, written


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
