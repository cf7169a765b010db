"""Which mail server wrote this: the client by the Received field that it put on top, the server by what it says."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from smtpinspect.simulate.script import Script, Transaction

RECEIVED_HEAD: Final = 4_096  # octets of a text in which the first Received field is looked for


class Mark(NamedTuple):
    """What tells a mail server. `source`: where its own text stands."""

    mta: str
    pattern: re.Pattern[str]
    source: str


def _mark(mta: str, pattern: str, source: str) -> Mark:
    return Mark(mta, re.compile(pattern, re.I | re.S), source)


RECEIVED: Final = (
    _mark("exim", r"\(Exim \d", "Exim received_header_text"),
    _mark("postfix", r"\(Postfix\b", "Postfix src/cleanup, mail_name"),
    _mark("opensmtpd", r"\(OpenSMTPD\)", "OpenSMTPD smtp_session.c"),
    _mark("sendmail", r"\(8\.\d+\.\d+(?:\.\d+)?(?:/|\))", "Sendmail $v/$Z in Received"),
    _mark("qmail", r"^\(qmail \d+ invoked", "qmail received.c, qmail-queue.c"),
    _mark("exchange", r"Microsoft SMTP Server|\bwith mapi\b", "Exchange transport"),
)
GREETING: Final = (
    _mark("exim", r"\bExim \d", "Exim smtp_banner"),
    _mark("postfix", r"\bPostfix\b", "Postfix smtpd_banner"),
    _mark("opensmtpd", r"\bOpenSMTPD\b", "OpenSMTPD smtp_session.c"),
    _mark("sendmail", r"\bSendmail\b", "Sendmail SmtpGreetingMessage"),
    _mark("exchange", r"Microsoft ESMTP MAIL Service", "Exchange receive connector"),
)
# The reply to the end of data, where the greeting is masked or changed.
ACCEPTED: Final = (
    _mark("exim", r"^250[ -](?:2\.0\.0 )?OK id=[0-9A-Za-z]{6}-", "Exim smtp_in.c"),
    _mark("postfix", r"^250 2\.0\.0 Ok: queued as ", "Postfix smtpd.c"),
    _mark("opensmtpd", r"^250 2\.0\.0 [0-9a-f]{8} Message accepted for delivery", "OpenSMTPD smtp_session.c"),
    _mark("sendmail", r"^250 2\.0\.0 \w{14} Message accepted for delivery", "Sendmail srvrsmtp.c"),
    _mark("qmail", r"^250 ok \d+ qp \d+", "qmail qmail-smtpd.c"),
    _mark("exchange", r"^250 2\.6\.0 .*Queued mail for delivery", "Exchange receive connector"),
)


def received(text: bytes) -> str:
    """The value of the first Received field, unfolded; "" without one."""
    head = text[:RECEIVED_HEAD].partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.search(r"^Received:[ \t]*(.*?)(?:\r?\n(?![ \t])|$(?!\n))", head, re.I | re.M | re.S)
    return re.sub(r"\s+", " ", found[1]) if found else ""


def sender_of(mail: Transaction | None) -> str | None:
    """The name of the MTA that sent this mail, None when nothing tells it."""
    return _first(RECEIVED, received(mail.text)) if mail is not None else None


def receiver_of(script: Script) -> str | None:
    """The name of the MTA that answered, None when nothing tells it."""
    if script.greeting is not None and (found := _first(GREETING, script.greeting.text)):
        return found
    for mail in script.mails:
        if mail.reply is not None and (found := _first(ACCEPTED, mail.reply.text.split("\n")[-1])):
            return found
    return None


def _first(marks: tuple[Mark, ...], text: str) -> str | None:
    return next((mark.mta for mark in marks if text and mark.pattern.search(text)), None)
