"""What a Linux TCP stack does by the clock and by the octet, as a table; and the options of a segment."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from smtpinspect.simulate.clock import MILLISECOND, SECOND

MSS_OPTION: Final = 2
SCALE_OPTION: Final = 3
SACK_PERMITTED: Final = 4
SACK_OPTION: Final = 5
TIMESTAMPS: Final = 8
FAST_OPEN: Final = 34


class Stack(NamedTuple):
    """Settings of one end; times in nanoseconds, sizes in octets. The defaults are those of Linux 6.18.

    RFC 6298, RFC 8985 (tail loss probe), RFC 6928 (first window); Documentation/networking/ip-sysctl.rst for the
    names in brackets. What is not there was measured on that kernel.
    """

    mss: int = 1460  # Ethernet, IPv4; 12 octets of each segment go to timestamps
    timestamps: bool = True
    sack: bool = True
    scale: int = 7  # window scale that is offered
    fast_open: bool = False  # asks for a cookie in the SYN (RFC 7413)
    first_rto: int = SECOND  # RFC 6298 2.1
    min_rto: int = 200 * MILLISECOND  # tcp_rto_min_us
    max_rto: int = 120 * SECOND  # tcp_rto_max_ms
    retries: int = 15  # tcp_retries2: 924.6 s at least
    orphan_retries: int = 8  # tcp_orphan_retries=0 means this
    # tcp_syn_retries=6 with tcp_syn_linear_timeouts=4 (6.5 and later): when SYNs are sent again, and the end
    syn_times: tuple[int, ...] = (1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131)
    synack_times: tuple[int, ...] = (1, 3, 7, 15, 31, 63)  # tcp_synack_retries=5
    fin_timeout: int = 60 * SECOND  # tcp_fin_timeout
    delayed_ack: int = 40 * MILLISECOND
    first_window: int = 10  # segments (RFC 6928)
    receive_window: int = 65_160  # first one
    receive_most: int = 6_291_456  # tcp_rmem[2]
    send_segment: int = 3_456  # memory that the kernel reckons for a segment when it sizes the send buffer
    send_overhead: int = 1_280  # memory of a buffer beside its octets
    send_unit: int = 22  # segments that one buffer of what waits can hold
    send_most: int = 4_194_304  # tcp_wmem[2]

    def death(self, retries: int) -> int:
        """How long a segment is sent again before the flow is given up: doubling from the shortest time-out,
        `retries` times (net/ipv4/tcp_timer.c)."""
        total, rto = 0, self.min_rto
        for _ in range(retries + 1):
            total += min(rto, self.max_rto)
            rto *= 2
        return total


LINUX: Final = Stack()


class Options(NamedTuple):
    """The options of a segment, read."""

    mss: int = 0
    scale: int = -1
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    timestamp: tuple[int, int] | None = None
    fast_open: bool = False


NO_OPTIONS: Final = Options()


def read_options(octets: bytes) -> Options:
    """What can be read of them; a malformed tail is left out."""
    if not octets:
        return NO_OPTIONS
    if len(octets) == 12 and octets[:4] == b"\x01\x01\x08\x0a":
        value, echo = struct.unpack_from("!II", octets, 4)
        return Options(timestamp=(value, echo))
    found: dict[str, object] = {}
    at = 0
    while at < len(octets):
        kind = octets[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        size = octets[at + 1] if at + 1 < len(octets) else 0
        if size < 2 or at + size > len(octets):
            break
        body = octets[at + 2 : at + size]
        if kind == MSS_OPTION and size == 4:
            found["mss"] = int.from_bytes(body, "big")
        elif kind == SCALE_OPTION and size == 3:
            found["scale"] = min(body[0], 14)
        elif kind == SACK_PERMITTED:
            found["sack_permitted"] = True
        elif kind == SACK_OPTION and (size - 2) % 8 == 0:
            found["sack"] = tuple(struct.iter_unpack("!II", body))
        elif kind == TIMESTAMPS and size == 10:
            found["timestamp"] = struct.unpack("!II", body)
        elif kind == FAST_OPEN:
            found["fast_open"] = True
        at += size
    return Options(**found)  # type: ignore[arg-type]


def syn_options(stack: Stack, timestamp: tuple[int, int] | None, scale: bool, sack: bool) -> bytes:
    """Of a SYN, in the order of Linux."""
    made = struct.pack("!BBH", MSS_OPTION, 4, stack.mss)
    if sack:
        made += bytes((SACK_PERMITTED, 2))
    if timestamp:
        made += (b"" if sack else b"\x01\x01") + struct.pack("!BBII", TIMESTAMPS, 10, *timestamp)
    elif sack:
        made += b"\x01\x01"
    if scale:
        made += struct.pack("!BBBB", 1, SCALE_OPTION, 3, stack.scale)
    if stack.fast_open:
        made += struct.pack("!BBBB", 1, 1, FAST_OPEN, 2)
    return made


def data_options(timestamp: tuple[int, int] | None, sack: list[tuple[int, int]]) -> bytes:
    """Of any other segment: timestamps, and what arrived out of order."""
    made = struct.pack("!HBBII", 0x0101, TIMESTAMPS, 10, *timestamp) if timestamp else b""
    if sack:
        blocks = sack[:3]
        made += struct.pack("!HBB", 0x0101, SACK_OPTION, 2 + 8 * len(blocks))
        made += b"".join(struct.pack("!II", low & 0xFFFFFFFF, high & 0xFFFFFFFF) for low, high in blocks)
    return made
