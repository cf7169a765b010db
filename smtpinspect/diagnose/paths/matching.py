"""Which connection of one capture is which of another: by what was said, for NAT may change all else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.views import Flow
from smtpinspect.diagnose.paths.shared import Span
from smtpinspect.enforce.craft import ACK, SYN
from smtpinspect.grammar import limits
from smtpinspect.simulate.flow import ends
from smtpinspect.source import Input
from smtpinspect.source.again import frames_again

SHORT: Final = 6  # octets of a line that may be anybody's
SAME_NUMBERS: Final = 1_000.0  # what the sequence numbers of the SYN weigh, in lines that nobody else has
SAME_ENDS: Final = 50.0
_NAMING: Final = (b"EHLO", b"HELO", b"MAIL", b"RCPT")
NEAR_NS: Final = 2_000_000_000  # how far two starts lie apart at most where only time tells


class Digest:
    """What a connection is known by: hashes of its first lines by side, its ends, its SYNs, its start.

    `said`: those of EHLO, HELO, MAIL and RCPT, without what a box may blank in an address.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.ends = ends(flow)
        self.lines: set[int] = set()
        self.said: set[int] = set()
        self.numbers: dict[bool, int] = {}

    def feed(self, by_client: bool, flags: int, seq: int, payload: bytes) -> None:
        if flags & SYN and bool(flags & ACK) != by_client:
            self.numbers.setdefault(by_client, seq)
        for line in payload.split(b"\n"):
            if len(self.lines) >= limits.POINT_LINES:
                return
            if len(line) >= SHORT:
                self.lines.add(hash((by_client, line)))
                if by_client and line[:4].upper() in _NAMING:
                    self.said.add(hash(line.translate(None, b"|<> \r")))


class Pair(NamedTuple):
    """A connection at two points, and by what they were found to be the same."""

    one: Flow
    two: Flow
    by: str


def digests(source: Input, flows: Iterable[Flow]) -> tuple[list[Digest], Span | None]:
    """Of these connections of a capture, in one pass, and the time that it covers; a damaged capture just ends."""
    made = [Digest(flow) for flow in flows]
    wanted: dict[object, list[tuple[Digest, bool]]] = defaultdict(list)
    for each in made:
        client, server = each.ends
        wanted[client, server].append((each, True))
        wanted[server, client].append((each, False))
    joiner = Fragments()
    span: Span | None = None
    for number, (ns, link, frame, wirelen) in enumerate(frames_again(source), 1):
        span = Span(ns, ns) if span is None else Span(min(span.begin_ns, ns), max(span.end_ns, ns))
        fields = joiner.feed(link, frame, ns, wirelen)
        if fields is None or fields["kind"] != "tcp":
            continue
        pair = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
        for each, by_client in wanted.get(pair, ()):
            if number >= each.flow.first_packet and each.flow.start_ns <= ns <= each.flow.end_ns:
                each.feed(by_client, fields["flags"], fields["seq"], fields["payload"])
                break
    return made, span


def pairs(ones: Sequence[Digest], twos: Sequence[Digest]) -> list[Pair]:
    """The connections of `ones` found among `twos`; each is used once. Clocks may differ by any constant."""
    scores = {
        (a, b): score for (a, b), score in _scores(ones, twos).items() if not _strange(ones[a], twos[b])
    }
    best: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (a, b), score in scores.items():
        best[a].append((score, b))
    ahead = [_apart(ones[a], twos[max(rows)[1]]) for a, rows in best.items() if _alone(rows)]
    offset = median(ahead) if ahead else None
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, a, b in sorted(
        (-score, abs(_apart(ones[a], twos[b]) - (offset or 0)), a, b) for (a, b), score in scores.items()
    ):
        if a not in chosen and b not in taken:
            chosen[a] = b
            taken.add(b)
    found = [Pair(ones[a].flow, twos[b].flow, _by(ones[a], twos[b])) for a, b in chosen.items()]
    left = [one for a, one in enumerate(ones) if a not in chosen]
    rest = [two for b, two in enumerate(twos) if b not in taken]
    return found + _by_time(left, rest, offset)


def _scores(ones: Sequence[Digest], twos: Sequence[Digest]) -> dict[tuple[int, int], float]:
    rare = Counter(line for two in twos for line in two.lines)
    holders: dict[object, list[int]] = defaultdict(list)
    for b, two in enumerate(twos):
        for line in two.lines:
            holders[line].append(b)
        holders["ends", two.ends].append(b)
        for side, number in two.numbers.items():
            holders["number", side, number].append(b)
    scores: dict[tuple[int, int], float] = defaultdict(float)
    for a, one in enumerate(ones):
        for line in one.lines:
            if rare[line] <= limits.POINT_LINES:  # what everybody says tells nothing, and would cost a square
                for b in holders.get(line, ()):
                    scores[a, b] += 1 / rare[line]
        for b in holders.get(("ends", one.ends), ()):
            scores[a, b] += SAME_ENDS
        for side, number in one.numbers.items():
            for b in holders.get(("number", side, number), ()):
                scores[a, b] += SAME_NUMBERS
    return scores


def _strange(one: Digest, two: Digest) -> bool:
    """Do both name somebody whom the other does not? A box takes out of a dialogue, and adds none of these."""
    return bool(one.said - two.said) and bool(two.said - one.said)


def _alone(rows: list[tuple[float, int]]) -> bool:
    first = sorted(rows, reverse=True)[:2]
    return len(first) == 1 or first[0][0] > 1.5 * first[1][0]


def _apart(one: Digest, two: Digest) -> int:
    return two.flow.start_ns - one.flow.start_ns


def _by(one: Digest, two: Digest) -> str:
    if any(two.numbers.get(side) == number for side, number in one.numbers.items()):
        return "sequence numbers"
    return "addresses" if one.ends == two.ends else "what was said"


def _by_time(left: Sequence[Digest], rest: Sequence[Digest], offset: float | None) -> list[Pair]:
    """Connections with nothing in common: where one end says nothing that the other one hears."""
    if offset is None:
        only = len(left) == 1 == len(rest) and not _strange(left[0], rest[0])
        return [Pair(left[0].flow, rest[0].flow, "being the only one")] if only else []
    found = []
    free = list(rest)
    for one in left:
        near = [two for two in free if not _strange(one, two) and abs(_apart(one, two) - offset) <= NEAR_NS]
        if len(near) == 1:
            free.remove(near[0])
            found.append(Pair(one.flow, near[0].flow, "time"))
    return found
