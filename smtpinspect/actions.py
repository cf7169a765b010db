"""What an emulated firewall does, weakest first, and how sure we are that it does so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal, NamedTuple

Basis = Literal["confirmed", "inferred", "project"]
CONFIRMED: Final = "confirmed"  # a source says so
INFERRED: Final = "inferred"  # derived from confirmed facts
PROJECT: Final = "project"  # no source decides: our choice, named as such

# Nobody writes to it; a read-only mapping could not be pickled.
_NONE: Final[Mapping[str, object]] = {}


class Strength(IntEnum):
    """The actions, weakest first."""

    PASS = 0
    ALARM = 1
    DETACH = 2
    REWRITE = 3
    ANSWER = 4
    DROP = 5
    DROP_FLOW = 6
    RESET = 7

    @property
    def word(self) -> str:
        """The contract's word: `drop-flow` for DROP_FLOW."""
        return self.name.lower().replace("_", "-")


class Action(NamedTuple):
    """An action and its parameters (mask, reply text, who gets a reset), worked out in `enforce`."""

    strength: Strength
    how: str = ""
    params: Mapping[str, object] = _NONE

    @property
    def breaks(self) -> bool:
        """Does it end the flow without an SMTP code? (A rule may say so of a rewrite too.)"""
        return self.strength >= Strength.DROP


PASS: Final = Action(Strength.PASS)
ALARM: Final = Action(Strength.ALARM)
DETACH: Final = Action(Strength.DETACH)
DROP: Final = Action(Strength.DROP)
DROP_FLOW: Final = Action(Strength.DROP_FLOW)
RESET: Final = Action(Strength.RESET, params={"client": True, "server": True})


def rewrite(how: str, **params: object) -> Action:
    """Octets are overwritten in place; lengths and sequence numbers stay."""
    return Action(Strength.REWRITE, how, params)


def answer(reply: bytes) -> Action:
    """The command is not forwarded; the firewall answers in the server's place."""
    return Action(Strength.ANSWER, "answer", {"reply": reply})
