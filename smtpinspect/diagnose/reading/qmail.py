"""qmail-send's log: `starting delivery`, then the report of qmail-remote. Phrases: smtpinspect.mta.qmail's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading

NAME: Final = "qmail"
_STARTING: Final = re.compile(r"starting delivery (?P<number>\d+): msg (?P<message>\d+) to remote (?P<rcpt>\S+)")
_ENDED: Final = re.compile(r"delivery (?P<number>\d+): (?P<word>success|deferral|failure): (?P<report>.*)", re.DOTALL)
_INFO: Final = re.compile(r"info msg (?P<message>\d+): bytes (?P<size>\d{1,15}) from <(?P<sender>[^>]*)>")
_FATES: Final = {"success": "delivered", "deferral": "deferred", "failure": "bounced"}
_LATE: Final = "I'm not going to try again; this message has been in the queue too long."
_TLS: Final = re.compile(r"TLS connect failed.*?(?:connected to (?P<ip>[\d.]+\d).*)?", re.DOTALL)
_REACHED: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.]*\d)")
_PLAIN: Final = re.compile(
    r"(?:Connected to \S+ but (?:connection died|greeting failed|my name was rejected|sender was rejected)"
    r"|\S+ (?:failed on DATA command|failed after I sent the message|does not like recipient)"
    r"|Sorry, I wasn't able to establish an SMTP connection).*",
    re.DOTALL,
)


def sense(report: str) -> Sense | None:
    """The meaning of a report, as it stands in the log (blanks as `_`, LF as `/`) or in a bounce."""
    text = report.strip()
    if " " not in text or "_but_" in text or text.startswith(("Sorry,_", "TLS_")):
        text = text.replace("_", " ").replace("/", "\n")
    text = re.sub(r" +\n", "\n", text.replace(_LATE, "") + "\n").strip("\n ")
    tls = _TLS.fullmatch(text.replace("_", " "))
    if tls is not None:  # the patch for TLS: "unreachable" is of no kind, for how it was broken is not told
        meant = Meant("starttls", "timeout" if "timed out" in text else "unreachable")
        return Sense((meant,), text, {"ip": tls["ip"] or ""})
    return phrases.sense(NAME, text + "\n") or _begun(text)


def _blanks(report: str) -> str:
    return report.replace("_", " ").replace("/", " ").strip()


def _begun(text: str) -> Sense | None:
    """A report whose further lines are missing."""
    first = text.split("\n")[0].strip()
    for pattern, meant in _beginnings():
        if match := pattern.fullmatch(first):
            return Sense(meant, first, phrases.held_by(match))
    return None


@cache
def _beginnings() -> tuple[tuple[re.Pattern[str], tuple[Meant, ...]], ...]:
    """The first line of each phrase."""
    told = ((phrase.pattern.pattern.partition("\\\n")[0], phrase.meant) for phrase in phrases.phrases_of(NAME))
    return tuple((re.compile(pattern), meant) for pattern, meant in told if pattern)


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of qmail-send, or a report as a bounce quotes it."""
    text = line.text
    if starting := _STARTING.search(text):
        notes = (starting["message"], starting["rcpt"], line.when)
        state.session(f"delivery {starting['number']}", notes)
        return
    if info := _INFO.search(text):
        state.know(f"qmail {info['message']}", size=int(info["size"]), sender=info["sender"])
        return
    ended = _ENDED.search(text)
    if ended is None:
        if (plain := _PLAIN.search(text)) and (found := sense(plain[0])) is not None:
            yield reading(line, NAME, found)
        return
    message, recipient, started = state.sessions.pop(f"delivery {ended['number']}", ("", "", None))
    fate = _FATES[ended["word"]]
    common: dict[str, Any] = {
        "fate": fate,
        "recipient": recipient,
        "queue_id": message,
        **state.known(f"qmail {message}"),
        "seconds": max(0.0, line.when - started) if started is not None and line.when is not None else None,
    }
    found = sense(ended["report"])
    if fate == "delivered":
        if found is not None:  # a local delivery's report is another
            yield reading(line, NAME, found, **common)
        return
    late = _LATE.replace(" ", "_") in ended["report"]
    if found is None and not late:
        reached = _REACHED.search(ended["report"])
        yield reading(line, NAME, text=_blanks(ended["report"]), ip=reached[1] if reached else "", **common)
        return
    yield reading(line, NAME, found, gave_up=late, scope="message", **common)
