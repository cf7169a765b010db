"""Two ends that speak TCP, in their simplest honest form, over a network that loses, repeats and reorders.

What matters to a box in the middle is here: octets are sent again until they are acknowledged, cut anew each time,
what comes out of order waits, and what does not fit is not taken. No congestion control, no window.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Final

from smtpinspect.enforce import craft

MS: Final = 1_000_000
RTO: Final = 200 * MS
GIVES_UP: Final = 12  # repetitions without any progress


class End:
    """One end. `sent` and `got` are the octets of both streams; `state` is open, closed, reset or timeout."""

    def __init__(
        self,
        own: tuple[str, int],
        peer: tuple[str, int],
        isn: int,
        *,
        mss: int,
        rng: random.Random,
        stamps: bool,
        sack: bool,
    ) -> None:
        self.own, self.peer, self.isn = own, peer, isn
        self.mss, self.rng, self.stamps, self.sack = mss, rng, stamps, sack
        self.sent = bytearray()
        self.got = bytearray()
        self.una = self.nxt = 0  # offsets, the FIN counts one
        self.fin: int | None = None
        self.peer_fin: int | None = None
        self.base: int | None = None  # the peer's number of offset 0
        self.waiting: dict[int, bytes] = {}
        self.state = "open"
        self.tries = 0
        self.timer: int | None = None
        self.last_stamp = 0
        self.now = 0
        self.challenged = 0

    # --- numbers -----------------------------------------------------------------------------------------

    def options(self, blocks: list[tuple[int, int]]) -> bytes:
        out = craft.stamped(self.now // MS + 1, self.last_stamp) if self.stamps else b""
        if blocks and self.sack:
            edges = b"".join(edge.to_bytes(4, "big") for block in blocks for edge in block)
            out += b"\1\1\5" + bytes([2 + len(edges)]) + edges
        return out

    def make(self, flags: int, at: int, payload: bytes = b"") -> bytes:
        ack = 0
        blocks: list[tuple[int, int]] = []
        if self.base is not None:
            flags |= craft.ACK
            taken = len(self.got) + (self.peer_fin == len(self.got))
            ack = (self.base + taken) % 2**32
            for start, octets in sorted(self.waiting.items())[:3]:
                blocks.append(((self.base + start) % 2**32, (self.base + start + len(octets)) % 2**32))
        number = (self.isn + 1 + at) % 2**32 if not flags & craft.SYN else self.isn
        return craft.build(
            craft.Segment(
                self.own[0], self.peer[0], self.own[1], self.peer[1], number, ack, flags, 500,
                self.options(blocks), payload, 64, 7 if ":" not in self.own[0] else 0,
            )
        )  # fmt: skip

    # --- sending -----------------------------------------------------------------------------------------

    def end(self) -> int:
        return len(self.sent) + (self.fin is not None)

    def pieces(self, start: int, upto: int) -> list[bytes]:
        out = []
        while start < upto:
            n = min(len(self.sent) - start, self.rng.randint(1, self.mss) if self.rng.random() < 0.3 else self.mss)
            fin = self.fin is not None and start + n == len(self.sent)
            out.append(self.make(craft.PSH | (craft.FIN if fin else 0), start, bytes(self.sent[start : start + n])))
            start += n + fin
        return out

    def due(self) -> list[bytes]:
        """What is to be sent now: new octets, or old ones whose time is over."""
        if self.state != "open" or self.base is None:
            return []
        out = self.pieces(self.nxt, self.end())
        if out:
            self.nxt = self.end()
            self.timer = self.timer or self.now + RTO
        elif self.timer is not None and self.now >= self.timer:
            if self.una == self.end():
                self.timer = None
                return []
            self.tries += 1
            if self.tries > GIVES_UP:
                self.state = "timeout"
                return []
            self.timer = self.now + RTO * 2 ** min(self.tries, 4)
            out = self.pieces(self.una, self.end() if self.rng.random() < 0.5 else min(self.end(), self.una + self.mss))
        return out

    def close(self) -> None:
        if self.fin is None:
            self.fin = len(self.sent)

    # --- receiving ---------------------------------------------------------------------------------------

    def receive(self, ip: bytes) -> list[bytes]:
        assert craft.sound(ip), "checksum"
        s = craft.parse(ip)
        assert s is not None and (s.dst, s.dport, s.src, s.sport) == (*self.own, *self.peer)
        if self.state in ("reset", "timeout"):
            return [] if s.flags & craft.RST else [self.reset(s)]
        if s.flags & craft.SYN:
            self.base = (s.seq + 1) % 2**32
            return [] if self.nxt == 0 else [self.make(0, self.nxt)]
        assert self.base is not None
        at = signed(s.seq - self.base - len(self.got)) + len(self.got)
        if s.flags & craft.RST:
            if at == len(self.got) + (self.peer_fin == len(self.got)):
                self.state = "reset"
                return []
            self.challenged += 1
            return [self.make(0, self.nxt)]
        if stamp := craft.timestamps(s.options):
            self.last_stamp = stamp[0]
        acked = signed(s.ack - self.isn - 1 - self.una) + self.una
        assert acked <= self.nxt, f"{acked} acknowledged of {self.nxt}"
        for left, right in craft.sack_blocks(s.options):
            for edge in (left, right):
                place = signed(edge - self.isn - 1 - self.una) + self.una
                assert 0 <= place <= self.nxt, f"SACK edge {place} of {self.nxt}"
        if acked > self.una:
            self.una, self.tries = acked, 0
            self.timer = self.now + RTO if self.una < self.end() else None
        if s.flags & craft.FIN:
            fin = at + len(s.payload)
            assert self.peer_fin in (None, fin), f"FIN at {fin}, before at {self.peer_fin}"
            self.peer_fin = fin
        if s.payload:
            self.take(at, s.payload)
        return [self.make(0, self.nxt)] if s.payload or s.flags & craft.FIN else []

    def take(self, at: int, payload: bytes) -> None:
        for start, octets in sorted([(at, payload), *self.waiting.items()]):
            if start <= len(self.got) < start + len(octets):
                self.got += octets[len(self.got) - start :]
            elif start < len(self.got):
                assert bytes(self.got[start : start + len(octets)]) == octets[: len(self.got) - start], (
                    f"other octets at {start}: {octets!r} for {bytes(self.got[start : start + len(octets)])!r}"
                )
            else:
                self.waiting.setdefault(start, octets)
        self.waiting = {start: octets for start, octets in self.waiting.items() if start > len(self.got)}

    def reset(self, s: craft.Segment) -> bytes:
        number = (s.seq + len(s.payload)) % 2**32
        return craft.build(
            craft.Segment(
                self.own[0],
                self.peer[0],
                self.own[1],
                self.peer[1],
                s.ack,
                number,
                craft.RST | craft.ACK,
                0,
                b"",
                b"",
                64,
                0,
            )
        )

    @property
    def ended(self) -> bool:
        """Has the peer closed, and is all of it here?"""
        return self.peer_fin is not None and len(self.got) == self.peer_fin


def signed(number: int) -> int:
    number %= 2**32
    return number - 2**32 if number >= 2**31 else number


class Network:
    """client - box - server. `box(ns, ip)` gives pairs (to, packet); to: 0 the client, 1 the server."""

    def __init__(
        self,
        box: Callable[[int, bytes], list[tuple[int, bytes]]],
        rng: random.Random,
        *,
        v6: bool = False,
        mss: int = 1448,
        lost: float = 0.0,
        twice: float = 0.0,
        late: float = 0.0,
        stamps: bool = True,
        sack: bool = True,
        isn: tuple[int, int] = (1000, 90000),
    ) -> None:
        client = ("2001:db8::10" if v6 else "192.0.2.10", 40112)
        server = ("2001:db8:1::25" if v6 else "198.51.100.25", 25)
        same = {"mss": mss, "rng": rng, "stamps": stamps, "sack": sack}
        self.ends = (End(client, server, isn[0], **same), End(server, client, isn[1], **same))  # type: ignore[arg-type]
        self.box, self.rng = box, rng
        self.lost, self.twice, self.late = lost, twice, late
        self.now = 0
        self.queue: list[
            tuple[int, int, int, bytes]
        ] = []  # time, order, hop (0 from client, 1 from server, 2/3 to), packet
        self.order = 0
        self.shaken = False

    def put(self, hop: int, ip: bytes) -> None:
        if self.shaken and self.rng.random() < self.lost:
            return
        for _ in range(2 if self.shaken and self.rng.random() < self.twice else 1):
            self.order += 1
            delay = MS // 4 + (self.rng.randint(0, 40 * MS) if self.shaken and self.rng.random() < self.late else 0)
            heapq.heappush(self.queue, (self.now + delay, self.order, hop, ip))

    def shake(self) -> None:
        """The three packets that begin a connection, without loss."""
        client, server = self.ends
        self.put(0, client.make(craft.SYN, 0))
        self.run(lambda: False)
        self.put(1, server.make(craft.SYN, 0))
        self.run(lambda: False)
        self.put(0, client.make(0, 0))
        self.run(lambda: False)
        self.shaken = True

    def run(self, apps: Callable[[], bool], limit: int = 50_000) -> None:
        """Until nothing happens any more; `apps` lets the programs at both ends go on, and tells whether they did."""
        for _ in range(limit):
            moved = apps()
            for side, end in enumerate(self.ends):
                end.now = self.now
                for ip in end.due():
                    self.put(side, ip)
                    moved = True
            if self.queue:
                self.now, _, hop, ip = heapq.heappop(self.queue)
                for end in self.ends:
                    end.now = self.now
                if hop < 2:
                    for to, packet in self.box(self.now, ip):
                        self.put(2 + to, packet)
                else:
                    for answer in self.ends[hop - 2].receive(ip):
                        self.put(hop - 2, answer)
            elif not moved:
                timers = [end.timer for end in self.ends if end.timer is not None and end.state == "open"]
                if not timers:
                    return
                self.now = max(self.now, min(timers))
        raise AssertionError("it does not end")
