"""Reads a PIX, ASA, FWSM or FTD configuration: which generation, what is in force, on which ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from smtpinspect.grammar import limits
from smtpinspect.inspectors.configuration import Configuration, Reading, Row, has, rows, shown
from smtpinspect.inspectors.mailguard.mapkeys import keys_of
from smtpinspect.inspectors.mailguard.policy import Inspect, Policies

_VERSION: Final = re.compile(
    r"(?:Cisco )?(PIX|ASA|FWSM|NGFW|Adaptive)(?: Firewall| Security Appliance)?(?: Software)? Version "
    r"(\d{1,2})\.(\d{1,2})(?:\.\d+)*(?:\((\d{1,3})(?:\.(\d{1,5}))?\)(\d{1,5})?)?"
)
# A session that was pasted: `fw/ctx(config-pmap)# ` in front of each line; or a list of commands.
_PROMPT: Final = re.compile(
    r"[-*\u2013\u2022][ \t]+(?=\S)|[\w.@-]{1,64}(?:/[\w.-]{1,64}){0,4}(?:\([\w-]{1,40}\))?[#>] ?(?=\S)"
)
_PROMPTS: Final = re.compile("[-*\u2013\u2022]|.*[#>]")
# Without one of these, in small letters, a text is none of theirs.
_SIGNS: Final = (
    "pix version", "pix firewall version", "asa version", "fwsm version", "ngfw version", "appliance version",
    "appliance software version", "fixup protocol", "policy-map", "service-policy", "inspect smtp", "inspect esmtp",
    "inspect: ", "ip inspect name", "mailhost",
)  # fmt: skip
# show service-policy
_COUNTERS: Final = re.compile(
    r"Inspect: (e?smtp)(?: (\S+))?, packet (\d+), lock fail (\d+), drop (\d+), reset-drop (\d+)"
)
_READ: Final = frozenset(("fixup", "mailhost", "ip", "no", "hostname", "inspect:"))
_WHOLE: Final = frozenset(("hostname", "interface", "nameif", "access-list", "names", "conduit"))
_FIXUP: Final = re.compile(r"(no )?fixup protocol smtp(?: (\d{1,5})(?:-(\d{1,5}))?)?$", re.IGNORECASE)
_MAILHOST: Final = re.compile(r"(no )?mailhost (\S+) (\S+)", re.IGNORECASE)
_IOS: Final = re.compile(r"(no )?ip inspect name (\S+) (e?smtp)\b", re.IGNORECASE)

Number = tuple[int, int, int, int]
# The builds from which the default map has allow-tls (change list of the releases).
_TLS: Final[dict[tuple[int, int], tuple[tuple[int, int], ...]]] = {
    (8, 4): ((7, 25),), (8, 5): ((1, 23),), (8, 6): ((1, 16),), (8, 7): ((1, 15),), (9, 0): ((4, 28),),
    (9, 1): ((6, 1),), (9, 2): ((3, 2),), (9, 3): ((1, 2), (2, 2)),
}  # fmt: skip
# CVE-2000-1022: the last affected build of each train, then those in which it came back.
_BYPASS: Final = {(4, 4): 6, (5, 0): 3, (5, 1): 3, (5, 2): 2}
_REGRESSION: Final = ((5, 2, 4), (5, 2, 5), (6, 0, 1))


class Version(NamedTuple):
    """The line that tells product and release."""

    row: Row
    product: str  # PIX, ASA, FWSM, FTD
    number: Number  # 9.7(1)24 and 9.7(1.24) are (9, 7, 1, 24)
    exact: bool  # with the number in brackets

    @property
    def words(self) -> str:
        """As it is printed."""
        major, minor, build, interim = self.number
        return f"{self.product} {major}.{minor}" + (
            f"({build})" + (str(interim) if interim else "") if self.exact else ""
        )

    @property
    def modular(self) -> bool:
        """Policies, not fixup?"""
        return self.number[0] >= {"FWSM": 3, "FTD": 0}.get(self.product, 7)


class _Context:
    """One configuration: a text holds several when the contexts of a firewall were pasted together."""

    def __init__(self, version: Version | None) -> None:
        self.version = version
        self.reading = Reading()
        self.policies = Policies(self.reading)
        self.name = ""
        self.first = self.last = version.row.number if version else 0
        self.ports: list[int] | None = None  # of fixup; None: no line of it
        self.fixups: list[Row] = []
        self.other_fixups = False
        self.mailhosts: dict[tuple[str, str], Row] = {}
        self.gone_mailhosts: list[Row] = []
        self.ios: dict[tuple[str, str], Row] = {}
        self.counters: list[Inspect] = []
        self.whole = False  # more than a version?

    @property
    def told(self) -> bool:
        """Does it say anything about SMTP, or is it a whole configuration?"""
        own = self.fixups or self.mailhosts or self.gone_mailhosts or self.ios or self.counters
        return bool(own or self.other_fixups or self.policies.told)

    @property
    def modular(self) -> bool:
        """Policies, not fixup?"""
        return self.version.modular if self.version else bool(self.policies.told or self.counters)

    def take(self, row: Row) -> None:
        """The next line."""
        self.first = self.first or row.number
        self.last = row.number
        words = row.text.split()
        word = words[0].lower()
        if word in _READ:
            self._own(row, word, " ".join(words))
        self.whole = self.whole or word in _WHOLE
        self.policies.take(row, words)

    def _own(self, row: Row, word: str, line: str) -> None:
        if word == "inspect:" and (made := _COUNTERS.match(line)):
            self.counters.append(Inspect(row, made[1], made[2] or "", "", ""))
            seen, _, dropped, reset = (int(number) for number in made.groups()[2:])
            self.reading.find(row, f"in force: {seen:,} packets seen, {dropped:,} dropped, {reset:,} with a reset")
        if word == "hostname":
            self.name = self.name or line.partition(" ")[2].strip('"')
        if word in ("fixup", "mailhost", "ip", "no"):
            if made := _FIXUP.match(line):
                self._fixup(row, bool(made[1]), made[2], made[3])
            elif made := _MAILHOST.match(line):
                host = (made[2], made[3])
                if made[1]:
                    self.mailhosts.pop(host, None)
                    self.gone_mailhosts.append(row)
                else:
                    self.mailhosts[host] = row
            elif made := _IOS.match(line):
                self.ios.pop((made[2], made[3].lower()), None)
                if not made[1]:
                    self.ios[made[2], made[3].lower()] = row
            elif re.match(r"(?:no )?fixup protocol smtp\b", line, re.IGNORECASE):
                self.reading.miss(row, "not a form of fixup protocol smtp [PORT[-PORT]]")
                return
            elif re.match(r"(?:no )?fixup protocol \w", line, re.IGNORECASE):
                self.other_fixups = True

    def _fixup(self, row: Row, gone: bool, low: str | None, high: str | None) -> None:
        first = int(low) if low else 25
        last = int(high) if high else first
        if not 0 < first <= last < 65_536:
            self.reading.miss(row, "no port, or no range of ports")
            return
        self.fixups = [*self.fixups[: limits.CONFIG_PORTS], row]
        self.ports = self.ports or []
        named = range(first, min(last + 1, first + limits.CONFIG_PORTS))
        if last - first >= limits.CONFIG_PORTS:
            self.reading.note(f"line {row.number}: only the first {limits.CONFIG_PORTS} ports are looked at")
        if gone and low is None:
            self.ports = [25]
            self.reading.find(row, "removes all ports and puts port 25 back: it does not switch off")
            self.reading.note(
                f"line {row.number}: `no fixup protocol smtp` without a port puts port 25 back. "
                "Type: no fixup protocol smtp 25"
            )
        elif gone:
            self.ports = [port for port in self.ports if port not in named]
            self.reading.find(row, f"MailGuard is off on port {_span(first, last)}")
        else:
            self.ports = [*dict.fromkeys((*self.ports, *named))][: limits.CONFIG_PORTS]
            self.reading.find(row, f"MailGuard on port {_span(first, last)}")


def read(text: str) -> Configuration | None:
    """What a running-config says about SMTP; None when the text is no configuration of these products.

    Of several contexts in one text the first in which SMTP is inspected is taken; `notes` name the others.
    """
    if not has(text, _SIGNS):
        return None
    contexts = [one for one in _contexts(rows(text)) if one.told or one.whole]
    telling = [one for one in contexts if one.told] or [one for one in contexts if one.version][:1]
    if not telling:
        return None
    made = [_made(one) for one in telling]
    at = next((at for at, one in enumerate(made) if one.active), 0)
    unknown = tuple(line for one in made for line in one.unknown)
    notes = [*made[at].notes]
    if len(telling) > 1:
        notes.insert(0, f"several configurations in one text: the settings are those of {_place(telling[at])}")
    for context, one in zip(telling, made, strict=True):
        if one is not made[at]:
            state = "active" if one.active else "not active"
            notes.append(
                f"not in these settings: {_place(context)}, {one.title}, {state}. To read it: "
                f"sed -n '{context.first},{context.last}p' FILE | smtpinspect config -"
            )
    return made[at]._replace(unknown=unknown, notes=tuple(notes))


def _place(context: _Context) -> str:
    name = f" ({shown(context.name)})" if context.name else ""
    return f"lines {context.first} to {context.last}{name}"


def _contexts(lines: Iterable[Row]) -> Iterator[_Context]:
    context, made = _Context(None), 0
    for whole in lines:
        row = whole
        if row.text[0] in "!:":
            continue
        if _PROMPTS.match(row.text) and (prompt := _PROMPT.match(row.text)):
            row = Row(row.number, 0, row.text[prompt.end() :])
        if "Version" in row.text and (version := _version(row)):
            if context.told or context.version:
                yield context
                made += 1
                if made == limits.CONFIG_PARTS:
                    return
                context = _Context(version)
            else:
                first = context.first
                context = _Context(version)
                context.first = first or context.first
            continue
        context.take(row)
    yield context


def _version(row: Row) -> Version | None:
    made = _VERSION.match(row.text)
    if made is None:
        return None
    product = {"NGFW": "FTD", "Adaptive": "ASA"}.get(made[1], made[1])
    number = (int(made[2]), int(made[3]), int(made[4] or 0), int(made[5] or made[6] or 0))
    return Version(row, product, number, made[4] is not None)


def _made(context: _Context) -> Configuration:
    """The settings of one context."""
    version, reading = context.version, context.reading
    modular = context.modular
    if context.ios and not modular and not context.fixups:
        return _ios(context)
    if modular:
        profile, keys = _generation(version, modular)
        if version:
            reading.find(version.row, f"profile {profile}")
        for row in context.fixups:
            reading.note(
                f"line {row.number}: fixup is no command of this release, and what it says has no effect. "
                "Here `no inspect esmtp` in the policy switches off"
            )
        reading.found = [line for line in reading.found if not line.meaning.startswith("MailGuard")]
        return _modular(context, profile, keys)
    if context.mailhosts or (version and version.product == "PIX" and version.number < (4, 2)):
        return _mailhost(context)
    return _fixup(context)


def _generation(version: Version | None, modular: bool) -> tuple[str, dict[str, Any]]:
    """The profile of a release, and what differs in this very build."""
    if version is None:
        return ("asa-9-tls" if modular else "pix-6"), {}
    number = version.number
    train = number[:2]
    if version.product == "FTD":
        return "asa-9-tls", {}
    if version.product == "FWSM":
        return ("fwsm-3" if number[0] >= 3 else "pix-6"), {}
    if number[0] < 7:
        profile = "pix-4.0" if train < (4, 2) else "pix-4.4" if train < (5, 1) else "pix-5"
        profile = "pix-6" if number[0] >= 6 else profile
        if profile == "pix-4.0" or not version.exact:
            return profile, {}
        last = _BYPASS.get(train, 999 if train < (4, 4) else -1)
        return profile, {"early_data_bypass": number[2] <= last or number[:3] in _REGRESSION}
    if train < (7, 2):
        return "asa-7.0", {}
    # The three parser faults with signatures went in 7.2(2.19) and 8.0(2.7).
    old = number < (7, 2, 2, 19) or (8, 0, 0, 0) <= number < (8, 0, 2, 7)
    keys = {"dkim_bug": True} if old and version.exact else {}
    return ("asa-9-tls" if _tls(number) else "asa-8"), keys


def _tls(number: Number) -> bool:
    train, build = number[:2], number[2:]
    if train >= (9, 4):
        return True
    first = _TLS.get(train, ())
    of_build = [one for one in first if one[0] == build[0]]
    return build >= of_build[0] if of_build else bool(first) and build > first[-1]


def _fixup(context: _Context) -> Configuration:
    version, reading = context.version, context.reading
    profile, keys = _generation(version, False)
    name = version.words if version else "PIX"
    if version:
        reading.find(version.row, f"profile {profile}")
    else:
        reading.note("no version line: PIX 6 is assumed")
    ports = context.ports
    if ports is None:
        # Factory configurations list the line, so one without it that lists others has it off.
        ports = [] if context.other_fixups else [25]
        told = (
            "fixup lines, and none for smtp: taken as switched off"
            if context.other_fixups
            else "no fixup line at all: taken as in force on port 25, as it is by default"
        )
        reading.note(told)
    elif not ports:
        reading.note("fixup protocol smtp is switched off: MailGuard does nothing")
    title = f"{name}, fixup protocol smtp"
    return Configuration(
        "mailguard",
        title,
        profile,
        keys,
        bool(ports),
        tuple(ports[: limits.CONFIG_PORTS]),
        assumed=version is None,
        **reading.lines(),
    )


def _mailhost(context: _Context) -> Configuration:
    version, reading = context.version, context.reading
    if version:
        reading.find(version.row, "profile pix-4.0")
        if version.number >= (4, 2):
            reading.note("mailhost is the command of PIX 4.0 and 4.1; this release has fixup protocol smtp")
    for (outside, inside), row in context.mailhosts.items():
        reading.find(row, f"MailGuard for mail to {outside} ({inside} inside)")
    for row in context.gone_mailhosts:
        reading.find(row, "takes a mailhost line away")
    if not context.mailhosts:
        reading.note("no mailhost line: MailGuard does nothing")
    elif len(context.mailhosts) or version:
        hosts = ", ".join(outside for outside, _ in [*context.mailhosts][:8])  # of many, the first
        reading.note(f"only mail to {hosts} passes MailGuard: here every connection does")
    return Configuration(
        "mailguard",
        f"{version.words if version else 'PIX 4.0 or 4.1'}, mailhost",
        "pix-4.0",
        {},
        bool(context.mailhosts),
        (25,) if context.mailhosts else (),
        **reading.lines(),
    )


def _ios(context: _Context) -> Configuration:
    for (name, kind), row in context.ios.items():
        context.reading.find(row, f"{kind} inspection of the IOS firewall, set {name}")
    name, kind = next(iter(context.ios))
    return Configuration(
        "mailguard",
        "Cisco IOS firewall, ip inspect",
        active=False,
        beyond="the inspection of the IOS firewall is not emulated. "
        f"To switch it off: no ip inspect name {name} {kind}",
        **context.reading.lines(),
    )


def _modular(context: _Context, profile: str, keys: dict[str, Any]) -> Configuration:
    version, reading, policies = context.version, context.reading, context.policies
    name = version.words if version else "ASA"
    force = policies.in_force()
    if not force and context.counters:
        # The firewall itself says what runs.
        force = [replace(one, where="global", ports=(25,)) for one in context.counters]
        reading.note("from the counters of show service-policy: ports, and lines of a map, are not in them")
    if version and version.product != "FWSM":
        for one in [one for one in policies.defined() if one.kind == "smtp"]:
            reading.miss(one.row, "inspect smtp is a command of FWSM, not of this release")
        force = [one for one in force if one.kind != "smtp"]
    if version is None:
        fwsm = any(one.kind == "smtp" for one in force)
        profile = "fwsm-3" if fwsm else profile
        name = "FWSM 3" if fwsm else name
    used = force[0] if force else None
    ports: list[int] = []
    if used:
        ports = _in_force(force, used, reading)
        keys = keys | keys_of(used, policies, reading)
        if version is None and profile == "asa-9-tls" and keys.get("allow_tls") == "off":
            profile = "asa-8"
        if version is None:
            reading.note(f"no version line: profile {profile} is assumed")
    _not_in_force(context, force, used)
    kind = f"inspect {used.kind}" if used else "no inspection of SMTP"
    named = f" with the map {shown(used.name)}" if used and used.name else ""
    title = f"{name}, {kind}{named}"
    return Configuration(
        "mailguard",
        title,
        profile,
        keys,
        used is not None,
        tuple(ports[: limits.CONFIG_PORTS]),
        assumed=version is None,
        **reading.lines(),
    )


def _in_force(force: Sequence[Inspect], used: Inspect, reading: Reading) -> list[int]:
    """The ports of what acts; the settings hold one map, so others are named."""
    ports: list[int] = []
    for one in force:
        same = (one.kind, one.name) == (used.kind, used.name)
        where = "everywhere" if one.where == "global" else f"on {one.where}"
        bound = one.bound.number if one.bound else 0
        listed = ", ".join(str(port) for port in one.ports[:8]) + (", ..." if len(one.ports) > 8 else "")
        if bound:
            reading.find(
                one.row,
                f"in force {where} (line {bound}), class {one.class_name}, port {listed}"
                + ("" if same else "; not in these settings"),
            )
        if same and len(ports) < limits.CONFIG_PORTS:
            ports += [port for port in one.ports if port not in ports]
        elif not same:
            other = f"map {one.name}" if one.name else "the default map"
            reading.note(
                f"line {one.row.number}: inspect {one.kind} with {other} is in force too ({where}, port {listed}); "
                f"the settings here are those of line {used.row.number}"
            )
    return ports


def _not_in_force(context: _Context, force: Sequence[Inspect], used: Inspect | None) -> None:
    """What is defined and has no effect, and why."""
    reading, policies = context.reading, context.policies
    bound = {name for name, _ in policies.bindings}
    acting = {one.row.number for one in force}
    loose: set[str] = set()
    for one in policies.defined():
        if one.row.number not in acting and one.policy not in bound:
            loose.add(one.policy)
            reading.find(one.row, f"not in force: no service-policy binds {one.policy}")
    for policy in sorted(loose):
        reading.note(
            f"inspect is defined in policy-map {policy}, but no service-policy binds it: it does nothing. "
            f"If a line is missing here, add: service-policy {policy} global"
        )
    if used is None and not loose:
        reading.note("no inspect esmtp in a policy that is bound: SMTP is not inspected")
    for made in policies.maps.values():
        if not made.used and made.name != "_default_esmtp_map":
            reading.find(made.row, "map not in force: no inspect line in force names it")


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
