"""`smtpinspect simulate` for people: the timeline, both logs, and what becomes of the mail."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from smtpinspect.grammar.phrases import span as span
from smtpinspect.mta import registry
from smtpinspect.report.terminal import Style, count, program, safe, wrapped
from smtpinspect.simulate.bench import RECEIVERS, Question
from smtpinspect.simulate.result import Happened, Result

BREAKS: Final = {"drop": "silent drop", "rst": "RST to both sides", "fin": "FIN to both sides"}
WHERE: Final = {
    "connect": "the SYN",
    "greeting": "the server's greeting",
    "ehlo": "EHLO",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "datacmd": "DATA",
    "reply354": "the 354 to DATA",
    "databody": "the first segment of the text",
    "datamid": "the middle of the text",
    "dot": "the end mark",
    "dotreply": "the reply to the end mark",
    "quit": "QUIT",
}
SCOPES: Final = {
    "message": "this message alone; other mail to that server goes on",
    "host": "all mail to that server waits with it",
    "address": "this recipient alone",
}
# What is told once, with the times at which it happens again.
AGAIN: Final = ("kernel sends", "sends an RST", "sends a FIN", "sends an acknowledgment", "gets an RST")
DUPLICATES: Final = "MAY HAVE BEEN DELIVERED; retries make duplicates"
UNKNOWN: Final = "the sender cannot know whether it was delivered (it was not)"


def page(result: Result, asked: Question, width: int | None, style: Style) -> Iterator[str]:
    """The lines of the page."""
    sender = registry.SENDERS[result.mta]
    if result.duplicate_risk:
        arrived = any(loss.accepted for loss in result.losses.values())
        yield style(DUPLICATES, "red") if arrived else style(UNKNOWN, "yellow")
    yield style(_headline(result), "bold")
    offers = "offers" if asked.pipelining else "does not offer"
    who = RECEIVERS[asked.receiver].title if asked.receiver else "a scripted server"
    yield from wrapped(f"{sender.title} to {who}, which {offers} PIPELINING; a body of {asked.size:,} bytes", width)
    yield ""
    yield style("TIMELINE", "bold") + "  (seconds; simulated)"
    yield from timeline_lines(result.timeline, width)
    yield ""
    yield style("THE SENDER LOGS", "bold") + f"  ({sender.title})"
    yield from log_lines(result.sender_log, width)
    yield ""
    if any(result.receiver_log.values()):
        yield style("THE RECEIVER LOGS", "bold") + "  (each with its own time-outs)"
        for name, lines in result.receiver_log.items():
            yield f"  {RECEIVERS[name].title}"
            yield from log_lines(lines or ("(nothing)",), width, "    ")
    else:
        yield style("THE RECEIVER LOGS", "bold")
        policy = "not told: how a server logs a reply of its own depends on its policy"
        yield f"  {'nothing: it has not heard of the connection' if result.receiver_log else policy}"
    yield ""
    yield style("FATE", "bold")
    for line in _fate(result):
        yield from wrapped(line, width, "  ")
    yield f"Next: {_next(result, asked)}"


def _headline(result: Result) -> str:
    done = {"deferred": "deferred", "bounced": "returned to its sender", "delivered": "delivered"}[result.fate]
    reply = result.broken.removeprefix("reply=")
    if reply != result.broken:
        return f"{WHERE[result.phase]} answered with {safe(reply)!r}: {done} after {span(result.seconds)}"
    return f"{BREAKS[result.broken]} at {WHERE[result.phase]}: {done} after {span(result.seconds)}"


def timeline_lines(timeline: Sequence[Happened], width: int | None) -> Iterator[str]:
    """What is repeated is one line, up to the next thing that somebody does."""
    rows: list[tuple[Happened, list[float]]] = []
    repeated: dict[tuple[str, str], list[float]] = {}
    for happened in timeline:
        key = happened.actor, happened.event
        if key in repeated:
            repeated[key].append(happened.t)
            continue
        again = happened.event.startswith(AGAIN)
        if not again:
            repeated.clear()
        times: list[float] = []
        rows.append((happened, times))
        if again:
            repeated[key] = times
    for happened, times in rows:
        shown = [f"{t:,.1f}" for t in times]
        kept = shown if len(shown) <= 6 else [*shown[:4], "…", shown[-1]]
        more = f", and at {' '.join(kept)} s" if kept else ""
        lead = f"{happened.t:11,.3f}  {happened.actor:<8}  "
        room = None if width is None else max(width - len(lead), 20)
        first, *rest = wrapped(safe(happened.event) + more, room)
        yield lead + first
        yield from (" " * len(lead) + line for line in rest)


def log_lines(lines: Sequence[str], width: int | None, indent: str = "  ") -> Iterator[str]:
    """Lines of a log, wrapped."""
    for line in lines:
        yield from wrapped(safe(line), width, indent)


def _fate(result: Result) -> Iterator[str]:
    if result.fate == "delivered":
        yield "delivered at this attempt"
        return
    if result.fate == "bounced":
        yield f"returned to its sender at once: {SCOPES[result.scope]}"
        return
    yield f"deferred: {SCOPES[result.scope]}"
    yield f"this attempt keeps a delivery process busy for {span(result.seconds)}"
    tries = [span(t) for t in result.retries[:6]]
    if tries:
        more = ", …" if len(result.retries) > len(tries) else ""
        yield f"next tries after {', '.join(tries)}{more} (that MTA's default retry rule)"
    attempts = len(result.retries) + 1
    if result.gives_up_after is not None:
        burnt = span(attempts * result.seconds)
        yield (
            f"returned after {span(result.gives_up_after)}, if nothing changes; about {count(attempts, 'attempt')}, "
            f"which keep a delivery process busy for {burnt} in all"
        )


def _next(result: Result, asked: Question) -> str:
    """The same break one phase on, or with another sender at the last one."""
    phases = tuple(WHERE)
    at = phases.index(result.phase)
    phase = phases[at + 1] if at + 1 < len(phases) and not result.broken.startswith("reply=") else result.phase
    names = tuple(registry.SENDERS)
    mta = result.mta if phase != result.phase else names[(names.index(result.mta) + 1) % len(names)]
    words = [program(), "simulate", "--mta", mta, "--at", phase, "--break", shlex.quote(result.broken)]
    if asked.size != 2_000:
        words += ["--size", str(asked.size)]
    if asked.pipelining:
        words.append("--pipelining")
    if asked.receiver:
        words += ["--to", asked.receiver]
    if asked.timeouts:
        words += ["--timeouts", ",".join(f"{word}={seconds:g}" for word, seconds in asked.timeouts.items())]
    return " ".join(words)
