"""Causes in their order: what is proved or confirmed, what fits, and always a filter that nobody here knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.causes import hidden as absent
from smtpinspect.diagnose.causes import limits
from smtpinspect.diagnose.causes.altered import altered
from smtpinspect.diagnose.causes.candidates import Candidate, candidates, foreign
from smtpinspect.diagnose.causes.remedies import logged, remedies
from smtpinspect.diagnose.causes.scene import Scene, scene_of
from smtpinspect.diagnose.contrast import Contrasts
from smtpinspect.diagnose.model import CONFIDENCE, Against, Case, Cause, Confidence, Fingerprint, Sign
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector

UNKNOWN: Final = "unknown-filter"
GATEWAY: Final = "gateway-virus"  # the look-alike for what these rules do not know
WORDS: Final[tuple[Confidence, ...]] = tuple(CONFIDENCE)
PASSED: Final = 8  # rules whose octet came through that a case tells of
HIDDEN: Final = 16  # rules whose octet is in no capture

# Among causes of one confidence: what was proved, rules whose octet fits, or is likely, rules of the product that the
# user named, look-alikes, what nobody knows, rules whose octet nobody has seen, and what the silence alone tells of:
# that it came just then is chance.
PROVED, OCTET, NAMED, LOOKALIKE, NOBODY, GUESS, BARE = range(7)


def rank(
    case: Case,
    contrasts: Contrasts | None = None,
    lookalikes: tuple[Sequence[Cause], Sequence[Against]] = ((), ()),
) -> None:
    """Fill in the causes of a case, best first, and what is out. Nothing of a case that did not fail.

    `lookalikes`: what others found, causes and what is ruled out; among the causes also what the firewall's log
    confirms.
    """
    scene = scene_of(case)
    changed = altered(case, scene) if scene is not None else ()
    if not case.failed and not (case.observed.outcome == "aborted" and scene and _gave_up(case, scene, changed)):
        return
    if scene is not None and not changed and _nothing(case, scene):
        return
    alike, against = list(lookalikes[0]), list(lookalikes[1])
    placed: list[tuple[int, int, int, Cause]] = []  # confidence, class, place
    rules: list[tuple[int, int, Cause]] = []
    if scene is not None:
        fallen = contrasts.refuted(case) if contrasts is not None else {}
        found = candidates(case, scene, fallen)
        against += [fallen[alert.inspector, alert.rule] for alert in found.refuted]
        fits = (*found.fits, *(each for each in changed if each.rule not in {one.rule for one in found.fits}))
        rules += [(OCTET, each.place, _rule(case, each)) for each in fits]
        against += [_passed(alert) for alert in found.passed[:PASSED]]
        fitting = any(not each.speaks_against for each in fits)
        known = {cause.cause for _, _, cause in rules}
        out = {(alert.inspector, alert.rule) for alert in found.passed}
        more = [each for each in absent.hidden(case, scene, out) if each.rule not in known]
        more = [each for each in more if each.strong or not fitting][:HIDDEN]
        guess = NAMED if absent.named(case) else GUESS
        rules += [(*_class(case, scene, each, guess), _hidden(each)) for each in more]
    confirmed = [each for each in alike if each.degree == "confirmed"]
    # a log that says only that the inspection ended it does not tell by which rule
    products = {each.cause for each in confirmed if each.kind == "rule" and "." not in each.cause}
    sure = any(each.confidence == "certain" and each.cause not in products for each in alike)
    alike = [each for each in alike if each.degree != "confirmed"]
    if scene is not None and not sure and not confirmed:
        known = {cause.cause for _, _, cause in rules}
        accepted = contrasts.accepted(case) if contrasts is not None else None
        likely = [cause for _, _, cause in rules if cause.alert is not None and cause.confidence != "unlikely"]
        odd = any("," not in cause.inspector for cause in likely)
        rules += [(GUESS, each.place, each.cause) for each in limits.guesses(case, scene, known, accepted, odd=odd)]
    if any(cause.product == "sonicwall" for _, _, cause in rules) or any(
        each.cause.startswith("sonicwall") for each in confirmed
    ):
        alike = [each for each in alike if each.cause != GATEWAY]  # its rules say so, and which
    for sort, place, each in rules:
        namely = each.confidence == "possible" and each.cause.partition(".")[0] in products
        cause = each._replace(confidence="likely") if namely else each
        refuted = contrasts.refutes(case, cause) if contrasts is not None else None
        if refuted is not None:
            against.append(refuted)
        elif cause.confidence == "certain" or not sure:
            placed.append((WORDS.index(cause.confidence), sort, place, cause))
        else:
            placed.append((WORDS.index("unlikely"), sort, place, cause._replace(confidence="unlikely")))
    placed = [each for each in placed if not any(_same(each[3], cause) for cause in confirmed)]
    placed += [(0, PROVED, 0, _confirmed(case, cause, rules)) for cause in confirmed]
    told = any(each.confidence == "certain" for each in confirmed)
    for cause in alike:
        if (told and cause.degree == "fits") or (sure and cause.bare):
            cause = cause._replace(confidence="unlikely")
        sort = PROVED if cause.degree == "proved" else BARE if cause.bare else LOOKALIKE
        placed.append((WORDS.index(cause.confidence), sort, 0, cause))
    nobody = _unknown(case, scene, sure)
    placed.insert(0, (WORDS.index(nobody.confidence), NOBODY, 0, nobody))  # of those that share its place the first
    placed.sort(key=lambda each: each[:3])
    case.causes = _ranked(placed)
    left = {cause.cause for cause in case.causes}
    case.against = [each for each in against if each.cause not in left]
    if contrasts is not None:
        case.contrast = contrasts.of_case(case)


def _ranked(placed: Sequence[tuple[int, int, int, Cause]]) -> list[Cause]:
    """Rules that the same segment fits share a place."""
    made: list[Cause] = []
    before: tuple[int, int, int] | None = None
    for confidence, sort, place, cause in placed:
        same = before == (confidence, sort, place) and sort in (OCTET, NAMED, NOBODY, GUESS, BARE)
        number = 0 if not made else made[-1].rank if same else len(made)
        before = (confidence, sort, place)
        made.append(cause._replace(rank=number))
    return made


def _class(case: Case, scene: Scene, one: absent.Hidden, guess: int) -> tuple[int, int]:
    """Class and place. Of a reply that never came, what the defaults of a product would cut is as likely as what nobody
    knows, unless the path shows another product; under any setting where the client's octets all came through, and
    behind an RST, which comes whose octets ever were the reason."""
    if one.strong:
        return OCTET, not one.default
    if one.deep or foreign(case, one.rule.partition(".")[0]):
        return guess, limits.LAST
    if one.reply and guess == GUESS and (one.default or scene.kind == "rst" or not scene.client.lost):
        return NOBODY, 0
    return guess, limits.UNUSUAL if one.default else limits.USUAL


def _same(one: Cause, other: Cause) -> bool:
    """The same rule, or one of the family that the other names."""
    return one.cause == other.cause or ("." in other.cause and one.cause.startswith(other.cause + "."))


def _confirmed(case: Case, cause: Cause, rules: Sequence[tuple[int, int, Cause]]) -> Cause:
    """What the firewall's own log says, with what fits it here."""
    mine = next((each for _, _, each in rules if _same(each, cause)), None)
    if mine is not None:
        cause = mine._replace(
            confidence=cause.confidence, degree=cause.degree, evidence=(*cause.evidence, *mine.evidence)
        )
    elif cause.remedies or cause.kind != "rule":
        return cause
    spec = logged(case, cause)
    return cause._replace(remedies=remedies(case, cause.cause, spec)) if spec else cause


def _gave_up(case: Case, scene: Scene, changed: Sequence[Candidate]) -> bool:
    """Did the client take its leave for what a box did to the dialogue?"""
    hangs = not scene.client.sent and any(alert.breaks for alert in case.alerts)
    return hangs or any(not each.speaks_against for each in changed) or absent.endless(case, scene)


def _nothing(case: Case, scene: Scene) -> bool:
    """No mail was tried, all was answered, and the client took its leave: a probe, or a monitor."""
    if case.mail is not None or case.script is None or scene.client.lost or scene.server.again:
        return False
    said = case.script.commands
    return bool(said) and said[-1].verb == "QUIT" and all(each.reply is not None for each in said)


def _rule(case: Case, one: Candidate) -> Cause:
    alert = one.alert
    product = one.rule.partition(".")[0]
    prints = [each for each in case.fingerprints if _speaks(each, product, alert.profile)]
    evidence = list(one.evidence)
    if one.look.setting:
        evidence.append(Sign(None, f"it ends so with {one.look.setting}"))
    evidence += [Sign(each.signs[0].packet if each.signs else None, each.text) for each in prints]
    confidence: Confidence = "likely" if prints or one.stamped else "possible"
    if one.speaks_against:
        # where the product shows otherwise, a setting is another one than we judged with
        confidence = "likely" if prints or one.stamped else "unlikely"
        evidence += [Sign(each.packet, f"against it: {each.text}") for each in one.speaks_against]
    return Cause(
        cause=one.rule,
        kind="rule",
        confidence=confidence,
        title=_title(one),
        evidence=tuple(evidence),
        remedies=remedies(case, one.rule, _spec(case, alert.inspector)),
        alert=alert,
        inspector=_named(case, alert.inspector),
        product=product,
    )


def _title(one: Candidate) -> str:
    if not one.named:
        return one.alert.title
    return registry.find(one.named.partition(".")[0]).pages[one.named].title


def _hidden(one: absent.Hidden) -> Cause:
    return Cause(
        one.rule, "rule", "possible", one.title, one.evidence, inspector=one.label,
        product=one.rule.partition(".")[0], unseen=one.about,
    )  # fmt: skip


def _speaks(sign: Fingerprint, product: str, profile: str) -> bool:
    """Is it a sign of this product, and of this generation?"""
    return sign.product == product and (not sign.profiles or profile in sign.profiles)


def _unknown(case: Case, scene: Scene | None, sure: bool) -> Cause:
    """A filter that no emulation here knows fits whatever was cut."""
    text = "nothing in the capture tells against it"
    if scene is not None and scene.client.lost:
        # an RST that acknowledges them may be forged
        how = "were under way when it was reset" if scene.kind == "rst" else _gone(case, "client")
        text = f"the sender's bytes {scene.client.through:,}-{scene.client.sent - 1:,} {how}"
    elif scene is not None and scene.server.lost and scene.side == "receiver" and case.observed.outcome != "accepted":
        text = f"no bytes of the client, and no acknowledgement of the server's from {scene.server.through:,} on, "
        text += "came any more: either direction may be cut"
    elif scene is not None and scene.server.lost:
        how = _gone(case, "server")
        text = f"the server's bytes {scene.server.through:,}-{scene.server.sent - 1:,} {how}"
    elif scene is not None and scene.kind == "reply":
        text = f"a reply refused it: {case.observed.reply}" if case.observed.reply else "a reply refused it"
    sign = Sign(scene.packet if scene is not None else None, text)
    here = case.observed.broken.signs if any(one.here for one in case.differences) else ()
    signs = (sign, *here)
    return Cause(UNKNOWN, "unknown-filter", "unlikely" if sure else "possible", "a filter we do not know", signs)


def _gone(case: Case, direction: str) -> str:
    """Another point of the path shows what did not arrive; else their acknowledgement may be what was cut."""
    known = any(one.kind in ("dropped", "withheld") and one.direction == direction for one in case.differences)
    return "did not come through" if known else "were not acknowledged"


def _passed(alert: Any) -> Against:
    text = f"{excerpt(alert.octets)[:60]} came through, and the dialogue went on"
    return Against(alert.rule, "ruled-out", text, (Sign(alert.packet, text),))


def _spec(case: Case, label: str) -> str | Inspector:
    return case.specs.get(label, label)


def _named(case: Case, label: str) -> str:
    spec = _spec(case, label)
    return spec if isinstance(spec, str) else label
