"""Exim as a sender (4.96; basis and source stand in each row)."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED
from smtpinspect.mta import retry
from smtpinspect.mta.base import (
    DAY,
    HOUR,
    MINUTE,
    Ending,
    Envelope,
    Judgement,
    Next,
    Row,
    Sender,
    Step,
    Timer,
    bench,
    lacks,
    phrase,
)
from smtpinspect.mta.words import iso, mail_date, masked, masks, one_line, span

_SEEN: Final = "mta.md, section 12"  # measured
_LATER: Final = "measured with the same laboratory, Exim 4.96"
_SMTP_C: Final = "Exim 4.96 src/transports/smtp.c"
_ID: Final = "1xV5Kf-0001L7-1o"
# How a refusal of 4xx is numbered (macros.h ERRNO_MAIL4XX, ERRNO_RCPT4XX, ERRNO_DATA4XX); others are 0.
_REPLY_ERRNO: Final[dict[Step, int]] = {"mail": -45, "rcpt": -44, "datacmd": -46, "dot": -46, "body": -46}
_NO_TLS: Final = -38  # macros.h ERRNO_TLSREQUIRED
_NO_AUTH: Final = -42  # ERRNO_AUTHFAIL
_WHAT: Final[dict[Step, str]] = {
    "connect": "initial connection",
    "greeting": "initial connection",
    "datacmd": "DATA",
    "body": "sending data block",
    "dot": "end of data",
    "quit": "QUIT",
}
_STRERROR: Final = {
    104: "Connection reset by peer", 110: "Connection timed out", 111: "Connection refused", 113: "No route to host"
}  # fmt: skip
_MASKS: Final = masks(
    (r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ?)", ""),
    (r"\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b", "<id>"),
    (r"\b([DQ]T)=\S+s\b", r"\1=<time>"),
    (r"(?<=\()\d+(?= bytes written\))", "<n>"),
    (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
    (r"(?<=[=*>] )[^\s@]+@[^\s:]+", "<address>"),
    (r"H=\S+ \[[^\]]+\](?::\d+)?", "H=<host>"),
    (r"\b((?:EH|HE|LH)LO) (?!response was)[^\s:]+", r"\1 <helo>"),
)


class Exim(Sender):
    """Main log, with the log selectors of the reference laboratory: +deliver_time +outgoing_port."""

    name = "exim"
    title = "Exim 4.96"
    example = bench("out.example.com")
    fast_open = True  # hosts_try_fastopen = *
    pipelines = ("mail", "rcpt", "datacmd")
    pipelines_quit = True
    half_closes = True
    chunk_most = 8192  # DELIVER_OUT_BUFFER_SIZE: one chunk of 8,035 octets, two of 8,323 (measured, 4.96)
    write_block = 8189
    polls = False  # an alarm around a blocking write()
    gives_up_after = 4 * DAY
    timers = (
        Timer(("connect",), "connect_timeout", 300, "connect", CONFIRMED, _SMTP_C),
        Timer(
            ("greeting", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "datacmd", "rset", "quit"),
            "command_timeout",
            300,
            "command",
            CONFIRMED,
            _SMTP_C,
        ),
        Timer(("body",), "data_timeout", 300, "data", CONFIRMED, _SMTP_C),
        Timer(("dot",), "final_timeout", 600, "final", CONFIRMED, _SMTP_C),
    )
    phrases = (
        # connect() itself has failed: strerror alone
        Row((), ("refused", "unreachable"), "", CONFIRMED, _SEEN),
        Row(("connect",), ("timeout",), "", CONFIRMED, _SEEN, lambda ending: not ending.fast_open),
        Row(("connect",), ("closed", "reset"), "", CONFIRMED, _SMTP_C, lambda ending: not ending.fast_open),
        Row(
            ("starttls",),
            ("lacking",),
            "a TLS session is required, but the server did not offer TLS support",
            CONFIRMED,
            _LATER,
        ),
        Row(
            ("auth",),
            ("lacking",),
            "authentication required but server did not advertise AUTH support",
            CONFIRMED,
            _LATER,
        ),
        # a reply to RCPT is waited for on a path of its own, which knows no pipelining
        Row(("rcpt",), ("timeout",), "SMTP timeout after {command}", CONFIRMED, _SEEN),
        Row(("rcpt",), ("reply",), "SMTP error from remote mail server after {command}: {reply}", CONFIRMED, _SEEN),
        # with CHUNKING pipelining goes on behind the text, which is what is told of
        Row(
            (),
            ("timeout",),
            "SMTP timeout after pipelined {what} ({written} bytes written)",
            CONFIRMED,
            _LATER,
            lambda ending: ending.chunk is not None,
        ),
        # write() has failed; what is quoted is the reply to the chunk before
        Row(
            ("body",),
            ("reset",),
            "SMTP error from remote mail server after {what}: {reply}",
            CONFIRMED,
            _LATER,
            lambda ending: ending.reply[:1] == "2",
        ),
        Row(("body", "dot"), ("timeout",), "SMTP timeout after {what} ({written} bytes written)", CONFIRMED, _SEEN),
        Row((), ("timeout",), "SMTP timeout after {pipelined}{what}", CONFIRMED, _SEEN),
        Row(
            ("helo",),
            ("closed", "reset"),
            "Remote host closed connection in response to {what} (EHLO response was: {ehlo})",
            CONFIRMED,
            _SMTP_C,
            lambda ending: bool(ending.refused_ehlo),
        ),
        Row(
            (),
            ("closed", "reset"),
            "Remote host closed connection in response to {pipelined}{what}",
            CONFIRMED,
            _SEEN,
        ),
        Row(
            (),
            ("malformed",),
            "Malformed SMTP reply (an empty line) in response to {pipelined}{what}",
            CONFIRMED,
            _SMTP_C,
            lambda ending: not ending.reply.strip(),
        ),
        Row((), ("malformed",), "Malformed SMTP reply in response to {pipelined}{what}: {reply}", CONFIRMED, _SMTP_C),
        Row((), ("reply",), "SMTP error from remote mail server after {pipelined}{what}: {reply}", CONFIRMED, _SEEN),
    )

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        date = mail_date(started)
        trace = (
            f"Received: from root by {envelope.helo} with local (Exim 4.96)\n\t(envelope-from <{envelope.sender}>)\n"
            f"\tid {_ID}\n\tfor {envelope.recipient};\n\t{date}\n"
        )
        return (trace.encode(),)

    def message(self, envelope: Envelope, submitted: bytes, started: float) -> bytes:
        # Message-Id and Date go behind the sender's own fields.
        head, gap, body = submitted.partition(b"\n\n")
        added = f"\nMessage-Id: <E{_ID}@{envelope.helo}>\nDate: {mail_date(started)}".encode()
        whole = head + (added if lacks(submitted, b"message-id:") else b"") + gap + body
        return super().message(envelope, whole, started)

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "ehlo":
            return "helo"
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if kind == "5" else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail = ending.envelope
        stamp = f"{iso(ending.ended)} {_ID}"
        host = f"H={mail.host} [{mail.ip}]:{mail.port}"
        route = "R=r1 T=remote_smtp"
        taken = f"DT={span(ending.seconds)}"
        text = self.text(ending)
        if ending.cause == "sent":
            confirmation = one_line(ending.reply, "\\n").replace('"', '\\"')
            flag = " K" if ending.chunked else ""
            return [f'{stamp} => {mail.recipient} {route} {host}{flag} C="{confirmation}" {taken}']
        number = self.errno(ending)
        reason = _STRERROR.get(number, "")
        if not text:
            lines = [f"{stamp} {host} {reason}"]
            last = f"{stamp} == {mail.recipient} {route} defer ({number}): {reason} {taken}"
        else:
            lines = [f"{stamp} {host}: {text}" + (f": {reason}" if reason else "")]
            why = f": {reason}" if reason else ""
            last = f"{stamp} == {mail.recipient} {route} defer ({number}){why} {host} {taken}: {text}"
        if number == _NO_AUTH:  # told of the recipient alone
            lines, last = [], f"{stamp} == {mail.recipient} {route} defer ({number}) {taken}: {text}"
        fate = self.fate(ending)
        if fate.fate == "bounced":
            last = f"{stamp} ** {mail.recipient} {route} {host}: {text} {taken}"
            if ending.step not in ("connect", "greeting", "helo"):
                lines = []  # the host has answered: nothing is said of it
        if ending.step == "rcpt" and ending.cause in ("timeout", "reply"):
            lines = []
        if ending.more_hosts and fate.next_mx and lines:
            return lines
        return [*lines, last]

    def text(self, ending: Ending) -> str:
        """The phrase without host and recipient; "" where only strerror is logged."""
        named = ending.chunk is not None and (ending.cause != "reply" or ending.step == "dot")
        what = _WHAT.get(ending.chunk if named and ending.chunk else ending.step, ending.command)
        grouped = named or (ending.pipelined and ending.step not in ("body", "dot"))
        return phrase(self.phrases, ending).format(
            what=what,
            command=ending.command,
            pipelined="pipelined " if grouped else "",
            written=ending.written or 0,
            reply=one_line(ending.reply, "\\n"),
            ehlo=one_line(ending.refused_ehlo, "\\n"),
        )

    def errno(self, ending: Ending) -> int:
        """The number in `defer (...)`: errno.h's, or Exim's own below zero (macros.h)."""
        match ending.cause:
            case "timeout":
                return 110
            case "refused":
                return 111
            case "unreachable":
                return 113
            case "malformed":
                return -19
            case "lacking":
                return _NO_AUTH if ending.step == "auth" else _NO_TLS
            case "reply":
                return _REPLY_ERRNO.get(ending.step, 0)
            case "reset" if ending.step == "body" and ending.reply:
                return 104
            case _:
                return -18

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        if cause == "reply" and not ending.temporary:
            if step == "rcpt":
                return Judgement("bounced", "address", False, False)
            return Judgement(
                "bounced", "host" if step in ("greeting", "helo") else "message", False, step == "greeting"
            )
        if step == "rcpt" and cause in ("timeout", "reply"):
            return Judgement("deferred", "address", False, False)
        of_message = (
            (cause == "reply" and step in ("mail", "datacmd", "dot"))
            or (cause == "timeout" and step in ("mail", "dot"))
            or (cause in ("closed", "reset") and step == "dot")
        )
        return Judgement("deferred", "message" if of_message else "host", step == "dot" and cause != "reply", True)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        # * F,2h,15m; G,16h,1h,1.5; F,4d,6h; Debian's daemon runs the queue every 30 minutes.
        def wait(age: float, gap: float) -> float:
            if age < 2 * HOUR:
                return 15 * MINUTE
            if age < 16 * HOUR:
                return HOUR if gap < HOUR else gap * 1.5
            return 6 * HOUR

        return retry.attempts(wait, self.gives_up_after, seconds, every=30 * MINUTE)

    def final_log(self, ending: Ending) -> list[str]:
        mail, text = ending.envelope, self.text(ending) or _STRERROR.get(self.errno(ending), "")
        stamp = f"{iso(ending.ended)} {_ID}"
        return [
            f"{stamp} ** {mail.recipient} R=r1 T=remote_smtp H={mail.host} [{mail.ip}]:{mail.port}: {text}: "
            "retry timeout exceeded"
        ]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
