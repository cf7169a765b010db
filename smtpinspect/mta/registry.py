"""The servers by the name that `--mta` takes."""

from __future__ import annotations

from typing import Final

from smtpinspect.errors import UsageError
from smtpinspect.mta.base import Receiver, Sender
from smtpinspect.mta.exchange import Exchange
from smtpinspect.mta.exim import Exim
from smtpinspect.mta.opensmtpd import OpenSmtpd
from smtpinspect.mta.postfix import Postfix
from smtpinspect.mta.qmail import Qmail
from smtpinspect.mta.receivers import (
    EximServer,
    OpenSmtpdServer,
    PostfixServer,
    QmailServer,
    Scripted,
    SendmailServer,
)
from smtpinspect.mta.rfc5321 import Rfc5321
from smtpinspect.mta.sendmail import Sendmail

SENDERS: Final[dict[str, Sender]] = {
    sender.name: sender for sender in (Exim(), Postfix(), Sendmail(), OpenSmtpd(), Qmail(), Exchange(), Rfc5321())
}
RECEIVERS: Final[dict[str, Receiver]] = {
    receiver.name: receiver
    for receiver in (PostfixServer(), EximServer(), SendmailServer(), OpenSmtpdServer(), QmailServer(), Scripted())
}


def sender(name: str) -> Sender:
    """The model of an MTA as a client. Raises UsageError."""
    try:
        return SENDERS[name]
    except KeyError:
        raise UsageError(f"no mail server {name!r}; known: {', '.join(SENDERS)}") from None


def receiver(name: str) -> Receiver:
    """The model of an MTA as a server. Raises UsageError."""
    try:
        return RECEIVERS[name]
    except KeyError:
        raise UsageError(f"no mail server {name!r} to receive; known: {', '.join(RECEIVERS)}") from None
