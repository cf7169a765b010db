"""Where a flow broke, as a rule would have to explain it: what came through, what did not, what each end was told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.model import BreakKind, Case
from smtpinspect.diagnose.observe.origin import Parted, parted
from smtpinspect.diagnose.observe.spoken import CLOSES
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import IN_TEXT

Side = Literal["sender", "receiver", "unknown"]
Direction = Literal["client", "server"]
PATIENT: Final = limits.STALL_NS  # servers wait minutes (RFC 5321 4.5.3.2.7: at least 5), a busy one says so at once
_REFUSAL: Final = re.compile(rb"[45]\d\d[ -]")
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
    first that did not come through. `goes_on`: behind it other packets still pass; None where that cannot be told."""

    client: Half
    server: Half
    side: Side = "unknown"
    kind: BreakKind = "none"
    packet: int | None = None
    goes_on: bool | None = None

    def half(self, direction: str) -> Half:
        return self.client if direction == "client" else self.server


def scene_of(case: Case) -> Scene | None:
    """None without packets: nobody looked closer."""
    trace = case.trace
    if trace is None or not trace.packets:
        return None
    packets = trace.packets
    reset = _reset(packets)
    ends = parted(packets)
    client, server = _half(packets, True, ends), _half(packets, False, ends)
    side = _side(case, client, server, reset)
    # what is in the capture on the far side of the box has come through it, acknowledged or not
    client, server = (_passed(client), server) if side == "receiver" else (client, _passed(server, side))
    packet = next((p.number for p in packets if p.by_client and p.length and p.end and p.end > client.through), None)
    if packet is None:
        packet = next(
            (p.number for p in packets if not p.by_client and p.length and p.end and p.end > server.through), None
        )
    kind = _kind(case, packets, reset, client)
    if kind == "reply" and (side == "receiver" or server.again) and _undelivered(packets, server):
        kind = "drop" if reset is None else "rst"
    client = _passed(client) if case.reply_lost else client
    return Scene(client, server, side, kind, packet, _goes_on(packets, client, kind))


def _goes_on(packets: Sequence[Packet], client: Half, kind: BreakKind) -> bool | None:
    """Does the server still get something behind what was lost? It would acknowledge again what it has."""
    if not client.lost or client.hole is not None or kind not in ("drop", "fin"):
        return None
    lost = [p for p in packets if p.by_client and p.at is not None and p.length and p.at + p.length > client.through]
    if not lost:
        return None
    behind = [p for p in packets if not p.by_client and p.number > lost[0].number]
    if any(p.length or p.flags & FIN for p in behind):
        return True
    flight = {p.at for p in lost}
    if len(flight) < 2 and lost[0].length <= limits.WIRE_SEGMENT:
        return None
    return sum(1 for p in behind if p.acks == client.through and not p.flags & RST) > 1


def _reset(packets: Sequence[Packet]) -> Packet | None:
    """The RST that ended it: not the one that answers a FIN, or what came behind that."""
    for packet in packets:
        if packet.flags & FIN and not packet.flags & RST:
            return None
        if packet.flags & RST:
            return packet
    return None


def _half(packets: Sequence[Packet], by_client: bool, ends: Parted) -> Half:
    sent = again = 0
    through = ends.acknowledged(by_client)
    top: int | None = None
    spans: list[tuple[int, int]] = []
    for packet in packets:
        if not packet.flags & RST and packet.by_client == by_client:
            if packet.at is not None and packet.length:
                spans.append((packet.at, packet.at + packet.length))
                sent = max(sent, packet.at + packet.length)
            if packet.flags & FIN and packet.end is not None:
                top = packet.end
    if top is not None and through == top + 1:
        through = top  # a FIN counts one
    first = min((end for begin, end in spans if begin <= through < end), default=through)
    again = max(0, sum(1 for begin, end in spans if begin <= through < end) - 1)
    hole = None
    if spans and not any(begin <= through < end for begin, end in spans):
        behind = [begin for begin, _ in spans if begin > through]
        hole = (through, min(behind)) if behind else None
    return Half(through, sent, first, again, hole)


def _passed(half: Half, side: Side = "sender") -> Half:
    if side != "sender" or half.hole is not None:
        return half
    return half._replace(through=half.sent, first=half.sent)


def _side(case: Case, client: Half, server: Half, reset: Packet | None) -> Side:
    told = case.observed.vantage.where
    if told in ("sender", "receiver"):
        return told
    if reset is not None and reset.by_client and not client.again:
        return "receiver"
    if client.lost and client.hole is None and (client.again or not server.lost):
        return "sender"
    if client.hole is not None or (server.lost and server.again):
        return "receiver"
    if reset is not None:
        return "receiver" if reset.by_client else "sender"
    return "unknown"


def _undelivered(packets: Sequence[Packet], server: Half) -> bool:
    """Did the client never acknowledge the server's last refusal?"""
    said = [p for p in packets if not p.by_client and p.length and _REFUSAL.match(p.payload)]
    return bool(said) and said[-1].at is not None and said[-1].at >= server.through


def _refuses(packets: Sequence[Packet]) -> bool:
    """Are the server's last octets a refusal, amid a text too?"""
    said = [p.payload for p in packets if not p.by_client and p.length]
    last = next((octets for octets in reversed(said) if not octets.startswith(b"2")), b"")
    return bool(_REFUSAL.match(last)) and not last.startswith(b"%d" % CLOSES)


def _spoken(packets: Sequence[Packet]) -> bool:
    """Did the client say more behind the server's last octets?"""
    return next((p.by_client for p in reversed(packets) if p.length), False)


def _waited(packets: Sequence[Packet]) -> bool:
    """Did the server's last octets come behind a long silence of the client?"""
    last = next((p for p in reversed(packets) if not p.by_client and p.length), None)
    heard = [p.ns for p in packets if p.by_client and p.length and last is not None and p.number < last.number]
    return last is not None and bool(heard) and last.ns - heard[-1] > PATIENT


def _kind(case: Case, packets: Sequence[Packet], reset: Packet | None, client: Half) -> BreakKind:
    if case.mail is not None and case.mail.reply == CLOSES and (client.lost or _waited(packets)):
        return "drop"  # the server waited for what was lost, and told so
    text = case.mail is not None and case.mail.phase in IN_TEXT
    if not (client.lost and client.again) and _refuses(packets) and (reset is None or text or not _spoken(packets)):
        return "reply"
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
