"""What a rule that rewrites would have left on the wire: is it there?

A box masks the server's octets on their way to the client, and the client's on their way to the server. So a capture
from the sender's side shows what became of the server's, one from the receiver's side what became of the client's.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes.scene import Scene
from smtpinspect.diagnose.model import Case, Sign
from smtpinspect.diagnose.paths import generations
from smtpinspect.simulate.script import Command

XS: Final = re.compile(rb"^X{3,}")
MASKED: Final = frozenset({"ehlo-param-masked", "starttls-blocked"})


class Trail(NamedTuple):
    """`found`: rules whose trace is there, with it; `missing`: rules whose trace should be there and is not.
    `stamped`: one that nobody else leaves is among those found."""

    found: dict[str, Sign]
    missing: dict[str, Sign]
    stamped: bool = False


def trail(case: Case, label: str, scene: Scene) -> Trail:
    """Of the rules of one inspector that fired before the break and rewrite or answer."""
    made = Trail({}, {})
    stamped = False
    for alert in case.alerts:
        if alert.inspector != label or alert.breaks or alert.row.kind == "seen":
            continue
        if alert.row.action.strength not in (Strength.REWRITE, Strength.ANSWER):
            continue
        half = scene.half(alert.direction)
        if alert.offset >= half.through and half.lost:
            continue  # it did not come as far
        seen = trace_of(case, alert, scene)
        if seen is not None:
            (made.found if seen[0] else made.missing).setdefault(alert.rule, Sign(alert.packet, seen[1]))
            stamped = stamped or (seen[0] and stamp(alert, scene))
    left = {rule: sign for rule, sign in made.missing.items() if rule not in made.found}
    return Trail(made.found, left, stamped)


def stamp(alert: Alert, scene: Scene) -> bool:
    """Stars and X are left by nobody else; a command that is refused may just not be known."""
    return alert.direction == "server" or scene.side == "receiver"


def trace_of(case: Case, alert: Alert, scene: Scene) -> tuple[bool, str] | None:
    """Is the trace of this rewriting there? None: this capture cannot tell."""
    name = alert.rule.partition(".")[2]
    script = case.script
    if alert.direction == "server":
        if scene.side == "receiver":
            return None
        if name.startswith("banner"):
            return _greeting(script.greeting.octets if script and script.greeting else alert.octets)
        if name in MASKED:
            words = generations.crossed_keywords(script.keywords if script is not None else ())
            line = alert.octets[4:].decode("latin-1").strip()  # a long one is cut
            masked = any(word.startswith(line) for word in words)
            return masked, f"the reply to EHLO has {excerpt(alert.octets).strip()[:40]}"
        return None
    if scene.side == "receiver":
        masked = bool(XS.match(alert.octets)) or alert.octets[:4].upper() == b"NOOP"
        return masked, f"the command arrived as {_word(alert.octets)}"
    return _reply(case, alert)


def _greeting(octets: bytes) -> tuple[bool, str]:
    if generations.styles_of(octets):
        return True, f"the greeting is masked with {'stars' if b'*' in octets else 'underscores'}"
    return False, "the greeting came through unmasked"


def _reply(case: Case, alert: Alert) -> tuple[bool, str] | None:
    """A command that was rewritten is refused, or answered by the box, by a lone 250."""
    command = command_of(case, alert)
    if command is None or command.reply is None:
        return None
    code, text = command.reply.code, command.reply.text
    said = text.split("\n")[0][:60]
    if alert.row.action.strength == Strength.ANSWER or alert.row.action.how == "noop":
        return (code is None or code == 250) and "\n" not in text.strip(), f"{_word(command.line)} was answered: {said}"
    if alert.row.action.how == "space":
        return (code or 0) >= 400, f"{_word(command.line)} was answered: {said}"
    return (code or 500) >= 500, f"{_word(command.line)} was answered: {said}"


def command_of(case: Case, alert: Alert) -> Command | None:
    """The command in which the alert's octets lie."""
    if case.script is None or alert.direction != "client":
        return None
    return next((each for each in case.script.commands if each.at <= alert.offset < each.end), None)


def _word(octets: bytes) -> str:
    words = octets.split(None, 1)
    return words[0].decode("latin-1")[:40] if words else "an empty line"
