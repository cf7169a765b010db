"""`smtpinspect config`: what a firewall's configuration comes to, for people and as one object."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from smtpinspect.inspectors.base import Inspector, Rule
from smtpinspect.inspectors.configuration import Configuration, Line
from smtpinspect.report.terminal import Style, count, cut, program, safe, wide, wrapped

_LABEL: Final = 10
_QUOTED: Final = 60  # columns of a line of the configuration, before its meaning
_LISTED: Final = 40  # lines of a sort that are printed; the object has all


def spec_of(made: Configuration, path: str) -> str:
    """What `-i` takes for this file."""
    name = path.replace("\\", "\\\\") if "\\" in path else path
    return f"{made.product},config={name.replace(',', chr(92) + ',')}"


def page(
    made: Configuration,
    path: str,
    inspector: Inspector | None,
    plain: Inspector | None,
    width: int | None = None,
    style: Style | None = None,
) -> Iterator[str]:
    """The lines of the report. `inspector` has the configuration, `plain` the same profile without it."""
    style = style or Style(False)
    yield style(safe(made.title), "bold")
    yield from _entry("profile", _profile(made, inspector), width)
    yield from _entry("active", _active(made), width)
    if made.active:
        ports = ", ".join(str(port) for port in made.ports) or "not told in this text; replay has its own"
        yield from _entry("ports", ports, width)
    if made.keys:
        keys = ", ".join(f"{key}={_word(value)}" for key, value in made.keys.items() if key != "match")
        lines = count(len(made.keys["match"]), "match line") if "match" in made.keys else ""
        yield from _entry("settings", "; ".join(part for part in (keys, lines) if part), width)
    yield from _lines("Found", made.found, width, style)
    if inspector is not None and plain is not None and made.active:
        yield from _rules(inspector, plain, width, style)
    yield from _lines("Not understood, and left out", made.unknown, width, style)
    if notes := _notes(made, inspector):
        yield ""
        yield style("To know", "bold")
        for note in notes:
            yield from wrapped(safe(note), width, "  ")
    yield ""
    yield from _next(made, path, inspector)


def record(
    made: Configuration, path: str, inspector: Inspector | None, plain: Inspector | None
) -> dict[str, Any]:
    """The same as one object."""
    return {
        "file": path,
        "product": made.product,
        "title": made.title,
        "profile": inspector.profile if inspector else made.profile or None,
        "assumed": made.assumed or not made.profile,
        "active": made.active,
        "ports": list(made.ports),
        "keys": {key: _plain(value) for key, value in made.keys.items()},
        "found": _records(made.found),
        "unknown": _records(made.unknown),
        "notes": _notes(made, inspector),
        "beyond": made.beyond or None,
        "rules": [
            {"rule": rule, "here": here, "profile": there}
            for rule, here, there in (_changes(inspector, plain) if inspector and plain else ())
        ],
        "inspector": None if made.beyond or inspector is None else spec_of(made, "FILE" if path == "-" else path),
    }


def _notes(made: Configuration, inspector: Inspector | None) -> list[str]:
    return [*made.notes, *(inspector.notes() if inspector is not None and made.active else ())]


def _profile(made: Configuration, inspector: Inspector | None) -> str:
    if made.beyond:
        return "none"
    if made.profile:
        return f"{made.product}:{made.profile}" + ("   (assumed: no version line)" if made.assumed else "")
    profile = inspector.profile if inspector else "the default one"
    return f"{made.product}:{profile}   (assumed: nothing in this text tells)"


def _active(made: Configuration) -> str:
    if made.beyond:
        return f"not emulated: {made.beyond}"
    return "yes" if made.active else "no: nothing of SMTP is inspected (why: see below)"


def _entry(label: str, text: str, width: int | None) -> Iterator[str]:
    first, *more = wrapped(safe(text), None if width is None else width - _LABEL)
    yield f"{label:<{_LABEL}}{first}"
    yield from (" " * _LABEL + line.lstrip() for line in more)


def _lines(title: str, lines: Sequence[Line], width: int | None, style: Style) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield style(title, "bold")
    shown = lines[:_LISTED]
    digits = len(str(shown[-1].number))
    longest = min(max(wide(safe(line.text)) for line in shown), _QUOTED)
    for line in shown:
        text, lead = safe(line.text), f"  line {line.number:>{digits}}  "
        whole = f"{text}{' ' * max(longest - wide(text), 0)}  {safe(line.meaning)}"
        if width is None or wide(lead + whole) <= width:
            yield lead + whole
        else:
            yield lead + cut(text, width - len(lead))
            yield from wrapped(safe(line.meaning), width, " " * (len(lead) + 2))
    if len(lines) > len(shown):
        yield f"  … and {len(lines) - len(shown):,} more: --format json"


def _rules(inspector: Inspector, plain: Inspector, width: int | None, style: Style) -> Iterator[str]:
    changes = _changes(inspector, plain)
    yield ""
    name = f"{inspector.name}:{inspector.profile}" if len(inspector.profiles) > 1 else inspector.name
    if not changes:
        yield f"Rules: all as in {name} without settings."
        return
    yield style(f"Rules that differ from {name} without settings", "bold")
    told = [change for change in changes if change[1] != change[2]]
    longest = max((len(rule) for rule, _, _ in told), default=0)
    for rule, here, there in told:
        first, second = f"  {rule:<{longest}}  {safe(here)}", f"(else: {safe(there)})"
        if width is None or wide(first) + 3 + wide(second) <= width:
            yield f"{first}   {second}"
        else:
            yield from wrapped(first.strip(), width, "  ")
            yield from wrapped(second, width, " " * (longest + 4))
    if same := [rule for rule, here, there in changes if here == there]:
        yield from wrapped(f"the same action, in other cases or at another level: {', '.join(same)}", width, "  ")


def _changes(inspector: Inspector, plain: Inspector) -> list[tuple[str, str, str]]:
    """Rules by id: what they do under the configuration, and what they do at the profile alone."""
    made = []
    for rule in dict.fromkeys([*plain.ids(), *inspector.ids()]):
        here = [row for row in inspector.table() if row.id == rule]
        there = [row for row in plain.table() if row.id == rule]
        if here != there:
            made.append((rule, _does(here), _does(there)))
    return made


def _does(rows: Sequence[Rule]) -> str:
    told = []
    for row in rows:
        criterion = str(row.action.params.get("criterion", ""))
        word = "seen" if row.kind == "seen" else row.action.strength.word
        told.append(f"{criterion} -> {word}" if criterion else word)
    return "; ".join(dict.fromkeys(told)) or "off"


def _next(made: Configuration, path: str, inspector: Inspector | None) -> Iterator[str]:
    if made.beyond or inspector is None:
        yield f"Next: {program()} config --help"
        return
    spec = shlex.quote(spec_of(made, "FILE" if path == "-" else path))
    yield f"Next: {program()} replay CAPTURE -i {spec}"
    yield f"      {program()} rules -i {spec}"


def _records(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [{"line": line.number, "text": line.text, "meaning": line.meaning} for line in lines]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return list(value) if isinstance(value, tuple) else value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
