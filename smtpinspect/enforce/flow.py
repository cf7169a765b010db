"""What the box remembers of one connection that it has touched, and the packets that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from smtpinspect.enforce import craft
from smtpinspect.enforce.craft import ACK, FIN, PSH, RST, Layout
from smtpinspect.enforce.numbers import Piece, Stream
from smtpinspect.enforce.plan import Ending

Side = Literal["client", "server"]
SIDES: Final[tuple[Side, Side]] = ("client", "server")
CLIENT, SERVER = 0, 1
KEPT: Final = 1 << 16  # octets of an open unit that are kept to be rewritten; no line of a dialogue is longer
HELD: Final = 1 << 18  # octets that wait for a decision, of each side; more are refused, as by a full window
WINDOW: Final = 502  # of packets that the box makes before it has seen one of that side
TTL: Final = 64
# At the end: an echo may be older than what that end has said since, and PAWS (RFC 7323 5) would refuse it.
NEWER: Final = 10_000  # timestamp ticks, ms in Linux


class Packet(NamedTuple):
    """A packet of the connection as it came: its octets, the side that sent it, and its place in the stream."""

    octets: bytes
    side: int
    at: int
    payload: bytes
    flags: int
    layout: Layout

    @property
    def end(self) -> int:
        """The stream offset behind its octets."""
        return self.at + len(self.payload)


class Last(NamedTuple):
    """What a side's last packet carried."""

    window: int
    timestamps: tuple[int, int] | None
    ttl: int


class Withheld(NamedTuple):
    """A command that the server never sees, and the box's answer to it; `start`: of the answer, as the client counts
    the server's octets, once it is given."""

    at: int
    reply: bytes
    start: int = -1

    @property
    def end(self) -> int:
        """Behind the answer."""
        return self.start + len(self.reply)


class Flow:
    """One connection: the streams of both sides, what is held, and how it has ended."""

    __slots__ = (
        "again", "asked", "buffers", "dead", "ending", "ends", "fences", "forced", "held", "keys", "last", "last_ns",
        "masked", "masked_at", "quiet", "sent", "streams", "touched_ns", "unheard", "waiting",
    )  # fmt: skip

    def __init__(
        self, keys: tuple[bytes, bytes], ends: tuple[str, int, str, int], streams: tuple[Stream, Stream]
    ) -> None:
        self.keys = keys
        self.ends = ends  # client, its port, server, its port
        self.streams = streams
        self.sent = [stream.top for stream in streams]  # octets that went on in order, as their sender counts
        self.buffers = (bytearray(), bytearray())  # the last octets of each stream, up to its top
        self.held: tuple[dict[int, Packet], dict[int, Packet]] = ({}, {})
        self.forced = [0, 0]  # octets that go on whatever they are part of
        self.again = 0  # packets that came again although they are held
        self.asked = (-1, 0)  # for which octet of the server the client asked last, and how often
        self.waiting: list[Withheld] = []  # for the replies to earlier commands
        self.unheard: list[Withheld] = []  # answers that the client has not acknowledged
        self.masked = 0  # EHLO keywords masked in this reply
        self.masked_at = -1
        self.last: list[Last | None] = [None, None]
        self.ending: Ending | None = None
        self.quiet = False  # there is nothing to do but to change repetitions of what was changed
        self.fences = [0, 0]  # behind that: sequence numbers
        self.dead = False  # nothing goes on any more
        self.last_ns = self.touched_ns = 0  # of the last packet; of the last one that changed something

    # --- reading -----------------------------------------------------------------------------------------

    def packet(self, octets: bytes, side: int, layout: Layout) -> Packet:
        """The packet in its stream."""
        tcp = layout.tcp
        number = int.from_bytes(octets[tcp + 4 : tcp + 8], "big")
        flags = octets[tcp + 13]
        at = 0 if flags & craft.SYN else self.streams[side].offset(number)
        return Packet(octets, side, at, octets[layout.payload : layout.end], flags, layout)

    def note(self, packet: Packet) -> None:
        """Remember what the packets to come are made with, and what it acknowledges."""
        octets, tcp = packet.octets, packet.layout.tcp
        self.last[packet.side] = Last(
            octets[tcp + 14] << 8 | octets[tcp + 15],
            craft.timestamps(octets[tcp + 20 : packet.layout.payload]),
            octets[8] if octets[0] >> 4 == 4 else octets[7],
        )
        if packet.flags & ACK:
            other = self.streams[1 - packet.side]
            number = int.from_bytes(octets[tcp + 8 : tcp + 12], "big")
            heard = other.received(number)
            other.acked = max(other.acked, other.back(heard))
            while packet.side == CLIENT and self.unheard and self.unheard[0].end <= heard:
                del self.unheard[0]
        if packet.flags & FIN:
            self.streams[packet.side].fin = packet.end

    def arrived(self, packet: Packet) -> None:
        """Its octets are the next ones, perhaps with those that were held behind them."""
        stream, buffer = self.streams[packet.side], self.buffers[packet.side]
        parts = [packet, *sorted(self.held[packet.side].values(), key=lambda held: held.at)]
        for part in parts:
            if part.at <= stream.top < part.end:
                buffer += part.payload[stream.top - part.at :]
                stream.top = part.end
        if len(buffer) > KEPT:
            del buffer[: len(buffer) - KEPT]

    def trim(self, side: int, settled: int) -> None:
        """Forget the octets before this offset."""
        buffer = self.buffers[side]
        if buffer:
            del buffer[: max(0, settled - (self.streams[side].top - len(buffer)))]

    def unit(self, side: int, at: int, length: int = 0) -> tuple[int, bytes] | None:
        """The line around this offset, or so many octets from there on, and where it begins; None: not kept."""
        buffer = self.buffers[side]
        start = self.streams[side].top - len(buffer)
        if at < start or at >= start + len(buffer):
            return None
        if length:
            return at, bytes(buffer[at - start : at - start + length])
        begin = buffer.rfind(b"\n", 0, at - start) + 1
        end = buffer.find(b"\n", at - start) + 1 or len(buffer)
        return start + begin, bytes(buffer[begin:end])

    def rewrite(self, side: int, start: int, octets: bytes, change: Callable[[bytes], bytes]) -> None:
        """A unit goes on changed, as far as it has not gone on yet."""
        known = min(max(0, self.sent[side] - start), len(octets))
        self.streams[side].rewrite(start + known, octets[known:], lambda rest: change(octets[:known] + rest)[known:])

    # --- writing -----------------------------------------------------------------------------------------

    def made(self, to: int, flags: int, seq: int, payload: bytes = b"", ack: int | None = None) -> bytes:
        """A packet to a side as if from the other; numbers are offsets as the receiver counts, and in `ack` as it
        counts its own."""
        client, client_port, server, server_port = self.ends
        src, sport, dst, dport = (
            (server, server_port, client, client_port) if to == CLIENT else (client, client_port, server, server_port)
        )
        last, peer = self.last[1 - to], self.last[to]
        stamp = peer.timestamps if peer else None
        options = b""
        if stamp and not flags & RST:
            own = last.timestamps if last else None
            value = (own[0] if own else stamp[1]) + NEWER * self.dead
            options = craft.stamped(value & 0xFFFFFFFF, stamp[0])
        return craft.build(
            craft.Segment(
                src=src,
                dst=dst,
                sport=sport,
                dport=dport,
                seq=self.streams[1 - to].number(seq),
                ack=self.streams[to].number(self._all(to) if ack is None else ack),
                flags=flags,
                window=last.window if last else WINDOW,
                options=options,
                payload=payload,
                ttl=last.ttl if last else TTL,
                ip_id=0,
            )
        )

    def _all(self, side: int) -> int:
        """What a side has sent in order, its FIN too."""
        stream = self.streams[side]
        return stream.top + (stream.fin is not None and stream.fin <= stream.top)

    def acknowledged(self) -> int:
        """What the box can acknowledge to the client with an answer: what the server has, and what was withheld behind
        it and is answered."""
        client = self.streams[CLIENT]
        offset = client.back(client.forward(client.acked, True))
        return min(offset, self.waiting[0].at) if self.waiting else offset

    def sender_number(self, to: int, number: int) -> int:
        """The number, as this side counts, for one with which the other acknowledges its octets.

        A withheld command counts when its answer was heard: until then it must come again if the answer is lost.
        """
        stream = self.streams[to]
        offset = stream.back(stream.received(number))
        if to == CLIENT and (self.unheard or self.waiting):
            offset = min(offset, (self.unheard or self.waiting)[0].at)
        return stream.number(offset)

    def ending_packets(self, ending: Ending) -> Iterator[tuple[Side, bytes]]:
        """What both sides are told when the connection ends, each with the numbers that it waits for."""
        client, server = self.streams
        at = server.forward(self.sent[SERVER], True)
        if ending.reply:
            server.replace(self.sent[SERVER], self.sent[SERVER], ending.reply)
            yield "client", self.made(CLIENT, ACK | PSH, at, ending.reply)
            at += len(ending.reply)
        if ending.client:
            yield "client", self.made(CLIENT, _FLAGS[ending.client], at)
        if ending.server:
            at = client.forward(self.sent[CLIENT], True)
            yield "server", self.made(SERVER, _FLAGS[ending.server], at)

    def reset_again(self, packet: Packet) -> bytes:
        """An RST with the number that this packet's sender waits for (RFC 9293 3.10.7.1)."""
        number = int.from_bytes(packet.octets[packet.layout.tcp + 8 : packet.layout.tcp + 12], "big")
        other = self.streams[1 - packet.side]
        return self.made(packet.side, RST | ACK, other.received(number), ack=packet.end)

    def forwarded(self, packet: Packet, upto: int | None = None) -> list[bytes]:
        """The packet as the other side gets it, up to a stream offset, in one packet or several; none: not at all."""
        own, other = self.streams[packet.side], self.streams[1 - packet.side]
        octets, tcp = packet.octets, packet.layout.tcp
        payload = packet.payload if upto is None else packet.payload[: max(0, upto - packet.at)]
        whole = len(payload) == len(packet.payload)
        pieces = own.pieces(packet.at, payload)
        ack = None
        sack: Callable[[int], int] | None = None
        if packet.flags & craft.SYN:
            return [octets]
        if other.shifted and packet.flags & ACK:
            sack = other.sender_number
            ack = self.sender_number(1 - packet.side, int.from_bytes(octets[tcp + 8 : tcp + 12], "big"))

        if payload and not pieces and own.lost and own.is_lost(packet.at + len(payload) - 1):
            return []
        if not pieces:
            pieces = [Piece(own.forward(packet.at, True), b"", packet.at + len(payload))]
        same = packet.at, octets[packet.layout.payload : packet.layout.end]
        if whole and len(pieces) == 1 and ack is None and pieces[0][:2] == same:
            return [octets]
        made = []
        for piece in pieces:
            ends = whole and piece.end == packet.end and piece is pieces[-1]
            flags = packet.flags if ends else packet.flags & ~(FIN | PSH)
            number = own.number(piece.at)
            made.append(craft.edited(octets, payload=piece.octets, seq=number, ack=ack, sack=sack, flags=flags))
        return made

    def account(self) -> None:
        """How far the octets have gone on, in order."""
        for side, stream in enumerate(self.streams):
            stops = [each.at for each in self.held[side].values()] + [low for low, _ in stream.lost]
            self.sent[side] = max(self.sent[side], min([stream.top, *stops]))

    def settle_down(self) -> None:
        """Is there anything left to be done?"""
        self.quiet = not (
            self.dead
            or self.waiting
            or self.unheard
            or any(self.held)
            or any(self.buffers)
            or any(
                stream.lost or stream.shifted or any(edit.end > stream.acked for edit in stream.edits)
                for stream in self.streams
            )
        )
        if self.quiet:
            self.fences = [
                stream.number(stream.edits[-1].end if stream.edits else 0) for stream in self.streams
            ]

    def go_on(self, before: Flow) -> None:
        """Keep what is known of the same connection before it was quiet."""
        for stream, known in zip(self.streams, before.streams, strict=True):
            stream.remember(known)
        self.last, self.masked, self.masked_at = before.last, before.masked, before.masked_at
        self.touched_ns = before.touched_ns


_FLAGS: Final = {"rst": RST | ACK, "fin": FIN | ACK}
