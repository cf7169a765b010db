"""Hazards of the IP layer (I)."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import running
import smtpinspect
from hazards import hazard
from kit import capture, ip, mutate, wire
from kit.dialogue import DELIVERY, parse, stream
from kit.segment import ACK, PSH, Segment
from kit.wire import Packet

BOTH = pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["ipv4", "ipv6"])
# The mail's text is one segment of more than 4 KiB.
TURNS = parse(DELIVERY.replace("How are you?", "{a line of text\\r\\n*300}"))
SEGMENTS = wire.build(TURNS, mss=8000)
BIG = next(i for i, s in enumerate(SEGMENTS) if len(s.payload) > 4000)


def transcript(packets: list[Packet]) -> dict[str, Any]:
    (only,) = smtpinspect.transcript(capture.frames(packets))
    return dict(only)


def whole(packets: list[Packet]) -> None:
    got = transcript(packets)
    assert got["client_bytes"] == len(stream(TURNS, "C"))
    assert got["messages"] == running.transcript(SEGMENTS)["messages"]
    assert got["gaps"] == []


def with_pieces(packets: list[Packet], pieces: list[Packet]) -> list[Packet]:
    """The big packet replaced by its pieces."""
    return [*packets[:BIG], *pieces, *packets[BIG + 1 :]]


@hazard("I-01", "I-06")
@BOTH
@pytest.mark.parametrize("size", [8, 1480])
@pytest.mark.parametrize("order", ["in order", "reversed", "last first", "twice"])
def test_fragments(ends: wire.Ends, size: int, order: str) -> None:
    """Of 8 octets the first holds half a TCP header."""
    packets = wire.packets(SEGMENTS, ends)
    pieces = ip.fragments(packets[BIG], size)
    arranged = {
        "in order": pieces,
        "reversed": pieces[::-1],
        "last first": [pieces[-1], *pieces[:-1]],
        "twice": [p for p in pieces for _ in (1, 2)],
    }[order]
    whole(with_pieces(packets, arranged))


@hazard("I-01")
@BOTH
def test_missing_fragment_is_a_gap(ends: wire.Ends) -> None:
    packets = wire.packets(SEGMENTS, ends)
    pieces = ip.fragments(packets[BIG], 1480)
    got = transcript(with_pieces(packets, [pieces[0], *pieces[2:]]))
    assert got["gaps"]
    assert got["client_bytes"] == len(stream(TURNS, "C"))
    assert got["commands"][-1]["reply"] == 221


@hazard("I-02")
def test_overlapping_fragments_first_copy_wins() -> None:
    """The vector of the catalogue: a unit that another letter should win holds other octets."""
    winner = "AAAJBBCCCLDLMEEFFFGGHHIQ"
    first = "A0x3 B4x2 C6x3 D10x1 E13x2 F15x3 G18x2 H20x2 I22x1"
    second = "J1x4 K6x3 L9x3 M12x3 N16x1 O19x1 P20x1 Q22x2"
    text = b"220 mx.example ESMTP " + b"g" * 149 + b"\r\n"
    turns = parse("S: 220 x\n")
    greeting = wire.build(turns)[3].but(payload=text)
    segments = [*wire.build(turns)[:3], greeting]
    packets = wire.packets(segments)
    head, datagram = ip.split4(packets[3].octets)
    assert len(datagram) == 8 * len(winner)
    pieces = []
    for name in f"{first} {second}".split():
        letter, place = name[0], name[1:].split("x")
        at, length = int(place[0]), int(place[1])
        units = range(at, at + length)
        octets = b"".join(datagram[8 * u : 8 * u + 8] if winner[u] == letter else b"#" * 8 for u in units)
        more = 0x2000 if letter != "Q" else 0
        header = ip.reheader4(head, 20 + len(octets), offset_field=at | more)
        pieces.append(packets[3]._replace(octets=header + octets))
    got = smtpinspect.transcript(capture.frames([*packets[:3], *pieces]))
    assert [t["server_bytes"] for t in got] == [len(text)]
    assert got[0]["server_sha256"] == running.transcript(segments)["server_sha256"]
    assert "overlap" in running.doubts(smtpinspect.replay(capture.frames([*packets[:3], *pieces])))


@hazard("I-03")
def test_overlapping_ipv6_fragments_are_dropped() -> None:
    """RFC 5722: the whole datagram goes."""
    packets = wire.packets(SEGMENTS, wire.V6)
    pieces = ip.fragments(packets[BIG], 1480)
    forged = pieces[1]._replace(octets=pieces[1].octets[:-1480] + b"#" * 1480)
    got = transcript(with_pieces(packets, [pieces[0], forged, pieces[1], *pieces[2:]]))
    assert got["gaps"]


@hazard("I-04")
def test_atomic_fragment() -> None:
    """One fragment that is all: on its own, whatever others have its identification."""
    packets = wire.packets(SEGMENTS, wire.V6)
    pieces = ip.fragments(packets[BIG], 1480, ident=77)
    atomic = [ip.with_extensions(p, [ip.FRAGMENT]) for p in packets]
    whole([*atomic[:BIG], pieces[0], atomic[BIG], *pieces[1:], *atomic[BIG + 1 :]])


@hazard("I-05", "I-11")
@BOTH
def test_impossible_fragments_and_a_flood(ends: wire.Ends) -> None:
    """Two last fragments, beyond 65,535 octets, 5,000 that never end: the mail beside them is whole."""
    packets = wire.packets(SEGMENTS, ends)
    model = wire.packet(Segment("C", 5, 5, ACK, bytes(3000)), ends)
    bad: list[Packet] = []
    for ident in range(5000):
        bad.append(ip.fragments(model, 2400, ident=ident + 10)[0])
    pieces = ip.fragments(model, 1480, ident=3)
    longer = wire.packet(Segment("C", 5, 5, ACK, bytes(5000)), ends)
    bad += [pieces[-1], ip.fragments(longer, 1480, ident=3)[-1], pieces[0]]
    if not ends.v6:
        head, payload = ip.split4(model.octets)
        over = ip.reheader4(head, 20 + 800, offset_field=0x1FFF)
        bad.append(model._replace(octets=over + payload[:800]))
    whole([*packets[:3], *bad, *packets[3:]])


@hazard("I-07")
def test_identification_used_again() -> None:
    """A fragment, a whole packet of the same identification, the second fragment."""
    packets = wire.packets(SEGMENTS)
    first, *rest = ip.fragments(packets[BIG], 2400, ident=9)
    other = wire.packet(Segment("S", SEGMENTS[BIG].ack, SEGMENTS[BIG].seq, ACK), ident=9)
    whole(with_pieces(packets, [first, other, *rest]))


@hazard("I-08")
@pytest.mark.parametrize(
    "chain",
    [
        (ip.HOP_BY_HOP,),
        (ip.HOP_BY_HOP, ip.DESTINATION, ip.ROUTING, ip.FRAGMENT, ip.AUTH_HEADER, ip.DESTINATION),
        (ip.DESTINATION, ip.HOP_BY_HOP),
        (ip.MOBILITY,),
    ],
)
def test_extension_headers(chain: tuple[int, ...]) -> None:
    whole([ip.with_extensions(p, chain) for p in wire.packets(SEGMENTS, wire.V6)])


@hazard("I-08")
def test_a_hundred_extension_headers_and_unknown_ones_do_no_harm() -> None:
    packets = wire.packets(SEGMENTS, wire.V6)
    many = ip.with_extensions(packets[5], [ip.DESTINATION] * 100)
    unknown = packets[5]._replace(octets=packets[5].octets[:6] + b"\xfd" + packets[5].octets[7:])
    esp = packets[5]._replace(octets=packets[5].octets[:6] + b"\x32" + packets[5].octets[7:])
    whole([*packets[:6], many, unknown, esp, *packets[6:]])


@hazard("I-09")
def test_ipv4_options() -> None:
    options = (b"\x01\x01", b"\x07\x07\x04\0\0\0\0", b"\x94\x04\0\0", b"\x07\x00\xff" * 10)
    for octets in options:
        whole([ip.with_options(p, octets) for p in wire.packets(SEGMENTS)])


@hazard("I-09")
@pytest.mark.parametrize(
    ("at", "octets"),
    [(0, b"\x44"), (0, b"\x4f"), (0, b"\x55"), (2, b"\0\x10"), (0, b"\x40")],
    ids=["short header", "long header", "version 5", "length below header", "no header"],
)
def test_broken_ipv4_headers_are_ignored(at: int, octets: bytes) -> None:
    packets = wire.packets(SEGMENTS)
    data = wire.packet(Segment("C", SEGMENTS[4].seq, SEGMENTS[4].ack, ACK | PSH, b"FAKE\r\n"))
    broken = data._replace(octets=data.octets[:at] + octets + data.octets[at + len(octets) :])
    whole([*packets[:4], broken, *packets[4:]])


@hazard("I-10")
def test_insertion_with_a_small_ttl() -> None:
    """Other octets, sent first, that die on the way: the conflict is said, whichever copy is shown."""
    at = stream(TURNS, "C").index(b"bob@")
    forged = mutate.forged(SEGMENTS, "C", at, b"eve", first=True, ttl=2)
    result = running.replay(forged)
    assert "overlap" in running.doubts(result)


@hazard("I-12")
def test_icmp_that_quotes_a_connection_is_no_data() -> None:
    packets = wire.packets(SEGMENTS)
    quoted = packets[4].octets
    icmp = struct.pack(">BBHHH", 3, 4, 0, 0, 1400) + quoted
    icmp = icmp[:2] + struct.pack(">H", wire.checksum(icmp)) + icmp[4:]
    message = Packet(packets[4].time, wire.ip4("203.0.113.1", wire.V4.client, icmp, protocol=1), "S")
    whole([*packets[:5], message, *packets[5:]])
