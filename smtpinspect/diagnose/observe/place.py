"""Where in the dialogue an octet lies: phase and stage of a break."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.account.spoken import NEXT, TEXT, Dialogue, Step
from smtpinspect.grammar import limits

_END_MARK: Final = 5  # CRLF.CRLF
_SIZE: Final = re.compile(rb"[ \t]SIZE=(\d{1,15})(?=[ \t\r\n]|$)", re.I)


class Place(NamedTuple):
    """`at`: the client's offset of the first octet that did not get through, None where none was lost.

    `step`: the command or text that it belongs to.
    """

    phase: str
    stage: str | None
    at: int | None = None
    step: Step | None = None


def cut(account: Account, at: int) -> tuple[int, int]:
    """The segment, as it was on the wire, that holds this octet of the client: where it begins and ends.

    Packets of a sender's own capture may be longer than those on the wire: they are parted at the MSS.
    """
    packet = account.client.carrier(at)
    if packet is None or packet.at is None:
        return at, at + 1
    mss = account.said.mss
    begin = packet.at + (at - packet.at) // mss * mss
    return begin, min(begin + mss, packet.at + packet.length)


def at_octet(account: Account, at: int) -> Place:
    """The break when everything before this octet of the client got through, and it did not."""
    said = account.said
    for step in said.steps:
        if at >= step.end:
            continue
        if step.verb != TEXT:
            return Place(step.phase, stage(step.phase), at, step)
        begin, end = cut(account, at)
        if begin <= step.at:
            phase = "databody"
        elif step.sure and step.last and (end >= step.end or at > step.end - _END_MARK):
            phase = "dot"
        else:
            phase = "datamid"
        return Place(phase, stage(phase, at, step.end if step.sure else _declared(said, step)), at, step)
    return unanswered(said)


def _declared(said: Dialogue, text: Step) -> int | None:
    """Where the text ends by what its MAIL declared (RFC 1870), None where it declared nothing."""
    mails = [step for step in said.steps if step.at < text.at and step.verb == "MAIL"]
    found = _SIZE.search(mails[-1].line) if mails else None
    return text.at + int(found[1]) + _END_MARK if found else None


def unanswered(said: Dialogue) -> Place:
    """The break when all that the client sent got through: the first reply that is missing, or what comes next."""
    if said.greeting is None and not said.steps:
        return Place("greeting", stage("greeting"))
    before = "greeting"
    for step in said.steps:
        if step.answer is None or step.answer.code is None:
            if step.verb == TEXT:
                phase = "dotreply" if step.sure and step.last else "datamid"  # of a chunk more is to come
            else:
                phase = "reply354" if step.verb == "DATA" else step.phase
            return Place(phase, stage(phase), None, step)
        before = "text" if step.verb == TEXT else step.phase
    phase = NEXT[before]
    return Place(phase, stage(phase), None, said.steps[-1] if said.steps else None)


def stage(phase: str, at: int | None = None, text_end: int | None = None) -> str | None:
    """In the words of a sender's log. `text_end`: behind the end mark, None when it is not known."""
    if phase == "quit":
        return None
    if phase in ("dot", "dotreply"):
        return "after-end-of-data"
    if phase not in ("databody", "datamid"):
        return "after-initial-connection"
    if text_end is not None and at is not None and text_end - at <= limits.SOCKET:
        return "after-end-of-data"
    return "after-sending-data-block"
