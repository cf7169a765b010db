"""A connection as its packets tell it: which of them its ends sent, what each acknowledged, who closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

from smtpinspect._core.views import Flow
from smtpinspect.diagnose.account.habits import acknowledges, at_reset, forged, genuine, goes_on, habits
from smtpinspect.diagnose.account.spoken import Dialogue, dialogue
from smtpinspect.diagnose.account.stream import Stream, half_closes, streams
from smtpinspect.diagnose.trace import Packet, Sign, Trace, source_of, traces
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.script import Script, script_of
from smtpinspect.source import Input

NAMES: Final = {True: "client", False: "server"}


class Account:
    """Of a connection of which packets are kept. What is dear is worked out when somebody asks, and kept.

    `client` and `server` are what each of them sent; `ended`, `closed`, `closer` and `reset` tell who closed, each in
    its sense.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.packets = trace.packets

    @cached_property
    def said(self) -> Dialogue:
        """Commands, text and replies with their packets, by lengths where octets are hidden."""
        return dialogue(self.packets, self.client, self.server)

    def read(self) -> Script | None:
        """Its dialogue octet for octet, as the core reads it; it is large, and not kept."""
        port = int(self.trace.flow.server.rpartition(":")[2])
        return script_of(source_of(self.trace), 1, ports=(port,))

    @cached_property
    def script(self) -> Script | None:
        """The same, kept."""
        return self.read()

    @cached_property
    def forged(self) -> tuple[Packet, tuple[Sign, ...]] | None:
        """The first RST or FIN that no end sent, and why; of many the first `limits.CLOSERS` are looked at."""
        closing = (n for n, packet in enumerate(self.packets) if packet.flags & (RST | FIN))
        found = ((self.packets[n], _signs(self.packets, n)) for n in islice(closing, limits.CLOSERS))
        return next(((packet, signs) for packet, signs in found if signs), None)

    @cached_property
    def own(self) -> Sequence[Packet]:
        """What its ends sent, and no box in their names: not the forged one, nor an RST in the same name behind it."""
        if self.forged is None:
            return self.packets
        made, _ = self.forged
        later = (p for p in self.packets if p.number > made.number)
        behind = [p for p in later if p.by_client != made.by_client or not p.flags & RST]
        return genuine([*(p for p in self.packets if p.number < made.number), *behind], made)

    @cached_property
    def _streams(self) -> tuple[Stream, Stream]:
        return streams(self.packets, {packet.number for packet in self.own})

    @property
    def client(self) -> Stream:
        return self._streams[0]

    @property
    def server(self) -> Stream:
        return self._streams[1]

    def stream(self, by_client: bool) -> Stream:
        return self._streams[0 if by_client else 1]

    @cached_property
    def syns(self) -> list[Packet]:
        """The client's."""
        return [packet for packet in self.packets if packet.flags & (SYN | ACK) == SYN]

    @cached_property
    def greeted(self) -> list[Packet]:
        """The SYN ACKs of the server."""
        return [packet for packet in self.packets if packet.flags & SYN and packet.flags & ACK]

    @property
    def scaled(self) -> bool:
        """Is the scale of windows known (RFC 7323 2.2)? It stands in the SYNs of both sides."""
        return bool(self.syns) and bool(self.greeted)

    @cached_property
    def merged(self) -> bool:
        """Are some segments larger than any on the wire? The capturing host joins them."""
        return any(packet.length > limits.WIRE_SEGMENT for way in self._streams for packet in way.sent)

    @cached_property
    def closing(self) -> list[Packet]:
        """FINs and RSTs, whoever sent them."""
        return [packet for packet in self.packets if packet.flags & (FIN | RST) and not packet.flags & SYN]

    @property
    def ended(self) -> Packet | None:
        """The first of these."""
        return next(iter(self.closing), None)

    @property
    def closed(self) -> Packet | None:
        """The first behind which its side listens no more."""
        return next((packet for packet in self.closing if not half_closes(packet)), None)

    @property
    def closer(self) -> Packet | None:
        """The first packet with which an end closes."""
        return next((packet for packet in self.own if packet.flags & (RST | FIN)), None)

    @property
    def reset(self) -> Packet | None:
        """The RST that ended it, whoever sent it: not one that answers a FIN, or comes behind that."""
        first = self.ended
        return first if first is not None and first.flags & RST else None

    def acknowledging(self, by_client: bool, end: int) -> Packet | None:
        """The first packet of the other end that acknowledges this side's octets before `end`."""
        theirs = (packet for packet in self.stream(not by_client).own if acknowledges(packet))
        return next((packet for packet in theirs if packet.acks is not None and packet.acks >= end), None)

    def claimed(self, by_client: bool) -> int:
        """Octets of this side that anybody acknowledged in the other's name, a box between them too; a FIN is none."""
        acked = max((p.acks or 0 for p in self.packets if p.by_client != by_client), default=0)
        fin = any(p.by_client == by_client and p.flags & FIN and p.end == acked - 1 for p in self.packets)
        return max(0, acked - fin)

    @cached_property
    def unheard(self) -> list[Packet]:
        """The keep-alives at the end behind which nothing came from the other end: two, or one and a second."""
        for way, other in (self._streams, self._streams[::-1]):
            heard = max((p.ns for p in other.own), default=0)
            last = [p for p in way.probes if p.ns > heard]
            if last and self.packets[-1].ns - last[0].ns >= SECOND:
                return last
        return []

    def missing(self, by_client: bool) -> tuple[int, int, Packet] | None:
        """A hole in this side's octets, and the packet that showed it, where the other end tells that it has not got
        them either: it has others behind them (SACK), or much later no more. Else the capture may have lost them."""
        way, other = self.stream(by_client), self.stream(not by_client)
        if way.hole is None or way.unseen or self.trace.left_out:
            return None
        begin, end = way.hole
        first = next((p for p in way.own if p.at is not None and p.at >= end and not p.flags & RST), None)
        if first is None:
            return None
        late = any(p.acks == begin and p.ns - first.ns >= SECOND for p in other.own if acknowledges(p))
        return (begin, end, first) if late or any(left >= end for left, _ in way.sacked) else None

    @property
    def whole(self) -> bool:
        """Does the capture hold all that the other end got, of both sides? Each hole is one that never came there."""
        ways = ((True, self.client), (False, self.server))
        held = all(not way.unseen and (way.hole is None or self.missing(side) is not None) for side, way in ways)
        return held and bool(self.client.own) and bool(self.server.own) and not self.trace.left_out

    def without(self, made: Packet) -> Account:
        """The same but for what the box that made this packet sent in that end's name."""
        other = Account(self.trace)
        other.own = genuine(self.own, made)
        return other

    def after(self, ns: int, *, by_client: bool) -> list[Packet]:
        """What this side sent later than that."""
        return [packet for packet in self.packets if packet.ns > ns and packet.by_client == by_client]


def accounts(source: Input, flows: Iterable[Flow]) -> dict[int, Account]:
    """By flow_id, of those connections that have packets: see `traces`."""
    return {flow_id: Account(trace) for flow_id, trace in traces(source, flows).items() if trace.packets}


def _signs(packets: Sequence[Packet], n: int) -> tuple[Sign, ...]:
    packet = packets[n]
    before = [other for other in packets[:n] if other.by_client == packet.by_client]
    opens = bool(n) and all(other.flags & SYN and other.by_client != packet.by_client for other in packets[:n])
    behind = [other for other in packets[n + 1 :] if other.by_client == packet.by_client]
    signs = forged(packet, habits(before), opens, behind)
    later = [other for other in behind if not other.flags & RST]
    name = NAMES[packet.by_client]
    if packet.flags & RST and before and later:
        then = at_reset(packets, n)
        plain = (each for each in later if each.flags & ACK and not each.flags & SYN)
        first = next((each for each in plain if goes_on(each, packet, then)), None)
        if first is not None:
            return (*signs, Sign(first.number, f"the {name} goes on behind it"))
    if packet.flags & FIN and packet.end is not None:
        beyond = [other for other in later if other.length and (other.end or 0) > packet.end]
        if beyond:
            return (*signs, Sign(beyond[0].number, f"the {name} goes on behind it"))
    return signs
