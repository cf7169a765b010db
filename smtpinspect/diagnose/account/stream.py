"""One direction of a connection: what its end sent, what of it the other end acknowledged."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Final, NamedTuple

from smtpinspect.diagnose.account.habits import acknowledges
from smtpinspect.diagnose.trace import Packet, options, sequence
from smtpinspect.enforce.craft import FIN, RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.simulate.clock import SECOND

AGAIN: Final = 0.1  # seconds: no retransmission timer is shorter (Linux TCP_RTO_MIN 0.2 s)
_MODULUS: Final = 1 << 32
_SACK: Final = 5  # RFC 2018 3
_LATE_NS: Final = 5_000_000  # packets that overtake each other do so sooner


class Owed(NamedTuple):
    """Octets, or the FIN, of one side that the other never acknowledged."""

    at: int
    copies: tuple[Packet, ...]

    @property
    def repeated(self) -> bool:
        """Sent again, and not just captured twice."""
        return len(self.copies) > 1 and self.seconds >= AGAIN

    @property
    def times(self) -> int:
        """How often the first of them was sent, in segments however long; where only others were sent again, how often
        any was."""
        same = sum((p.at or 0) <= self.at < (p.end or 0) + bool(p.flags & FIN) for p in self.copies)
        return same if same > 1 else len(self.copies)

    @property
    def seconds(self) -> float:
        return (self.copies[-1].ns - self.copies[0].ns) / SECOND


@dataclass
class Stream:
    """`end`: behind the highest octet that was sent; `acked`: behind the last one that the other side acknowledged, its
    FIN counted; `sacked`: ranges behind that which it told to have. Offsets in the stream, -1 before there is one.
    Left out are SYNs, keep-alives and what an RST carries.
    """

    own: list[Packet] = field(default_factory=list)  # what its end sent itself, the SYN too
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
    probes: list[Packet] = field(default_factory=list)  # keep-alives, with an octet or without (RFC 9293 3.8.4)
    twice: list[tuple[int, int]] = field(default_factory=list)  # what the other side told to have got again (D-SACK)

    def take(self, p: Packet) -> None:
        """Count in a packet with octets, in the order of the capture."""
        at = p.at or 0
        if p.length == 1 and self.probed(p):
            return
        self.sent.append(p)
        self.tries[at] = self.tries.get(at, 0) + 1
        if at < self.end and at in self.firsts:
            self.repeated.add(at)
        elif at > self.end and len(self.holes) < limits.SACK_BLOCKS:
            self.holes.append((self.end, at))
        elif self.fills(p) and p.ns - self.sent[-2].ns > _LATE_NS:
            self.late.append(p)
        self.firsts.setdefault(at, p)
        self.end = max(self.end, at + p.length)

    def probed(self, p: Packet) -> bool:
        """Is it a keep-alive? It has the number of the last octet, which is acknowledged; so has a window's probe."""
        made = p.at is not None and p.length <= 1 and p.at + 1 == self.end <= self.acked
        if made:
            self.probes.append(p)
        return made

    def has(self, at: int, end: int) -> bool:
        """Did the other side tell that it has these octets?"""
        return end <= self.acked or any(left <= at and end <= right for left, right in self.sacked)

    def fills(self, p: Packet) -> bool:
        """Does it hold octets that those before it left out? Not so what is sent again in other pieces."""
        at = p.at or 0
        return any(at < right and at + p.length > left for left, right in self.holes)

    def holding(self, at: int) -> list[Packet]:
        """Those that carry this octet, in the order of the capture."""
        return [p for p in self.sent if (p.at or 0) <= at < (p.end or 0)]

    def carrier(self, at: int) -> Packet | None:
        """The first of these."""
        return next(iter(self.holding(at)), None)

    @property
    def reach(self) -> Packet | None:
        """The first one that counts more octets than ever came by: they were sent before it."""
        open_ = takewhile(lambda p: not p.flags & (FIN | RST), self.own)
        return next((p for p in open_ if not p.length and (p.at or 0) > self.end), None)

    @property
    def hole(self) -> tuple[int, int] | None:
        """Octets that neither the capture holds nor the other side got, with something behind them that came."""
        told = ((p, (p.at or 0) + bool(p.flags & FIN)) for p in (*self.sent, *self.closing))
        behind = [p.at or 0 for p, end in told if end > self.acked >= 0]  # a FIN that is not acknowledged is no hole
        if not behind and self.reach is not None and self.end == self.acked:
            behind = [self.reach.at or 0]
        start = min(behind, default=self.acked)
        return (self.acked, start) if start > self.acked and not self.holding(self.acked) else None

    @property
    def unseen(self) -> int:
        """Octets that the other side told to have and the capture has not."""
        through, missing = 0, 0
        for at, p in sorted(self.firsts.items()):
            if at > through:
                missing += sum(max(0, min(at, right) - max(through, left)) for left, right in self._told)
            through = max(through, at + p.length)
        return missing + max(0, self.acked - 1 - max(through, self.end)) if self.sent else 0

    @property
    def _told(self) -> list[tuple[int, int]]:
        """What it has, each octet once."""
        made = [(0, max(0, self.acked))]
        for left, right in sorted(self.sacked):
            if right > made[-1][1]:
                made.append((max(left, made[-1][1]), right))
        return made

    @property
    def last(self) -> Packet | None:
        return self.own[-1] if self.own else None

    @property
    def acknowledged(self) -> int:
        """Octets that were seen, and that the other side acknowledged; a FIN is none."""
        fin = any(p.flags & FIN and p.end == self.acked - 1 for p in self.closing)
        return max(0, min(self.acked - fin, self.end))

    @cached_property
    def owed(self) -> Owed | None:
        """What its end sent, again perhaps, and got no acknowledgment for; a FIN counts."""
        at = max(0, self.acked)
        copies: list[Packet] = []
        highest = 0
        for packet in self.own:
            if packet.at is None or packet.flags & (RST | SYN):
                continue
            end = packet.at + packet.length + (1 if packet.flags & FIN else 0)
            if packet.at <= at < end or (copies and at < end <= highest):
                copies.append(packet)  # the first of these octets, or any behind it again
            highest = max(highest, end)
        return Owed(at, tuple(copies)) if copies else None

    @cached_property
    def lost(self) -> list[Packet]:
        """What was sent and never acknowledged, each once."""
        return [p for at, p in sorted(self.firsts.items()) if not self.has(at, at + p.length)]

    def spurious(self, at: int) -> bool:
        """Had the first copy arrived, as the others were told to be too many (RFC 2883)?"""
        end = at + self.firsts[at].length
        told = sum(left <= at and end <= right for left, right in self.twice)
        return 0 < self.tries[at] - 1 <= told

    @cached_property
    def recovered(self) -> list[Packet]:
        """What came through when it was sent again; seen behind the loss, what came late."""
        again = [
            self.firsts[at] for at in sorted(self.repeated)
            if self.has(at, at + self.firsts[at].length) and not self.spurious(at)
        ]  # fmt: skip
        return sorted({p.number: p for p in (*again, *self.late)}.values(), key=lambda p: p.number)


def size_of(p: Packet) -> int:
    """Octets of its IP packet on the wire."""
    return p.length + 20 + len(p.options) + (40 if p.ip[:1] and p.ip[0] >> 4 == 6 else 20)


def half_closes(p: Packet) -> bool:
    """A FIN with the client's last octets (Exim's behind QUIT) says only that no more come: it still listens."""
    return p.by_client and bool(p.flags & FIN) and not p.flags & RST and p.length > 0


def streams(packets: Iterable[Packet], own: Container[int]) -> tuple[Stream, Stream]:
    """The client's and the server's, in one pass. `own`: numbers of the packets that the ends sent themselves; what
    others acknowledge in their names does not count."""
    ways = Stream(), Stream()
    for p in packets:
        mine, theirs = ways[not p.by_client], ways[p.by_client]
        if p.number in own:
            mine.own.append(p)
        if p.flags & SYN:
            theirs.acked = max(theirs.acked, -1 if p.acks is None else p.acks)
            continue
        if p.flags & (FIN | RST):
            mine.closing.append(p)
        if p.acks is not None and p.number in own and acknowledges(p):
            theirs.acked = max(theirs.acked, p.acks)
            _sacked(p, theirs)
        if p.length and p.at is not None and not p.flags & RST:
            mine.take(p)
        elif not p.length and not p.flags & (FIN | RST):
            mine.probed(p)
    return ways


def _sacked(p: Packet, way: Stream) -> None:
    """The blocks of an acknowledgement, as stream offsets of the other side."""
    raw = sequence(p.ip, acknowledged=True)
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
