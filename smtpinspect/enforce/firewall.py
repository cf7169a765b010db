"""One IP packet in, its fate out: the rules of an inspector enforced upon the connections that pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from smtpinspect._core.views import Alert
from smtpinspect._core.watcher import FIRED
from smtpinspect.actions import Strength
from smtpinspect.enforce import craft
from smtpinspect.enforce.craft import ACK, FIN, PSH, RST, SYN, layout
from smtpinspect.enforce.flow import CLIENT, HELD, SERVER, SIDES, Flow, Packet, Side, Withheld
from smtpinspect.enforce.numbers import Stream
from smtpinspect.enforce.plan import Deed, acts, chosen, deed_of, numbered, units
from smtpinspect.enforce.watch import Watch
from smtpinspect.engine import PORTS
from smtpinspect.facts import COMMAND, GREETING, KEYWORD
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector

if TYPE_CHECKING:
    from smtpinspect._core.watcher import OfSide, Standing

FLOWS: Final = 65_536  # connections that are remembered for what was done to them
FORGET_NS: Final = 3_600_000_000_000  # after this long without a packet; Linux sends again for 925 s
CALM_NS: Final = 3_000_000_000  # so long repetitions may come of what was changed, although it was acknowledged
SWEEP: Final = 1_024  # packets of such connections between two looks at who is to be forgotten
_WHOLE: Final = 1 << 32
_HALF: Final = 1 << 31
TRIES: Final = 3  # repetitions of a part of a line, or of a question for what the box said, that are believed


class Fate(NamedTuple):
    """What becomes of a packet.

    `kind`: pass (as it is), edit (as `octets`), drop, hold (the box keeps it, and comes back to it). `released` are
    packets held earlier, of the same side, with their fates: they go before this one. `injected` are packets of the
    box, by the side that they go to; they go behind. `why` is the rule that decided, or what else did.
    """

    kind: Literal["pass", "edit", "drop", "hold"]
    octets: bytes | None = None
    injected: tuple[tuple[Side, bytes], ...] = ()
    released: tuple[tuple[bytes, Fate], ...] = ()
    alerts: tuple[Alert, ...] = ()
    why: str = ""


PASSED: Final = Fate("pass")


class Firewall:
    """An inspector in the middle of connections. No sockets and no clock: the caller has them.

    Alerts are judged by what the client sees and sends: the octets as they were before any rewriting, with what the
    box has answered in between. `ports` are those of servers, beside the inspector's own; `held` octets of one side
    of a connection may wait for a decision.
    """

    def __init__(
        self,
        inspector: str | Inspector,
        *,
        ports: Sequence[int] = PORTS,
        secrets: bool = False,
        held: int = HELD,
    ) -> None:
        self.inspector = registry.load(inspector)
        rows = self.inspector.table()
        self.watch = Watch(self.inspector, ports=ports, units=units(rows), secrets=secrets)
        # a verb that came in pieces has a rule of its own: whoever drops it keeps the pieces
        split = [row.action.strength for row in rows if row.when.kind is COMMAND and "split" in dict(row.when.tests)]
        self._keeps = Strength.DROP in split
        greetings = (deed_of(row).rewrite for row in rows if row.when.kind is GREETING)
        self._greeting = next(filter(None, greetings), None)  # for one that comes in parts, far apart
        # an answer has its place among the server's octets: these are followed from the beginning, and in order
        self._answers = any(row.when.kind is COMMAND and deed_of(row).reply for row in rows)
        self._step = self.watch.step
        self._room = held
        self._flows: dict[bytes, tuple[Flow, int]] = {}
        self._seen = 0

    def take(self, ns: int, ip: bytes) -> Fate:
        """The fate of one IP packet, which came at this time (nanoseconds)."""
        if ip[:1] == b"\x45":
            key, tcp = ip[12:24], 20
        elif ip[6:7] == b"\x06" and ip[0] >> 4 == 6:
            key, tcp = ip[8:44], 40
        else:
            key, tcp = _key(ip), 0
        known = self._flows.get(key)
        if known is None:
            found = self._step(ns, ip)
            return self._first(ns, ip, found) if found or self._answers else PASSED
        flow, side = known
        if flow.quiet and tcp and len(ip) >= tcp + 20 and not ip[tcp + 13] & SYN:
            # nothing is to be done to it unless it repeats what was changed, or fires something
            number = int.from_bytes(ip[tcp + 4 : tcp + 8], "big")
            silent = side == CLIENT or not self._answers or len(ip) == tcp + (ip[tcp + 12] >> 2 & 60)
            if silent and (number - flow.fences[side]) % _WHOLE < _HALF:
                found = self._step(ns, ip)
                flow.last_ns = ns
                if found:
                    return self._first(ns, ip, found, flow)
                if ns - flow.touched_ns > CALM_NS and not self._answers:
                    self._forget(flow)
                return PASSED
        return self._follow(ns, ip, flow, side)

    def finish(self) -> tuple[Alert, ...]:
        """Nothing more comes; the alerts that only the end tells."""
        self.watch.finish()
        return self.watch.fired()

    # --- connections that are remembered ----------------------------------------------------------------

    def _first(self, ns: int, ip: bytes, found: int, before: Flow | None = None) -> Fate:
        """The first packet of a connection that asks for something, or the next one after quiet ones."""
        alerts = self.watch.fired()
        standing = self.watch.standing()
        at = layout(ip)
        if standing is None or at is None:
            return Fate("pass", alerts=alerts) if alerts else PASSED
        if not found & ~FIRED and not any(map(acts, alerts)):
            if before:
                return Fate("pass", alerts=alerts)
            begun = standing[1][0] is not None and standing[2][0] is not None and ip[at.tcp + 13] & SYN == 0
            if not self._answers or not begun:
                return Fate("pass", alerts=alerts) if alerts else PASSED
        flow = self._flow(ip, at, standing)
        if flow is None:
            return Fate("pass", alerts=alerts)
        if before:
            flow.go_on(before)
        packet = flow.packet(ip, standing[0], at)
        flow.note(packet)
        return self._decide(ns, flow, packet, alerts, standing, [])

    def _flow(self, ip: bytes, at: craft.Layout, standing: Standing) -> Flow | None:
        segment = craft.parse(ip)
        if segment is None:
            return None
        side = standing[0]
        # one that is picked up in its middle may have no beginning yet: this packet tells where both are
        here = (segment.seq, segment.ack) if side == CLIENT else (segment.ack, segment.seq)
        streams = (_stream(standing[1], here[CLIENT]), _stream(standing[2], here[SERVER]))
        number = streams[side].offset(segment.seq)
        streams[side].top = min(streams[side].top, number)
        near, far = (segment.src, segment.sport), (segment.dst, segment.dport)
        ends = (*near, *far) if side == CLIENT else (*far, *near)
        keys = (_key(ip), _turned(_key(ip)))
        flow = Flow(keys if side == CLIENT else (keys[1], keys[0]), ends, streams)
        if len(self._flows) >= 2 * FLOWS:
            self._forget(next(iter(self._flows.values()))[0])
        self._flows[flow.keys[0]] = flow, CLIENT
        self._flows[flow.keys[1]] = flow, SERVER
        return flow

    def _forget(self, flow: Flow) -> None:
        for key in flow.keys:
            self._flows.pop(key, None)

    def _sweep(self, ns: int) -> None:
        for flow in {id(flow): flow for flow, _ in self._flows.values()}.values():
            if ns - flow.last_ns > FORGET_NS:
                self._forget(flow)

    def _follow(self, ns: int, ip: bytes, flow: Flow, side: int) -> Fate:
        at = layout(ip)
        if at is None:
            return Fate("drop", why="no whole TCP segment") if flow.dead else PASSED
        self._seen += 1
        if self._seen % SWEEP == 0:
            self._sweep(ns)
        flow.last_ns = ns
        packet = flow.packet(ip, side, at)
        if packet.flags & (SYN | ACK) == SYN and self._anew(flow, packet):
            self._forget(flow)
            return self.take(ns, ip)
        if flow.dead:
            return self._after(flow, packet)
        if self._answers and side == SERVER and packet.payload and packet.at > flow.streams[SERVER].top:
            return Fate("drop", why="out of order")  # it comes again
        flow.note(packet)
        injected: list[tuple[Side, bytes]] = []
        if side == CLIENT:
            self._step(ns, ip)
            self._said_again(flow, packet, injected)
        else:
            self._show(ns, flow, packet, injected)
        return self._decide(ns, flow, packet, self.watch.fired(), self.watch.standing(), injected)

    def _anew(self, flow: Flow, packet: Packet) -> bool:
        """Is this SYN of another connection between the same ends?"""
        number = int.from_bytes(packet.octets[packet.layout.tcp + 4 : packet.layout.tcp + 8], "big")
        return packet.side == SERVER or (number + 1) % (1 << 32) != flow.streams[CLIENT].base

    def _after(self, flow: Flow, packet: Packet) -> Fate:
        """A packet of a connection that has ended here."""
        ending = flow.ending
        injected: list[tuple[Side, bytes]] = []
        if ending and not packet.flags & RST:
            if (ending.client, ending.server)[packet.side] == "rst":
                injected.append((SIDES[packet.side], flow.reset_again(packet)))
            elif packet.side == CLIENT and ending.taken:
                injected += self._taken(flow, packet)
        return Fate("drop", injected=tuple(injected), why="the flow has ended")

    def _taken(self, flow: Flow, packet: Packet) -> list[tuple[Side, bytes]]:
        """The box takes what the client still sends, and says again what the client has not heard."""
        ending, client, server = flow.ending, flow.streams[CLIENT], flow.streams[SERVER]
        assert ending is not None
        new = packet.at <= client.top < packet.end
        flow.note(packet)
        if new:
            client.top = packet.end
        fin = client.fin is not None and client.fin <= client.top
        end = server.forward(flow.sent[SERVER], True)  # behind the reply
        number = int.from_bytes(packet.octets[packet.layout.tcp + 8 : packet.layout.tcp + 12], "big")
        heard = server.received(number)
        out: list[tuple[Side, bytes]] = []
        if not new and packet.payload and heard < end:
            start = end - len(ending.reply)
            out.append(("client", flow.made(CLIENT, ACK | PSH, start, ending.reply)))
            out.append(("client", flow.made(CLIENT, ACK | FIN, end)))
        if packet.payload or packet.flags & FIN:
            out.append(("client", flow.made(CLIENT, ACK, end + 1, ack=client.top + fin)))
        return out

    # --- what the client sees ----------------------------------------------------------------------------

    def _show(self, ns: int, flow: Flow, packet: Packet, injected: list[tuple[Side, bytes]]) -> None:
        """Read a packet of the server as the client gets it, with the box's answers in their places."""
        client, server = flow.streams
        top = server.top
        if not server.shifted and not client.shifted and not flow.waiting:
            self._step(ns, packet.octets)
            return
        start = max(packet.at, top) if packet.end > top else packet.at
        payload = packet.payload[start - packet.at :]
        lines = payload.splitlines(keepends=True) if flow.waiting else [payload]
        for i, line in enumerate(lines or [b""]):
            number = int.from_bytes(packet.octets[packet.layout.tcp + 8 : packet.layout.tcp + 12], "big")
            last = i >= len(lines) - 1
            view = craft.edited(
                packet.octets,
                payload=line,
                seq=server.number(server.forward(start, True)),
                ack=flow.sender_number(CLIENT, number),
                flags=packet.flags if last else packet.flags & ~FIN,
            )
            self._step(ns, view)
            start += len(line)
            if start > top:
                self._answer(ns, flow, start, injected)

    def _answer(self, ns: int, flow: Flow, at: int, injected: list[tuple[Side, bytes]]) -> None:
        """Say what waits, where all earlier commands have had their replies; `at` counts the server's octets."""
        server = flow.streams[SERVER]
        while flow.waiting:
            standing = self.watch.standing()
            if standing is None or standing[4] != flow.waiting[0].at:
                return
            withheld = flow.waiting.popleft()
            start = server.forward(at, True)
            packet = flow.made(CLIENT, ACK | PSH, start, withheld.reply, ack=flow.acknowledged())
            server.replace(at, at, withheld.reply)
            flow.unheard.append(withheld._replace(start=start))
            injected.append(("client", packet))
            self._step(ns, packet)

    def _said_again(self, flow: Flow, packet: Packet, injected: list[tuple[Side, bytes]]) -> None:
        """A command that was withheld comes again, or the client asks twice for octets of the box: say it again."""
        client, server = flow.streams
        if not packet.flags & ACK or not (client.shifted or server.shifted):
            return
        number = int.from_bytes(packet.octets[packet.layout.tcp + 8 : packet.layout.tcp + 12], "big")
        heard = server.received(number)
        again = bool(packet.payload) and packet.end <= client.top and client.withheld(packet.at, packet.end)
        if not packet.payload and flow.unheard and heard == flow.unheard[0].start:
            flow.asked = (heard, flow.asked[1] + 1) if flow.asked[0] == heard else (heard, 0)
            again = flow.asked[1] >= TRIES
        if not again:
            return
        for each in flow.unheard:
            octets = flow.made(CLIENT, ACK | PSH, each.start, each.reply, ack=flow.acknowledged())
            injected.append(("client", octets))
        if not flow.unheard:
            seq = server.forward(server.top, True)
            injected.append(("client", flow.made(CLIENT, ACK, seq, ack=flow.acknowledged())))

    # --- deciding ------------------------------------------------------------------------------------------

    def _decide(
        self,
        ns: int,
        flow: Flow,
        packet: Packet,
        alerts: tuple[Alert, ...],
        standing: Standing | None,
        injected: list[tuple[Side, bytes]],
    ) -> Fate:
        known = packet.payload and packet.end <= flow.streams[packet.side].top
        flow.arrived(packet)
        deeds = chosen(alerts, self.inspector)
        why = deeds[0].alert.rule if deeds else ""
        for each in deeds:
            flow.touched_ns = ns
            if each.ending:
                flow.dead, flow.ending = True, each.ending
                injected += flow.ending_packets(each.ending)
                flow.held[0].clear()
                flow.held[1].clear()
                return Fate("drop", injected=tuple(injected), alerts=alerts, why=why)
            self._do(ns, flow, packet, each, injected)
        if flow.waiting:
            self._answer(ns, flow, flow.streams[SERVER].top, injected)
            alerts += self.watch.fired()
            standing = self.watch.standing()
        self._settle(flow, packet, standing, bool(known))
        fate = self._onward(flow, packet, standing, injected, alerts, why)
        flow.settle_down()
        if flow.quiet and not self._answers and ns - flow.touched_ns > CALM_NS:
            self._forget(flow)
        return fate

    def _do(self, ns: int, flow: Flow, packet: Packet, deed: Deed, injected: list[tuple[Side, bytes]]) -> None:
        """What changes the octets that go on."""
        alert = deed.alert
        side = SERVER if alert.direction == "server" else CLIENT
        stream = flow.streams[side]
        at = stream.back(alert.offset) if side == SERVER else alert.offset
        kind = alert.row.when.kind
        if deed.lost:
            low = flow.sent[side]
            for held in flow.held[side].values():
                if held.at <= at < held.end:
                    low = max(low, held.at)
            if side == packet.side and packet.at <= at < packet.end:
                low = max(low, packet.at)
            stream.lose(low, stream.top)
            return
        unit = flow.unit(side, at, alert.length if kind is GREETING else 0)
        if unit is None:
            return
        start, octets = unit
        if deed.reply:
            # (what has gone on before the line was whole cannot be taken back)
            stream.replace(max(start, flow.sent[side]), start + len(octets), b"")
            flow.waiting.append(Withheld(start, deed.reply))
        elif deed.rewrite and kind is KEYWORD:
            if flow.masked_at != flow.streams[CLIENT].top:
                flow.masked, flow.masked_at = 0, flow.streams[CLIENT].top
            flow.rewrite(side, start, octets, lambda line: numbered(line, flow.masked))
            flow.masked += 1
        elif deed.rewrite:
            flow.rewrite(side, start, octets, deed.rewrite)

    def _settle(self, flow: Flow, packet: Packet, standing: Standing | None, known: bool) -> None:
        """How far the octets of both sides can go on."""
        for side in (CLIENT, SERVER):
            stream = flow.streams[side]
            if standing is None:
                flow.forced[side] = stream.top
                flow.trim(side, stream.top)
                continue
            _, read, settled, _ = standing[1] if side == CLIENT else standing[2]
            if side == SERVER:
                read, settled = stream.back(read), stream.back(settled)
            if read > stream.top:
                # with octets of a text that went on out of order, and were not kept
                flow.buffers[side].clear()
                stream.top = read
            if known and side == packet.side and settled < packet.end <= read and flow.forced[side] < packet.end:
                flow.again += 1
                if flow.again >= TRIES and not (side == CLIENT and self._keeps):
                    unit = flow.unit(side, settled, read - settled) if side == SERVER and settled == 0 else None
                    if unit and self._greeting:
                        flow.rewrite(side, *unit, self._greeting)
                    flow.forced[side], flow.again = read, 0
            if settled > flow.forced[side]:
                flow.forced[side], flow.again = settled, 0
            flow.trim(side, settled)

    def _onward(
        self,
        flow: Flow,
        packet: Packet,
        standing: Standing | None,
        injected: list[tuple[Side, bytes]],
        alerts: tuple[Alert, ...],
        why: str,
    ) -> Fate:
        """The packet, and those held, as far as they go on."""
        released: list[tuple[bytes, Fate]] = []
        behind: list[tuple[Side, bytes]] = []
        for side in (CLIENT, SERVER):
            for held in sorted(flow.held[side].values(), key=lambda each: each.at):
                if side == packet.side and held.at == packet.at:
                    flow.held[side].pop(held.at, None)  # the same again
                    continue
                upto = self._upto(flow, held, standing)
                if upto == held.at:
                    continue
                del flow.held[side][held.at]
                self._keep(flow, held, upto)
                made = flow.forwarded(held, upto)
                if side == packet.side and held.at < packet.at:
                    released += [(held.octets, Fate("edit", octets)) for octets in made]
                else:
                    behind += [(SIDES[1 - side], octets) for octets in made]
        upto = self._upto(flow, packet, standing)
        kept = self._keep(flow, packet, upto)
        own = [] if upto == packet.at and upto is not None else flow.forwarded(packet, upto)
        flow.account()
        given = (*[(SIDES[1 - packet.side], octets) for octets in own[1:]], *behind, *injected)
        if not own:
            return Fate("hold" if kept else "drop", None, given, tuple(released), alerts, why or "undecided" * kept)
        if own[0] is packet.octets:
            if not (given or released or alerts):
                return PASSED
            return Fate("pass", None, given, tuple(released), alerts, why)
        return Fate("edit", own[0], given, tuple(released), alerts, why)

    def _upto(self, flow: Flow, packet: Packet, standing: Standing | None) -> int | None:
        """Up to where the packet goes on now; None: all of it."""
        side, limit = packet.side, flow.forced[packet.side]
        if packet.end <= limit or standing is None or packet.flags & (SYN | RST):
            return None
        if not packet.payload and not packet.flags & FIN:
            return None
        text = side == CLIENT and standing[3] and packet.at > flow.streams[side].top
        if text and b"\n." not in packet.payload and not packet.payload.startswith(b"."):
            return None  # out of order in a text: nothing in it is to be changed, and its order is the receiver's care
        return max(packet.at, limit)

    def _keep(self, flow: Flow, packet: Packet, upto: int | None) -> bool:
        """Hold what does not go on yet, if there is room."""
        if upto is None:
            return False
        held = flow.held[packet.side]
        rest = packet._replace(at=upto, payload=packet.payload[upto - packet.at :])
        if sum(len(each.payload) for each in held.values()) + len(rest.payload) > self._room:
            return False
        held[upto] = rest
        return True


def _stream(side: OfSide, number: int) -> Stream:
    base, read, _, acked = side
    made = Stream(number if base is None else base, read)
    made.acked = max(acked, 0)
    return made


def _key(ip: bytes) -> bytes:
    """Both ends of a packet, as its octets have them; empty for what is no TCP packet."""
    at = layout(ip)
    if at is None:
        return b""
    if ip[0] >> 4 == 4:
        return ip[12:20] + ip[at.tcp : at.tcp + 4]
    return ip[8:40] + ip[at.tcp : at.tcp + 4]


def _turned(key: bytes) -> bytes:
    """The same for the other direction."""
    n = (len(key) - 4) // 2
    return key[n : 2 * n] + key[:n] + key[-2:] + key[-4:-2]
