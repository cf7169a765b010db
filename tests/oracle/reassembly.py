"""TCP reassembly as plainly as it can be said: one dictionary entry per octet, the first copy wins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kit.segment import ACK, Direction, Segment

FAR = 1 << 30  # further ahead than any window: not of this stream


@dataclass
class Stream:
    """One direction. Offset 0 is ISN + 1, or the first octet seen when there was no SYN."""

    known: dict[int, int] = field(default_factory=dict)  # offset -> octet
    conflicts: list[int] = field(default_factory=list)  # offsets seen with two values
    synced: bool = False  # a SYN told where offset 0 lies

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Holes with octets behind them, as (offset, length)."""
        holes: list[tuple[int, int]] = []
        expected = 0
        for offset in sorted(self.known):
            if offset > expected:
                holes.append((expected, offset - expected))
            expected = offset + 1
        return holes

    @property
    def octets(self) -> bytes:
        """Octets in a hole are zero octets; a hole of one octet counts as nothing."""
        single = {offset for offset, length in self.gaps if length == 1}
        end = max(self.known, default=-1) + 1
        return bytes(self.known.get(offset, 0) for offset in range(end) if offset not in single)


@dataclass
class Conversation:
    client: Stream
    server: Stream

    @property
    def gaps(self) -> list[dict[str, object]]:
        sides = (("client", self.client), ("server", self.server))
        return [{"direction": name, "offset": o, "length": n} for name, side in sides for o, n in side.gaps]


def unwrap(seq: int, base: int, near: int) -> int:
    """The 64-bit offset of `seq` from `base` that lies nearest to the offset `near`."""
    distance = (seq - base - near) & 0xFFFFFFFF
    return near + (distance - (1 << 32) if distance >= 1 << 31 else distance)


def find_bases(segments: list[Segment]) -> tuple[dict[Direction, int], set[Direction]]:
    """The sequence number of offset 0: from the SYN, else the peer's SYN/ACK, else the first data."""
    bases: dict[Direction, int] = {}
    for s in segments:
        if s.syn and s.direction not in bases:
            bases[s.direction] = (s.seq + 1) & 0xFFFFFFFF
    synced: set[Direction] = set(bases)
    for s in segments:
        peer: Direction = "S" if s.direction == "C" else "C"
        if s.syn and s.flags & ACK and peer not in bases:
            bases[peer] = s.ack
    for s in segments:
        if s.data and s.direction not in bases:
            bases[s.direction] = s.seq
    return bases, synced


def reassemble(segments: Iterable[Segment]) -> Conversation:
    """Both directions of one connection."""
    everything = [s for s in segments if not s.bad_checksum]
    bases, synced = find_bases(everything)
    streams: dict[Direction, Stream] = {"C": Stream(synced="C" in synced), "S": Stream(synced="S" in synced)}
    highest: dict[Direction, int] = {"C": 0, "S": 0}
    end: dict[Direction, int] = {}  # the offset of an accepted FIN or RST
    for s in everything:
        side = streams[s.direction]
        if s.direction not in bases:
            continue
        start = unwrap(s.seq + s.syn, bases[s.direction], highest[s.direction])
        if s.rst:
            # Only the exact next octet closes (a blind or stale RST does not).
            if start == highest[s.direction]:
                for one in streams:
                    end.setdefault(one, highest[one])
            continue
        if s.syn or not s.flags & ACK or start > highest[s.direction] + FAR:
            continue
        for i, octet in enumerate(s.payload):
            offset = start + i
            if offset < 0 or offset >= end.get(s.direction, 1 << 62):
                continue
            if side.known.setdefault(offset, octet) != octet:
                side.conflicts.append(offset)
            highest[s.direction] = max(highest[s.direction], offset + 1)
        behind = start + len(s.payload) + s.cut
        if s.fin and behind >= highest[s.direction]:
            end.setdefault(s.direction, behind)
    return Conversation(streams["C"], streams["S"])
