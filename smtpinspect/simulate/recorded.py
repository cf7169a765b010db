"""The capture's own flow through an emulated firewall: packet by packet as it was, and, from where a rule breaks it,
as both ends would have gone on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from smtpinspect._core.views import Mail as Record
from smtpinspect.enforce.craft import ACK, FIN, RST, edited, filled, parse, sound
from smtpinspect.mta.base import Ending, Loss, Receiver, Sender
from smtpinspect.simulate.adopt import SIDES, Ends, Side, other
from smtpinspect.simulate.clock import SECOND, Clock
from smtpinspect.simulate.flow import Captured
from smtpinspect.simulate.observed import ending_of, loss_of, refusal
from smtpinspect.simulate.players import ClientPlayer, ServerPlayer
from smtpinspect.simulate.script import Script, Transaction
from smtpinspect.simulate.spoken import spoken
from smtpinspect.simulate.tcp import Endpoint, Event
from smtpinspect.simulate.turns import envelope_of
from smtpinspect.simulate.views import View
from smtpinspect.simulate.way import Box, Crossing, Fate, Way

Kind = Literal["drop", "rst", "fin", "reply", "none"]
Actor = Literal["client", "firewall", "server"]

BEHIND: Final = 4 * 3_600 * SECOND  # time that is let pass behind a break: longer than any program waits
CROSSINGS: Final = 1_000_000  # packets at the box; a text of the longest connection that is kept needs 140,000
EVENTS: Final = 300  # of a timeline on each side of the break
BREAKING: Final = frozenset({"drop", "drop-flow", "reset"})
AGAIN: Final[Mapping[Event, str]] = {
    "probe": "kernel sends again (tail loss probe): {}", "again": "kernel sends again: {}",
    "given-up": "kernel gives the connection up", "reset": "is told: connection reset", "fin": "closes (FIN)",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Of a timeline: seconds since the connection's first packet, who, what."""

    t: float
    actor: Actor
    event: str


@dataclass
class Played:
    """What came of it. `ending`, `loss`: how client and server saw the mail end; `alert`: the rule that broke the
    flow, None when nothing did; `stopped`: why the capture cannot show the rest, "" when it can."""

    script: Script
    mail: Transaction | None
    ending: Ending
    loss: Loss
    began: int
    broken: int = 0  # when, ns; 0: not
    kind: Kind = "none"
    alert: Any = None
    alerts: list[Any] = field(default_factory=list)
    timeline: list[Line] = field(default_factory=list)
    left_out: int = 0  # events that the timeline does not show
    packets: int = 0  # of the capture, up to the break
    edited: int = 0
    dropped: int = 0
    injected: int = 0
    filled: int = 0  # packets whose checksums had not been filled in
    cut: int = 0  # packets of which the capture lacks octets
    parted: bool = False  # modelled ends have gone on without the capture
    stopped: str = ""


class Recording:
    """One connection of a capture, played through a box."""

    def __init__(
        self,
        script: Script,
        box: Box,
        sender: Sender,
        receiver: Receiver,
        *,
        mail: Transaction | None = None,
        record: Record | None = None,
        asked: bool = False,
        timeouts: Mapping[str, float] | None = None,
        client_view: View | None = None,
        server_view: View | None = None,
    ) -> None:
        self.script = script
        self.sender = sender
        self.receiver = receiver
        self.mail = mail
        self.record = record
        self.asked = asked
        self.timeouts = timeouts
        self.ends = Ends()
        views: dict[Side, View] = {"client": client_view or View(), "server": server_view or View()}
        self.way = Way(box, views, self.ends)
        envelope = envelope_of(script, mail)
        self.made = Played(
            script, mail, Ending("connect", "timeout", envelope), Loss("connect", "timeout", envelope), script.start_ns
        )
        self._lines = 0
        self._greeted = 0
        self._crossed = 0
        self._withheld: list[tuple[int, int]] = []
        self._players: tuple[ClientPlayer, ServerPlayer] | None = None
        self._kept: dict[Side, set[int]] = {"client": set(), "server": set()}  # sequence numbers

    def play(self, packets: Iterable[Captured]) -> Played:
        """Every packet as it was, until one breaks the flow; then on without the capture."""
        made = self.made
        last = made.began
        for packet in packets:
            side: Side = "client" if packet.by_client else "server"
            ip = self._possible(side, self._sound(packet))
            last = packet.ns
            made.packets += 1
            self._say(side, packet.ns, ip)
            crossing = self.way.cross(side, packet.ns, ip)
            self._note(crossing)
            self._keep(crossing)
            self.ends.sent(side, packet.ns, ip)
            if made.alert is not None or self._withheld:
                self._go_on(crossing)
                return made
            self.way.leave(crossing)
            self._heard(packet.ns)
        began, record = made.began, self.record
        made.ending = ending_of(self.script, self.mail, record, began, last)
        made.loss = loss_of(self.script, self.mail, record, began, last)
        return made

    def _heard(self, ns: int) -> None:
        """When the client had the reply to its EHLO or HELO."""
        hello = self.script.hello
        if not self._greeted and hello is not None and hello.reply is not None:
            self._greeted = ns if self.ends.of["client"].got_octets >= hello.reply.end else 0

    def _sound(self, packet: Captured) -> bytes:
        """The packet with its checksums: a host that offloads them records them unfilled."""
        made = self.made
        if packet.missing:
            made.cut += 1
        elif parse(packet.ip) is not None and not sound(packet.ip):
            made.filled += 1
            return filled(packet.ip)
        return packet.ip

    def _possible(self, side: Side, ip: bytes) -> bytes:
        """The packet, but that it acknowledges nothing that the box has kept back."""
        kept = self._kept[other(side)]
        segment = parse(ip) if kept else None
        if segment is None or not segment.flags & ACK:
            return ip
        low = _lowest(kept, segment.ack)
        return edited(ip, ack=low) if 0 < (segment.ack - low) & 0xFFFFFFFF < 1 << 31 else ip

    def _keep(self, crossing: Crossing) -> None:
        """Note what the box keeps back, and what it lets go after all."""
        kept = self._kept[crossing.side]
        fate = crossing.fate
        for ip, decided in fate.released:
            for each in (ip, decided.octets):
                if each is not None and (segment := parse(each)) is not None:
                    kept.discard(segment.seq)
        for to, ip in fate.injected:  # what waited for the other side
            if (segment := parse(ip)) is not None:
                self._kept[other(to)].discard(segment.seq)
        segment = parse(crossing.ip)
        if segment is None or not (segment.payload or segment.flags & FIN):
            return
        if fate.kind in ("hold", "drop"):
            kept.add(segment.seq)
        elif fate.kind == "edit" and fate.octets is not None:
            part = parse(fate.octets)  # the rest is kept back
            if part is not None and len(part.payload) < len(segment.payload):
                kept.add((segment.seq + len(part.payload)) & 0xFFFFFFFF)

    def _note(self, crossing: Crossing) -> None:
        """Count what the box did, and tell the loud parts."""
        made, fate = self.made, crossing.fate
        self._crossed += 1
        made.edited += fate.kind == "edit"
        made.dropped += fate.kind == "drop"
        made.injected += len(fate.injected)
        for alert in fate.alerts:
            made.alerts.append(alert)
            if alert.action not in ("pass", "alarm"):
                self._line(crossing.ns, "firewall", f"{alert.rule}: {alert.action}")
            if made.alert is None and (alert.breaks or alert.action in BREAKING):
                made.alert = alert
                made.broken = crossing.ns
            if alert.action == "answer" and alert.direction == "client":
                self._withhold(alert.offset)
        for to, ip in fate.injected:
            if _loud(ip):
                self._line(crossing.ns, "firewall", f"to the {to}: {_injected(ip)}")

    def _withhold(self, at: int) -> None:
        """The server never gets the command around this offset."""
        for command in self.script.commands:
            if command.at <= at < command.end:
                self._withheld.append((command.at, command.end))
                if self._players is not None:
                    self._players[0].withhold(command.at)
                    self._players[1].skip(command.at, command.end)
                return
        self._withheld.append((at, at))  # in a text: the flow ends with the answer

    # ---- behind the break

    def _go_on(self, crossing: Crossing) -> None:
        made = self.made
        clock = Clock(crossing.ns)
        for side in SIDES:
            # A capture may hold an acknowledgment before what it acknowledges.
            if kept := self._kept[other(side)]:
                self.ends.of[side].lacks(_lowest(kept, self.ends.of[side].rcv & 0xFFFFFFFF))
        ends: dict[Side, Endpoint] = {side: self._end(side, clock) for side in SIDES}
        client, server = self.ends.of["client"], self.ends.of["server"]
        mail = made.mail = self._open_mail(client.sent_octets, client.got_octets)
        player = ClientPlayer(
            clock, self.script, self.sender, made.began, sent=client.sent_octets, got=client.got_octets,
            since=max(client.last_sent, client.last_got, made.began), mail=mail, timeouts=self.timeouts,
            connecting=max(self._greeted - made.began, 0) / SECOND,
        )  # fmt: skip
        keeper = ServerPlayer(
            clock, self.script, self.receiver, made.began, sent=server.sent_octets, got=server.got_octets,
            since=max(server.last_sent, server.last_got, made.began), mail=mail, timeouts=self.timeouts,
        )  # fmt: skip
        player.tell = lambda text: self._line(clock.now, "client", text)
        keeper.tell = lambda text: self._line(clock.now, "server", text)
        for at, end in self._withheld:
            player.withhold(at)
            keeper.skip(at, end)
        self._players = player, keeper
        made.parted = True
        ends["client"].program, ends["server"].program = player, keeper
        player.take(ends["client"])
        keeper.take(ends["server"])
        self.way.join(clock, {side: ends[side].receive for side in SIDES}, self._note)
        self._lines = 0
        self.way.leave(crossing)
        made.kind = kind_of(crossing.fate)
        player.start()
        keeper.start()
        clock.run(until=crossing.ns + BEHIND, enough=lambda: bool(player.unplayed) or self._crossed > CROSSINGS)
        if _decided(mail, client.got_octets):
            made.ending = ending_of(self.script, mail, None, made.began, crossing.ns)
        elif player.ending is not None:
            made.ending = player.ending
        if keeper.loss is not None:
            made.loss = keeper.loss
        made.stopped = player.unplayed

    def _end(self, side: Side, clock: Clock) -> Endpoint:
        local, peer = self._address(side), self._address(other(side))

        def observe(event: Event, seq: int, n: int) -> None:
            first = self.ends.of[side].first or 0
            if event in AGAIN:
                self._line(clock.now, side, AGAIN[event].format(spoken(self.script, side, seq - first, n) or "FIN"))

        made = Endpoint(clock, local, peer, self.way.sender(side), self.ends.stack(side), observe=observe)
        made.adopt(self.ends.flow(side))
        return made

    def _address(self, side: Side) -> tuple[str, int]:
        text = self.script.client if side == "client" else self.script.server
        address, _, port = text.rpartition(":")
        return address.strip("[]"), int(port)

    def _open_mail(self, sent: int, got: int) -> Transaction | None:
        """The mail that was asked for; else that which is open, or the next, or the last one that is over."""
        mails = self.script.mails
        if self.asked and self.mail is not None:
            return self.mail
        for mail in mails:
            if not _decided(mail, got) or mail.ends > sent:
                return mail
        return self.mail or (mails[-1] if mails else None)

    # ---- the timeline

    def _say(self, side: Side, ns: int, ip: bytes) -> None:
        segment = parse(ip)
        if segment is None:
            return
        first = self.ends.of[side].first
        if segment.payload and first is not None:
            at = (segment.seq - first) & 0xFFFFFFFF
            self._line(ns, side, spoken(self.script, side, at, len(segment.payload)))
        if segment.flags & RST:
            self._line(ns, side, "RST")
        elif segment.flags & FIN:
            self._line(ns, side, "closes (FIN)")

    def _line(self, ns: int, actor: Actor, event: str) -> None:
        made = self.made
        self._lines += 1
        if self._lines > EVENTS:
            made.left_out += 1
            return
        made.timeline.append(Line(round((ns - made.began) / SECOND, 6), actor, event))


def _lowest(numbers: set[int], near: int) -> int:
    """The first of these sequence numbers, none of them half the circle away from `near`."""
    return min(numbers, key=lambda number: (number - near + (1 << 31)) & 0xFFFFFFFF)


def _decided(mail: Transaction | None, got: int) -> bool:
    """Has the client had the reply that decides it? `got`: octets of the server that have come."""
    decided = refusal(mail)
    return decided is not None and decided[2].end <= got


def _loud(ip: bytes) -> bool:
    segment = parse(ip)
    return segment is not None and bool(segment.payload or segment.flags & (RST | FIN))


def _injected(ip: bytes) -> str:
    segment = parse(ip)
    if segment is None:
        return f"{len(ip):,} bytes"
    if segment.flags & RST:
        return "RST"
    if segment.payload:
        return segment.payload.decode("latin-1").strip().encode("unicode_escape").decode("ascii")
    return "FIN" if segment.flags & FIN else "an acknowledgment"


def kind_of(fate: Fate) -> Kind:
    """What the client gets of a break."""
    flags = 0
    for to, ip in fate.injected:
        segment = parse(ip)
        if to == "client" and segment is not None:
            if segment.payload and any(alert.action == "answer" for alert in fate.alerts):
                return "reply"
            flags |= segment.flags
    return "rst" if flags & RST else "fin" if flags & FIN else "drop"
