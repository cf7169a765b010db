"""What to ask whom, ready to send: the window of time, the connection, and the words of each product's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.model import Case, Cause
from smtpinspect.diagnose.taps import MACHINE
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.observed import refusal

BEFORE: Final = 2  # s of clocks that go wrong
COUNTERS: Final = "its counters tell which rule it was, while it is sent again: iptables-save -c, nft list ruleset"
REFUSED: Final = 400  # replies from here on
QUOTED: Final = 160  # characters of a reply
# How servers name the mail in their reply (Postfix, Exim, Sendmail and others).
_QUEUED: Final = re.compile(r"(?:\bqueued as |\bid[=: ]+)([0-9A-Za-z-]{5,32})\b", re.I)
_ALARM: Final = re.compile(r"stormshield\.smtp-(\d+)")
# What a product logs of a break where no rule tells.
GENERAL: Final[Mapping[str, str]] = {
    "stormshield": "SNS l_alarm proto=smtp action=block, alarmid=122, 217, 219, 223 or 231",
    "mailguard": "ASA 108004 or 507003 (PIX 108002)",
    "sonicwall": "SonicWall m=809",
}
# Of inspectors/*/logs.py, where a rule has one of its own.
OWN: Final[Mapping[str, str]] = {
    "mailguard.address-pipe": "PIX 108002, ASA 108003",
    "mailguard.address-malicious": "ASA 108003",
    "mailguard.command-not-allowed": "PIX and ASA 108004 or 108005",
}


def questions(case: Case) -> tuple[str, ...]:
    """To the other side's network team, and to the receiver's postmaster; () where nothing broke."""
    if not case.causes:
        return ()
    begin, end = window(case)
    client, server = case.flow.client, case.flow.server
    # of what is encrypted no alarm about the content can be
    causes = [each for each in case.causes if each.alert is not None] if _encrypted(case) else case.causes
    asked = ", ".join(searched(causes, general=not _encrypted(case)))
    asked = f"{asked}; or anything else that" if asked else "anything that"
    said = refusal_of(case)
    did = f'answered "{_brief(said)}" in the server\'s name, or ' if said else ""
    here = next((each.here for each in case.differences if each.here), "")
    whose = f"the firewall log of {here}," if here else "your firewall log"
    network = (
        f"please search {whose} at {_clock(begin)}..{_clock(end, begin)} UTC, "
        f"src {client} dst {server} (TCP): {asked} {did}dropped, reset or closed this connection"
    )
    other = case.causes[0].kind == "look-alike" and case.causes[0].confidence in ("certain", "likely")
    found = [] if other else [f"{network}; {COUNTERS}" if here == MACHINE else network]
    mail = case.mail
    who = f"the connection of {client}"
    if mail is not None:
        named = f"message-id {mail.message_id}" if mail.message_id else f"the mail of <{mail.mail_from or ''}>"
        who = f"{named} from {client.rpartition(':')[0]}"
    please = f"please look in the mail server's log for {who} at {_clock(begin)} UTC: "
    if said:
        queued = _QUEUED.search(said)
        its = f" (queue id {queued[1]})" if queued else ""
        found.append(f'{please}why was it answered "{_brief(said)}"{its}?')
    elif mail is not None and case.observed.outcome == "accepted":
        found.append(f"please look in the sending server's log for {who} at {_clock(begin)} UTC: was it sent again?")
    elif mail is not None and case.observed.phase in IN_TEXT:
        found.append(f"{please}was it accepted, and was there a time-out or a lost connection after DATA?")
    return tuple(found)


def refusal_of(case: Case) -> str:
    """The 4xx or 5xx that ended it, as far as it is known; "" for none."""
    if case.observed.broken.kind != "reply" and case.observed.outcome != "refused":
        return ""
    told = refusal(case.transaction)
    if told is not None and (told[2].code or 0) >= REFUSED:
        return told[2].text
    replies = case.script.replies if case.script is not None else ()
    last = next((each.text for each in reversed(replies) if (each.code or 0) >= REFUSED), "")
    return last or (case.observed.reply if case.observed.reply[:1] in ("4", "5") else "")


def _brief(reply: str) -> str:
    line = " ".join(excerpt(reply.encode("latin-1", "replace")).split())
    return line if len(line) <= QUOTED else f"{line[:QUOTED]}..."


def _encrypted(case: Case) -> bool:
    return case.script is not None and case.script.tls_at is not None


def window(case: Case) -> tuple[int, int]:
    """Seconds since 1970 between which it broke: from the mail's begin to the end of the connection, wide enough for
    a log's whole seconds."""
    start = case.flow.start_ns if case.mail is None else case.mail.start_ns
    end = case.flow.end_ns
    if case.trace is not None and case.observed.broken.packet is not None:
        at = next((p.ns for p in case.trace.packets if p.number == case.observed.broken.packet), end)
        start, end = min(start, at), min(end, at + 5 * SECOND)
    return start // SECOND - BEFORE, end // SECOND + BEFORE


def searched(causes: Iterable[Cause], *, general: bool = True) -> Iterator[str]:
    """Words of each product's log, those of the best causes first, each once; `general`: of all products."""
    told: list[str] = []
    alarms = [m[1] for cause in causes if cause.rank == 0 and (m := _ALARM.match(cause.cause))]
    if alarms:
        told.append("SNS l_alarm alarmid=" + " or ".join(dict.fromkeys(alarms)))
    for cause in causes:
        if cause.cause in OWN and (cause.rank == 0 or cause.alert is not None):
            told.append(OWN[cause.cause])
    products = [cause.product for cause in causes if cause.kind == "rule"]
    for product in dict.fromkeys([*products, *(GENERAL if general else ())]):
        if product in GENERAL and not (product == "stormshield" and alarms):
            told.append(GENERAL[product])
    yield from dict.fromkeys(told)


def _clock(seconds: int, since: int | None = None) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    if since is not None and datetime.fromtimestamp(since, UTC).date() == when.date():
        return f"{when:%H:%M:%S}"
    return f"{when:%Y-%m-%d %H:%M:%S}"
