"""A break without a capture: a mail of a given size from a modelled sender, a box that breaks the flow at a phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from smtpinspect.enforce.at import KINDS, PHASES, Kind, Phase, box_at
from smtpinspect.errors import UsageError
from smtpinspect.inspectors.settings import nearest, unknown
from smtpinspect.mta import registry
from smtpinspect.mta.base import Loss, Receiver, Sender, Step, submitted
from smtpinspect.simulate.attempt import Attempt, attempt
from smtpinspect.simulate.client import Letter
from smtpinspect.simulate.result import Result, retries_of, stage_of

SIZE: Final = 2_000
SIZES: Final = (0, 100_000_000)
MIDDLE: Final = 20_000  # octets of the body before a break at datamid, half of a smaller one
WITH_MIDDLE: Final = 71  # octets: of a smaller one `mta.base.submitted` makes no line
REPLY: Final = "reply="
SCRIPTED: Final = "scripted"  # who answers when nobody is named: replies as in the reference laboratory, no log
RECEIVERS: Final[Mapping[str, Receiver]] = {
    name: receiver for name, receiver in registry.RECEIVERS.items() if name != SCRIPTED
}
STARTED: Final = 1_795_345_200.0  # 2026-11-22 11:00 UTC
# Which reply `--break reply=` replaces, by phase; the others have none.
REPLIES: Final[Mapping[Phase, Step]] = {
    "greeting": "greeting",
    "ehlo": "ehlo",
    "mail": "mail",
    "rcpt": "rcpt",
    "datacmd": "datacmd",
    "reply354": "datacmd",
    "dot": "dot",
    "dotreply": "dot",
    "quit": "quit",
}


class Question(NamedTuple):
    """What is asked. `broken`: drop, rst, fin or reply=TEXT. `receivers`: whose logs are wanted; one of them alone
    is also who answers the sender, else a scripted server does."""

    mta: str
    phase: Phase
    broken: str
    size: int = SIZE
    pipelining: bool = False
    timeouts: Mapping[str, float] = {}
    receiver: str = ""


def question(
    mta: str,
    phase: str,
    broken: str,
    size: int = SIZE,
    pipelining: bool = False,
    timeouts: Mapping[str, float] | None = None,
    receiver: str = "",
) -> Question:
    """A checked question. Raises UsageError that names what is known."""
    if mta not in registry.SENDERS:
        raise unknown("mail server", mta, tuple(registry.SENDERS))
    if phase not in PHASES:
        raise unknown("phase", phase, PHASES)
    if broken.startswith(REPLY):
        text = broken.removeprefix(REPLY)
        if not (text[:3].isascii() and text[:3].isdigit() and "2" <= text[0] <= "5" and text[3:4] in ("", " ", "-")):
            raise UsageError(f"--break {broken!r}: a reply begins with its code, as in reply=\"421 4.3.2 closing\"")
        if phase not in REPLIES:
            raise UsageError(f"--break reply= at {phase}: nothing is replied to there. Phases: {' '.join(REPLIES)}")
    elif broken not in KINDS:
        raise unknown("break", broken, (*KINDS, "reply=TEXT"))
    if receiver and receiver not in RECEIVERS:
        raise unknown("receiving mail server", receiver, tuple(RECEIVERS))
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"--size {size}: from {SIZES[0]:,} to {SIZES[1]:,} bytes")
    return Question(mta, phase, broken, size, pipelining, dict(timeouts or {}), receiver)


TIMEOUTS: Final = ("connect", "command", "data", "final")


def timeouts_of(text: str) -> dict[str, float]:
    """`connect=5,command=300` as seconds. Raises UsageError."""
    found = {}
    for part in filter(None, text.split(",")):
        word, _, seconds = part.partition("=")
        word = word.strip()
        if word not in TIMEOUTS:
            raise unknown("time-out", word, TIMEOUTS)
        try:
            found[word] = float(seconds)
        except ValueError:
            found[word] = -1.0
        if not 0 < found[word] <= 86_400:
            raise UsageError(f"--timeouts {part}: seconds, more than 0 and at most 86,400")
    return found


class Tried(NamedTuple):
    """The result, and the attempt that its sender's side comes from."""

    result: Result
    attempt: Attempt


def simulate(asked: Question) -> Tried:
    """Run it: once for the sender's side, once for each receiver whose log is wanted."""
    sender = registry.SENDERS[asked.mta]
    replied = asked.broken.startswith(REPLY)
    chosen = registry.RECEIVERS[asked.receiver or SCRIPTED]
    tried = _once(asked, sender, chosen)
    names: Sequence[str] = (asked.receiver,) if asked.receiver else () if replied else tuple(RECEIVERS)
    losses: dict[str, Loss] = {}
    logs = {}
    for name in names:
        receiver = RECEIVERS[name]
        loss = (tried if receiver is chosen else _once(asked, sender, receiver)).loss
        if loss is not None:
            losses[name] = loss
        logs[name] = tuple(receiver.log(loss)) if loss is not None else ()
    ending = tried.ending
    judgement = sender.fate(ending)
    retries = retries_of(sender.attempts(ending.seconds), judgement)
    result = Result(
        asked.mta,
        asked.phase,
        asked.broken,
        stage_of(ending),
        tuple(sender.log(ending)),
        logs,
        judgement.fate,
        judgement.scope,
        ending.seconds,
        judgement.duplicate_risk,
        retries,
        sender.gives_up_after if judgement.fate == "deferred" else None,
        tried.timeline,
        ending,
        losses,
    )
    return Tried(result, tried)


def _once(asked: Question, sender: Sender, receiver: Receiver) -> Attempt:
    envelope = sender.example
    body = submitted(envelope, asked.size)
    text = sender.message(envelope, body, STARTED)
    envelope = envelope._replace(size=len(body))
    overrides: dict[str, str] = {}
    box = None
    if asked.broken.startswith(REPLY):
        step = REPLIES[asked.phase]
        overrides["helo" if step == "ehlo" and not sender.esmtp else step] = asked.broken.removeprefix(REPLY)
    else:
        kind: Kind = asked.broken  # type: ignore[assignment]
        phase: Phase = "databody" if asked.phase == "datamid" and asked.size < WITH_MIDDLE else asked.phase
        box = box_at(phase, kind, min(MIDDLE, asked.size // 2))
    return attempt(
        sender,
        Letter(envelope, text, STARTED),
        receiver,
        box,
        extensions=("PIPELINING",) if asked.pipelining else (),
        overrides=overrides,
        timeouts=asked.timeouts,
        start=int(STARTED) * 1_000_000_000,
    )


__all__ = ["PHASES", "Question", "Tried", "nearest", "question", "simulate", "timeouts_of"]
