"""OpenSMTPD as a sender (6.8)."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED
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
from smtpinspect.mta.words import mail_date, masked, masks, one_line, span

_SEEN: Final = "mta.md, section 12"  # measured
_SESSION_C: Final = "OpenSMTPD 6.8 usr.sbin/smtpd/mta_session.c"
_ID: Final = "d248e67f495eb1a0"
_EVPID: Final = "9710f21f6f7fa466"
_BEFORE: Final[tuple[Step, ...]] = (*HANDSHAKE, "starttls", "auth")  # no task is in flight yet
_MASKS: Final = masks(
    (r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ smtpd\[\d+\]: ", ""),
    (r"\b[0-9a-f]{16}\b", "<id>"),
    (r"\bdelay=\S+", "delay=<time>"),
    (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
    (r"(?<=://)\S+|(?<=host=)\S+|(?<=relay:)[^,]+", "<host>"),
    (r'(?<=source=")[^"]*|(?<=relay=")[^"]*', "<host>"),
    (r"<-> \S+ \([^)]*\) for \S+", "<-> <host> for <time>"),
)


class OpenSmtpd(Sender):
    """The mail log, lines of the mta process; no phase is ever told."""

    name = "opensmtpd"
    title = "OpenSMTPD 6.8"
    example = bench("osout.example.com", host="mx.example.net")
    declares_size = False
    tls_needs_ehlo = True
    dot_apart = True
    write_block = 65536
    gives_up_after = 4 * DAY
    timers = (
        Timer(
            ("connect", *HANDSHAKE[1:], "starttls", "auth", "mail", "rcpt", "datacmd", "body", "dot", "rset", "quit"),
            "",
            300,
            "",
            CONFIRMED,
            f"{_SESSION_C} io_set_timeout",
        ),
    )
    phrases = (
        Row(
            ("starttls",),
            ("lacking",),
            "TLS required but not supported by remote host",
            CONFIRMED,
            "measured with the same laboratory: smtp+tls",
        ),
        Row(("auth",), ("lacking",), "AUTH not advertised", CONFIRMED, _SESSION_C),
        Row(("greeting",), ("reply",), "BANNER rejected: {reply}", CONFIRMED, _SEEN),
        Row(("ehlo",), ("reply",), "EHLO rejected: {reply}", CONFIRMED, _SESSION_C),
        Row(("helo",), ("reply",), "HELO rejected: {reply}", CONFIRMED, _SESSION_C),
        Row((), ("reply", "sent"), "{reply}", CONFIRMED, _SEEN),
        # the kernel's end of a connect() too
        Row((), ("timeout",), "Connection timeout", CONFIRMED, _SEEN),
        Row((), ("closed",), "Connection closed unexpectedly", CONFIRMED, _SEEN),
        Row((), ("reset",), "IO Error: Connection reset by peer", CONFIRMED, _SEEN),
        Row((), ("refused",), "IO Error: Connection refused", CONFIRMED, _SEEN),
        Row((), ("unreachable",), "IO Error: No route to host", CONFIRMED, _SESSION_C),
        Row((), ("malformed",), "Bad response: {reply}", CONFIRMED, _SESSION_C),
    )

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        date = mail_date(started, "+0000 (UTC)")
        trace = (
            f"Received: from localhost ({envelope.helo} [local])\n\tby {envelope.helo} (OpenSMTPD) with ESMTPA id "
            f"{_EVPID[:8]}\n\tfor <{envelope.recipient}>;\n\t{date}\n"
        )
        return (trace.encode(), f"Date: {date}\n".encode() if lacks(submitted, b"date:") else b"")

    def message(self, envelope: Envelope, submitted: bytes, started: float) -> bytes:
        head, gap, body = submitted.partition(b"\n\n")
        added = f"\nMessage-ID: <{_EVPID}@{envelope.helo}>".encode()
        whole = head + (added if lacks(submitted, b"message-id:") else b"") + gap + body
        return super().message(envelope, whole, started)

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "greeting":
            return "defer"
        if step == "ehlo":
            return "helo"
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if kind == "5" and step != "helo" else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail, text = ending.envelope, self.text(ending)
        scheme = "smtp+tls" if ending.cause == "lacking" else "smtp"
        lines = [f"{_ID} mta connecting address={scheme}://{mail.ip}:{mail.port} host={mail.host}"]
        if ending.step != "connect":
            lines.append(f"{_ID} mta connected")
        handshake = ending.step in _BEFORE
        if ending.cause not in ("reply", "sent") or handshake:
            lines.append(f"{_ID} mta error reason={text}")
        if handshake:  # no task was in flight: the route is what failed
            lines.append(f"smtp-out: Disabling route [] <-> {mail.ip} ({mail.host}) for 15s")
            if not ending.more_hosts:
                lines.append(
                    f"smtp-out: No valid route for [connector:[]->[relay:{mail.ip},port={mail.port},{scheme},mx],0x0]"
                )
            return lines
        fate = self.fate(ending).fate
        result = {"delivered": "Ok", "deferred": "TempFail", "bounced": "PermFail"}[fate]
        lines.append(
            f"{_ID} mta delivery evpid={_EVPID} from=<{mail.sender}> to=<{mail.recipient}> rcpt=<-> "
            f'source="{mail.source}" relay="{mail.ip} ({mail.host})" delay={span(ending.seconds)} result="{result}" '
            f'stat="{text}"'
        )
        return lines

    def text(self, ending: Ending) -> str:
        """The reason, or the reply."""
        return phrase(self.phrases, ending).format(reply=one_line(ending.reply, " "))

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        if step in _BEFORE:
            return Judgement("deferred", "host", False, True)
        if cause == "reply":
            scope: Scope = "address" if step == "rcpt" else "message"
            return Judgement("deferred" if ending.temporary else "bounced", scope, False, False)
        return Judgement("deferred", "message", step == "dot", False)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        # scheduler_ramqueue.c: creation + 400 s * n * n
        starts, n = [0], 0
        while 400 * n * n + seconds <= self.gives_up_after:
            n += 1
            starts.append(max(400 * n * n, round(starts[-1] + seconds)))
        return starts[:-1] if starts[-1] > self.gives_up_after else starts

    def final_log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        return [
            f"0000000000000000 mta delivery evpid={_EVPID} from=<{mail.sender}> to=<{mail.recipient}> rcpt=<-> "
            f'delay={span(self.gives_up_after)} result="Expire" stat="Envelope expired"'
        ]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
