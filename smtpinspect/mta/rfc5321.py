"""A client that does what RFC 5321 asks and no more. Its log is in words of this project's own."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED, INFERRED, PROJECT
from smtpinspect.mta import retry
from smtpinspect.mta.base import (
    DAY,
    HANDSHAKE,
    MINUTE,
    Ending,
    Judgement,
    Next,
    Row,
    Scope,
    Sender,
    Step,
    Timer,
    bench,
    phrase,
)
from smtpinspect.mta.words import iso, masked, masks, one_line

_RFC: Final = "RFC 5321 4.5.3.2"
_WAITED: Final[dict[Step, str]] = {
    "connect": "the connection",
    "greeting": "the greeting",
    "body": "a block of the text",
    "dot": "the end of data",
    "datacmd": "DATA",
}
_MASKS: Final = masks(
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", ""),
    (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
    (r"\bby \S+ \[[^\]]+\]", "by <host>"),
    (r"after \d+ s\b", "after <time>"),
)


class Rfc5321(Sender):
    """Minimum time-outs, a retry every 30 minutes for five days (4.5.4.1)."""

    name = "rfc5321"
    title = "a client by RFC 5321"
    example = bench("client.example.com", host="mx.example.net")
    pipelines = ("mail", "rcpt", "datacmd")
    gives_up_after = 5 * DAY
    timers = (
        Timer(("connect",), "connect", 300, "connect", PROJECT, _RFC),
        Timer(("greeting",), "initial 220", 300, "command", CONFIRMED, f"{_RFC}.1"),
        Timer(("ehlo", "helo", "starttls", "auth", "rset", "quit"), "command", 300, "command", INFERRED, _RFC),
        Timer(("mail",), "MAIL", 300, "command", CONFIRMED, f"{_RFC}.2"),
        Timer(("rcpt",), "RCPT", 300, "command", CONFIRMED, f"{_RFC}.3"),
        Timer(("datacmd",), "DATA initiation", 120, "command", CONFIRMED, f"{_RFC}.4"),
        Timer(("body",), "data block", 180, "data", CONFIRMED, f"{_RFC}.5"),
        Timer(("dot",), "DATA termination", 600, "final", CONFIRMED, f"{_RFC}.6"),
    )
    phrases = (
        Row(("connect",), ("timeout",), "timeout waiting for the connection", PROJECT, "own words"),
        Row(("body",), ("timeout",), "timeout sending {what}", PROJECT, "own words"),
        Row((), ("timeout",), "timeout waiting for reply to {what}", PROJECT, "own words"),
        Row((), ("closed",), "connection closed in reply to {what}", PROJECT, "own words"),
        Row((), ("reset",), "connection reset in reply to {what}", PROJECT, "own words"),
        Row((), ("refused",), "connection refused", PROJECT, "own words"),
        Row((), ("unreachable",), "no route to host", PROJECT, "own words"),
        Row((), ("lacking",), "{what} is required and was not offered", PROJECT, "own words"),
        Row((), ("malformed",), "no SMTP reply to {what}: {reply}", PROJECT, "own words"),
        Row((), ("reply",), "reply to {what}: {reply}", PROJECT, "own words"),
        Row((), ("sent",), "{reply}", PROJECT, "own words"),
    )

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "ehlo" and kind == "5":
            return "helo"  # 3.2
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if kind == "5" else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        return [
            f"{iso(ending.ended)} <{mail.recipient}> {self.fate(ending).fate} by {mail.host} [{mail.ip}] "
            f"after {ending.seconds:.0f} s: {self.text(ending)}"
        ]

    def text(self, ending: Ending) -> str:
        """What went wrong."""
        what = _WAITED.get(ending.step) or ending.command or ending.step.upper()
        return phrase(self.phrases, ending).format(what=what, reply=one_line(ending.reply, " "))

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        scope: Scope = "address" if step == "rcpt" else "host" if step in HANDSHAKE else "message"
        if cause == "reply" and not ending.temporary:
            return Judgement("bounced", scope, False, False)
        return Judgement("deferred", scope, step == "dot" and cause != "reply", True)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        return retry.steps((), 30 * MINUTE, self.gives_up_after, seconds)

    def final_log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        return [
            f"{iso(ending.ended)} <{mail.recipient}> bounced: not delivered within "
            f"{self.gives_up_after // DAY} days; last: {self.text(ending)}"
        ]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
