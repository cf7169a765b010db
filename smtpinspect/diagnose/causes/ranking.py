"""Causes in their order: what is proved or confirmed, what fits, and always a filter that nobody here knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from smtpinspect._core.views import excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes import hidden as absent
from smtpinspect.diagnose.causes.candidates import Candidate, candidates
from smtpinspect.diagnose.causes.remedies import remedies
from smtpinspect.diagnose.causes.scene import Scene, scene_of
from smtpinspect.diagnose.model import CONFIDENCE, Against, Case, Cause, Confidence, Contrast, Fingerprint, Sign
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector

UNKNOWN: Final = "unknown-filter"
WORDS: Final[tuple[Confidence, ...]] = tuple(CONFIDENCE)
PASSED: Final = 8  # rules whose octet came through that a case tells of
HIDDEN: Final = 8  # rules whose octet is in no capture

# Among causes of one confidence: what was proved, rules whose octet fits, look-alikes, what nobody knows, guesses.
PROVED, OCTET, STRONG, LOOKALIKE, NOBODY, GUESS = range(6)


class Contrasts(Protocol):
    """What the accepted mails of a survey tell."""

    def of_case(self, case: Case) -> list[Contrast]: ...

    def refutes(self, case: Case, cause: Cause) -> Against | None: ...


def rank(
    case: Case,
    contrasts: Contrasts | None = None,
    lookalikes: tuple[Sequence[Cause], Sequence[Against]] = ((), ()),
) -> None:
    """Fill in the causes of a case, best first, and what is out. Nothing of a case that did not fail."""
    if not case.failed:
        return
    scene = scene_of(case)
    alike, against = list(lookalikes[0]), list(lookalikes[1])
    placed: list[tuple[int, int, int, Cause]] = []  # confidence, class, place
    rules: list[tuple[int, int, Cause]] = []
    if scene is not None:
        found = candidates(case, scene)
        rules += [(OCTET, each.place, _rule(case, scene, each)) for each in found.fits]
        against += [_passed(alert) for alert in found.passed[:PASSED]]
        known = {cause.cause for _, _, cause in rules} | {alert.rule for alert in found.passed}
        more = [each for each in absent.hidden(case, scene) if each.rule not in known]
        rules += [(STRONG if each.strong else GUESS, 0, _hidden(each)) for each in more[:HIDDEN]]
    sure = any(each.confidence == "certain" for each in alike)
    for sort, place, cause in rules:
        out = contrasts.refutes(case, cause) if contrasts is not None else None
        if out is not None:
            against.append(out)
        elif cause.confidence == "certain" or not sure:
            placed.append((WORDS.index(cause.confidence), sort, place, cause))
        else:
            placed.append((WORDS.index("unlikely"), sort, place, cause._replace(confidence="unlikely")))
    for cause in alike:
        sort = PROVED if cause.degree == "proved" else LOOKALIKE
        placed.append((WORDS.index(cause.confidence), sort, 0, cause))
    nobody = _unknown(case, scene, sure)
    placed.append((WORDS.index(nobody.confidence), NOBODY, 0, nobody))
    placed.sort(key=lambda each: each[:3])
    case.causes = _ranked(placed)
    case.against = against
    if contrasts is not None:
        case.contrast = contrasts.of_case(case)


def _ranked(placed: Sequence[tuple[int, int, int, Cause]]) -> list[Cause]:
    """Rules that the same segment fits share a place."""
    made: list[Cause] = []
    before: tuple[int, int, int] | None = None
    for confidence, sort, place, cause in placed:
        same = before == (confidence, sort, place) and sort in (OCTET, STRONG, GUESS)
        number = 0 if not made else made[-1].rank if same else len(made)
        before = (confidence, sort, place)
        made.append(cause._replace(rank=number))
    return made


def _rule(case: Case, scene: Scene, one: Candidate) -> Cause:
    alert = one.alert
    product = alert.rule.partition(".")[0]
    prints = [each for each in case.fingerprints if _speaks(each, product, alert.profile)]
    evidence = list(one.evidence)
    if one.look.setting:
        evidence.append(Sign(None, f"it ends so with {one.look.setting}"))
    evidence += [Sign(each.signs[0].packet if each.signs else None, each.text) for each in prints]
    confidence: Confidence = "likely" if prints else "possible"
    if one.speaks_against:
        confidence = "unlikely"
        evidence += [Sign(each.packet, f"against it: {each.text}") for each in one.speaks_against]
    return Cause(
        cause=alert.rule,
        kind="rule",
        confidence=confidence,
        title=alert.title,
        evidence=tuple(evidence),
        remedies=remedies(case, alert.rule, _spec(case, alert.inspector)),
        alert=alert,
        inspector=_named(case, alert.inspector),
        product=product,
    )


def _hidden(one: absent.Hidden) -> Cause:
    return Cause(
        one.rule, "rule", "possible", one.title, one.evidence, inspector=one.label,
        product=one.rule.partition(".")[0],
    )  # fmt: skip


def _speaks(sign: Fingerprint, product: str, profile: str) -> bool:
    """Is it a sign of this product, and of this generation?"""
    return sign.product == product and (not sign.profiles or profile in sign.profiles)


def _unknown(case: Case, scene: Scene | None, sure: bool) -> Cause:
    """A filter that no emulation here knows fits whatever was cut."""
    text = "nothing in the capture tells against it"
    if scene is not None and scene.client.lost:
        text = f"octets {scene.client.through:,} to {scene.client.sent:,} of the client's stream did not come through"
    elif scene is not None and scene.server.lost:
        text = f"octets {scene.server.through:,} to {scene.server.sent:,} of the server's stream did not come through"
    elif scene is not None and scene.kind == "reply":
        text = f"a reply refused it: {case.observed.reply}" if case.observed.reply else "a reply refused it"
    sign = Sign(scene.packet if scene is not None else None, text)
    return Cause(UNKNOWN, "unknown-filter", "unlikely" if sure else "possible", "a filter we do not know", (sign,))


def _passed(alert: Any) -> Against:
    text = f"{excerpt(alert.octets)[:60]} came through, and the dialogue went on"
    return Against(alert.rule, "ruled-out", text, (Sign(alert.packet, text),))


def _spec(case: Case, label: str) -> str | Inspector:
    return case.specs.get(label, label)


def _named(case: Case, label: str) -> str:
    spec = _spec(case, label)
    return spec if isinstance(spec, str) else label
