"""`smtpinspect rules`: all rules on a page, one rule on a screen; the texts are in the inspectors' tables."""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Page, Remedy, Rule
from smtpinspect.report import peers
from smtpinspect.report.terminal import program

WIDEST: Final = 120  # longer lines are hard to read, however wide the terminal
_RICH: Final = 110  # columns from which the list tells more
_LABEL: Final = 16
_OFF: Final = re.compile(r"(?<!\\),off=[^,]*")
_WORDS: Final = {"confirmed": "confirmed", "inferred": "inferred", "project": "our assumption"}


class _Line(NamedTuple):
    """A text, what stands before it, and what before its further lines; no text: nothing is wrapped."""

    text: str
    first: str
    rest: str


def listing(inspectors: Iterable[Inspector], width: int | None = None) -> str:
    """Every rule of these inspectors: its id, what it does at their profiles, its title.

    Wrapped at `width` columns, at most 120; None: not wrapped, as for a file or a pipe. Where there is room
    a column tells how sure the rule is.
    """
    lines: list[_Line] = []
    example = ""
    rich = width is None or width >= _RICH
    for inspector in inspectors:
        ids = inspector.ids()
        lines += _line(f"{_label(inspector)}   {inspector.title}", "", "    ")
        column = max((len(i) for i in ids), default=0) + 1
        for rule in ids:
            example = example or rule
            first = f" {rule:<{column}}{_action(inspector, rule):<13}"
            if rich:
                first += f"{_basis(inspector, rule):<16}"
            lines += _line(_page(inspector, rule).title, first, " " * len(first))
        for note in inspector.notes():
            lines += _line(note, " not evaluated: ", "    ")
        lines += _line("", "", "")
    lines += _line("breaks the flow: it ends without an SMTP code", "*   ", "    ")
    lines += _line(
        "not in force at this profile: what another one does, or off unless it is set", "()  ", "    "
    )
    lines += _line("", f"Next: {program()} rules {example}", "")
    return _told(lines, width)


def page(
    rule: str,
    inspectors: Sequence[Inspector] | None = None,
    width: int | None = None,
    specs: Sequence[str] = (),
) -> str:
    """One rule, or one family, on a screen of `width` columns, at most 120; None: nothing is wrapped.

    `specs` are the words that made `inspectors`. Raises UsageError when nobody has it.
    """
    known = registry.every() if inspectors is None else tuple(inspectors)
    for number, inspector in enumerate(known):
        try:
            ids = inspector.matching(rule)
        except UsageError:
            continue
        return _told(_screen(inspector, ids, specs[number] if specs else ""), width)
    raise UsageError(f"unknown rule {rule!r}.{_guess(rule, known)} `smtpinspect rules` lists all.")


def _guess(rule: str, known: Iterable[Inspector]) -> str:
    ids = [i for inspector in known for i in inspector.ids()]
    for names in (ids, [i.split(".", 1)[1] for i in ids]):
        if near := difflib.get_close_matches(rule.lower(), names, n=1, cutoff=0.4):
            return f" Did you mean {near[0]}?"
    return ""


def _screen(inspector: Inspector, ids: Sequence[str], spec: str) -> list[_Line]:
    name = ids[0] if len(ids) == 1 else ".".join(ids[0].split(".")[:2])
    one = inspector.families.get(name) or _page(inspector, ids[0])
    lines = _line(f"{name}   {one.title}", "", "    ")
    if len(ids) > 1:
        lines += _entry("parts", " ".join(i.removeprefix(name) for i in ids))
    several = len(inspector.profiles) > 1
    having = {p for p in inspector.profiles if _rows(_at(inspector, p), ids)}
    asked = "" if having or not one.ask else "; a setting brings it into force: see next"
    at = f"at {inspector.profile}" if several else "by default" if inspector.knobs else "always"
    lines += _entry(at, _now(inspector, ids) + asked)
    if several and having:
        lines += _entry("by profile", _by_profile(inspector, ids))
    for note in inspector.notes():
        lines += _entry("not evaluated", note)
    lines += _entry("certainty", _certainty(inspector, ids, one))
    lines += _entry("fires when", one.fires)
    lines += _entry("the box then", one.then)
    lines += _peers(one)
    lines += _entry("honest mail", one.honest)
    # A rule that only a setting brings into force has no profile of its own: all its remedies are told.
    remedies = inspector.remedies(name)
    lines += _switch_off([r for r in remedies if not having or not r.profiles or having & set(r.profiles)])
    lines += _entry("not your box", f"the sender can: {one.sender_can}" if one.sender_can else "")
    lines += _entry("sources", _sources(inspector, ids, one))
    return lines + _line("", f"  next          {_next(inspector, ids, name, one.ask, spec)}", "")


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


def _basis(inspector: Inspector, rule: str) -> str:
    """How sure its rows are, here or where it is in force; the weakest word where they differ."""
    tables = (_rows(_at(inspector, p), [rule]) for p in (inspector.profile, *inspector.profiles))
    bases = {row.basis for row in next(filter(None, tables), ())}
    return next((told for word, told in reversed(_WORDS.items()) if word in bases), "")


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


def _peers(one: Page) -> list[_Line]:
    if one.told:
        return _entry("in the logs", one.told)
    lines: list[_Line] = []
    for label, told in (("the sender", peers.sender(one)), ("the receiver", peers.receiver(one))):
        column = 9 if any(mta for mta, _ in told) else 0
        for number, (mta, text) in enumerate(told):
            lines += _entry("" if number else label, f"{mta:<{column}}{text}", hang=column)
    return lines


def _switch_off(remedies: Sequence[Remedy]) -> list[_Line]:
    """The remedies by number: what to click and type for each; then what they share, told once."""
    if not remedies:
        return []
    around = _folded([remedy.around for remedy in remedies])
    lines = _entry("switch off", around) if around else _line("", "  switch off", "")
    for number, remedy in enumerate(remedies, 1):
        products = f"   [{' '.join(remedy.profiles)}]" if remedy.profiles else ""
        known = "" if remedy.basis == "confirmed" else f"   ({_WORDS[remedy.basis]})"
        menu = f": {remedy.menu}" if remedy.menu else ""
        lines += _line(f"{number} {remedy.title}{products}{known}{menu}", "    ", "      ")
        # A command is pasted: it is never wrapped.
        lines += [_Line("", f"        {command}", "") for command in remedy.commands]
    lines += _entry("you lose", _folded([remedy.loses for remedy in remedies]))
    lines += _entry("check", _folded([remedy.check for remedy in remedies]))
    lines += _entry("undo", _folded([remedy.undo for remedy in remedies]))
    return lines + _entry("takes effect", _folded([remedy.activation for remedy in remedies]))


def _folded(texts: Sequence[str]) -> str:
    """Texts by the numbers of their remedies, each text once; without numbers where all have the same."""
    numbers: dict[str, list[int]] = {}
    for number, text in enumerate(texts, 1):
        if text:
            numbers.setdefault(text, []).append(number)
    if any(len(having) == len(texts) for having in numbers.values()):
        return texts[0]
    return ". ".join(f"{_ranges(having)}: {text}" for text, having in numbers.items())


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as `1-3, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _sources(inspector: Inspector, ids: Sequence[str], one: Page) -> str:
    names = dict.fromkeys(one.sources)
    names |= dict.fromkeys(name for row in _rows(inspector, ids) for name in row.source.split("; "))
    names.pop("project", None)
    told = (f"{name} ({inspector.sources[name]})" if name in inspector.sources else name for name in names)
    return "; ".join(told)


def _next(inspector: Inspector, ids: Sequence[str], name: str, ask: str, spec: str) -> str:
    """What to try now: the same capture without this rule, at a profile that has it; or with it, where none has."""
    replay = f"{program()} replay CAPTURE"
    if inspector.name in registry.ALWAYS_ON:
        return replay
    rule = name.split(".", 1)[1]
    if spec and _rows(inspector, ids):
        more, others = _OFF.subn(lambda found: f"{found[0]}+{rule}", spec, count=1)
        return f"{replay} -i {shlex.quote(more if others else f'{spec},off={rule}')}"
    having = (p for p in (inspector.profile, *inspector.profiles) if _rows(_at(inspector, p), ids))
    profile = next(having, "")
    if not profile and ask:
        return f"{replay} -i '{ask}'"
    if not profile:
        return f"{program()} rules"
    made = f"{inspector.name}:{profile}" if len(inspector.profiles) > 1 else inspector.name
    return f"{replay} -i {made},off={rule}"


def _page(inspector: Inspector, rule: str) -> Page:
    """The page of a rule; a third party's inspector may have none: then its row tells what it can."""
    if rule in inspector.pages:
        return inspector.pages[rule]
    row = next(row for row in inspector.rules(inspector.settings) if row.id == rule)
    return Page(row.signature_id, row.title, row.detail, "", "", tuple(row.source.split("; ")))


def _entry(label: str, text: str, hang: int = 0) -> list[_Line]:
    return _line(text, f"  {label:<{_LABEL - 2}}", " " * (_LABEL + hang)) if text else []


def _line(text: str, first: str, rest: str) -> list[_Line]:
    return [_Line(text, first, rest)]


def _told(lines: Iterable[_Line], width: int | None) -> str:
    """The lines as text for so many columns."""
    told: list[str] = []
    for text, first, rest in lines:
        if width is None or not text:
            told.append((first + text).rstrip())
            continue
        made = textwrap.wrap(
            text,
            min(width, WIDEST),
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        told += [line.rstrip() for line in made]
    return "\n".join(told) + "\n"
