"""Hazards of capture files and link layers (L)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import running
import smtpinspect
from hazards import hazard
from kit import capture, link, mutate, wire
from kit.dialogue import DELIVERY, parse, stream
from kit.wire import Packet

TURNS = parse(DELIVERY)
SEGMENTS = wire.build(TURNS)
PACKETS = wire.packets(SEGMENTS)
RECORDS = capture.records(PACKETS)


def written(folder: Path, octets: bytes, name: str = "capture") -> Path:
    file = folder / name
    file.write_bytes(octets)
    return file


def is_the_delivery(connections: list[dict[str, Any]], ends: wire.Ends = wire.V4) -> None:
    """One connection with exactly the octets of the dialogue."""
    (only,) = connections
    expected = running.transcript(SEGMENTS)
    assert only == expected | dict(zip(("client", "server"), ends.names(), strict=True))
    assert (only["client_bytes"], only["server_bytes"]) == (len(stream(TURNS, "C")), len(stream(TURNS, "S")))
    assert only["gaps"] == []
    assert only["messages"][0]["final_reply"] == 250


@hazard("L-01")
@pytest.mark.parametrize("magic", [capture.MICRO, capture.NANO])
@pytest.mark.parametrize("order", ["<", ">"])
def test_four_magics(magic: int, order: capture.Order, tmp_path: Path) -> None:
    file = written(tmp_path, capture.pcap(RECORDS, magic=magic, order=order))
    is_the_delivery(smtpinspect.transcript(file))
    (flow,) = smtpinspect.replay(file).flows
    assert flow.client == wire.V4.names()[0]


@hazard("L-02")
@pytest.mark.parametrize("patch", [(0, b"\x34\xcd\xb2\xa1"), (4, b"\x09\x00")], ids=["magic", "version"])
def test_odd_variants_are_read_or_refused(patch: tuple[int, bytes], tmp_path: Path) -> None:
    at, octets = patch
    whole = capture.pcap(RECORDS)
    file = written(tmp_path, whole[:at] + octets + whole[at + len(octets) :])
    connections, why = [], ""
    try:
        connections = smtpinspect.transcript(file)
    except smtpinspect.CaptureError as error:
        why = str(error).lower()
    if why:
        assert any(word in why for word in ("magic", "version", "modified"))
    else:
        is_the_delivery(connections)


@hazard("L-03")
def test_interfaces_of_different_kinds(tmp_path: Path) -> None:
    """Each direction comes from an interface of its own, with its own link type and clock."""
    for resolution in (6, 9, 0x80 | 20):
        section = (
            capture.Pcapng().interface(1, resolution=resolution).interface(101, resolution=9, offset=1000)
        )
        raw = capture.records(PACKETS, link.LINKS["raw"])
        for p, tagged, bare in zip(PACKETS, RECORDS, raw, strict=True):
            section.packet(tagged, 0) if p.direction == "C" else section.packet(bare, 1)
        is_the_delivery(smtpinspect.transcript(written(tmp_path, section.octets())))


@hazard("L-04")
def test_sections_of_both_byte_orders(tmp_path: Path) -> None:
    """The connection goes on across the border, and interfaces are numbered anew."""
    half = len(RECORDS) // 2
    first, second = capture.Pcapng("<"), capture.Pcapng(">", section_length=True)
    first.interface(1, resolution=9)
    second.interface(101).interface(1)
    for r in RECORDS[:half]:
        first.packet(r)
    for r in RECORDS[half:]:
        second.packet(r, 1)
    is_the_delivery(smtpinspect.transcript(written(tmp_path, first.octets() + second.octets())))


@hazard("L-05")
def test_blocks_of_every_kind(tmp_path: Path) -> None:
    section = capture.Pcapng().interface(1)
    secrets, names, statistics, custom, unknown = 10, 4, 5, 0x0BAD, 0x7777
    for i, r in enumerate(RECORDS):
        section.block((secrets, names, statistics, custom, unknown)[i % 5], bytes(4 * (i % 7)) + b"QUIT")
        section.obsolete(r) if i % 2 else section.packet(r, options=section.option(1, b"note") + bytes(4))
    is_the_delivery(smtpinspect.transcript(written(tmp_path, section.octets())))


@hazard("L-05")
def test_simple_packet_blocks(tmp_path: Path) -> None:
    """They have no time; a short one is cut by the interface's capture length."""
    section = capture.Pcapng().interface(1)
    for r in RECORDS:
        section.simple(r)
    is_the_delivery(smtpinspect.transcript(written(tmp_path, section.octets())))


@hazard("L-06")
def test_cut_inside_a_record(tmp_path: Path) -> None:
    """Cut everywhere: test_bad_input."""
    file = written(tmp_path, capture.pcap(RECORDS)[:-1])
    with pytest.raises(smtpinspect.CaptureError) as caught:
        smtpinspect.transcript(file)
    last = len(capture.pcap(RECORDS[:-1]))
    assert last <= caught.value.offset <= len(capture.pcap(RECORDS))


@hazard("L-07")
def test_record_longer_than_any_frame(tmp_path: Path) -> None:
    size = (0x7FFFFFF0).to_bytes(4, "little")
    file = written(tmp_path, capture.pcap(RECORDS) + bytes(8) + size + size + b"x" * 50)
    with pytest.raises(smtpinspect.CaptureError):
        smtpinspect.transcript(file)


@hazard("L-08")
@pytest.mark.parametrize("name", ["capture.pcap", "capture.txt", "capture.gz"])
def test_gzip_of_several_members(name: str, tmp_path: Path) -> None:
    """By what it holds, not by its name."""
    octets = capture.pcap(RECORDS)
    file = written(tmp_path, capture.gzipped(octets, (3, 700)), name)
    is_the_delivery(smtpinspect.transcript(file))
    cut = written(tmp_path, capture.gzipped(octets)[:-20], "cut.gz")
    with pytest.raises(smtpinspect.CaptureError):
        smtpinspect.transcript(cut)


@hazard("L-08")
def test_zstandard(tmp_path: Path) -> None:
    octets = capture.pcap(RECORDS)
    zstandard = capture.zstandard()
    if zstandard is None:
        # A frame of the format's magic: without the extra, a clear message names what to install.
        file = written(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(40))
        with pytest.raises(smtpinspect.CaptureError, match="zstandard"):
            smtpinspect.transcript(file)
        return
    pack = zstandard.ZstdCompressor().compress
    file = written(tmp_path, pack(octets[:500]) + pack(octets[500:]))
    is_the_delivery(smtpinspect.transcript(file))


@hazard("L-09", "T-50")
def test_several_files_are_one_stream_in_time_order(tmp_path: Path) -> None:
    third = len(RECORDS) // 3
    parts = [RECORDS[:third], RECORDS[third : 2 * third], RECORDS[2 * third :]]
    files = [written(tmp_path, capture.pcap(part), str(i)) for i, part in enumerate(parts)]
    for order in ([0, 1, 2], [2, 0, 1]):
        is_the_delivery(smtpinspect.transcript([files[i] for i in order]))
    sides = [[r for p, r in zip(PACKETS, RECORDS, strict=True) if p.direction == d] for d in ("C", "S")]
    files = [written(tmp_path, capture.pcap(side), f"side-{i}") for i, side in enumerate(sides)]
    is_the_delivery(smtpinspect.transcript(files))


@hazard("L-10")
@pytest.mark.parametrize("times", ["back", "equal", "zero", "years"])
def test_odd_clocks(times: str) -> None:
    n = range(len(RECORDS))
    stamps = {
        "back": [wire.START - i for i in n],
        "equal": [wire.START] * len(n),
        "zero": [0.0] * len(n),
        "years": [wire.START + (i % 2) * 1e8 for i in n],
    }[times]
    is_the_delivery(smtpinspect.transcript([(t, r.frame) for t, r in zip(stamps, RECORDS, strict=True)]))


@hazard("L-11", "L-12")
@pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("name", [*link.LINKS, "ip"])
def test_link_types(name: str, ends: wire.Ends, tmp_path: Path) -> None:
    known = link.links(ends.v6)
    how = known[name if name in known else "ipv6" if ends.v6 else "ipv4"]
    items = capture.records(wire.packets(SEGMENTS, ends), how)
    classic, modern = capture.pcap(items, link=how.number), capture.pcapng(items, link=how.number)
    for octets in (classic, modern):
        is_the_delivery(smtpinspect.transcript(written(tmp_path, octets)), ends)


@hazard("L-11", "L-21")
@pytest.mark.parametrize("number", [105, 127, 195, 9999])
def test_unknown_link_type_is_named(number: int, tmp_path: Path) -> None:
    """One clear message, and not a capture that seems to hold nothing."""
    file = written(tmp_path, capture.pcap(RECORDS, link=number))
    stats = smtpinspect.replay(file).stats
    assert stats is not None
    assert stats.unknown_links == {number}
    command = [sys.executable, "-m", "smtpinspect", "replay", str(file)]
    told = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert str(number) in (told.stdout + told.stderr).decode()
    # Records are for programs: there the message stands beside them.
    told = subprocess.run([*command, "--format", "eve"], capture_output=True, check=False, timeout=60)
    assert str(number) in told.stderr.decode()


@hazard("L-13")
@pytest.mark.parametrize(
    "tags",
    [
        ((0x8100, 0),),
        ((0x8100, 7), (0x8100, 8)),
        ((0x9100, 1), (0x8100, 2)),
        ((0x88A8, 1), (0x8100, 2), (0x8100, 3)),
    ],
    ids=["priority", "two", "9100", "three"],
)
def test_tags_are_no_part_of_a_connection(tags: tuple[tuple[int, int], ...]) -> None:
    """Both directions join, tagged or not."""
    for tagged in ("C", "S", "CS"):
        frames = [(p.time, link.ethernet(p, tags if p.direction in tagged else ())) for p in PACKETS]
        is_the_delivery(smtpinspect.transcript(frames))


@hazard("L-15")
def test_capture_length(tmp_path: Path) -> None:
    """What the capture length cut off is a gap of known size, and is called so."""
    turns = parse(DELIVERY.replace("How are you?", "{x*500}"))
    segments = wire.build(turns)
    items = capture.records(wire.packets(segments), snaplen=300)
    result = smtpinspect.replay(written(tmp_path, capture.pcap(items, snaplen=300)))
    assert "snaplen" in running.doubts(result)
    (mail,) = result.mails
    assert (mail.outcome, mail.reply) == ("accepted", 250)
    cut = running.transcript(mutate.snapped(segments, 100))
    assert cut["client_bytes"] == len(stream(turns, "C"))
    assert cut["gaps"]
    assert {g["direction"] for g in cut["gaps"]} == {"client"}
    assert cut["commands"][-1]["verb"] == "QUIT"


@hazard("L-16")
def test_mirrored_twice() -> None:
    """A mirror port shows each packet twice: one hop less, other addresses, 20 us later."""
    twice = []
    for s in SEGMENTS:
        twice += [s, s.but(ttl=(64 if s.direction == "C" else 57) - 1, time=s.time + 2e-5)]
    frames = []
    for p in wire.packets(twice):
        seen: Packet = replace_macs(p)
        frames.append((p.time, link.ethernet(seen)))
    is_the_delivery(smtpinspect.transcript(frames))
    assert "overlap" not in running.doubts(smtpinspect.replay(frames))


def replace_macs(p: Packet) -> Packet:
    """Every second hop has the addresses the other way round."""
    odd = p.octets[8] % 2
    return p._replace(direction="S" if odd else "C")


@hazard("L-17")
@pytest.mark.parametrize("seed", range(5))
def test_shuffled_by_several_queues(seed: int) -> None:
    shuffled = mutate.reordered(SEGMENTS, Random(seed), 4, handshake=True)
    is_the_delivery(smtpinspect.transcript(running.frames(shuffled)))


@hazard("L-18")
def test_super_segments() -> None:
    """Up to 64 KiB from a sending host, IP length perhaps 0; borders mean nothing then, and it is said."""
    turns = parse(DELIVERY.replace("How are you?", "{line of text\\r\\n*4000}"))
    segments = wire.build(turns, mss=60_000)
    packets = wire.packets(segments)
    zero = [p._replace(octets=p.octets[:2] + b"\0\0" + p.octets[4:]) for p in packets]
    zero = [z if len(p.octets) > 1500 else p for p, z in zip(packets, zero, strict=True)]
    for sent in (packets, zero):
        frames = capture.frames(sent)
        (only,) = smtpinspect.transcript(frames)
        assert only["client_bytes"] == len(stream(turns, "C"))
        assert only["messages"][0]["terminated"]
        assert "super-segments" in running.doubts(smtpinspect.replay(frames))


@hazard("L-19", "T-30")
@pytest.mark.parametrize("side", ["C", "S", "CS"])
def test_checksums_left_to_the_network_card(side: str) -> None:
    """A whole direction with wrong checksums is what a sending host captures: it is used."""
    segments = [s.but(bad_checksum=s.direction in side) for s in SEGMENTS]
    is_the_delivery(smtpinspect.transcript(running.frames(segments)))


@hazard("L-20")
@pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["ipv4", "ipv6"])
def test_padding_is_no_data(ends: wire.Ends) -> None:
    packets = wire.packets(SEGMENTS, ends)
    frames = [(p.time, link.ethernet(p, pad=b"QUIT\r\n", trailer=b"\r\nRSET\r\n")) for p in packets]
    is_the_delivery(smtpinspect.transcript(frames), ends)


@hazard("S-25")
def test_server_on_another_port_is_found_by_its_greeting() -> None:
    ends = replace(wire.V4, server_port=10025)
    is_the_delivery(smtpinspect.transcript(running.frames(SEGMENTS, ends)), ends)
