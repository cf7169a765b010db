"""Link layers, tags, IP headers and the TCP header: what is payload, and how much of it was captured."""

from __future__ import annotations

import ipaddress
import re
import struct
from pathlib import Path
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import capture, ip, link, wire
from kit.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from public import FOLDER
from smtpinspect._core import frame
from smtpinspect.grammar import linktypes

SEGMENT = Segment("C", 0xFFFFFFF0, 0x01020304, ACK | PSH, b"EHLO a.example\r\n", window=4321)
PAYLOAD = SEGMENT.payload
V4, V6 = wire.packet(SEGMENT), wire.packet(SEGMENT, wire.V6)
BOTH = pytest.mark.parametrize("packet", [V4, V6], ids=["ipv4", "ipv6"])
ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276


def tcp(number: int, octets: bytes, wirelen: int | None = None) -> dict[str, Any]:
    fields = frame.decode(number, octets, wirelen)
    assert frame.kind(number, octets, wirelen) == "tcp"
    assert fields is not None
    return fields


def is_the_segment(fields: dict[str, Any]) -> None:
    assert fields["payload"] == PAYLOAD
    assert fields["payload_len"] == len(PAYLOAD)
    assert (fields["seq"], fields["ack"], fields["window"]) == (SEGMENT.seq, SEGMENT.ack, SEGMENT.window)
    assert fields["flags"] == SEGMENT.flags
    assert (fields["sport"], fields["dport"]) == (wire.V4.client_port, wire.V4.server_port)
    ends = wire.V4 if fields["family"] == 4 else wire.V6
    addresses = [str(ipaddress.ip_address(fields[side])) for side in ("src", "dst")]
    assert addresses == [ends.client, ends.server]
    assert (fields["ttl"], fields["proto"]) == (64, 6)


# --- link layers


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("name", [*link.LINKS, "ip"])
def test_link_types(name: str, v6: bool) -> None:
    how = link.links(v6)[name if name in link.LINKS else "ipv6" if v6 else "ipv4"]
    is_the_segment(tcp(how.number, how.encode(V6 if v6 else V4)))


def test_the_table_tells_what_is_read() -> None:
    for number in range(400):
        known = linktypes.BY_NUMBER.get(number)
        read = frame.kind(number, bytes(60)) != "unknown-link"
        assert read == (known is not None and known.read), number
    assert linktypes.named(127) == "link type 127 (IEEE802_11_RADIOTAP)"
    assert linktypes.named(9999) == "link type 9999"
    assert "LINUX_SLL2" in linktypes.readable()
    assert len({(link.number) for link in linktypes.LINK_TYPES}) == len(linktypes.LINK_TYPES)


@BOTH
def test_address_families_of_other_systems(packet: wire.Packet) -> None:
    """The version behind decides, whatever the family's number and byte order."""
    for family in (2, 10, 23, 24, 26, 28, 30, 99):
        for order in "<>":
            is_the_segment(tcp(0, struct.pack(f"{order}I", family) + packet.octets))
            is_the_segment(tcp(108, struct.pack(f"{order}I", family) + packet.octets))


@BOTH
def test_link_type_12(packet: wire.Packet) -> None:
    """RAW on most systems, LOOP on OpenBSD."""
    is_the_segment(tcp(12, packet.octets))
    is_the_segment(tcp(12, struct.pack(">I", 24) + packet.octets))


def test_wrong_version_behind_a_link_type() -> None:
    assert frame.kind(228, V6.octets) == "bad"
    assert frame.kind(229, V4.octets) == "bad"
    assert frame.kind(RAW, b"\x55" + V4.octets[1:]) == "other"
    assert frame.kind(ETHERNET, link.macs("C") + b"\x08\x00" + V6.octets) == "bad"


def ethernet(kind: int, rest: bytes) -> bytes:
    return link.macs("C") + struct.pack(">H", kind) + rest


@BOTH
@pytest.mark.parametrize(
    "tags",
    [
        (0x8100,),
        (0x88A8, 0x8100),
        (0x9100, 0x8100),
        (0x9200, 0x9300, 0x8100),
        (0x88A8, 0x8100, 0x8100),
        (0x8100,) * 100,
    ],
    ids=lambda tags: f"{len(tags)} from {tags[0]:x}",
)
def test_tags(packet: wire.Packet, tags: tuple[int, ...]) -> None:
    stack = tuple((tag, n) for n, tag in enumerate(tags))
    octets = link.ethernet(packet, stack)
    is_the_segment(tcp(ETHERNET, octets))
    kind, body = struct.unpack(">H", octets[12:14])[0], octets[14:]
    is_the_segment(tcp(SLL, struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind) + body))
    assert frame.kind(ETHERNET, octets[: 14 + 4 * len(tags) - 1]) == "bad"


@BOTH
@pytest.mark.parametrize("oui", [b"\0\0\0", b"\0\0\xf8"])
def test_llc_and_snap(packet: wire.Packet, oui: bytes) -> None:
    snap = b"\xaa\xaa\x03" + oui + struct.pack(">H", link.ethertype(packet.octets)) + packet.octets
    padded = ethernet(len(snap), snap + b"QUIT\r\n")
    is_the_segment(tcp(ETHERNET, padded))
    is_the_segment(tcp(ETHERNET, ethernet(0x8100, b"\0\7" + padded[12:])))
    tagged = b"\xaa\xaa\x03" + oui + b"\x81\x00\0\7" + snap[6:]
    is_the_segment(tcp(ETHERNET, ethernet(len(tagged), tagged)))
    is_the_segment(tcp(SLL, struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 4) + snap))
    is_the_segment(tcp(SLL2, struct.pack(">HHIHBB8s", 4, 0, 2, 1, 0, 6, bytes(8)) + snap))
    assert frame.kind(ETHERNET, ethernet(len(snap), b"\xaa\xaa\x03\1\2\3" + snap[6:])) == "other"
    assert frame.kind(ETHERNET, ethernet(7, snap)) == "bad"


def test_llc_without_snap() -> None:
    is_the_segment(tcp(ETHERNET, ethernet(3 + len(V4.octets), b"\x06\x06\x03" + V4.octets)))
    assert frame.kind(ETHERNET, ethernet(38, b"\x42\x42\x03" + bytes(43))) == "other"  # spanning tree


@pytest.mark.parametrize("kind", [0x0806, 0x8847, 0x8864, 0x88E5, 0x88CC, 0xFFFF])
def test_what_is_no_ip(kind: int) -> None:
    assert frame.kind(ETHERNET, ethernet(kind, V4.octets)) == "other"
    assert frame.decode(ETHERNET, ethernet(kind, V4.octets)) is None


def test_cooked_frames_without_an_ethertype() -> None:
    netlink = struct.pack(">HHH8sH", 0, 824, 0, bytes(8), 0x0800)
    assert frame.kind(SLL, netlink + V4.octets) == "other"
    assert (
        frame.kind(SLL2, struct.pack(">HHIHBB8s", 0x0800, 0, 2, 824, 0, 0, bytes(8)) + V4.octets) == "other"
    )
    for kind in (1, 3, 12):
        assert frame.kind(SLL, struct.pack(">HHH8sH", 0, 280, 0, bytes(8), kind) + bytes(16)) == "other"


# --- lengths


@BOTH
def test_padding_and_trailer_are_no_payload(packet: wire.Packet) -> None:
    for trailer in (b"", b"\0" * 4, b"QUIT\r\n" * 9):
        is_the_segment(tcp(ETHERNET, link.ethernet(packet, pad=b"QUIT\r\n", trailer=trailer)))
    bare = wire.packet(SEGMENT.but(payload=b""), wire.V6 if packet is V6 else wire.V4)
    fields = tcp(ETHERNET, link.ethernet(bare, pad=b"QUIT\r\n", trailer=b"RSET"))
    assert (fields["payload"], fields["payload_len"]) == (b"", 0)


@BOTH
@pytest.mark.parametrize("name", link.LINKS)
def test_cut_at_every_octet(name: str, packet: wire.Packet) -> None:
    """What a capture length left is told apart from what there was."""
    octets = link.LINKS[name].encode(packet)
    payload_at = octets.index(PAYLOAD)
    for end in range(len(octets) + 1):
        kind = frame.kind(link.LINKS[name].number, octets[:end], len(octets))
        if end < payload_at:
            assert kind == "bad"
            continue
        fields = tcp(link.LINKS[name].number, octets[:end], len(octets))
        assert fields["payload"] == octets[payload_at : min(end, payload_at + len(PAYLOAD))]
        assert fields["payload_len"] == len(PAYLOAD)


@BOTH
def test_cut_in_the_tcp_options(packet: wire.Packet) -> None:
    """The fixed header is enough: how much payload there was is known."""
    ends = wire.V6 if packet is V6 else wire.V4
    options = wire.packet(SEGMENT.but(options=b"\x01" * 12), ends).octets
    head = len(options) - len(PAYLOAD) - 12
    for end in range(head, head + 13):
        fields = tcp(RAW, options[:end], len(options))
        assert (fields["payload"], fields["payload_len"]) == (b"", len(PAYLOAD))
        assert fields["seq"] == SEGMENT.seq
    assert frame.kind(RAW, options[: head - 1], len(options)) == "bad"


def test_offload_length_zero() -> None:
    """IPv4: total length 0. IPv6: payload length 0, with or without a jumbo option (RFC 2675)."""
    text = b"x" * 100_000
    big = wire.tcp(SEGMENT.but(payload=text), wire.V6)
    head4 = V4.octets[:2] + b"\0\0" + V4.octets[4:20]
    head6 = V6.octets[:4] + b"\0\0" + V6.octets[6:40]
    jumbo = b"\x06\x00\xc2\x04" + struct.pack(">I", 8 + len(big))
    padded = b"\x06\x01\x00\x01\x01\x00\x00\xc2\x04" + struct.pack(">I", 16 + len(big)) + b"\x01\x01\x00"
    hop = head6[:6] + b"\x00" + head6[7:]
    for octets in (head4 + big, head6 + big, hop + jumbo + big, hop + padded + big):
        fields = tcp(RAW, octets)
        assert fields["payload"] == text
        assert fields["payload_len"] == len(text)
        cut = tcp(RAW, octets[:20_000], len(octets))
        assert cut["payload_len"] == len(text)
        assert cut["payload"] == text[: len(cut["payload"])]
    assert tcp(RAW, hop + jumbo + big + b"trailer")["payload_len"] == len(text)


def test_length_zero_in_a_frame_that_may_be_padded() -> None:
    """Nobody offloads so little: the length is wrong, and padding is not taken for payload."""
    bare = wire.packet(SEGMENT.but(payload=b"")).octets
    assert frame.kind(ETHERNET, ethernet(0x0800, bare[:2] + b"\0\0" + bare[4:] + b"QUIT\r\n")) == "bad"


@pytest.mark.parametrize("claimed", [20, 39])
def test_ip_length_that_ends_in_the_tcp_header(claimed: int) -> None:
    octets = V4.octets[:2] + struct.pack(">H", claimed) + V4.octets[4:]
    assert frame.kind(RAW, octets) == "bad"


def test_ip_length_beyond_the_frame() -> None:
    """As after a capture length that the capture does not tell: the IP header knows."""
    octets = V4.octets[:2] + struct.pack(">H", len(V4.octets) + 500) + V4.octets[4:]
    fields = tcp(RAW, octets)
    assert (fields["payload"], fields["payload_len"]) == (PAYLOAD, len(PAYLOAD) + 500)


# --- IP and TCP headers


def test_ipv4_options() -> None:
    for options in (b"\1\1", b"\x07\x07\4\0\0\0\0", b"\x94\4\0\0", b"\x07\0\xff" * 10, b"\0" * 40):
        is_the_segment(tcp(RAW, ip.with_options(V4, options).octets))


@pytest.mark.parametrize(
    ("at", "octets"),
    [(0, b"\x44"), (0, b"\x40"), (0, b"\x4f"), (2, b"\0\x13"), (2, b"\0\x01"), (32, b"\x40"), (32, b"\xf0")],
)
def test_broken_headers(at: int, octets: bytes) -> None:
    """IHL, total length and data offset that cannot be."""
    short = wire.packet(SEGMENT.but(payload=b"")).octets
    assert frame.kind(RAW, short[:at] + octets + short[at + len(octets) :]) == "bad"


def test_all_flags() -> None:
    for flag in (FIN, SYN, RST, PSH, ACK, URG):
        assert tcp(RAW, wire.packet(SEGMENT.but(flags=flag)).octets)["flags"] == flag
    octets = bytearray(V4.octets)
    octets[33] |= 0xC0  # ECE and CWR say nothing here
    assert tcp(RAW, bytes(octets))["flags"] == SEGMENT.flags


@pytest.mark.parametrize(
    "chain",
    [
        (ip.HOP_BY_HOP,),
        (ip.ROUTING, ip.DESTINATION),
        (ip.HOP_BY_HOP, ip.DESTINATION, ip.ROUTING, ip.FRAGMENT, ip.AUTH_HEADER, ip.DESTINATION),
        (ip.DESTINATION, ip.HOP_BY_HOP),
        (ip.MOBILITY,),
        (139, 140),
        (ip.DESTINATION,) * 100,
        (ip.DESTINATION,) * 255,
    ],
    ids=lambda chain: f"{len(chain)} from {chain[0]}",
)
def test_extension_headers(chain: tuple[int, ...]) -> None:
    octets = ip.with_extensions(V6, chain).octets
    is_the_segment(tcp(RAW, octets))
    for end in range(len(octets) - len(PAYLOAD)):
        assert frame.kind(RAW, octets[:end], len(octets)) == "bad"


def test_extension_headers_without_end() -> None:
    assert frame.kind(RAW, ip.with_extensions(V6, (ip.DESTINATION,) * 256).octets) == "bad"
    assert frame.kind(RAW, ip.with_extensions(V6, (ip.DESTINATION,) * 2000).octets) == "bad"
    beyond = V6.octets[:6] + b"\x3c" + V6.octets[7:40] + b"\x06\xff" + V6.octets[40:]
    assert frame.kind(RAW, beyond) == "bad"


@pytest.mark.parametrize("protocol", [1, 17, 41, 47, 50, 59, 97, 253])
def test_other_protocols(protocol: int) -> None:
    for octets, at in ((V4.octets, 9), (V6.octets, 6)):
        changed = octets[:at] + bytes([protocol]) + octets[at + 1 :]
        fields = frame.decode(RAW, changed)
        assert fields is not None
        assert (fields["kind"], fields["proto"]) == ("other", protocol)
        assert fields["body"] == octets[20 if at == 9 else 40 :]


@BOTH
def test_fragments_are_told(packet: wire.Packet) -> None:
    pieces = ip.fragments(packet, 16, ident=0xABCD)
    for n, piece in enumerate(pieces):
        fields = frame.decode(RAW, piece.octets)
        assert fields is not None
        assert fields["kind"] == "fragment"
        assert (fields["id"], fields["offset"], fields["more"]) == (0xABCD, 16 * n, piece is not pieces[-1])
        assert fields["body"] == wire.tcp(SEGMENT, wire.V6 if packet is V6 else wire.V4)[16 * n : 16 * n + 16]


def test_flags_that_make_no_fragment() -> None:
    for flags in (0x0000, 0x4000, 0x8000, 0xC000):  # none, don't fragment, and the reserved bit
        is_the_segment(tcp(RAW, V4.octets[:6] + struct.pack(">H", flags) + V4.octets[8:]))


# --- anything


@given(
    st.sampled_from([known.number for known in linktypes.LINK_TYPES]),
    st.binary(max_size=120),
    st.integers(0, 2**32 - 1),
)
def test_any_octets(number: int, octets: bytes, wirelen: int) -> None:
    fields = frame.decode(number, octets, wirelen)
    assert frame.kind(number, octets, wirelen) in ("tcp", "fragment", "other", "unknown-link", "bad")
    if fields is not None:
        assert fields["body"] in octets
        assert fields.get("payload", b"") in octets


FORMS = [how.encode(p) for how in link.LINKS.values() for p in (V4, V6)]
FORMS += [
    link.ethernet(ip.with_extensions(V6, (0, 60, 43, 44, 51, 60))),
    link.ethernet(ip.with_options(V4, b"\1\1")),
]


@given(
    st.sampled_from([known.number for known in linktypes.LINK_TYPES if known.read]),
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    st.integers(0, 130),
)
def test_patched_frames(number: int, octets: bytes, patches: list[tuple[int, int]], end: int) -> None:
    changed = bytearray(octets)
    for at, value in patches:
        changed[at % len(changed)] = value
    fields = frame.decode(number, bytes(changed[:end]), len(changed))
    if fields is not None and "payload" in fields:
        assert len(fields["payload"]) <= fields["payload_len"]


FILES = sorted(FOLDER.glob("*.pcap*")) + sorted((Path(__file__).parents[1] / "pcaps").glob("*.pcap*"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_as_dpkt_reads_it(file: Path) -> None:
    with file.open("rb") as octets:
        reader = dpkt.pcap.UniversalReader(octets)
        number = reader.datalink()
        for _, found in reader:
            if number == ETHERNET:
                packet = dpkt.ethernet.Ethernet(found).data
            else:
                packet = (dpkt.ip.IP if found[4] >> 4 == 4 else dpkt.ip6.IP6)(found[4:])
            whole_tcp = isinstance(getattr(packet, "data", None), dpkt.tcp.TCP)
            assert (frame.kind(number, found) == "tcp") == whole_tcp
            if whole_tcp:
                fields = tcp(number, found)
                segment = packet.data
                assert (fields["src"], fields["dst"]) == (packet.src, packet.dst)
                assert (fields["sport"], fields["dport"]) == (segment.sport, segment.dport)
                assert (fields["seq"], fields["ack"], fields["window"]) == (
                    segment.seq,
                    segment.ack,
                    segment.win,
                )
                assert fields["flags"] == segment.flags & 0x3F
                assert fields["payload"] == segment.data


def test_constants_are_named_once() -> None:
    """The numbers in the decoder are those of the table."""
    source = Path(__file__).parents[1] / "ext" / "smtpinspect" / "_core" / "frame.pyx"
    numbers = {
        int(n) for n in re.findall(r"^    LINK_\w+ = (\d+)", source.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert numbers == {known.number for known in linktypes.LINK_TYPES if known.read}


def test_records_of_the_kit_are_read() -> None:
    """A frame cut by the capture length, as the kit writes it."""
    (record,) = capture.records([V4], snaplen=60)
    fields = tcp(ETHERNET, record.frame, record.length)
    assert fields["payload_len"] == len(PAYLOAD)
    assert fields["payload"] == PAYLOAD[:6]
