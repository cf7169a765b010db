"""How a connection ended: by which kind of break, by whom, where in the dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Break, BreakKind, By, Sign, Where
from smtpinspect.diagnose.observe.habits import anyones, habits, off_by
from smtpinspect.diagnose.observe.origin import NAMES, parted
from smtpinspect.diagnose.observe.place import Place, at_octet, cut, stage, unanswered
from smtpinspect.diagnose.observe.spoken import NEXT, TEXT, Dialogue
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST, SYN
from smtpinspect.simulate.clock import SECOND

GAVE_UP: Final = 2.0  # seconds without a reply behind which a client that closes had a time-out (mta: none is shorter)
AGAIN: Final = 0.1  # seconds: no retransmission timer is shorter (Linux TCP_RTO_MIN 0.2 s)
SAME: Final = "this connection alone does not tell a box that drops from a host that died or a line that was cut"
REFUSES: Final = 400  # reply codes from here on (RFC 5321 4.2.1)


class Ending(NamedTuple):
    """`place`: None where nothing broke. `silence`: seconds without anything from the side that was waited for."""

    broken: Break
    place: Place | None = None
    silence: float = 0.0
    acked: int = 0  # octets of the client that the server acknowledged
    heard: int = 0  # octets of the server that the client acknowledged


class _Owed(NamedTuple):
    """Octets, or the FIN, of one side that the other never acknowledged."""

    at: int
    copies: tuple[Packet, ...]

    @property
    def repeated(self) -> bool:
        """Sent again, and not just captured twice."""
        return len(self.copies) > 1 and self.seconds >= AGAIN

    @property
    def times(self) -> int:
        """How often the first of them was sent; where only others were sent again, how often any was."""
        first = self.copies[0]
        same = sum(packet.at == first.at and (packet.length > 0 or not first.length) for packet in self.copies)
        return same if same > 1 else len(self.copies)

    @property
    def seconds(self) -> float:
        return (self.copies[-1].ns - self.copies[0].ns) / SECOND


class _Flow:
    """The packets of a connection, parted: what its ends sent, and what was made in their names."""

    def __init__(self, packets: Sequence[Packet], said: Dialogue) -> None:
        self.all, self.said = packets, said
        self.parted = parted(packets)
        self.forged, self.own = self.parted.forged, self.parted.own
        self.acked = {side: self._acked(side) for side in (True, False)}

    def of(self, by_client: bool) -> list[Packet]:
        return [packet for packet in self.own if packet.by_client == by_client]

    def _acked(self, by_client: bool) -> int:
        """Octets of this side that the other one acknowledged."""
        return min(self.parted.acknowledged(by_client), self.said.sent[0 if by_client else 1])

    def owed(self, by_client: bool) -> _Owed | None:
        """What this side sent, again perhaps, and got no acknowledgment for."""
        at = self.parted.acknowledged(by_client)
        copies: list[Packet] = []
        highest = 0
        for packet in self.of(by_client):
            if packet.at is None or packet.flags & (RST | SYN):
                continue
            end = packet.at + packet.length + (1 if packet.flags & FIN else 0)
            if packet.at <= at < end or (copies and at < end <= highest):
                copies.append(packet)  # the first of these octets, or any behind it again
            highest = max(highest, end)
        return _Owed(at, tuple(copies)) if copies else None

    def closer(self) -> Packet | None:
        """The first packet with which an end closes."""
        return next((packet for packet in self.own if packet.flags & (RST | FIN)), None)

    def last(self, by_client: bool) -> Packet | None:
        return next((packet for packet in reversed(self.own) if packet.by_client == by_client), None)


def ending(packets: Sequence[Packet], said: Dialogue, where: Where = "unknown") -> Ending:
    """How these packets of a connection end, by where they were taken."""
    flow = _Flow(packets, said)
    if not flow.of(True) or (not flow.of(False) and not _only_syn(flow)):
        return Ending(Break("none", "unknown"), None, 0.0, flow.acked[True])
    made = _forged(flow, where) or _no_connection(flow, where) or _lost(flow, where) or _never_came(flow)
    made = made or _silent(flow) or _closed(flow) or _idle(flow) or Ending(Break())
    return made._replace(acked=flow.acked[True], heard=flow.acked[False])


def _only_syn(flow: _Flow) -> bool:
    return all(packet.flags & SYN for packet in flow.of(True))


def _forged(flow: _Flow, where: Where) -> Ending | None:
    """An RST or FIN that no end sent."""
    if flow.forged is None:
        return None
    packet, signs = flow.forged
    kind: BreakKind = "rst" if packet.flags & RST else "fin"
    owed = flow.owed(True)
    if kind == "fin" and owed is not None and owed.repeated and owed.copies[-1].ns > packet.ns:
        signs = (*signs, Sign(owed.copies[-1].number, "behind it the server answers nothing"))
    place = _place_of(flow, packet, where)
    own = {each.number for each in flow.own}
    for step in flow.said.steps:
        answer = step.answer
        if answer is not None and (answer.code or 0) >= REFUSES and answer.packet.number not in own:
            return Ending(Break("reply", "middlebox", answer.packet.number, place.at, signs), place)
    return Ending(Break(kind, "middlebox", packet.number, place.at, signs), place)


def _place_of(flow: _Flow, packet: Packet, where: Where = "unknown") -> Place:
    """Where an RST or FIN broke the dialogue. What a forged one acknowledges got as far as to the box: it names the
    segment that was the last one to pass, or the one that did not."""
    if not any(each.flags & SYN and not each.by_client for each in flow.own) and _only_syn(flow):
        return Place("connect", stage("connect"))
    acked, sent = flow.acked[True], flow.said.sent[0]
    told = min(packet.acks or 0, sent) if not packet.by_client else 0
    if told > acked:
        begin, _ = cut(flow.all, told - 1, flow.said.mss)
        return at_octet(flow.said, flow.all, max(begin, acked))
    if packet.by_client and flow.acked[False] < flow.said.sent[1]:
        return _reply_lost(flow, where)
    if acked < sent:
        return at_octet(flow.said, flow.all, acked)
    return unanswered(flow.said)


def _no_connection(flow: _Flow, where: Where) -> Ending | None:
    """A SYN that was not answered, or refused; or its answer was not."""
    if not _only_syn(flow):
        return None
    place = Place("connect", stage("connect"))
    syns, answers = flow.of(True), [packet for packet in flow.of(False) if packet.flags & SYN]
    if answers:
        times = f"{len(answers)} time{'s' if len(answers) > 1 else ''}"
        sign = Sign(answers[-1].number, f"the server answered the SYN {times}, and the client went no further")
        side: By = "unknown"
        if len(answers) > 1 and where in ("sender", "receiver"):
            side = "middlebox" if where == "receiver" else "client"
        return Ending(Break("drop", side, answers[0].number, None, (sign,)), place, _since(answers[0], flow))
    closer = flow.closer()
    if closer is not None:
        text = "the SYN was refused as a host does that does not listen there; a box can do that as well"
        return Ending(Break("rst", "server", closer.number, None, (Sign(closer.number, text),)), place)
    text = f"{len(syns)} SYN{'s' if len(syns) > 1 else ''} unanswered; a host that is up sends an RST at least"
    by: By = "middlebox" if len(syns) > 1 else "unknown"
    return Ending(Break("drop", by, syns[0].number, None, (Sign(syns[-1].number, text),)), place, _since(syns[0], flow))


def _lost(flow: _Flow, where: Where) -> Ending | None:
    """Octets that were sent again and again, and never acknowledged."""
    client, server = flow.owed(True), flow.owed(False)
    closer = flow.closer()
    if client is not None and client.repeated:
        answered = closer is not None and not closer.by_client and closer.flags & RST
        return None if answered else _unacknowledged(flow, client, True, where)
    if server is not None and server.repeated:
        return _unacknowledged(flow, server, False, where)
    return None


def _unacknowledged(flow: _Flow, owed: _Owed, by_client: bool, where: Where) -> Ending:
    name, other = NAMES[by_client], NAMES[not by_client]
    first, last = owed.copies[0], owed.copies[-1]
    what = f"{name}'s bytes from {owed.at:,} on" if first.length else f"{name}'s FIN"
    signs = [Sign(last.number, f"the {what} were sent {owed.times} times in {owed.seconds:.1f} s, unanswered")]
    heard = flow.last(not by_client)
    by: By = "middlebox"
    # what came within a round trip had been sent before
    alive = heard is not None and heard.ns > max(owed.copies[1].ns, first.ns + AGAIN * SECOND)
    if heard is not None and heard.field == 0 and not heard.flags & RST:
        by = "server" if by_client else "client"
        signs.append(Sign(heard.number, f"the {other} had closed its window"))
    elif alive and heard is not None:
        signs.append(Sign(heard.number, f"the {other} still sends, but does not get these octets"))
    elif where == ("receiver" if by_client else "sender") and flow.said.greeting is not None:
        by = "server" if by_client else "client"
        signs.append(Sign(last.number, f"they reached the {other}'s side, where this was captured; it fell silent"))
    elif heard is not None and heard.ns > first.ns:
        late = f"{_between(first, heard) * 1000:,.0f} ms behind the first of these, which it does not acknowledge"
        signs.append(Sign(heard.number, f"the last that came from the {other} came {late}"))
    else:
        signs.append(Sign(None, f"from then on nothing came from the {other} at all: neither octets nor an ACK"))
    # what is seen to be sent again and again is on the far side of what stops it
    if by == "middlebox" and not alive:
        signs.append(Sign(None, SAME))
    place = _place_lost(flow, by_client, "receiver" if where == "unknown" and not by_client else where)
    number = first.number if by_client or place.step is None else place.step.packet.number
    silence = max(owed.seconds, _since(heard, flow) if heard is not None and not alive else 0.0)
    return Ending(Break("drop", by, number, place.at, tuple(signs)), place, silence)


def _place_lost(flow: _Flow, by_client: bool, where: Where) -> Place:
    acked, sent = flow.acked[True], flow.said.sent[0]
    if by_client and acked < sent:
        return at_octet(flow.said, flow.all, acked)
    if not by_client and flow.acked[False] < flow.said.sent[1]:
        return _reply_lost(flow, where)
    return unanswered(flow.said)


def _reply_lost(flow: _Flow, where: Where) -> Place:
    """The reply of which the client acknowledged nothing, or not all. Behind the box it may as well be what the client
    said next, since that carries the acknowledgment: so it was, except where no more than a QUIT comes next."""
    at = flow.acked[False]
    said = flow.said
    if said.greeting is not None and at < said.greeting.end:
        return Place("greeting", stage("greeting"))
    for step in said.steps:
        if step.answer is not None and at < step.answer.end:
            last = said.steps[-1]
            if where == "receiver" and last.verb != TEXT and last.answer is not None:
                phase = NEXT[last.phase]
            else:
                replied = "dotreply" if step.last else "datamid"
                phase = replied if step.verb == TEXT else "reply354" if step.verb == "DATA" else step.phase
            return Place(phase, stage(phase), None, step)
    return unanswered(said)


def _never_came(flow: _Flow) -> Ending | None:
    """The client counts octets that did not come by, and nobody acknowledges them: its packet behind them did."""
    sent = flow.said.sent[0]
    if flow.parted.acknowledged(True) > sent or any(p.by_client and p.flags & FIN for p in flow.own):
        return None
    mine = (p for p in flow.of(True) if not p.length and not p.flags & (SYN | RST))
    told = next((p for p in mine if p.at is not None and p.at > sent), None)
    if told is None or told.at is None:
        return None
    text = f"by this packet the client had sent octets {sent:,} to {told.at - 1:,}, which never came here"
    place = at_octet(flow.said, flow.all, sent)
    return Ending(Break("drop", "middlebox", told.number, sent, (Sign(told.number, text),)), place, _since(told, flow))


def _silent(flow: _Flow) -> Ending | None:
    """A reply never came, until the client gave up, or the capture ends."""
    place = _place_lost(flow, True, "unknown")
    step = place.step
    waiting = place.phase == "greeting" or (step is not None and (step.answer is None or step.answer.code is None))
    if not waiting or place.phase == "quit":
        return None
    closer, heard = flow.closer(), flow.last(False)
    since = step.packet if step is not None else flow.own[0]
    end = flow.said.sent[1]
    beyond = next((p for p in flow.of(False) if p.at is not None and p.at > end + 1 and not p.flags & RST), None)
    owed = flow.owed(True)
    if closer is not None and not closer.by_client:
        return None  # it is the server that ends it
    if closer is not None and closer.flags & FIN and closer.length:
        closer = None  # it has said all that it has to say, and still listens
    if closer is not None and _between(since, closer) < GAVE_UP:
        return None
    signs: list[Sign] = []
    by: By = "unknown"
    if beyond is not None:
        by = "middlebox"
        signs.append(Sign(beyond.number, "the server had sent more octets by then; they did not come through"))
    elif closer is None:
        signs.append(Sign(flow.own[-1].number, "the capture ends while the reply is waited for"))
    elif heard is not None and heard.ns > closer.ns:
        by = "server"
        signs.append(Sign(heard.number, "the server still answers, but never sent the reply"))
    elif owed is not None:
        signs.append(Sign(closer.number, "the client gave up; nobody answered that"))
    return Ending(Break("drop", by, since.number, None, tuple(signs)), place, _between(since, closer or flow.own[-1]))


def _closed(flow: _Flow) -> Ending | None:
    """An end closed the connection itself, amid a dialogue."""
    closer = flow.closer()
    if closer is None:
        return None
    if any(step.verb == "QUIT" for step in flow.said.steps):
        return None
    if closer.by_client and not any(step.verb == "MAIL" for step in flow.said.steps):
        return None  # it did not want to send a mail: a probe, a monitor
    kind: BreakKind = "rst" if closer.flags & RST else "fin"
    by: By = "client" if closer.by_client else "server"
    place = _place_of(flow, closer)
    step = flow.said.steps[-1] if flow.said.steps else None
    if by == "server" and step is not None and step.answer is not None and (step.answer.code or 0) >= REFUSES:
        place = Place(step.phase, stage(step.phase), None, step)
        return Ending(Break("reply", "server", step.answer.packet.number), place)
    if anyones(closer):
        text = f"this RST could be of any kernel, or of a box: it does not tell that the {by} sent it"
        return Ending(Break(kind, "unknown", closer.number, place.at, (Sign(closer.number, text),)), place)
    hops = off_by(closer, habits([each for each in flow.of(closer.by_client) if each.number < closer.number]))
    text = f"the {by} closed it: this {kind.upper()} looks like all its packets"
    if hops:
        text += f", but for a TTL that differs by {hops}, as another route makes it"
    return Ending(Break(kind, by, closer.number, place.at, (Sign(closer.number, text),)), place)


def _idle(flow: _Flow) -> Ending | None:
    """All was answered; the client does not go on, and nobody closes."""
    place = unanswered(flow.said)
    if flow.closer() is not None or place.phase == "quit" or flow.said.tls_at is not None:
        return None
    last = flow.own[-1]
    sign = Sign(last.number, "the capture ends here, with nothing under way")
    return Ending(Break("drop", "unknown", last.number, None, (sign,)), place)


def _between(first: Packet, last: Packet) -> float:
    return max(0.0, (last.ns - first.ns) / SECOND)


def _since(packet: Packet, flow: _Flow) -> float:
    return _between(packet, flow.own[-1])
