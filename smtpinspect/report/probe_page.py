"""What a probe will send, and what it found, on a page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Final

from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.probe.judge import Judged
from smtpinspect.diagnose.probe.steps import COMMANDS, Asked, Heard, Talked, plan
from smtpinspect.diagnose.probe.talk import Answer
from smtpinspect.report.terminal import Style, count, cut, padded, program, safe, wrapped

SHOWN: Final = 160  # characters of a reply's line
BLIND: Final = (
    "This test sees what a box does to greetings, commands and replies. It sends no mail, so it cannot see a filter "
    "of headers, texts or attachments (Stormshield alarms, SonicWall gateway anti-virus, limits of an ASA map)."
)
_STILL: Final = "A filter of headers, texts or attachments may be there all the same: this test cannot see one."
_ENDED: Final = {
    "silence": "nothing more came",
    "closed": "the connection was closed",
    "reset": "the connection was reset",
    "too long": "the reply has no end; the rest was not read",
}
_HEAD: Final = {
    "yes": "A MailGuard is on the way",
    "no": "No MailGuard is on the way, as far as this test sees",
    "unclear": "Something is not as usual, and it is not how a MailGuard of any known generation behaves",
}
_UNTESTED: Final = "Unclear: the command that does not exist, which is the test, got no answer"


def announcement(asked: Asked, helo: str, width: int | None) -> Iterator[str]:
    """What will be sent, before it is."""
    steps = plan(helo)
    commands = sum(step.replies for step in steps)
    where = asked.host if asked.host == asked.address else f"{asked.host} [{asked.address}]"
    where = f"{where} port {asked.port}"
    source = f" from {asked.source}" if asked.source else ""
    yield from wrapped(BLIND, width)
    yield from wrapped(
        f"To {safe(where)}{source}: {count(commands, 'command')} on one connection; where that is ended, the rest on a "
        f"second one, {COMMANDS} at most; no mail, no address. Each reply is waited for, {asked.wait:.0f} s at most:",
        width,
    )
    for step in steps:
        said = " | ".join(piece.decode("latin-1").rstrip("\r\n").replace("\r\n", " + ") for piece in step.pieces)
        yield from wrapped(f"  {padded(safe(said), 30)}  {step.why}", width)


def page(talked: Talked, judged: Judged, width: int | None, style: Style) -> Iterator[str]:
    """The dialogue, what it shows, and what to do next."""
    yield style("HEARD", "bold")
    yield from _heard("(greeting)", talked.greeting, width)
    for each in talked.heard:
        yield from _step(each, width)
    yield ""
    colour = {"yes": "yellow", "no": "green"}.get(judged.mailguard, "")
    yield from (style(line, colour) for line in wrapped(headline(judged), width))
    for show in judged.shows:
        mark = "  as usual  " if show.clear else "  a sign    "
        lines = [*wrapped(safe(show.text), None if width is None else width - len(mark))]
        yield from (f"{mark if not number else ' ' * len(mark)}{line}" for number, line in enumerate(lines))
    if judged.off:
        yield from wrapped(f"  Not as in any profile of ours: {', '.join(judged.off)} (a setting of its own)", width)
    if judged.mailguard != "yes":
        yield from wrapped(_STILL, width)
    yield f"Next: {_next(talked, judged)}"


def headline(judged: Judged) -> str:
    """The answer in a line."""
    if judged.mailguard == "unclear" and all(each.clear for each in judged.shows):
        return _UNTESTED
    if judged.mailguard != "yes":
        return _HEAD[judged.mailguard]
    exact, rest = judged.profiles[: judged.exact], judged.profiles[judged.exact :]
    text = f"{_HEAD['yes']}: {generations.told(exact or rest)}"
    if len(exact or rest) > 1:
        text += " (this test cannot tell them apart)"
    if exact and rest:
        text += f"; {generations.told(rest)} too, where it denies commands in this way"
    return text


def record(talked: Talked, judged: Judged) -> dict[str, Any]:
    """The same as an object; `profiles` are the group, `exact` those of it that fit without another setting."""
    return {
        "host": talked.asked.host,
        "address": talked.asked.address,
        "port": talked.asked.port,
        "greeting": _answer(talked.greeting),
        "steps": [
            {
                "step": each.step.name,
                "sent": [piece.decode("latin-1") for piece in each.step.pieces],
                "answers": [_answer(answer) for answer in each.answers],
            }
            for each in talked.heard
        ],
        "connections": talked.connections,
        "mailguard": judged.mailguard,
        "profiles": list(judged.profiles),
        "exact": list(judged.profiles[: judged.exact]),
        "shows": [{"knob": each.knob, "text": each.text, "sign": not each.clear} for each in judged.shows],
        "cannot_see": BLIND,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {"code": answer.code, "text": answer.text, "ended": answer.ended, "seconds": round(answer.seconds, 3)}


def _step(each: Heard, width: int | None) -> Iterator[str]:
    said = " | ".join(piece.decode("latin-1").rstrip("\r\n").replace("\r\n", " + ") for piece in each.step.pieces)
    for number, answer in enumerate(each.answers):
        yield from _heard(safe(said) if not number else "", answer, width)


def _heard(said: str, answer: Answer, width: int | None) -> Iterator[str]:
    lines = [cut(safe(line), SHOWN) for line in answer.text.split("\n")[:24] if line]
    if answer.ended:
        lines.append(f"({_ENDED[answer.ended]}, after {answer.seconds:.1f} s)")
    for number, line in enumerate(lines):
        row = f"  {padded(said if not number else '', 26)}  {line}"
        yield row if width is None else cut(row, width)


def _next(talked: Talked, judged: Judged) -> str:
    if judged.mailguard == "yes":
        shown = {each.knob for each in judged.shows if not each.clear}
        rule = "banner-masked" if "banner" in shown else "command-not-allowed"
        return f"{program()} rules mailguard.{rule}   (what it does to mail, and how to switch it off)"
    where = shlex.quote(f"host {talked.asked.address} and port {talked.asked.port}")
    return f"tcpdump -i any -U -s0 -w mail.pcap {where}   (while a mail fails; then {program()} diagnose mail.pcap)"
