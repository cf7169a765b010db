"""Whether a packet came from the end that it names, by what that end's other packets look like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from smtpinspect.diagnose.trace import Packet, Sign, options
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN

TIMESTAMPS: Final = 8  # RFC 7323 3.2
NEAR: Final = 2_048  # steps of an IP id between two packets of an end that counts
FIRST: Final = 4  # packets of an end (SYN, greeting, ...) whose TTLs are its own; a box takes over later
INITIAL: Final = (32, 64, 128, 255)  # TTLs that systems begin with: each router takes one off
HOPS: Final = 2  # by which the TTLs of one end differ where its packets take several routes (RFC 2991), or a new one
OVERTAKEN_NS: Final = 1_000_000_000  # packets of an end that overtake each other on the way do so sooner
TIMER_NS: Final = 150_000_000  # behind so much time octets come from a retransmission timer (Linux: 0.2 s at least)
QUEUES_NS: Final = 5_000_000  # those of both ends, where the capturing host takes them from several queues
WIDER: Final = 4  # times as large a window as any before it: no end opens it at once, with nothing read between


class Habits(NamedTuple):
    """Of one end's packets that are beyond doubt: those with a TTL as its first ones have it.

    `seen`: TTLs of all its packets. `stamps`: all carry timestamps; `ids`: its last IP id, where it counts them up;
    `windows`: header fields of its windows, SYN aside.
    """

    ttls: frozenset[int]
    seen: frozenset[int]
    stamps: bool
    ids: int | None
    windows: tuple[int, ...]


def habits(packets: Sequence[Packet]) -> Habits:
    """Of these packets of one end, in their order from its first one on."""
    ttls = frozenset(packet.ttl for packet in packets[:FIRST])
    seen = frozenset(packet.ttl for packet in packets)
    packets = [packet for packet in packets if packet.ttl in ttls]
    plain = [packet for packet in packets if not packet.flags & (SYN | RST)]
    ids = [packet.ip_id for packet in plain if packet.ip_id is not None]
    steps = [(second - first) % 65_536 for first, second in pairwise(ids)]
    counts = len(ids) > 1 and all(0 < step <= NEAR for step in steps)
    return Habits(
        ttls=ttls,
        seen=seen,
        stamps=bool(packets) and all(_stamped(packet) for packet in packets if not packet.flags & RST),
        ids=ids[-1] if counts else None,
        windows=tuple(packet.field for packet in plain),
    )


def forged(
    packet: Packet, before: Habits, answers_syn: bool = False, behind: Sequence[Packet] = ()
) -> tuple[Sign, ...]:
    """What tells that another one than this end sent it; empty: nothing does.

    An RST may come from a kernel that knows no such connection: without timestamps, its window 0 (RFC 9293 3.10.7.1;
    Linux, the BSDs and Windows alike), its IP id 0. One from the connection itself looks like all its packets. What is
    neither, no kernel made. `answers_syn`: nothing but a SYN came before it, from the other end. `behind`: what came in
    that end's name later.
    """
    strong: list[str] = []
    weak: list[str] = []  # one alone is no proof: a route changes, a busy host's counter leaps, a window opens
    name = "client" if packet.by_client else "server"
    bare = bool(packet.flags & RST) and packet.field == 0
    if before.ttls and packet.ttl not in before.ttls:
        seen = " or ".join(str(ttl) for ttl in sorted(before.ttls))
        near = packet.ttl in before.seen or off_by(packet, before) <= HOPS or rerouted(packet, before, behind)
        (weak if near else strong).append(
            f"its TTL is {packet.ttl}, that of the {name}'s packets {seen}"
        )
    if before.stamps and not bare and not _stamped(packet):
        strong.append(f"it has no timestamps, which all packets of the {name} carry")
    if before.ids is not None and packet.ip_id is not None and not bare:
        step = (packet.ip_id - before.ids) % 65_536
        if not 0 < step <= NEAR:
            weak.append(f"its IP id is {packet.ip_id}, the {name} counts and was at {before.ids}")
    if before.windows and packet.field > WIDER * max(before.windows):
        weak.append(f"its window field is {packet.field}, the {name}'s were {max(before.windows)} at most")
    if answers_syn:
        strong += _unasked(packet)
    if not strong and len(weak) < 2:
        return ()
    return tuple(Sign(packet.number, text) for text in (*strong, *weak))


def rerouted(packet: Packet, before: Habits, behind: Sequence[Packet]) -> bool:
    """May its way have become another one? All that came behind it has its TTL, and the system counts from the same."""
    later = {p.ttl for p in behind if not p.flags & RST}
    return later == {packet.ttl} and _initial(packet.ttl) in {_initial(ttl) for ttl in before.ttls}


def _initial(ttl: int) -> int:
    return next(each for each in INITIAL if ttl <= each)


def off_by(packet: Packet, before: Habits) -> int:
    """How many hops its TTL is from the nearest one that its end's first packets have; 0 without any."""
    return min((abs(packet.ttl - ttl) for ttl in before.ttls), default=0)


class Goes(NamedTuple):
    """What had been sent when an RST came by. `ids`: the last IP id in its end's name, where that counts; `acks`: what
    that had acknowledged; `end`, `stamp`: the other end's highest octet and timestamp, a little later."""

    ids: int | None
    acks: int
    end: int
    stamp: int | None


def at_reset(packets: Sequence[Packet], n: int) -> Goes:
    """At the nth of these."""
    reset = packets[n]
    mine = [p for p in packets[:n] if p.by_client == reset.by_client]
    theirs = [p for p in packets if p.by_client != reset.by_client and p.ns <= reset.ns + QUEUES_NS]
    stamps = [stamp[0] for p in theirs if (stamp := stamp_of(p)) is not None]
    return Goes(
        ids=habits(mine).ids,
        acks=max((p.acks for p in mine if p.acks is not None), default=0),
        end=max((p.end or 0 for p in theirs), default=0),
        stamp=stamps[-1] if stamps else None,
    )


def goes_on(packet: Packet, reset: Packet, then: Goes) -> bool:
    """Did its end send this behind the RST in its name? What only came behind it may have been overtaken by it.

    An end's numbers do not run backwards: those of acknowledgements, of octets (its RST has the number behind its last
    one, where it carries an ACK: RFC 9293 3.5.2), of timestamps (RFC 7323 4.3) and what they echo.
    """
    mine, its = stamp_of(packet), stamp_of(reset)
    if mine is not None and its is not None and mine[0] != its[0]:
        return _later(mine[0], its[0])
    if then.ids is not None and packet.ip_id is not None and reset.ip_id is not None:
        step, its_step = (packet.ip_id - then.ids) % 65_536, (reset.ip_id - then.ids) % 65_536
        if 0 < its_step <= NEAR and step < its_step:
            return False
    if (packet.acks or 0) > then.end or packet.ns - reset.ns >= (TIMER_NS if packet.length else OVERTAKEN_NS):
        return True
    if mine is not None and then.stamp is not None and _later(mine[1], then.stamp):
        return True
    if not reset.flags & ACK or reset.acks is None or reset.acks < then.acks:
        return False
    more = packet.length > 0 and None not in (packet.end, reset.at) and (packet.end or 0) > (reset.at or 0)
    return more or (packet.acks or 0) > reset.acks


def _later(stamp: int, other: int) -> bool:
    return 0 < (stamp - other) % (1 << 32) < 1 << 31


def stamp_of(packet: Packet) -> tuple[int, int] | None:
    """Its timestamp, and the one that it echoes (RFC 7323 3.2)."""
    found = next((value for kind, value in options(packet.options) if kind == TIMESTAMPS and len(value) == 8), None)
    return None if found is None else (int.from_bytes(found[:4], "big"), int.from_bytes(found[4:], "big"))


def anyones(packet: Packet) -> bool:
    """May any kernel have sent this RST, that knows no such connection? So may a box that copies a TTL."""
    return bool(packet.flags & RST) and packet.field == 0 and not _stamped(packet)


def genuine(packets: Sequence[Packet], forged: Packet) -> list[Packet]:
    """Without what the same box sent in that end's name: a TTL like this one's, which is not the end's own."""
    first = [packet.ttl for packet in packets if packet.by_client == forged.by_client][:FIRST]
    if not first or forged.ttl in first:
        return list(packets)
    return [packet for packet in packets if packet.by_client != forged.by_client or packet.ttl != forged.ttl]


def _unasked(packet: Packet) -> list[str]:
    """Of a packet that answers a SYN: only SYN and ACK, or RST without a window, do."""
    if packet.flags & RST and packet.field:
        return [f"a host that refuses a connection announces no window; this RST has {packet.field}"]
    if packet.flags & FIN and not packet.flags & SYN:
        return ["no host answers a SYN with FIN"]
    return []


def acknowledges(packet: Packet) -> bool:
    """Does what it acknowledges count, where its end sent it? Not that of an RST that any kernel may have sent."""
    return bool(packet.flags & ACK) and not anyones(packet)


def _stamped(packet: Packet) -> bool:
    return any(kind == TIMESTAMPS for kind, _ in options(packet.options))
