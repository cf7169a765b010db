"""What one end has to send: octets that wait or are in flight, and how many more a write() may add."""

from __future__ import annotations

from collections import deque
from typing import Final

from smtpinspect.simulate.stack import Stack

HOLD: Final = 2**62  # no limit


class Sent:
    """A segment in flight: where it begins (unwrapped), octets, whether it is or was a FIN or a SYN."""

    __slots__ = ("fin", "lost", "ns", "sacked", "seq", "size", "times")

    def __init__(self, seq: int, size: int, ns: int, fin: bool = False) -> None:
        self.seq = seq
        self.size = size
        self.ns = ns
        self.fin = fin
        self.times = 1  # how often it was sent
        self.sacked = False
        self.lost = False

    @property
    def end(self) -> int:
        return self.seq + self.size + self.fin


class Outgoing:
    """The send queue. `una` is the first octet that is not acknowledged, `nxt` the first that was never sent; both
    unwrapped sequence numbers."""

    def __init__(self, stack: Stack, una: int) -> None:
        self.stack = stack
        self.una = una
        self.nxt = una
        self.octets = bytearray()  # from una on
        self.sent: deque[Sent] = deque()
        self.fin = False  # a FIN is to follow the octets
        self.mss = stack.mss
        self.limit = HOLD
        self._fed = una  # una, less an acknowledged FIN

    @property
    def end(self) -> int:
        """Behind the last octet that was written."""
        return self._fed + len(self.octets)

    @property
    def unsent(self) -> int:
        return max(self.end - self.nxt, 0)

    @property
    def in_flight(self) -> int:
        """Segments that are neither acknowledged, nor selectively acknowledged, nor taken for lost."""
        return sum(1 for segment in self.sent if not (segment.sacked or segment.lost))

    # ---- the send buffer: sk_wmem_queued against sk_sndbuf (net/ipv4/tcp.c, net/core/stream.c)

    def size_buffer(self, window: int) -> None:
        """Autotuning: twice the congestion window (segments), never less than it was (tcp_sndbuf_expand)."""
        wanted = min(2 * max(self.stack.first_window, window) * self.stack.send_segment, self.stack.send_most)
        self.limit = wanted if self.limit == HOLD else max(self.limit, wanted)

    @property
    def queued(self) -> int:
        """Memory of what was written and not acknowledged, which lies in buffers of `send_unit` segments."""
        return len(self.octets) + self.stack.send_overhead * -(-len(self.octets) // self.unit)

    @property
    def unit(self) -> int:
        """Octets of one buffer."""
        return self.stack.send_unit * self.mss

    @property
    def writable(self) -> bool:
        """Is a sleeping writer woken, does poll() tell room? (sk_stream_is_writeable)"""
        return 2 * (self.limit - self.queued) >= self.queued

    def write(self, octets: bytes) -> int:
        """Take what there is room for; octets taken. Room is asked for by the buffer, and a buffer is filled."""
        before = len(self.octets)
        start = 0
        while start < len(octets):
            size = -self.unsent % self.unit
            if not size:
                if self.queued >= self.limit:
                    break
                size = self.unit
            self.octets += octets[start : start + size]
            start += size
        return len(self.octets) - before

    # ---- segments

    def cut(self, seq: int, size: int) -> bytes:
        """The octets from this sequence number on."""
        at = seq - self._fed
        return bytes(self.octets[at : at + size])

    def add(self, ns: int, size: int, fin: bool) -> Sent:
        """The next segment, now in flight."""
        segment = Sent(self.nxt, size, ns, fin)
        self.sent.append(segment)
        self.nxt = segment.end
        return segment

    def acknowledge(self, ack: int) -> list[Sent]:
        """Everything before this is there; the segments that are so done with."""
        done = []
        fed = min(ack, self.end)
        if fed > self._fed:
            del self.octets[: fed - self._fed]
            self._fed = fed
        self.una = ack
        while self.sent and self.sent[0].end <= ack:
            done.append(self.sent.popleft())
        if self.sent and self.sent[0].seq < ack:
            first = self.sent[0]  # a part of it
            first.size -= ack - first.seq
            first.seq = ack
        return done

    def mark(self, blocks: list[tuple[int, int]]) -> bool:
        """Selective acknowledgments; did they tell something new?"""
        if not blocks:
            return False
        new = False
        for segment in self.sent:
            if not segment.sacked and any(low <= segment.seq and segment.end <= high for low, high in blocks):
                segment.sacked = new = True
        return new

    def lose(self) -> None:
        """After a time-out all that is not acknowledged counts as lost (RFC 6298 5, net/ipv4/tcp_input.c)."""
        for segment in self.sent:
            segment.lost = not segment.sacked

    def clear(self) -> None:
        self.octets.clear()
        self._fed = self.una
        self.sent.clear()
        self.fin = False
