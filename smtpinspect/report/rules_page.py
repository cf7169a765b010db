"""`smtpinspect rules`: all rules on a page, one rule on a screen; the texts are in the inspectors' tables."""

from __future__ import annotations

import difflib
import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Page, Remedy, Rule
from smtpinspect.inspectors.explain import RECEIVER, SENDER
from smtpinspect.report.terminal import program

WIDTH: Final = 80
_LABEL: Final = 16
_WORDS: Final = {"confirmed": "confirmed", "inferred": "inferred", "project": "our assumption"}


def listing(inspectors: Iterable[Inspector]) -> str:
    """Every rule of these inspectors: its id, what it does at their profiles, its title."""
    lines: list[str] = []
    example = ""
    for inspector in inspectors:
        ids = inspector.ids()
        lines += _wrapped(f"{_label(inspector)}   {inspector.title}", "", "    ")
        width = max((len(i) for i in ids), default=0) + 1
        for rule in ids:
            example = example or rule
            first = f" {rule:<{width}}{_action(inspector, rule):<13}"
            lines += _wrapped(_page(inspector, rule).title, first, " " * len(first))
        lines.append("")
    lines += [
        "*   breaks the flow: it ends without an SMTP code",
        "()  not in force at this profile: what another one does, or off unless it is set",
        f"Next: {program()} rules {example}",
    ]
    return "\n".join(lines) + "\n"


def page(rule: str, inspectors: Sequence[Inspector] | None = None) -> str:
    """One rule, or one family, on a screen. Raises UsageError when nobody has it."""
    known = registry.every() if inspectors is None else tuple(inspectors)
    for inspector in known:
        try:
            ids = inspector.matching(rule)
        except UsageError:
            continue
        return _screen(inspector, ids)
    raise UsageError(f"unknown rule {rule!r}.{_guess(rule, known)} `smtpinspect rules` lists all.")


def _guess(rule: str, known: Iterable[Inspector]) -> str:
    ids = [i for inspector in known for i in inspector.ids()]
    for names in (ids, [i.split(".", 1)[1] for i in ids]):
        if near := difflib.get_close_matches(rule.lower(), names, n=1, cutoff=0.4):
            return f" Did you mean {near[0]}?"
    return ""


def _screen(inspector: Inspector, ids: Sequence[str]) -> str:
    name = ids[0] if len(ids) == 1 else ".".join(ids[0].split(".")[:2])
    one = inspector.families.get(name) or _page(inspector, ids[0])
    lines = _wrapped(f"{name}   {one.title}", "", "    ")
    if len(ids) > 1:
        lines += _entry("parts", " ".join(i.removeprefix(name) for i in ids))
    several = len(inspector.profiles) > 1
    lines += _entry(f"at {inspector.profile}" if several else "always", _now(inspector, ids))
    if several:
        lines += _entry("by profile", _by_profile(inspector, ids))
    lines += _entry("certainty", _certainty(inspector, ids, one))
    lines += _entry("fires when", one.fires)
    lines += _entry("the box then", one.then)
    lines += _peers(one)
    lines += _entry("honest mail", one.honest)
    having = {p for p in inspector.profiles if _rows(_at(inspector, p), ids)}
    # A rule that only a setting brings into force has no profile of its own: all its remedies are told.
    remedies = inspector.remedies(name)
    lines += _switch_off([r for r in remedies if not having or not r.profiles or having & set(r.profiles)])
    lines += _entry("not your box", f"the sender can: {one.sender_can}" if one.sender_can else "")
    lines += _entry("sources", _sources(inspector, ids, one))
    lines.append(f"  next          {_next(inspector, ids, name)}")
    return "\n".join(lines) + "\n"


def _label(inspector: Inspector) -> str:
    """NAME:PROFILE, the name alone where there is nothing to choose."""
    return f"{inspector.name}:{inspector.profile}" if len(inspector.profiles) > 1 else inspector.name


def _rows(inspector: Inspector, ids: Sequence[str]) -> list[Rule]:
    return [row for row in inspector.table() if row.id in ids]


def _at(inspector: Inspector, profile: str) -> Inspector:
    return inspector if profile == inspector.profile else type(inspector)(profile)


def _strongest(rows: Iterable[Rule]) -> str:
    found = sorted(rows, key=lambda row: (row.ends_flow, row.action.strength))
    if not found:
        return ""
    word = "seen" if found[-1].kind == "seen" else found[-1].action.strength.word
    return word + ("*" if found[-1].ends_flow else "")


def _action(inspector: Inspector, rule: str) -> str:
    if here := _strongest(_rows(inspector, [rule])):
        return here
    for profile in inspector.profiles:
        if elsewhere := _strongest(_rows(_at(inspector, profile), [rule])):
            return f"({elsewhere})"
    return "(off)"


def _now(inspector: Inspector, ids: Sequence[str]) -> str:
    strongest = _strongest(_rows(inspector, ids))
    if not strongest:
        return "not in force"
    if strongest == "seen":
        return "tells what the capture shows; acts on nothing, stands in no verdict"
    ends = "; the flow breaks without an SMTP code" if strongest.endswith("*") else ""
    return strongest.rstrip("*") + ends


def _by_profile(inspector: Inspector, ids: Sequence[str]) -> str:
    words = [(p, _strongest(_rows(_at(inspector, p), ids)).rstrip("*") or "off") for p in inspector.profiles]
    groups = itertools.groupby(words, key=lambda pair: pair[1])
    return "; ".join(f"{' '.join(name for name, _ in group)}: {word}" for word, group in groups)


def _certainty(inspector: Inspector, ids: Sequence[str], one: Page) -> str:
    bases = dict.fromkeys(row.basis for row in _rows(inspector, ids))
    text = one.certainty or ", ".join(_WORDS[basis] for basis in bases)
    return text + (f"   (records: {', '.join(bases)})" if bases else "")


def _peers(one: Page) -> list[str]:
    if one.told:
        return _entry("in the logs", one.told)
    lines: list[str] = []
    for label, table in (("the sender", SENDER), ("the receiver", RECEIVER)):
        told = table.get(one.phase, ())
        column = 9 if any(mta for mta, _ in told) else 0
        for number, (mta, text) in enumerate(told):
            lines += _entry("" if number else label, f"{mta:<{column}}{text}", hang=column)
    return lines


def _switch_off(remedies: Sequence[Remedy]) -> list[str]:
    lines = ["  switch off"] if remedies else []
    seen: dict[tuple[str, str], int] = {}
    for number, remedy in enumerate(remedies, 1):
        products = f"   [{' '.join(remedy.profiles)}]" if remedy.profiles else ""
        known = "" if remedy.basis == "confirmed" else f"   ({_WORDS[remedy.basis]})"
        lines += _wrapped(f"{number} {remedy.title}{products}{known}", "    ", "      ")
        if remedy.menu:
            lines += _wrapped(remedy.menu, "      ", "      ")
        # A command is pasted: it is never wrapped.
        lines += [f"        {command}" for command in remedy.commands]
        told = (
            ("you lose", remedy.loses),
            ("check", remedy.check),
            ("undo", remedy.undo),
            ("takes effect", remedy.activation),
        )
        texts = []
        for label, text in told:
            # What an earlier remedy of this rule has told already is told by its number.
            first = seen.setdefault((label, text), number)
            if text:
                texts.append(f"{label}: {text}" if first == number else f"{label}: as {first}")
        lines += _wrapped(". ".join(texts), "      ", "      ") if texts else []
    return lines


def _sources(inspector: Inspector, ids: Sequence[str], one: Page) -> str:
    names = dict.fromkeys(one.sources)
    names |= dict.fromkeys(name for row in _rows(inspector, ids) for name in row.source.split("; "))
    names.pop("project", None)
    told = (f"{name} ({inspector.sources[name]})" if name in inspector.sources else name for name in names)
    return "; ".join(told)


def _next(inspector: Inspector, ids: Sequence[str], name: str) -> str:
    """What to try now: the same capture without this rule, at a profile that has it."""
    if inspector.name in registry.ALWAYS_ON:
        return "smtpinspect replay CAPTURE"
    having = (p for p in (inspector.profile, *inspector.profiles) if _rows(_at(inspector, p), ids))
    profile = next(having, inspector.profile)
    spec = f"{inspector.name}:{profile}" if len(inspector.profiles) > 1 else inspector.name
    return f"smtpinspect replay CAPTURE -i {spec},off={name.split('.', 1)[1]}"


def _page(inspector: Inspector, rule: str) -> Page:
    """The page of a rule; a third party's inspector may have none: then its row tells what it can."""
    if rule in inspector.pages:
        return inspector.pages[rule]
    row = next(row for row in inspector.rules(inspector.settings) if row.id == rule)
    return Page(row.signature_id, row.title, row.detail, "", "", tuple(row.source.split("; ")))


def _entry(label: str, text: str, hang: int = 0) -> list[str]:
    return _wrapped(text, f"  {label:<{_LABEL - 2}}", " " * (_LABEL + hang)) if text else []


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    made = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.rstrip() for line in made or [first]]
