"""A capture taken on a router, or of both sides of a box: what came in and never went out, and what came out changed.

Both sides become two points of the path. Of these two the clock is the same, and the capture itself shows whether it
holds both: packets of each end on each side, no octet missing that was acknowledged, no packet that the kernel says to
have dropped. Where it does not show that, or ends too soon, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from smtpinspect.diagnose import taps
from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.model import Case, Difference, Elsewhere
from smtpinspect.diagnose.paths.points import differences
from smtpinspect.diagnose.paths.shared import Span, base
from smtpinspect.diagnose.paths.streams import Side
from smtpinspect.diagnose.paths.translated import twice
from smtpinspect.diagnose.trace import Packet, Trace, parted
from smtpinspect.enforce.craft import FIN, RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.source import Input
from smtpinspect.source.again import frames_again
from smtpinspect.source.lost import lost_by_kernel

OFTEN: Final = 4  # times that it came in, where the capture may have missed packets as they went out
RARE: Final = 10  # packets on both sides for each that the capture may have missed
LOSSES: Final = 8  # packets that came in only, while none went out only: the capture has not missed them
BEHIND_NS: Final = 1_000_000_000  # that a capture must go on behind what did not come out
SLOWER: Final = 10  # times as long as any packet took to come out


class Found(NamedTuple):
    """`notes`: about the capture; `again`: cases that are the other side of one that is told; `moved`: connections (by
    flow_id) whose sides have not the same octets, so that they cannot be read as one."""

    notes: list[str]
    again: list[Case]
    moved: set[int]


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
        found = case.trace.both if case.trace is not None else None
        if found is not None:
            wanted[number] = case.flow, found
    joined, notes = twice([*chosen.values()])
    if not wanted and not joined:
        return Found(notes, [], set())
    span = _span(source)
    lost = lost_by_kernel(source)
    notes += [f"the kernel dropped {lost:,} packets of this capture: what did not come out is not told"] if lost else []
    views = {
        number: _Pass(*both, wanted[number][1]) for number, both in (parted(source, wanted) if wanted else {}).items()
    }
    again: list[Case] = []
    for case, other, sides, why in joined:
        if case.trace is not None and other.trace is not None:
            views[case.flow.flow_id] = _Pass(case.trace, other.trace, sides)
            case.other = other.flow
            again += [each for each in cases if each.flow.flow_id == other.flow.flow_id]
            notes.append(
                f"{other.flow.client} to {other.flow.server} is {case.flow.client} to {case.flow.server} on the other "
                f"side of {sides.what}, {why}: it is told once"
            )
    moved = set()
    for case in cases:
        if case.flow.flow_id in views and _fill(case, views[case.flow.flow_id], span, whole=not lost):
            moved.add(case.flow.flow_id)
    return Found(notes, again, moved - {each.case.flow.flow_id for each in joined})


def _fill(case: Case, both: _Pass, span: Span, *, whole: bool) -> bool:
    """Have the sides other octets, or other numbers of them?"""
    if case.trace is None:
        return False
    seen = _Both(both, span)
    way = [(name, trace) for name, trace in zip(both.sides.names, both[:2], strict=True)]
    found = [*differences(way, one_clock=True)]
    when = {packet.number: packet.ns for trace in both[:2] for packet in trace.packets}
    case.differences = tuple(
        each._replace(here=both.sides.what, ns=(min(times), max(times)))
        for each in (seen.told(found) if whole else ())
        if (times := [when[number] for number in (*each.near, *each.far) if number in when])
    )
    if not seen.whole:
        return False
    client = both.client._replace(
        sides=both.sides.names, copies=len(both.server.packets), notices=case.trace.notices, taps=case.trace.taps
    )
    case.account = Account(client)
    case.elsewhere = {both.sides.names[1]: Elsewhere(Account(both.server), span.end_ns)}
    other = any(each.what == "octets" and each.kind in ("injected", "withheld", "rewritten") for each in found)
    unheard = any(each.kind == "dropped" and each.direction == "server" for each in found)
    return other or unheard or any(base(both.client, each) != base(both.server, each) for each in (True, False))


class _Both:
    """Both sides of a connection, and what they are good for."""

    def __init__(self, both: _Pass, span: Span) -> None:
        self.span = span
        self.near = {True: both.client, False: both.server}  # by `by_client`: where its packets come in
        self.far = {True: both.server, False: both.client}
        self.pairs = {each: self._pairs(each) for each in (True, False)}
        self.missed = self._missed()
        least = 1 if both.sides.what == taps.MACHINE else taps.ENOUGH
        counts = [len(pairs) for pairs in self.pairs.values()]
        enough = min(counts) >= least and sum(counts) >= taps.HANDSHAKE
        opened = [_opened(both.client), _opened(both.server)]
        same = opened[0] == opened[1] and len(opened[0]) != 1
        holes = sum(_holes(Side(trace, each), trace) for trace in both[:2] for each in (True, False))
        self.whole = enough and same and not holes and not both.sides.order
        self.nearly = enough and same and RARE * holes <= sum(map(len, self.pairs.values()))

    def _pairs(self, by_client: bool) -> list[tuple[Packet, Packet]]:
        """Packets as they came in, and as they went out."""
        out: dict[tuple[object, ...], Packet] = {}
        for packet in self.far[by_client].packets:
            if packet.by_client == by_client:
                out.setdefault(_look(packet), packet)
        came = (packet for packet in self.near[by_client].packets if packet.by_client == by_client)
        return [(packet, out[look]) for packet in came if (look := _look(packet)) in out]

    def _missed(self) -> bool:
        """Did anything but the end of a connection go out that had not come in?"""
        for by_client, trace in self.far.items():
            came = {_look(packet) for packet in self.near[by_client].packets if packet.by_client == by_client}
            for packet in trace.packets:
                if packet.by_client == by_client and not packet.flags & (RST | FIN) and _look(packet) not in came:
                    return True
        return False

    def told(self, every: Sequence[Difference]) -> list[Difference]:
        """Those that this capture can prove."""
        if not self.whole:
            return [each for each in every if self.nearly and each.kind == "dropped" and self._kept_here(each)]
        sure = [each for each in every if each.kind == "rewritten"]
        ends = [each for each in every if each.kind == "injected" and each.what in ("RST", "FIN")]
        forged = [each for each in ends if self._forged(each)]
        forged = [each for each in ends if forged and self._out(each) is not None]  # who makes one makes both
        gone = (each for each in every if each.kind in ("dropped", "withheld"))
        kept = [each for each in gone if self._kept_here(each, forged=bool(forged))]
        silent = any(each.direction == "client" for each in kept)
        made = [each for each in every if each.kind == "injected" and self._made_here(each, silent)]
        lost = [each for each in every if each.kind == "lost" and self._lost_here(each)]
        found = sorted([*sure, *forged, *kept, *made, *lost], key=every.index)
        return sorted(found, key=lambda each: each.what != "octets" and each.direction == "client")

    def _of(self, each: Difference) -> list[tuple[Packet, Packet]]:
        return self.pairs[each.direction == "client"]

    def _before(self, number: int) -> bool:
        """Were packets of both ends on both sides before? That there are enough in all is known."""
        return all(any(came.number < number for came, _ in pairs) for pairs in self.pairs.values())

    def _kept_here(self, each: Difference, *, forged: bool = False) -> bool:
        """Did octets come in, again perhaps, and would have come out before the capture ended? What came in once only
        may have been missed by the capture as it went out, unless an end of the connection was made here, or what
        went out later does not count it."""
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
        out = Side(self.far[each.direction == "client"], each.direction == "client")
        if each.kind == "withheld" and not forged:  # while a proxy waits for the receiver it keeps nothing back
            return out.acked >= out.top and self._went_on(sent[0], out)
        if forged:
            return sent[0].ns <= self.span.end_ns - SLOWER * slowest
        enough = OFTEN if self.missed or not self.whole else 2
        return len(sent) >= enough and sent[enough - 1].ns <= soon

    @staticmethod
    def _went_on(first: Packet, out: Side) -> bool:
        """Do all numbers of what went out later tell that there was nothing between?"""
        later = [p.at for p in out.trace.packets if p.by_client == first.by_client and p.ns > first.ns]
        ended = any(p.by_client == first.by_client and p.flags & FIN for p in out.trace.packets)
        return bool(later) and all(at is not None and at <= out.top + ended for at in later)

    def _out(self, each: Difference) -> Packet | None:
        """What went out and had not come in, behind what did."""
        out = {packet.number: packet for packet in self.far[each.direction == "client"].packets}
        packet = out.get(each.far[0]) if each.far else None
        return packet if packet is not None and self._before(packet.number) else None

    def _own_hops(self, packet: Packet) -> bool:
        """Has it not the TTL of all that goes out?"""
        return packet.ttl not in {gone.ttl for _, gone in self.pairs[packet.by_client]}

    def _forged(self, each: Difference) -> bool:
        """An RST or FIN with other hops, or behind which its sender goes on: none that the capture missed as it came
        in."""
        packet = self._out(each)
        if packet is None:
            return False
        mine = (one for one in self.near[packet.by_client].packets if one.by_client == packet.by_client)
        return self._own_hops(packet) or any(one.ns > packet.ns and one.length and not one.flags & RST for one in mine)

    def _made_here(self, each: Difference, silent: bool) -> bool:
        """Octets with other hops, or of a server that did not get what they answer (`silent`)."""
        packet = self._out(each)
        answers = silent and each.direction == "server"
        return each.what == "octets" and packet is not None and (answers or self._own_hops(packet))

    def _lost_here(self, each: Difference) -> bool:
        """Are there too many for a capture that missed some? That would have missed some of what came in, too. Who
        merges or parts segments loses none."""
        by_client = each.direction == "client"
        borders = [
            {(one.at, one.end) for one in Side(trace, by_client).segments}
            for trace in (self.near[by_client], self.far[by_client])
        ]
        return borders[1] <= borders[0] and each.length >= LOSSES and not self.missed

def _look(packet: Packet) -> tuple[object, ...]:
    """Octets that are put in or left out move the numbers of what is behind them, so data are known by themselves."""
    if packet.length:
        return packet.length, packet.payload
    return packet.at, packet.acks, packet.flags & (SYN | FIN | RST)


def _opened(trace: Trace) -> set[bool]:
    """Whose SYN is there?"""
    return {packet.by_client for packet in trace.packets if packet.flags & SYN}


def _holes(side: Side, trace: Trace) -> int:
    """How often something is missing that the other end acknowledged. Of a long connection that is not asked."""
    if trace.left_out or not side.segments:
        return 0
    begins = any(p.by_client == side.by_client and p.flags & SYN for p in trace.packets)
    through = 0 if begins else min(each.at for each in side.segments)
    found = 0
    for each in sorted(side.segments):
        found += each.at > through and side.acked > through
        through = max(through, each.end)
    return found + (side.acked > through)


def _span(source: Input) -> Span:
    begin: int | None = None
    end = 0
    for ns, _, _, _ in frames_again(source):
        begin = ns if begin is None else begin
        end = max(end, ns)
    return Span(begin or 0, end)
