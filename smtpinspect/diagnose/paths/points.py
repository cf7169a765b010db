"""Captures of one path, taken at several points of it: what became of octets and packets on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from smtpinspect._core.views import Flow
from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.copies import told
from smtpinspect.diagnose.model import Case, Difference, Elsewhere
from smtpinspect.diagnose.paths import matching
from smtpinspect.diagnose.paths.shared import Cover, Span, aligned, brought, cover, delays
from smtpinspect.diagnose.paths.streams import Change, Segment, Side, changes
from smtpinspect.diagnose.trace import Packet, Trace, traces
from smtpinspect.enforce.craft import FIN, RST, SYN, timestamps
from smtpinspect.engine import PORTS, Engine
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.source import Input

EARLY_NS: Final = 5_000_000  # by which two clocks, set by the packets themselves, may still be apart
BOTH: Final = (
    "this capture shows both sides of a machine, and does not stand between two others here; diagnose it alone: it "
    "proves what that machine dropped, changed or made"
)
NOISE_NS: Final = 10_000  # of time stamps; a round trip between two machines takes longer
ENDED_NS: Final = 500_000_000  # behind the end of a capture: what was sent then met one that may have run on
FLAGS: Final[tuple[tuple[int, Literal["SYN", "FIN", "RST"]], ...]] = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"))


class Point(NamedTuple):
    """A capture, and where it was taken."""

    name: str
    source: Input


class Compared(NamedTuple):
    """What is to be noted about the captures; `unmatched`: about those that have none of the connections;
    `fault`: why one behind the first was not read to its end."""

    notes: list[str]
    fault: CaptureError | None = None
    unmatched: tuple[str, ...] = ()


def compare(cases: Sequence[Case], points: Sequence[Point], *, ports: Sequence[int] = PORTS) -> Compared:
    """Fill `differences` of cases from the first point.

    Of many connections `limits.POINT_CASES` are compared, those that failed first. Raises UsageError like Engine.run.
    """
    chosen: dict[int, Case] = {}
    for case in sorted(cases, key=lambda each: not each.failed):
        if len(chosen) < limits.POINT_CASES:
            chosen.setdefault(case.flow.flow_id, case)
    notes: list[str] = []
    fault: CaptureError | None = None
    flows = [case.flow for case in chosen.values()]
    ways: dict[int, list[tuple[str, Trace | None]]] = {flow.flow_id: [] for flow in flows}
    own, span = matching.digests(points[0].source, flows)
    spans = {points[0].name: span} if span is not None else {}
    shown: list[str] = []
    for n, point in enumerate(points):
        if n == 0:
            pairs = [matching.Pair(flow, flow, "itself") for flow in flows]
        else:
            theirs, damage = _flows(point, ports)
            notes += [f"{point.name}: {damage}"] if damage is not None else []
            fault = fault or damage
            known, span = matching.digests(point.source, theirs)
            pairs = matching.pairs(own, known)
            if span is not None:
                spans[point.name] = span
        found = traces(point.source, [pair.two for pair in pairs])
        twice = sum(each.copies for each in found.values()) if n else 0  # those of the first one stand on its page
        notes += [f"{point.name}: {told(twice, sum(len(each.packets) for each in found.values()))}"] if twice else []
        here = {pair.one.flow_id: found[pair.two.flow_id]._replace(point=point.name) for pair in pairs}
        shown += [point.name] if any(trace.packets for trace in here.values()) else []
        both = {flow_id for flow_id, trace in here.items() if trace.both is not None}
        notes += [f"{point.name}: {BOTH}"] if both else []
        for flow_id, way in ways.items():
            if flow_id not in both:
                way.append((point.name, here.get(flow_id)))
    for case in cases:
        if case.flow.flow_id in ways:
            case.differences = tuple(differences(ways[case.flow.flow_id], spans))
            case.elsewhere = dict(_behind(ways[case.flow.flow_id], spans))
    strangers = [point.name for point in points if point.name not in shown]
    unmatched = [f"{name}: none of the connections is in this capture; it shows nothing of them" for name in strangers]
    for flow in flows:
        absent = [name for name, trace in ways[flow.flow_id] if trace is None or not trace.packets]
        if absent:
            notes.append(f"{flow.client} to {flow.server}: no such connection in the capture of {', '.join(absent)}")
        notes += [f"{flow.client} to {flow.server}: {text}" for text in _outlasted(ways[flow.flow_id], spans)]
    return Compared(notes, fault, () if any(case.differences for case in cases) else tuple(unmatched))


def turned(points: Sequence[Point], *, ports: Sequence[int] = PORTS) -> bool:
    """Is the last point nearer to the clients than the first, by all connections at both that tell? Of many the first
    `limits.POINT_CASES` are asked. Raises UsageError like Engine.run."""
    one, two = points[0], points[-1]
    flows = _flows(one, ports)[0][: limits.POINT_CASES]
    ours, theirs = (matching.digests(*each)[0] for each in ((one.source, flows), (two.source, _flows(two, ports)[0])))
    found = matching.pairs(ours, theirs)
    here, there = traces(one.source, [pair.one for pair in found]), traces(two.source, [pair.two for pair in found])
    ways = [(here[pair.one.flow_id], there[pair.two.flow_id]) for pair in found]
    whole = [way for way in ways if way[0].packets and way[1].packets]
    return any(_reversed(*way) for way in whole) and not any(_reversed(far, near) for near, far in whole)


def _flows(point: Point, ports: Sequence[int]) -> tuple[list[Flow], CaptureError | None]:
    found: list[Flow] = []
    try:
        found += [record for record in Engine([], ports=ports).run(point.source) if isinstance(record, Flow)]
    except CaptureError as error:
        return found, error
    return found, None


def differences(
    way: Sequence[tuple[str, Trace | None]],
    spans: Mapping[str, Span] = MappingProxyType({}),
    *,
    one_clock: bool = False,
) -> Iterator[Difference]:
    """What differs between neighbouring points of a connection's way, in path order; None: not in that capture.

    What passed while the other capture, by its span, did not run yet, or no more, is no difference. `one_clock`: it
    is one capture, whose points are in path order.
    """
    present = [(name, trace) for name, trace in way if trace is not None and trace.packets]
    if not one_clock and len(present) > 1 and _reversed(present[0][1], present[-1][1]):
        yield from differences([*reversed(way)], spans, one_clock=one_clock)
        return
    for (one, first), (two, second) in pairwise(present):
        found: list[Difference] = []
        lost: list[Difference] = []
        near, far, known = aligned(first, second)
        for by_client in sorted(known, reverse=True):
            ends = (one, two) if by_client else (two, one)
            sides = (near, far) if by_client else (far, near)
            clock = 0.0 if one_clock else _clock(*sides)
            made = _of_side(Side(sides[0], by_client), Side(sides[1], by_client), ends, spans, clock)
            found += made[0]
            lost += made[1]
        found = [each for each in found if not _once(each, found, near, far)]
        yield from found
        if all(each.kind == "rewritten" for each in found):  # else what a box keeps back is sent again, too
            yield from lost
    names = [name for name, _ in way]
    if present and present[-1][0] != names[-1] and not _answered(present[-1][1]):
        last, seen = present[-1]
        missing = names[names.index(last) + 1]
        if missing in spans and not Cover(far=spans[missing]).at_far(seen.packets[0].ns):
            return  # it was captured at another time, or by another clock
        numbers = tuple(packet.number for packet in seen.packets if packet.by_client)[:limits.DIFFERENCE_PACKETS]
        yield Difference("dropped", (last, missing), "client", 0, near=numbers, what="connection")
        for flag, name in FLAGS[1:]:
            closing = (p.number for p in seen.packets if not p.by_client and p.flags & flag)
            forged = tuple(closing)[:limits.DIFFERENCE_PACKETS]
            if forged:
                yield Difference("injected", (missing, last), "server", 0, far=forged, what=name)


def _behind(way: Sequence[tuple[str, Trace | None]], spans: Mapping[str, Span]) -> Iterator[tuple[str, Elsewhere]]:
    """The other points, as the first one counts."""
    first = way[0][1]
    for name, trace in way[1:]:
        if first is None or trace is None or not first.packets or not trace.packets:
            continue
        made = brought(first, trace)
        if made is not None and not _reversed(first, trace):
            ahead = trace.packets[0].ns - made.packets[0].ns
            end = spans[name].end_ns if name in spans else trace.packets[-1].ns
            yield name, Elsewhere(Account(made), end - ahead)


def _once(each: Difference, found: Sequence[Difference], near: Trace, far: Trace) -> bool:
    """Octets that left once, before their receiver closed at both points: the far capture may have lost the packet."""
    if each.kind != "dropped" or each.what != "octets" or each.times > 1:
        return False
    if any(one.kind in ("injected", "withheld") for one in found):
        return False
    theirs = each.direction != "client"
    return all(any(p.by_client == theirs and p.flags & (FIN | RST) for p in trace.packets) for trace in (near, far))


def _outlasted(way: Sequence[tuple[str, Trace | None]], spans: Mapping[str, Span]) -> Iterator[str]:
    """Where the capture of one point ends before new octets pass its neighbour."""
    present = [(name, trace) for name, trace in way if trace is not None and trace.packets]
    for (one, first), (two, second) in pairwise(present):
        ahead = next((int(each) for each in delays(first, second) if each is not None), 0)
        for name, other, trace, later in ((one, two, first, ahead), (two, one, second, -ahead)):
            end = spans[other].end_ns - later if other in spans else None
            news = {(p.by_client, p.at): p for p in reversed(trace.packets) if p.length}.values()  # the first copies
            late = [p for p in news if end is not None and p.ns > end]
            if end is None or not late:
                continue
            soon = min(p.ns for p in late) <= end + ENDED_NS
            what = "taken to have run on" if soon else "what became of that, and of what follows, is not known"
            number = min(p.number for p in late)
            yield f"the capture of {other} ends before packet {number:,} of {name}: {what}"


def _answered(trace: Trace) -> bool:
    """Did the server take the connection? Then a capture without it was taken elsewhere, or at another time."""
    return any(not p.by_client and (p.flags & SYN or p.length) for p in trace.packets)


def _reversed(one: Trace, two: Trace) -> bool:
    """Is the client nearer to the second one? Then its packets have more hops left there, and the server's fewer; and
    they come there earlier, the server's later, by clocks that need not agree."""
    ttls = [_ttl(trace, by_client) for trace in (one, two) for by_client in (True, False)]
    if 0 not in ttls and ttls[0] != ttls[2] and ttls[1] != ttls[3]:
        return ttls[0] < ttls[2] and ttls[1] > ttls[3]
    there, back = delays(one, two)
    return there is not None and back is not None and back - there > NOISE_NS


def _ttl(trace: Trace, by_client: bool) -> int:
    seen = Counter(packet.ttl for packet in trace.packets if packet.by_client == by_client).most_common(1)
    return seen[0][0] if seen else 0


def _of_side(
    near: Side, far: Side, ends: tuple[str, str], spans: Mapping[str, Span], clock: float | None
) -> tuple[list[Difference], list[Difference]]:
    """What differs, and what was lost and came later."""
    both = cover(near, far, ends, spans)
    found = list(changes(near, far))
    told: list[Change] = []
    for n, change in enumerate(found):
        seen = _covered(change, near, far, both, unseen=len(told) < n)
        told += [] if seen is None else [seen]
    made = [_difference(change, near, far, ends) for change in told]
    made += _flags(near, far, ends, found, both, clock)
    return made, list(_lost(near, far, ends, both))


def _covered(change: Change, near: Side, far: Side, both: Cover, *, unseen: bool) -> Change | None:
    """The part of it that passed one point while the other capture was running. `unseen`: that was not so of others."""
    if change.kind == "rewritten":
        return change
    (a, b), (c, d) = change.near, change.far
    if change.kind == "injected":
        seen = [each for each in far.carried(c, d) if both.at_near(each.ns)]
        return change._replace(far=(max(c, seen[0].at), d)) if seen else None
    carried = near.carried(a, b)
    seen = [each for each in carried if both.at_far(each.ns)]
    if not seen:  # a connection that falls silent is often the last of its capture
        soon = carried and both.soon_at_far(carried[0].ns, ENDED_NS) and near.acked <= a
        return change if soon and not unseen else None
    return change._replace(near=(max(a, min(each.at for each in seen)), min(b, max(each.end for each in seen))))


def _difference(change: Change, near: Side, far: Side, ends: tuple[str, str]) -> Difference:
    (a, b), (c, d) = change.near, change.far
    firsts = near.carried(a, a + 1) if b > a else ()
    return Difference(
        kind=change.kind,
        between=ends,
        direction="client" if near.by_client else "server",
        at=a,
        length=max(b - a, d - c),
        before=bytes(near.octets[a : min(b, a + limits.DIFFERENCE_OCTETS)]),
        after=bytes(far.octets[c : min(d, c + limits.DIFFERENCE_OCTETS)]),
        near=_numbers(near.carried(a, b)),
        far=_numbers(far.carried(c, d)),
        first=max((min(each.end, b) for each in firsts), default=a) - a,
        times=len(firsts),
    )


def _numbers(segments: Sequence[Segment]) -> tuple[int, ...]:
    return tuple(each.number for each in segments[:limits.DIFFERENCE_PACKETS])


def _clock(near: Trace, far: Trace) -> float | None:
    """How far the clock of the far point is ahead: between the median ways there and back; None: nothing is at both."""
    ways = [way for way in delays(near, far) if way is not None]
    return sum(ways) / len(ways) if ways else None


def _flags(
    near: Side, far: Side, ends: tuple[str, str], found: Sequence[Change], covered: Cover, clock: float | None
) -> Iterator[Difference]:
    """SYN, FIN and RST that are at one point only."""
    carried = _carried_on(near, far)
    for flag, name in FLAGS:
        left, right = (
            [p for p in side.trace.packets if p.by_client == side.by_client and p.flags & flag] for side in (near, far)
        )
        came: list[Packet] = []
        both = 0
        for packet in right:
            match = next((one for one in left if _copy(one, packet, clock, _moved(one.end, found, near, far))), None)
            if match is None and flag == FIN:  # behind octets that were kept back it has another place
                early = EARLY_NS if carried else 0
                match = next((one for one in left if clock is None or one.ns - early <= packet.ns - clock), None)
            if match is None and carried and flag != SYN and _closed_before(near, packet, clock):
                continue
            if match is None:
                came.append(packet)
            else:
                left.remove(match)
                both += 1
        came = [packet for packet in came if covered.at_near(packet.ns)]
        left = [packet for packet in left if covered.at_far(packet.ns) and not (carried and flag != SYN)]
        direction: Literal["client", "server"] = "client" if near.by_client else "server"
        if flag == SYN and came + left and _goes_on(near) and _goes_on(far):
            continue  # one capture has it not, the connection has
        if came and (flag == RST or not both) and not (flag == FIN and _acked(near, came[0])):
            numbers = tuple(p.number for p in came[:limits.DIFFERENCE_PACKETS])
            yield Difference("injected", ends, direction, came[0].end or 0, far=numbers, what=name)
        if left and not both and not (flag == FIN and _acked(near, left[0])):
            numbers = tuple(p.number for p in left[:limits.DIFFERENCE_PACKETS])
            yield Difference("dropped", ends, direction, left[0].end or 0, near=numbers, what=name)


def _carried_on(near: Side, far: Side) -> bool:
    """Is what comes to the far point of another TCP than this end's: a proxy's, with time stamps of its own?"""
    left, right = (
        {stamps[0] for p in side.trace.packets if p.by_client == side.by_client and (stamps := timestamps(p.options))}
        for side in (near, far)
    )
    return bool(left) and bool(right) and not left & right


def _closed_before(near: Side, packet: Packet, clock: float | None) -> bool:
    """Had this end closed by then, in whatever way? A proxy ends its other half as it can."""
    closing = (p for p in near.trace.packets if p.by_client == near.by_client and p.flags & (FIN | RST))
    return any(clock is None or p.ns - EARLY_NS <= packet.ns - clock for p in closing)


def _goes_on(side: Side) -> bool:
    """Has this side sent more than a SYN?"""
    return any(p.by_client == side.by_client and not p.flags & SYN for p in side.trace.packets)


def _acked(side: Side, fin: Packet) -> bool:
    """Has the other end's acknowledgement of this FIN come to where it was sent from?"""
    return fin.end == side.top and any(p.acks is not None and p.acks > side.top for p in _answers(side))


def _answers(side: Side) -> list[Packet]:
    return [packet for packet in side.trace.packets if packet.by_client != side.by_client]


def _copy(one: Packet, two: Packet, clock: float | None, end: int | None) -> bool:
    """May the second one be the first one, further on? A box that forges does not know the sender's time stamps."""
    late = clock is None or two.ns - clock >= one.ns - EARLY_NS
    return late and end == two.end and timestamps(one.options) == timestamps(two.options)


def _moved(at: int | None, found: Sequence[Change], near: Side, far: Side) -> int | None:
    """The far point's offset of one of the near point: octets that are left out, or put in, move what is behind."""
    for change in found if at is not None else ():
        (a, b), (c, d) = change.near, change.far
        goes_on = near.top > b if a == b else far.top > d
        if at is not None and b <= at and goes_on and change.kind != "dropped":
            at += (d - c) - (b - a)
    return at


def _lost(near: Side, far: Side, ends: tuple[str, str], both: Cover) -> Iterator[Difference]:
    """Segments of which not all copies arrived, although one did."""
    sent = Counter((each.at, each.end) for each in near.segments if both.at_far(each.ns))
    came = Counter((each.at, each.end) for each in far.segments)
    missing = [key for key, times in sent.items() if 0 < came[key] < times]
    if missing:
        first = min(missing)
        yield Difference(
            "lost", ends, "client" if near.by_client else "server", first[0],
            length=sum(sent[key] - came[key] for key in missing),
            near=_numbers(near.carried(*first)), far=_numbers(far.carried(*first)),
        )  # fmt: skip
