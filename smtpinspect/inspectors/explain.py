"""What `smtpinspect rules RULE` tells of a rule: texts as data, kept beside the tables that they explain."""

from __future__ import annotations

from typing import Literal, NamedTuple

from smtpinspect.actions import Basis

# Where the flow of a mail that trips the rule ends: `report/peers.py` quotes what the two mail servers log there.
Phase = Literal[
    "", "greeting", "ehlo", "command", "rcpt", "data", "dot", "reply", "refused", "address", "starttls", "content"
]


class Page(NamedTuple):
    """A rule as a mail administrator reads it. `phase` picks the peers' log lines, `told` replaces them."""

    signature_id: int
    title: str
    fires: str
    then: str
    honest: str
    sources: tuple[str, ...]
    phase: Phase = ""
    told: str = ""
    certainty: str = ""  # which part of the rule is confirmed, inferred, our assumption
    sender_can: str = ""  # when the firewall is not yours
    rst: bool = False  # the server is told of the cut by an RST, the sender is not
    ask: str = ""  # a spec that brings it into force, where no profile does


class Remedy(NamedTuple):
    """A way to stop a rule, for the product generations (profiles) that it fits; empty: all of them."""

    title: str
    commands: tuple[str, ...] = ()
    menu: str = ""  # where to click, or the trap
    around: str = ""  # what goes before and behind the commands; told once for all that share it
    before: tuple[str, ...] = ()  # of it, the commands that those of one remedy alone need in front of them
    profiles: tuple[str, ...] = ()
    loses: str = ""
    check: str = ""
    undo: str = ""
    activation: str = ""  # reload needed or not, what becomes of open connections
    basis: Basis = "confirmed"
    source: str = ""
    raises: tuple[tuple[str, int], ...] = ()  # settings and how far: of no use where they are as high
