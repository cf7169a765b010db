"""The mail of a capture sent again, from its first packet, through an emulated firewall to a server that offers and
answers what the captured one did."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from smtpinspect.mta.base import Envelope, Receiver, Sender, submitted
from smtpinspect.simulate.again import PIX_AGE, Again, Mirror, Wish
from smtpinspect.simulate.attempt import Attempt, attempt
from smtpinspect.simulate.client import Letter
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.guess import sender_of
from smtpinspect.simulate.recorded import BREAKING, Kind, kind_of
from smtpinspect.simulate.script import Script, Transaction
from smtpinspect.simulate.turns import envelope_of
from smtpinspect.simulate.way import Box

PLACEHOLDER: Final = 2_000  # octets of a mail that nobody has seen
SEEN_TLS: Final = 100_000_000  # of one whose size is known: at most


class Enacted(NamedTuple):
    """`tried`: the first attempt. `alert`: the rule that broke the flow. `later`: an attempt with the mail grown old,
    where this client then does something else. `unseen`: it went into TLS; `placeholder`: its text is not known."""

    tried: Attempt
    alert: Any
    alerts: tuple[Any, ...]
    kind: Kind
    later: Attempt | None
    unseen: bool
    placeholder: bool


class _Ear:
    """Hears what the box says of each packet."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.alerts: list[Any] = []
        self.alert: Any = None
        self.kind: Kind = "none"

    def take(self, ns: int, ip: bytes) -> Any:
        fate = self.box.take(ns, ip)
        for alert in fate.alerts:
            self.alerts.append(alert)
            if self.alert is None and (alert.breaks or alert.action in BREAKING):
                self.alert = alert
                self.kind = kind_of(fate)
            elif self.kind == "none" and alert.action == "answer":
                self.kind = "reply"
        return fate


def wish_of(
    script: Script,
    mail: Transaction | None,
    sender: Sender,
    *,
    require_tls: bool = False,
    require_auth: bool = False,
) -> Wish:
    """What the captured client did; of its extras only what this sender does, too."""
    known = sender_of(mail)
    same = known is None or known == sender.name
    auth = tuple(each for each in script.commands if each.verb == "AUTH" or each.answer)
    return Wish(
        mail=mail,
        tls=any(each.verb == "STARTTLS" for each in script.commands),
        auth=auth,
        chunks=mail is not None and bool(mail.chunks) and same,
        parameters=same,
        require_tls=require_tls,
        require_auth=require_auth,
    )


def letter_of(script: Script, mail: Transaction | None, sender: Sender) -> tuple[Letter, bool]:
    """The mail to be sent; True: its text is not in the capture, another of about its size takes its place."""
    envelope = envelope_of(script, mail)
    started = script.start_ns / SECOND
    if mail is not None and mail.text:
        text = mail.text
        if mail.chunks:
            text = text.replace(b"\r\n.", b"\r\n..")
            text = b"." + text if text.startswith(b".") else text
        return Letter(envelope, text if text.endswith(b"\r\n") else text + b"\r\n", started), False
    size = PLACEHOLDER
    if script.tls_at is not None:
        size = min(max(len(script.streams[0]) - script.tls_at, PLACEHOLDER), SEEN_TLS)
    envelope = _filled(envelope, sender)
    body = submitted(envelope, size)
    return Letter(envelope._replace(size=len(body)), sender.message(envelope, body, started), started), True


def _filled(envelope: Envelope, sender: Sender) -> Envelope:
    """Names of an example where the capture has none."""
    example = sender.example
    return envelope._replace(
        sender=envelope.sender or example.sender,
        recipients=envelope.recipients or example.recipients,
        helo=envelope.helo or example.helo,
    )


def enact(
    script: Script,
    mail: Transaction | None,
    sender: Sender,
    receiver: Receiver,
    box: Any,
    *,
    timeouts: Mapping[str, float] | None = None,
    require_tls: bool = False,
    require_auth: bool = False,
) -> Enacted:
    """Send it. `box` makes a firewall: a new one for each attempt."""
    letter, placeholder = letter_of(script, mail, sender)
    wish = wish_of(script, mail, sender, require_tls=require_tls, require_auth=require_auth)
    ear = _Ear(box())
    unseen: list[Again] = []

    def client(*args: Any, **more: Any) -> Again:
        unseen.append(made := Again(wish, *args, **more))
        return made

    def once(ear: _Ear, started: float) -> Attempt:
        return attempt(
            sender,
            letter._replace(started=started),
            receiver,
            ear,
            timeouts=timeouts,
            start=int(started * SECOND),
            host=script.host or letter.envelope.host,
            port=int(script.client.rpartition(":")[2]),
            client_kind=client,
            server_kind=partial(Mirror, script, mail),
        )

    tried = once(ear, letter.started)
    later = None
    if tried.ending.starred and sender.fate(tried.ending).fate == "deferred":
        age = next((t for t in sender.attempts(tried.ending.seconds) if t > PIX_AGE), 0)
        if age:
            wish = wish._replace(age=float(age))
            later = once(_Ear(box()), letter.started + age)
    return Enacted(tried, ear.alert, tuple(ear.alerts), ear.kind, later, unseen[0].encrypted, placeholder)
