"""Connections that end badly, packet by packet: what arrives, what is lost, what each side says of it."""

from __future__ import annotations

import ipaddress
import struct

from kit.segment import ACK, FIN, PSH, RST, SYN, Direction, Segment
from kit.wire import START, V4, Ends, Packet, ip4, packet

GREETING = b"220 mx.example.net ESMTP\r\n"
ENVELOPE = (
    (b"EHLO out.example.org\r\n", b"250-mx.example.net\r\n250 SIZE 10240000\r\n"),
    (b"MAIL FROM:<alice@example.org>\r\n", b"250 2.1.0 Ok\r\n"),
    (b"RCPT TO:<bob@example.net>\r\n", b"250 2.1.5 Ok\r\n"),
    (b"DATA\r\n", b"354 go on\r\n"),
)
SACK_OK = b"\x02\x04\x05\xb4\x04\x02\x01\x01"  # MSS 1460, SACK permitted


def other(side: Direction) -> Direction:
    return "S" if side == "C" else "C"


def message(octets: int) -> bytes:
    """Header and lines of 70 octets, about so long, with its end mark."""
    head = b"From: <alice@example.org>\r\nTo: <bob@example.net>\r\nSubject: test\r\n\r\n"
    return head + (b"x" * 70 + b"\r\n") * (max(octets - len(head) - 3, 0) // 72) + b".\r\n"


class Connection:
    """Both ends, and a clock that only goes on when it is told to; `packets` is what the capture holds."""

    def __init__(
        self, ends: Ends = V4, *, start: float = START, mss: int = 1460, ttl: int = 57, options: bytes = SACK_OK,
        client_ttl: int = 64,
    ) -> None:
        self.ends, self.now, self.mss, self.ttl, self.options = ends, start, mss, ttl, options
        self.client_ttl = client_ttl
        self.packets: list[Packet] = []
        self.sent: dict[Direction, int] = {"C": 0, "S": 0}  # octets
        self.got: dict[Direction, int] = {"C": 0, "S": 0}  # octets of the other side, without a hole
        self.beyond: dict[Direction, list[tuple[int, int]]] = {"C": [], "S": []}
        self.streams: dict[Direction, bytes] = {"C": b"", "S": b""}
        self.isn: dict[Direction, int] = {"C": 1000, "S": 500_000}
        self.window: dict[Direction, int] = {"C": 65535, "S": 65535}

    def wait(self, seconds: float) -> Connection:
        self.now += seconds
        return self

    def emit(
        self, side: Direction, flags: int, payload: bytes = b"", *, at: int | None = None, ttl: int | None = None,
        cut: int = 0, seen: bool = True, twice: tuple[int, int] | None = None,
    ) -> Connection:
        """A packet as it is; `seen`: the capture has it; `twice`: what it says to have got again (RFC 2883)."""
        blocks = [*([twice] if twice else []), *self.beyond[side]][:3]
        options = SACK_OK if side == "C" else self.options
        if not flags & SYN:
            base = self.isn[other(side)] + 1
            edges = b"".join(struct.pack(">II", base + left, base + right) for left, right in blocks)
            options = b"\1\1\5" + bytes([2 + len(edges)]) + edges if blocks else b""
        seq = self.isn[side] + (0 if flags & SYN else 1 + (self.sent[side] if at is None else at))
        ack = self.isn[other(side)] + 1 + self.got[side] if flags & ACK else 0
        made = Segment(side, seq, ack, flags, payload, self.now, window=self.window[side], options=options, cut=cut)
        made = made.but(ttl=ttl if ttl is not None else self.ttl if side == "S" else self.client_ttl)
        if seen:
            self.packets.append(packet(made, self.ends, (len(self.packets) + 1) & 0xFFFF))
        self.now += 0.001
        return self

    def open(self) -> Connection:
        return self.emit("C", SYN).emit("S", SYN | ACK).emit("C", ACK)

    def say(
        self, side: Direction, octets: bytes, *, arrives: bool = True, seen: bool = True, acked: bool = False
    ) -> Connection:
        """New octets, in segments."""
        for start in range(0, len(octets), self.mss):
            self._segment(side, self.sent[side], octets[start : start + self.mss], arrives, seen)
            self.streams[side] += octets[start : start + self.mss]
            self.sent[side] += len(octets[start : start + self.mss])
        return self.ack(other(side)) if acked else self

    def again(self, side: Direction, at: int, octets: int, *, arrives: bool = False) -> Connection:
        """Send once more what was sent."""
        return self._segment(side, at, self.streams[side][at : at + octets], arrives, True)

    def _segment(self, side: Direction, at: int, octets: bytes, arrives: bool, seen: bool) -> Connection:
        self.emit(side, ACK | PSH, octets, at=at, seen=seen)
        if arrives:
            peer = other(side)
            self.beyond[peer].append((at, at + len(octets)))
            while reach := [r for r in self.beyond[peer] if r[0] <= self.got[peer]]:
                self.got[peer] = max(self.got[peer], *(right for _, right in reach))
                self.beyond[peer] = [r for r in self.beyond[peer] if r not in reach]
        return self

    def ack(self, side: Direction) -> Connection:
        return self.emit(side, ACK)

    def close(self, side: Direction, *, answered: bool = True) -> Connection:
        self.emit(side, FIN | ACK)
        if not answered:
            return self.wait(0.4).emit(side, FIN | ACK)
        return self.ack(other(side))

    def reset(self, side: Direction, *, ttl: int | None = None) -> Connection:
        return self.emit(side, RST | ACK, ttl=ttl)

    def icmp(self, router: str, kind: int, code: int, mtu: int = 0) -> Connection:
        """A router's error about the last packet."""
        body = struct.pack(">BBHHH", kind, code, 0, 0, mtu) + self.packets[-1].octets[:28]
        target = str(ipaddress.ip_address(self.packets[-1].octets[12:16]))
        self.packets.append(Packet(self.now, ip4(router, target, body, protocol=1), "S"))
        return self

    def envelope(self, *, delay: float = 0.0) -> Connection:
        """From the handshake to 354, every reply so many seconds late."""
        self.open().wait(delay).say("S", GREETING, acked=True)
        for command, reply in ENVELOPE:
            self.say("C", command, acked=True).wait(delay).say("S", reply, acked=True)
        return self

    def cut(self, text: bytes) -> Connection:
        """The text is dropped, again and again, and all behind it."""
        at = self.envelope().sent["C"]
        self.say("C", text, arrives=False)
        for n in range(5):
            self.wait(0.4 * 2**n).again("C", at, min(len(text), self.mss))
        return self.wait(2).close("C", answered=False)

    def delivered(self, octets: int = 600, text: bytes = b"") -> Connection:
        """A mail that was accepted, whole."""
        self.envelope().say("C", text or message(octets), acked=True).say("S", b"250 2.0.0 Ok\r\n", acked=True)
        self.say("C", b"QUIT\r\n").say("S", b"221 Bye\r\n").close("S")
        return self.close("C")
