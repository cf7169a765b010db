"""Where a flow broke, as a rule would have to explain it: what came through, what did not, what each end was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.model import BreakKind, Case
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST

Side = Literal["sender", "receiver", "unknown"]
Direction = Literal["client", "server"]
SPAN: Final = 1_000_000_000  # ns before an RST in which its cause was sent: longer than a round trip


class Half(NamedTuple):
    """One direction. Stream offsets: `through` the other end has acknowledged, or shown by its answer that it had it;
    `sent` the last octet that was seen; `first` the end of the first segment that did not come through."""

    through: int
    sent: int
    first: int
    again: int  # how often the octet at `through` was sent again
    hole: tuple[int, int] | None = None  # octets that others came behind and the capture does not hold

    @property
    def lost(self) -> bool:
        """Were octets sent that nobody acknowledged?"""
        return self.sent > self.through


class Scene(NamedTuple):
    """`side`: of the box, on which the capture was taken. `kind`: how it ended for that side's end. `packet`: the
    first that did not come through."""

    client: Half
    server: Half
    side: Side = "unknown"
    kind: BreakKind = "none"
    packet: int | None = None
    ended_ns: int = 0

    def half(self, direction: str) -> Half:
        return self.client if direction == "client" else self.server


def scene_of(case: Case) -> Scene | None:
    """None without packets: nobody looked closer."""
    trace = case.trace
    if trace is None or not trace.packets:
        return None
    packets = trace.packets
    reset = next((p for p in packets if p.flags & RST), None)
    client, server = _half(packets, True), _half(packets, False)
    side = _side(case, client, server, reset)
    packet = next((p.number for p in packets if p.by_client and p.length and p.end and p.end > client.through), None)
    if packet is None:
        packet = next(
            (p.number for p in packets if not p.by_client and p.length and p.end and p.end > server.through), None
        )
    return Scene(client, server, side, _kind(case, packets, reset), packet, packets[-1].ns)


def _half(packets: Sequence[Packet], by_client: bool) -> Half:
    """Acknowledgments of an RST, or of a packet behind it, are nobody's."""
    through = sent = again = 0
    closed = False
    top: int | None = None
    spans: list[tuple[int, int]] = []
    for packet in packets:
        if packet.flags & RST:
            closed = True
        elif packet.by_client == by_client:
            if packet.at is not None and packet.length:
                spans.append((packet.at, packet.at + packet.length))
                sent = max(sent, packet.at + packet.length)
            if packet.flags & FIN and packet.end is not None:
                top = packet.end
        elif not closed and packet.acks is not None:
            through = max(through, packet.acks)
    if top is not None and through == top + 1:
        through = top  # a FIN counts one
    through = min(through, max(sent, through if not spans else through))
    first = min((end for begin, end in spans if begin <= through < end), default=through)
    again = max(0, sum(1 for begin, end in spans if begin <= through < end) - 1)
    hole = None
    if spans and not any(begin <= through < end for begin, end in spans):
        behind = [begin for begin, _ in spans if begin > through]
        hole = (through, min(behind)) if behind else None
    return Half(through, sent, first, again, hole)


def _side(case: Case, client: Half, server: Half, reset: Packet | None) -> Side:
    told = case.observed.vantage.where
    if told in ("sender", "receiver"):
        return told  # type: ignore[return-value]  # narrowed
    if client.lost and client.hole is None and (client.again or not server.lost):
        return "sender"
    if client.hole is not None or server.lost:
        return "receiver"
    if reset is not None:
        return "receiver" if reset.by_client else "sender"
    return "unknown"


def _kind(case: Case, packets: Sequence[Packet], reset: Packet | None) -> BreakKind:
    told = case.observed.broken.kind
    if told != "none":
        return told
    if case.mail is not None and case.mail.outcome == "refused":
        return "reply"
    if reset is not None:
        before = [p for p in packets if p.number < reset.number]
        if before and reset.ns - before[-1].ns < SPAN:
            return "rst"
    return "drop"
