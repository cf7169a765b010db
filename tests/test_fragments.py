"""Fragments of IPv4 and IPv6 put together again: order, overlaps, damage, time and caps."""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import ip, wire
from kit.segment import ACK, Segment
from smtpinspect._core import fragments
from smtpinspect._core.fragments import Fragments
from smtpinspect.errors import UsageError

RAW = 101
SECOND = 10**9
PAYLOAD = bytes(random.Random(3).randbytes(4000))
SEGMENT = Segment("C", 1000, 2000, ACK, PAYLOAD)
V4, V6 = wire.packet(SEGMENT), wire.packet(SEGMENT, wire.V6)
BOTH = pytest.mark.parametrize("packet", [V4, V6], ids=["ipv4", "ipv6"])
ENDS = {V4: wire.V4, V6: wire.V6}


class Feeder:
    """A reassembler, and what came out of it."""

    def __init__(self, **limits: Any) -> None:
        self.table = Fragments(**limits)
        self.out: list[dict[str, Any]] = []

    def feed(self, *packets: wire.Packet | bytes, at: float = 0, wirelen: int | None = None) -> None:
        for packet in packets:
            octets = packet if isinstance(packet, bytes) else packet.octets
            whole = self.table.feed(RAW, octets, int(at * SECOND), wirelen)
            if whole is not None:
                self.out.append(whole)

    @property
    def payloads(self) -> list[bytes]:
        return [whole["payload"] for whole in self.out]

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.table.overlaps, self.table.incomplete, self.table.waiting


def fragment(
    offset: int, body: bytes, *, more: bool, ident: int = 7, v6: bool = False, protocol: int = 6
) -> bytes:
    """A fragment made by hand; the offset is in octets."""
    if v6:
        octets = ip.fragments(V6, 8)[0].octets[:6] + b"\x2c" + V6.octets[7:40]
        octets += struct.pack(">BBHI", protocol, 0, offset | more, ident) + body
        return octets[:4] + struct.pack(">H", 8 + len(body)) + octets[6:]
    head = V4.octets[:4] + struct.pack(">H", ident) + V4.octets[6:9] + bytes([protocol]) + V4.octets[10:20]
    return ip.reheader4(head, 20 + len(body), offset_field=offset // 8 | more << 13) + body


def datagram(text: bytes) -> bytes:
    return wire.tcp(SEGMENT.but(payload=text), wire.V4)


# --- in any order


@BOTH
@pytest.mark.parametrize("size", [8, 16, 1480, 3992])
@pytest.mark.parametrize("order", ["in order", "reversed", "last first", "twice", "shuffled"])
def test_whole(packet: wire.Packet, size: int, order: str) -> None:
    pieces = ip.fragments(packet, size)
    feeder = Feeder()
    arranged = {
        "in order": pieces,
        "reversed": pieces[::-1],
        "last first": [pieces[-1], *pieces[:-1]],
        "twice": [piece for piece in pieces[:-1] for _ in "12"] + pieces[-1:],
        "shuffled": random.Random(1).sample(pieces, len(pieces)),
    }[order]
    feeder.feed(*arranged)
    assert feeder.payloads == [PAYLOAD]
    assert feeder.out[0]["payload_len"] == len(PAYLOAD)
    assert feeder.out[0]["sport"] == wire.V4.client_port
    assert feeder.counts == (0, 0, 0)
    assert feeder.table.octets == 0


@given(st.data())
def test_any_cut_and_order(data: st.DataObject) -> None:
    """Any sizes, duplicates and order, of several datagrams at once."""
    datagrams: list[bytes] = []
    pieces: list[bytes] = []
    for ident in range(data.draw(st.integers(1, 4))):
        v6 = data.draw(st.booleans())
        text = data.draw(st.binary(min_size=1, max_size=200))
        octets = wire.tcp(SEGMENT.but(payload=text), wire.V6 if v6 else wire.V4)
        units = range(1, (len(octets) - 1) // 8 + 1)
        cuts = sorted(data.draw(st.sets(st.sampled_from(units), min_size=1, max_size=8)))
        edges = [0, *(8 * unit for unit in cuts), len(octets)]
        own = [fragment(a, octets[a:b], more=b < len(octets), ident=ident, v6=v6) for a, b in pairwise(edges)]
        last = data.draw(st.permutations(own))
        datagrams.append(text)
        pieces += [*last, *last[:-1]] if data.draw(st.booleans()) else last
    seen: set[bytes] = set()
    feeder = Feeder()
    feeder.feed(*data.draw(st.permutations(pieces)))
    seen = set(feeder.payloads)
    assert seen == set(datagrams)
    assert feeder.table.overlaps == 0


@BOTH
def test_interleaved_with_others_of_the_same_identification(packet: wire.Packet) -> None:
    """The addresses count too, and in IPv4 the protocol."""
    ends = ENDS[packet]
    back = wire.packet(SEGMENT.but(direction="S", payload=PAYLOAD[::-1]), ends)
    one, two = ip.fragments(packet, 1480), ip.fragments(back, 1480)
    feeder = Feeder()
    for a, b in zip(one, two, strict=True):
        feeder.feed(a, b)
    assert feeder.payloads == [PAYLOAD, PAYLOAD[::-1]]
    whole = datagram(b"text of eight")
    feeder = Feeder()
    feeder.feed(fragment(0, whole[:16], more=True), fragment(16, b"not of it" * 5, more=False, protocol=17))
    assert feeder.out == []
    feeder.feed(fragment(16, whole[16:], more=False))
    assert feeder.payloads == [b"text of eight"]
    assert feeder.table.waiting == 1


def test_ipv6_takes_the_protocol_of_the_first_fragment() -> None:
    """The others' may differ (RFC 8200 4.5); extension headers may lie in the fragmented part."""
    whole = b"\x3c\x00\x01\x04\0\0\0\0" + b"\x06\x00\x01\x04\0\0\0\0" + datagram(b"text")
    feeder = Feeder()
    feeder.feed(
        fragment(8, whole[8:], more=False, v6=True, protocol=17),
        fragment(0, whole[:8], more=True, v6=True, protocol=60),
    )
    assert feeder.payloads == [b"text"]


def test_ipv6_fragments_within_fragments() -> None:
    """A fragment header in the fragmented part is not followed further."""
    inner = struct.pack(">BBHI", 6, 0, 1, 9) + datagram(b"text")
    feeder = Feeder()
    feeder.feed(
        fragment(0, inner[:16], more=True, v6=True, protocol=44),
        fragment(16, inner[16:], more=False, v6=True, protocol=44),
    )
    assert feeder.out == []
    assert feeder.counts == (0, 1, 0)


@BOTH
def test_tiny_first_fragment(packet: wire.Packet) -> None:
    """Ports are known from 8 octets, but decided only when all is there; the first copy of the flags wins."""
    pieces = ip.fragments(packet, 8)
    feeder = Feeder()
    feeder.feed(pieces[0])
    assert feeder.out == []
    feeder.feed(*pieces[1:])
    assert feeder.payloads == [PAYLOAD]


def test_offset_1_does_not_overwrite_the_flags() -> None:
    whole = datagram(b"text")
    forged = whole[8:13] + b"\x02" + whole[14:]
    feeder = Feeder()
    feeder.feed(fragment(0, whole[:16], more=True), fragment(8, forged, more=False))
    assert feeder.out[0]["flags"] == ACK
    assert feeder.counts == (1, 0, 0)


def test_atomic_fragment_stands_alone() -> None:
    pieces = ip.fragments(V6, 1480, ident=77)
    atomic = ip.with_extensions(V6, [ip.FRAGMENT])
    feeder = Feeder()
    feeder.feed(pieces[0], atomic, *pieces[1:])
    assert feeder.payloads == [PAYLOAD, PAYLOAD]
    assert feeder.counts == (0, 0, 0)


def test_identification_used_again_by_a_whole_packet() -> None:
    first, *rest = ip.fragments(V4, 2400, ident=9)
    other = wire.packet(SEGMENT.but(payload=b"other"), ident=9)
    feeder = Feeder()
    feeder.feed(first, other, *rest)
    assert feeder.payloads == [b"other", PAYLOAD]


@BOTH
def test_identification_used_again_later(packet: wire.Packet) -> None:
    feeder = Feeder()
    for _ in range(3):
        feeder.feed(*ip.fragments(packet, 1480))
    assert feeder.payloads == [PAYLOAD] * 3


# --- overlaps

FIRST = "A0x3 B4x2 C6x3 D10x1 E13x2 F15x3 G18x2 H20x2 I22x1"
SECOND_WAVE = "J1x4 K6x3 L9x3 M12x3 N16x1 O19x1 P20x1 Q22x2"
WINNER = "AAAJBBCCCLDLMEEFFFGGHHIQ"  # policy "first" of the catalogue of hazards


def wave(text: str, *, v6: bool = False) -> list[bytes]:
    made = []
    for name in text.split():
        letter, at, units = name[0], *map(int, name[1:].split("x"))
        made.append(fragment(8 * at, letter.encode() * 8 * units, more=letter != "Q", v6=v6, protocol=253))
    return made


def test_overlap_vectors_first_copy_wins() -> None:
    feeder = Feeder()
    feeder.feed(*wave(FIRST), *wave(SECOND_WAVE))
    (whole,) = feeder.out
    assert whole["body"].decode()[::8] == WINNER
    assert whole["body"] == b"".join(letter.encode() * 8 for letter in WINNER)
    # J over AB, K over C, L over D, M over E, N over F, O over G, P over H, Q over I
    assert feeder.counts == (8, 0, 0)


def test_overlaps_of_equal_octets_are_none() -> None:
    whole = datagram(b"x" * 100)
    feeder = Feeder()
    feeder.feed(
        fragment(0, whole[:64], more=True),
        fragment(32, whole[32:96], more=True),
        fragment(64, whole[64:], more=False),
    )
    assert feeder.payloads == [b"x" * 100]
    assert feeder.counts == (0, 0, 0)


def test_overlapping_ipv6_datagram_is_dropped() -> None:
    """All of it, also what comes later (RFC 5722 3)."""
    feeder = Feeder()
    feeder.feed(*wave(FIRST, v6=True), *wave(SECOND_WAVE, v6=True))
    assert feeder.out == []
    assert feeder.counts == (1, 1, 0)
    whole = datagram(b"x" * 100)
    for overlap in (
        fragment(32, whole[32:96], more=True, v6=True),  # of equal octets, but no copy of a fragment
        fragment(32, b"?" * 32, more=True, v6=True),
        fragment(0, b"?" * 64, more=True, v6=True),
    ):
        feeder = Feeder()
        feeder.feed(
            fragment(0, whole[:64], more=True, v6=True),
            overlap,
            fragment(64, whole[64:], more=False, v6=True),
        )
        assert feeder.out == []
        assert feeder.counts == (1, 1, 0)
        feeder.feed(
            fragment(0, whole[:64], more=True, v6=True), fragment(64, whole[64:], more=False, v6=True)
        )
        assert feeder.out == []
        feeder.feed(fragment(0, whole[:64], more=True, v6=True), at=31)  # and afterwards it is a new one
        feeder.feed(fragment(64, whole[64:], more=False, v6=True), at=31)
        assert feeder.payloads == [b"x" * 100]
        assert feeder.counts == (1, 1, 0)


# --- damage


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, 64, True), (64, 36, False), (64, 44, False)],
        [(64, 44, False), (64, 36, False)],
        [(64, 36, False), (128, 8, True)],
        [(64, 36, False), (96, 8, True)],
        [(128, 64, True), (64, 36, False)],
        [(65528, 8, True)],
        [(65528, 100, False)],
        [(8, 8, True), (65000, 1480, False)],
    ],
    ids=[
        "two ends",
        "shorter end",
        "beyond the end",
        "over the end",
        "end too early",
        "64 KiB",
        "more",
        "ping of death",
    ],
)
def test_impossible(pieces: list[tuple[int, int, bool]], v6: bool) -> None:
    feeder = Feeder()
    whole_comes_first = pieces[0] == (0, 64, True)
    for n, (offset, size, more) in enumerate(pieces):
        if whole_comes_first and n == 1:
            continue  # else it would be complete already
        feeder.feed(fragment(offset, bytes(size), more=more, v6=v6, protocol=253))
        if whole_comes_first and n == 0:
            feeder.feed(fragment(72, bytes(28), more=False, v6=v6, protocol=253))
    assert feeder.out == []
    assert feeder.counts == (0, 1, 0)
    feeder.feed(fragment(0, bytes(64), more=True, v6=v6), fragment(64, bytes(36), more=False, v6=v6))
    assert feeder.out == []
    assert feeder.counts == (0, 1, 0)


def test_the_longest_datagrams() -> None:
    for v6, most in ((False, 65515), (True, 65535)):
        body = bytes(random.Random(9).randbytes(most))
        feeder = Feeder()
        edges = [*range(0, most, 1400), most]
        pieces = [fragment(a, body[a:b], more=b < most, v6=v6, protocol=253) for a, b in pairwise(edges)]
        feeder.feed(*pieces[::-1])
        assert [whole["body"] for whole in feeder.out] == [body]
        feeder.feed(fragment(65528 if v6 else 65512, bytes(8), more=False, v6=v6, protocol=253))
        assert feeder.table.incomplete == 1


def test_fragments_that_end_between_units() -> None:
    """IPv4: the rest of the unit is left out. IPv6: the fragment is (RFC 8200 4.5)."""
    whole = datagram(b"x" * 100)
    for v6 in (False, True):
        feeder = Feeder()
        feeder.feed(
            fragment(0, whole[:64] + b"???", more=True, v6=v6),
            fragment(64, whole[64:], more=False, v6=v6),
        )
        assert feeder.payloads == ([] if v6 else [b"x" * 100])
        feeder.feed(
            fragment(0, b"???", more=True, ident=3, v6=v6), fragment(0, b"", more=True, ident=3, v6=v6)
        )
        assert feeder.table.waiting == (1 if v6 else 0)


def test_an_empty_last_fragment() -> None:
    whole = datagram(b"x" * 44)
    feeder = Feeder()
    feeder.feed(fragment(0, whole, more=True), fragment(len(whole), b"", more=False))
    assert feeder.payloads == [b"x" * 44]


def test_damaged_tcp_header() -> None:
    feeder = Feeder()
    feeder.feed(fragment(0, bytes(16), more=True), fragment(16, bytes(16), more=False))
    assert feeder.out == []
    assert feeder.counts == (0, 0, 0)  # it was put together, and was no TCP


@BOTH
def test_cut_by_the_capture_length(packet: wire.Packet) -> None:
    """The datagram is as long as it was; of its octets, those before the first that is missing are there."""
    pieces = ip.fragments(packet, 1480)
    feeder = Feeder()
    for piece in pieces:
        feeder.feed(piece.octets[:300], wirelen=len(piece.octets))
    (whole,) = feeder.out
    assert whole["payload_len"] == len(PAYLOAD)
    assert PAYLOAD.startswith(whole["payload"])
    assert 200 < len(whole["payload"]) < 300
    feeder = Feeder()
    feeder.feed(*(piece.octets[:300] for piece in pieces[:-1]))  # a second copy fills in what the first lacks
    feeder.feed(*pieces)
    assert feeder.payloads == [PAYLOAD]
    assert feeder.counts == (0, 0, 0)


# --- time and caps


@BOTH
def test_thirty_seconds(packet: wire.Packet) -> None:
    first, *rest = ip.fragments(packet, 1480)
    feeder = Feeder()
    feeder.feed(first, at=100)
    feeder.feed(*rest, at=130)
    assert feeder.payloads == [PAYLOAD]
    feeder.feed(first, at=200)
    feeder.feed(*rest, at=230.001)
    assert feeder.payloads == [PAYLOAD]
    assert feeder.counts == (0, 1, 1)


def test_time_that_goes_back_or_far_ahead() -> None:
    first, *rest = ip.fragments(V4, 1480)
    feeder = Feeder()
    feeder.feed(first, at=1_000_000)
    feeder.feed(*rest, at=-5)
    assert feeder.payloads == [PAYLOAD]
    feeder.feed(first, at=-(2**63) // SECOND + 1)
    feeder.feed(rest[0], at=2**63 // SECOND - 1)
    assert feeder.table.incomplete == 1


def test_flood_ends_at_the_caps() -> None:
    """The oldest go first; the mail among them survives if it is young enough."""
    table = Fragments(trackers=100)
    for ident in range(1000):
        assert table.feed(RAW, fragment(0, bytes(8), more=True, ident=ident), 0) is None
    assert (table.waiting, table.incomplete) == (100, 900)
    table = Fragments(octets=1 << 20)
    body = bytes(1480)
    for ident in range(3000):
        table.feed(RAW, fragment(0, body, more=True, ident=ident), 0)
        assert table.octets <= 1 << 20
    assert 300 < table.waiting < 600
    assert table.waiting + table.incomplete == 3000
    feeder = Feeder(trackers=10)
    first, *rest = ip.fragments(V4, 1480, ident=65535)
    feeder.feed(first, *(fragment(0, body, more=True, ident=ident) for ident in range(9)), *rest)
    assert feeder.payloads == [PAYLOAD]
    feeder.feed(first, *(fragment(0, body, more=True, ident=ident) for ident in range(20, 30)), *rest)
    assert feeder.payloads == [PAYLOAD]


def test_a_datagram_larger_than_the_cap() -> None:
    feeder = Feeder(octets=2000)
    feeder.feed(*ip.fragments(V4, 1480))
    assert feeder.out == []
    assert feeder.counts == (0, 1, 0)
    assert feeder.table.octets < 1000


def test_the_flood_of_the_catalogue_ends_in_bounded_memory() -> None:
    table = Fragments()
    model = fragment(0, bytes(1480), more=True, ident=0, v6=True)
    for ident in range(100_000):
        table.feed(RAW, model[:44] + ident.to_bytes(4, "big") + model[48:], 0)
    assert table.octets <= fragments.LIMITS["octets"]
    assert table.waiting + table.incomplete == 100_000


def test_limits() -> None:
    assert fragments.LIMITS == {"trackers": 65_535, "octets": 32 << 20, "seconds": 30}
    with pytest.raises(UsageError):
        Fragments(trackers=0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.integers(0, 40),
            st.booleans(),
            st.booleans(),
            st.integers(0, 40),
            st.integers(0, 2),
        ),
        max_size=30,
    ),
    st.integers(1, 5),
    st.integers(200, 5000),
)
def test_any_fragments(
    items: list[tuple[int, int, bool, bool, int, int]], trackers: int, octets: int
) -> None:
    """Whatever comes: no octet that was not sent at its place, and all is freed or accounted for."""
    table = Fragments(trackers=trackers, octets=octets)
    sent: dict[tuple[bool, int], set[int]] = {}
    for unit, size, more, v6, seconds, ident in items:
        value = len(sent) + unit
        body = bytes([value % 256]) * size
        piece = fragment(8 * unit, body, more=more, v6=v6, ident=ident, protocol=253)
        sent.setdefault((v6, ident), set()).update(body)
        whole = table.feed(RAW, piece, seconds * SECOND)
        if whole is not None and whole["kind"] == "other" and (unit or more):
            assert set(whole["body"]) <= sent[v6, ident]
        assert table.octets <= octets + 200 * trackers
        assert table.waiting <= trackers
