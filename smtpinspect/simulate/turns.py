"""The client's part of a captured dialogue, in turns, and whose mail it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smtpinspect.mta.base import Envelope, Step
from smtpinspect.simulate.script import Command, Reply, Script, Transaction

STEPS: Final[Mapping[str, Step]] = {
    "EHLO": "ehlo", "HELO": "helo", "LHLO": "ehlo", "STARTTLS": "starttls", "AUTH": "auth", "MAIL": "mail",
    "RCPT": "rcpt", "DATA": "datacmd", "BDAT": "dot", "RSET": "rset", "QUIT": "quit",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """Octets of the client that may be written once so many of the server's have come; what it then waits for."""

    step: Step
    at: int
    end: int
    needs: int  # the server's stream offset
    reply: Reply | None
    command: str
    grouped: bool = False  # it was sent together with the one before or behind it
    mail: Transaction | None = None


def turns_of(script: Script) -> list[Turn]:
    """The client's part, in order. A text is a turn of its own, to the end mark."""
    made: list[Turn] = []
    due: list[Reply | None] = []
    greeted = script.greeting.end if script.greeting is not None else 0
    commands = script.commands
    for n, command in enumerate(commands):
        known = [reply for reply in due[: len(due) - command.behind] if reply is not None]
        needs = max([greeted, *(reply.end for reply in known)])
        behind = n + 1 < len(commands) and commands[n + 1].behind > 0 and commands[n + 1].at == command.end
        mail = _mail_at(script, command)
        step: Step = "auth" if command.answer else STEPS.get(command.verb, "rset")
        if mail is not None and command.verb == "BDAT":
            following = commands[n + 1].at if n + 1 < len(commands) else mail.text_end or command.end
            end = max(min(following, mail.text_end or following), command.end)
            made.append(
                Turn(step, command.at, end, needs, command.reply, command.text, bool(command.behind), mail)
            )
        else:
            grouped = bool(command.behind) or behind
            made.append(Turn(step, command.at, command.end, needs, command.reply, command.text, grouped, mail))
        due.append(command.reply)
        if command.verb == "DATA" and mail is not None and mail.text_at is not None:
            end = mail.text_end or mail.text_at + len(mail.text)
            ready = command.reply.end if command.reply is not None else needs
            made.append(Turn("dot", mail.text_at, end, ready, mail.reply, "", False, mail))
            due.append(mail.reply)
    return made


def _mail_at(script: Script, command: Command) -> Transaction | None:
    if command.verb not in ("MAIL", "RCPT", "DATA", "BDAT"):
        return None
    for mail in reversed(script.mails):
        if mail.begins <= command.at:
            return mail
    return None


def envelope_of(script: Script, mail: Transaction | None) -> Envelope:
    """Who writes to whom, as the capture shows it."""
    address, _, port = script.server.rpartition(":")
    source = script.client.rpartition(":")[0].strip("[]")
    address = address.strip("[]")
    made = Envelope(
        sender="", recipients=(), helo=script.helo, host=script.host or address, ip=address, port=int(port),
        source=source,
    )  # fmt: skip
    if mail is None:
        return made
    size = len(mail.text) - mail.text.count(b"\r\n")
    return made._replace(sender=mail.sender, recipients=mail.recipients, size=size)
