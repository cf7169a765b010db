"""What a connection's packets tell of the path and of both ends, measured once for all tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from smtpinspect.diagnose.notices import Notice
from smtpinspect.diagnose.observe.origin import acknowledges, parted
from smtpinspect.diagnose.trace import Packet, Trace, options
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN
from smtpinspect.grammar import limits

_MODULUS: Final = 1 << 32
_SACK: Final = 5  # RFC 2018 3
_LATE_NS: Final = 5_000_000  # packets that overtake each other do so sooner


@dataclass(slots=True)
class Way:
    """One direction. `end`: behind the highest octet that was sent; `acked`: behind the last one that the other side
    acknowledged; `sacked`: ranges behind that which it told to have. Offsets in the stream, -1 before there is one.
    """

    sent: list[Packet] = field(default_factory=list)  # with octets, in the order of the capture
    closing: list[Packet] = field(default_factory=list)  # FIN and RST
    end: int = 0
    acked: int = -1
    sacked: list[tuple[int, int]] = field(default_factory=list)
    firsts: dict[int, Packet] = field(default_factory=dict)  # by stream offset: what was sent there first
    tries: dict[int, int] = field(default_factory=dict)  # and how often something began there
    repeated: set[int] = field(default_factory=set)  # where something began that had been sent before
    late: list[Packet] = field(default_factory=list)  # they fill a hole, long behind what came before them
    holes: list[tuple[int, int]] = field(default_factory=list)  # octets that were left out when those behind came
    twice: list[tuple[int, int]] = field(default_factory=list)  # what the other side told to have got again (D-SACK)
    reach: Packet | None = None  # without octets, and it counts more of them than came by: they were sent before it

    def has(self, at: int, end: int) -> bool:
        """Did the other side tell that it has these octets?"""
        return end <= self.acked or any(left <= at and end <= right for left, right in self.sacked)

    def fills(self, p: Packet) -> bool:
        """Does it hold octets that those before it left out? Not so what is sent again in other pieces."""
        at = p.at or 0
        return any(at < right and at + p.length > left for left, right in self.holes)

    @property
    def lost(self) -> list[Packet]:
        """What was sent and never acknowledged, each once."""
        return [p for at, p in sorted(self.firsts.items()) if not self.has(at, at + p.length)]

    def spurious(self, at: int) -> bool:
        """Had the first copy arrived, as the others were told to be too many (RFC 2883)?"""
        end = at + self.firsts[at].length
        told = sum(left <= at and end <= right for left, right in self.twice)
        return 0 < self.tries[at] - 1 <= told

    @property
    def recovered(self) -> list[Packet]:
        """What came through when it was sent again; seen behind the loss, what came late."""
        again = [
            self.firsts[at] for at in sorted(self.repeated)
            if self.has(at, at + self.firsts[at].length) and not self.spurious(at)
        ]  # fmt: skip
        return sorted({p.number: p for p in (*again, *self.late)}.values(), key=lambda p: p.number)


@dataclass(slots=True)
class Wire:
    """A connection. `syns` are the client's, `greeted` the server's SYN ACKs."""

    packets: tuple[Packet, ...]
    notices: tuple[Notice, ...]
    client: Way
    server: Way
    syns: list[Packet]
    greeted: list[Packet]
    merged: bool  # some segments are larger than any on the wire: the capturing host joins them

    def way(self, by_client: bool) -> Way:
        return self.client if by_client else self.server

    def after(self, ns: int, *, by_client: bool) -> list[Packet]:
        """What this side sent later than that."""
        return [p for p in self.packets if p.ns > ns and p.by_client == by_client]

    @property
    def scaled(self) -> bool:
        """Is the scale of windows known (RFC 7323 2.2)? It stands in the SYNs of both sides."""
        return bool(self.syns) and bool(self.greeted)

    @property
    def ended(self) -> Packet | None:
        """The first FIN or RST."""
        found = [*self.client.closing[:1], *self.server.closing[:1]]
        return min(found, key=lambda p: p.number, default=None)


def size_of(p: Packet) -> int:
    """Octets of its IP packet on the wire."""
    return p.length + 20 + len(p.options) + (40 if p.ip[:1] and p.ip[0] >> 4 == 6 else 20)


def measure(trace: Trace) -> Wire:
    """In one pass."""
    ways = Way(), Way()
    syns: list[Packet] = []
    greeted: list[Packet] = []
    merged = False
    own = {p.number for p in parted(trace.packets).own}
    for p in trace.packets:
        mine, theirs = ways[not p.by_client], ways[p.by_client]
        if p.flags & SYN:
            if p.flags & ACK:
                greeted.append(p)
            else:
                syns.append(p)
            if p.acks is not None:
                theirs.acked = max(theirs.acked, p.acks)
            continue
        if p.flags & (FIN | RST):
            mine.closing.append(p)
        if p.acks is not None and p.number in own and acknowledges(p):
            theirs.acked = max(theirs.acked, p.acks)
            _sacked(p, theirs)
        beyond = p.at is not None and p.at > mine.end and not mine.closing
        if beyond and not p.length and p.number in own and not p.flags & (FIN | RST):
            mine.reach = p
        if p.length and p.at is not None and not p.flags & RST:
            if p.length == 1 and p.at + 1 == mine.end and p.at < mine.acked:
                continue  # a keep-alive
            merged = merged or p.length > limits.WIRE_SEGMENT
            mine.sent.append(p)
            mine.tries[p.at] = mine.tries.get(p.at, 0) + 1
            if p.at < mine.end and p.at in mine.firsts:
                mine.repeated.add(p.at)
            elif p.at > mine.end and len(mine.holes) < limits.SACK_BLOCKS:
                mine.holes.append((mine.end, p.at))
            elif mine.fills(p) and p.ns - mine.sent[-2].ns > _LATE_NS:
                mine.late.append(p)
            mine.firsts.setdefault(p.at, p)
            mine.end = max(mine.end, p.at + p.length)
    return Wire(trace.packets, trace.notices, ways[0], ways[1], syns, greeted, merged)


def _sacked(p: Packet, way: Way) -> None:
    """The blocks of an acknowledgement, as stream offsets of the other side."""
    raw = _raw_ack(p.ip)
    if raw is None or p.acks is None:
        return
    for kind, value in options(p.options):
        for at in range(0, len(value) - 7, 8) if kind == _SACK else ():
            left = (int.from_bytes(value[at : at + 4], "big") - raw) % _MODULUS
            right = (int.from_bytes(value[at + 4 : at + 8], "big") - raw) % _MODULUS
            if left < right < _MODULUS // 2 and len(way.sacked) < limits.SACK_BLOCKS:
                way.sacked.append((p.acks + left, p.acks + right))
            elif at == 0 and left > _MODULUS // 2 and len(way.twice) < limits.SACK_BLOCKS:  # RFC 2883 4: it lies below
                way.twice.append((p.acks + left - _MODULUS, p.acks + (right or _MODULUS) - _MODULUS))


def _raw_ack(ip: bytes) -> int | None:
    """The acknowledgement number as it stands in the packet."""
    at = (ip[0] & 15) * 4 if ip[:1] and ip[0] >> 4 == 4 else 40
    return int.from_bytes(ip[at + 8 : at + 12], "big") if len(ip) >= at + 12 else None
