"""Link layers: an IP packet in, a frame out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from kit.segment import Direction
from kit.wire import Packet

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
BSD_INET, LINUX_INET6 = 2, 10


def is_v6(octets: bytes) -> bool:
    return octets[0] >> 4 == 6


def ethertype(octets: bytes) -> int:
    return 0x86DD if is_v6(octets) else 0x0800


def macs(direction: Direction) -> bytes:
    """Destination and source address of a frame."""
    return SERVER_MAC + CLIENT_MAC if direction == "C" else CLIENT_MAC + SERVER_MAC


def ethernet(
    p: Packet, tags: tuple[tuple[int, int], ...] = (), pad: bytes = b"\0", trailer: bytes = b""
) -> bytes:
    """An Ethernet frame with (TPID, VID) tags, padded to 60 octets with `pad`."""
    head = macs(p.direction) + b"".join(struct.pack(">HH", tpid, vid) for tpid, vid in tags)
    frame = head + struct.pack(">H", ethertype(p.octets)) + p.octets
    if p.length is None and len(frame) < 60:
        frame += (pad * 60)[: 60 - len(frame)]
    return frame + trailer


def vlan(p: Packet) -> bytes:
    return ethernet(p, ((0x8100, 7),))


def qinq(p: Packet) -> bytes:
    return ethernet(p, ((0x88A8, 100), (0x8100, 7)))


def sll(p: Packet) -> bytes:
    """Linux cooked capture, version 1."""
    kind = 4 if p.direction == "C" else 0
    return struct.pack(">HHH8sH", kind, 1, 6, CLIENT_MAC + b"\0\0", ethertype(p.octets)) + p.octets


def sll2(p: Packet) -> bytes:
    """Linux cooked capture, version 2."""
    kind = 4 if p.direction == "C" else 0
    return struct.pack(">HHIHBB8s", ethertype(p.octets), 0, 2, 1, kind, 6, CLIENT_MAC + b"\0\0") + p.octets


def raw(p: Packet) -> bytes:
    return p.octets


def null(order: str, inet6: int = 30) -> Callable[[Packet], bytes]:
    """BSD loopback: the address family in the order of the host that captured."""

    def encode(p: Packet) -> bytes:
        return struct.pack(f"{order}I", inet6 if is_v6(p.octets) else BSD_INET) + p.octets

    return encode


class Link(NamedTuple):
    number: int  # LINKTYPE_ value
    encode: Callable[[Packet], bytes]


LINKS: dict[str, Link] = {
    "ethernet": Link(1, ethernet),
    "vlan": Link(1, vlan),
    "qinq": Link(1, qinq),
    "sll": Link(113, sll),
    "sll2": Link(276, sll2),
    "raw": Link(101, raw),
    "raw-12": Link(12, raw),
    "raw-14": Link(14, raw),
    "null-le": Link(0, null("<")),
    "null-be": Link(0, null(">")),
    "null-inet6-10": Link(0, null("<", 10)),
    "null-inet6-24": Link(0, null("<", 24)),
    "null-inet6-28": Link(0, null("<", 28)),
    "loop": Link(108, null(">")),
}
V4_ONLY = {"ipv4": Link(228, raw)}
V6_ONLY = {"ipv6": Link(229, raw)}


def links(v6: bool) -> dict[str, Link]:
    """Every link type that can carry that IP version."""
    return LINKS | (V6_ONLY if v6 else V4_ONLY)
