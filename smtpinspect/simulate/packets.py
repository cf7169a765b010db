"""The packets that one end makes: addresses, timestamps, windows, options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from smtpinspect.enforce.craft import Segment, build
from smtpinspect.simulate.clock import MILLISECOND, Clock
from smtpinspect.simulate.stack import Options, Stack, data_options, syn_options

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
WRAP: Final = 0xFFFFFFFF
SYN_WINDOW: Final = 64_240
TTL: Final = 64
OBJECT_NS: Final = 500 * MILLISECOND  # tcp_invalid_ratelimit


def unwrap(number: int, near: int) -> int:
    """The 32-bit sequence number as the one that is nearest to this."""
    return near + ((number - near + 0x80000000) & WRAP) - 0x80000000


class Packets:
    """What was agreed in the handshake is kept here, since every header depends on it."""

    def __init__(
        self,
        clock: Clock,
        local: tuple[str, int],
        peer: tuple[str, int],
        send: Callable[[bytes], object],
        stack: Stack,
    ) -> None:
        self.clock = clock
        self.local = local
        self.peer = peer
        self.stack = stack
        self.sack = stack.sack
        self.stamps = stack.timestamps
        self.peer_scale = self.own_scale = 0
        self.recent = 0  # the peer's last timestamp
        self.stamp_base = (clock.now, 1_000)
        self._send = send
        self._ip_id = 1
        self._objects = clock.now  # from when on it may object again

    def too_soon(self) -> bool:
        """For another acknowledgment of what is out of place? Two ends that disagree would never stop."""
        soon = self.clock.now < self._objects
        self._objects = self._objects if soon else self.clock.now + OBJECT_NS
        return soon

    def agree(self, options: Options) -> int:
        """What both sides offer is used; octets of a segment."""
        self.stamps = self.stack.timestamps and options.timestamp is not None
        self.sack = self.stack.sack and options.sack_permitted
        self.peer_scale = max(options.scale, 0)
        self.own_scale = self.stack.scale if options.scale >= 0 else 0
        self.recent = options.timestamp[0] if options.timestamp else 0
        return min(self.stack.mss, options.mss or 536) - (12 if self.stamps else 0)

    def syn(self, seq: int, ack: int | None, fast_open: bool) -> None:
        """A SYN, or with `ack` a SYN-ACK."""
        asks = ack is None
        stack = self.stack._replace(fast_open=asks and fast_open)
        options = syn_options(stack, self._stamp(), asks or self.own_scale > 0, self.sack)
        self._build(SYN if asks else SYN | ACK, seq, ack or 0, b"", options, SYN_WINDOW)

    def segment(
        self, flags: int, seq: int, ack: int, payload: bytes, window: int, sacked: list[tuple[int, int]]
    ) -> None:
        stamp = self._stamp()
        options = data_options(stamp, sacked if self.sack else []) if stamp or sacked else b""
        self._build(flags, seq, ack, payload, options, min(window >> self.own_scale, 65_535))

    def stray(self, segment: Segment) -> None:
        """An RST to what belongs to no connection (RFC 9293 3.10.7.1)."""
        if segment.flags & ACK:
            self._build(RST, segment.ack, 0, b"", b"", 0)
            return
        end = segment.seq + len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        self._build(RST | ACK, 0, end, b"", b"", 0)

    def _stamp(self) -> tuple[int, int] | None:
        if not self.stamps:
            return None
        ns, value = self.stamp_base
        return (value + (self.clock.now - ns) // MILLISECOND) & WRAP, self.recent

    def _build(self, flags: int, seq: int, ack: int, payload: bytes, options: bytes, window: int) -> None:
        (src, sport), (dst, dport) = self.local, self.peer
        seq, ack = seq & WRAP, ack & WRAP
        made = Segment(src, dst, sport, dport, seq, ack, flags, window, options, payload, TTL, self._ip_id)
        self._ip_id = self._ip_id % 65_535 + 1
        self._send(build(made))
