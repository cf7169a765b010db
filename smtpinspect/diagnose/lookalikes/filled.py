"""What a row of the table says to do, for one mail: its addresses, and the time-out of the step where it waited."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from smtpinspect.diagnose.model import Case, Remedy
from smtpinspect.mta import registry
from smtpinspect.mta.base import Step, Timer
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.observed import STEPS

# A place in the table, filled by `longer`.
LONGER: Final = Remedy("sender", "wait as long as RFC 5321 4.5.3.2 asks", loses="WAIT", check="WAIT", undo="WAIT")
_PLACES: Final = re.compile(r"\b(?:CLIENT|SERVER|PORT|TIME|IPTABLES|TOO_BIG|ECHO)\b")
_WAITED: Final[dict[Step, str]] = {
    "connect": "the connection", "greeting": "the greeting", "ehlo": "the reply to EHLO", "mail": "the reply to MAIL",
    "rcpt": "the reply to RCPT", "datacmd": "the 354", "body": "a block of the text", "dot": "the reply to the text",
    "quit": "the reply to QUIT",
}  # fmt: skip
_HEADER: Final = 20  # octets of IPv4's; ICMP's own has 8
_HEADER_6: Final = 40


def filled(remedy: Remedy, case: Case) -> Remedy:
    """Commands are to be pasted: they name this server, its port, and when the mail began."""
    if remedy is LONGER:
        mail = case.mail
        phase = case.observed.phase or (mail.phase if mail is not None else None) or "dotreply"
        return longer(STEPS[phase])
    begun = case.flow.start_ns if case.mail is None else case.mail.start_ns
    server = case.path[1].strip("[]")
    time = f"{datetime.fromtimestamp(begun // SECOND, UTC):%F %T} UTC"
    return addressed(remedy, case.path[0].strip("[]"), server, case.flow.server.rpartition(":")[2], time)


def addressed(remedy: Remedy, client: str, server: str, port: str, time: str) -> Remedy:
    """The table's words in capitals, for IPv4 or IPv6."""
    six = ":" in server
    known = {
        "CLIENT": client, "SERVER": server, "PORT": port, "TIME": time,
        "IPTABLES": "ip6tables" if six else "iptables",
        "TOO_BIG": "ICMPv6 type 2" if six else "ICMP type 3 code 4",
        "ECHO": str(1_500 - (_HEADER_6 if six else _HEADER) - 8),
    }  # fmt: skip

    def put(text: str) -> str:
        return _PLACES.sub(lambda found: known[found[0]], text)

    title, loses, check, undo = map(put, (remedy.title, remedy.loses, remedy.check, remedy.undo))
    return Remedy(remedy.where, title, tuple(map(put, remedy.commands)), loses, check, undo)


def longer(step: Step) -> Remedy:
    """The time-out of this step, as each mail server calls it: what RFC 5321 4.5.3.2 asks, never below its default.

    For the connection itself the RFC asks nothing."""
    asked = int(_timer("rfc5321", step).seconds)
    name, seconds = _held("postfix", step, asked)
    exim, least = _held("exim", step, asked)
    lines = [f"postconf {name}  # what undo sets again", f"postconf -e {name}={seconds}s"]
    lines.append(f"# Exim, transport smtp: {exim} = {least // 60}m")
    setting, least = _held("sendmail", step, asked)
    if setting:
        lines.append(f"# Sendmail, sendmail.cf: O {setting}={least // 60}m")
    title = "wait longer" if step == "connect" else "wait as long as RFC 5321 4.5.3.2 asks"
    return Remedy(
        "sender", f"{title}: {asked} s for {_WAITED[step]}", tuple(lines),
        loses="a delivery process is busy for longer", check="the next attempt's seconds in the log",
        undo="the value that was there before",
    )  # fmt: skip


def _held(name: str, step: Step, asked: int) -> tuple[str, int]:
    """Its setting and seconds; by default never less: the same time-out may hold for other steps, too."""
    timer = _timer(name, step)
    return timer.setting, max(asked, int(timer.seconds))


def _timer(name: str, step: Step) -> Timer:
    return next(each for each in registry.SENDERS[name].timers if step in each.steps)
