"""Reads what serverd prints and takes: alarms of the SMTP plugin, its settings, inspection levels of rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.configuration import Configuration, Reading, Row, has, rows
from smtpinspect.inspectors.settings import value
from smtpinspect.inspectors.stormshield.profiles import ACTIONS, ALARMS, KNOBS, TOKENS

_BY_NAME: Final = {token.lower(): (token, key) for token, key in TOKENS.items()}
# Tokens that no other protocol has: they tell SMTP by themselves.
_OWN: Final = frozenset(
    token.lower() for token in TOKENS if token not in ("State", "Probe", "Log", "AllowTCPUrg", "AllowOp", "DenyOp")
)
# ALARM UPDATE and ALARM SHOW.
_OF_ALARMS: Final = frozenset(
    "index id context action level dump email emailduration emailcount blacklist blduration comment qid ackqid "
    "new origin msg modify sensible legacy category longmsg signatures extended".split()
)
_FOREIGN: Final = frozenset(
    "http ftp pop3 imap dns sip ssl ssh telnet tftp nntp mgcp rtp rtcp rtsp icmp tcp udp ip smb epmap ldap ntp "
    "snmp modbus s7 opc https bittorrent edonkey global".split()
)
_TOKEN: Final = re.compile(r'([A-Za-z]\w{0,60})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s"]*)')
_COMMAND: Final = re.compile(r"\s*(?:[\w.@-]{1,64}[>#]\s*)?(CONFIG\s+[A-Z][A-Z ]*?)(?=\s*$|\s+\w+\s*=)", re.I)
_SECTION: Final = re.compile(r"\[([^\]]{1,80})\]$")
# Without one of these, in small letters, a text is none of theirs.
_SIGNS: Final = (
    "config protocol", "config filter", "config securityinspection", "[smtp]", "level=minor", "level=major",
    "level=ignore", 'level="', *sorted(_OWN),
)  # fmt: skip
_SEPARATORS: Final = re.compile(r"[\s,;|]+")


@dataclass(slots=True)
class _Profile:
    """One of the ten profiles."""

    keys: dict[str, Any] = field(default_factory=dict)
    template: str = ""
    sensible: dict[int, bool] = field(default_factory=dict)
    first: int = 0


class _Dump:
    """The text, line by line."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.profiles: dict[int, _Profile] = {}
        self.others: dict[str, int] = {}  # alarms that are not emulated: the first line of each
        self.rules: list[tuple[Row, str]] = []  # inspection levels of filter rules
        self.inspections: list[int] = []  # the profiles that they name
        self.changed: dict[str, int] = {}  # CONFIG branches that wait for ACTIVATE
        self.found: list[tuple[Row, int, str]] = []  # with the profile that each line is about
        self.commands = 0
        self.sure = False  # was there a setting that only this product's SMTP has?
        self._smtp = True  # may what follows be about SMTP?
        self._strict = False  # is it surely?
        self._index = 0

    def take(self, row: Row) -> None:
        """The next line."""
        if command := _COMMAND.match(row.text):
            self.commands += 1
            self._command(row, command[1].upper().split(), _tokens(row.text[command.end(1) :]))
            return
        if section := _SECTION.match(row.text):
            self._section(row, section[1].lower())
            return
        if not self._smtp:
            return
        tokens = _tokens(row.text)
        if "id" in tokens and ("action" in tokens or "level" in tokens):
            self._alarm(row, tokens)
        elif tokens:
            self._settings(row, tokens, self._strict)

    def _section(self, row: Row, name: str) -> None:
        words = set(re.split(r"\W+", name))
        if "proxy" in name:
            self._proxy(row)
        if name in ("result", "data", "config"):
            return  # an answer: what it is about, the command told
        self._smtp = not words & _FOREIGN and "proxy" not in name
        self._strict = self._smtp and bool(words & {"smtp", "ips"})

    def _proxy(self, row: Row) -> None:
        self.reading.note(
            f"line {row.number}: settings of the SMTP proxy, which answers with SMTP codes; "
            "the proxy is not emulated"
        )

    def _command(self, row: Row, words: list[str], tokens: dict[str, str]) -> None:
        self._strict = False
        self._index = _index(tokens, 0)
        match words:
            case ["CONFIG", "PROTOCOL", "SMTP", *rest]:
                self._smtp = True
                self._protocol(row, rest, tokens)
            case ["CONFIG", "PROTOCOL", "ACTIVATE"] | ["CONFIG", "FILTER", "ACTIVATE"]:
                self.changed.pop(words[1], None)
            case ["CONFIG", "PROTOCOL", *_]:
                self._smtp = False
            case ["CONFIG", "SECURITYINSPECTION", *rest] if "TEMPLATE" in rest:
                self._template(row, tokens)
            case ["CONFIG", "SECURITYINSPECTION", *_]:
                self._smtp = True
            case ["CONFIG", "FILTER", "RULE", *_]:
                self._smtp = False
                self._rule(row, tokens)
            case _:
                self._smtp = False

    def _protocol(self, row: Row, words: list[str], tokens: dict[str, str]) -> None:
        match words[words[:1] == ["PROFILE"] :]:
            case ["ALARM", "UPDATE"]:
                self._alarm(row, tokens)
                self.changed.setdefault("PROTOCOL", row.number)
            case ["ALARM", "DEFAULT"]:
                self._template(row, tokens)
            case ["IPS", "CONFIG"]:
                self._settings(row, tokens, True)
                self.changed.setdefault("PROTOCOL", row.number)
            case ["PROXY", *_]:
                self._proxy(row)
                self._smtp = False
            case ["ALARM", "SHOW"] | ["SHOW"] | ["IPS", "SHOW"] | ["IPS"] | ["LIST"]:
                self._strict = "ALARM" not in words
            case _:
                self.reading.miss(row, "a command about SMTP that is not known here")

    def _of(self, row: Row, tokens: dict[str, str]) -> _Profile:
        return self.profiles.setdefault(_index(tokens, self._index), _Profile(first=row.number))

    def _find(self, row: Row, tokens: dict[str, str], meaning: str) -> None:
        if len(self.found) < limits.CONFIG_LINES:
            self.found.append((row, _index(tokens, self._index), meaning))

    def _template(self, row: Row, tokens: dict[str, str]) -> None:
        word = tokens.get("template", "").lower()
        if word not in ACTIONS:
            self.reading.miss(row, f"template= is none of {' '.join(ACTIONS)}")
            return
        self._of(row, tokens).template = word
        self._find(row, tokens, f"template {word}")

    def _rule(self, row: Row, tokens: dict[str, str]) -> None:
        level = tokens.get("inspection", "").lower()
        if "inspection" not in tokens:
            return
        if level not in KNOBS["level"].words:
            self.reading.miss(row, "inspection= is none of firewall ids ips")
            return
        if len(self.rules) < limits.CONFIG_LINES:
            self.rules.append((row, level))
        if re.fullmatch(r"[0-9]", tokens.get("securityinspection", "")):
            self.inspections.append(int(tokens["securityinspection"]))
        self.changed.setdefault("FILTER", row.number)

    def _alarm(self, row: Row, tokens: dict[str, str]) -> None:
        number = tokens.get("id", "").lower().removeprefix("smtp:")
        context = tokens.get("context", "protocol").lower()
        if not re.fullmatch(r"[0-9]{1,6}", number):
            self.reading.miss(row, "id= is no alarm")
            return
        if context not in ("protocol", "smtp") or int(number) not in ALARMS:
            if len(self.others) < limits.CONFIG_LINES:
                self.others.setdefault(number if context in ("protocol", "smtp") else f"{context}:{number}", row.number)
            return
        alarm, profile, told = int(number), self._of(row, tokens), [ALARMS[int(number)].title]
        for token, words in (("action", ("pass", "block")), ("level", ("ignore", "minor", "major"))):
            word = tokens.get(token, "").lower()
            if word in words:
                profile.keys[f"{alarm}.{token}"] = word
                told.append(word)
            elif token in tokens:
                self.reading.miss(row, f"{token}= is none of {' '.join(words)}")
        if tokens.get("sensible", "") in ("0", "1"):
            profile.sensible[alarm] = tokens["sensible"] == "1"
            told.append("sensitive" if profile.sensible[alarm] else "not sensitive")
        if tokens.get("blacklist", "off").lower() not in ("off", "0", ""):
            told.append("quarantine, which is not evaluated")
        if strange := sorted(set(tokens) - _OF_ALARMS):
            self.reading.miss(row, f"not known of an alarm: {' '.join(strange)}")
        self._find(row, tokens, f"smtp:{alarm}: {', '.join(told)}")

    def _settings(self, row: Row, tokens: dict[str, str], strict: bool) -> None:
        told = []
        for name, given in tokens.items():
            token, key = _BY_NAME.get(name, ("", None))
            self.sure = self.sure or name in _OWN
            if name == "index":
                continue
            if name == "templatealarm" and (strict or given.lower() in ACTIONS):
                self._template(row, {**tokens, "template": given})
            elif not token or not (strict or name in _OWN):
                if strict:
                    self.reading.miss(row, f"{name}= is not known here")
            elif key is None:
                told.append(f"{token}={given}: no rule depends on it")
            else:
                try:
                    self._of(row, tokens).keys[key] = _read(key, given)
                    told.append(f"{token}={given}")
                except UsageError as error:
                    self.reading.miss(row, str(error))
        if told:
            self._find(row, tokens, "; ".join(told))


def read(text: str) -> Configuration | None:
    """What a dump of serverd's commands and answers says about SMTP; None when the text is none.

    Of several profiles the one that a filter rule names is taken, else the lowest; `notes` name the others.
    """
    if not has(text, _SIGNS):
        return None
    dump = _Dump()
    for row in rows(text):
        if row.text[0] not in "#;":
            dump.take(row)
    reading = dump.reading
    if not (dump.found or dump.rules or dump.commands or dump.sure):
        return None
    at = _chosen(dump)
    for row, index, meaning in dump.found:
        reading.find(row, meaning if index == at else f"{meaning}; of profile {index}, not in these settings")
    profile = dump.profiles.get(at, _Profile())
    keys = dict(profile.keys)
    if profile.sensible:
        listed = {number for number, alarm in ALARMS.items() if alarm.sensible}
        listed |= {number for number, is_so in profile.sensible.items() if is_so}
        listed -= {number for number, is_so in profile.sensible.items() if not is_so}
        keys["sensitive"] = tuple(str(number) for number in sorted(listed))
    active = _level(dump, keys)
    if keys.get("state") is False:
        active = False
        reading.note("State=Off: intrusion prevention is switched off for SMTP, and nothing of it is inspected")
    if dump.others:
        named = ", ".join([*dump.others][:12]) + (", ..." if len(dump.others) > 12 else "")
        reading.note(f"alarms that are not emulated here, first line {min(dump.others.values())}: {named}")
    for branch, number in dump.changed.items():
        reading.note(f"line {number}: in force only after CONFIG {branch} ACTIVATE, which is not in this text")
    if not reading.found and active:
        reading.note("nothing about SMTP is set in this text")
    title = f"Stormshield SNS, SMTP profile {at}" if dump.profiles else "Stormshield SNS"
    return Configuration("stormshield", title, profile.template, keys, active, (), **reading.lines())


def _chosen(dump: _Dump) -> int:
    named = [number for number in dump.inspections if number in dump.profiles]
    at = named[0] if named else min(dump.profiles, default=0)
    for number, other in sorted(dump.profiles.items()):
        if number != at:
            dump.reading.note(f"line {other.first}: profile {number} is another one, not in these settings")
    return at


def _level(dump: _Dump, keys: dict[str, Any]) -> bool:
    """The inspection level of the filter rules; the strongest where they differ. Is anything inspected?"""
    strength = KNOBS["level"].words
    if not dump.rules:
        return True
    _, level = max(dump.rules, key=lambda one: strength.index(one[1]))
    keys["level"] = level
    for row, own in dump.rules:
        dump.reading.find(row, f"inspection level {own}")
    if len({own for _, own in dump.rules}) > 1:
        dump.reading.note(f"filter rules at several inspection levels: the strongest, {level}, is taken")
    if level == "firewall":
        dump.reading.note("inspection level firewall: the rule filters by addresses, SMTP is not inspected")
    return level != "firewall"


def _tokens(text: str) -> dict[str, str]:
    if text.count("=") == 1 and (alone := re.fullmatch(r"(\w{1,60})\s*=\s*(.*)", text)):
        return {alone[1].lower(): alone[2].strip().strip('"')}
    return {name.lower(): given.strip('"') for name, given in _TOKEN.findall(text)}


def _index(tokens: dict[str, str], default: int) -> int:
    given = tokens.get("index", "")
    return int(given) if re.fullmatch(r"[0-9]{1,2}", given) else default


def _read(key: str, given: str) -> Any:
    if KNOBS[key].type == "list":
        verbs = tuple(word.upper() for word in _SEPARATORS.split(given) if word)
        if strange := [verb for verb in verbs if not re.fullmatch(r"[A-Z0-9-]{1,40}", verb)]:
            raise UsageError(f"{strange[0]} is no verb")
        return verbs
    return value(KNOBS[key], key, given.lower(), "stormshield")
