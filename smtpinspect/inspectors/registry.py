"""Finds inspectors by name: the built-in ones, and those of others through entry points."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect.errors import UsageError
from smtpinspect.inspectors.base import Inspector
from smtpinspect.inspectors.configuration import Configuration
from smtpinspect.inspectors.settings import parse, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "smtpinspect.inspectors"

# Imported when somebody asks for them.
BUILT_IN: Final = {
    "mailguard": ("smtpinspect.inspectors.mailguard", "Mailguard"),
    "stormshield": ("smtpinspect.inspectors.stormshield", "Stormshield"),
}
ALWAYS_ON: Final = {"smtp": ("smtpinspect.inspectors.smtp", "Smtp")}


def names() -> tuple[str, ...]:
    """Every name that `-i` knows; nothing of a third party is imported."""
    return tuple(dict.fromkeys([*BUILT_IN, *(entry.name for entry in _entries())]))


def load(spec: str | Inspector) -> Inspector:
    """Make an inspector from `NAME[:PROFILE][,key=value]...`; one that is made already comes back."""
    if isinstance(spec, Inspector):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"{spec!r} is neither an inspector's name nor an Inspector")
    name, profile, keys = parse(spec)
    return find(name)(profile, **keys)


def recognise(text: str) -> list[Configuration]:
    """What each product makes of a configuration; those that find most in it come first."""
    made = []
    for name in names():
        try:
            found = find(name).read(text)
        except UsageError as error:
            if name in BUILT_IN:
                raise
            warnings.warn(str(error), stacklevel=2)  # another package that cannot be loaded
            continue
        if found is not None:
            made.append(found)
    return sorted(made, key=lambda one: -len(one.found) - len(one.unknown))


def default() -> tuple[Inspector, ...]:
    """What runs when nobody names one: every built-in product at its default profile."""
    return tuple(_built_in(*place)() for place in BUILT_IN.values())


def always() -> tuple[Inspector, ...]:
    """The inspectors that run beside the chosen ones, whatever they are."""
    return tuple(_built_in(*place)() for place in ALWAYS_ON.values())


def every() -> tuple[Inspector, ...]:
    """All that is installed, at default profiles; one that cannot be imported gives a warning."""
    found = [*default(), *always()]
    for entry in _entries():
        if entry.name in BUILT_IN or entry.name in ALWAYS_ON:
            continue
        try:
            found.append(_third_party(entry)())
        except UsageError as error:
            warnings.warn(str(error), stacklevel=2)
    return tuple(found)


def find(name: str) -> type[Inspector]:
    """The class of this name. Raises UsageError when nobody has it, or its package cannot be imported."""
    place = BUILT_IN.get(name) or ALWAYS_ON.get(name)
    if place:
        return _built_in(*place)
    for entry in _entries():
        if entry.name == name:
            return _third_party(entry)
    raise unknown("inspector", name, names())


def label_all(inspectors: Sequence[Inspector]) -> list[str]:
    """The key of each in a verdict: its name; NAME:PROFILE when that is given twice; then `#2`."""
    labels: list[str] = []
    for inspector in inspectors:
        twice = sum(other.name == inspector.name for other in inspectors) > 1
        label = f"{inspector.name}:{inspector.profile}" if twice else inspector.name
        seen = sum(other == label or other.startswith(label + "#") for other in labels)
        labels.append(f"{label}#{seen + 1}" if seen else label)
    return labels


def _built_in(module: str, name: str) -> type[Inspector]:
    made: type[Inspector] = getattr(importlib.import_module(module), name)
    return made


def _entries() -> Iterable[EntryPoint]:
    import importlib.metadata  # slow to import, and wanted only for a name that is not built in

    return importlib.metadata.entry_points(group=GROUP)


def _third_party(entry: EntryPoint) -> type[Inspector]:
    try:
        made = entry.load()
    except Exception as error:  # whatever another package does when it is imported
        raise UsageError(f"inspector {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
    if not (isinstance(made, type) and issubclass(made, Inspector)):
        raise UsageError(
            f"inspector {entry.name!r} ({entry.value}) is no subclass of smtpinspect's Inspector"
        )
    return made
