"""On which side of a machine its packets were captured: by what a cooked header says, by the link, or by the hops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Final, NamedTuple

from smtpinspect.grammar import limits

ETHERNET, SLL, SLL2 = 1, 113, 276  # link types
OUTGOING: Final = 4  # packet type of a frame that this machine sends (LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2)
TAGS: Final = (b"\x81\x00", b"\x88\xa8")  # of VLANs: IEEE 802.1Q, 802.1ad
ENOUGH: Final = 2  # packets of each end on each side, where no header says which that is: one may be so by chance
HANDSHAKE: Final = 3  # packets that are on both sides, where one says it
MACHINE: Final = "the machine where this was captured"
BOX: Final = "the box of which this capture shows both sides"
UNNAMED: Final = ("the client's side", "the server's side")


class Tap(NamedTuple):
    """Where a frame was seen. `incoming`: None where its header does not say. `interface`: 0 where it is not told;
    `wire`: of Ethernet what is the same for both directions of a link."""

    incoming: bool | None = None
    interface: int = 0
    wire: bytes = b""


def tap(link: int, frame: bytes) -> Tap:
    """Where a frame of this link type was seen, as far as its link header tells."""
    if link == SLL2 and len(frame) >= 20:
        return Tap(frame[10] != OUTGOING, int.from_bytes(frame[4:8], "big"))
    if link == SLL and len(frame) >= 16:
        return Tap(frame[:2] != bytes((0, OUTGOING)))
    if link == ETHERNET:
        at = 12
        while frame[at : at + 2] in TAGS:
            at += 4
        return Tap(wire=b"".join(sorted((frame[:6], frame[6:12]))) + frame[12:at])
    return Tap()


class Sides(NamedTuple):
    """How packets are told to have been on the client's side of a machine, or on the server's. `names` of these; `what`
    lies between. `wires`, `hops`: by wire, or by sender and TTL, whether that is the client's side; `order`: only
    which of two copies came first tells.
    """

    names: tuple[str, str] = UNNAMED
    what: str = BOX
    wires: Mapping[bytes, bool] = MappingProxyType({})
    hops: Mapping[tuple[bool, int], bool] = MappingProxyType({})
    order: bool = False

    def of(self, seen: Tap, by_client: bool, ttl: int) -> bool | None:
        """Was it seen on the client's side? None: that cannot be told."""
        if seen.incoming is not None:
            return seen.incoming == by_client
        return self.wires.get(seen.wire) if self.wires else self.hops.get((by_client, ttl))


class Taps:
    """The places where packets of a connection were seen, each with their number and the first of them."""

    def __init__(self) -> None:
        self.seen: dict[tuple[Tap, bool, int], list[int]] = {}  # tap, sender, TTL: how many, number of the first

    def add(self, seen: Tap, by_client: bool, ttl: int, number: int) -> None:
        known = self.seen.get((seen, by_client, ttl))
        if known is not None:
            known[0] += 1
        elif len(self.seen) < limits.TAPS:
            self.seen[seen, by_client, ttl] = [1, number]

    def sides(self) -> Sides | None:
        """How both sides can be told apart; None: each end's packets were not seen on both."""
        if any(seen.incoming is not None for seen, _, _ in self.seen):
            known = Counter[tuple[bool, bool]]()
            for (seen, by_client, _), (times, _) in self.seen.items():
                known[by_client, seen.incoming == by_client] += times
            whole = all(known[one, two] for one, two in product((True, False), (True, False)))
            return Sides(self.names(), MACHINE) if whole else None
        return self._by_wire() or self._by_hops()

    @property
    def plain(self) -> bool:
        """Is it one link, or none that is told?"""
        return len({seen for seen, _, _ in self.seen}) == 1 and all(seen.incoming is None for seen, _, _ in self.seen)

    def names(self) -> tuple[str, str]:
        """Those of the interfaces by which most came and went."""
        most: list[int] = []
        for client in (True, False):
            found = Counter[int]()
            for (seen, by_client, _), (times, _) in self.seen.items():
                if seen.incoming is not None and (seen.incoming == by_client) == client:
                    found[seen.interface] += times
            most += [number for number, _ in found.most_common(1)]
        return named(*most) if len(most) == 2 else UNNAMED

    def side(self) -> tuple[bool, int] | None:
        """Of what was seen on one side of this machine only: is that the client's, and which interface is it?"""
        cooked = [(seen, by_client) for seen, by_client, _ in self.seen if seen.incoming is not None]
        sides = {seen.incoming == by_client: seen.interface for seen, by_client in cooked}
        return next(iter(sides.items())) if len(sides) == 1 else None

    def _by_wire(self) -> Sides | None:
        """Two links, on both of which both ends were seen. The client's packets have more hops left on its own."""
        counts, ttls, firsts = Counter[tuple[Tap, bool]](), dict[tuple[Tap, bool], int](), dict[tuple[Tap, bool], int]()
        for (seen, by_client, ttl), (times, first) in self.seen.items():
            counts[seen, by_client] += times
            ttls[seen, by_client] = max(ttl, ttls.get((seen, by_client), 0))
            firsts[seen, by_client] = min(first, firsts.get((seen, by_client), first))
        wires = {seen for seen, _ in counts}
        both = [seen for seen in wires if all(counts[seen, by_client] >= ENOUGH for by_client in (True, False))]
        if len(both) != 2:
            return None
        one, two = sorted(both, key=lambda seen: firsts[seen, True])
        more, fewer = ttls[one, True] - ttls[two, True], ttls[one, False] - ttls[two, False]
        if more < 0 < fewer:
            one, two = two, one
        elif not (fewer < 0 < more or (more == fewer == 0 and firsts[two, False] < firsts[one, False])):
            return None
        return Sides(wires={one.wire: True, two.wire: False})

    def _by_hops(self) -> Sides | None:
        """One link, or none that is told: each end's packets with two TTLs, and with the higher one first."""
        found: dict[tuple[bool, int], bool] = {}
        for by_client in (True, False):
            counts, firsts = Counter[int](), dict[int, int]()
            for (_, mine, ttl), (times, first) in self.seen.items():
                if mine == by_client:
                    counts[ttl] += times
                    firsts[ttl] = min(first, firsts.get(ttl, first))
            usual = sorted((ttl for ttl, times in counts.items() if times >= ENOUGH), reverse=True)
            if len(usual) != 2:
                return None
            found |= {(by_client, usual[0]): by_client, (by_client, usual[1]): not by_client}
        return Sides(hops=found)


def named(one: int, two: int) -> tuple[str, str]:
    """Two interfaces; where they are the same, or not told, the sides."""
    return (f"interface {one}", f"interface {two}") if one and two and one != two else UNNAMED
