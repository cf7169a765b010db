"""From some packet on nothing comes back: a box that drops, a host that died and a line that was cut look the same from
one side. What shows which it was: the same connection, others of its path, the same mail again."""

from __future__ import annotations

from typing import Final, NamedTuple

from smtpinspect.diagnose.account import AGAIN, NAMES, Account, Stream
from smtpinspect.diagnose.lookalikes.view import STALLED_NS, Found, Out, Said, View, seconds
from smtpinspect.diagnose.model import Case, Sign
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import SYN
from smtpinspect.simulate.clock import SECOND

LOST: Final = ("dropped", "withheld")  # between points of the path
SLOW_NS: Final = 1_000_000_000  # hardly a round trip takes longer


class Silence(NamedTuple):
    """`first`: the packet from which on nothing came back, `until` the last one that waited for it. `by_client`: whose
    they are. `heard`: what came from the other side when it must have been sent behind `first`; None: nothing.
    """

    first: Packet
    until: int
    by_client: bool
    heard: Packet | None = None

    @property
    def lasted(self) -> int:
        return self.until - self.first.ns


def silence(view: View) -> Silence | None:
    """None: everything was answered, something else ended it, or the capture ends too soon to tell."""
    account = view.account
    if view.case.observed.broken.kind != "drop":
        return None
    first = min(unanswered(account), key=lambda p: p.number, default=None)
    if first is None:
        return _waiting(view)
    by_client = first.by_client
    later = [p for p in account.packets if p.by_client == by_client and p.ns > first.ns + AGAIN * SECOND]
    # a round trip is shorter than the time of a retransmission, and on a slow path as long as other packets' distance
    again = next((p for p in later if p.at == first.at or _holds(p, first)), None)
    again = again or next((p for p in later if p.ns > first.ns + SLOW_NS), None)
    until = view.until_ns
    if again is None or until - first.ns < STALLED_NS:
        return None
    heard = next((p for p in account.packets if p.by_client != by_client and p.ns > again.ns), None)
    return Silence(first, until, by_client, heard)


def _holds(p: Packet, first: Packet) -> bool:
    return p.at is not None and first.at is not None and p.at <= first.at < p.at + p.length


def unanswered(account: Account) -> list[Packet]:
    """What was sent and never acknowledged, keep-alives too; of a connection that never began its SYNs."""
    if not account.client.sent and not any(not p.by_client for p in account.packets):
        return account.syns
    return [*account.client.lost, *account.server.lost, *account.unheard]


def _waiting(view: View) -> Silence | None:
    """No octets are under way, and whose turn it is says nothing."""
    account = view.account
    octets = {p.number for way in (account.client, account.server) for p in way.sent}  # a keep-alive's is none
    said = [*account.greeted, *(p for p in account.packets if p.number in octets)]
    if not said:
        return None
    by_client = _owed_a_reply(view, said[-1])
    ended = account.closed
    if ended is not None and ended.by_client != by_client:
        return None
    last, until = said[-1], view.until_ns
    before = [p.ns for p in account.packets if p.by_client != by_client and (ended is None or p.number < ended.number)]
    over = until if ended is None else ended.ns
    if over - max([last.ns, *before]) < STALLED_NS:
        return None
    answers = account.after(ended.ns, by_client=not by_client) if ended is not None else []
    if account.stream(by_client).probes:
        answers += [p for p in account.after((last.ns + over) // 2, by_client=not by_client) if p.ns < over]
    return Silence(last, until, by_client, next(iter(answers), None))


def _owed_a_reply(view: View, last: Packet) -> bool:
    """Does the client wait? For a greeting, the reply to a command of a group, or to the whole of its text."""
    script = view.case.script
    if not last.length or view.phase == "dotreply":
        return True
    if script is not None and any(command.reply is None for command in script.commands):
        return True
    return last.by_client and not view.amid_text


def dead(view: View, *, host: bool) -> Said:
    """Was the line cut, or did the server's host die (`host`)? None: it was no silence, or too short a one."""
    told = silence(view)
    if told is None:
        return None
    other = NAMES[not told.by_client]
    if told.heard is not None:
        text = f"the {other} still answers {seconds(told.heard.ns - told.first.ns)} later"
        return Out(text, (Sign(told.heard.number, text),))
    if host and not told.by_client:
        return Out("it is the client from whom nothing came any more")
    if not host and view.case.observed.vantage.where == ("receiver" if told.by_client else "sender"):
        return Out(f"the {other} fell silent on its own side, where this was captured")
    lost = next((each for each in view.case.differences if each.kind == "dropped" and each.direction == "client"), None)
    if host and lost is not None and not lost.here:  # a router drops what its dead line, or neighbour, does not take
        return Out(f"what was lost never came to {lost.between[1]}")
    said = next((each for each in view.case.differences if each.kind in LOST and each.direction == "server"), None)
    if host and said is not None and said.what == "octets":
        return Out(f"the server answered: what it said came to {said.between[0]}")
    out = _went_on(view, told) or _same_again(view, told)
    if out is not None:
        return out
    by_log = ", by the log" if view.case.observed.by_log else ""
    text = f"nothing came from the {other} from here on ({seconds(told.lasted)}{by_log}): "
    text += "a host that died looks the same" if host else "a line that was cut looks the same"
    behind = _came_behind(view.account.stream(told.by_client), told)
    if behind is not None:
        text += f"; against it: a packet behind the first that was lost came through ({behind.number:,})"
        return Found("unlikely", (Sign(told.first.number, text),), bare=True)
    return Found("possible", (Sign(told.first.number, text),), bare=True)


def _went_on(view: View, told: Silence) -> Out | None:
    """Another connection of this path heard of that side meanwhile, and this one went on without an answer."""
    began = told.first.ns + SECOND
    for case in view.others:
        mail = case.mail
        if mail is not None and mail.outcome == "accepted" and began < mail.end_ns < told.until:
            return Out(f"another mail was accepted on this path {seconds(mail.end_ns - told.first.ns)} later")
    last = max((p.ns for p in view.account.packets if p.by_client == told.by_client), default=0)
    for case, account in view.accounts:
        heard = next((p for p in account.packets if p.by_client != told.by_client and began < p.ns < last), None)
        if heard is not None:
            text = f"another connection of this path ({case.flow.client}) heard of the {NAMES[not told.by_client]} "
            text += f"{seconds(heard.ns - told.first.ns)} later, while this one had no answer"
            return Out(text, (Sign(heard.number, text),))
    return None


def _same_again(view: View, told: Silence) -> Out | None:
    """The same mail, on another connection, stalled at the same octet of its text: all before that came through."""
    mine = view.case
    if mine.observed.text_acknowledged is None:
        return None
    for case, account in view.accounts:
        apart = told.until < case.flow.start_ns or case.flow.end_ns < mine.flow.start_ns
        if apart and account.greeted and _place(case) == _place(mine) and _named(case) & _named(mine):
            when = "earlier" if case.flow.end_ns < mine.flow.start_ns else "later"
            text = f"the same mail stalled at the same byte {seconds(abs(case.flow.start_ns - mine.flow.start_ns))} "
            text += f"{when} ({case.flow.client}), and all before that byte came through both times"
            return Out(text, (Sign(case.observed.broken.packet, text),))
    return None


def _place(case: Case) -> tuple[str, str | None, int | None]:
    seen = case.observed
    return seen.broken.kind, seen.phase, seen.text_acknowledged


def _named(case: Case) -> set[str | bytes]:
    """What tells that two mails are the same one: the Message-ID, or the text where it has none."""
    named = case.mail.message_id if case.mail is not None else None
    text = case.transaction.text if case.transaction is not None else b""
    return {named} if named else {text} if text else set()


def _came_behind(way: Stream, told: Silence) -> Packet | None:
    """Something that was sent behind the first one without an answer, and arrived (SACK)."""
    at = told.first.at or 0
    behind = (p for p in way.firsts.values() if p.at is not None and p.at > at and not p.flags & SYN)
    return next((p for p in behind if way.has(p.at or 0, (p.at or 0) + p.length)), None)
