"""A capture taken on a router, or of both sides of a box: what came in and never went out, and what came out changed.

Both sides become two points of the path. Of these two the clock is the same, and the capture itself shows whether it
holds both: packets of each end on each side, no octet missing that was acknowledged, no packet that the kernel says to
have dropped. Where it does not show that, or ends too soon, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from smtpinspect.diagnose import taps
from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.model import Case, Difference
from smtpinspect.diagnose.paths.points import differences
from smtpinspect.diagnose.paths.shared import Span
from smtpinspect.diagnose.paths.streams import Side
from smtpinspect.diagnose.trace import Packet, Trace, parted
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.source import Input
from smtpinspect.source.again import frames_again
from smtpinspect.source.lost import lost_by_kernel

BEHIND_NS: Final = 1_000_000_000  # that a capture must go on behind what did not come out
SLOWER: Final = 10  # times as long as any packet took to come out


class Found(NamedTuple):
    """`notes`: about the capture; `again`: cases that are the other side of one that is told."""

    notes: list[str]
    again: list[Case]


class _Pass(NamedTuple):
    """A connection on both sides of a machine."""

    client: Trace
    server: Trace
    sides: taps.Sides


def part(cases: Sequence[Case], source: Input) -> Found:
    """Fill `trace` and `differences` of cases whose connections are in the capture on both sides of a machine; of many
    `limits.POINT_CASES`, those that failed first."""
    chosen: dict[int, Case] = {}
    for case in sorted(cases, key=lambda each: not each.failed):
        if case.trace is not None and len(chosen) < limits.POINT_CASES:
            chosen.setdefault(case.flow.flow_id, case)
    wanted = {}
    for number, case in chosen.items():
        found = case.trace.taps.sides() if case.trace is not None and case.trace.taps is not None else None
        if found is not None:
            wanted[number] = case.flow, found
    joined = [*_translated([*chosen.values()])]
    if not wanted and not joined:
        return Found([], [])
    span = _span(source)
    lost = lost_by_kernel(source)
    notes = [f"the kernel dropped {lost:,} packets of this capture: what did not come out is not told"] if lost else []
    views = {
        number: _Pass(*both, wanted[number][1]) for number, both in (parted(source, wanted) if wanted else {}).items()
    }
    again: list[Case] = []
    for case, other, sides in joined:
        if case.trace is not None and other.trace is not None:
            views[case.flow.flow_id] = _Pass(case.trace, other.trace, sides)
            again += [each for each in cases if each.flow.flow_id == other.flow.flow_id]
            notes.append(
                f"{other.flow.client} to {other.flow.server} is {case.flow.client} to {case.flow.server} on the other "
                f"side of {sides.what}, where addresses are translated: it is told once"
            )
    for case in cases:
        if case.flow.flow_id in views:
            _fill(case, views[case.flow.flow_id], span, whole=not lost)
    return Found(notes, again)


def _fill(case: Case, both: _Pass, span: Span, *, whole: bool) -> None:
    if case.trace is None:
        return
    seen = _Both(both, span)
    way = [(name, trace) for name, trace in zip(both.sides.names, both[:2], strict=True)]
    told = [*seen.told(differences(way), whole=whole)]
    case.differences = tuple(each._replace(here=both.sides.what) for each in told)
    if seen.whole:
        client = both.client._replace(
            sides=both.sides.names, copies=len(both.server.packets), notices=case.trace.notices, taps=case.trace.taps
        )
        case.account = Account(client)


class _Both:
    """Both sides of a connection, and what they are good for."""

    def __init__(self, both: _Pass, span: Span) -> None:
        self.span = span
        self.near = {True: both.client, False: both.server}  # by `by_client`: where its packets come in
        self.far = {True: both.server, False: both.client}
        self.pairs = {each: self._pairs(each) for each in (True, False)}
        enough = all(len(pairs) >= taps.ENOUGH for pairs in self.pairs.values())
        self.whole = enough and not any(
            _holes(Side(trace, each), trace) for trace in (both.client, both.server) for each in (True, False)
        )

    def _pairs(self, by_client: bool) -> list[tuple[Packet, Packet]]:
        """Packets as they came in, and as they went out."""
        out: dict[tuple[object, ...], Packet] = {}
        for packet in self.far[by_client].packets:
            if packet.by_client == by_client:
                out.setdefault(_look(packet), packet)
        came = (packet for packet in self.near[by_client].packets if packet.by_client == by_client)
        return [(packet, out[look]) for packet in came if (look := _look(packet)) in out]

    def told(self, found: Iterator[Difference], *, whole: bool) -> list[Difference]:
        """Those that this capture can prove. `whole`: nobody says that packets are missing."""
        every = [*found]
        sure = [each for each in every if each.kind == "rewritten" and len(self._of(each)) >= taps.ENOUGH]
        if not self.whole or not whole:
            return sure
        sure += [each for each in every if each.kind == "injected" and self._made_here(each)]
        forged = any(each.what != "octets" for each in sure)
        sure += [each for each in every if each.kind in ("dropped", "withheld") and self._kept_here(each, forged)]
        sure += [each for each in every if each.kind == "lost" and self._same_borders(each)]
        return sorted(sure, key=every.index)

    def _of(self, each: Difference) -> list[tuple[Packet, Packet]]:
        return self.pairs[each.direction == "client"]

    def _before(self, number: int) -> bool:
        """Were there enough packets of both ends on both sides before?"""
        return all(sum(came.number < number for came, _ in pairs) >= taps.ENOUGH for pairs in self.pairs.values())

    def _kept_here(self, each: Difference, forged: bool) -> bool:
        """Did octets come in, again perhaps, and would have come out before the capture ended? What came in once only
        may have been missed by the capture, unless an end of the connection was made here."""
        if each.what != "octets":
            return False
        sent = [
            packet for packet in self.near[each.direction == "client"].packets
            if packet.by_client == (each.direction == "client") and packet.length
            and packet.at is not None and packet.at <= each.at < packet.at + packet.length
        ]  # fmt: skip
        if not sent or not self._before(sent[0].number):
            return False
        slowest = max((out.ns - came.ns for came, out in self._of(each)), default=0)
        soon = self.span.end_ns - max(BEHIND_NS, SLOWER * slowest)
        if each.kind == "withheld" or forged:
            return sent[0].ns <= (self.span.end_ns - SLOWER * slowest if forged else soon)
        return len(sent) > 1 and sent[1].ns <= soon

    def _made_here(self, each: Difference) -> bool:
        """Octets that its sender never sent; an RST or FIN with other hops, or behind which its sender goes on."""
        by_client = each.direction == "client"
        out = {packet.number: packet for packet in self.far[by_client].packets}
        packet = out.get(each.far[0]) if each.far else None
        if packet is None or not self._before(packet.number):
            return False
        if each.what == "octets":
            return True
        usual = {gone.ttl for _, gone in self.pairs[by_client]}
        mine = (one for one in self.near[by_client].packets if one.by_client == by_client)
        goes_on = any(one.ns > packet.ns and not one.flags & RST and one.length for one in mine)
        return each.what in ("RST", "FIN") and (packet.ttl not in usual or goes_on)

    def _same_borders(self, each: Difference) -> bool:
        """Did nobody merge or part segments? Then each one that is missing was lost."""
        by_client = each.direction == "client"
        borders = [
            {(one.at, one.end) for one in Side(trace, by_client).segments}
            for trace in (self.near[by_client], self.far[by_client])
        ]
        return borders[1] <= borders[0] and bool(each.near) and self._before(each.near[0])


def _look(packet: Packet) -> tuple[object, ...]:
    acks = None if packet.length else packet.acks
    return packet.at, packet.length, packet.flags & (SYN | FIN | RST), acks


def _holes(side: Side, trace: Trace) -> bool:
    """Is something missing that the other end acknowledged? Of a long connection that is not asked."""
    if trace.left_out or not side.segments:
        return False
    begins = any(p.by_client == side.by_client and p.flags & SYN for p in trace.packets)
    through = 0 if begins else min(each.at for each in side.segments)
    for each in sorted(side.segments):
        if each.at > through and side.acked > through:
            return True
        through = max(through, each.end)
    return side.acked > through


def _begun(trace: Trace) -> dict[bool, tuple[int, int]]:
    """Sequence number and time of each side's first SYN."""
    found: dict[bool, tuple[int, int]] = {}
    for packet in trace.packets[:limits.TRACE_FEW]:
        if packet.flags & SYN and bool(packet.flags & ACK) != packet.by_client and packet.by_client not in found:
            head = (packet.ip[0] & 15) * 4 if packet.ip[:1] and packet.ip[0] >> 4 == 4 else 40
            found[packet.by_client] = int.from_bytes(packet.ip[head + 4 : head + 8], "big"), packet.ns
    return found


def _translated(cases: Sequence[Case]) -> Iterator[tuple[Case, Case, taps.Sides]]:
    """Cases of one connection whose addresses a machine translates, the client's side first: the same SYN, at the same
    time."""
    known: dict[int, list[tuple[Case, int]]] = {}
    taken: set[int] = set()
    for case in cases:
        if case.trace is None or True not in (begun := _begun(case.trace)):
            continue
        number, ns = begun[True]
        near = known.setdefault(number, [])
        for other, when in near:
            if abs(ns - when) <= limits.COPY_NS and not {case.flow.flow_id, other.flow.flow_id} & taken:
                told = _ordered((other, when), (case, ns))
                if told is not None:
                    taken |= {case.flow.flow_id, other.flow.flow_id}
                    yield told
                    break
        near.append((case, ns))


def _ordered(one: tuple[Case, int], two: tuple[Case, int]) -> tuple[Case, Case, taps.Sides] | None:
    """Which of both is the client's side: by the cooked headers, else by time; None where these contradict."""
    first, second = (each[0] for each in sorted((one, two), key=lambda each: each[1]))
    seen = [case.trace.taps.side() if case.trace and case.trace.taps else None for case in (first, second)]
    if seen[0] is None or seen[1] is None:
        return (first, second, taps.Sides()) if seen == [None, None] else None
    if not seen[0][0]:
        first, second, seen = second, first, seen[::-1]
    if not seen[0] or not seen[1] or not seen[0][0] or seen[1][0]:
        return None
    return first, second, taps.Sides(taps.named(seen[0][1], seen[1][1]), taps.MACHINE)


def _span(source: Input) -> Span:
    begin: int | None = None
    end = 0
    for ns, _, _, _ in frames_again(source):
        begin = ns if begin is None else begin
        end = max(end, ns)
    return Span(begin or 0, end)
