"""A router's capture of all interfaces holds every packet twice: as it came, and as it went on."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import capture
from kit.broken import Connection, message
from kit.link import LINKS
from kit.wire import V4, V6, Ends, Packet
from smtpinspect.cli import main
from smtpinspect.diagnose.model import Case
from test_diagnose_outcome import looked_at

TTL = {4: 8, 6: 7}  # where it stands


def hop(packet: Packet, hops: int, after: float = 0.00001) -> Packet:
    octets = bytearray(packet.octets)
    octets[TTL[octets[0] >> 4]] -= hops
    return packet._replace(octets=bytes(octets), time=packet.time + after)


def twice(packets: list[Packet], hops: int) -> list[Packet]:
    return sorted([*packets, *(hop(each, hops) for each in packets)], key=lambda each: each.time)


def written(path: Path, packets: list[Packet]) -> str:
    path.write_bytes(capture.pcap(capture.records(packets, LINKS["ethernet"])))
    return str(path)


def case_of(path: Path, packets: list[Packet]) -> Case:
    (case,) = looked_at(written(path, packets))
    return case


def shape(case: Case) -> list[tuple[object, ...]]:
    assert case.trace is not None
    return [(p.by_client, p.flags, p.at, p.acks, p.length, p.ttl) for p in case.trace.packets]


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("hops", [1, 0])
def test_copies_are_left_out(ends: Ends, hops: int, tmp_path: Path) -> None:
    packets = Connection(ends).cut(message(600)).packets
    case = case_of(tmp_path / "any.pcap", twice(packets, hops))
    assert shape(case) == shape(case_of(tmp_path / "one.pcap", packets))
    assert case.trace is not None and case.trace.copies == len(packets)


def test_what_is_sent_again_stays(tmp_path: Path) -> None:
    made = Connection().envelope()
    for _ in range(3):
        made.ack("S")  # duplicates, each with an IP id of its own
    at = made.say("C", message(600), arrives=False).sent["C"] - 100
    made.again("C", at, 100).again("C", at, 100)
    case = case_of(tmp_path / "once.pcap", made.packets)
    assert case.trace is not None and (case.trace.copies, len(case.trace.packets)) == (0, len(made.packets))


def test_a_page_tells_of_copies_and_of_no_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = Connection().cut(message(600)).packets
    assert main(["diagnose", written(tmp_path / "any.pcap", twice(packets, 1))]) == 0
    page = capsys.readouterr().out
    assert "each packet is in the capture twice" in page and f"the copies ({len(packets)})" in page
    assert "loss: packets are lost" not in page


@pytest.mark.parametrize("which", [0, 1])
def test_nothing_is_lost_or_put_in_between_points(
    which: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Connection().envelope().say("C", message(600), acked=True).reset("S").reset("S")
    rows = [made.packets, [hop(each, 1, 0.002) for each in made.packets]]
    rows[which] = twice(rows[which], 1)
    near, far = (written(tmp_path / f"{n}.pcap", each) for n, each in enumerate(rows))
    assert main(["diagnose", "--outside", near, "--inside", far]) == 0
    page = capsys.readouterr().out
    assert "got lost" not in page and "reached" not in page
    assert "in the capture twice" in page


def test_captures_of_two_points_are_not_read_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = Connection().cut(message(600)).packets
    near, far = written(tmp_path / "a.pcap", packets), written(tmp_path / "b.pcap", [hop(p, 1, 0.5) for p in packets])
    assert main(["diagnose", near, far]) == 2
    assert f"--outside {near} --inside {far}" in capsys.readouterr().err
    assert main(["diagnose", near, near]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_captures_that_follow_each_other_are_read_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = Connection().cut(message(600)).packets
    one, two = written(tmp_path / "1.pcap", packets[:12]), written(tmp_path / "2.pcap", packets[12:])
    assert main(["diagnose", one, two]) == 0
    assert "NOT DELIVERED" in capsys.readouterr().out
