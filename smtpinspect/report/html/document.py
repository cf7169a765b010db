"""The page: what happened, the dialogue as a ladder, causes, remedies, questions.

Nothing is loaded and nothing of a stranger's can run: the page's own policy (Content Security Policy Level 3)
allows the one style sheet and the one script below, by their digests, and no address at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smtpinspect.diagnose.model import CONFIDENCE, DEGREES, Case, Diagnosis, Moment, Remedy
from smtpinspect.report import diagnose_words as words
from smtpinspect.report import mail_log
from smtpinspect.report.diagnose_places import Place, fits, places
from smtpinspect.report.diagnose_words import Block, Given
from smtpinspect.report.glossary import BYTES, SENDER
from smtpinspect.report.headline import between, headline, tls
from smtpinspect.report.html.ladder import Line, Rung, rungs
from smtpinspect.report.html.look import SCRIPT, STYLE
from smtpinspect.report.terminal import clock, count, safe
from smtpinspect.source.again import Place as FilePlace

BLOCKS: Final = 25  # told in full
ROWS: Final = 500  # of the table of what is left
LONG: Final = 60.0  # seconds: a wait that a person notices
WAY: Final = 1_000  # units of a bar
SIDES: Final = {"client": "client", "server": "server", "note": "note_"}
FATES: Final = {"through": "through", "cut": "cut", "ends": "ends_", "forged": "forged"}
DEGREES_SHOWN: Final = (("confirmed", "Confirmed", "by the firewall's own log"), ("fits", "Fits", "our emulation"))
COUNTED: Final = "bytes counted from 0: in the message where it is named, before a line in all that this side sent"
FORGED: Final = "✕ a box on the way"
LOST: Final = "✕ never acknowledged"


def document(
    diagnosis: Diagnosis,
    captures: Sequence[str] = (),
    *,
    secrets: bool = False,
    logs: Sequence[str] = (),
    files: Mapping[int, FilePlace] = MappingProxyType({}),
) -> Iterator[str]:
    """The lines of the file. `captures` are named in its title; `secrets`: what AUTH carries is shown; `logs`: the
    lines of a page in text, of what log lines tell; `files`: where of several captures packets lie.
    """
    blocks = words.folded(diagnosis)
    named = ", ".join(safe(os.path.basename(path)) for path in captures[:3]) + (" …" if len(captures) > 3 else "")
    yield from opened(f"Diagnosis: {named}" if named else "Diagnosis")
    yield f"<header><h1>{_text(f'What happened to the mail in {named}' if named else 'What happened to the mail')}</h1>"
    if len(diagnosis.cases) > 1:
        yield f"<p>{_text(words.sums(diagnosis))}</p>"
    yield "</header><main>"
    for number, block in enumerate(blocks[:BLOCKS], 1):
        capture = shlex.quote(captures[0]) if len(captures) == 1 else "CAPTURE"
        given = Given([] if number > 1 else diagnosis.unmatched, capture, files)
        yield from _article(block, number, secrets, given)
    yield from _further(blocks[BLOCKS:])
    if diagnosis.sweep is not None:
        text = "\n".join(map(_text, words.sweep(diagnosis)))
        yield f'<article><section><h3>Sweep</h3><pre class="log">{text}</pre></section></article>'
    if logs:
        text = "\n".join(map(_text, logs))
        yield f'<article><section><h3>From the log</h3><pre class="log">{text}</pre></section></article>'
    elif not blocks:
        yield f"<article><p class='verdict bad0'>{_text(words.nothing(diagnosis))}</p></article>"
    if some := [*words.partly(diagnosis)]:
        yield "<article><section><h3>Not for all recipients</h3>"
        yield from _list(some)
        yield "</section></article>"
    if notes := [*(() if blocks else diagnosis.unmatched), *diagnosis.notes]:
        yield "<article><section><h3>To be known</h3>"
        yield from _list(notes)
        yield "</section></article>"
    yield "</main>"
    yield from _words()
    yield from closed()


def opened(title: str) -> Iterator[str]:
    """The head of a page, up to its body."""
    policy = (
        f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{_text(title)}</title>"
    yield f"<style>{STYLE}</style></head><body>"


def closed() -> Iterator[str]:
    """The script, and the end of the page."""
    yield f"<script>{SCRIPT}</script></body></html>"


def _words() -> Iterator[str]:
    yield "<footer><h3>Words</h3><dl>"
    yield from (f"<dt>{word.upper()}</dt><dd>{_text(means)}</dd>" for word, means in DEGREES.items())
    yield from (f"<dt>{word}</dt><dd>{_text(means)}</dd>" for word, means in CONFIDENCE.items())
    yield f"<dt>sender, client</dt><dd>{_text(SENDER)}</dd>"
    yield f"<dt>bytes 1-9</dt><dd>{_text(BYTES)}</dd>"
    yield "</dl><p>Times are UTC. Made by smtpinspect.</p></footer>"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(text: str) -> str:
    """Text of anybody, as text: controls and marks of writing direction are spelled out."""
    return html.escape(safe(text))


def _article(block: Block, number: int, secrets: bool, given: Given) -> Iterator[str]:
    case = block.first
    head = headline(case)
    yield f'<article aria-labelledby="mail-{number}"><div class="head">'
    yield f'<h2 id="mail-{number}">{_text(words.title(case))}</h2>'
    yield from _facts(block)
    yield f'</div><p class="verdict bad{head.bad}"><b>{_text(head.word)}{":" * bool(head.text)}</b>'
    yield f" <span>{_text(head.text)}</span></p>" if head.text else "</p>"
    yield from _notes(f"NOT MATCHED: {told}" for told in given.unmatched)
    yield from _short(case)
    proved, notes = [*words.proved(case)], [*_notes([*words.notes(case), *words.numbered(case, given.files)])]
    if proved or notes:
        yield from _section("Proved", "by the packets", _list(proved), notes)
    found = rungs(case, secrets=secrets)
    if found:
        yield from _section("Dialogue", COUNTED, _ladder(case, found))
    if case.observed.timeline:
        yield from _section("Timeline", "bars are logarithmic", _timeline(case.observed.timeline))
    for degree, name, why in DEGREES_SHOWN:
        listed = places(case.causes, degree)
        if listed:
            yield from _section(name, why, map(_cause, listed))
    if logged := [words.placed(sign) for sign in words.other_lines(case)]:
        yield from _section("Its log", "the firewall's own", _list(logged))
    if mailed := [line.replace("\n", "; ") for line in mail_log.lines(case)]:
        yield from _section("Mail log", "the mail server's own", _list(mailed))
    if case.contrast:
        yield from _section("Contrast", "other mail as the control group", _contrast(case))
    for kind, name, why in (
        ("refuted", "Refuted", "by mail that was accepted"),
        ("ruled-out", "Ruled out", "by the packets"),
    ):
        out = words.against(case, kind)
        if out:
            yield from _section(name, why, _list(out))
    if case.what_if.relax:
        yield from _section("What if", "", _list(words.what_if(case, given.capture)))
    todo = words.remedies(case)
    if todo:
        yield from _section("Do", "the smallest step first", _remedies(todo))
    if case.questions:
        yield from _section("Ask them", "ready to send", (_copied(question) for question in case.questions))
    yield "</article>"


def _short(case: Case) -> Iterator[str]:
    """The best cause and the first step, for who reads no further."""
    best = places(case.causes, "confirmed") or places(case.causes, "fits")
    todo = words.remedies(case)
    told = []
    if best:
        first = best[0].causes[0]
        name = best[0].names() or first.title
        told.append(("Confirmed" if first.degree == "confirmed" else "Fits best", f"{name} ({first.confidence})"))
    if todo:
        told.append(("First step", f"{words.PLACES[todo[0].where]}: {todo[0].title}"))
    rows = "".join(f"<dt>{head}</dt><dd>{_text(text)}</dd>" for head, text in told)
    if rows:
        yield f'<section class="short"><dl>{rows}</dl></section>'


def _section(name: str, why: str, *bodies: Iterable[str]) -> Iterator[str]:
    small = f" <small>{_text(why)}</small>" if why else ""
    yield f"<section><h3>{name}{small}</h3>"
    for body in bodies:
        yield from body
    yield "</section>"


def _facts(block: Block) -> Iterator[str]:
    case, flow = block.first, block.first.flow
    start = flow.start_ns if case.mail is None else case.mail.start_ns
    facts = [f"{flow.client} to {flow.server}", f"{clock(start)} UTC", tls(case)]
    if case.mail is not None and case.mail.message_id:
        facts.insert(0, f"message-id {case.mail.message_id}")
    if case.mail is not None and case.mail.subject:
        facts.insert(0, f"Subject: {case.mail.subject}")
    if len(block.cases) > 1:
        facts.append(f"and {len(block.cases) - 1:,} more with the same end and the same causes")
    yield '<ul class="facts">' + "".join(f"<li>{_text(fact)}</li>" for fact in facts) + "</ul>"


def _list(texts: Iterable[str]) -> Iterator[str]:
    yield '<ul class="plain">'
    yield from (f"<li>{_text(text)}</li>" for text in texts)
    yield "</ul>"


def _notes(notes: Iterable[str]) -> Iterator[str]:
    yield from (f'<p class="note">{_text(note)}</p>' for note in notes)


def _cause(place: Place) -> str:
    first = place.causes[0]
    names, fitting = place.names(), fits(place).removeprefix("; ")
    told = f"<b>{_text(names)}</b>{': ' if fitting else ''}" if names else ""
    why = "".join(f"<div>{_text(sign)}</div>" for sign in words.told(place, 6))
    return (
        f'<div class="cause"><span class="badge {first.confidence}">{first.confidence}</span>'
        f'<div>{told}{_text(fitting)}<div class="why">{why}</div></div></div>'
    )


def _contrast(case: Case) -> Iterator[str]:
    heads = ("with it, cut", "without it, accepted", "elsewhere with it, accepted")
    told = "".join(f'<th class="n">{head}</th>' for head in heads)
    yield f'<table class="contrast"><tr><th>Property</th>{told}</tr>'
    for one in case.contrast:
        cells = (
            (one.cut, one.cut + one.accepted),
            (one.accepted_without, one.cut_without + one.accepted_without),
            (one.accepted_elsewhere, one.cut_elsewhere + one.accepted_elsewhere),
        )
        told = "".join(f'<td class="n">{f"{n:,} of {of:,}" if of else "none seen"}</td>' for n, of in cells)
        yield f"<tr><td>{_text(one.property)}</td>{told}</tr>"
    yield "</table>"


def _remedies(todo: Sequence[Remedy]) -> Iterator[str]:
    place = ""
    for number, remedy in enumerate(todo, 1):
        if remedy.where != place:
            place = remedy.where
            yield f'<p class="place">{_text(words.PLACES[place])}</p>'
        yield f'<div class="remedy"><span class="n">{number}</span>{_text(remedy.title)}'
        if remedy.commands:
            yield _copied("\n".join(remedy.commands))
        told = (("you lose", remedy.loses), ("check", remedy.check), ("undo", remedy.undo))
        rows = "".join(f"<dt>{word}</dt><dd>{_text(text)}</dd>" for word, text in told if text)
        yield f"<dl>{rows}</dl></div>" if rows else "</div>"


def _copied(text: str) -> str:
    shown = "\n".join(_text(line) for line in text.split("\n"))
    return f'<div class="copy"><pre>{shown}</pre></div>'


def _timeline(moments: Sequence[Moment]) -> Iterator[str]:
    begin = moments[0].begin_ns
    most = max(_long(moment) for moment in moments) or 1.0
    yield '<table class="phases"><tr><th>Phase</th><th class="n">at</th><th class="n">took</th><th>what</th></tr>'
    for moment in moments:
        took = (moment.end_ns - moment.begin_ns) / 1e9
        bar = max(4, round(WAY * _long(moment) / most))
        look = "long" if took >= LONG else "took"
        yield f'<tr><td>{_text(moment.phase)}</td><td class="n">{(moment.begin_ns - begin) / 1e9:,.3f} s</td>'
        yield f'<td class="n">{took:,.3f} s</td><td>{_text(moment.told)}'
        yield f' <span class="why">packet {moment.packet:,}</span>'
        yield f'<svg viewBox="0 0 {WAY} 10" preserveAspectRatio="none" aria-hidden="true">'
        yield f'<rect class="way" width="{WAY}" height="10"/>'
        yield f'<rect class="{look}" width="{bar}" height="10"/></svg></td></tr>'
    yield "</table>"


def _long(moment: Moment) -> float:
    return math.log1p(max(0, moment.end_ns - moment.begin_ns) / 1e6)


def _ladder(case: Case, found: Sequence[Rung]) -> Iterator[str]:
    client, server = case.flow.client, case.flow.server
    yield (
        f'<div class="ends"><span></span><div><span class="c">Sender<i>{_text(client)}</i></span>'
        f'<span class="s">Server<i>{_text(server)}</i></span></div></div><ol class="ladder">'
    )
    for rung in found:
        yield from _rung(case, rung)
    yield "</ol>"


def _rung(case: Case, rung: Rung) -> Iterator[str]:
    first, last = rung.packets
    packets = f"packet {first:,}" if first == last else f"packets {first:,}-{last:,}"
    yield f'<li class="rung {SIDES[rung.side]} {FATES[rung.fate]}">'
    yield f'<div class="when">{rung.seconds:,.3f} s <br>{packets}</div><div class="lane">'
    if rung.side == "note":
        yield f"{_text(rung.label)}</div></li>"
        return
    who = "sender to server: " if rung.side == "client" else "server to sender: "
    yield f'<div class="say"><span class="hidden">{who}</span>'
    if rung.label:
        yield f'<span class="label">{_text(rung.label)}</span>'
    if rung.lines:
        yield '<div class="octets">' + "".join(map(_line, rung.lines)) + "</div>"
    yield '</div><div class="arrow"></div>'
    if rung.fate == "forged":
        yield f'<span class="box">{FORGED}</span>'
    elif rung.fate == "cut":
        yield f'<span class="box">{_text(between(case, "✕ cut ") or LOST)}</span>'
    yield "</div></li>"


def _line(line: Line) -> str:
    at = "" if line.at is None else f"{line.at:,}"
    parts = []
    for span in line.spans:
        text = f'<span class="raw">{_text(span.text)}</span>' if span.raw else _text(span.text)
        parts.append(f'<mark title="{_text(span.mark)}">{text}</mark>' if span.mark else text)
    return f'<div><span class="at">{at}</span><span class="t">{"".join(parts)}</span></div>'


def _further(blocks: Sequence[Block]) -> Iterator[str]:
    if not blocks:
        return
    yield f"<article><section><h3>{count(len(blocks), 'further kind')} of failure</h3><table>"
    yield '<tr><th class="n">mails</th><th>server</th><th>what</th><th>best cause</th></tr>'
    for block in blocks[:ROWS]:
        case = block.first
        cause = case.causes[0].cause if case.causes else ""
        yield (
            f'<tr><td class="n">{len(block.cases):,}</td><td>{_text(case.flow.server)}</td>'
            f"<td>{_text(str(headline(case)))}</td><td>{_text(cause)}</td></tr>"
        )
    yield "</table></section></article>"
