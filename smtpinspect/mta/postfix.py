"""Postfix as a sender (3.7)."""

from __future__ import annotations

import re
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
    lacks,
    phrase,
)
from smtpinspect.mta.words import enhanced, mail_date, masked, masks, one_line, syslog

_SEEN: Final = "mta.md, section 12"  # measured
_PARAMS: Final = "Postfix 3.7 src/global/mail_params.h"
_TROUBLE: Final = "Postfix 3.7 src/smtp/smtp_trouble.c"
_ID: Final = "5012B21C62A"
_STATE: Final[dict[Step, str]] = {
    "greeting": "receiving the initial server greeting",
    "ehlo": "performing the EHLO handshake",
    "helo": "performing the HELO handshake",
    "starttls": "receiving the STARTTLS response",
    "auth": "receiving the SASL authentication response",
    "mail": "sending MAIL FROM",
    "rcpt": "sending RCPT TO",
    "datacmd": "sending DATA command",
    "body": "sending message body",
    "dot": "sending end of data -- message may be sent more than once",
    "rset": "sending final RSET",
    "quit": "sending QUIT",
}
_COMMAND: Final[dict[Step, str]] = {
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "datacmd": "DATA",
    "body": "DATA",
    "dot": "end of DATA",
    "rset": "final RSET",
}
_STRERROR: Final = {
    "timeout": "Connection timed out",
    "refused": "Connection refused",
    "unreachable": "No route to host",
    "reset": "Connection reset by peer",
    "closed": "Connection timed out",
}
_STARRED: Final = re.compile(r"^[20* \t]*\*[20* \t]*$")
_MASKS: Final = masks(
    (r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ (?=postfix)", ""),
    (r"(?<=postfix/smtp)\[\d+\]|(?<=postfix/qmgr)\[\d+\]|(?<=postfix/smtpd)\[\d+\]", ""),
    (r"(?<=: )(?:[0-9A-F]{6,15}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20})(?=: )", "<id>"),
    (r"\bdelay=[\d.]+, delays=[\d./]+", "delay=<time>"),
    (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
    (r"[^\s=(]+\[[0-9a-fA-F.:]+\](?::\d+)?", "<host>"),
)


def _delay(seconds: float) -> str:
    """Two digits: 0.02, 5.1, 300."""
    if seconds < 0.01:
        return "0"
    digits = f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"
    return f"{float(digits):g}"


class Postfix(Sender):
    """The mail log, lines of smtp(8)."""

    name = "postfix"
    title = "Postfix 3.7"
    example = bench("pout.example.com")
    pipelines = ("mail", "rcpt", "datacmd")
    pipelines_quit = True
    awaits_quit = False  # smtp_skip_quit_response = yes
    write_block = 5_792  # vstream_tweak_tcp(): four segments (seen in the captures)
    gives_up_after = 5 * DAY
    timers = (
        Timer(("connect",), "smtp_connect_timeout", 30, "connect", CONFIRMED, _PARAMS),
        Timer(("greeting", "ehlo", "helo"), "smtp_helo_timeout", 300, "command", CONFIRMED, _PARAMS),
        Timer(("starttls",), "smtp_starttls_timeout", 300, "command", INFERRED, _PARAMS),
        Timer(("auth",), "smtp_helo_timeout", 300, "command", INFERRED, _PARAMS),
        Timer(("mail",), "smtp_mail_timeout", 300, "command", CONFIRMED, _PARAMS),
        Timer(("rcpt",), "smtp_rcpt_timeout", 300, "command", CONFIRMED, _PARAMS),
        Timer(("datacmd",), "smtp_data_init_timeout", 120, "command", CONFIRMED, _PARAMS),
        Timer(("body",), "smtp_data_xfer_timeout", 180, "data", CONFIRMED, _PARAMS),
        Timer(("dot",), "smtp_data_done_timeout", 600, "final", CONFIRMED, _PARAMS),
        Timer(("rset",), "smtp_rset_timeout", 20, "command", CONFIRMED, _PARAMS),
        Timer(("quit",), "smtp_quit_timeout", 300, "command", CONFIRMED, _PARAMS),
    )
    phrases = (
        Row(("connect",), (), "connect to {peer}:{port}: {strerror}", CONFIRMED, _SEEN),
        Row((), ("timeout",), "conversation with {peer} timed out while {state}", CONFIRMED, _SEEN),
        Row((), ("closed", "reset"), "lost connection with {peer} while {state}", CONFIRMED, _SEEN),
        Row(
            ("greeting", "ehlo", "helo"),
            ("reply",),
            "host {peer} refused to talk to me: {reply}",
            CONFIRMED,
            _SEEN,
        ),
        Row(
            ("starttls",),
            ("reply",),
            "TLS is required, but host {peer} refused to start TLS: {reply}",
            CONFIRMED,
            _TROUBLE,
        ),
        Row(("starttls",), ("lacking",), "TLS is required, but was not offered by host {peer}", CONFIRMED, _TROUBLE),
        # Postfix goes on without AUTH; the server's refusal ends it
        Row(("auth",), ("lacking",), "SASL authentication failed; no mechanism available", INFERRED, _TROUBLE),
        Row((), ("reply",), "host {peer} said: {reply} (in reply to {command} command)", CONFIRMED, _SEEN),
        # what is no reply is skipped, with a warning, until the time-out
        Row((), ("malformed",), "conversation with {peer} timed out while {state}", INFERRED, "Postfix smtp_chat.c"),
    )

    def starred(self, greeting: str) -> bool:
        return bool(_STARRED.match(greeting))

    def greets_with(self, greeting: str) -> Step:
        # smtp_pix_workarounds = disable_esmtp,delay_dotcrlf
        return "helo" if self.starred(greeting) else "ehlo"

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        date = mail_date(started, "+0000 (UTC)")
        return (f"Received: by {envelope.helo} (Postfix, from userid 0)\n\tid {_ID}; {date}\n".encode(),)

    def message(self, envelope: Envelope, submitted: bytes, started: float) -> bytes:
        # cleanup(8) puts what is missing behind the sender's own fields.
        head, gap, body = submitted.partition(b"\n\n")
        stamp, date = syslog(started), mail_date(started, "+0000 (UTC)")
        added = f"\nMessage-Id: <20261122{stamp[7:].replace(':', '')}.{_ID}@{envelope.helo}>\nDate: {date}".encode()
        whole = head + (added if lacks(submitted, b"message-id:") else b"") + gap + body
        return super().message(envelope, whole, started)

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "greeting":
            return "defer"  # smtp_skip_5xx_greeting = yes
        if step == "ehlo":
            return "defer" if reply.startswith("421") else "helo"
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if kind == "5" else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        head = f"{syslog(ending.ended)} {mail.helo.split('.')[0]} postfix/smtp[3204]: "
        lines = []
        if ending.starred:
            peer = f"{mail.host}[{mail.ip}]:{mail.port}"
            lines.append(f"{head}{_ID}: enabling PIX workarounds: disable_esmtp for {peer}")
        text = self.text(ending)
        if ending.step == "connect":
            lines.append(f"{head}{text}")
        fate = self.fate(ending)
        if ending.more_hosts and fate.next_mx:
            return lines if ending.step == "connect" else [*lines, f"{head}{_ID}: {text}"]
        return [*lines, f"{head}{_ID}: {self._status(ending, text, fate)}"]

    def _status(self, ending: Ending, text: str, fate: Judgement) -> str:
        mail = ending.envelope
        reached = ending.step != "connect"
        connecting = ending.seconds if ending.step in (*HANDSHAKE, "starttls", "auth") else ending.connecting
        delays = f"0/0/{_delay(connecting)}/{_delay(ending.seconds - connecting)}"
        word = {"delivered": "sent"}.get(fate.fate, fate.fate)
        relay = f"{mail.host}[{mail.ip}]:{mail.port}" if reached else "none"
        return (
            f"to=<{mail.recipient}>, relay={relay}, delay={_delay(ending.seconds)}, delays={delays}, "
            f"dsn={self.dsn(ending)}, status={word} ({text})"
        )

    def text(self, ending: Ending) -> str:
        """What stands in the brackets of the status."""
        reply = one_line(ending.reply, " ")
        if ending.cause == "sent":
            return reply
        mail = ending.envelope
        return phrase(self.phrases, ending).format(
            peer=f"{mail.host}[{mail.ip}]",
            port=mail.port,
            strerror=_STRERROR.get(ending.cause, ""),
            state=_STATE.get(ending.step, ""),
            command=_COMMAND.get(ending.step, ending.step.upper()),
            reply=reply,
        )

    def dsn(self, ending: Ending) -> str:
        """The status code: the reply's own, else class.0.0; of a refused greeting the class is 4."""
        if ending.step == "connect":
            return "4.4.1"
        if ending.cause == "lacking":
            return "4.7.4" if ending.step == "starttls" else "4.7.0"
        if ending.cause not in ("reply", "sent"):
            return "4.4.2"
        code = enhanced(ending.reply) or f"{ending.reply[:1] or '4'}.0.0"
        return f"4{code[1:]}" if ending.step in ("greeting", "ehlo", "starttls") else code

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        if cause == "reply":
            if step in HANDSHAKE or step == "starttls":
                hard = step == "helo" and not ending.temporary
                return Judgement("bounced" if hard else "deferred", "host", False, not hard)
            scope: Scope = "address" if step == "rcpt" else "message"
            return Judgement("deferred" if ending.temporary else "bounced", scope, False, ending.temporary)
        return Judgement("deferred", "host", step == "dot", True)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        # minimal_backoff_time 300 s, maximal_backoff_time 4000 s, queue_run_delay 300 s
        return retry.attempts(lambda age, gap: min(max(age, 300), 4000), self.gives_up_after, seconds, every=300)

    def final_log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        head = f"{syslog(ending.ended)} {mail.helo.split('.')[0]} postfix/qmgr[3199]: "
        return [f"{head}{_ID}: from=<{mail.sender}>, status=expired, returned to sender"]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
