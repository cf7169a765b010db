"""Rules that only rewrite or answer, where that ended the mail: a command that was then refused, an EHLO that never
arrived, keywords that a client cannot do without."""

from __future__ import annotations

from typing import Final

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.diagnose.causes.candidates import Candidate
from smtpinspect.diagnose.causes.masks import Trail, command_of, trace_of, trail
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.causes.wire import Look
from smtpinspect.diagnose.effect import alters
from smtpinspect.diagnose.model import Case, Sign
from smtpinspect.simulate.script import Command

# What of it ended the mail, the nearest first.
REFUSED: Final = 2  # this command itself was refused
GREETED: Final = 3  # the client's EHLO, or that it sent none
OFFERED: Final = 4  # what the server offers
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
        if made.rule not in best or _better(made, best[made.rule]):
            best[made.rule] = made
    for rule, twin in _TWINS.items():
        if rule in best and twin not in best and (alias := _twin(case, best[rule], twin)) is not None:
            best[twin] = alias
    return tuple(sorted(best.values(), key=lambda each: each.place))


def _better(one: Candidate, other: Candidate) -> bool:
    return (bool(one.speaks_against), one.place) < (bool(other.speaks_against), other.place)


def _whole(scene: Scene) -> bool:
    return not (scene.client.lost and scene.client.again) and scene.client.hole is None and scene.kind != "rst"


def _candidate(case: Case, scene: Scene, alert: Alert) -> Candidate | None:
    if not alters(alert):
        return None
    seen = trace_of(case, alert, scene)
    if seen is None or not seen[0]:
        return None
    place = _place(case, alert)
    if place is None:
        return None
    evidence = (Sign(alert.packet, f"{excerpt(alert.octets).rstrip()[:60]}: {seen[1]}"),)
    before = _before(case, alert)
    named = _TWINS.get(alert.rule, "") if place == OFFERED and b"STARTTLS" in before.upper() else ""
    return Candidate(alert, LOOK, place, evidence, named=named)


def _before(case: Case, alert: Alert) -> bytes:
    """What another point of the path shows in the place of these octets; b"" where there is none."""
    for each in case.differences:
        if each.kind == "rewritten" and each.direction == alert.direction:
            at = alert.offset - each.at
            if -alert.length < at < each.length:
                line = each.before[max(at, 0) :].split(b"\r\n")[0]
                return line if at >= 0 else each.before[: alert.length + at]
    return b""


def _place(case: Case, alert: Alert) -> int | None:
    """None: the mail ended of something else."""
    assert case.script is not None
    commands = case.script.commands
    # EHLO is refused often, and HELO comes behind it
    refused = [each for each in commands if each.verb != "EHLO" and each.reply and (each.reply.code or 500) >= 400]
    tried = any(each.verb == "MAIL" for each in commands)
    command = command_of(case, alert)
    name = alert.rule.partition(".")[2]
    if name == "banner-masked" or (command is not None and command.verb in HELLOS):
        first = next((each.verb for each in commands if each.verb in HELLOS), "")
        if name == "banner-masked" and first != "HELO":
            return None  # the client said EHLO all the same
        return GREETED if not tried or (refused and _unheard(refused[0])) else None
    if alert.direction == "server":
        return None if tried else OFFERED
    if command is None or command not in refused:
        return None
    again = next((each.at for each in commands if each.verb == "MAIL" and each.at > command.at), None)
    behind = {
        each.reply.code
        for each in refused[refused.index(command) + 1 :]
        if each.reply and (again is None or each.at < again)
    }
    return REFUSED if behind <= _FOLLOWS else None


# Replies to what comes behind a command that was not understood (RFC 5321 4.2.4; 554: no valid recipients).
_FOLLOWS: Final = frozenset({None, 500, 502, 503, 554})


def _unheard(command: Command) -> bool:
    """Is it refused since the server has heard no EHLO or HELO?"""
    assert command.reply is not None
    return command.verb in HELLOS or (command.verb == "MAIL" and command.reply.code == 503)


# What a masked octet was cannot be told on the far side: the rule by which it fires there, and what it may have been.
_TWINS: Final = {
    "mailguard.ehlo-param-masked": "mailguard.starttls-blocked",
    "mailguard.command-not-allowed": "mailguard.ehlo-blocked",
}


def _twin(case: Case, one: Candidate, rule: str) -> Candidate | None:
    if b"XXX" not in one.alert.octets.upper() or _before(case, one.alert):
        return None
    if rule.endswith("ehlo-blocked"):
        assert case.script is not None
        first = case.script.commands[0] if case.script.commands else None
        if first is None or not first.at <= one.alert.offset < first.end:
            return None
        return one._replace(named=rule)
    return one._replace(named=rule)
