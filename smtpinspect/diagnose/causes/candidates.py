"""The emulated rules that fit a break: by the octet that decides, by what the box then does, by what it left before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes.masks import Trail, trail
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.causes.wire import Look, fit
from smtpinspect.diagnose.model import Case, Sign

# How well the octet fits, best first.
FIRST: Final = 0  # in the first segment that did not come through
FLIGHT: Final = 1  # in a later one that was under way
REFUSED: Final = 2  # in what a reply refused


class Candidate(NamedTuple):
    """A rule that fits. `place`: FIRST, FLIGHT or REFUSED; `speaks_against`: what the capture lacks of its traces."""

    alert: Alert
    look: Look
    place: int
    evidence: tuple[Sign, ...] = ()
    speaks_against: tuple[Sign, ...] = ()

    @property
    def rule(self) -> str:
        return self.alert.rule

    @property
    def label(self) -> str:
        return self.alert.inspector


class Found(NamedTuple):
    """The best of each rule; and rules whose octet came through, with it."""

    fits: tuple[Candidate, ...]
    passed: tuple[Alert, ...]


def candidates(case: Case, scene: Scene) -> Found:
    """Rules whose deciding octet is in the capture, at or behind the last one that came through."""
    passed: dict[tuple[str, str], Alert] = {}
    for alert in case.alerts:
        if _ends(alert) and _through(alert, scene):
            passed.setdefault((alert.inspector, alert.rule), alert)
    trails: dict[str, Trail] = {}
    best: dict[str, Candidate] = {}
    order = {label: i for i, label in enumerate(case.specs)}
    for alert in _first_of_each(case.alerts, scene):
        if (alert.inspector, alert.rule) in passed:
            continue  # it let the same pass a moment ago
        made = _candidate(case, alert, scene)
        if made is None:
            continue
        if alert.inspector not in trails:
            trails[alert.inspector] = trail(case, alert.inspector, scene)
        left = trails[alert.inspector]
        made = made._replace(
            evidence=(*made.evidence, *left.found.values()), speaks_against=tuple(left.missing.values())
        )
        known = best.get(alert.rule)
        if known is None or _key(made, order) < _key(known, order):
            best[alert.rule] = made
    found = tuple(sorted(best.values(), key=lambda each: _key(each, order)))
    names = {each.rule for each in found}
    out = {alert.rule: alert for alert in passed.values() if alert.rule not in names}
    return Found(found, tuple(out.values()))


def _key(one: Candidate, order: dict[str, int]) -> tuple[int, int, int, int, int]:
    return (
        len(one.speaks_against) > 0, one.place, bool(one.look.setting), one.alert.offset, order.get(one.label, 0),
    )  # fmt: skip


def _ends(alert: Alert) -> bool:
    return alert.row.kind != "seen" and (alert.breaks or alert.row.action.strength >= Strength.DROP)


def _through(alert: Alert, scene: Scene) -> bool:
    """Did the octet that decides come through, and the dialogue go on?"""
    return alert.offset + alert.length <= scene.half(alert.direction).through and scene.kind != "reply"


def _first_of_each(alerts: Sequence[Alert], scene: Scene) -> Iterator[Alert]:
    """Of each inspector what would have fired behind what came through, the first octet first."""
    yield from sorted(alerts, key=lambda a: (a.direction, a.offset))


def _candidate(case: Case, alert: Alert, scene: Scene) -> Candidate | None:
    if alert.row.kind == "seen":
        return None
    if _ends(alert) or "client" in alert.row.action.params or "server" in alert.row.action.params:
        return _cut(alert, scene)
    if alert.row.action.strength in (Strength.REWRITE, Strength.ANSWER):
        return _refused(case, alert, scene)
    return None


def _cut(alert: Alert, scene: Scene) -> Candidate | None:
    """A rule that ends the flow, or refuses the mail in the server's place."""
    half = scene.half(alert.direction)
    look = fit(alert.row, scene, alert.direction)
    if look is None or alert.offset >= half.sent:
        return None
    at = alert.offset
    what = f"{excerpt(alert.octets)[:60]} at octet {at:,} of the {alert.direction}'s stream decides"
    if scene.kind == "reply":
        if look.client != "reply":
            return None
        return Candidate(alert, look, FIRST, (Sign(alert.packet, what),))
    if at < half.through and at + alert.length <= half.through:
        return None
    place = FIRST if at < half.first or half.first == half.through else FLIGHT
    how = f"; nothing from octet {half.through:,} on came through"
    if half.again:
        how += f", sent {half.again + 1} times"
    return Candidate(alert, look, place, (Sign(alert.packet, what + how),))


def _refused(case: Case, alert: Alert, scene: Scene) -> Candidate | None:
    """A command that a box rewrites or answers, and that was then refused."""
    if case.script is None or alert.direction != "client" or scene.kind not in ("reply", "none"):
        return None
    command = next((each for each in case.script.commands if each.at <= alert.offset < each.end), None)
    if command is None or command.reply is None or (command.reply.code or 500) < 400:
        return None
    if command.verb in ("EHLO", "HELO") and case.mail is not None:
        return None  # HELO came behind it
    said = command.reply.text.split("\n")[0][:60]
    return Candidate(
        alert,
        Look("pass", "pass"),
        REFUSED,
        (Sign(alert.packet, f"{excerpt(alert.octets)[:60]} would be rewritten; the reply was {said}"),),
    )
