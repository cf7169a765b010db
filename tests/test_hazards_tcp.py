"""Hazards of TCP (T): overlaps, desynchronisation, injection. Holes and life cycle: test_hazards_gaps."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any

import pytest

import running
import smtpinspect
from hazards import hazard
from kit import capture, mutate, wire
from kit.dialogue import DELIVERY, parse, stream
from kit.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from oracle.reassembly import reassemble

TURNS = parse(DELIVERY)
SEGMENTS = wire.build(TURNS)
CLIENT = stream(TURNS, "C")


def same(segments: mutate.Segments) -> None:
    """These segments tell the delivery, and nothing more."""
    assert running.transcript(segments) == running.transcript(SEGMENTS)


def index(text: bytes) -> int:
    """The index of the segment that begins with these octets."""
    return next(i for i, s in enumerate(SEGMENTS) if s.payload.startswith(text))


@hazard("T-01")
def test_overlap_vectors_first_copy_wins() -> None:
    """Positions of the vectors count from 1; each letter's losing octets are X."""
    winner = "0AAAJBBCCCLDLMEEFFFGGHHIQ"
    first = "A2x3 B6x2 C8x3 D12x1 E15x2 F17x3 G20x2 H22x2 I24x1"
    second = "J3x4 K8x3 L11x3 M14x3 N18x1 O21x1 P22x1 Q24x2 01x1"
    line = b"EHLO twenty-five-octets\r\n"
    turns = [*parse("S: 220 mx.example\n"), *parse("C: EHLO twenty-five-octets\nS: 250 hello\n")]
    segments = wire.build(turns)
    at = next(i for i, s in enumerate(segments) if s.payload == line)
    pieces = []
    for name in f"{first} {second}".split():
        letter, place = name[0], name[1:].split("x")
        start, length = int(place[0]) - 1, int(place[1])
        octets = bytes(line[u] if winner[u] == letter else 88 for u in range(start, start + length))
        pieces.append(segments[at].but(seq=segments[at].seq + start, payload=octets))
    arrived = [*segments[:at], *pieces, *segments[at + 1 :]]
    got = running.transcript(arrived)
    assert got["client_sha256"] == running.transcript(segments)["client_sha256"]
    assert "overlap" in running.doubts(running.replay(arrived))


@hazard("T-02")
def test_other_octets_behind_the_read_point() -> None:
    """A delivered command is sent again with another recipient: the first one stays, and it is said."""
    at = CLIENT.index(b"bob@")
    segments = mutate.forged(SEGMENTS, "C", at, b"eve")
    assert running.transcript(segments)["rcpt_to"] == ["<bob@mx.example>"]
    assert "overlap" in running.doubts(running.replay(segments))


@hazard("T-03")
def test_conflict_on_the_end_mark() -> None:
    at = CLIENT.index(b"\r\n.\r\n") + 2
    segments = mutate.forged(SEGMENTS, "C", at, b"x")
    same(segments)
    (mail,) = running.replay(segments).mails
    assert "overlap" in mail.confidence


@hazard("T-04")
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_triplets(order: tuple[int, ...]) -> None:
    """Three chunks in every order: what the oracle reads, and a doubt where octets differ."""
    at = index(b"EHLO")
    line = SEGMENTS[at].payload
    for seed in range(20):
        rng = Random(seed)
        chunks = []
        for fill in b"ABC":
            start, length = rng.randrange(5, 10), rng.randrange(1, 4)
            chunks.append(SEGMENTS[at].but(seq=SEGMENTS[at].seq + start, payload=bytes([fill] * length)))
        rest = SEGMENTS[at].but(payload=line)
        segments = [*SEGMENTS[:at], *(chunks[i] for i in order), rest, *SEGMENTS[at + 1 :]]
        expected = reassemble(segments)
        got = running.transcript(segments)
        assert got["commands"][0]["arg"].encode() == expected.client.octets.split(b"\r\n")[0][5:]
        assert ("overlap" in running.doubts(running.replay(segments))) == bool(expected.client.conflicts)


@hazard("T-06")
def test_plain_retransmission_says_nothing() -> None:
    for seed in range(10):
        segments = mutate.retransmitted(SEGMENTS, Random(seed), 6)
        same(segments)
        assert "overlap" not in running.doubts(running.replay(segments))
    wide, narrow = wire.build(TURNS, mss=1460), wire.build(TURNS, mss=7)
    text = [s for s in narrow if s.direction == "C" and s.payload and s.seq >= wide[index(b"From")].seq]
    same([*wide[: index(b"From") + 1], *text, *wide[index(b"From") + 1 :]])


@hazard("T-07", "T-31")
def test_overlap_flood() -> None:
    """20,000 segments of one octet over octets that are there."""
    at = index(b"From")
    rng = Random(1)
    text = SEGMENTS[at].payload
    flood = []
    for _ in range(20_000):
        place = rng.randrange(len(text))
        flood.append(SEGMENTS[at].but(seq=SEGMENTS[at].seq + place, payload=text[place : place + 1]))
    same([*SEGMENTS[:at], *flood[:10_000], SEGMENTS[at], *flood[10_000:], *SEGMENTS[at + 1 :]])


@hazard("T-31", "S-29")
def test_one_octet_per_segment() -> None:
    same(mutate.octetwise(SEGMENTS))


@hazard("T-11")
@pytest.mark.parametrize("offset", [0, 1, 4, 15])
def test_wrong_data_offset(offset: int) -> None:
    packets = wire.packets(SEGMENTS)
    i = index(b"RCPT")
    fake = bytearray(wire.packet(SEGMENTS[i].but(payload=b"RSET\r\n")).octets)
    fake[32] = offset << 4
    frames = capture.frames([*packets[:i], packets[i]._replace(octets=bytes(fake)), *packets[i:]])
    (got,) = smtpinspect.transcript(frames)
    assert got == running.transcript(SEGMENTS)


@hazard("T-12")
@pytest.mark.parametrize("flags", [0, PSH, FIN, URG])
def test_data_without_ack(flags: int) -> None:
    """After the handshake every segment acknowledges; one that does not is nobody's."""
    i = index(b"RCPT")
    fake = SEGMENTS[i].but(payload=b"RCPT TO:<eve@mx.example>\r\n", flags=flags, ack=0)
    same([*SEGMENTS[:i], fake, *SEGMENTS[i:]])


@hazard("T-12")
def test_acknowledgement_of_what_was_never_sent() -> None:
    i = index(b"RCPT")
    fake = SEGMENTS[i].but(
        direction="S", seq=SEGMENTS[i].ack, ack=SEGMENTS[i].seq + 50_000, payload=b"", flags=ACK
    )
    same([*SEGMENTS[:i], fake, *SEGMENTS[i:]])


RESETS: dict[str, dict[str, Any]] = {
    "blind": {"distance": 900_000},
    "in the window": {"distance": 700},
    "stale": {"distance": -5},
    "wrong checksum": {"distance": 0, "bad_checksum": True},
}


@hazard("T-13")
@pytest.mark.parametrize("kind", RESETS)
def test_rst_that_does_not_count(kind: str) -> None:
    segments = mutate.stray_rst(SEGMENTS, index(b"DATA"), **RESETS[kind])
    same(segments)
    (mail,) = running.replay(segments).mails
    assert mail.outcome == "accepted"


@hazard("T-14", "T-13")
@pytest.mark.parametrize("both", [False, True])
def test_rst_of_a_firewall_counts(both: bool) -> None:
    """To one end or to both, right behind the segment it does not like; the capture ends there."""
    i = index(b"From")
    sent = SEGMENTS[: i + 1]
    to_client = Segment("S", sent[i].ack, 0, RST, time=sent[i].time, ttl=250)
    to_server = Segment("C", sent[i].seq + len(sent[i].payload), 0, RST, time=sent[i].time, ttl=250)
    (mail,) = running.replay([*sent, to_client, *([to_server] if both else [])]).mails
    assert mail.outcome == "reset"
    assert mail.reply is None


@hazard("T-15")
def test_rst_with_data() -> None:
    i = index(b"QUIT")
    same(mutate.stray_rst(SEGMENTS, i + 1, 0, payload=b"500 you are reset\r\n"))


@hazard("T-16")
@pytest.mark.parametrize("close", ["fin", "rst"])
def test_data_behind_the_end(close: wire.Close) -> None:
    segments = wire.build(TURNS, close=close)
    last = segments[-1]
    late = last.but(flags=ACK | PSH, payload=b"MAIL FROM:<late@a.example>\r\n")
    same([*segments, late, late.but(seq=last.seq + len(late.payload))])


@hazard("T-17")
def test_fin_counts_when_all_before_it_has_come() -> None:
    i = index(b"RCPT")
    early = SEGMENTS[-3]
    assert early.flags & FIN
    same([*SEGMENTS[:i], early, *SEGMENTS[i:]])
    wrong = SEGMENTS[i].but(seq=SEGMENTS[i].seq - 3, payload=b"", flags=FIN | ACK)
    same([*SEGMENTS[:i], wrong, *SEGMENTS[i:]])
    second = early.but(seq=early.seq + 10)
    same([*SEGMENTS, second])


@hazard("T-18", "T-19")
def test_data_in_a_syn_that_nobody_acknowledges() -> None:
    """Not TCP Fast Open: the server's SYN acknowledges the SYN alone."""
    same([SEGMENTS[0].but(payload=b"EHLO early\r\n"), *SEGMENTS[1:]])


@hazard("T-20")
def test_two_syn_acks() -> None:
    """The third packet of the handshake tells which one counts."""
    other = SEGMENTS[1].but(seq=77_777)
    same([SEGMENTS[0], other, *SEGMENTS[1:]])


@hazard("T-21")
def test_syn_on_an_open_connection() -> None:
    i = index(b"RCPT")
    same([*SEGMENTS[:i], SEGMENTS[0], SEGMENTS[1], *SEGMENTS[i:]])
    other = SEGMENTS[0].but(seq=123_456_789)
    got = smtpinspect.transcript(running.frames([*SEGMENTS[:i], other, *SEGMENTS[i:]]))
    assert running.transcript(SEGMENTS)["messages"] in [t["messages"] for t in got]


@hazard("T-22")
def test_split_handshake() -> None:
    """The server answers a SYN with a SYN of its own: the roles stay."""
    syn = SEGMENTS[1].but(flags=SYN, ack=0)
    segments = [SEGMENTS[0], syn, SEGMENTS[0].but(flags=SYN | ACK, ack=syn.seq + 1), *SEGMENTS[2:]]
    got = running.transcript(segments)
    assert (got["client"], got["server"]) == wire.V4.names()
    assert got["messages"] == running.transcript(SEGMENTS)["messages"]


@hazard("T-24")
@pytest.mark.parametrize("distance", [1 << 30, -(1 << 30), 3 << 30])
def test_far_outside_every_window(distance: int) -> None:
    i = index(b"RCPT")
    fake = SEGMENTS[i].but(seq=(SEGMENTS[i].seq + distance) & wire.MASK, payload=b"RSET\r\n")
    same([*SEGMENTS[:i], fake, *SEGMENTS[i:]])


@hazard("T-25")
def test_urgent_octets_are_inline() -> None:
    """A server may have asked for them inline; a capture cannot know."""
    i = index(b"MAIL")
    same([*SEGMENTS[:i], SEGMENTS[i].but(flags=ACK | PSH | URG, urgent=6), *SEGMENTS[i + 1 :]])


@hazard("T-26")
@pytest.mark.parametrize("isn", [0xFFFFFFF0, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFF80])
def test_wrap(isn: int) -> None:
    same(wire.build(TURNS, client_isn=isn, server_isn=isn))
    same(mutate.reordered(wire.build(TURNS, client_isn=isn, server_isn=isn, mss=20), Random(isn), 4))


@hazard("T-27")
@pytest.mark.parametrize("octets", [b"", b"\0", b"\xff"])
def test_keep_alive(octets: bytes) -> None:
    """Before any data the octet lies on the SYN's number; later on an octet that was there: no conflict."""
    for i in (2, 3, index(b"DATA") + 1, index(b"QUIT")):
        segments = mutate.kept_alive(SEGMENTS, i, octets)
        same(segments)
        assert "overlap" not in running.doubts(running.replay(segments))


@hazard("T-28")
def test_zero_window_probe() -> None:
    """The true next octet, sent alone and then again with the rest."""
    i = index(b"From")
    probe = mutate.split(SEGMENTS[i], [1])[0]
    closed = SEGMENTS[i - 1].but(window=0, payload=b"", flags=ACK, seq=SEGMENTS[i].ack)
    same([*SEGMENTS[:i], closed, probe, closed, probe, *SEGMENTS[i:]])


@hazard("T-29")
@pytest.mark.parametrize(
    "options",
    [b"\x05\x02", b"\x1b\x02", b"\x1b\x00", b"\xfe\x01", b"\x08\x0a" + bytes(8), b"\x01" * 40, b"\x03\x40"],
    ids=["empty SACK", "quick start", "length 0", "length 1", "timestamp 0", "no operation", "length beyond"],
)
def test_odd_options(options: bytes) -> None:
    same([s.but(options=options) for s in SEGMENTS])


@hazard("T-29")
def test_reserved_and_congestion_flags() -> None:
    same([s.but(flags=s.flags | 0xC0) for s in SEGMENTS])
    i = index(b"RCPT")
    all_flags = SEGMENTS[i].but(flags=0x3F, payload=b"RSET\r\n")
    assert running.transcript([*SEGMENTS[:i], all_flags, *SEGMENTS[i:]])["commands"][0]["verb"] == "EHLO"
