"""Modular policies of PIX and ASA 7.0 and later, FWSM 3.x and FTD: maps, classes, and what binds them.

A configuration that was pasted may have lost its indentation, so a block goes on by its keywords, not by columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.configuration import Reading, Row
from smtpinspect.inspectors.mailguard import maps
from smtpinspect.inspectors.mailguard.profiles import CRITERIA, Criterion

DEFAULT_MAP: Final = "_default_esmtp_map"
ACTIONS: Final = ("drop-connection", "mask", "reset", "log", "rate-limit")
PORTS: Final = {"smtp": 25, "ssh": 22, "telnet": 23, "www": 80, "http": 80, "pop3": 110, "https": 443}

# What may stand in a map, by the first word behind `no`.
_IN_MAP: Final = frozenset(
    "description parameters mask-banner mail-relay special-character allow-tls match exit quit".split()
)
# Words that end every block, even where no column tells.
_OPENERS: Final = frozenset(
    "aaa aaa-server access-group access-list arp boot class-map clock crypto dhcpd dns domain-name "
    "dynamic-access-policy-record enable failover firewall fixup ftp global group-policy hostname http icmp "
    "interface ip ipv6 logging mailhost mtu nat ntp object object-group passwd policy-map prefix-list "
    "prompt regex route route-map router same-security-traffic service-policy snmp-server ssh ssl static "
    "sysopt telnet threat-detection time-range timeout tls-proxy tunnel-group username vpdn vpn-addr-assign "
    "webvpn write xlate".split()
)
_REGEX: Final = re.compile(r'regex\s+(\S+)\s+(?:"((?:[^"\\]|\\.)*)"|(\S+))\s*$', re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


@dataclass(slots=True)
class Match:
    """One `match` line of a map: the criterion in its words, and the action that follows."""

    row: Row
    negated: bool
    criterion: str
    expressions: tuple[str, ...] = ()  # `class NAME` or `NAME` of a regular expression
    action: str = ""
    log: bool = False
    known: bool = True

    @property
    def same(self) -> tuple[bool, str, tuple[str, ...]]:
        """Two lines with this in common are one."""
        return self.negated, self.criterion.lower(), self.expressions

    @property
    def words(self) -> str:
        """The action as it is written."""
        return f"{self.action} log" if self.log and self.action != "log" else self.action


@dataclass(slots=True)
class Map:
    """`policy-map type inspect esmtp NAME`."""

    name: str
    row: Row
    parameters: dict[str, tuple[Row, Any]] = field(default_factory=dict)
    matches: dict[tuple[bool, str, tuple[str, ...]], Match] = field(default_factory=dict)
    used: bool = False


@dataclass(slots=True)
class Inspect:
    """`inspect esmtp [NAME]` in a class of a policy."""

    row: Row
    kind: str  # smtp, esmtp
    name: str  # of the map, empty for the default one
    policy: str
    class_name: str
    where: str = ""  # what binds the policy
    bound: Row | None = None
    ports: tuple[int, ...] = ()


@dataclass(slots=True)
class _Class:
    """A class-map for traffic: its ports, and what it matches that is no list of ports."""

    ports: list[int] = field(default_factory=list)
    default: bool = False
    every: bool = False
    lists: list[str] = field(default_factory=list)


class Policies:
    """Takes the lines of a configuration one by one; `in_force` tells what they come to."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.maps: dict[str, Map] = {}
        self.regexes: dict[str, str] = {}
        self.regex_classes: dict[str, list[str]] = {}
        self.classes: dict[str, _Class] = {}
        self.policies: dict[str, dict[tuple[str, str], Inspect]] = {}
        self.lists: dict[str, list[str]] = {}  # the lines of each access-list
        self.bindings: dict[tuple[str, str], Row] = {}
        self._block: Callable[[Row, list[str]], bool] | None = None
        self._header = Row(0, 0, "")
        self._indented = False
        self._held: list[Row] = []
        self._map: Map | None = None
        self._match: Match | None = None
        self._regex_class: list[str] = []
        self._class = _Class()
        self._policy = ""
        self._class_name = ""

    @property
    def told(self) -> bool:
        """Is there any modular policy about SMTP?"""
        return bool(self.maps or self.bindings or any(self.policies.values()))

    def take(self, row: Row, words: list[str]) -> None:
        """The next line, and its words."""
        first = words[0].lower()
        below = words[1].lower() if first == "no" and len(words) > 1 else first
        opener = _TOP.get(below)
        if below == "service-policy" and len(words) < 3:
            return  # in a class: a policy for its traffic's rate
        if opener is not None:
            self._open(row)
            opener(self, row, words)
        elif self._block is None:
            return
        elif below in _OPENERS and row.indent <= self._header.indent:
            self._open(row)
        elif self._block(row, words):
            self._indented = self._indented or row.indent > self._header.indent
            for held in self._held:
                self.reading.miss(held, "not known in an esmtp map")
            self._held.clear()
        elif row.indent <= self._header.indent and self._indented:
            self._open(row)

    def _open(self, row: Row) -> None:
        self._block, self._map, self._match = None, None, None
        self._header, self._indented = row, False
        self._held.clear()

    # --- lines at the top

    def _regex(self, row: Row, words: list[str]) -> None:
        if words[0] == "no":
            return
        if made := _REGEX.match(row.text):
            self.regexes[made[1]] = made[2] if made[2] is not None else made[3]

    def _class_map(self, row: Row, words: list[str]) -> None:
        lower = [word.lower() for word in words]
        if lower[0] == "no" or len(words) < 2:
            return
        name = words[-1]
        if lower[1:3] == ["type", "regex"]:
            self._regex_class = self.regex_classes.setdefault(name, [])
            self._block = self._in_regex_class
        elif lower[1:4] == ["type", "inspect", "esmtp"]:
            self.reading.miss(row, "a class of esmtp criteria: no source knows it")
        elif lower[1] != "type":
            self._class = self.classes.setdefault(name, _Class())
            self._block = self._in_class

    def _policy_map(self, row: Row, words: list[str]) -> None:
        lower = [word.lower() for word in words]
        gone = lower[0] == "no"
        words, lower = words[gone:], lower[gone:]
        if lower[1:4] == ["type", "inspect", "esmtp"]:
            if len(words) < 5:
                self.reading.miss(row, "a map needs a name")
            elif gone:
                self.maps.pop(words[4], None)
            else:
                self._map = self.maps.setdefault(words[4], Map(words[4], row))
                self._block = self._in_map
        elif len(words) == 2:
            if gone:
                self.policies.pop(words[1], None)
            else:
                self._policy, self._class_name = words[1], ""
                self.policies.setdefault(words[1], {})
                self._block = self._in_policy

    def _service_policy(self, row: Row, words: list[str]) -> None:
        lower = [word.lower() for word in words]
        gone = lower[0] == "no"
        words, lower = words[gone:], lower[gone:]
        where = "global" if lower[2:3] == ["global"] else " ".join(words[2:4])
        if len(words) < 3 or (where != "global" and lower[2] != "interface"):
            return
        self.bindings.pop((words[1], where), None)
        if not gone:
            self.bindings[words[1], where] = row

    def _access_list(self, row: Row, words: list[str]) -> None:
        if len(words) > 2 and words[0] != "no":
            entries = self.lists.setdefault(words[1], [])
            if len(entries) < limits.CONFIG_LINES:
                entries.append(row.text)

    # --- lines in a block; False: not known there

    def _in_regex_class(self, row: Row, words: list[str]) -> bool:
        lower = [word.lower() for word in words]
        if lower[:2] == ["match", "regex"] and len(words) == 3:
            self._regex_class.append(words[2])
        elif lower[:2] == ["match", "not"]:
            self.reading.miss(row, "match not in a class of expressions")
        return lower[0] in ("match", "description")

    def _in_class(self, row: Row, words: list[str]) -> bool:
        lower = [word.lower() for word in words]
        if lower[0] != "match":
            return lower[0] == "description"
        match lower[1:]:
            case ["default-inspection-traffic"]:
                self._class.default = True
            case ["any"]:
                self._class.every = True
            case ["access-list", _]:
                self._class.lists.append(words[2])
            case ["port", "tcp", *rest]:
                self._class.ports = [*self._class.ports, *_ports(rest)][: limits.CONFIG_PORTS]
        return True

    def _in_policy(self, row: Row, words: list[str]) -> bool:
        lower = [word.lower() for word in words]
        gone = lower[0] == "no"
        lower, words = lower[gone:], words[gone:]
        if lower[0] == "class" and len(words) > 1:
            self._class_name = words[1]
            if gone:
                for kind in ("smtp", "esmtp"):
                    self.policies[self._policy].pop((words[1], kind), None)
        elif lower[0] == "inspect" and lower[1:2] in (["smtp"], ["esmtp"]):
            own = self.policies[self._policy]
            name = words[2] if len(words) > 2 else ""
            own.pop((self._class_name, lower[1]), None)
            if not gone:
                one = Inspect(row, lower[1], name, self._policy, self._class_name)
                own[self._class_name, lower[1]] = one
        return True

    def _in_map(self, row: Row, words: list[str]) -> bool:
        assert self._map is not None
        lower = [word.lower() for word in words]
        gone = lower[0] == "no"
        lower, words = lower[gone:], words[gone:]
        first = lower[0] if lower else ""
        if first in ACTIONS:
            self._action(row, lower)
        elif first == "match":
            self._match = None
            self._criterion(row, words[1:], gone)
        elif first in _PARAMETERS:
            found = None if gone else _PARAMETERS[first](lower[1:])
            if gone:
                self._map.parameters[first] = (row, False)
            elif found is None:
                self.reading.miss(row, f"not a form of {first}")
            elif first == "mail-relay":
                domains = self._map.parameters.get(first, (row, ()))[1] or ()
                self._map.parameters[first] = (row, (*domains, found))
            else:
                self._map.parameters[first] = (row, found)
        elif first not in _IN_MAP:
            if row.indent > self._header.indent:
                self.reading.miss(row, "not known in an esmtp map")
                return True
            if not self._indented:
                self._held.append(row)
            return False
        return True

    def _action(self, row: Row, lower: list[str]) -> None:
        if self._match is None:
            self.reading.miss(row, "an action without a match line that is understood")
            return
        if self._match.action and self._match.action != "log":
            self.reading.miss(row, f"a second action; line {self._match.row.number} has one")
        elif self._match.known and not _acts(self._match, lower):
            self.reading.miss(row, f"not a form of {lower[0]} for this match line")
            self._match.known = False

    def _criterion(self, row: Row, words: list[str], gone: bool) -> None:
        assert self._map is not None
        negated = bool(words) and words[0].lower() == "not"
        words = words[negated:]
        lower = [word.lower() for word in words]
        for known in CRITERIA:
            own = known.words.lower().split()
            if lower[: len(own)] == own:
                made = _read(row, negated, known, words)
                break
        else:
            made = "no criterion of an esmtp map"
        if isinstance(made, str):
            self.reading.miss(row, made)
            # The action behind it is not that of an earlier line.
            self._match = Match(row, negated, "", known=False)
            return
        self._map.matches.pop(made.same, None)
        if len(self._map.matches) >= limits.CONFIG_PARTS:
            self.reading.miss(row, f"more than {limits.CONFIG_PARTS:,} match lines in one map")
        elif not gone:
            self._map.matches[made.same] = self._match = made

    # --- what it comes to

    def expression(self, match: Match) -> str:
        """The regular expression of a match line. Raises KeyError with the name that is not there."""
        kind, name = match.expressions
        if kind == "regex":
            return self.regexes[name]
        members = [self.regexes[one] for one in self.regex_classes[name]]
        if not members:
            raise KeyError(name)
        return members[0] if len(members) == 1 else "|".join(f"({one})" for one in members)

    def defined(self) -> Iterator[Inspect]:
        """All `inspect` lines, bound or not."""
        for policy in self.policies.values():
            yield from policy.values()

    def in_force(self) -> list[Inspect]:
        """What is bound, the global policy first; of a class the first `inspect` line acts."""
        made: list[Inspect] = []
        bindings = [(name, where, row) for (name, where), row in self.bindings.items()]
        for name, where, row in sorted(bindings, key=lambda one: one[1] != "global"):
            seen: set[str] = set()
            for one in self.policies.get(name, {}).values():
                if one.class_name in seen:
                    self.reading.note(f"line {one.row.number}: only the first inspect line of a class acts")
                    continue
                seen.add(one.class_name)
                made.append(replace(one, where=where, bound=row, ports=self._ports_of(one)))
        return made

    def _ports_of(self, one: Inspect) -> tuple[int, ...]:
        known = self.classes.get(one.class_name)
        if known is None:
            if one.class_name != "inspection_default":
                name = f"class {one.class_name} is not in this text" if one.class_name else "no class line"
                self.reading.note(f"line {one.row.number}: {name}: taken as port 25")
            return (25,)
        ports = [25] if known.default else []
        ports += known.ports
        for name in known.lists:
            if name in self.lists:
                ports += _listed(self.lists[name])
                self.reading.note(f"access-list {name} chooses the hosts: here every host counts as chosen")
            else:
                self.reading.note(f"access-list {name} is not in this text: taken as port 25")
        if known.every:
            self.reading.note(f"class {one.class_name} matches every port; port 25 is looked at")
        return tuple(dict.fromkeys(ports[: limits.CONFIG_PORTS])) or (25,)


_TOP: Final[dict[str, Callable[[Policies, Row, list[str]], None]]] = {
    "regex": Policies._regex,
    "class-map": Policies._class_map,
    "policy-map": Policies._policy_map,
    "service-policy": Policies._service_policy,
    "access-list": Policies._access_list,
}


def _listed(entries: Sequence[str]) -> list[int]:
    """The ports that the lines of an access-list permit."""
    ports: dict[int, None] = {}
    for entry in entries:
        words = entry.lower().split()
        if "permit" in words and "tcp" in words:
            # The port of the destination stands last.
            at = max(len(words) - words[::-1].index(word) for word in ("tcp", "eq", "range") if word in words)
            ports.update(dict.fromkeys(_ports(words[at - 1 :])))
    return [*ports]


def _ports(words: Sequence[str]) -> list[int]:
    """`eq PORT` or `range PORT PORT` somewhere in these words."""
    for at, word in enumerate(words):
        numbers = [_port(one) for one in words[at + 1 : at + 3]]
        if word == "eq" and numbers and numbers[0]:
            return [numbers[0]]
        if word == "range" and len(numbers) == 2 and all(numbers):
            return [*range(numbers[0], min(numbers[1] + 1, numbers[0] + limits.CONFIG_PORTS))]
    return []


def _port(word: str) -> int:
    number = int(word) if _NUMBER.fullmatch(word) else PORTS.get(word, 0)
    return number if 0 < number < 65_536 else 0


def _acts(match: Match, words: Sequence[str]) -> bool:
    """Put the action into the match line; False: it is none."""
    match list(words):
        case ["drop-connection" | "reset" as action]:
            match.action = action
        case ["mask" as action] if match.criterion.lower().startswith(("ehlo-reply-parameter", "cmd verb")):
            match.action = action
        case ["log"]:
            match.action, match.log = match.action or "log", True
        case ["drop-connection" | "reset" | "mask" as action, "log"]:
            match.log = True
            return _acts(match, [action])
        case ["rate-limit", number] if _NUMBER.fullmatch(number):
            match.action = f"rate-limit {number}"
        case _:
            return False
    return True


def _read(row: Row, negated: bool, known: Criterion, words: Sequence[str]) -> Match | str:
    """The match line; a text tells what is wrong with it."""
    n = len(known.words.split())
    lower = [word.lower() for word in words]
    expressions: tuple[str, ...] = ()
    match known.takes:
        case "limit":
            end = n + 2
        case "words":
            end = next((at for at in range(n, len(lower)) if lower[at] in (*ACTIONS, "class")), len(lower))
        case "regex":
            end = n + (2 if lower[n : n + 1] == ["class"] else 1)
            expressions = ("class" if end == n + 2 else "regex", *words[end - 1 : end])
            if len(expressions) < 2:
                return f"{known.words} needs a name"
    criterion = " ".join(words[: n if expressions else end])
    if not expressions and (why := wrong(criterion)):
        return why
    made = Match(row, negated, criterion, expressions)
    if lower[end : end + 1] == ["class"]:
        end += 2  # `Class 4`, as the guide prints the default map
    if end < len(lower) and not _acts(made, lower[end:]):
        return f"not an action for {known.words}: {' '.join(lower[end:])}"
    return made


def wrong(criterion: str) -> str:
    """Why this is no criterion that the inspector takes; empty when it is one."""
    try:
        maps.read([f"{criterion} -> log"])
    except UsageError as error:
        return str(error).partition("': ")[2] or str(error)
    return ""


def _flag(words: Sequence[str]) -> bool | None:
    return None if words else True


def _special(words: Sequence[str]) -> str | None:
    match list(words):
        case ["action", "drop-connection" | "log" as action] | ["action", "drop-connection" as action, "log"]:
            return action
    return None


def _relay(words: Sequence[str]) -> tuple[str, str] | None:
    action = _special(words[1:]) if words else None
    return (words[0], action) if action else None


def _tls(words: Sequence[str]) -> str | None:
    return {(): "on", ("action", "log"): "log"}.get(tuple(words))


_PARAMETERS: Final[dict[str, Callable[[Sequence[str]], Any]]] = {
    "mask-banner": _flag,
    "mail-relay": _relay,
    "special-character": _special,
    "allow-tls": _tls,
}
