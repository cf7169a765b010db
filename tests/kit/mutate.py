"""Mutators: segments in, segments out. None changes the octets of a stream unless its name says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from random import Random

from kit.segment import ACK, FIN, PSH, RST, Direction, Segment
from kit.wire import MASK

Segments = list[Segment]
TINY = 1e-6


def bases(segments: Iterable[Segment]) -> dict[Direction, int]:
    """The sequence number of stream offset 0 on each side: after the SYN, else the first data seen."""
    syn: dict[Direction, int] = {}
    first: dict[Direction, int] = {}
    for s in segments:
        if s.syn:
            syn.setdefault(s.direction, (s.seq + 1) & MASK)
        elif s.data:
            first.setdefault(s.direction, s.seq)
    return first | syn


def offset(s: Segment, base: dict[Direction, int]) -> int:
    """Stream offset of a segment's first octet (streams here are shorter than 4 GiB)."""
    return (s.seq - base[s.direction]) & MASK


def handshake_length(segments: Sequence[Segment]) -> int:
    """How many segments open the connection: up to the client's ACK of the SYN/ACK."""
    count = 0
    while count < len(segments) and segments[count].syn:
        count += 1
    return count + 1 if count and count < len(segments) and not segments[count].data else count


def split(s: Segment, at: Sequence[int]) -> Segments:
    """One segment cut at positions of its payload; FIN and PSH stay on the last piece."""
    edges = [0, *sorted({p for p in at if 0 < p < len(s.payload)}), len(s.payload)]
    pieces = []
    for i, (a, b) in enumerate(pairwise(edges)):
        last = b == len(s.payload)
        flags = s.flags if last else s.flags & ~(FIN | PSH)
        pieces.append(
            s.but(
                seq=(s.seq + a) & MASK,
                payload=s.payload[a:b],
                flags=flags,
                time=s.time + i * TINY,
                cut=s.cut if last else 0,
            )
        )
    return pieces


def cut_at(segments: Segments, client: Iterable[int] = (), server: Iterable[int] = ()) -> Segments:
    """Segment borders at the given stream offsets, besides those that are there."""
    base = bases(segments)
    wanted: dict[Direction, list[int]] = {"C": list(client), "S": list(server)}
    result: Segments = []
    for s in segments:
        result += split(s, [o - offset(s, base) for o in wanted[s.direction]]) if s.data else [s]
    return result


def octetwise(segments: Segments) -> Segments:
    """One octet per segment."""
    return [piece for s in segments for piece in (split(s, range(1, len(s.payload))) if s.data else [s])]


def joined(segments: Segments) -> Segments:
    """Neighbouring data segments of one side as one: the borders of the MSS go away."""
    result: Segments = []
    for s in segments:
        before = result[-1] if result else None
        if (
            before is not None
            and s.data
            and before.data
            and before.direction == s.direction
            and not before.fin
            and before.seq + len(before.payload) & MASK == s.seq
            and len(before.payload) + len(s.payload) < 60_000
        ):
            result[-1] = before.but(
                payload=before.payload + s.payload, flags=before.flags | s.flags, ack=s.ack
            )
        else:
            result.append(s)
    return result


def random_cuts(segments: Segments, rng: Random, share: float = 0.1) -> Segments:
    """Other borders: what belongs together is joined, then cut anywhere."""
    result: Segments = []
    for s in joined(segments):
        count = min(len(s.payload), max(1, int(len(s.payload) * rng.random() * share * 2))) if s.data else 0
        result += split(s, [rng.randrange(len(s.payload) + 1) for _ in range(count)]) if s.data else [s]
    return result


def retimed(segments: Segments, times: Iterable[float]) -> Segments:
    """The segments in this order, given these arrival times."""
    return [s.but(time=t) for s, t in zip(segments, times, strict=True)]


def evenly(segments: Segments, step: float = 1e-4) -> Segments:
    """The segments in this order, one every `step` seconds: no pause that the order does not mean."""
    start = segments[0].time if segments else 0.0
    return retimed(segments, (start + i * step for i in range(len(segments))))


def placed(segments: Segments, extra: Sequence[tuple[int, Segment]]) -> Segments:
    """Segments inserted, each behind the index it stands with; the copy arrives just after that one."""
    after: dict[int, Segments] = {}
    for index, s in extra:
        after.setdefault(min(index, len(segments) - 1), []).append(s)
    result: Segments = []
    for i, s in enumerate(segments):
        result.append(s)
        result += [e.but(time=s.time + (n + 1) * TINY / 4) for n, e in enumerate(after.get(i, []))]
    return result


def duplicated(segments: Segments, rng: Random, share: float = 0.3, later: int = 4) -> Segments:
    """Copies of some segments, the same in every field, up to `later` places behind the first."""
    extra = [(i + rng.randrange(later + 1), s) for i, s in enumerate(segments) if rng.random() < share]
    return placed(segments, extra)


def reordered(segments: Segments, rng: Random, window: int = 3, *, handshake: bool = False) -> Segments:
    """Segments up to `window` places from where they were, across directions too; the handshake if asked."""
    fixed = 0 if handshake else handshake_length(segments)
    rest = segments[fixed:]
    keys = [i + rng.random() * window for i in range(len(rest))]
    shuffled = [rest[i] for i in sorted(range(len(rest)), key=lambda i: keys[i])]
    return segments[:fixed] + retimed(shuffled, [s.time for s in rest])


def retransmitted(segments: Segments, rng: Random, count: int = 3, later: int = 6) -> Segments:
    """Stream octets sent again with other borders: the copies overlap, and say the same."""
    base = bases(segments)
    known: dict[Direction, bytearray] = {"C": bytearray(), "S": bytearray()}
    chances: list[tuple[int, Segment, int]] = []  # index, segment, octets sent by then
    for i, s in enumerate(segments):
        if s.data:
            start = offset(s, base)
            side = known[s.direction]
            side.extend(bytes(max(0, start + len(s.payload) - len(side))))
            side[start : start + len(s.payload)] = s.payload
            chances.append((i, s, start + len(s.payload)))
    extra = []
    for _ in range(count if chances else 0):
        i, s, out = rng.choice(chances)
        a = rng.randrange(max(0, out - 3000), out)
        b = rng.randrange(a + 1, min(out, a + 1460) + 1)
        copy = s.but(
            seq=(base[s.direction] + a) & MASK, payload=bytes(known[s.direction][a:b]), flags=ACK | PSH, cut=0
        )
        extra.append((i + rng.randrange(later + 1), copy))
    return placed(segments, extra)


def holding(segments: Segments, direction: Direction, at: int) -> int:
    """The index of the first segment that holds a stream offset."""
    base = bases(segments)
    for i, s in enumerate(segments):
        if s.data and s.direction == direction and offset(s, base) <= at < offset(s, base) + len(s.payload):
            return i
    raise ValueError(f"no segment of {direction} holds offset {at}")


def forged(
    segments: Segments,
    direction: Direction,
    at: int,
    octets: bytes,
    *,
    first: bool = False,
    **changes: object,
) -> Segments:
    """Octets of someone's choosing at a stream offset: behind the true segment, or before it.

    `changes` go into the forged segment: bad_checksum=True, ttl=2, flags=...
    """
    i = holding(segments, direction, at)
    true = segments[i]
    fake = true.but(
        seq=(bases(segments)[direction] + at) & MASK, payload=octets, flags=ACK | PSH, cut=0, **changes
    )
    if first:
        return [*segments[:i], fake.but(time=true.time - TINY / 4), *segments[i:]]
    return placed(segments, [(i, fake)])


def dropped(segments: Segments, wanted: Callable[[int, Segment], bool]) -> Segments:
    """Without the segments that `wanted` names: holes."""
    return [s for i, s in enumerate(segments) if not wanted(i, s)]


def without(segments: Segments, direction: Direction, start: int, end: int) -> Segments:
    """Without the octets start..end of one stream: a hole exactly there."""
    edges = (start, end)
    pieces = cut_at(segments, *((edges, ()) if direction == "C" else ((), edges)))
    base = bases(pieces)
    return [s for s in pieces if not (s.data and s.direction == direction and start <= offset(s, base) < end)]


def kept_alive(segments: Segments, after: int, octets: bytes = b"\0") -> Segments:
    """A keep-alive probe behind a segment: zero or one octet just before what that side sends next."""
    s = segments[after]
    following = s.seq + len(s.payload) + s.syn + s.fin
    return placed(segments, [(after, s.but(seq=(following - 1) & MASK, payload=octets, flags=ACK))])


def stray_rst(
    segments: Segments, after: int, distance: int, *, payload: bytes = b"", **changes: object
) -> Segments:
    """A RST behind a segment, `distance` octets off the exact next sequence number of that side."""
    s = segments[after]
    following = s.seq + len(s.payload) + s.syn + s.fin
    rst = s.but(seq=(following + distance) & MASK, payload=payload, flags=RST, ack=0, cut=0, **changes)
    return placed(segments, [(after, rst)])


def snapped(segments: Segments, most: int) -> Segments:
    """Payloads cut by a capture length: the octets beyond `most` were on the wire, not in the capture."""
    return [
        s.but(payload=s.payload[:most], cut=len(s.payload) - most) if s.data and len(s.payload) > most else s
        for s in segments
    ]
