"""One side of a connection at one point, and how it differs from the same side at the next point.

Numbers are stream offsets of the sender at that point, so neither addresses nor sequence numbers need agree. A box that
rewrites in place keeps them; one that withholds or adds octets shifts them, which the lines of the dialogue show.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.trace import Trace
from smtpinspect.grammar import limits

LINES: Final = 64  # lines that are compared to find out how a difference goes on
LINE: Final = 4_096  # octets of one of them
_BLOCK: Final = 4_096


class Segment(NamedTuple):
    """Octets that a packet carried: `number` of its frame, when."""

    at: int
    end: int
    number: int
    ns: int


class Side:
    """The octets of one side, as far as they were captured, and the segments that brought them.

    The first copy of an octet counts. What lies behind `limits.POINT_OCTETS` is not kept (`cut`).
    """

    def __init__(self, trace: Trace, by_client: bool) -> None:
        self.trace = trace
        self.by_client = by_client
        self.octets = bytearray()
        self.seen: list[tuple[int, int]] = []  # known octets as [from, to), sorted, apart from each other
        self.segments: list[Segment] = []
        self.acked = Account(trace).claimed(by_client)
        self.top = 0  # behind the last octet that was sent, captured or not
        self.cut = False
        for packet in trace.packets:
            if packet.by_client != by_client or packet.at is None or not packet.length or (packet.end or 0) <= 0:
                continue
            self.segments.append(Segment(packet.at, packet.at + packet.length, packet.number, packet.ns))
            self.top = max(self.top, packet.at + packet.length)
            self._write(packet.at, packet.payload)

    def _write(self, at: int, payload: bytes) -> None:
        if at < 0:
            at, payload = 0, payload[-at:]
        end = at + len(payload)
        if end > limits.POINT_OCTETS:
            self.cut = True
            end = limits.POINT_OCTETS
            payload = payload[: max(end - at, 0)]
        if at >= end:
            return
        if end > len(self.octets):
            self.octets += bytes(end - len(self.octets))
        if not self.seen or at >= self.seen[-1][1]:
            self.octets[at:end] = payload
            if self.seen and self.seen[-1][1] == at:
                self.seen[-1] = (self.seen[-1][0], end)
            else:
                self.seen.append((at, end))
            return
        free = at
        for begin, behind in [each for each in self.seen if each[1] > at and each[0] < end]:
            if free < begin:
                self.octets[free:begin] = payload[free - at : begin - at]
            free = max(free, behind)
        if free < end:
            self.octets[free:end] = payload[free - at :]
        self.seen = _joined([*self.seen, (at, end)])

    def known(self, at: int) -> int:
        """How many octets from here on are known; 0: this one is not."""
        return next((end - at for begin, end in self.seen if begin <= at < end), 0)

    def next_known(self, at: int) -> int | None:
        """The next known octet from here on."""
        return next((max(begin, at) for begin, end in self.seen if end > at), None)

    def carried(self, at: int, end: int) -> tuple[Segment, ...]:
        """The segments with any of these octets."""
        return tuple(each for each in self.segments if each.at < end and each.end > at)


class Change(NamedTuple):
    """`near` and `far`: octets as [from, to) at both points; empty where there are none."""

    kind: Literal["rewritten", "withheld", "dropped", "injected"]
    near: tuple[int, int]
    far: tuple[int, int]


def changes(near: Side, far: Side) -> Iterator[Change]:
    """What became of the octets of a side between two points; `near` is the one nearer to their sender.

    Octets that one capture lacks, although they must have passed there, are no change.
    """
    i, j = 0, 0
    for _ in range(limits.POINT_CHANGES):
        here, there = near.known(i), far.known(j)
        if here and there:
            same = _same(near.octets, far.octets, i, j, min(here, there))
            i, j = i + same, j + same
            if same == min(here, there):
                continue
            change, i, j = _resolved(near, far, i, j)
            yield change
        elif here:
            ahead = far.next_known(j)
            if ahead is None:
                yield from _tail(near, far, i, j)
                return
            until = min(here, ahead - j)
            if j < far.acked < j + until:
                until = far.acked - j  # so much came: that capture lost it
            passed = far.top >= j + until and any(s.at < j + until and s.end > j for s in far.segments)
            if not passed and far.acked <= j:
                yield Change("dropped", (i, i + until), (j, j))
            elif not passed and near.acked >= i + until and far.acked < j + until:
                yield Change("withheld", (i, i + until), (j, j))
            i, j = i + until, j + until
        elif there:
            ahead = near.next_known(i)
            if ahead is None:
                if i >= near.top and near.acked <= i and not near.cut:
                    yield Change("injected", (i, i), (j, j + there))
                return
            until = min(there, ahead - i)
            i, j = i + until, j + until
        else:
            one, two = near.next_known(i), far.next_known(j)
            step = min((at - own for at, own in ((one, i), (two, j)) if at is not None), default=0)
            if not step:
                return
            i, j = i + step, j + step


def _tail(near: Side, far: Side, i: int, j: int) -> Iterator[Change]:
    """Octets behind the last one at the far point. Those acknowledged there too are missing in that capture only."""
    if far.cut:
        return
    i, j = i + max(far.acked - j, far.top - j, 0), j
    end = near.top
    acked = min(near.acked, end)
    if i < acked:
        yield Change("withheld", (i, acked), (j, j))
    if max(i, acked) < end:
        yield Change("dropped", (max(i, acked), end), (j, j))


def _resolved(near: Side, far: Side, i: int, j: int) -> tuple[Change, int, int]:
    """The difference that begins here, and where both go on behind it."""
    i, j = _line_begin(near, far, i, j)
    one = lines(near, i)
    two = lines(far, j)
    blocks = SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    kind, a, b, c, d = next(block for block in blocks if block[0] != "equal")
    skip_i, skip_j = sum(map(len, one[:a])), sum(map(len, two[:c]))
    i, j = i + skip_i, j + skip_j
    gone, come = sum(map(len, one[a:b])), sum(map(len, two[c:d]))
    if kind == "delete":
        return Change("withheld", (i, i + gone), (j, j)), i + gone, j
    if kind == "insert":
        return Change("injected", (i, i), (j, j + come)), i, j + come
    size = min(len(one[a]), len(two[c]))
    if len(one[a]) == len(two[c]) or b - a != d - c:
        if len(one[a]) != len(two[c]):
            return Change("rewritten", (i, i + gone), (j, j + come)), i + gone, j + come
        first, last = _span(bytes(one[a]), bytes(two[c]))
        return Change("rewritten", (i + first, i + last), (j + first, j + last)), i + size, j + size
    gone, come = len(one[a]), len(two[c])
    short = min(near.known(i), far.known(j))
    if short in (gone, come):  # a capture ends inside of this line
        first, last = _span(bytes(one[a][:short]), bytes(two[c][:short]))
        return Change("rewritten", (i + first, i + last), (j + first, j + last)), i + short, j + short
    return Change("rewritten", (i, i + gone), (j, j + come)), i + gone, j + come


def lines(side: Side, at: int) -> list[bytes]:
    """The next known lines from here on."""
    until = min(at + side.known(at), at + LINES * 256)
    found: list[bytes] = []
    while at < until and len(found) < LINES:
        newline = side.octets.find(b"\n", at, min(until, at + LINE))
        end = newline + 1 if newline >= 0 else min(until, at + LINE)
        found.append(bytes(side.octets[at:end]))
        at = end
    return found


def _line_begin(near: Side, far: Side, i: int, j: int) -> tuple[int, int]:
    """Back to where this line begins, as far as both have it."""
    back = 0
    while back < LINE and i > back and j > back and near.octets[i - back - 1] != 0x0A:
        if not near.known(i - back - 1) or not far.known(j - back - 1):
            break
        if near.octets[i - back - 1] != far.octets[j - back - 1]:
            break
        back += 1
    return i - back, j - back


def _same(one: bytearray, two: bytearray, i: int, j: int, n: int) -> int:
    """How many of these octets are the same."""
    at = 0
    while at < n:
        size = min(_BLOCK, n - at)
        if one[i + at : i + at + size] != two[j + at : j + at + size]:
            return at + next(k for k in range(size) if one[i + at + k] != two[j + at + k])
        at += size
    return n


def _span(one: bytes, two: bytes) -> tuple[int, int]:
    """From the first octet that differs to behind the last one."""
    differ = [k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
    return (differ[0], differ[-1] + 1) if differ else (0, len(one))


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if made and begin <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((begin, end))
    return made
