"""The kit itself: what it writes is what dpkt and scapy read."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import dpkt
import pytest
from scapy.layers.inet import IP, TCP, defragment
from scapy.layers.inet6 import IPv6, defragment6

from kit import capture, ip, link, mutate, wire
from kit.dialogue import DELIVERY, DialogueError, Turn, octets_of, parse, stream
from kit.segment import ACK, FIN, RST, SYN, Segment
from oracle.reassembly import reassemble

TURNS = parse(DELIVERY)
CLIENT, SERVER = stream(TURNS, "C"), stream(TURNS, "S")


# --- dialogue


def test_turns() -> None:
    text = r"""
        # a comment
        S: 220 a
        C: EHLO b
        C: NOOP
        -- 2.5
        C: QU\c
        C: IT
        C:
    """
    assert parse(text) == [
        Turn("S", b"220 a\r\n"),
        Turn("C", b"EHLO b\r\nNOOP\r\n"),
        Turn("C", b"QUIT\r\n\r\n", 2.5),
    ]


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        (r"a\tb\0\x41\xff\\n", b"a\tb\0A\xff\\n"),
        (r"\r\n.\r", b"\r\n.\r"),
        ("{A*3}{ab*2}", b"AAAabab"),
        (r"{\x00\r*2}", b"\0\r\0\r"),
        ("{not a repetition}", b"{not a repetition}"),
        ("é", "é".encode()),
        ("  two  ", b"  two  "),
    ],
)
def test_escapes(text: str, octets: bytes) -> None:
    assert octets_of(text) == octets


@pytest.mark.parametrize("text", [r"C: \q", "X: hello", "EHLO a"])
def test_dialogue_errors(text: str) -> None:
    with pytest.raises(DialogueError):
        parse(text)


def test_trailing_backslash_c_only_when_it_is_one() -> None:
    assert parse(r"C: a\\c")[0].octets == b"a\\c\r\n"
    assert parse(r"C: a\\\c")[0].octets == b"a\\"


# --- segments and packets


@pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["ipv4", "ipv6"])
def test_packets_are_what_scapy_builds(ends: wire.Ends) -> None:
    for p in wire.packets(wire.build(TURNS, mss=100), ends):
        read = (IPv6 if ends.v6 else IP)(p.octets)
        written = bytes(read)
        del read[TCP].chksum
        if not ends.v6:
            del read[IP].chksum
        assert bytes(read) == written == p.octets


def test_acknowledgements() -> None:
    segments = wire.build(TURNS, mss=60)
    sent = {"C": segments[0].seq, "S": segments[1].seq}
    for s in segments:
        assert s.seq == sent[s.direction]
        sent[s.direction] += len(s.payload) + s.syn + s.fin
        peer = "S" if s.direction == "C" else "C"
        assert s.ack == (sent[peer] if s.flags & ACK else 0)


def test_wait_and_time() -> None:
    segments = wire.build([Turn("S", b"a"), Turn("C", b"b", 600)], step=0.5, start=10.0)
    assert [s.time for s in segments if s.payload] == [11.5, 612.0]


def test_closings() -> None:
    assert [s.flags for s in wire.build(TURNS)[-3:]] == [FIN | ACK, FIN | ACK, ACK]
    assert wire.build(TURNS, close="rst")[-1].flags == RST | ACK
    assert wire.build(TURNS, close="none")[-1].payload
    assert {s.direction for s in wire.build(TURNS, only="C")} == {"C"}
    assert not any(s.syn for s in wire.build(TURNS, handshake=False))


def test_bad_checksum_and_cut_segment() -> None:
    (good, bad) = (wire.packet(Segment("C", 1, 1, ACK, b"abc", bad_checksum=b)) for b in (False, True))
    assert [i for i in range(len(good.octets)) if good.octets[i] != bad.octets[i]] == [36, 37]
    cut = wire.packet(Segment("C", 1, 1, ACK, b"abc", cut=10))
    assert (len(cut.octets), cut.length, dpkt.ip.IP(cut.octets).len) == (43, 53, 53)


# --- mutators

Mutator = Callable[[mutate.Segments, Random], mutate.Segments]
HARMLESS: dict[str, Mutator] = {
    "octetwise": lambda s, _: mutate.octetwise(s),
    "joined": lambda s, _: mutate.joined(s),
    "random cuts": mutate.random_cuts,
    "cut at": lambda s, _: mutate.cut_at(s, (1, 5, len(CLIENT) - 3), range(0, 90, 7)),
    "duplicated": mutate.duplicated,
    "reordered": lambda s, r: mutate.reordered(s, r, 5),
    "reordered handshake": lambda s, r: mutate.reordered(s, r, 5, handshake=True),
    "retransmitted": mutate.retransmitted,
    "kept alive": lambda s, _: mutate.kept_alive(s, 5, b""),
    "kept alive with an octet": lambda s, _: mutate.kept_alive(s, 5, b"\xff"),
    "stray RST": lambda s, _: mutate.stray_rst(s, 6, 700),
    "RST with data": lambda s, _: mutate.stray_rst(s, 6, 5, payload=b"QUIT\r\n"),
    "forged with a bad checksum": lambda s, _: mutate.forged(
        s, "C", 3, b"xyz", first=True, bad_checksum=True
    ),
    "forged later": lambda s, _: mutate.forged(s, "S", 3, b"xyz"),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", HARMLESS)
def test_mutators_keep_the_streams(name: str, seed: int) -> None:
    rng = Random(seed)
    segments = HARMLESS[name](wire.build(TURNS, mss=50 + seed), rng)
    conversation = reassemble(segments)
    assert (conversation.client.octets, conversation.server.octets) == (CLIENT, SERVER)
    assert [s.time for s in segments] == sorted(s.time for s in segments)
    assert bool(conversation.client.conflicts or conversation.server.conflicts) == (
        name in ("forged later", "kept alive with an octet")
    )


def test_mutators_do_what_they_say() -> None:
    segments = wire.build(TURNS)
    rng = Random(1)
    assert max(len(s.payload) for s in mutate.octetwise(segments)) == 1
    assert len(mutate.duplicated(segments, rng, 1.0)) == 2 * len(segments)
    shuffled = mutate.reordered(mutate.octetwise(segments), rng, 4)
    assert shuffled[:3] == segments[:3]
    assert [s.but(time=0.0) for s in shuffled] != [s.but(time=0.0) for s in mutate.octetwise(segments)]
    assert len(mutate.retransmitted(segments, rng, 5)) == len(segments) + 5
    hole = reassemble(mutate.without(segments, "C", 4, 9))
    assert hole.client.gaps == [(4, 5)]
    assert hole.client.octets == CLIENT[:4] + bytes(5) + CLIENT[9:]
    forged = mutate.forged(segments, "C", 3, b"xyz", first=True)
    assert reassemble(forged).client.octets == CLIENT[:3] + b"xyz" + CLIENT[6:]
    snapped = mutate.snapped(segments, 20)
    assert reassemble(snapped).client.gaps
    assert mutate.handshake_length(segments) == 3
    assert [round(s.time - wire.START, 3) for s in mutate.evenly(segments, 0.5)[:3]] == [0.0, 0.5, 1.0]
    assert mutate.handshake_length(wire.build(TURNS, handshake=False)) == 0


def test_split_keeps_fin_and_psh_for_the_last_piece() -> None:
    s = Segment("C", 0xFFFFFFFE, 1, FIN | ACK | 8, b"abcd")
    pieces = mutate.split(s, [1, 2, 9])
    assert [(p.seq, p.payload, p.flags & (FIN | 8)) for p in pieces] == [
        (0xFFFFFFFE, b"a", 0),
        (0xFFFFFFFF, b"b", 0),
        (0, b"cd", FIN | 8),
    ]


# --- IP


def test_options_and_extensions() -> None:
    (p4,), (p6,) = (wire.packets([Segment("C", 1, 1, ACK, b"abc")], e) for e in (wire.V4, wire.V6))
    read = IP(ip.with_options(p4, b"\x07\x07\x04\0\0\0\0").octets)
    chksum = read.chksum
    del read[IP].chksum
    assert (read.ihl, read.len, bytes(read[TCP].payload), IP(bytes(read)).chksum) == (7, 51, b"abc", chksum)
    kinds = (ip.HOP_BY_HOP, ip.DESTINATION, ip.ROUTING, ip.AUTH_HEADER, ip.FRAGMENT)
    for kind in kinds:
        assert dpkt.ip6.IP6(ip.with_extensions(p6, [kind]).octets).p == 6
    chain = dpkt.ip6.IP6(ip.with_extensions(p6, kinds[:3]).octets)
    assert bytes(chain.data.data) == b"abc"
    assert chain.plen == 23 + 24


@pytest.mark.parametrize("size", [8, 64, 1480])
def test_fragments(size: int) -> None:
    segment = Segment("C", 1, 1, ACK, bytes(range(256)) * 8)
    (p4,), (p6,) = (wire.packets([segment], e) for e in (wire.V4, wire.V6))
    (whole4,) = defragment(  # type: ignore[no-untyped-call]
        [IP(f.octets) for f in ip.fragments(p4, size)]
    )
    assert bytes(IP(bytes(whole4))[TCP].payload) == segment.payload
    whole6 = defragment6(  # type: ignore[no-untyped-call]
        [IPv6(f.octets) for f in ip.fragments(p6, size)]
    )
    assert bytes(IPv6(bytes(whole6))[TCP].payload) == segment.payload


# --- link layers and files

PACKETS = wire.packets(wire.build(TURNS))
PACKETS6 = wire.packets(wire.build(TURNS), wire.V6)


def link_payload(number: int, frame: bytes) -> Any:
    if number == 1:
        return dpkt.ethernet.Ethernet(frame).data
    if number == 113:
        return dpkt.sll.SLL(frame).data
    if number == 276:
        return dpkt.sll2.SLL2(frame).data
    rest = frame[4:] if number in (0, 108) else frame
    return (dpkt.ip.IP if rest[0] >> 4 == 4 else dpkt.ip6.IP6)(rest)


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("name", [*link.LINKS, "ipv4", "ipv6"])
def test_links(name: str, v6: bool) -> None:
    known = link.links(v6)
    if name not in known:
        assert name in ("ipv4", "ipv6")
        return
    for p in (PACKETS6 if v6 else PACKETS)[:6]:
        read = link_payload(known[name].number, known[name].encode(p))
        assert bytes(read)[: len(p.octets)] == p.octets


def same_records(read: list[tuple[float, bytes]], items: list[capture.Record], slack: float) -> None:
    assert [frame for _, frame in read] == [r.frame for r in items]
    assert [float(time) for time, _ in read] == pytest.approx([r.time for r in items], abs=slack)


def test_padding() -> None:
    p = PACKETS[0]
    frame = link.ethernet(p, pad=b"QUIT\r\n", trailer=b"FCS!")
    assert len(frame) == 64
    assert frame.startswith(link.macs("C") + b"\x08\0" + p.octets)
    assert b"QUIT" in frame


@pytest.mark.parametrize("magic", [capture.MICRO, capture.NANO])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap(magic: int, order: capture.Order) -> None:
    items = capture.records(PACKETS, snaplen=96)
    reader = dpkt.pcap.Reader(io.BytesIO(capture.pcap(items, magic=magic, order=order, snaplen=96)))
    assert reader.datalink() == 1
    assert reader.snaplen == 96
    same_records(list(reader), items, slack=2e-6)


@pytest.mark.parametrize("resolution", [None, 3, 6, 9, 0x80 | 20])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(resolution: int | None, order: capture.Order) -> None:
    items = capture.records(PACKETS)
    reader = dpkt.pcapng.Reader(io.BytesIO(capture.pcapng(items, order=order, resolution=resolution)))
    same_records(list(reader), items, slack=2e-3 if resolution == 3 else 3e-6)


def test_pcapng_blocks_have_their_lengths_on_both_ends() -> None:
    section = capture.Pcapng(">", section_length=True).interface(1).interface(101, resolution=9, offset=7)
    (r, *_) = capture.records(PACKETS)
    octets = section.packet(r).packet(r, 1).simple(r).obsolete(r).block(0x0BAD, b"xyz").octets()
    kinds, at = [], 0
    while at < len(octets):
        kind, length = struct.unpack(">II", octets[at : at + 8])
        assert octets[at + length - 4 : at + length] == struct.pack(">I", length)
        kinds.append(kind)
        at += length
    assert kinds == [0x0A0D0D0A, 1, 1, 6, 6, 3, 2, 0x0BAD]
    assert struct.unpack(">q", octets[16:24])[0] == len(octets) - 28


def test_wrapping() -> None:
    octets = capture.pcap(capture.records(PACKETS))
    assert gzip.decompress(capture.gzipped(octets, (10, 500))) == octets
    assert capture.gzipped(octets, (10, 500)).count(b"\x1f\x8b\x08") >= 3


def test_flags_of_the_handshake() -> None:
    assert [s.flags for s in wire.build(TURNS)[:3]] == [SYN, SYN | ACK, ACK]
