"""`smtpinspect simulate CAPTURE` for people: what the capture shows, what would happen behind the firewall."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from smtpinspect.mta import registry
from smtpinspect.report.simulate_page import SCOPES, log_lines, span, timeline_lines
from smtpinspect.report.terminal import Style, count, program, safe, wrapped
from smtpinspect.simulate.captures import Asked
from smtpinspect.simulate.story import Story

DONE: Final = {"deferred": "deferred", "bounced": "returned to its sender", "delivered": "delivered"}
REFUSES: Final = "refuses it: the firewall answers in the server's place"
BREAKS: Final = {
    "drop": "nobody is told: nothing passes any more",
    "rst": "the client gets an RST",
    "fin": "the client gets a FIN",
    "reply": "the client gets a reply of the firewall",
}


def page(story: Story, asked: Asked, width: int | None, style: Style) -> Iterator[str]:
    """The lines of the page."""
    result, mail = story.result, story.mail
    if result.fate == "deferred" and story.days.copies:
        yield style("ARRIVES AT EACH ATTEMPT: retries make duplicates", "red")
    elif story.hit is not None and result.duplicate_risk:
        yield style("the sender cannot know whether it was delivered (it was not)", "yellow")
    yield from (style(line, "bold") for line in wrapped(_title(story), width))
    yield ""
    told = f"  in the capture: {safe(story.observed)}   (looked at: {mail.why})"
    yield from _headed("OBSERVED", told, width, style)
    told = f" behind {safe(story.inspector)}   ({', '.join(_doubts(story, asked))})"
    yield from _headed("WOULD HAPPEN", told, width, style)
    for line in _verdict(story):
        yield from wrapped(line, width, "  ")
    yield ""
    yield style("TIMELINE", "bold") + "  (seconds; behind the break simulated)"
    yield from timeline_lines(result.timeline, width)
    yield ""
    guess = ", as the capture tells" if "mta" in mail.guessed else ""
    yield style("THE SENDER LOGS", "bold") + f"  ({registry.SENDERS[result.mta].title}{guess})"
    yield from log_lines(result.sender_log or ("(what it logs is not known)",), width)
    yield ""
    guess = ", as the capture tells" if "receiver" in mail.guessed else ""
    for name, lines in result.receiver_log.items():
        title = registry.RECEIVERS[name].title if name in registry.RECEIVERS else name
        yield style("THE RECEIVER LOGS", "bold") + f"  ({title}{guess})"
        yield from log_lines(lines or ("(nothing)",), width)
        yield ""
    yield style("FATE", "bold")
    for line in _fate(story):
        yield from wrapped(line, width, "  ")
    if story.notes:
        yield style("TO BE KNOWN", "bold")
        for note in story.notes:
            yield from wrapped(safe(note), width, "  ")
    for path, side, packets in _views(story, asked):
        yield f"written: {safe(path)}, {count(packets, 'packet')} as the {side} sees them"
    yield f"Next: {_next(story, asked)}"


def _headed(head: str, told: str, width: int | None, style: Style) -> Iterator[str]:
    first, *rest = wrapped(f"{head}{told}", width)
    yield first.replace(head, style(head, "bold"), 1)
    yield from rest


def _doubts(story: Story, asked: Asked) -> Iterator[str]:
    yield "as recorded" if story.mode == "recorded" else "sent anew"
    yield "an emulation"
    if isinstance(asked.inspector, str) and ":" in story.inspector and ":" not in asked.inspector.partition(",")[0]:
        yield "the profile assumed: you did not say which"


def _given(story: Story, asked: Asked) -> str:
    return asked.inspector if isinstance(asked.inspector, str) else story.inspector


def _title(story: Story) -> str:
    mail = story.mail
    when = datetime.fromtimestamp(story.result.ending.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = "A connection without a mail"
    if mail.number is not None:
        rcpts = list(mail.rcpt_to[:2]) + ([f"{len(mail.rcpt_to) - 2} more"] if len(mail.rcpt_to) > 2 else [])
        to = " and ".join(rcpts) or "nobody"
        what = f"Mail {safe(mail.mail_from or '<>')} to {safe(to)}"
    return f"{what}   {mail.client} to {mail.server}   {when}"


def _verdict(story: Story) -> Iterator[str]:
    hit = story.hit
    if hit is not None:
        where = f"the {hit.direction}'s byte {hit.offset:,}" + (f", packet {hit.packet:,}" if hit.packet else "")
        teardown = BREAKS.get(story.result.broken, "")
        yield f'{hit.rule} breaks the flow at {where}: "{safe(hit.octets)}"'
        yield f"{teardown}" if teardown else f"the flow hangs ({hit.action})"
    elif not story.altered:
        yield "nothing changes"
    refused = hit is None and story.result.ending.cause == "reply" and story.observed != "refused"
    for rule in story.altered:
        refuses = refused and rule == story.altered[-1]
        yield f"{rule} {REFUSES if refuses else 'alters what passes'}"


def _fate(story: Story) -> Iterator[str]:
    result, days = story.result, story.days
    if not result.fate:
        yield "not known: the capture does not show it"
        return
    if result.fate != "deferred":
        yield f"{DONE[result.fate]} after {span(result.seconds)}"
        return
    yield f"deferred after {span(result.seconds)}: {SCOPES[result.scope]}"
    if days.next_mx:
        yield "another address of the domain, if there is one, is tried at once"
    tries = [span(t) for t in result.retries[:6]]
    if tries:
        yield f"next tries after {', '.join(tries)}{', …' if len(result.retries) > len(tries) else ''}"
    if result.gives_up_after is not None:
        attempts = count(days.attempts, "attempt")
        slots = span(days.slots)
        after = span(result.gives_up_after)
        busy = f"which keep a delivery process busy for {slots} in all"
        yield f"returned after {after}, if nothing changes; about {attempts}, {busy}"
    if days.copies > 1:
        yield f"the server takes the mail each time: the recipient gets it {days.copies:,} times"


def _views(story: Story, asked: Asked) -> Iterator[tuple[str, str, int]]:
    for path, side, packets in zip(
        (asked.write_client, asked.write_server), ("client", "server"), story.views, strict=True
    ):
        if path:
            yield path, side, packets


def _next(story: Story, asked: Asked) -> str:
    if story.hit is not None and story.mode == "re-enacted":
        return f"{program()} rules {story.hit.rule}"
    words = [program(), "simulate", shlex.quote(str(asked.capture)), "-i", shlex.quote(_given(story, asked))]
    words.append("--re-enact")
    if story.mode == "re-enacted":
        words += ["--mta", next(name for name in registry.SENDERS if name != story.result.mta)]
    return " ".join(words)
