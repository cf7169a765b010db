"""Sendmail as a sender (8.17.1)."""

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
    lacks,
    phrase,
)
from smtpinspect.mta.words import enhanced, mail_date, masked, masks, one_line, syslog

_SEEN: Final = "mta.md, section 12"  # measured
_READCF: Final = "sendmail 8.17.1 sendmail/readcf.c inittimeouts"
_USERSMTP: Final = "sendmail 8.17.1 sendmail/usersmtp.c"
_ID: Final = "6AMBAaaw008843"
_PRIORITY: Final = {"stat": 22, "notice": 21, "error": 18}  # facility mail, RFC 3164
_PHASE: Final[dict[Step, str]] = {
    "greeting": "client greeting",
    "ehlo": "client EHLO",
    "helo": "client HELO",
    "starttls": "client STARTTLS",
    "auth": "client AUTH",
    "mail": "client MAIL",
    "rcpt": "client RCPT",
    "datacmd": "client DATA 354",
    "dot": "client DATA status",
    "rset": "client RSET",
    "quit": "client QUIT",
}
# savemail.c smtptodsn(): the code for a reply without one of its own.
_TO_DSN: Final = {
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    500: "5.5.2",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    504: "5.5.4",
    550: "5.2.0",
    551: "5.1.6",
    552: "5.2.2",
    553: "5.1.0",
    554: "5.0.0",
}
# usersmtp.c: what a step says otherwise.
_STEP_DSN: Final[dict[Step, dict[int, str]]] = {
    "mail": {501: "5.5.2", 553: "5.1.3", 552: "5.3.4", 0: "5.0.0"},
    "rcpt": {550: "5.1.1", 551: "5.1.6", 553: "5.1.3"},
}
_NO_USER: Final = (550, 551, 553)
_MASKS: Final = masks(
    (r"^<\d+>", ""),
    (r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:\S+ )?(?=sendmail|sm-mta)", ""),
    (r"(?<=^sendmail)\[\d+\]|(?<=^sm-mta)\[\d+\]", ""),
    (r"\b[0-9A-Za-z]{8}\d{6}\b", "<id>"),
    (r"\b(x?delay)=[\d:+]+", r"\1=<time>"),
    (r"(?<=\bto=)<?[^,\s]+@[^,\s>]+>?", "<address>"),
    (r"\brelay=[^,\s]+(?: \[[^\]]+\])?", "relay=<host>"),
    (r"\b(with|by|to|from) \[?[\w.:-]+\]?(?=$|:|,| during)", r"\1 <host>"),
    (r"(?<=: )\[[\d.:a-f]+\](?=: SMTP)", "<host>"),
)


def _clock(seconds: float) -> str:
    """`00:05:25`, `1+02:03:04`."""
    days, rest = divmod(int(seconds), DAY)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}+{text}" if days else text


class Sendmail(Sender):
    """The mail log, with the priority that syslog puts in front."""

    name = "sendmail"
    title = "Sendmail 8.17.1"
    example = bench("sout.example.com", host="[10.9.2.2]")
    pipelines = ("rcpt", "datacmd")  # MAIL goes alone
    dot_apart = True
    write_block = 4096
    polls = False  # it writes until the socket is full, and waits only then
    mail_command = "MAIL From:<{}>"
    rcpt_command = "RCPT To:<{}>"
    gives_up_after = 5 * DAY
    timers = (
        Timer(("connect",), "Timeout.connect", 0, "connect", CONFIRMED, _READCF),  # 0: the kernel's
        Timer(("greeting",), "Timeout.initial", 300, "command", CONFIRMED, _READCF),
        Timer(("ehlo", "helo"), "Timeout.helo", 300, "command", CONFIRMED, _READCF),
        Timer(("starttls",), "Timeout.starttls", 3600, "command", INFERRED, _READCF),
        Timer(("auth",), "Timeout.auth", 600, "command", INFERRED, _READCF),
        Timer(("mail",), "Timeout.mail", 600, "command", CONFIRMED, _READCF),
        Timer(("rcpt",), "Timeout.rcpt", 3600, "command", CONFIRMED, _READCF),
        Timer(("datacmd",), "Timeout.datainit", 300, "command", CONFIRMED, _READCF),
        Timer(("body",), "", 300, "", CONFIRMED, "sendmail 8.17.1 conf.h DATA_PROGRESS_TIMEOUT"),
        Timer(("dot",), "Timeout.datafinal", 3600, "final", CONFIRMED, _READCF),
        Timer(("rset",), "Timeout.rset", 300, "command", CONFIRMED, _READCF),
        Timer(("quit",), "Timeout.quit", 120, "command", CONFIRMED, _READCF),
    )
    phrases = (  # of stat=
        Row(("body",), ("timeout", "closed", "reset"), "Deferred", CONFIRMED, _SEEN),
        Row((), ("timeout",), "Deferred: Connection timed out with {host}", CONFIRMED, _SEEN),
        Row((), ("refused",), "Deferred: Connection refused by {host}", CONFIRMED, _SEEN),
        Row((), ("unreachable",), "Deferred: No route to host", INFERRED, _USERSMTP),
        Row((), ("reset",), "Deferred: Connection reset by {host}", CONFIRMED, _SEEN),
        # an end of file: said where the step has no status of its own yet
        Row(("mail", "dot", "rcpt"), ("closed",), "Deferred", CONFIRMED, _SEEN),
        Row((), ("closed",), "Deferred: Connection reset by {host}", CONFIRMED, _SEEN),
        Row(
            ("dot",),
            ("reply",),
            "Remote protocol error",
            CONFIRMED,
            _SEEN,
            lambda ending: ending.reply[1:2] != "5" and not ending.temporary,
        ),
        Row(("rcpt",), ("reply",), "User unknown", CONFIRMED, _USERSMTP, lambda ending: ending.code in _NO_USER),
        Row(("mail",), ("reply",), "Data format error", CONFIRMED, _USERSMTP, lambda ending: ending.code in (501, 553)),
        Row((), ("reply",), "Deferred: {reply}", CONFIRMED, _SEEN, lambda ending: ending.temporary),
        Row((), ("reply",), "Service unavailable", CONFIRMED, _SEEN),
        Row(
            ("starttls",),
            ("lacking",),
            "Deferred: 454 4.7.0 encryption too weak 0 less than 1",
            CONFIRMED,
            "measured with the same laboratory: access map, TLS_Srv: ENCR:1",
        ),
        Row(("auth",), ("lacking",), "Deferred: 454 4.7.0 not authenticated", INFERRED, _USERSMTP),
        # lines that are no reply are skipped until the time-out
        Row((), ("malformed",), "Deferred: Connection timed out with {host}", CONFIRMED, _USERSMTP),
        Row((), ("sent",), "Sent ({message})", CONFIRMED, _SEEN),
    )

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        date = mail_date(started, "GMT")
        stamp = date[12:16] + "11" + date[5:7] + date[17:19] + date[20:22]
        trace = (
            f"Received: (from root@localhost)\n\tby {envelope.helo} (8.17.1.9/8.17.1.9/Debian-2+deb12u2) id {_ID}\n"
            f"\tfor {envelope.recipient}; {date}\n"
        )
        if not lacks(submitted, b"message-id:"):
            return (trace.encode(),)
        return (trace.encode(), f"Date: {date}\nMessage-Id: <{stamp}.{_ID}@{envelope.helo}>\n".encode())

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "ehlo" and kind == "5":
            return "helo"
        if step in ("rcpt", "rset", "quit"):
            return (
                "skip" if step == "rcpt" and not reply.startswith("421") else "defer" if step == "rcpt" else "continue"
            )
        return "bounce" if kind == "5" else "defer"

    def after_refusal(self, step: Step, reply: str) -> tuple[str, ...]:
        # smtpdata(): RSET behind a 5xx to DATA; everywhere else the connection is given up.
        return ("RSET", "QUIT") if step == "datacmd" and reply.startswith("5") else ("QUIT",)

    def log(self, ending: Ending) -> list[str]:
        host = ending.envelope.host
        lines = []
        if ending.cause == "timeout" and ending.step in _PHASE and not ending.kernel:
            lines.append(("notice", f"timeout waiting for input from {host} during {_PHASE[ending.step]}"))
        if ending.step == "body" and ending.cause in ("timeout", "closed", "reset"):
            stalled = ending.cause == "timeout" and not ending.kernel
            broken = "timed out with" if ending.kernel else "reset by"
            reason = "Resource temporarily unavailable" if stalled else f"Connection {broken} {host}"
            lines.append(("error", f"SYSERR(root): timeout writing message to {host}: {reason}"))
        if ending.step == "rcpt" and ending.code == 421 and ending.later.startswith("354"):
            # DATA had been sent behind RCPT: its reply is taken for QUIT's, and the one to QUIT never comes
            lines.append(("notice", f"timeout waiting for input from {host} during Draining Input"))
        if ending.step == "dot" and ending.cause == "reply" and self.text(ending) == "Remote protocol error":
            lines.append(("error", f"{host}: SMTP DATA-2 protocol error: {one_line(ending.reply, ' ')}"))
        lines.append(("stat", self._status(ending)))
        head = f"{syslog(ending.ended)} sendmail[8843]: "
        told = [f"<{_PRIORITY[kind]}>{head}{_ID}: {text}" for kind, text in lines]
        if ending.cause == "lacking" and ending.step == "starttls":
            reject = "454 4.7.0 encryption too weak 0 less than 1"
            told.insert(0, f"<{_PRIORITY['notice']}>{head}ruleset=tls_server, arg1=NONE, relay={host}, reject={reject}")
        return told

    def _status(self, ending: Ending) -> str:
        mail = ending.envelope
        taken = _clock(ending.seconds)
        reply = self.shown_reply(ending)
        return (
            f"to={mail.recipient}, delay={taken}, xdelay={taken}, mailer=smtp, "
            f"pri={mail.size + 30000 * len(mail.recipients)}, relay={mail.host} [{mail.ip}], dsn={self.dsn(ending)}, "
            f"{f'reply={reply}, ' if reply else ''}stat={self.text(ending)}"
        )

    def text(self, ending: Ending) -> str:
        """What stands behind stat=."""
        message = ending.reply[4:]
        if ending.enhanced and enhanced(ending.reply):
            message = message.partition(" ")[2]
        return phrase(self.phrases, ending).format(
            host=ending.envelope.host, reply=one_line(ending.reply, " "), message=one_line(message, " ")
        )

    def shown_reply(self, ending: Ending) -> str:
        """What stands behind reply=: the last refusal that came over this connection, which may be RSET's."""
        if ending.cause == "closed" and ending.step == "rcpt":
            return f"421 4.4.1 Connection reset by {ending.envelope.host}"
        if ending.cause == "lacking":
            return one_line(ending.refused_ehlo, " ")
        if ending.cause != "reply":
            return ""
        reply = ending.reply
        if ending.step == "rcpt" and ending.code == 421:
            reply = ending.later or reply  # QUIT has been sent, and may have been answered, before the status is taken
        elif ending.step == "datacmd" and not ending.temporary and ending.later[:1] in ("4", "5"):
            reply = ending.later
        return one_line(reply, " ")

    def dsn(self, ending: Ending) -> str:
        """The status code: the reply's own where the server had offered them, else by step and code."""
        if ending.cause == "sent":
            return enhanced(ending.reply) or "2.0.0"
        if ending.step == "connect":
            return "4.4.1"
        if ending.cause == "lacking":
            return "4.7.0"
        if ending.cause != "reply":
            return "4.4.2"
        if ending.enhanced and enhanced(ending.reply):
            return enhanced(ending.reply)
        temporary = ending.temporary
        if ending.step in ("greeting", "ehlo", "helo"):
            return "4.5.0" if temporary else "5.5.0"
        if ending.step == "datacmd":
            return "4.0.0" if temporary else "5.0.0"
        special = _STEP_DSN.get(ending.step, {})
        if not temporary and (ending.code in special or 0 in special):
            return special.get(ending.code) or special[0]
        return _TO_DSN.get(ending.code, "4.0.0" if temporary else "5.0.0")

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        if cause == "reply":
            if not ending.temporary:
                return Judgement("bounced", "address" if step == "rcpt" else "message", False, False)
            scope: Scope = "host" if step in HANDSHAKE else "address" if step == "rcpt" else "message"
            return Judgement("deferred", scope, False, step in HANDSHAKE)
        return Judgement("deferred", "host", step == "dot", True)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        # every queue run tries all (MinQueueAge 0); Debian runs the queue every 10 minutes
        return retry.attempts(lambda age, gap: 0.001, self.gives_up_after, seconds, every=600)

    def final_log(self, ending: Ending) -> list[str]:
        text = f"{_ID[:-6]}1{_ID[-5:]}: return to sender: Cannot send message for 5 days"
        return [f"<{_PRIORITY['stat']}>{syslog(ending.ended)} sendmail[8843]: {_ID}: {text}"]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
