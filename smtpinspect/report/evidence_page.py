"""The pages of a folder of evidence: for people who know nothing of this program and need not."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from smtpinspect.diagnose.export.evidence import SUMS, Exhibit
from smtpinspect.report.html.document import closed, opened
from smtpinspect.report.terminal import safe

WIDTH: Final = 79
INTRODUCTION: Final = (
    "These mails did not get through, or may not have. Each capture holds one TCP connection as it was recorded, "
    "nothing altered; any tool that reads pcapng shows it (Wireshark, tcpdump, tshark). All times are UTC. Sequence "
    "numbers are those on the wire; bytes are counted from 0, first and last, in all that this side sent. A capture "
    "holds what was sent: the mail's text, and passwords where AUTH was not "
    "encrypted. Handle it accordingly."
)
CHECK: Final = f"To check that nothing was altered since: sha256sum -c {SUMS}"


def pages(exhibits: Sequence[Exhibit]) -> Mapping[str, str]:
    """README.txt and README.html."""
    return {"README.txt": "\n".join(_text(exhibits)) + "\n", "README.html": "\n".join(_html(exhibits)) + "\n"}


def _text(exhibits: Sequence[Exhibit]) -> Iterator[str]:
    yield "MAIL THAT DID NOT GET THROUGH: WHAT THE PACKETS SHOW"
    yield ""
    yield from textwrap.wrap(INTRODUCTION, WIDTH)
    yield ""
    yield CHECK
    for exhibit in exhibits:
        yield ""
        yield exhibit.name
        yield "=" * len(exhibit.name)
        room = max(len(name) for name in exhibit.fields) if exhibit.fields else 0
        room = min(room, 24)
        for name, value in exhibit.fields.items():
            lead = f"{name:<{room}}  "
            if len(lead) > room + 2:
                yield f"{name}:"
                lead = " " * (room + 2)
            yield from _wrapped(value, lead, " " * (room + 2))
        yield ""
        yield "What the packets show:"
        for fact in exhibit.facts:
            yield from _wrapped(fact, "- ", "  ")
        for head, lines in exhibit.logs.items():
            yield ""
            yield f"{head}:"
            for line in lines:
                yield from _wrapped(line, "- ", "  ")
        yield ""
        yield "Our question:"
        for line in exhibit.question.split("\n"):
            yield from _wrapped(line, "  ", "  ")


def _wrapped(text: str, lead: str, more: str) -> list[str]:
    made = textwrap.wrap(safe(text), WIDTH, initial_indent=lead, subsequent_indent=more, break_on_hyphens=False)
    return made or [lead.rstrip()]


def _html(exhibits: Sequence[Exhibit]) -> Iterator[str]:
    yield from opened("Mail that did not get through: what the packets show")
    yield "<header><h1>Mail that did not get through: what the packets show</h1>"
    yield f"<p>{INTRODUCTION}</p><p>{CHECK.replace(': ', ': <code>', 1)}</code></p></header><main>"
    for exhibit in exhibits:
        yield f'<article><div class="head"><h2>{html.escape(exhibit.name)}</h2><dl>'
        for name, value in exhibit.fields.items():
            yield f"<dt>{html.escape(name)}</dt><dd>{html.escape(safe(value))}</dd>"
        yield "</dl></div><section><h3>What the packets show</h3><ul class=\"plain\">"
        yield from (f"<li>{html.escape(safe(fact))}</li>" for fact in exhibit.facts)
        for head, told in exhibit.logs.items():
            yield f'</ul></section><section><h3>{html.escape(head)}</h3><ul class="plain">'
            yield from (f"<li><code>{html.escape(safe(line))}</code></li>" for line in told)
        lines = "\n".join(html.escape(safe(line)) for line in exhibit.question.split("\n"))
        yield "</ul></section><section><h3>Our question</h3>"
        yield f'<div class="copy"><pre>{lines}</pre></div></section></article>'
    yield "</main>"
    yield from closed()
