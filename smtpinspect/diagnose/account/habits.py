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
HOPS: Final = 2  # by which the TTLs of one end differ where its packets take several routes (RFC 2991), or a new one
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


def forged(packet: Packet, before: Habits, answers_syn: bool = False) -> tuple[Sign, ...]:
    """What tells that another one than this end sent it; empty: nothing does.

    An RST may come from a kernel that knows no such connection: without timestamps, its window 0 (RFC 9293 3.10.7.1;
    Linux, the BSDs and Windows alike), its IP id 0. One from the connection itself looks like all its packets. What is
    neither, no kernel made. `answers_syn`: nothing but a SYN came before it, from the other end.
    """
    strong: list[str] = []
    weak: list[str] = []  # one alone is no proof: a route changes, a busy host's counter leaps, a window opens
    name = "client" if packet.by_client else "server"
    bare = bool(packet.flags & RST) and packet.field == 0
    if before.ttls and packet.ttl not in before.ttls:
        seen = " or ".join(str(ttl) for ttl in sorted(before.ttls))
        near = packet.ttl in before.seen or off_by(packet, before) <= HOPS
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


def off_by(packet: Packet, before: Habits) -> int:
    """How many hops its TTL is from the nearest one that its end's first packets have; 0 without any."""
    return min((abs(packet.ttl - ttl) for ttl in before.ttls), default=0)


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
