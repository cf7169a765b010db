"""An ESMTP map of a configuration as the inspector's keys."""

from __future__ import annotations

import re
from typing import Any

from smtpinspect.inspectors.configuration import Reading
from smtpinspect.inspectors.mailguard.policy import DEFAULT_MAP, Inspect, Map, Match, Policies, wrong
from smtpinspect.inspectors.mailguard.profiles import DEFAULT_MAP as LIMITS

_MASKED = "ehlo-reply-parameter others"


def keys_of(used: Inspect, policies: Policies, reading: Reading) -> dict[str, Any]:
    """The keys of the map that this line names; none for the default map, which the profile has."""
    if used.kind == "smtp":
        return {"inspect": "smtp"}
    name = used.name or DEFAULT_MAP
    known = policies.maps.get(name)
    if known is None:
        if name != DEFAULT_MAP:
            reading.miss(used.row, f"the map {name} is not in this text: the default map is taken")
        return {}
    known.used = True
    reading.find(known.row, "the map in force")
    made = _parameters(known, reading)
    lines = [(match, item) for match in known.matches.values() if (item := _item(match, policies, reading))]
    items = tuple(item for _, item in lines)
    if name == DEFAULT_MAP and {item.lower() for item in items} == default_items():
        for match, _ in lines:
            reading.find(match.row, "as in the default map")
        return made | {"limits": "default-map"}
    for number, (match, item) in enumerate(lines, 1):
        what = item.rpartition(" -> ")[0] if match.expressions else ""
        reading.find(match.row, f"Class {number}{', ' + what if what else ''} -> {match.words}")
    for parameter, what in (("mask-banner", "the greeting is masked"), ("allow-tls", "the release decides")):
        if parameter not in known.parameters and name != DEFAULT_MAP:
            reading.note(f"map {name} has no line {parameter}; no source tells what that means: here {what}")
    return made | {"limits": "none", "ehlo_mask": "none", "match": items}


def default_items() -> set[str]:
    """The match lines of the default map, as items."""
    made = {
        f"{one.criterion} gt {one.limit} -> {'drop-connection log' if one.drops else 'log'}".lower()
        for one in LIMITS
    }
    return made | {f"{_MASKED} -> mask"}


def _parameters(known: Map, reading: Reading) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, (row, value) in known.parameters.items():
        match name:
            case "mask-banner":
                made["mask_banner"] = value
                reading.find(row, "the greeting is masked" if value else "the greeting is not masked")
            case "allow-tls":
                made["allow_tls"] = value or "off"
                reading.find(row, "STARTTLS passes" if value else "STARTTLS is masked and denied")
            case "special-character":
                made["special_character"] = bool(value)
                if value:
                    made["special_character_action"] = value
                reading.find(row, f"special characters in an address: {value}" if value else "off")
            case _:
                made["mail_relay"] = tuple(domain for domain, _ in value or ())
                if value:
                    made["mail_relay_action"] = value[-1][1]
                told = ", ".join(domain for domain, _ in value or ())
                reading.find(row, f"recipients outside {told}: {value[-1][1]}" if value else "off")
                if len({action for _, action in value or ()}) > 1:
                    reading.note(f"line {row.number}: the action of the last mail-relay line is taken for all")
    return made


def _item(match: Match, policies: Policies, reading: Reading) -> str:
    """`[not] CRITERION -> ACTION`; empty when the line is not understood, which is told."""
    criterion = match.criterion
    if not match.action:
        if not match.known:  # its action was not understood, which is told
            return ""
        reading.miss(match.row, "a match line without an action")
        return ""
    if match.expressions:
        try:
            expression = policies.expression(match)
        except KeyError as error:
            kind = "class-map type regex" if match.expressions[0] == "class" else "regex"
            reading.miss(match.row, f"{kind} {error.args[0]} is not in this text, or is empty")
            return ""
        if expression != expression.strip() or re.match(r"(?i)class\s", expression):
            expression = f"({expression})"  # an item's own blanks do not count
        criterion = f"{criterion} {expression}"
        if why := wrong(criterion):
            reading.miss(match.row, why)
            return ""
    return f"{'not ' if match.negated else ''}{criterion} -> {match.words}"
