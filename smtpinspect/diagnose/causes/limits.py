"""Rules whose limit, or list, is the administrator's own: no default of a product is tripped, yet what was cut measures
more than all that came through. Nobody publishes these values, so each is a guess that stands beside its measure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Final, NamedTuple

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.causes.candidates import foreign
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.causes.wire import Look, fit
from smtpinspect.diagnose.measures import Measure, Seen, measured
from smtpinspect.diagnose.model import Case, Cause, Sign
from smtpinspect.diagnose.survey import EVERY
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule
from smtpinspect.inspectors.mailguard.maps import ENCODINGS
from smtpinspect.inspectors.settings import parse

MOST: Final = 6  # such causes of a case
QUOTED: Final = 3  # words of one
NEVER: Final = b"QUIT"  # is in no list
MAPPED: Final = ("asa", "fwsm")  # generations with an ESMTP map
# How odd a measure is: beyond what its standard allows, beyond what mails usually have, neither.
BEYOND, UNUSUAL, USUAL = range(3)
LAST: Final = USUAL + 2  # behind all guesses


class Limit(NamedTuple):
    """A rule that counts. `specs`: the inspectors that have it, the limit left open; `knob` of the product gives the
    range that it allows, "" an ASA's map, which takes any number. `ends`: octets of a line end that it counts, too.
    """

    rule: str
    measure: Measure
    specs: tuple[str, ...]
    knob: str = ""
    ends: int = 0


class Listed(NamedTuple):
    """A rule that compares with a list, or an expression."""

    rule: str
    measure: Measure
    specs: tuple[str, ...]


class Telling(NamedTuple):
    """`what` stands before the number. `least`: what nearly every mail has, no limit is as low; `usual` and `most`:
    what mails usually have, and what the standard allows (our assumption where none is named)."""

    what: str
    least: int
    usual: int
    most: int
    unit: str = "bytes"


def _map(words: str) -> tuple[str, ...]:
    """Of an ASA's ESMTP map (Cisco CLI guide 9.x, p. 13-43)."""
    return tuple(f"mailguard:asa-8,match={words} -> {action}" for action in ("drop-connection log", "reset"))


def _stormshield(knob: str) -> tuple[str, ...]:
    return (f"stormshield:high,{knob}={{}}",)


TABLE: Final[tuple[Limit, ...]] = (
    Limit("stormshield.smtp-217.header", "header-line", _stormshield("header_line_limit"), "header_line_limit"),
    Limit("mailguard.header-line-length", "header-line", _map("header line length gt {}")),
    Limit("stormshield.smtp-217.command", "command-line", _stormshield("command_line_limit"), "command_line_limit"),
    Limit("mailguard.cmd-line-length", "command-line", _map("cmd line length gt {}"), ends=2),
    Limit("mailguard.body-line-length", "body-line", _map("body line length gt {}")),
    Limit("mailguard.rcpt-count", "rcpt", _map("cmd RCPT count gt {}")),
    Limit("mailguard.sender-length", "sender", _map("sender-address length gt {}")),
    Limit("mailguard.to-fields-count", "to-addresses", _map("header to-fields count gt {}")),
    Limit("mailguard.invalid-recipients", "refused", _map("invalid-recipients count gt {}")),
    Limit("mailguard.mime-filename-length", "filename", _map("mime filename length gt {}")),
    Limit("mailguard.header-length", "header-octets", _map("header length gt {}")),
    Limit("mailguard.body-length", "body-octets", _map("body length gt {}")),
    Limit(
        "stormshield.pipelined-limit", "outstanding", _stormshield("outstanding_pipelined_request_limit"),
        "outstanding_pipelined_request_limit",
    ),
)  # fmt: skip
LISTS: Final[tuple[Listed, ...]] = (
    Listed("mailguard.mime-filetype", "type", _map("mime filetype regex {}")),
    Listed("mailguard.mime-encoding", "encoding", _map("mime encoding {}")),
    Listed("mailguard.cmd-verb", "verb", _map("cmd verb {}")),
    Listed("stormshield.command-denied", "verb", ("stormshield:high,deny_op={}",)),
    Listed("mailguard.sender-regex", "sender-address", _map("sender-address regex {}")),
    Listed("mailguard.mail-relay", "domain", ("mailguard:asa-8,mail_relay=a.example",)),
    Listed("mailguard.address-malicious", "address", ("mailguard:asa-8,address_malicious={}",)),
)
TELLING: Final[Mapping[Measure, Telling]] = {
    # RFC 5322 2.1.1: 78 should, 998 must
    "header-line": Telling("longest header line of what was cut", 64, 78, 998),
    "body-line": Telling("longest body line of what was cut", 78, 78, 998),
    # RFC 5321 4.5.3.1.4 with, 4.5.3.1.3, 4.5.3.1.8
    "command-line": Telling("longest command line of what was cut", 64, 78, 510),
    "sender": Telling("the sender's address", 32, 64, 254),
    "rcpt": Telling("recipients up to there", 1, 10, 100, ""),
    "to-addresses": Telling("addresses in To", 1, 2, 100, ""),
    "refused": Telling("recipients that the server refused, with the one that has no reply", 1, 1, 100, ""),
    "filename": Telling("longest name of an attachment", 12, 64, 255),
    "header-octets": Telling("the header up to there", 500, 16_384, 65_536),
    "body-octets": Telling("the body up to there", 500, 1_000_000, 50_000_000),
    "outstanding": Telling("commands that waited for their replies", 2, 3, 100, ""),
}
NAMES: Final[Mapping[Measure, str]] = {
    "type": "type of a part",
    "encoding": "encoding of a part",
    "verb": "verb",
    "sender-address": "sender",
    "address": "address",
    "domain": "recipient's domain",
}
# Of words that a list may hold: what nearly every mail has.
_PLAIN: Final[Mapping[Measure, tuple[bytes, ...]]] = {
    "type": (b"text/", b"multipart/"),
    "encoding": (b"7bit", b"8bit", b"quoted-printable"),
    "verb": (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"QUIT", b"RSET", b"NOOP"),
    "sender-address": (b"",),
    "address": (b"",),
    "domain": (b"",),
}


class Guess(NamedTuple):
    """`place`: how odd its measure is, and one more for a product that another one's signs speak against."""

    cause: Cause
    place: int


def guesses(
    case: Case, scene: Scene, known: Collection[str], accepted: Seen | None = None, *, odd: bool = False
) -> tuple[Guess, ...]:
    """The oddest first. `known`: rules that are told already; `accepted`: what arrived on other connections; `odd`: no
    measure that is usual."""
    products = _products(case)
    if case.script is None or scene.client.hole is not None or not products:
        return ()
    passed, cut = _measured(case, scene)
    if accepted is not None:
        passed.merge(accepted)
    found: list[tuple[int, int, Guess]] = []
    rows = [*(_counted(case, each, passed, cut, scene) for each in TABLE)]
    rows += [_listed(case, each, passed, cut, scene) for each in LISTS]
    for number, made in enumerate(rows):
        if made is None or made.cause.product not in products or made.cause.cause in known:
            continue
        if made.place < USUAL or not odd:
            found.append((made.place, number, made))
    found.sort(key=lambda each: each[:2])
    return tuple(made for _, _, made in found[:MOST])


def _products(case: Case) -> frozenset[str]:
    """Whose limits nobody told: all, or those that were named without a setting; only ASA and FWSM have maps."""
    told = [each for each in case.specs.values() if isinstance(each, str)]
    every = tuple(told) == EVERY
    shown = {each for sign in case.fingerprints if sign.product == "mailguard" for each in sign.profiles}
    maps = not shown or any(each.startswith(MAPPED) for each in shown)
    return frozenset(_name(each, maps) for each in told if every or "," not in each)


@cache
def _name(spec: str, maps: bool) -> str:
    """The product; "" for one without a map, or with one that the path speaks against."""
    name = parse(spec).name
    return name if name != "mailguard" or (maps and registry.load(spec).profile.startswith(MAPPED)) else ""


def _measured(case: Case, scene: Scene) -> tuple[Seen, Seen]:
    """Of a connection that was reset, all that was under way: acknowledgments of what came before may be lost."""
    assert case.script is not None
    half = scene.client
    passed, cut = Seen(), Seen()
    if half.lost:
        passed, cut = measured(case.script, half.through, half.sent if scene.kind in ("rst", "fin") else half.first)
    refused = _refused(case)
    if refused:
        passed.number("refused", refused - 1)
        cut.number("refused", refused)
    return passed, cut


def _refused(case: Case) -> int:
    """Recipients of the mail that the server refused, with one more RCPT that has no reply; 0 without that."""
    rcpts = case.transaction.rcpts if case.transaction is not None else ()
    if not any(each.reply is None for each in rcpts):
        return 0
    return 1 + sum(1 for each in rcpts if each.reply is not None and (each.reply.code or 0) >= 500)


def _counted(case: Case, one: Limit, passed: Seen, cut: Seen, scene: Scene) -> Guess | None:
    telling = TELLING[one.measure]
    low, high = _range(one)
    number, before = (seen.most.get(one.measure, 0) for seen in (cut, passed))
    floor = max(telling.least, low - one.ends)
    limit = max(floor, before) + one.ends
    if number + one.ends <= limit or (high and limit > high):
        return None
    fits = _fits(one.specs, str(limit), one.rule, scene)
    if fits is None:
        return None
    unit = f" {telling.unit}" if telling.unit else ""
    through = f", at least {before + one.ends:,} came through" if before else ""
    allows = ", ".join(_allows(each) for each in TABLE if (each.measure, each.ends) == (one.measure, one.ends))
    text = f"{telling.what}: {number + one.ends:,}{unit}{through}; the limit of your box is unknown ({allows}): "
    text += "it fits if it is lower"
    odd = BEYOND if number > telling.most else UNUSUAL if number > telling.usual else USUAL
    return _guess(case, one.rule, fits, text, odd, scene)


def _listed(case: Case, one: Listed, passed: Seen, cut: Seen, scene: Scene) -> Guess | None:
    before = passed.words.get(one.measure, {})
    words = [word for word in cut.words.get(one.measure, {}) if word not in before and word != NEVER]
    odd = [word for word in words if not word.startswith(_PLAIN[one.measure])]
    shown = [excerpt(word)[:60] for word in (odd or words)]
    fits = _fits(one.specs, _plain(one.measure, shown[0]), one.rule, scene) if shown else None
    if fits is None:
        return None
    more = f" and {len(shown) - QUOTED} more" if len(shown) > QUOTED else ""
    told = f"{', '.join(shown[:QUOTED])}{more}; what your box lists is unknown"
    text = f"{NAMES[one.measure]} in what was cut, and in nothing that came through: {told}"
    return _guess(case, one.rule, fits, text, UNUSUAL if odd else USUAL, scene)


def _plain(measure: Measure, word: str) -> str:
    """The word as a setting can hold it."""
    if measure == "encoding":
        return word if word in ENCODINGS else "others"
    return word if re.fullmatch(r"[\w.@/-]+", word) else "."


def _guess(case: Case, rule: str, fits: tuple[str, Rule, Look], text: str, odd: int, scene: Scene) -> Guess:
    spec, row, look = fits
    product = rule.partition(".")[0]
    signs = [Sign(scene.packet, text)]
    if look.setting:
        signs.append(Sign(None, f"it ends so with {look.setting}"))
    cause = Cause(rule, "rule", "possible", row.title, tuple(signs), inspector=spec, product=product)
    return Guess(cause, odd + foreign(case, product))


def _fits(specs: tuple[str, ...], limit: str, rule: str, scene: Scene) -> tuple[str, Rule, Look] | None:
    """The inspector under which it would have fired, its row, and how that looks; None: it does not end a flow so."""
    found: list[tuple[bool, str, Rule, Look]] = []
    for spec in specs:
        row = _row(spec, rule)
        look = fit(row, scene)
        if look is not None:
            found.append((bool(look.setting), spec.format(limit), row, look))
    return min(found, key=lambda each: each[0])[1:] if found else None


@cache
def _row(spec: str, rule: str) -> Rule:
    value = "base64" if "encoding" in spec else "100"
    return next(row for row in registry.load(spec.format(value)).table() if row.id == rule)


@cache
def _allows(one: Limit) -> str:
    low, high = _range(one)
    return f"{one.rule.partition('.')[0]}: {f'{low:,} to {high:,}' if high else 'any number'}"


@cache
def _range(one: Limit) -> tuple[int, int]:
    """What the product allows; 0 for the second: any number."""
    if not one.knob:
        return 1, 0
    knob = registry.find(parse(one.specs[0].partition(",")[0]).name).knobs[one.knob]
    return max(knob.low, 1), knob.high
