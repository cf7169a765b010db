"""What to ask whom, ready to send: the window of time, the connection, and the words of each product's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from smtpinspect.diagnose.model import Case, Cause
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.simulate.clock import SECOND

BEFORE: Final = 2  # s of clocks that go wrong
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
    asked = ", ".join(searched(case.causes))
    network = (
        f"please search your firewall log at {_clock(begin)}..{_clock(end, begin)} UTC, "
        f"src {client} dst {server} (TCP): {asked}; or anything else that dropped, reset or closed this connection"
    )
    other = case.causes[0].kind == "look-alike" and case.causes[0].confidence in ("certain", "likely")
    found = [] if other else [network]
    mail = case.mail
    if mail is not None and case.observed.phase in IN_TEXT:
        who = f"message-id {mail.message_id}" if mail.message_id else f"from <{mail.mail_from or ''}>"
        found.append(
            f"please look in the mail server's log for {who} from {client.rpartition(':')[0]} at "
            f"{_clock(begin)} UTC: was it accepted, and was there a time-out or a lost connection after DATA?"
        )
    return tuple(found)


def window(case: Case) -> tuple[int, int]:
    """Seconds since 1970 between which it broke: from the mail's begin to the end of the connection, wide enough for
    a log's whole seconds."""
    start = case.flow.start_ns if case.mail is None else case.mail.start_ns
    end = case.flow.end_ns
    if case.trace is not None and case.observed.broken.packet is not None:
        at = next((p.ns for p in case.trace.packets if p.number == case.observed.broken.packet), end)
        start, end = min(start, at), min(end, at + 5 * SECOND)
    return start // SECOND - BEFORE, end // SECOND + BEFORE


def searched(causes: Iterable[Cause]) -> Iterator[str]:
    """Words of each product's log, those of the best causes first, each once."""
    told: list[str] = []
    alarms = [m[1] for cause in causes if cause.rank == 0 and (m := _ALARM.match(cause.cause))]
    if alarms:
        told.append("SNS l_alarm alarmid=" + " or ".join(dict.fromkeys(alarms)))
    for cause in causes:
        if cause.cause in OWN and (cause.rank == 0 or cause.alert is not None):
            told.append(OWN[cause.cause])
    products = [cause.product for cause in causes if cause.kind == "rule"]
    for product in dict.fromkeys([*products, *GENERAL]):
        if product in GENERAL and not (product == "stormshield" and alarms):
            told.append(GENERAL[product])
    yield from dict.fromkeys(told)


def _clock(seconds: int, since: int | None = None) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    if since is not None and datetime.fromtimestamp(since, UTC).date() == when.date():
        return f"{when:%H:%M:%S}"
    return f"{when:%Y-%m-%d %H:%M:%S}"
