"""Packets that are made and changed: what two libraries read in them, and their checksums."""

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from kit.ip import fragments, with_extensions, with_options
from kit.wire import Packet
from smtpinspect.enforce import craft

SACK = b"\x01\x01\x05\x12" + bytes.fromhex("fffffff000000010") + bytes.fromhex("0000002000000030")
number = st.integers(0, 2**32 - 1)
ends = st.sampled_from([("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")])


@st.composite
def segments(draw):
    src, dst = draw(ends)
    return craft.Segment(
        src, dst, draw(st.integers(1, 65535)), 25, draw(number), draw(number),
        draw(st.sampled_from([craft.ACK, craft.ACK | craft.PSH, craft.SYN, craft.RST | craft.ACK])),
        draw(st.integers(0, 65535)), draw(st.sampled_from([b"", craft.stamped(7, 9), SACK, b"\1\1\1\0"])),
        draw(st.binary(max_size=200)), draw(st.integers(1, 255)),
        draw(st.integers(0, 65535)) if ":" not in src else 0,
    )  # fmt: skip


def sound_for_scapy(octets):
    """The checksums as scapy works them out."""
    read = IP(octets) if octets[0] >> 4 == 4 else IPv6(octets)
    tcp = read[TCP].chksum
    del read[TCP].chksum
    if octets[0] >> 4 == 4:
        head = read.chksum
        del read.chksum
        if IP(bytes(read)).chksum != head:
            return False
    return type(read)(bytes(read))[TCP].chksum == tcp


@given(segments())
def test_what_was_built_is_read_again(segment):
    octets = craft.build(segment)
    assert craft.parse(octets) == segment
    assert craft.sound(octets)
    read = dpkt.ip.IP(octets) if octets[0] >> 4 == 4 else dpkt.ip6.IP6(octets)
    assert (read.data.seq, read.data.ack, read.data.opts, read.data.data) == (
        segment.seq, segment.ack, segment.options, segment.payload,
    )  # fmt: skip


@given(segments(), st.binary(max_size=200), number, number)
def test_a_changed_copy_has_right_checksums(segment, payload, seq, ack):
    octets = craft.edited(craft.build(segment), payload=payload, seq=seq, ack=ack)
    assert craft.parse(octets) == segment._replace(payload=payload, seq=seq, ack=ack)
    assert craft.sound(octets)


@pytest.mark.parametrize("src, dst", [("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")])
@pytest.mark.parametrize("payload", [b"", b"x", b"MAIL FROM:<a@example.org>\r\n", b"\0\0", b"\xff\xff" * 9])
def test_scapy_finds_the_same_checksums(src, dst, payload):
    made = craft.build(craft.Segment(src, dst, 4000, 25, 1, 2, craft.ACK, 9, SACK, payload, 64, 0))
    assert sound_for_scapy(made)
    assert sound_for_scapy(craft.edited(made, payload=payload + b"more", sack=-20, ack=1))


def test_a_wrong_checksum_is_told():
    made = craft.build(craft.Segment("192.0.2.1", "192.0.2.2", 4000, 25, 1, 2, craft.ACK, 9, b"", b"abc", 64, 0))
    assert not craft.sound(made[:-1] + b"d")
    assert not craft.sound(made[:8] + b"\x01" + made[9:])


def test_the_edges_of_sack_blocks_move_over_the_wrap():
    assert craft.sack_blocks(SACK) == ((0xFFFFFFF0, 0x10), (0x20, 0x30))
    made = craft.build(craft.Segment("192.0.2.1", "192.0.2.2", 4000, 25, 1, 2, craft.ACK, 9, SACK, b"", 64, 0))
    moved = craft.parse(craft.edited(made, sack=0x10))
    assert craft.sack_blocks(moved.options) == ((0, 0x20), (0x30, 0x40))
    assert craft.sack_blocks(craft.with_sack(SACK, ((1, 2), (3, 2**32 + 4)))) == ((1, 2), (3, 4))


def test_ip_options_and_extension_headers_stay():
    for ends in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
        made = craft.build(craft.Segment(*ends, 4000, 25, 1, 2, craft.ACK, 9, craft.stamped(3, 4), b"abc", 64, 0))
        packet = Packet(0.0, made)
        long = with_options(packet, b"\x94\x04\0\0") if made[0] >> 4 == 4 else with_extensions(packet, (0, 60))
        assert craft.parse(long.octets).payload == b"abc"
        copy = craft.edited(long.octets, payload=b"other")
        assert copy[20:24] == long.octets[20:24]
        assert craft.sound(copy)
        assert craft.parse(copy).options == craft.stamped(3, 4)
        assert craft.timestamps(craft.parse(copy).options) == (3, 4)
        for piece in fragments(packet, 16):
            assert craft.parse(piece.octets) is None


@given(st.binary(max_size=120))
def test_any_octets_are_read_or_refused(octets):
    segment = craft.parse(octets)
    assert segment is None or len(segment.payload) < len(octets)
    for options in (octets, b"\x05", b"\x05\x0a", b"\x08\x0a1234"):
        craft.sack_blocks(options)
        craft.timestamps(options)
    craft.sound(octets)


def test_padding_behind_the_packet_is_not_its_payload():
    made = craft.build(craft.Segment("192.0.2.1", "192.0.2.2", 4000, 25, 1, 2, craft.ACK, 9, b"", b"abc", 64, 0))
    assert craft.parse(made + b"\0" * 6).payload == b"abc"
    assert craft.edited(made + b"\0" * 6, seq=5) == craft.edited(made, seq=5)


def test_what_cannot_be_built_is_refused():
    plain = craft.Segment("192.0.2.1", "192.0.2.2", 4000, 25, 1, 2, craft.ACK, 9, b"", b"", 64, 0)
    with pytest.raises(ValueError, match="two families"):
        craft.build(plain._replace(dst="2001:db8::1"))
    with pytest.raises(ValueError, match="multiple of 4"):
        craft.build(plain._replace(options=b"\1"))
    with pytest.raises(ValueError, match="no TCP"):
        craft.edited(b"\x45" + bytes(60))
