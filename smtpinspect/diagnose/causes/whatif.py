"""What would have let a mail pass: the connection judged once more with rules off, or under other limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from smtpinspect._core.views import Alert, Mail
from smtpinspect.diagnose.causes.hidden import named, unsure
from smtpinspect.diagnose.causes.loaded import rules_of
from smtpinspect.diagnose.causes.masks import command_of
from smtpinspect.diagnose.causes.sender import changes
from smtpinspect.diagnose.effect import alters, ends
from smtpinspect.diagnose.model import CONFIDENCE, Case, Cause, Doubt, Sweep, WhatIf
from smtpinspect.diagnose.trace import source_of
from smtpinspect.engine import PORTS, Engine
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector
from smtpinspect.inspectors.settings import parse
from smtpinspect.simulate.script import Command
from smtpinspect.source import Input

GUESSED: Final = 4  # rules of which one did it, and that are off together
VALUES: Final = 12  # of a sweep
WORDS: Final = tuple(CONFIDENCE)
# Look-alikes by which nothing answers there any more, and how sure they must be, 0 the surest. That this mail had no
# answer tells it of every cut.
GONE: Final[Mapping[str, int]] = {"outage": WORDS.index("possible"), "server-gone": WORDS.index("likely")}


def what_if(case: Case, *, ports: Sequence[int] = PORTS) -> WhatIf:
    """For the rule that ranks best: which rules of its inspector must be off, and what the sender can change."""
    rules = (cause for cause in case.causes if cause.kind == "rule" and "." in cause.cause)  # a log may name a product
    first = next(rules, None)
    if first is None or first.confidence == "unlikely" or (first.alert is None and first.rank > 0):
        return WhatIf()
    unseen = first.degree == "fits" and bool(first.unseen)
    if unseen and not named(case):
        return WhatIf()  # nothing shows that it is this product, nor what it saw
    off = [first.cause, *_answered(case, first), *_offered(case, first)]
    if first.alert is None:
        # which of them it was is not in this capture
        off = [each.cause for each in case.causes if each.rank == first.rank and each.product == first.product]
        off += [rule for rule in _offered(case, first) if rule not in off]
        if len(off) > GUESSED:
            return WhatIf(changes=changes(case, first.cause))
    relax, passes = _relax(case, first, off, ports)
    doubt: Doubt = "unseen" if unseen else _doubt(case, first, relax)
    spec = _spec(case, first)
    off_spec = f"{spec},off={'+'.join(relax)}" if isinstance(spec, str) else ""
    assumes = first.confidence == "possible"
    return WhatIf(relax, passes, () if unseen else changes(case, first.cause), doubt, off_spec, assumes)


def _doubt(case: Case, cause: Cause, relax: Sequence[str]) -> Doubt:
    """Why a mail that is cut no more may not arrive all the same."""
    gone = (each for each in case.causes if each.cause in GONE and not each.bare)
    if any(WORDS.index(each.confidence) <= GONE[each.cause] for each in gone):
        return "unanswered"
    alters = cause.alert is not None and not ends(cause.alert)
    masks = {rule for behind in _BEHIND.values() for rule in behind} | set(_BEHIND)
    return "altered" if alters or masks.intersection(relax) else ""


def _relax(case: Case, cause: Cause, off: list[str], ports: Sequence[int]) -> tuple[tuple[str, ...], bool]:
    """More of them off, one after the other, until nothing of this inspector cuts or refuses the mail: each of these
    cuts by itself."""
    spec = _spec(case, cause)
    if not isinstance(spec, str) or case.trace is None:
        return tuple(off), False
    for _ in range(limits.RELAXED_RULES):
        left = _cutting(case, f"{spec},off={'+'.join(off)}", ports, cause)
        if left is None:
            return tuple(off), False
        if not left:
            return tuple(off), True
        off.append(left[0])
    return tuple(off), False


# What a client does once it is greeted in clear, or its EHLO passes: it uses what the server offers, and other rules
# are in its way. What was offered is not in a capture that shows the refusal.
_BEHIND: Final[Mapping[str, tuple[str, ...]]] = {
    "mailguard.banner-multiline-broken": ("mailguard.banner-masked",),  # it is the mask that overwrites the codes
    "mailguard.ehlo-blocked": ("mailguard.starttls-blocked", "mailguard.command-not-allowed"),
    "mailguard.banner-masked": (
        "mailguard.ehlo-blocked", "mailguard.starttls-blocked", "mailguard.command-not-allowed",
    ),
    "mailguard.ehlo-param-masked": ("mailguard.starttls-blocked",),
    "mailguard.starttls-blocked": ("mailguard.ehlo-param-masked",),
}  # fmt: skip


def _offered(case: Case, cause: Cause) -> list[str]:
    """Those of them that are in force."""
    behind = _BEHIND.get(cause.cause, ())
    if not behind:
        return []
    if cause.cause == "mailguard.starttls-blocked" and not any(
        each.cause in behind and each.rank == cause.rank for each in case.causes
    ):
        return []  # what was masked is in the capture
    force = {row.id for row in rules_of(_spec(case, cause))}
    if "mailguard.ehlo-blocked" not in force and "mailguard.ehlo-blocked" in behind:
        behind = ("mailguard.starttls-blocked",)  # EHLO passes, what it offers else is masked
    return [rule for rule in behind if rule in force]


def _answered(case: Case, cause: Cause) -> list[str]:
    """Rules that the reply would trip which the server never came to give: to a command that it may not know."""
    alert, spec = cause.alert, _spec(case, cause)
    if alert is None or alert.direction != "client" or alert.row.when.kind.name not in ("Command", "EmptyLine"):
        return []
    if alert.row.when.kind.name == "Command" and not unsure(case):
        return []
    return list(dict.fromkeys(row.id for row in rules_of(spec) if row.action.breaks and row.when.kind.name == "Reply"))


def _spec(case: Case, cause: Cause) -> str | Inspector:
    label = cause.alert.inspector if cause.alert is not None else cause.inspector
    return case.specs.get(label, cause.inspector)


def _cutting(case: Case, spec: str, ports: Sequence[int], cause: Cause) -> list[str] | None:
    """Rules of this inspector that still cut the mail, or refuse it; None: it cannot be judged so."""
    assert case.trace is not None
    try:
        engine = Engine([spec], ports=(*ports, _port(case)))
        records = list(engine.run(source_of(case.trace)))
    except (UsageError, CaptureError):
        return None
    tx_id = None if case.mail is None else case.mail.tx_id
    # what accepted mails of this path refute is not in force here
    out = {each.cause for each in case.against if each.kind == "refuted"} - {each.cause for each in case.causes}
    fired = [each for each in records if isinstance(each, Alert) and each.inspector == engine.labels[0]]
    fired = [each for each in fired if each.rule not in out]
    mine = [each for each in fired if each.tx_id is None or tx_id is None or each.tx_id <= tx_id]
    line = command_of(case, cause.alert) if cause.alert is not None and not cause.alert.breaks else None
    return list(dict.fromkeys(each.rule for each in mine if ends(each) or _rewrites(each, line)))


def _rewrites(alert: Alert, line: Command | None) -> bool:
    """Is it one more that rewrites the command which was refused?"""
    if line is None or alert.direction != "client" or not line.at <= alert.offset < line.end:
        return False
    return alters(alert)


def _port(case: Case) -> int:
    return int(case.flow.server.rpartition(":")[2])


def sweep(source: Input, key: str, values: Sequence[int] = (), *, ports: Sequence[int] = PORTS) -> Sweep:
    """Mails that each value of a limit cuts by the rules that depend on it, in one pass over the source.

    `key` is INSPECTOR[:PROFILE].KEY, `stormshield.header_limit`. Raises UsageError for a key that is no number, or
    that is not known, and for standard input, which cannot be read twice.
    """
    if source == "-" or (isinstance(source, (list, tuple)) and "-" in source):
        raise UsageError(f"--sweep {key}: standard input (-) can be read once only; name a file")
    spec, knob = _knob(key)
    tried = values or _values(spec, knob)
    alone = _alone(spec, knob, tried)
    engine = Engine([f"{spec},{knob}={value}{alone}" for value in tried], ports=ports)
    cut = dict.fromkeys(engine.labels, 0)
    mails = 0
    with suppress(CaptureError):  # whoever diagnoses has told
        for record in engine.run(source, records={"mail"}):
            if isinstance(record, Mail):
                mails += 1
                for label in engine.labels:
                    cut[label] += label in record.broken_by or record.verdict.get(label) == "answer"
    rows = ((str(value), cut[label], mails) for value, label in zip(tried, engine.labels, strict=True))
    return Sweep(f"{spec}.{knob}", tuple(rows))


def _alone(spec: str, knob: str, values: Sequence[int]) -> str:
    """What switches off the rules that do not depend on this limit."""
    ends = [registry.load(f"{spec},{knob}={value}") for value in (values[0], values[-1])]
    low, high = ({(row.id, row.when) for row in made.table()} for made in ends)
    depend = {rule for rule, _ in low ^ high}
    others = [rule for rule in ends[0].ids() if rule not in depend]
    return f",off={'+'.join(others)}" if depend else ""


def _knob(key: str) -> tuple[str, str]:
    """The inspector's spec and the knob's name; the last words of a name that no other has are enough."""
    spec, dot, word = key.rpartition(".")
    if not dot:
        raise UsageError(f"--sweep {key}: INSPECTOR.KEY is wanted, like stormshield.header_line_limit")
    name = parse(spec).name
    knobs = registry.find(name).knobs
    numbers = [each for each, knob in knobs.items() if knob.type == "int"]
    word = word.lower().replace("-", "_")
    parts = set(word.split("_"))
    fitting = [word] if word in numbers else [each for each in numbers if parts <= set(each.split("_"))]
    if len(fitting) != 1:
        raise UsageError(f"--sweep {key}: a limit is wanted. Of {name} there are: {' '.join(numbers)}")
    return spec, fitting[0]


# From strict to wide, within the knob's range.
_LENGTHS: Final = (64, 78, 128, 256, 320, 512, 998, 1_000, 2_000, 2_048, 4_096, 8_192)
_COUNTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


def _values(spec: str, name: str) -> tuple[int, ...]:
    knob = registry.find(parse(spec).name).knobs[name]
    low, high = knob.low, knob.high
    usual: Iterable[int] = _COUNTS if "count" in name or "request" in name else _LENGTHS
    if low > _LENGTHS[-1]:
        usual = (low * 2**i for i in range(VALUES))
    return tuple(value for value in usual if low <= value <= high)[:VALUES]
