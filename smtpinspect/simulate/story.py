"""What a simulation with a capture tells: the object of `--format json`, with what the capture and the days add."""

from __future__ import annotations

from typing import Any, NamedTuple

from smtpinspect.mta.base import Ending, Loss, Receiver, Sender
from smtpinspect.simulate.result import Happened, Result, retries_of, stage_of


class Mail(NamedTuple):
    """Which mail of the capture. `number`: of its connection, from 1; None: the connection holds none."""

    client: str
    server: str
    number: int | None
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    guessed: tuple[str, ...]  # of "mta" and "receiver": those that the capture tells
    why: str


class Hit(NamedTuple):
    """The rule that decided: its alert in short. `packet` is a frame of the capture, None where it was sent anew."""

    rule: str
    action: str
    direction: str
    offset: int
    octets: str
    packet: int | None = None


class Days(NamedTuple):
    """What the retries add up to. `copies`: how often the recipient gets the mail; `slots`: seconds of delivery slots
    in all; `next_mx`: another address of the domain is tried at once, if there is one."""

    attempts: int
    copies: int
    slots: float
    next_mx: bool
    final_log: tuple[str, ...]


class Story(NamedTuple):
    """`mode`: recorded or re-enacted. `observed`: what the capture itself shows of the mail. `views`: packets in the
    client's and in the server's capture. `notes`: what the capture cannot show."""

    mode: str
    inspector: str
    mail: Mail
    observed: str
    hit: Hit | None
    result: Result
    days: Days
    views: tuple[int, int]
    altered: tuple[str, ...] = ()  # rules that only rewrote or answered
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The object of the contract, and these fields."""
        made = self.result.record()
        made |= {
            "fate": self.result.fate or None,
            "phase": self.result.phase or None,
            "mode": self.mode,
            "inspector": self.inspector,
            "client": self.mail.client,
            "server": self.mail.server,
            "mail": self.mail.number,
            "mail_from": self.mail.mail_from,
            "rcpt_to": list(self.mail.rcpt_to),
            "guessed": list(self.mail.guessed),
            "observed": self.observed,
            "rule": None if self.hit is None else self.hit._asdict(),
            "altered_by": list(self.altered),
            "attempts": self.days.attempts,
            "copies": self.days.copies,
            "duplicates": max(self.days.copies - 1, 0),
            "slot_seconds": round(self.days.slots, 3),
            "next_mx": self.days.next_mx,
            "final_log": list(self.days.final_log),
            "packets": {"client": self.views[0], "server": self.views[1]},
            "notes": list(self.notes),
        }
        return made


def days_of(sender: Sender, ending: Ending, accepted: bool, later: float | None = None) -> Days:
    """The attempts until the mail arrives, is returned, or is given up. What a rule does to a mail it does again.

    `accepted`: the server has the mail. `later`: seconds of a later attempt, where they differ from the first's.
    """
    judgement = sender.fate(ending)
    seconds = ending.seconds
    if judgement.fate != "deferred":
        return Days(1, int(accepted), seconds, judgement.next_mx, ())
    each = seconds if later is None else later
    starts = sender.attempts(seconds)
    attempts = len(starts)
    last = ending._replace(started=ending.started + starts[-1], seconds=each)
    return Days(
        attempts,
        attempts if accepted else 0,
        seconds + each * (attempts - 1),
        judgement.next_mx,
        tuple(sender.final_log(last)),
    )


def result_of(
    sender: Sender,
    receiver: Receiver,
    ending: Ending,
    loss: Loss | None,
    timeline: tuple[Happened, ...],
    *,
    phase: str,
    broken: str,
) -> Result:
    """How it ended, in the words of both."""
    judgement = sender.fate(ending)
    return Result(
        mta=sender.name,
        phase=phase,
        broken=broken,
        stage=stage_of(ending),
        sender_log=tuple(sender.log(ending)),
        receiver_log={receiver.name: tuple(receiver.log(loss))} if loss is not None else {},
        fate=judgement.fate,
        scope=judgement.scope,
        seconds=ending.seconds,
        duplicate_risk=judgement.duplicate_risk,
        retries=retries_of(sender.attempts(ending.seconds), judgement),
        gives_up_after=sender.gives_up_after if judgement.fate == "deferred" else None,
        timeline=timeline,
        ending=ending,
        losses={receiver.name: loss} if loss is not None else {},
    )
