"""The emulated rules that fit a break: by the octet that decides, by what the box then does, by what it left before."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes.masks import Trail, trail
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.causes.wire import Look, fit
from smtpinspect.diagnose.effect import cuts, ends
from smtpinspect.diagnose.model import Case, Sign

# How well the octet fits, best first.
FIRST: Final = 0  # in the first segment that did not come through
FLIGHT: Final = 1  # in a later one that was under way


class Candidate(NamedTuple):
    """A rule that fits. `place`: FIRST, FLIGHT, or one of `altered`; `speaks_against`: what the capture lacks of its
    inspector's traces; `stamped`: it has one that no other product leaves."""

    alert: Alert
    look: Look
    place: int
    evidence: tuple[Sign, ...] = ()
    speaks_against: tuple[Sign, ...] = ()
    stamped: bool = False
    named: str = ""  # a rule that the alert's octets tell as well

    @property
    def rule(self) -> str:
        return self.named or self.alert.rule

    @property
    def label(self) -> str:
        return self.alert.inspector


class Found(NamedTuple):
    """The best of each rule; rules whose octet came through, with it; and those that would fit but are refuted."""

    fits: tuple[Candidate, ...]
    passed: tuple[Alert, ...]
    refuted: tuple[Alert, ...] = ()


def candidates(case: Case, scene: Scene, refuted: Container[tuple[str, str]] = ()) -> Found:
    """Rules whose deciding octet is in the capture, at or behind the last one that came through.

    `refuted`: inspectors' labels and rules that accepted mails speak against; under other settings it may still fit.
    """
    fallen: dict[tuple[str, str], Alert] = {}
    passed: dict[tuple[str, str], Alert] = {}
    for alert in case.alerts:
        if cuts(alert) and _through(alert, scene):
            passed.setdefault((alert.inspector, alert.rule), alert)
    trails: dict[str, Trail] = {}
    best: dict[str, Candidate] = {}
    order = {label: i for i, label in enumerate(sorted(case.specs, key=lambda each: not signed(case, each)))}
    for alert in sorted(case.alerts, key=lambda a: (a.direction, a.offset)):
        if (alert.inspector, alert.rule) in passed:
            continue  # it let the same pass a moment ago
        made = _candidate(alert, scene)
        if made is None:
            continue
        if (alert.inspector, alert.rule) in refuted:
            fallen.setdefault((alert.inspector, alert.rule), alert)
            continue
        if alert.inspector not in trails:
            trails[alert.inspector] = trail(case, alert.inspector, scene)
        left = trails[alert.inspector]
        made = made._replace(
            evidence=(*made.evidence, *left.found.values()),
            speaks_against=tuple(left.missing.values()),
            stamped=left.stamped,
        )
        known = best.get(alert.rule)
        if known is None or _key(made, order) < _key(known, order):
            best[alert.rule] = made
    found = tuple(sorted(best.values(), key=lambda each: _key(each, order)))
    names = {each.rule for each in found}
    out = {alert.rule: alert for alert in passed.values() if alert.rule not in names}
    return Found(found, tuple(out.values()), tuple(fallen.values()))


def signed(case: Case, label: str) -> bool:
    """Is there a sign of this inspector's product and generation on the path?"""
    name, _, profile = label.partition("#")[0].partition(":")
    return any(
        each.product == name and (not each.profiles or profile in each.profiles) for each in case.fingerprints
    )


def foreign(case: Case, product: str) -> bool:
    """Does the path show another product, and nothing of this one?"""
    shown = {each.product for each in case.fingerprints if each.product}
    return bool(shown) and product not in shown


def _key(one: Candidate, order: dict[str, int]) -> tuple[int, int, int, int, int]:
    return (
        len(one.speaks_against) > 0, one.place, bool(one.look.setting), order.get(one.label, 0), one.alert.offset,
    )  # fmt: skip


def _through(alert: Alert, scene: Scene) -> bool:
    """Did the octet that decides come through, and the dialogue go on?"""
    if alert.row.action.strength == Strength.REWRITE:
        return scene.client.sent > 0  # the greeting passes, in another form
    return alert.offset + max(alert.length, 1) <= scene.half(alert.direction).through and scene.kind != "reply"


def _candidate(alert: Alert, scene: Scene) -> Candidate | None:
    """A rule that ends the flow, or refuses the mail in the server's place."""
    if not ends(alert):
        return None
    half = scene.half(alert.direction)
    look = fit(alert.row, scene)
    if look is None or alert.offset >= half.sent:
        return None
    if alert.row.action.strength == Strength.REWRITE:
        text = "the client says nothing behind the greeting"
        return Candidate(alert, look, FIRST, (Sign(alert.packet, text),)) if not scene.client.sent else None
    at = alert.offset
    who = "sender" if alert.direction == "client" else "server"
    what = f"{excerpt(alert.octets)[:60]} at the {who}'s byte {at:,} decides"
    if scene.kind == "reply":
        if look.client != "reply":
            return None
        return Candidate(alert, look, FIRST, (Sign(alert.packet, what),))
    if at + max(alert.length, 1) <= half.through:
        return None
    place = FIRST if at < half.first or half.first == half.through else FLIGHT
    # an acknowledgement may be what was cut, or have ridden on it
    how = f"; nothing from byte {half.through:,} on {'came through' if half.kept else 'was acknowledged'}"
    if half.again:
        how += f", sent {half.again + 1} times"
    return Candidate(alert, look, place, (Sign(alert.packet, what + how),))
