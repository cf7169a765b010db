"""What two captures of a connection have in common: one numbering of its octets, and the time that both cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from smtpinspect.diagnose.paths.streams import Side, lines
from smtpinspect.diagnose.trace import Packet, Trace, sequence
from smtpinspect.enforce.craft import SYN

LINE: Final = 8  # octets of a line that tells a place
_MODULUS: Final = 1 << 32


class Span(NamedTuple):
    """From the first to the last frame of a capture, by its own clock."""

    begin_ns: int
    end_ns: int


def delays(one: Trace, two: Trace) -> tuple[float | None, float | None]:
    """By how much the median packet of the client, and of the server, comes later to the second point; None: none is
    at both."""
    firsts: list[dict[tuple[bool, int, int], int]] = []
    for trace in (one, two):
        seen: dict[tuple[bool, int, int], int] = {}
        for packet in trace.packets:
            if packet.at is not None and (packet.length or packet.flags & SYN):
                seen.setdefault((packet.by_client, packet.at, packet.length), packet.ns)
        firsts.append(seen)
    apart: dict[bool, list[int]] = {True: [], False: []}
    for key, ns in firsts[0].items():
        if key in firsts[1]:
            apart[key[0]].append(firsts[1][key] - ns)
    return (
        median(apart[True]) if apart[True] else None,
        median(apart[False]) if apart[False] else None,
    )


@dataclass(frozen=True)
class Cover:
    """Which packets of a side each of two captures must show if they passed there. `later`: by how much they come later
    to the far point, by its clock; no span: that capture covers all.
    """

    later: int = 0
    near: Span | None = None
    far: Span | None = None

    def at_far(self, ns: int) -> bool:
        """Was the far capture running when what passed the near point then came there?"""
        return _within(self.far, ns + self.later)

    def soon_at_far(self, ns: int, within: int) -> bool:
        """Did it come there at most so long behind the far capture's last frame?"""
        return self.far is not None and self.far.begin_ns <= ns + self.later <= self.far.end_ns + within

    def at_near(self, ns: int) -> bool:
        """Was the near capture running when what came to the far point then passed there?"""
        return _within(self.near, ns - self.later)


def _within(span: Span | None, ns: int) -> bool:
    return span is None or span.begin_ns <= ns <= span.end_ns


def cover(near: Side, far: Side, ends: tuple[str, str], spans: Mapping[str, Span]) -> Cover:
    """Of the octets of one side; `ends` name both points."""
    there, back = delays(near.trace, far.trace)
    mine, other = (there, back) if near.by_client else (back, there)
    later = mine if mine is not None else other
    return Cover(int(later or 0), spans.get(ends[0]), spans.get(ends[1]))


def aligned(one: Trace, two: Trace) -> tuple[Trace, Trace, set[bool]]:
    """Both with the same numbers for the same octets, where one of them begins inside of the connection. The set names
    the sides, by `by_client`, of which that is possible."""
    known: set[bool] = set()
    for by_client in (True, False):
        shift = _shift(one, two, by_client)
        if shift is None:
            continue
        known.add(by_client)
        if shift > 0:
            two = _moved(two, by_client, shift)
        elif shift < 0:
            one = _moved(one, by_client, -shift)
    return one, two, known


def brought(first: Trace, other: Trace) -> Trace | None:
    """The other one with the numbers and the clock of the first; None where they have too little in common for that."""
    near, far, known = aligned(first, other)
    ways = [way for way in delays(near, far) if way is not None]
    if near is not first or len(known) < 2 or not ways:
        return None
    ahead = int(sum(ways) / len(ways))
    return far._replace(packets=tuple(p._replace(ns=p.ns - ahead) for p in far.packets))


def _shift(one: Trace, two: Trace, by_client: bool) -> int | None:
    """What is to be added to offsets of the second one."""
    sides = Side(one, by_client), Side(two, by_client)
    if all(_opens(side) for side in sides):
        return 0
    found = _by_numbers(*sides)
    if found is not None and _agree(*sides, found):
        return found
    told = _by_lines(*sides)
    return found if told is None else told


def _by_numbers(one: Side, two: Side) -> int | None:
    """Where the sequence numbers are the same: no box moves them by a little."""
    bases = base(one.trace, one.by_client), base(two.trace, two.by_client)
    if bases[0] is None or bases[1] is None:
        return None
    apart = (bases[1] - bases[0] + _MODULUS // 2) % _MODULUS - _MODULUS // 2
    return apart if abs(apart) <= max(one.top, two.top, one.acked, two.acked) + 2 else None


def _opens(side: Side) -> bool:
    """Are its numbers those of the connection: counted from the SYN, or from the answer to it?"""
    return any(p.flags & SYN for p in side.trace.packets)


def base(trace: Trace, by_client: bool) -> int | None:
    """The sequence number of the octet 0."""
    for p in trace.packets:
        number = p.at if p.by_client == by_client else p.acks
        raw = sequence(p.ip, acknowledged=p.by_client != by_client)
        if number is not None and raw is not None and not p.flags & SYN:
            return (raw - number) % _MODULUS
    return None


def _agree(one: Side, two: Side, shift: int) -> bool:
    """Is there a line that is the same in both?"""
    at = two.next_known(0) or 0
    for line in lines(two, at):
        if at + shift >= 0 and one.octets[at + shift : at + shift + len(line)] == line:
            return True
        at += len(line)
    return False


def _by_lines(one: Side, two: Side) -> int | None:
    """By a line that both have just once."""
    at = two.next_known(0)
    for line in lines(two, at) if at is not None else ():
        if len(line) >= LINE and one.octets.count(line) == 1 == two.octets.count(line):
            return one.octets.find(line) - two.octets.find(line)
    return None


def _moved(trace: Trace, by_client: bool, shift: int) -> Trace:
    def moved(p: Packet) -> Packet:
        if p.by_client == by_client:
            return p if p.at is None else p._replace(at=p.at + shift)
        return p if p.acks is None else p._replace(acks=p.acks + shift)

    return trace._replace(packets=tuple(moved(p) for p in trace.packets))
