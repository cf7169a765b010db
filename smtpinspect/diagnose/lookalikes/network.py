"""What the way between the two ends does: packets too large for it, loss, a forgotten connection, a closed port."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

from smtpinspect.diagnose.account import Account, Stream, size_of
from smtpinspect.diagnose.lookalikes.silence import dead, unanswered
from smtpinspect.diagnose.lookalikes.view import STALLED_NS, Found, Out, Said, View, listed, plural, seconds
from smtpinspect.diagnose.model import Case, Sign
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import ACK, FIN, RST
from smtpinspect.grammar.limits import WIRE_SEGMENT
from smtpinspect.grammar.words import BROKEN
from smtpinspect.simulate.clock import SECOND

EVERY_PATH: Final = 1280  # octets that every path of IPv6 carries (RFC 8200 5) and nearly every tunnel of IPv4
ANY_PATH: Final = 576  # and that no path of IPv4 in use is narrower than (RFC 791 3.1, RFC 1122 3.3.3)
FEW: Final = 3  # segments that were lost and came through later: loss, not chance
STEADY: Final = 4  # times that one segment was lost while no other was
RATE: Final = 0.03  # of segments sent again: TCP suffers
IDLE_NS: Final = 60 * SECOND  # the shortest idle time-out in use: load balancers' 60 s
IDLE_LEAST_NS: Final = 10 * SECOND
TOGETHER_NS: Final = 5 * SECOND
LATER_NS: Final = 600 * SECOND  # behind an outage, the connections that count for it


def path_mtu(view: View) -> Said:
    """Packets above a size never arrive, smaller ones do, and no ICMP tells the sender (RFC 2923 2.1)."""
    account = view.account
    for by_client, way in ((True, account.client), (False, account.server)):
        for notice in account.trace.notices:
            large = [p for p in way.lost if size_of(p) > notice.mtu and p.ns <= notice.ns + TOGETHER_NS]
            again = [p for p in way.sent if p.ns > notice.ns and large and p.at == large[0].at]
            heeded = again and size_of(again[-1]) <= notice.mtu  # then it is not its size that stops it
            if notice.what == "too-big" and notice.about_client == by_client and again and not heeded:
                said = f"{notice.source} says that packets above {notice.mtu:,} bytes are too large"
                sent = f"one of {size_of(again[-1]):,} bytes is sent again and never acknowledged"
                signs = Sign(notice.number, said), Sign(again[-1].number, sent)
                if account.merged:  # those on the wire may have been smaller
                    return Found("likely", signs)
                return Found("certain", signs, "proved")
    way = account.client
    hole = way.hole
    if not way.lost and hole is None:
        return _all_came(view, way) if way.sent else None
    if account.merged:
        way = _unmerged(way)
    passed = max((p for p in way.firsts.values() if _first_try(way, p)), key=size_of, default=None)
    if hole is not None:
        return _unseen(view, way, hole, passed)
    lost = [p for p in way.lost if size_of(p) > EVERY_PATH]
    small = [p for p in way.lost if size_of(p) <= EVERY_PATH]
    if not lost and not small:
        return None  # what was cut anew by the MSS was acknowledged
    narrow = not lost
    if narrow and max(map(size_of, small)) <= ANY_PATH:
        return Out(f"the packet that was never acknowledged has {size_of(small[0]):,} bytes only", _signs(small[:1]))
    if narrow:
        lost = [p for p in small if size_of(p) > ANY_PATH]
        small = [p for p in small if size_of(p) <= ANY_PATH]
    if passed is not None and size_of(passed) >= min(map(size_of, lost)):
        text = f"a packet of {size_of(passed):,} bytes was acknowledged, as large as the lost one"
        return Out(text, (Sign(passed.number, text),))
    copy = None if narrow else _smaller_copy(account)
    if copy is not None:
        whole, part = copy
        told = f"what did not come through in packets of {size_of(whole):,} bytes did in one of {size_of(part):,}"
        return Found("likely", (Sign(part.number, told),))  # TCP makes them smaller behind any loss (RFC 4821 7.7)
    if way.tries.get(lost[0].at or 0, 0) < 2:
        return None
    through = _smaller_through(view, way, lost[0])
    if through is None:
        behind = [p for p in (*small, *account.client.closing) if p.ns > lost[0].ns]
        if behind:
            text = f"a packet of {size_of(behind[0]):,} bytes behind it was not answered either"
            return Out(text, (Sign(behind[0].number, text),))
    told = f"{plural(len(lost), 'packet')} of {min(map(size_of, lost)):,} bytes or more never acknowledged, "
    told += f"the first sent {way.tries[lost[0].at or 0]} times"
    if narrow:
        told += f"; against it: nearly every way carries {EVERY_PATH:,} bytes"
        return Found("unlikely", (Sign(lost[0].number, told), *([through] if through is not None else [])))
    if through is None:
        return Found("possible", (Sign(lost[0].number, told),))
    signs = Sign(lost[0].number, told), through
    several = len(lost) > 1 or _only_large_fail(view, size_of(lost[0]))
    return Found("likely" if several else "possible", signs)


def _first_try(way: Stream, p: Packet) -> bool:
    at = p.at or 0
    return at not in way.repeated and way.has(at, at + p.length)


def _unmerged(way: Stream) -> Stream:
    """Segments that the host joined are taken for full ones of the wire: 1,500 octets."""
    cut = {at: p._replace(length=min(p.length, WIRE_SEGMENT - len(p.options))) for at, p in way.firsts.items()}
    return replace(way, firsts=cut)


def _all_came(view: View, way: Stream) -> Said:
    """Nothing that was seen of the client was lost. Behind the place where large packets die nobody sees that there
    were any: there its FIN, or the end of its text, shows that nothing is missing."""
    closed = view.closed_by_client
    if closed is not None and view.waited_ns >= STALLED_NS:
        taken = view.account.acknowledging(True, way.end)
        if taken is None or taken.number > closed.number:
            return None  # it had given up before that came
    if view.case.observed.vantage.where == "sender":
        return Out("every packet that the client sent was acknowledged")
    end = view.text_end
    if (end is not None and way.acked >= end) or any(p.flags & FIN and p.at == way.end for p in way.closing):
        return Out("all that the client sent came, and was acknowledged")
    return None


def _unseen(view: View, way: Stream, hole: tuple[int, int], passed: Packet | None) -> Said:
    """Seen at the receiver: large packets are missing, what lay behind them came."""
    octets = hole[1] - hole[0]
    largest = 0 if passed is None else size_of(passed)
    if ANY_PATH < octets + 40 <= largest and passed is not None:
        text = f"a packet of {largest:,} bytes came through, and {octets:,} bytes are missing"
        return Out(text, (Sign(passed.number, text),))
    if octets + 40 <= ANY_PATH:
        return Out(f"the {octets:,} bytes that are missing are not many", ())
    behind = [p for p in (*way.sent, *way.closing) if p.at is not None and p.at >= hole[1]]
    if not behind and way.reach is not None:
        told = f"by this packet the client had sent bytes {hole[0]:,}-{hole[1] - 1:,}, which never came here"
        return Found("possible" if octets + 40 > EVERY_PATH else "unlikely", (Sign(way.reach.number, told),))
    if octets + 40 <= EVERY_PATH:
        return Out(f"the {octets:,} bytes that are missing are not many", ())
    wide = max((size_of(p) for p in behind), default=0)
    if wide > min(octets + 40, 1280):
        return Out(f"a packet of {wide:,} bytes came through behind the missing ones", ())
    text = f"bytes {hole[0]:,}-{hole[1] - 1:,} of the client never came; smaller packets behind them did"
    several = octets > WIRE_SEGMENT or _only_large_fail(view, octets)
    return Found("likely" if several else "possible", (Sign(behind[0].number, text),))


def _smaller_copy(account: Account) -> tuple[Packet, Packet] | None:
    """A large packet that was sent several times, and came through only in pieces: its size told."""
    way = account.client
    for at, whole in way.firsts.items():
        if account.merged or size_of(whole) <= EVERY_PATH or not way.has(at, at + whole.length):
            continue
        same = [p for p in way.sent if p.at == at and p.length == whole.length]
        part = next((p for p in way.sent if p.at == at and p.length < whole.length and p.ns > same[-1].ns), None)
        if part is None or len(same) < 2:
            continue
        heard = account.acknowledging(True, at + 1)
        if heard is None or heard.ns >= part.ns:
            return whole, part
    return None


def _smaller_through(view: View, way: Stream, lost: Packet) -> Sign | None:
    """A smaller packet behind the lost one that reached the other end."""
    for p in way.firsts.values():
        at = p.at or 0
        if at > (lost.at or 0) and way.has(at, at + p.length) and size_of(p) < size_of(lost):
            return Sign(p.number, f"one of {size_of(p):,} bytes, sent behind it, arrived (SACK)")
    for p in (*(p for p in way.lost if size_of(p) < size_of(lost)), *way.closing):
        said = [each for each in view.answers(p.ns) if each.acks == way.acked and not each.flags & RST]
        if p.ns > lost.ns and said:
            text = f"the server answers a smaller one ({size_of(p):,} bytes, packet {p.number:,})"
            return Sign(said[0].number, text)
    return None


def _only_large_fail(view: View, size: int) -> bool:
    """On this path all mails below that size were accepted, at least three, and none above."""
    took = [case.mail.octets for case in view.others if case.mail is not None and case.mail.outcome == "accepted"]
    return len(took) >= FEW and max(took) < size


def _signs(packets: list[Packet]) -> tuple[Sign, ...]:
    return tuple(Sign(p.number, f"{size_of(p):,} bytes") for p in packets)


def loss(view: View) -> Said:
    """Packets get lost at random: others than the last one too, and what was lost comes through later."""
    account = view.account
    ways = (account.client, account.server)
    came = [p for way in ways for p in way.recovered if not _unheard(account, p)]
    sent = sum(len(way.sent) for way in ways)
    lost = [p for way in ways for p in way.lost]
    if not sent:
        return None
    repeats = sum(tries - 1 for way in ways for tries in way.tries.values())
    again = {p.number for p in came}
    times = sum(way.tries[at] - 1 for way in ways for at in way.repeated if way.firsts[at].number in again)
    often = _spells(account, came) > 1 and times >= 2 * FEW - 1  # few segments, lost several times each
    if (len(came) >= FEW or often) and max(repeats, len(came)) >= RATE * sent:
        both = all(way.recovered for way in ways)
        text = f"{plural(len(came), 'segment')} came through only when sent again ({listed(came)}), of {sent:,} sent"
        strong = both or often or len(came) >= 2 * FEW
        return Found("likely" if strong else "possible", (Sign(came[0].number, text),))
    tries = max((way.tries.get(p.at or 0, 0) for way in ways for p in way.lost), default=0)
    if came and view.case.observed.broken.kind == "drop":
        return Found("possible", (Sign(came[0].number, f"{listed(came)}: came through only when sent again"),))
    if tries >= STEADY and lost:
        others = sent - repeats - len(lost)
        return Out(f"one segment was lost {tries} times, and none of the {others:,} before it", _signs(lost[:1]))
    if lost or came:
        return None
    spurious = any(way.spurious(at) for way in ways for at in way.repeated)
    return Out("what was sent again had arrived before (D-SACK)" if spurious else "nothing had to be sent again")


def _spells(account: Account, came: list[Packet]) -> int:
    """How many times something was lost: what was sent before the last of these had come through counts as one."""
    spells, until = 0, -1
    for p in sorted(came, key=lambda p: p.ns):
        spells += p.ns > until
        until = max(until, *(each.ns for each in account.stream(p.by_client).sent if each.at == p.at))
    return spells


def _unheard(account: Account, p: Packet) -> bool:
    """Was it sent again since its acknowledgement rode on a segment that never came through?"""
    behind = (each for each in account.packets if each.number > p.number)
    for each in behind:
        if each.by_client == p.by_client:
            if each.at == p.at and each.length:
                return False  # before anybody said to have it
        elif each.acks is not None and p.end is not None and each.acks >= p.end:
            lost = account.stream(each.by_client).lost
            return each.length > 0 and any(each.number == one.number for one in lost)
    return False


def idle(view: View) -> Said:
    """A NAT, a firewall or a balancer forgot the connection while it was silent (RFC 5382 5, REQ-5: 2 h 4 min)."""
    account = view.account
    ways = (account.client, account.server)
    unheard = [*(p for way in ways for p in way.lost), *account.unheard]
    for way in ways:
        answered = bool(way.closing) and bool(account.after(way.closing[0].ns, by_client=not way.closing[0].by_client))
        unheard += way.closing[:1] if way.closing and not way.closing[0].flags & RST and not answered else []
    longest = _gap_before(view, None)
    if not unheard:
        return Out("no packet stayed without an answer")
    first = min(unheard, key=lambda p: p.number)
    gap = _gap_before(view, first)
    if gap < IDLE_LEAST_NS:
        return Out(f"no silence before the break was longer than {seconds(min(gap, longest))}")
    where = view.case.observed.vantage.where
    if where == ("receiver" if first.by_client else "sender"):
        return Out(f"the packet behind the silence of {seconds(gap)} came through", (Sign(first.number, ""),))
    if not first.by_client and view.amid_text:
        return Out("it was the client's turn, amid its text: the silence is what the break looks like here")
    text = f"after {seconds(gap)} without a packet nothing is answered any more"
    outlived = _gap_before(view, None, first)
    if outlived >= gap * 0.98:
        text += f"; against it: it outlived {seconds(outlived)} without a packet before"
        return Found("unlikely", (Sign(first.number, text),))
    data = first.length > 0
    return Found("likely" if data and gap >= IDLE_NS else "possible", (Sign(first.number, text),))


def _gap_before(view: View, p: Packet | None, until: Packet | None = None) -> int:
    """The silence just before this packet; without one, the longest of all, or of those before `until`."""
    packets = view.account.packets
    gaps = [(b.ns - a.ns, b) for a, b in pairwise(packets)]
    if p is None:
        return max((gap for gap, b in gaps if until is None or b.number < until.number), default=0)
    return next((gap for gap, b in gaps if b.number == p.number), 0)


def outage(view: View) -> Said:
    """The line or a router was down, or the server's host: other connections of the path fell silent with it, or got
    no answer behind it. Without any of them nothing tells it from a box that drops."""
    account = view.account
    unheard = unanswered(account)
    said = dead(view, host=False)
    if not unheard and said is None:
        return Out("packets came through to the end") if account.packets else None
    if not unheard or isinstance(said, Out) or (said is not None and said.confidence == "unlikely"):
        return said
    began = min(p.ns for p in unheard)
    down = next((n for n in account.trace.notices if n.what == "unreachable" and n.about_client and n.ns > began), None)
    if down is not None:
        text = f"{down.source} says that the server cannot be reached (ICMP), behind the first packet without an answer"
        return Found("likely", (Sign(down.number, text),))
    fell = [each for _, each in view.accounts if _fell(each, began)]
    syns = [each for _, each in view.accounts if each not in fell and _refused_silently(each, began)]
    texts = []
    if fell:
        told = f"{plural(len(fell), 'other connection')} of this path fell silent within {seconds(TOGETHER_NS)} of it"
        texts.append(Sign(None, told))
    if syns:
        told = f"{plural(len(syns), 'later connection')} of this path got no answer to the SYN"
        texts.append(Sign(syns[0].syns[0].number, told))
    if not texts:
        return said
    several = len(fell) + len(syns) > 1 or any(len(each.syns) >= FEW for each in syns)
    return Found("likely" if several else "possible", tuple(texts))


def _fell(account: Account, began: int) -> bool:
    """Not so the last packets of a connection that stood still already when the capture began."""
    lost = unanswered(account) if account.server.own else []
    return bool(lost) and abs(min(p.ns for p in lost) - began) < TOGETHER_NS


def _refused_silently(account: Account, began: int) -> bool:
    """Was it begun behind that, again and again, and never answered?"""
    lost = unanswered(account)
    return lost == account.syns and len(lost) > 1 and began < lost[0].ns < began + LATER_NS


def port_filter(view: View) -> Said:
    """SYNs are dropped or refused: a packet filter, or no host."""
    account = view.account
    if account.greeted or account.client.sent:
        return Out("the handshake was completed")
    if not account.syns:
        return None
    for notice in account.trace.notices:
        text = f"{notice.source} answers the SYN with ICMP {notice.what}"
        return Found("certain", (Sign(notice.number, text),), "proved")
    refused = [p for p in account.packets if not p.by_client and p.flags & RST]
    if refused:
        text = "the SYN is answered with RST: connection refused"
        return Found("certain", (Sign(refused[0].number, text),), "proved")
    if any(not p.by_client for p in account.packets) or ("one-direction" in view.doubts and len(account.syns) == 1):
        return None
    syns = account.syns
    text = f"{plural(len(syns), 'SYN')} within {seconds(syns[-1].ns - syns[0].ns)}, none answered"
    here = answered_beside(view)
    if here is not None:
        when = seconds(abs(here.ns - syns[0].ns))
        text += f"; against it: another connection to this port was answered within {when} of it"
        return Found("unlikely", (Sign(syns[0].number, text),))
    there = answered_beside(view, same_port=False) if len(syns) > 2 else None
    if there is not None:
        return Found("likely", (Sign(syns[0].number, text), Sign(there.number, "another port of this host answers")))
    return Found("possible", (Sign(syns[0].number, text),))


def answered_beside(view: View, *, same_port: bool = True) -> Packet | None:
    """The SYN ACK of another connection of this path, at about the same time; to the same port, or to another."""
    begun, port = view.account.packets[0].ns, view.case.flow.server
    for case, account in view.accounts:
        greeted = next(iter(account.greeted), None)
        if greeted is not None and abs(greeted.ns - begun) < LATER_NS and (case.flow.server == port) == same_port:
            return greeted
    return None


def one_bad_mx(view: View) -> Said:
    """Behind one address stand several servers, and one of them is ill: it has another TTL, options, banner."""
    mine = _signature(view.account)
    if mine is None:
        return None
    good: list[tuple[Case, tuple[str, ...]]] = []
    bad: list[tuple[Case, tuple[str, ...]]] = []
    for case, account in view.accounts:
        theirs = _signature(account)
        if theirs is not None and case.flow.server == view.case.flow.server and case.mail is not None:
            accepted = case.mail.outcome == "accepted"
            broke = case.mail.outcome in BROKEN
            (good if accepted else bad if broke else []).append((case, theirs))
    if not good:
        return None
    other = next((theirs for _, theirs in good if theirs != mine), None)
    if other is None or any(theirs != mine for _, theirs in bad):
        return None  # servers behind a balancer may be the same in all that shows
    alike = [theirs for _, theirs in good if theirs == mine]
    differs = "; ".join(f"{a} here, {b} there" for a, b in zip(mine, other, strict=True) if a != b)
    text = f"{plural(len(good) - len(alike), 'accepted mail')} of this path met another server: {differs}"
    if alike:
        text += "; against it: another was accepted by one that shows the same"
        return Found("unlikely", (Sign(view.account.greeted[0].number, text),))
    strong = len(good) > 1 and len(bad) > 0
    return Found("likely" if strong else "possible", (Sign(view.account.greeted[0].number, text),))


def _signature(account: Account) -> tuple[str, ...] | None:
    """What tells one server from another: TTL, kinds and sizes of TCP options, window, the name in the greeting."""
    if not account.greeted:
        return None
    p = account.greeted[0]
    greeting = account.said.greeting
    words = greeting.line[4:].split() if greeting is not None and greeting.code == 220 else []
    name = words[0].decode("latin-1") if words else ""
    kinds = p.options.hex()
    if p.flags & ACK and b"\x08\x0a" in p.options:  # timestamps differ each time
        at = p.options.index(b"\x08\x0a")
        kinds = (p.options[:at] + p.options[at + 10 :]).hex()
    return f"TTL {p.ttl}", f"options {kinds or 'none'}", f"window {p.window}", f"name {name or 'unknown'}"
