"""How a mail of a capture ended there, in the terms of the tables of mail servers: for flows that nothing breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smtpinspect._core.views import Mail as Record
from smtpinspect.mta.base import Cause, Ending, Fate, Loss, Step
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.script import Command, Reply, Script, Transaction
from smtpinspect.simulate.turns import envelope_of

# What a sender does, by phase.
STEPS: Final[Mapping[str, Step]] = {
    "connect": "connect", "greeting": "greeting", "ehlo": "ehlo", "mail": "mail", "rcpt": "rcpt",
    "datacmd": "datacmd", "reply354": "datacmd", "databody": "body", "datamid": "body", "dot": "dot",
    "dotreply": "dot", "quit": "quit",
}  # fmt: skip
_CAUSES: Final[Mapping[str, Cause]] = {"reset": "reset", "closed": "closed", "stalled": "timeout", "aborted": "closed"}


def refusal(mail: Transaction | None) -> tuple[Step, Command | None, Reply] | None:
    """The reply that decided the mail: to the end of its text, or the first refusal before it, from which that of a
    chunk only follows; of recipients of which some are refused for good and some for now, the last one."""
    if mail is None:
        return None
    steps: list[tuple[Step, Command | None]] = [("mail", mail.mail)]
    refused = [each for each in mail.rcpts if each.reply is not None and (each.reply.code or 0) >= 400]
    if mail.rcpts and len(refused) == len(mail.rcpts):
        mixed = len({(each.reply.code or 0) // 100 for each in refused if each.reply is not None}) > 1
        steps.append(("rcpt", refused[-1 if mixed else 0]))
    if mail.reply is not None and mail.reply.code is not None and mail.reply.whole:
        if not mail.chunks or mail.reply.code < 400:
            return "dot", None, mail.reply
        if not any(c is not None and c.reply is not None and (c.reply.code or 0) >= 400 for _, c in steps):
            return "dot", None, mail.reply
    steps.append(("datacmd", mail.data))
    for step, command in steps:
        if command is not None and command.reply is not None and (command.reply.code or 0) >= 400:
            return step, command, command.reply
    return None


def ending_of(script: Script, mail: Transaction | None, record: Record | None, began: int, ended: int) -> Ending:
    """As the client saw it."""
    made = Ending(
        step="connect" if script.greeting is None else "greeting",
        cause="closed",
        seconds=max(ended - began, 0) / SECOND,
        envelope=envelope_of(script, mail),
        started=began / SECOND,
    )
    decided = refusal(mail)
    if decided is not None:
        step, command, reply = decided
        good = (reply.code or 0) // 100 == 2
        return made._replace(
            step=step, cause="sent" if good else "reply", reply=reply.text,
            command=command.text if command is not None else "",
            pipelined=command is not None and command.behind > 0,
        )  # fmt: skip
    if record is not None:
        return made._replace(
            step=STEPS.get(record.phase or "", made.step), cause=_CAUSES.get(record.outcome, "closed"),
            written=len(mail.text) if mail is not None and mail.text_at is not None else None,
        )  # fmt: skip
    return made


def loss_of(script: Script, mail: Transaction | None, record: Record | None, began: int, ended: int) -> Loss:
    """As the server saw it."""
    quits = any(command.verb == "QUIT" for command in script.commands)
    ending = ending_of(script, mail, record, began, ended)
    return Loss(
        step="quit" if quits else ending.step,
        cause="quit" if quits else "closed",
        seconds=ending.seconds,
        envelope=ending.envelope,
        esmtp=script.hello is None or script.hello.verb != "HELO",
        octets=len(mail.text) if mail is not None else 0,
        header_done=mail is not None and b"\r\n\r\n" in mail.text,
        accepted=ending.cause == "sent",
        started=ending.started,
    )


def fate_of(script: Script, mail: Transaction | None, record: Record | None) -> Fate | None:
    """What became of the mail in the capture; None: it does not tell."""
    decided = refusal(mail)
    if decided is not None:
        code = decided[2].code or 0
        return "delivered" if code < 300 else "bounced" if code >= 500 else "deferred"
    if record is not None and record.outcome in _CAUSES:
        return "deferred"
    return None
