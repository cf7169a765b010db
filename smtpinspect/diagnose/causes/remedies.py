"""What stops a rule: on the firewall from one alarm for one peer to the whole inspection, at the sender what avoids
the trip. Texts of the firewall are those of `inspectors/*/remedies.py`; `smtpinspect rules RULE` prints them whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from smtpinspect.diagnose.causes.loaded import inspector_of
from smtpinspect.diagnose.causes.sender import changes
from smtpinspect.diagnose.model import Case, Cause, Remedy
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import explain
from smtpinspect.inspectors.base import Inspector
from smtpinspect.inspectors.settings import parse

KEPT: Final = 6  # ways on the firewall
_TAG: Final = re.compile(r"%(ASA|FWSM|PIX)-")
_WRITES: Final = {"asa": "mailguard:asa-8", "fwsm": "mailguard:fwsm-3", "pix": "mailguard:pix-6"}
_LIMIT: Final = re.compile(r"\b((?:header|body) line length gt) \d+")  # an ASA's, which takes any number


def remedies(case: Case, rule: str, spec: str | Inspector) -> tuple[Remedy, ...]:
    """The sender's first: the firewall may be another's. To let the box say so is no help where it did."""
    answered = case.observed.broken.kind == "reply"
    on_box = (_fitted(each, case) for each in on_firewall(rule, spec, peer(case), _tripped(case, rule)))
    return (*changes(case, rule), *(each for each in on_box if not (answered and "let the box say" in each.title)))


def peer(case: Case) -> str:
    """The address that the firewall's rule would name."""
    return case.path[0].strip("[]")


def logged(case: Case, cause: Cause) -> str | Inspector:
    """Of the specs of this product the first one of the generation that the log's lines name, or one that is; "" where
    they name none and no spec is of the product."""
    name = cause.cause.partition(".")[0]
    mine = [each for each in case.specs.values() if _product(each) == name]
    tag = next((found[1].lower() for sign in cause.evidence if (found := _TAG.search(sign.text))), "")
    named = [each for each in mine if tag and _profile(each).startswith(tag)]
    return named[0] if named else _WRITES.get(tag) or next(iter(mine), "")


def _product(spec: str | Inspector) -> str:
    return spec.name if isinstance(spec, Inspector) else parse(spec).name


def _profile(spec: str | Inspector) -> str:
    return spec.profile if isinstance(spec, Inspector) else parse(spec).profile or ""


def on_firewall(
    rule: str, spec: str | Inspector, client: str = "", tripped: Sequence[Inspector] = ()
) -> tuple[Remedy, ...]:
    """Those that fit this generation, the smallest first; no limit under which one of `tripped` cut it already."""
    try:
        made = inspector_of(spec)
    except UsageError:
        return ()  # what was judged with was an instance, and is not at hand
    profile = made.profile
    found = [each for each in made.remedies(rule) if not each.profiles or profile in each.profiles]
    found = [each for each in found if not any(_as_high(one, each.raises) for one in tripped)]
    found.sort(key=_breadth)
    return tuple(_remedy(each, client) for each in found[:KEPT])


def _tripped(case: Case, rule: str) -> list[Inspector]:
    """Those under whose settings the rule fired in this mail."""
    labels = dict.fromkeys(alert.inspector for alert in case.alerts if alert.rule == rule)
    found = []
    for label in labels:
        with suppress(UsageError):
            found.append(inspector_of(case.specs.get(label, label)))
    return found


def _as_high(made: Inspector, raises: Sequence[tuple[str, int]]) -> bool:
    limits = [(made.settings.values.get(setting), to) for setting, to in raises]
    return bool(limits) and all(isinstance(limit, int) and limit >= to for limit, to in limits)


def _fitted(remedy: Remedy, case: Case) -> Remedy:
    """With its server's address; a limit is a power of two that lets its longest line through, 4,096 at least."""
    remedy = _put(remedy, "SERVER", case.path[1].strip("[]"))
    if case.transaction is None or not any(_LIMIT.search(each) for each in (remedy.title, *remedy.commands)):
        return remedy
    longest = max(map(len, case.transaction.text.split(b"\n")), default=0)
    wanted = max(4_096, 1 << longest.bit_length())

    def raised(text: str) -> str:
        return _LIMIT.sub(lambda found: f"{found[1]} {wanted}", text)

    return remedy._replace(title=raised(remedy.title), commands=tuple(map(raised, remedy.commands)))


# How much is switched off, by words of the title; what names none of them touches one rule.
_BREADTH: Final = (
    (("this peer", "leave one host out"), 0),
    (("no inspection", "no fixup", "no inspect", "plain translation", "whole inspection", "FTD", "FWSM"), 3),
    (("release",), 2),
)


def _breadth(one: explain.Remedy) -> int:
    return next((size for words, size in _BREADTH if any(word in one.title for word in words)), 1)


def _remedy(one: explain.Remedy, client: str) -> Remedy:
    title = f"{one.title} ({one.menu})" if one.menu else one.title
    made = Remedy("firewall", title, (*one.before, *one.commands), one.loses, one.check, one.undo)
    return _put(made, "PEER", client) if client else made


def _put(made: Remedy, word: str, address: str) -> Remedy:
    """An address in the place of its word."""
    commands = tuple(line.replace(word, address) for line in made.commands)
    loses, check, undo = (text.replace(word, address) for text in (made.loses, made.check, made.undo))
    return made._replace(commands=commands, loses=loses, check=check, undo=undo)
