"""What an inspector is: a product's rules as rows, made from a profile and settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, NamedTuple

from smtpinspect.actions import ALARM, DETACH, DROP, DROP_FLOW, PASS, RESET, Action, Basis, Strength
from smtpinspect.errors import UsageError
from smtpinspect.facts import Pattern
from smtpinspect.inspectors.configuration import Configuration, reader, text_of
from smtpinspect.inspectors.explain import Page, Remedy
from smtpinspect.inspectors.settings import Knob, Settings, split, unknown, value

__all__ = ["LEVELS", "Evidence", "Inspector", "Knob", "Level", "Page", "Remedy", "Rule", "Scope", "Settings"]

Level = Literal["ignore", "minor", "major"]
LEVELS: Final = ("ignore", "minor", "major")


class Evidence(NamedTuple):
    """How sure a row is, and by what."""

    basis: Basis
    source: str  # names of `Inspector.sources`, with `; ` between them


class Rule(NamedTuple):
    """One row. Rows that share id and detail are alternatives (OR); conditions inside a row are ANDed.

    `breaks` marks a rewrite that hangs the client. `first_of` names a group of which only the first
    row that fires for one fact counts (the most specific id wins). `method` names the inspector's
    method that decides when all tests hold; it gets the fact and returns an Action or None: in order for each
    connection, between connections in no order; of several threads one at a time asks.
    `level` is the product's own; `ignore` leaves no line in its log.
    """

    id: str
    when: Pattern
    action: Action
    basis: Basis
    source: str
    signature_id: int
    title: str
    detail: str = ""
    kind: Literal["emulate", "seen"] = "emulate"
    breaks: bool = False
    first_of: str = ""
    method: str = ""
    level: str = "minor"
    rev: int = 1

    @property
    def family(self) -> str:
        """`stormshield.smtp-217` for `stormshield.smtp-217.header`; the id itself without a third part."""
        return ".".join(self.id.split(".")[:2])

    @property
    def ends_flow(self) -> bool:
        """Does the flow end here without an SMTP code?"""
        return self.breaks or self.action.breaks


class Scope(NamedTuple):
    """Which connections an inspector looks at. A connection is outbound when its client is inside and its server
    is not, else inbound; without `inside` all are inbound. Networks are `ADDRESS/BITS`.
    """

    inside: tuple[str, ...] = ()
    inbound: bool = True
    outbound: bool = True
    excluded: tuple[str, ...] = ()  # as client or server
    ports: tuple[int, ...] = ()  # of servers; none: whichever speaks SMTP


class Inspector:
    """A firewall product. A third party subclasses it and names it in entry points `smtpinspect.inspectors`.

    `Inspector(profile, **keys)` takes the same keys as a spec string, as text or as Python values; keys with
    a dot go in as `**{"217.action": "pass"}`. `config` is the path of the product's own configuration, or what
    `read` made of one: it applies first, and decides the profile when none is named. Everything that can be
    wrong raises UsageError here and now.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    gid: ClassVar[int] = 2000
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    default_profile: ClassVar[str] = "default"
    knobs: ClassVar[Mapping[str, Knob]] = {}
    pages: ClassVar[Mapping[str, Page]] = {}
    # A page for a family of several ids, where their own do not add up to a readable one.
    families: ClassVar[Mapping[str, Page]] = {}
    # What the short names in a row's `source` stand for.
    sources: ClassVar[Mapping[str, str]] = {}
    # A profile that people ask for and the one that stands for it, for error messages.
    hints: ClassVar[Mapping[str, str]] = {}
    # What may be left out behind the name in the short form of a rule id: `217` for `stormshield.smtp-217`.
    short: ClassVar[tuple[str, ...]] = ()
    # Does one segment raise one alarm at most, that of the first row which fires?
    one_alarm: ClassVar[bool] = False
    # The product's words for `RULE.action=` and the contract's word for each.
    words: ClassVar[Mapping[str, str]] = {}

    def __init__(self, profile: str | None = None, *, config: object = None, **keys: object) -> None:
        self.configuration = None if config is None else self._read(config)
        if self.configuration and profile is None:
            profile = self.configuration.profile or None
        self.profile = self.default_profile if profile is None else profile
        if self.profile not in self.profiles:
            raise unknown(
                "profile", self.profile, tuple(self.profiles), self.name, self.hints.get(self.profile, "")
            )
        values: dict[str, Any] = {key: knob.default for key, knob in self.knobs.items()}
        values.update(self.profiles[self.profile])
        off: list[str] = []
        actions: dict[str, str] = {}
        levels: dict[str, str] = {}
        first = self.configuration.keys.items() if self.configuration else ()
        for key, given in (*first, *keys.items()):
            rule, dot, part = key.rpartition(".")
            if key in self.knobs:
                values[key] = value(self.knobs[key], key, given, self.name)
            elif key == "off":
                off += split(given, "+") if isinstance(given, str) else [str(i) for i in _listed(given)]
            elif dot and part == "action":
                actions[rule] = str(given)
            elif dot and part == "level":
                levels[rule] = str(given)
            else:
                known = (*self.knobs, "config", "off", "RULE.action", "RULE.level")
                raise unknown("key", key, known, self.name)
        self.settings = Settings(self.profile, self.derive(values))
        self._ids = tuple(dict.fromkeys([*self.pages, *(row.id for row in self.rules(self.settings))]))
        self._off = frozenset(i for rule in off if rule for i in self.matching(rule))
        for rule, word in actions.items():
            if word not in self.action_words:
                raise unknown(f"action of {rule}", word, self.action_words, self.name)
        for rule, word in levels.items():
            if word not in LEVELS:
                raise unknown(f"level of {rule}", word, LEVELS, self.name)
        self._actions, self._levels = self._spread(actions), self._spread(levels)
        self._rows = self._made()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}:{self.profile}, {len(self.table())} rows>"

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """The rows under these settings; an inspector that is switched off yields none."""
        raise NotImplementedError  # the one method that a product must have; this class is none

    def derive(self, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in the knobs that follow others (default None). Raises UsageError for a contradiction."""
        return values

    def scope(self, settings: Settings) -> Scope:
        """The connections that these settings leave out; the core asks once for each connection."""
        return Scope(ports=self.ports)

    def remedies(self, rule: str) -> tuple[Remedy, ...]:
        """How to stop this rule (a full id or a family), best first, for every product generation."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """What the settings ask for and nothing evaluates, a line each."""
        return ()

    @classmethod
    def read(cls, text: str) -> Configuration | None:
        """What the product's own configuration says; None when the text is none of it.

        `read` of the module `config` beside the inspector's does it.
        """
        made = reader(cls.__module__.rpartition(".")[0])
        return made(text) if made else None

    @property
    def active(self) -> bool:
        """Does the configuration leave the inspection on? Without one it is on."""
        return self.configuration is None or self.configuration.active

    @property
    def ports(self) -> tuple[int, ...]:
        """The server ports that the configuration names."""
        return self.configuration.ports if self.configuration else ()

    def table(self) -> tuple[Rule, ...]:
        """The rows in force: under the settings, without what is off, with the user's actions and levels."""
        return self._rows if self.active else ()

    def ids(self) -> tuple[str, ...]:
        """Every rule id that this product has, in force or not."""
        return self._ids

    @property
    def action_words(self) -> tuple[str, ...]:
        """The words that `RULE.action=` takes."""
        own = ("pass", "alarm", "detach", "rewrite", "answer", "drop", "drop-flow", "reset")
        return tuple(dict.fromkeys([*self.words, *own]))

    def act(self, row: Rule, word: str, settings: Settings) -> Action:
        """The action that this word means for this row."""
        word = self.words.get(word, word)
        if word == row.action.strength.word:
            return row.action
        made = {a.strength.word: a for a in (PASS, ALARM, DETACH, DROP, DROP_FLOW, RESET)}.get(word)
        if made is None:
            raise UsageError(f"{row.id} cannot {word}: what to write is not known")
        return made._replace(params={**row.action.params, **made.params})

    def matching(self, rule: str) -> tuple[str, ...]:
        """The ids that a full id, a family or a short form names. Raises UsageError when there is none."""
        word = rule.lower().replace(":", "-")
        forms = [word] if "." in word else []
        forms += [f"{self.name}.{prefix}{word}" for prefix in ("", *self.short)]
        for form in forms:
            if form in self._ids:
                return (form,)
            if found := tuple(i for i in self._ids if i.startswith(form + ".")):
                return found
        families = dict.fromkeys(i.split(".")[1] for i in self._ids)
        raise unknown("rule", word.removeprefix(self.name + "."), tuple(families), self.name)

    def _read(self, config: object) -> Configuration:
        """The configuration of this product. Raises UsageError when it is none, or is beyond the inspector."""
        if isinstance(config, Configuration):
            made, name = config, "the configuration"
        elif isinstance(config, (str, os.PathLike)):
            name = os.fspath(config)
            read = self.read(text_of(name))
            if read is None:
                raise UsageError(
                    f"config={name}: no configuration of {self.name}. `smtpinspect config {name}` tells what it is"
                )
            made = read
        else:
            raise UsageError(f"config={config!r} for {self.name}: the path of a configuration is wanted")
        if made.product != self.name:
            raise UsageError(f"config={name}: a configuration of {made.product}, not of {self.name}")
        if made.beyond:
            raise UsageError(f"config={name}: {made.title}: {made.beyond}")
        return made

    def _spread(self, given: Mapping[str, str]) -> dict[str, str]:
        """Words by full id; a rule's own word goes before its family's, wherever it stands."""
        found = [(self.matching(rule), word) for rule, word in given.items()]
        found.sort(key=lambda pair: -len(pair[0]))
        return {i: word for ids, word in found for i in ids}

    def _made(self) -> tuple[Rule, ...]:
        rows = []
        for made in self.rules(self.settings):
            row = made
            if not row.id.startswith(self.name + "."):
                raise TypeError(f"rule {row.id} of inspector {self.name}: its id starts with {self.name}.")
            if row.id in self._off:
                continue
            if row.id in self._actions:
                if row.kind == "seen":
                    raise UsageError(
                        f"{row.id} only tells what the capture shows: it has no action, only off="
                    )
                action = self.act(row, self._actions[row.id], self.settings)
                row = row._replace(action=action, breaks=row.breaks and action.strength == Strength.REWRITE)
            level = self._levels.get(row.id, row.level)
            # `ignore` takes the line from the product's log; what only tells is gone with it.
            if level == "ignore" and row.action.strength <= Strength.ALARM:
                continue
            rows.append(row if level == row.level else row._replace(level=level))
        return tuple(rows)


def _listed(given: object) -> Iterable[object]:
    return given if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else (given,)
