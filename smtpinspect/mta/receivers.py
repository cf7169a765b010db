"""MTAs as servers: their replies, how long they read, what they log when a session breaks off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from smtpinspect.actions import CONFIRMED
from smtpinspect.mta.base import Envelope, Loss, Receiver, Step, Timer
from smtpinspect.mta.words import iso, masked, masks, span, syslog

_COMMANDS: Final[tuple[Step, ...]] = (
    "connect",
    "greeting",
    "ehlo",
    "helo",
    "starttls",
    "auth",
    "mail",
    "rcpt",
    "dot",
    "rset",
    "quit",
)
_TEXT: Final[tuple[Step, ...]] = ("datacmd", "body")
_VERBS: Final[dict[Step, str]] = {"ehlo": "ehlo", "helo": "helo", "mail": "mail", "rcpt": "rcpt", "datacmd": "data"}


def _ehlo(first: str, extensions: tuple[str, ...]) -> str:
    lines = (first, *extensions)
    return "\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)


def _before_mail(loss: Loss) -> bool:
    return loss.step in ("connect", "greeting", "ehlo", "helo", "starttls", "auth")


def _in_text(loss: Loss) -> bool:
    """Was the text on its way? So it was when an RST came right behind the end mark: what is unread is lost."""
    return loss.step in _TEXT or (loss.step == "dot" and loss.cause == "reset" and not loss.accepted)


class Scripted(Receiver):
    """The reference laboratory's server (lab-srv.py): no extensions of its own, no RSET, no time-out, no log."""

    name = "scripted"
    title = "the laboratory's scripted server"
    timers = (Timer((*_COMMANDS, *_TEXT), "", float("inf"), "", CONFIRMED, "mta.md, section 12: lab-srv.py"),)
    extensions = ()
    replies = {
        "greeting": "220 mx.example.net ESMTP",
        "ehlo": "250 mx.example.net",
        "helo": "250 mx.example.net",
        "mail": "250 2.1.0 Ok",
        "rcpt": "250 2.1.5 Ok",
        "datacmd": "354 End data with <CR><LF>.<CR><LF>",
        "dot": "250 2.0.0 Ok: queued as {id}",
        "quit": "221 2.0.0 Bye",
        "rset": "502 5.5.2 Error: command not recognized",
        "other": "502 5.5.2 Error: command not recognized",
    }

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        return ""

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return cause == "closed"

    def log(self, loss: Loss) -> list[str]:
        return []

    def mask(self, line: str) -> str:
        return line


class PostfixServer(Receiver):
    """smtpd(8) 3.7."""

    name = "postfix"
    title = "Postfix 3.7"
    timers = (Timer((*_COMMANDS, *_TEXT), "smtpd_timeout", 300, "command", CONFIRMED, "Postfix mail_params.h"),)
    extensions = (
        "PIPELINING",
        "SIZE 10240000",
        "VRFY",
        "ETRN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
    )
    replies = {
        "greeting": "220 {host} ESMTP Postfix",
        "ehlo": _ehlo("{host}", extensions),
        "helo": "250 {host}",
        "mail": "250 2.1.0 Ok",
        "rcpt": "250 2.1.5 Ok",
        "datacmd": "354 End data with <CR><LF>.<CR><LF>",
        "dot": "250 2.0.0 Ok: queued as {id}",
        "rset": "250 2.0.0 Ok",
        "quit": "221 2.0.0 Bye",
        "other": "500 5.5.2 Error: command not recognized",
    }
    example_id = "97F8521C522"
    _where: ClassVar[Mapping[str, str]] = {
        "connect": "CONNECT",
        "greeting": "CONNECT",
        "ehlo": "EHLO",
        "helo": "HELO",
        "starttls": "STARTTLS",
        "auth": "AUTH",
        "mail": "MAIL",
        "rcpt": "RCPT",
        "dot": "END-OF-MESSAGE",
        "rset": "RSET",
        "quit": "QUIT",
    }
    _masks = masks(
        (r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ (?=postfix)", ""),
        (r"(?<=postfix/smtpd)\[\d+\]", ""),
        (r"(?<=: )[0-9A-F]{6,15}(?=: )", "<id>"),
        (r"[^\s=]+\[[0-9a-fA-F.:]+\]", "<host>"),
        (r"\(\d+ bytes\)", "(<n> bytes)"),
    )

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        return f"421 4.4.2 {envelope.host} Error: timeout exceeded"

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return cause == "closed"

    def log(self, loss: Loss) -> list[str]:
        peer = f"{loss.peer or 'unknown'}[{loss.envelope.source}]"
        lines = [(loss.started, f"connect from {peer}")]
        order: list[Step] = ["ehlo" if loss.esmtp else "helo", "mail", "rcpt", "datacmd"]
        in_text = _in_text(loss)
        reached = "datacmd" if in_text or loss.step in ("dot", "quit") else loss.step
        done = order[: order.index(reached) + 1] if reached in order else []
        if "rcpt" in done:
            lines.append((loss.started, f"{self.example_id}: client={peer}"))
        word = {"timeout": "timeout", "closed": "lost connection", "reset": "lost connection", "quit": ""}[loss.cause]
        # smtpd says nothing of a plain end behind an accepted mail
        if word and not (loss.step == "dot" and loss.cause != "timeout" and not in_text):
            where = f"DATA ({loss.octets} bytes)" if in_text else self._where[loss.step]
            lines.append((loss.ended, f"{word} after {where} from {peer}"))
        counts = [f"{_VERBS[step]}=1" for step in done]
        whole = len(done)
        if in_text:
            counts[-1], whole = "data=0/1", len(done) - 1
        if loss.cause == "quit":
            counts.append("quit=1")
        tried = len(done) + (loss.cause == "quit")
        whole += loss.cause == "quit"
        total = f"commands={whole}" + (f"/{tried}" if tried != whole or not tried else "")
        lines.append((loss.ended, f"disconnect from {peer} {' '.join([*counts, total])}"))
        short = loss.envelope.host.split(".")[0]
        return [f"{syslog(moment)} {short} postfix/smtpd[20489]: {text}" for moment, text in lines]

    def mask(self, line: str) -> str:
        return masked(self._masks, line)


class EximServer(Receiver):
    """Main log of 4.96, with the log selectors +smtp_connection +smtp_no_mail."""

    name = "exim"
    title = "Exim 4.96"
    timers = (Timer((*_COMMANDS, *_TEXT), "smtp_receive_timeout", 300, "command", CONFIRMED, "Exim src/globals.c"),)
    extensions = ("SIZE 52428800", "8BITMIME", "PIPELINING", "PIPECONNECT", "CHUNKING", "HELP")
    replies = {
        "greeting": "220 {host} ESMTP Exim 4.96",
        "ehlo": _ehlo("{host} Hello {helo}", extensions),
        "helo": "250 {host} Hello {helo}",
        "mail": "250 OK",
        "rcpt": "250 Accepted",
        "datacmd": '354 Enter message, ending with "." on a line by itself',
        "dot": "250 OK id={id}",
        "rset": "250 Reset OK",
        "quit": "221 {host} closing connection",
        "other": "500 unrecognized command",
    }
    example_id = "1xV5MK-0005JO-1j"
    _masks = masks(
        (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", ""),
        (r"\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b", "<id>"),
        (r"(?:\([^)\s]+\) )?\[[0-9a-fA-F.:]+\](?::\d+)?", "<host>"),
        (r"\bD=\S+", "D=<time>"),
        (r"\bS=\d+", "S=<n>"),
        (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)|(?<=<= )\S+@\S+", "<address>"),
        (r" id=\S+@\S+", ""),  # the mail's own Message-ID, where it has one
    )

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        if step in _TEXT:
            return f"421 {envelope.host} SMTP incoming data timeout - closing connection."
        return f"421 {envelope.host}: SMTP command timeout - closing connection"

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return False

    def log(self, loss: Loss) -> list[str]:
        mail = loss.envelope
        greeted = loss.step not in ("connect", "greeting")
        bare = f"[{mail.source}]"
        peer = f"({mail.helo}) {bare}" if greeted else bare
        lines = [(loss.started, f"SMTP connection from {bare} (TCP/IP connection count = 1)")]
        if loss.accepted:
            protocol = "esmtp" if loss.esmtp else "smtp"
            arrived = f"{self.example_id} <= {mail.sender} H={peer} P={protocol} S={loss.octets}"
            lines.append((loss.started, arrived))
        lines += [(loss.ended, text) for text in self._end(loss, peer)]
        return [f"{iso(moment)} {text}" for moment, text in lines]

    def _end(self, loss: Loss, peer: str) -> list[str]:
        taken = f"D={span(loss.seconds)}"
        why = " (error: Connection reset by peer)" if loss.cause == "reset" else ""
        if loss.cause == "quit":
            return [f"SMTP connection from {peer} closed by QUIT {taken}"]
        if _in_text(loss):
            if loss.cause == "timeout":
                started = f"{self.example_id} " if loss.header_done else ""
                sender = f"F=<{loss.envelope.sender}>"
                return [f"{started}SMTP data timeout (message abandoned) on connection from {peer} {sender}"]
            return [
                f"SMTP connection from {peer} lost while reading message data{'' if loss.header_done else ' (header)'}"
            ]
        if loss.cause == "timeout":
            return [f"SMTP command timeout on connection from {peer}"]
        if loss.step == "dot" and not loss.accepted:
            protocol = "esmtp" if loss.esmtp else "smtp"
            return [f"{self.example_id} SMTP connection lost after final dot H={peer} P={protocol}"]
        if _before_mail(loss) or loss.accepted:
            lost = f"SMTP connection from {peer} lost{why} {taken}"
            if loss.accepted:
                return [lost]
            verb = f" C={'EHLO' if loss.esmtp else 'HELO'}" if loss.step not in ("connect", "greeting") else ""
            return [lost, f"no MAIL in SMTP connection from {peer} {taken}{verb}"]
        return [f"unexpected disconnection while reading SMTP command from {peer}{why} {taken}"]

    def mask(self, line: str) -> str:
        return masked(self._masks, line)


class SendmailServer(Receiver):
    """8.17.1, with the priority that syslog puts in front."""

    name = "sendmail"
    title = "Sendmail 8.17.1"
    timers = (
        Timer(_COMMANDS, "Timeout.command", 3600, "command", CONFIRMED, "sendmail readcf.c"),
        Timer(_TEXT, "Timeout.datablock", 3600, "data", CONFIRMED, "sendmail readcf.c"),
    )
    extensions = (
        "ENHANCEDSTATUSCODES",
        "PIPELINING",
        "EXPN",
        "VERB",
        "8BITMIME",
        "SIZE",
        "DSN",
        "ETRN",
        "DELIVERBY",
        "HELP",
    )
    replies = {
        "greeting": "220 {host} ESMTP Sendmail 8.17.1.9/8.17.1.9",
        "ehlo": _ehlo("{host} Hello {helo}, pleased to meet you", extensions),
        "helo": "250 {host} Hello {helo}, pleased to meet you",
        "mail": "250 2.1.0 <{sender}>... Sender ok",
        "rcpt": "250 2.1.5 <{rcpt}>... Recipient ok",
        "datacmd": '354 Enter mail, end with "." on a line by itself',
        "dot": "250 2.0.0 {id} Message accepted for delivery",
        "rset": "250 2.0.0 Reset state",
        "quit": "221 2.0.0 {host} closing connection",
        "other": "500 5.5.1 Command unrecognized",
    }
    example_id = "6AMBBIqB009471"
    _masks = masks(
        (r"^<\d+>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ", ""),
        (r"(?<=^sendmail)\[\d+\]", ""),
        (r"msgid=<[^>]*>", "msgid=<id>"),
        (r"\b[0-9A-Za-z]{8}\d{6}\b", "<id>"),
        (r"(?<=from=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
        (r"\bsize=\d+", "size=<n>"),
        (r"\brelay=[^,\s]+(?: \[[^\]]+\])?", "relay=<host>"),
        # by name, or, when nobody knows it, by address
        (
            r"\b(from|by) \[?[\w.:-]+\]?(?: \[[^\]]+\])?(?= during| to|$)|^(sendmail: <id>:) \S+ \[[^\]]+\]",
            r"\1\2 <host>",
        ),
    )

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        if step in _TEXT:
            relay = envelope.source
            return f"421 4.4.1 collect: relay={relay}, from=<{envelope.sender}>, info=read timeout"
        return ""

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return cause == "closed"

    def log(self, loss: Loss) -> list[str]:
        mail = loss.envelope
        name = loss.peer or f"[{mail.source}]"
        peer = f"{name} [{mail.source}]"
        begun = not _before_mail(loss)
        in_text = _in_text(loss)
        protocol = "ESMTP" if loss.esmtp else "SMTP"
        lines: list[tuple[int, str]] = []
        if in_text:
            lines += self._collect(loss, name)
        elif loss.cause == "timeout" and not loss.accepted:
            lines.append((21, f"timeout waiting for input from {name} during server cmd read"))
        if loss.cause != "quit" and not in_text and not loss.accepted and loss.step != "dot":
            if begun:
                lines.append((21, f"lost input channel from {peer} to MTA after {_VERBS.get(loss.step, loss.step)}"))
            else:
                lines.append((22, f"{peer} did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA"))
        if begun:
            size = loss.octets if in_text or loss.step in ("dot", "quit") else 0
            accepted = loss.accepted or (loss.step == "dot" and not in_text)
            number = f"msgid=<202611221111.{self.example_id}@{mail.host}>, " if accepted else ""
            recipients = 0 if loss.step == "mail" else len(mail.recipients)
            summary = f"from=<{mail.sender}>, size={size}, class=0, nrcpts={recipients}, {number}"
            lines.append((22, f"{summary}proto={protocol}, daemon=MTA, relay={peer}"))
        if loss.accepted and loss.cause == "timeout":
            lines.append((21, f"timeout waiting for input from {name} during server cmd read"))
        return [
            f"<{priority}>{syslog(loss.ended)} sendmail[9471]: {self.example_id}: {text}" for priority, text in lines
        ]

    def _collect(self, loss: Loss, name: str) -> list[tuple[int, str]]:
        about = f"collect: relay={name}, from=<{loss.envelope.sender}>, info="
        if loss.cause == "timeout":
            return [(18, f"SYSERR(root): {about}read timeout")]
        if loss.cause == "closed":
            return [(20, "collect: premature EOM: unexpected close"), (21, f"{about}unexpected close")]
        early = f"collect: premature EOM: Connection reset by {name}"
        return [(20, early), (18, f"SYSERR(root): {about}I/O error")]

    def mask(self, line: str) -> str:
        return masked(self._masks, line)


class OpenSmtpdServer(Receiver):
    """6.8; no phase is told."""

    name = "opensmtpd"
    title = "OpenSMTPD 6.8"
    timers = (Timer((*_COMMANDS, *_TEXT), "", 300, "", CONFIRMED, "OpenSMTPD smtpd.h SMTPD_SESSION_TIMEOUT"),)
    extensions = ("8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 36700160", "DSN", "HELP")
    replies = {
        "greeting": "220 {host} ESMTP OpenSMTPD",
        "ehlo": _ehlo("{host} Hello {helo}, pleased to meet you", extensions),
        "helo": "250 {host} Hello {helo}, pleased to meet you",
        "mail": "250 2.0.0 Ok",
        "rcpt": "250 2.1.5 Destination address valid: Recipient ok",
        "datacmd": '354 Enter mail, end with "." on a line by itself',
        "dot": "250 2.0.0 {id} Message accepted for delivery",
        "rset": "250 2.0.0 Reset state",
        "quit": "221 2.0.0 Bye",
        "other": "500 5.5.1 Invalid command: Command unrecognized",
    }
    example_id = "f759b369"
    _session = "927c11ab34c5a6a7"
    _reasons: ClassVar[Mapping[str, str]] = {
        "timeout": "timeout",
        "closed": "disconnect",
        "reset": '"io-error: Connection reset by peer"',
        "quit": "quit",
    }
    _masks = masks(
        (r"\b[0-9a-f]{16}\b", "<id>"),
        (r"\bmsgid=[0-9a-f]{8}\b", "msgid=<id>"),
        (r"\bsize=\d+", "size=<n>"),
        (r"(?<=<)[^<>\s]+@[^<>\s]+(?=>)", "<address>"),
        (r"\baddress=\S+ host=\S+", "address=<host>"),
    )

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        return ""

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return cause == "closed"

    def log(self, loss: Loss) -> list[str]:
        mail = loss.envelope
        lines = [f"smtp connected address={mail.source} host={loss.peer or '<unknown>'}"]
        if loss.accepted:
            protocol = "ESMTP" if loss.esmtp else "SMTP"
            lines.append(
                f"smtp message msgid={self.example_id} size={loss.octets} nrcpt={len(mail.recipients)} proto={protocol}"
            )
            for number, recipient in enumerate(mail.recipients):
                evpid = f"{self.example_id}{0x7E3B8C28 + number:08x}"
                lines.append(f"smtp envelope evpid={evpid} from=<{mail.sender}> to=<{recipient}>")
        lines.append(f"smtp disconnected reason={self._reasons[loss.cause]}")
        return [f"{self._session} {line}" for line in lines]

    def mask(self, line: str) -> str:
        return masked(self._masks, line)


class QmailServer(Receiver):
    """qmail-smtpd under tcpserver, which alone writes a log."""

    name = "qmail"
    title = "netqmail 1.06"
    timers = (
        Timer((*_COMMANDS, *_TEXT), "control/timeoutsmtpd", 1200, "command", CONFIRMED, "notqmail qmail-control.9"),
    )
    extensions = ("PIPELINING", "8BITMIME")
    replies = {
        "greeting": "220 {host} ESMTP",
        "ehlo": _ehlo("{host}", extensions),
        "helo": "250 {host}",
        "mail": "250 ok",
        "rcpt": "250 ok",
        "datacmd": "354 go ahead",
        "dot": "250 ok 1767225600 qp {id}",
        "rset": "250 flushed",
        "quit": "221 {host}",
        "other": "502 unimplemented (#5.5.1)",
    }
    example_id = "4711"
    _masks = masks((r"\b(pid|ok|end) \d+", r"\1 <id>"), (r"(?<=from )\S+", "<host>"))

    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        return "451 timeout (#4.4.2)"

    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        return cause == "closed"

    def log(self, loss: Loss) -> list[str]:
        status = 0 if loss.cause == "quit" else 256
        return [f"tcpserver: pid 4710 from {loss.envelope.source}", f"tcpserver: end 4710 status {status}"]

    def mask(self, line: str) -> str:
        return masked(self._masks, line)
