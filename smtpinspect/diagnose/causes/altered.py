"""Rules that only rewrite or answer, where that ended the mail: a command that was then refused, an EHLO that never
arrived, keywords that a client cannot do without."""

from __future__ import annotations

from typing import Final

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes.candidates import Candidate
from smtpinspect.diagnose.causes.masks import Trail, command_of, trace_of, trail
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.causes.wire import Look
from smtpinspect.diagnose.model import Case, Sign

# What of it ended the mail, the nearest first.
REFUSED: Final = 2  # this command itself was refused
GREETED: Final = 3  # the client's EHLO, or that it sent none
OFFERED: Final = 4  # what the server offers
BESIDE: Final = 5
LOOK: Final = Look("pass", "pass")
HELLOS: Final = ("EHLO", "HELO", "LHLO")


def altered(case: Case, scene: Scene) -> tuple[Candidate, ...]:
    """Of a dialogue that came through whole: rules whose trace is there, the nearest of each."""
    if case.script is None or not _whole(scene):
        return ()
    best: dict[str, Candidate] = {}
    trails: dict[str, Trail] = {}
    for alert in case.alerts:
        made = _candidate(case, scene, alert)
        if made is None:
            continue
        if alert.inspector not in trails:
            trails[alert.inspector] = trail(case, alert.inspector, scene)
        left = trails[alert.inspector]
        made = made._replace(stamped=left.stamped, speaks_against=tuple(left.missing.values()))
        if alert.rule not in best or _better(made, best[alert.rule]):
            best[alert.rule] = made
    for rule, twin in _TWINS.items():
        if rule in best and twin not in best and (alias := _twin(case, best[rule], twin)) is not None:
            best[twin] = alias
    return tuple(sorted(best.values(), key=lambda each: each.place))


def _better(one: Candidate, other: Candidate) -> bool:
    return (bool(one.speaks_against), one.place) < (bool(other.speaks_against), other.place)


def _whole(scene: Scene) -> bool:
    return not (scene.client.lost and scene.client.again) and scene.client.hole is None and scene.kind != "rst"


def _candidate(case: Case, scene: Scene, alert: Alert) -> Candidate | None:
    row = alert.row
    if alert.breaks or row.kind == "seen" or row.action.strength not in (Strength.REWRITE, Strength.ANSWER):
        return None
    if "client" in row.action.params:
        return None  # it ends the connection
    seen = trace_of(case, alert, scene)
    if seen is None or not seen[0]:
        return None
    place = _place(case, alert)
    evidence = (Sign(alert.packet, f"{excerpt(alert.octets).rstrip()[:60]}: {seen[1]}"),)
    return Candidate(alert, LOOK, place, evidence)


def _place(case: Case, alert: Alert) -> int:
    name = alert.rule.partition(".")[2]
    command = command_of(case, alert)
    assert case.script is not None
    if name == "banner-masked":
        hello = next((each.verb for each in case.script.commands if each.verb in HELLOS), "")
        return GREETED if hello == "HELO" else BESIDE
    if alert.direction == "server":
        return OFFERED
    if command is not None and command.verb in HELLOS:
        return GREETED
    refused = command is not None and command.reply is not None and (command.reply.code or 500) >= 400
    return REFUSED if refused else BESIDE


# What a masked octet was cannot be told on the far side: the rule by which it fires there, and what it may have been.
_TWINS: Final = {
    "mailguard.ehlo-param-masked": "mailguard.starttls-blocked",
    "mailguard.command-not-allowed": "mailguard.ehlo-blocked",
}


def _twin(case: Case, one: Candidate, rule: str) -> Candidate | None:
    if b"XXX" not in one.alert.octets.upper():
        return None
    if rule.endswith("ehlo-blocked"):
        assert case.script is not None
        first = case.script.commands[0] if case.script.commands else None
        if first is None or not first.at <= one.alert.offset < first.end:
            return None
        return one._replace(named=rule, place=GREETED)
    return one._replace(named=rule)
