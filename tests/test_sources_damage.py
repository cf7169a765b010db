"""What is cut, damaged or no capture: the records before it, and where reading ended."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit import capture
from smtpinspect._core import sources as handed
from smtpinspect.errors import CaptureError
from smtpinspect.source import open_source
from sourced import FRAMES, PCAP, PCAPNG, RECORDS, ROWS, Trickle, read, written


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
