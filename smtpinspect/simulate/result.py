"""What a simulation tells: the object of `--format json`, as a named tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from smtpinspect.mta.base import Ending, Judgement, Loss, Step

# The stage of a sender's log, by the step at which the attempt ended.
STAGES: Final[Mapping[Step, str | None]] = {
    "connect": "after-initial-connection",
    "greeting": "after-initial-connection",
    "ehlo": "after-initial-connection",
    "helo": "after-initial-connection",
    "starttls": "after-initial-connection",
    "auth": "after-initial-connection",
    "mail": "after-initial-connection",
    "rcpt": "after-initial-connection",
    "datacmd": "after-initial-connection",
    "body": "after-sending-data-block",
    "dot": "after-end-of-data",
    "rset": None,
    "quit": None,
}


class Happened(NamedTuple):
    """One line of the timeline; `t` in seconds since the client began."""

    t: float
    actor: str  # client, firewall, server
    event: str


class Result(NamedTuple):
    """Times in seconds. `retries`: since the first attempt; empty when there is none. `gives_up_after`: None then."""

    mta: str
    phase: str
    broken: str  # drop, rst, fin, or reply=...
    stage: str | None
    sender_log: tuple[str, ...]
    receiver_log: Mapping[str, tuple[str, ...]]
    fate: str
    scope: str
    seconds: float
    duplicate_risk: bool
    retries: tuple[int, ...]
    gives_up_after: int | None
    timeline: tuple[Happened, ...]
    ending: Ending
    losses: Mapping[str, Loss]

    def record(self) -> dict[str, Any]:
        """The object of the contract."""
        return {
            "mta": self.mta,
            "phase": self.phase,
            "break": self.broken,
            "stage": self.stage,
            "sender_log": list(self.sender_log),
            "receiver_log": {mta: list(lines) for mta, lines in self.receiver_log.items()},
            "fate": self.fate,
            "scope": self.scope,
            "seconds": round(self.seconds, 3),
            "duplicate_risk": self.duplicate_risk,
            "retries": list(self.retries),
            "gives_up_after": self.gives_up_after,
            "timeline": [
                {"t": round(happened.t, 3), "actor": happened.actor, "event": happened.event}
                for happened in self.timeline
            ],
        }


def stage_of(ending: Ending) -> str | None:
    """None for a mail that arrived."""
    return None if ending.cause == "sent" else STAGES[ending.step]


def retries_of(attempts: list[int], judgement: Judgement) -> tuple[int, ...]:
    """Of these attempts, in seconds, all but the first; none of a mail that is not deferred."""
    return tuple(attempts[1:]) if judgement.fate == "deferred" else ()
