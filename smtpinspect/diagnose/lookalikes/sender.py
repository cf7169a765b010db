"""What the sending server does: it does not end the text as it must, or does not wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from smtpinspect.diagnose.account.spoken import CLOSES
from smtpinspect.diagnose.lookalikes.view import END_MARK, STALLED_NS, Found, Out, Said, View, seconds
from smtpinspect.diagnose.model import Sign
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import RST
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.mta import registry
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.observed import STEPS

STOPPED_NS: Final = 30 * SECOND  # no sender needs so long to go on with a text
# End marks that are none (RFC 5321 4.1.1.4), at the end of what the client sent.
OTHER_MARKS: Final = re.compile(rb"(?:\r?\n|\r)\.(?:\r?\n|\r)\Z")


def _waits(view: View) -> bool:
    """Is the server alive, does it have everything, and does the client wait for its reply?"""
    way = view.account.client
    return view.phase in IN_TEXT and all(way.has(p.at or 0, p.end or 0) for p in view.waiting)


def strict_end(view: View) -> Said:
    """The text ends in another way than CR LF . CR LF, and the server is right to wait on (RFC 5321 4.1.1.4)."""
    return _end(view, lambda tail: bool(OTHER_MARKS.search(tail)), "the text ends with {tail}, which ends no mail")


def missing_crlf(view: View) -> Said:
    """The last line of the text has no line end: the dot behind it is a part of it."""
    text = "the last line has no CR LF before the dot ({tail}): the dot is text"
    return _end(view, lambda tail: tail.endswith(b".\r\n") and tail[-4:-3] not in (b"\n", b"\r"), text)


def _end(view: View, wrong: Callable[[bytes], bool], told: str) -> Said:
    if view.case.transaction is not None and view.case.transaction.complete:
        return Out("the text ended with CR LF . CR LF")
    tail = view.tail(5)
    if tail is None or not view.waiting or not _waits(view):
        return None
    if tail == END_MARK:
        return Out("the text ended with CR LF . CR LF", (Sign(view.waiting[-1].number, "CR LF . CR LF"),))
    if not wrong(tail):
        return None if tail.upper().endswith((b"QUIT\r\n"[-5:], b"RSET\r\n"[-5:])) else Out("no final dot came here")
    last, until = view.waiting[-1], view.last_word.ns
    if until - last.ns < STALLED_NS:
        return None
    alone = last.payload in (b".\r\n", b".\n", b".\r")
    proved = tail[-3:] != b".\r\n" or tail[-4:-3] == b"\n" or alone
    if not proved and not _said_all(view, last):
        return None  # many a line of a text ends with a full stop; what lay behind it may have been cut off
    text = told.format(tail=ascii(tail)[2:-1]) + f"; all is acknowledged, {seconds(until - last.ns)} of silence"
    return Found("certain" if proved else "possible", (Sign(last.number, text),), "proved" if proved else "fits")


def _said_all(view: View, last: Packet) -> bool:
    """Is this the last that the client sent? It was seen at its side, or the client numbers later packets so."""
    if view.case.observed.vantage.where == "sender":
        return True
    later = [p for p in view.account.client.own if p.ns - last.ns >= STALLED_NS and not p.flags & RST and not p.length]
    return bool(later) and all(p.at == last.end for p in later)


def sender_stopped(view: View) -> Said:
    """The sender closes amid its text, or says nothing more though it is its turn: there, or until the server no
    longer waits. Seen at its own side only."""
    account = view.account
    waited = account.said.unasked
    turn = view.amid_text or (waited is not None and waited.code == CLOSES)
    if not turn or not account.client.sent or view.case.observed.vantage.where != "sender":
        return None
    if account.client.lost or account.client.reach is not None:
        return Out("it went on: what it sent was not acknowledged")
    if view.windows and view.shut(view.windows[-1]):
        return Out("the server had no room for more")
    last = account.client.sent[-1]
    quiet = (view.last_word if view.last_word.ns > last.ns else account.packets[-1]).ns - last.ns
    tail = view.tail(5) or b""
    if tail.endswith(b".\r\n") or OTHER_MARKS.search(tail):
        return None  # it may well think that it is done
    closed = view.closed_by_client if view.amid_text and tail and view.case.observed.broken.by == "client" else None
    if closed is not None and quiet < STALLED_NS:
        text = f"it closed amid its text, {seconds(quiet)} after its last bytes, and all of these are acknowledged"
        return Found("likely", (Sign(closed.number, text),))
    if quiet < STOPPED_NS:
        return None
    text = f"all that it sent is acknowledged, and for {seconds(quiet)} it sent nothing more"
    return Found("likely", (Sign(last.number, text),))


def sender_timeout(view: View) -> Said:
    """The sender gives up though the path is alive: its time-out is shorter than RFC 5321 4.5.3.2 asks."""
    closed = view.closed_by_client
    step = STEPS.get(view.phase) if view.phase != "quit" else None
    by_log = view.case.observed.by_log and view.case.observed.broken.kind == "drop"
    if closed is None and not by_log:
        return Out("it was not the client who closed") if view.account.closed is not None else None
    if step is None or step == "connect":
        return None  # how long to wait for the connection itself, the RFC leaves open
    if view.answered is not None:
        return view.answered
    waited = view.waited_ns if closed is not None else int(view.case.observed.silence * SECOND)
    if waited < STALLED_NS:
        return Out(f"the client closed {seconds(waited)} after it had last heard of the server: no time-out")
    timer = next(each for each in registry.SENDERS["rfc5321"].timers if step in each.steps)
    if waited >= timer.seconds * SECOND * 0.98:
        return Out(f"the sender waited {seconds(waited)}; RFC 5321 4.5.3.2 asks for {timer.seconds} s")
    if closed is None:
        text = f"by its log the sender gave up after {seconds(waited)}; RFC 5321 4.5.3.2 asks for {timer.seconds} s"
        return Found("possible", (Sign(None, text),), bare=True)
    heard = view.answers(closed.ns)
    alive = [p for p in heard if not p.flags & RST]
    if not alive:
        return Out("nothing came back from the server any more, not even for the client's FIN")
    late = [p for p in alive if p.length]
    text = f"the client gave up after {seconds(waited)}; RFC 5321 4.5.3.2 asks for {timer.seconds} s"
    signs = [Sign(closed.number, text)]
    if late:
        signs.append(Sign(late[0].number, f"the reply came {seconds(late[0].ns - closed.ns)} later"))
        return Found("certain", tuple(signs), "proved")
    return Found("likely", (*signs, Sign(alive[0].number, "the server's TCP still answers")))
