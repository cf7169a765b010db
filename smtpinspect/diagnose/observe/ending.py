"""How a connection ended: by which kind of break, by whom, where in the dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from smtpinspect.diagnose.account import AGAIN, NAMES, Account, Owed, half_closes
from smtpinspect.diagnose.account.habits import HOPS, anyones, habits, off_by
from smtpinspect.diagnose.account.spoken import NEXT, REFUSES, TEXT
from smtpinspect.diagnose.model import Break, BreakKind, By, Sign, Where
from smtpinspect.diagnose.observe.place import Place, at_octet, cut, stage, unanswered
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST, SYN
from smtpinspect.grammar.phrases import count
from smtpinspect.simulate.clock import SECOND

GAVE_UP: Final = 2.0  # seconds without a reply behind which a client that closes had a time-out (mta: none is shorter)
SAME: Final = "this connection alone does not tell a box that drops from a host that died or a line that was cut"

NOT_TAKEN: Final = "a packet filter on the way or at the server, its full queue, a dead host or line look the same"


class Ending(NamedTuple):
    """`place`: None where nothing broke. `silence`: seconds without anything from the side that was waited for."""

    broken: Break
    place: Place | None = None
    silence: float = 0.0
    acked: int = 0  # octets of the client that the server acknowledged
    heard: int = 0  # octets of the server that the client acknowledged


def ending(account: Account, where: Where = "unknown") -> Ending:
    """How these packets of a connection end, by where they were taken."""
    if not account.client.own or (not account.server.own and not _only_syn(account)):
        return Ending(Break("none", "unknown"), None, 0.0, account.client.acknowledged)
    made = _forged(account, where) or _no_connection(account, where) or _lost(account, where) or _never_came(account)
    made = made or _silent(account) or _closed(account) or _idle(account) or Ending(Break())
    return made._replace(acked=account.client.acknowledged, heard=account.server.acknowledged)


def _only_syn(account: Account) -> bool:
    return all(packet.flags & SYN for packet in account.client.own)


def _forged(account: Account, where: Where) -> Ending | None:
    """An RST or FIN that no end sent."""
    if account.forged is None:
        return None
    packet, signs = account.forged
    kind: BreakKind = "rst" if packet.flags & RST else "fin"
    owed = account.client.owed
    if kind == "fin" and owed is not None and owed.repeated and owed.copies[-1].ns > packet.ns:
        signs = (*signs, Sign(owed.copies[-1].number, "behind it the server answers nothing"))
    place = _place_of(account, packet, where)
    own = {each.number for each in account.own}
    for step in account.said.steps:
        answer = step.answer
        if answer is not None and (answer.code or 0) >= REFUSES and answer.packet.number not in own:
            return Ending(Break("reply", "middlebox", answer.packet.number, place.at, signs), place)
    return Ending(Break(kind, "middlebox", packet.number, place.at, signs), place)


def _place_of(account: Account, packet: Packet, where: Where = "unknown") -> Place:
    """Where an RST or FIN broke the dialogue. What a forged one acknowledges got as far as to the box: it names the
    segment that was the last one to pass, or the one that did not."""
    if not any(each.flags & SYN and not each.by_client for each in account.own) and _only_syn(account):
        return Place("connect", stage("connect"))
    acked, sent = account.client.acknowledged, account.client.end
    told = min(packet.acks or 0, sent) if not packet.by_client else 0
    if told > acked:
        begin, _ = cut(account, told - 1)
        return at_octet(account, max(begin, acked))
    if packet.by_client and account.server.acknowledged < account.server.end:
        return _reply_lost(account, where)
    if acked < sent:
        return at_octet(account, acked)
    return unanswered(account.said)


def _no_connection(account: Account, where: Where) -> Ending | None:
    """A SYN that was not answered, or refused; or its answer was not."""
    if not _only_syn(account):
        return None
    place = Place("connect", stage("connect"))
    syns, answers = account.client.own, [packet for packet in account.server.own if packet.flags & SYN]
    if answers:
        times = f"{len(answers)} time{'s' if len(answers) > 1 else ''}"
        sign = Sign(answers[-1].number, f"the server answered the SYN {times}, and the client went no further")
        side: By = "unknown"
        if len(answers) > 1 and where in ("sender", "receiver"):
            side = "middlebox" if where == "receiver" else "client"
        return Ending(Break("drop", side, answers[0].number, None, (sign,)), place, _since(answers[0], account))
    closer = account.closer
    if closer is not None:
        text = "the SYN was refused as a host does that does not listen there; a box can do that as well"
        return Ending(Break("rst", "server", closer.number, None, (Sign(closer.number, text),)), place)
    text = f"{count(len(syns), 'SYN')} unanswered: {NOT_TAKEN}"
    by: By = "unknown" if len(syns) == 1 else "server" if where == "receiver" else "middlebox"
    broken = Break("drop", by, syns[0].number, None, (Sign(syns[-1].number, text),))
    return Ending(broken, place, _since(syns[0], account))


def _lost(account: Account, where: Where) -> Ending | None:
    """Octets that were sent again and again, and never acknowledged."""
    client, server = account.client.owed, account.server.owed
    closer = account.closer
    if client is not None and client.repeated:
        answered = closer is not None and not closer.by_client and closer.flags & RST
        return None if answered else _unacknowledged(account, client, True, where)
    if server is not None and server.repeated:
        return _unacknowledged(account, server, False, where)
    return None


def _unacknowledged(account: Account, owed: Owed, by_client: bool, where: Where) -> Ending:
    name, other = NAMES[by_client], NAMES[not by_client]
    first, last = owed.copies[0], owed.copies[-1]
    what = f"{name}'s bytes from {owed.at:,} on" if first.length else f"{name}'s FIN"
    signs = [Sign(last.number, f"the {what} were sent {owed.times} times in {owed.seconds:.1f} s, unanswered")]
    heard = account.stream(not by_client).last
    by: By = "middlebox"
    # what came within a round trip had been sent before
    alive = heard is not None and heard.ns > max(owed.copies[1].ns, first.ns + AGAIN * SECOND)
    if heard is not None and heard.field == 0 and not heard.flags & RST:
        by = "server" if by_client else "client"
        signs.append(Sign(heard.number, f"the {other} had closed its window"))
    elif alive and heard is not None:
        signs.append(Sign(heard.number, f"the {other} still sends, but does not get these bytes"))
    elif where == ("receiver" if by_client else "sender") and account.said.greeting is not None:
        by = "server" if by_client else "client"
        signs.append(Sign(last.number, f"they reached the {other}'s side, where this was captured; it fell silent"))
    elif heard is not None and heard.ns > first.ns:
        late = f"{_between(first, heard) * 1000:,.0f} ms behind the first of these, which it does not acknowledge"
        signs.append(Sign(heard.number, f"the last that came from the {other} came {late}"))
    else:
        signs.append(Sign(None, f"from then on nothing came from the {other} at all: neither bytes nor an ACK"))
    # what is seen to be sent again and again is on the far side of what stops it
    if by == "middlebox" and not alive:
        signs.append(Sign(None, SAME))
    place = _place_lost(account, by_client, "receiver" if where == "unknown" and not by_client else where)
    number = first.number if by_client or place.step is None else place.step.packet.number
    silence = max(owed.seconds, _since(heard, account) if heard is not None and not alive else 0.0)
    return Ending(Break("drop", by, number, place.at, tuple(signs)), place, silence)


def _place_lost(account: Account, by_client: bool, where: Where) -> Place:
    acked, sent = account.client.acknowledged, account.client.end
    if by_client and acked < sent:
        return at_octet(account, acked)
    if not by_client and account.server.acknowledged < account.server.end:
        return _reply_lost(account, where)
    return unanswered(account.said)


def _reply_lost(account: Account, where: Where) -> Place:
    """The reply of which the client acknowledged nothing, or not all. Behind the box it may as well be what the client
    said next, since that carries the acknowledgment: so it was, except where no more than a QUIT comes next."""
    at = account.server.acknowledged
    said = account.said
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


def _never_came(account: Account) -> Ending | None:
    """The client counts octets that did not come by, and nobody acknowledges them: its packet behind them did."""
    sent, told = account.client.end, account.client.reach
    if account.client.acked > sent or any(p.flags & FIN for p in account.client.own):
        return None
    if told is None or told.at is None:
        return None
    text = f"by this packet the client had sent bytes {sent:,}-{told.at - 1:,}, which never came here"
    broken = Break("drop", "middlebox", told.number, sent, (Sign(told.number, text),))
    return Ending(broken, at_octet(account, sent), _since(told, account))


def _silent(account: Account) -> Ending | None:
    """A reply never came, until the client gave up, or the capture ends."""
    place = _place_lost(account, True, "unknown")
    step = place.step
    waiting = place.phase == "greeting" or (step is not None and (step.answer is None or step.answer.code is None))
    if not waiting or place.phase == "quit":
        return None
    closer, heard = account.closer, account.server.last
    since = step.packet if step is not None else account.own[0]
    end = account.server.end
    beyond = next((p for p in account.server.own if p.at is not None and p.at > end + 1 and not p.flags & RST), None)
    owed = account.client.owed
    if closer is not None and not closer.by_client:
        return None  # it is the server that ends it
    if closer is not None and half_closes(closer):
        closer = None
    if closer is not None and _between(since, closer) < GAVE_UP:
        return None
    signs: list[Sign] = []
    begun = next((each for each in account.said.replies[-1:] if each.code is None and each.end > each.at), None)
    what = "the reply" if begun is None else "the rest of it"
    by: By = "unknown"
    hole = account.missing(True)
    if hole is not None:
        first, upto, behind = hole
        text = f"the client's bytes {first:,}-{upto - 1:,} never came here, what it sent behind them did; "
        signs.append(Sign(behind.number, f"{text}the server has not got them either"))
        if _between(behind, account.client.own[-1]) >= GAVE_UP:
            by = "middlebox"  # it is still there, and has sent them again
    if begun is not None:
        text = f"the server's reply begins here ({count(begun.end - begun.at, 'byte')}); its last line never came"
        signs.append(Sign(begun.packet.number, text))
    if beyond is not None:
        by = "middlebox"
        signs.append(Sign(beyond.number, "the server had sent more bytes by then; they did not come through"))
    elif closer is None:
        signs.append(Sign(account.own[-1].number, "the capture ends while the reply is waited for"))
    elif heard is not None and heard.ns > closer.ns:
        by = "server"
        signs.append(Sign(heard.number, f"the server still answers, but never sent {what}"))
    elif owed is not None:
        signs.append(Sign(closer.number, "the client gave up; nobody answered that"))
    probes = account.unheard
    if probes and beyond is None:
        told = f"{count(len(probes), 'keep-alive')} of the {NAMES[probes[0].by_client]} had no answer"
        signs.append(Sign(probes[0].number, told))
    silence = _between(since, closer or account.own[-1])
    return Ending(Break("drop", by, since.number, None, tuple(signs)), place, silence)


def _closed(account: Account) -> Ending | None:
    """An end closed the connection itself, amid a dialogue."""
    closer = account.closer
    if closer is None:
        return None
    if any(step.verb == "QUIT" for step in account.said.steps):
        return None
    if closer.by_client and not any(step.verb == "MAIL" for step in account.said.steps):
        return None  # it did not want to send a mail: a probe, a monitor
    kind: BreakKind = "rst" if closer.flags & RST else "fin"
    by: By = "client" if closer.by_client else "server"
    place = _place_of(account, closer)
    step = account.said.steps[-1] if account.said.steps else None
    if by == "server" and step is not None and step.answer is not None and (step.answer.code or 0) >= REFUSES:
        place = Place(step.phase, stage(step.phase), None, step)
        return Ending(Break("reply", "server", step.answer.packet.number), place)
    if anyones(closer):
        text = f"this RST could be of any kernel, or of a box: it does not tell that the {by} sent it"
        return Ending(Break(kind, "unknown", closer.number, place.at, (Sign(closer.number, text),)), place)
    before = [each for each in account.stream(closer.by_client).own if each.number < closer.number]
    hops = off_by(closer, habits(before))
    if hops > HOPS:
        return Ending(Break(kind, "unknown", closer.number, place.at, (another_way(closer, before),)), place)
    text = f"the {by} closed it: this {kind.upper()} looks like all its packets"
    if hops:
        text += f", but for a TTL that differs by {hops}, as another route makes it"
    return Ending(Break(kind, by, closer.number, place.at, (Sign(closer.number, text),)), place)


def another_way(packet: Packet, before: Sequence[Packet]) -> Sign:
    """Of a packet with a TTL that its end had not, as all behind it."""
    seen = " or ".join(str(ttl) for ttl in sorted(habits(before).ttls))
    text = f"from here on the TTL in the {NAMES[packet.by_client]}'s name is {packet.ttl}, before it was {seen}: "
    return Sign(packet.number, text + "another route makes that, or a box")


def _idle(account: Account) -> Ending | None:
    """All was answered; the client does not go on, and nobody closes."""
    place = unanswered(account.said)
    if account.closer is not None or place.phase == "quit" or account.said.tls_at is not None:
        return None
    last = account.own[-1]
    sign = Sign(last.number, "the capture ends here, with nothing under way")
    return Ending(Break("drop", "unknown", last.number, None, (sign,)), place)


def _between(first: Packet, last: Packet) -> float:
    return max(0.0, (last.ns - first.ns) / SECOND)


def _since(packet: Packet, account: Account) -> float:
    return _between(packet, account.own[-1])
