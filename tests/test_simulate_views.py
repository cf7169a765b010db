"""Written captures: what each side saw, with nothing wrong in them that is not meant."""

from __future__ import annotations

import shutil
import struct
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import dpkt
import pytest

from smtpinspect.enforce.craft import ACK, FIN, SYN, Segment, build, parse, sound
from smtpinspect.errors import UsageError
from smtpinspect.simulate.captures import Asked, simulate
from smtpinspect.simulate.packets import unwrap
from smtpinspect.simulate.views import View

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
# An inspector, and how it ends flows: its own way, or as told.
BOXES = [
    ("mailguard:pix-4.0", ""), ("mailguard:pix-6", ""), ("stormshield:high", ""), ("stormshield:high", "rst"),
    ("stormshield:high", "fin"), ("sonicwall", ""), ("sonicwall,on_match=reset", ""),
    ("sonicwall,on_match=drop", "fin"),
]  # fmt: skip
CHOSEN = ("subject-8bit", "encrypted-zip", "bdat", "ipv6", "packed-exe", "several-mails", "smtp-217", "fake-command")


def written(file: Path, inspector: str, broken: Any, re_enact: bool, folder: Path) -> tuple[Path, Path]:
    paths = folder / "client.pcap", folder / "server.pcap"
    simulate(
        Asked(
            str(file),
            inspector,
            broken=broken,
            re_enact=re_enact,
            write_client=str(paths[0]),
            write_server=str(paths[1]),
        )
    )
    return paths


def check(path: Path) -> None:
    """Times in order, checksums right, no hole, nothing acknowledged that was not sent."""
    with path.open("rb") as octets:
        reader = dpkt.pcap.Reader(octets)
        assert reader.datalink() == 101
        rows = [(when, bytes(packet)) for when, packet in reader]
    assert [when for when, _ in rows] == sorted(when for when, _ in rows)
    ends: dict[tuple[str, int], int] = {}  # behind the last octet that this end has sent, as this side sees it
    for number, (_, packet) in enumerate(rows, 1):
        assert sound(packet), number
        segment = parse(packet)
        assert segment is not None
        mine, peer = (segment.src, segment.sport), (segment.dst, segment.dport)
        size = len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        if mine in ends:
            seq = unwrap(segment.seq, ends[mine])
            assert seq <= ends[mine], f"packet {number}: a hole"
            ends[mine] = max(ends[mine], seq + size)
        else:
            ends[mine] = segment.seq + size
        if peer in ends and segment.flags & 16:
            assert unwrap(segment.ack, ends[peer]) <= ends[peer], f"packet {number} acknowledges what was never sent"


@pytest.mark.parametrize("re_enact", [False, True])
@pytest.mark.parametrize(("inspector", "broken"), BOXES)
@pytest.mark.parametrize("name", CHOSEN)
def test_a_view_is_sound(name: str, inspector: str, broken: str, re_enact: bool, tmp_path: Path) -> None:
    for path in written(PCAPS / f"{name}.pcap", inspector, broken, re_enact, tmp_path):
        check(path)


@pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here: it is not asked about the views")
@pytest.mark.parametrize("re_enact", [False, True])
@pytest.mark.parametrize(("inspector", "broken"), [BOXES[0], BOXES[3], BOXES[4], BOXES[5]])
def test_tshark_finds_nothing_but_repetitions(inspector: str, broken: str, re_enact: bool, tmp_path: Path) -> None:
    wrong = (
        "tcp.checksum.status==0 or ip.checksum.status==0 or _ws.malformed or tcp.analysis.lost_segment or "
        "tcp.analysis.ack_lost_segment or tcp.analysis.out_of_order or tcp.analysis.reused_ports"
    )
    options = ["-n", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    for path in written(PCAPS / "subject-8bit.pcap", inspector, broken, re_enact, tmp_path):
        done = subprocess.run(
            ["tshark", *options, "-r", str(path), "-Y", wrong], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == ""


def test_a_silent_drop_is_seen_by_one_side_only(tmp_path: Path) -> None:
    client, server = written(PCAPS / "subject-8bit.pcap", "stormshield", "", False, tmp_path)
    assert client.read_bytes().count(b"Subject: R\xc3\xa9union") > 5  # sent again and again
    assert b"Subject" not in server.read_bytes()


def test_nanoseconds_and_ip_without_a_link_header(tmp_path: Path) -> None:
    path = tmp_path / "view.pcap"
    with View(path) as view:
        view.add(1_795_380_089_512_345_678, b"E" + bytes(19))
        view.add(1_795_380_089_999_999_999, b"`" + bytes(39))
    octets = path.read_bytes()
    assert struct.unpack("<I", octets[:4]) in ((0xA1B23C4D,), (0x4D3CB2A1,))
    with path.open("rb") as file:
        stamps = [when for when, _ in dpkt.pcap.Reader(file)]
    assert [Decimal(str(when)) for when in stamps] == [Decimal("1795380089.512345678"), Decimal("1795380089.999999999")]
    assert view.packets == 2


def test_a_view_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        View(tmp_path / "no" / "folder.pcap")
    counted = View()
    counted.add(0, b"")
    assert counted.packets == 1


EARLY = b"HELO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n"
REPLIES = b"220 mx ESMTP\r\n250 mx\r\n250 Ok\r\n250 Ok\r\n354 go on\r\n"


def early_text(path: Path) -> None:
    """A client that waits for nothing: the text comes with DATA, and is acknowledged before any reply. The host leaves
    the checksums of IPv4 to its network card."""
    turns = [
        (True, SYN, 0, 0, b""),
        (False, SYN | ACK, 0, 1, b""),
        (True, ACK, 1, 1, b""),
        (True, ACK, 1, 1, EARLY),
        (False, ACK, 1, 1 + len(EARLY), b""),
        (False, ACK, 1, 1 + len(EARLY), REPLIES),
        (True, ACK, 1 + len(EARLY), 1 + len(REPLIES), b""),
        (False, ACK, 1 + len(REPLIES), 1 + len(EARLY), b"250 queued\r\n"),
    ]
    with View(path) as view:
        for n, (by_client, flags, seq, ack, payload) in enumerate(turns):
            ends = ("192.0.2.1", "192.0.2.2", 4000, 25) if by_client else ("192.0.2.2", "192.0.2.1", 25, 4000)
            ip = build(Segment(*ends, seq, ack, flags, 500, b"", payload, 64, n))
            view.add(1_700_000_000_000_000_000 + n * 10**7, ip[:10] + b"\0\0" + ip[12:])


@pytest.mark.parametrize("inspector", ["mailguard:pix-6", "mailguard:asa-8", "stormshield", "sonicwall"])
def test_no_end_acknowledges_what_the_box_keeps_back(inspector: str, tmp_path: Path) -> None:
    capture = tmp_path / "early.pcap"
    early_text(capture)
    for path in written(capture, inspector, "", False, tmp_path):
        check(path)
