"""A connection that a capture of both sides of a machine holds as two: its addresses are translated there, or a proxy
carries it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpinspect.diagnose import taps
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.paths.matching import NEAR_NS, Digest
from smtpinspect.diagnose.trace import Trace
from smtpinspect.enforce.craft import ACK, SYN
from smtpinspect.grammar import limits
from smtpinspect.simulate.flow import ends as ends_of

TRANSLATED, CARRIED = "where its addresses are translated", "where a proxy carries it on"


class Twice(NamedTuple):
    """`case` is on the client's side, `other` on the server's; `why` they are two."""

    case: Case
    other: Case
    sides: taps.Sides
    why: str


class _Seen(NamedTuple):
    """`ns`: when its first SYN was seen, `number` that of the client's; `side`: as `Taps.side` has it."""

    case: Case
    trace: Trace
    number: int
    ns: int
    side: tuple[bool, int] | None
    said: set[int]  # what a connection is known by, where it is asked for


def twice(cases: Sequence[Case]) -> tuple[list[Twice], list[str]]:
    """Those that were found to be the same, and what is to be said of others that seem so. One case of each connection
    is wanted."""
    sides = {case.trace.taps.side() for case in cases if case.trace is not None and case.trace.taps is not None}
    both = len({side[0] for side in sides if side is not None}) > 1
    seen = (_seen(case, case.trace, said=both) for case in cases if case.trace is not None)
    found = [each for each in seen if each is not None]
    made = [*_translated(found)]
    taken = {each.flow.flow_id for pair in made for each in (pair.case, pair.other)}
    left = [seen for seen in found if seen.case.flow.flow_id not in taken]
    carried, notes = [], []
    for one in left:
        same = [two for two in left if _beside(one, two)]
        alike = [two for two in same if _carries(one, two)]
        if len(alike) == 1 and sum(_beside(each, alike[0]) and _carries(each, alike[0]) for each in left) == 1:
            between = _sides(one, alike[0])
            carried += [Twice(one.case, alike[0].case, between, CARRIED)] if between is not None else []
        elif same and one.case.failed:
            pairs = f"{_ends(one)} and {_ends(same[0])}"
            notes.append(
                f"{pairs} seem to be the same mail on both sides of {taps.MACHINE}, which relays it: they are not "
                "compared, and whether something was kept back there its own log tells"
            )
    return [*made, *carried], notes


def _seen(case: Case, trace: Trace, *, said: bool) -> _Seen | None:
    first = trace.packets[0] if trace.packets else None
    if first is None or not first.by_client or not first.flags & SYN or first.flags & ACK:
        return None
    head = (first.ip[0] & 15) * 4 if first.ip[:1] and first.ip[0] >> 4 == 4 else 40
    digest = Digest(case.flow)
    for packet in trace.packets if said else ():
        if packet.payload:
            digest.feed(packet.by_client, packet.flags & ~SYN, 0, packet.payload)
    number = int.from_bytes(first.ip[head + 4 : head + 8], "big")
    return _Seen(case, trace, number, first.ns, trace.taps.side() if trace.taps is not None else None, digest.said)


def _translated(found: Sequence[_Seen]) -> Iterator[Twice]:
    """The same SYN with other addresses, at the same time."""
    known: dict[int, _Seen] = {}
    for seen in found:
        other = known.pop(seen.number, None)
        ends = ends_of(seen.case.flow)
        if other is not None and abs(seen.ns - other.ns) <= limits.COPY_NS and ends != ends_of(other.case.flow):
            one, two = sorted((seen, other), key=lambda each: (each.side is not None and not each.side[0], each.ns))
            between = _sides(one, two)
            if between is not None:
                yield Twice(one.case, two.case, between, TRANSLATED)
                continue
        known[seen.number] = seen


def _sides(one: _Seen, two: _Seen) -> taps.Sides | None:
    """The client's side first; None: cooked headers say something else."""
    if one.side is None and two.side is None:
        return taps.Sides()
    if one.side is None or two.side is None or not one.side[0] or two.side[0]:
        return None
    return taps.Sides(taps.named(one.side[1], two.side[1]), taps.MACHINE)


def _beside(one: _Seen, two: _Seen) -> bool:
    """Is that on this machine's other side, while this goes on, and has it one of its envelopes?"""
    if one.side is None or two.side is None or not one.side[0] or two.side[0]:
        return False
    within = one.ns <= two.ns <= one.trace.packets[-1].ns
    return within and len(one.said & two.said) > 1


def _carries(one: _Seen, two: _Seen) -> bool:
    """Does each say nothing but what the other says, from the begin on?"""
    return two.ns - one.ns <= NEAR_NS and (one.said <= two.said or two.said <= one.said)


def _ends(seen: _Seen) -> str:
    return f"{seen.case.flow.client} to {seen.case.flow.server}"
