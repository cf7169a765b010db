"""qmail as a sender (netqmail, notqmail)."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED, INFERRED
from smtpinspect.mta import retry
from smtpinspect.mta.base import (
    DAY,
    HANDSHAKE,
    Ending,
    Envelope,
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
from smtpinspect.mta.words import mail_date, masked, masks

_REMOTE_C: Final = "notqmail qmail-remote.c"
_CONTROL: Final = "notqmail qmail-control.9"
_PREFIX: Final = "notqmail qmail-send.c"
_TAI: Final = 0x4000000000000000 + 37  # tai64n.h: TAI is 37 s ahead of UTC since 2017
_SAID: Final = "Remote host said: {reply}\n"
_MASKS: Final = masks(
    (r"^@[0-9a-f]{24} ", ""),
    (r"\b(delivery|msg) \d+", r"\1 <id>"),
    (r"(?<=to remote )\S+", "<address>"),
    (r"(?<![\d.])\d+(?:\.\d+){3}(?![\d.]\d)", "<host>"),
)


class Qmail(Sender):
    """The log of qmail-send, multilog's time stamps; HELO only, no pipelining."""

    name = "qmail"
    title = "netqmail 1.06, notqmail 1.08"
    example = bench("qout.example.com")
    esmtp = False
    starttls = False
    declares_size = False
    awaits_quit = False
    write_block = 1024
    gives_up_after = 7 * DAY
    timers = (
        Timer(("connect",), "control/timeoutconnect", 60, "connect", CONFIRMED, _CONTROL),
        Timer(
            ("greeting", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "datacmd", "body", "dot", "rset", "quit"),
            "control/timeoutremote",
            1200,
            "command",
            CONFIRMED,
            _CONTROL,
        ),
    )
    phrases = (
        Row(
            ("connect",),
            (),
            "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(
            ("greeting",),
            ("reply", "malformed"),
            f"Connected to {{ip}} but greeting failed.\n{_SAID}",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(
            ("helo",),
            ("reply", "malformed"),
            f"Connected to {{ip}} but my name was rejected.\n{_SAID}",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(
            ("mail",),
            ("reply", "malformed"),
            f"Connected to {{ip}} but sender was rejected.\n{_SAID}",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(
            ("rcpt",),
            ("reply", "malformed"),
            f"{{ip}} does not like recipient.\n{_SAID}Giving up on {{ip}}.\n",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(("datacmd",), ("reply", "malformed"), f"{{ip}} failed on DATA command.\n{_SAID}", CONFIRMED, _REMOTE_C),
        Row(
            ("body", "dot"),
            ("reply", "malformed"),
            f"{{ip}} failed after I sent the message.\n{_SAID}",
            CONFIRMED,
            _REMOTE_C,
        ),
        # flagcritical: from the flush of the end mark to its reply
        Row(
            ("dot",),
            ("timeout", "closed", "reset"),
            "Connected to {ip} but connection died. Possible duplicate! (#4.4.2)\n",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row(
            (),
            ("timeout", "closed", "reset"),
            "Connected to {ip} but connection died. (#4.4.2)\n",
            CONFIRMED,
            _REMOTE_C,
        ),
        Row((), ("lacking",), "Connected to {ip} but connection died. (#4.4.2)\n", INFERRED, _REMOTE_C),
        Row((), ("sent",), f"{{ip}} accepted message.\n{_SAID}", CONFIRMED, _REMOTE_C),
        Row((), ("reply", "malformed"), f"Giving up on {{ip}}.\n{_SAID}", INFERRED, _REMOTE_C),
    )

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        date = mail_date(started, "-0000")[5:]
        return (f"Received: (qmail 4711 invoked by uid 0); {date}\n".encode(),)

    def next_after(self, step: Step, reply: str) -> Next:
        if step in ("greeting", "helo"):
            return "continue" if reply.startswith("220" if step == "greeting" else "250") else "defer"
        if reply[:1] not in ("4", "5"):
            return "continue"
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if reply.startswith("5") else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        word = {"delivered": "success", "deferred": "deferral", "bounced": "failure"}[self.fate(ending).fate]
        return [
            f"{_stamp(ending.started)} starting delivery 1: msg 4711 to remote {mail.recipient}",
            f"{_stamp(ending.ended)} delivery 1: {word}: {_coded(self.text(ending))}",
        ]

    def text(self, ending: Ending) -> str:
        """The report as qmail-remote gives it, LF behind each line."""
        return phrase(self.phrases, ending).format(ip=ending.envelope.ip, reply=ending.reply)

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        scope: Scope = "address" if step == "rcpt" else "message"
        if cause == "reply" and step not in HANDSHAKE and not ending.temporary:
            return Judgement("bounced", scope, False, False)
        # Only connect() goes on to the next address; tcpto then spares the dead one for an hour.
        connecting = step == "connect"
        return Judgement("deferred", "host" if connecting else scope, step == "dot" and cause != "reply", connecting)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        return retry.quadratic(self.gives_up_after, seconds)

    def final_log(self, ending: Ending) -> list[str]:
        late = "I'm not going to try again; this message has been in the queue too long.\n"
        return [f"{_stamp(ending.ended)} delivery 1: failure: {_coded(self.text(ending) + late)}"]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)


def _stamp(moment: float) -> str:
    """TAI64N: `@4000000065...`."""
    whole = int(moment)
    return f"@{_TAI + whole:016x}{int((moment - whole) * 1e9):08x}"


def _coded(report: str) -> str:
    """qmail-send.c logsafe(): blanks to `_`, LF to `/`."""
    return report.replace(" ", "_").replace("\n", "/")
