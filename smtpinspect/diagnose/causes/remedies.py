"""What stops a rule: on the firewall from one alarm for one peer to the whole inspection, at the sender what avoids
the trip. Texts of the firewall are those of `inspectors/*/remedies.py`; `smtpinspect rules RULE` prints them whole."""

from __future__ import annotations

from typing import Final

from smtpinspect.diagnose.causes.loaded import inspector_of
from smtpinspect.diagnose.causes.sender import changes
from smtpinspect.diagnose.model import Case, Remedy
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import explain
from smtpinspect.inspectors.base import Inspector

KEPT: Final = 6  # ways on the firewall


def remedies(case: Case, rule: str, spec: str | Inspector) -> tuple[Remedy, ...]:
    """The sender's first: the firewall may be another's. To let the box say so is no help where it did."""
    answered = case.observed.broken.kind == "reply"
    on_box = on_firewall(rule, spec, peer(case))
    return (*changes(case, rule), *(each for each in on_box if not (answered and "let the box say" in each.title)))


def peer(case: Case) -> str:
    """The address that the firewall's rule would name."""
    return case.path[0]


def on_firewall(rule: str, spec: str | Inspector, client: str = "") -> tuple[Remedy, ...]:
    """Those that fit this generation, the smallest first."""
    try:
        made = inspector_of(spec)
    except UsageError:
        return ()  # what was judged with was an instance, and is not at hand
    profile = made.profile
    found = [each for each in made.remedies(rule) if not each.profiles or profile in each.profiles]
    found.sort(key=_breadth)
    return tuple(_remedy(each, client) for each in found[:KEPT])


# How much is switched off, by words of the title; what names none of them touches one rule.
_BREADTH: Final = (
    (("this peer", "leave one host out"), 0),
    (("no inspection", "no fixup", "no inspect", "plain translation", "whole inspection", "FTD", "FWSM"), 3),
    (("release",), 2),
)


def _breadth(one: explain.Remedy) -> int:
    return next((size for words, size in _BREADTH if any(word in one.title for word in words)), 1)


def _remedy(one: explain.Remedy, client: str) -> Remedy:
    commands = tuple(line.replace("PEER", client) if client else line for line in one.commands)
    return Remedy(
        "firewall",
        one.title if not one.menu else f"{one.title} ({one.menu})",
        commands,
        loses=one.loses,
        check=one.check,
        undo=one.undo,
    )
