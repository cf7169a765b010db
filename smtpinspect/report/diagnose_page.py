"""A diagnosis on a page that a mail administrator can act on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smtpinspect.diagnose.model import Case, Diagnosis, Remedy
from smtpinspect.report import diagnose_words as words
from smtpinspect.report import mail_log
from smtpinspect.report.diagnose_places import Place, heading, places
from smtpinspect.report.diagnose_words import Block
from smtpinspect.report.headline import headline, tls
from smtpinspect.report.terminal import Style, clock, count, cut, padded, program, safe, wide, wrapped
from smtpinspect.source.again import Place as FilePlace

LABEL: Final = 13  # columns of PROVED, FITS, ...
RICH: Final = 110  # columns from which on there is room for the timeline and for more evidence
WHOLE: Final = 12  # blocks that are told in full
BRIEF: Final = 30  # further ones in a line each
RANKS: Final = 6  # ranks of causes
LINES: Final = 8  # of one sort: what is ruled out, what is refuted, questions
PASTED: Final = 400  # characters of captures' names in a command
COLOURS: Final = ("green", "yellow", "red")  # by Headline.bad


def page(
    diagnosis: Diagnosis,
    width: int | None,
    style: Style,
    captures: Sequence[str] = (),
    points: Sequence[str] = (),
    files: Mapping[int, FilePlace] = MappingProxyType({}),
) -> Iterator[str]:
    """The lines of the page; `width` None: as wide as they are, and with all there is to tell.

    `captures`, and `points` as NAME=FILE, are those of the command, for the next one; `files`: where of several
    captures packets lie.
    """
    blocks = words.folded(diagnosis)
    if len(diagnosis.cases) > 1:
        yield style(words.sums(diagnosis), "bold")
        yield ""
    unmatched = [f"NOT MATCHED: {safe(told)}" for told in diagnosis.unmatched]
    if not blocks:
        yield from (style(line, "yellow") for told in unmatched for line in wrapped(told, width))
    for number, block in enumerate(blocks[:WHOLE]):
        given = words.Given([] if number else unmatched, _own(captures, points), files)
        yield from _Page(block.first, width, style, given).lines(block)
        yield ""
    yield from _brief(blocks[WHOLE:], width)
    yield from words.sweep(diagnosis)
    yield from (line for told in words.partly(diagnosis) for line in wrapped(safe(told), width))
    yield from (line for note in diagnosis.notes for line in wrapped(safe(note), width))
    if not blocks:
        yield safe(words.nothing(diagnosis))
    if diagnosis.cases:
        yield from wrapped(f"Next: {next_command(blocks, captures, points)}", None)


def _own(captures: Sequence[str], points: Sequence[str]) -> str:
    """The capture that the packets are those of, as a shell takes it."""
    return shlex.quote(captures[0]) if captures and (points or len(captures) == 1) else "CAPTURE"


def _brief(blocks: Sequence[Block], width: int | None) -> Iterator[str]:
    if not blocks:
        return
    yield f"{count(len(blocks), 'further kind')} of failure:"
    for block in blocks[:BRIEF]:
        case = block.first
        why = f"   {case.causes[0].cause}" if case.causes else ""
        line = f"  {len(block.cases):>7,}  {case.flow.server}  {safe(str(headline(case)))}{safe(why)}"
        yield line if width is None else cut(line, width)
    if len(blocks) > BRIEF:
        yield f"  and {len(blocks) - BRIEF:,} more: --format json has all"


def next_command(blocks: Sequence[Block], captures: Sequence[str], points: Sequence[str] = ()) -> str:
    """What to do next, ready to paste."""
    files = " ".join(shlex.quote(path) for path in captures)
    given = " ".join(f"--point {shlex.quote(point)}" for point in points) or files
    if given and len(given) <= PASTED:
        diagnosed = f"{program()} diagnose {given} --format html -o diagnosis.html"
        return diagnosed if blocks else f"{program()} replay {shlex.quote(captures[0]) if points else files}"
    rules = [cause.cause for cause in blocks[0].first.causes if cause.kind == "rule"] if blocks else []
    return f"{program()} rules {' '.join(rules[:1])}".rstrip()


class _Page:
    """One block; what its labels stand before is wrapped behind them."""

    def __init__(self, case: Case, width: int | None, style: Style, given: words.Given) -> None:
        self.case = case
        self.given = given
        self.width = width
        self.style = style
        self.rich = width is None or width >= RICH

    def lines(self, block: Block) -> Iterator[str]:
        case = self.case
        yield from self._head(block)
        yield from self._told("PROVED", words.proved(case))
        yield from self._told("NOTE", [*words.notes(case), *words.numbered(case, self.given.files)])
        yield from self._told("TIMELINE", self._timeline() if self.rich else self._hidden())
        yield from self._told("CONFIRMED", self._causes("confirmed"))
        yield from self._told("ITS LOG", (words.placed(sign) for sign in words.other_lines(case)))
        yield from self._told("MAIL LOG", mail_log.lines(case))
        yield from self._told("FITS", self._causes("fits"))
        yield from self._told("CONTRAST", words.contrasts(case))
        yield from self._told("REFUTED", self._against("refuted"))
        yield from self._told("RULED OUT", self._against("ruled-out"))
        yield from self._told("WHAT IF", words.what_if(case, self.given.capture))
        yield from self._told("DO", self._remedies())
        yield from self._told("ASK THEM", _some(case.questions))

    def _head(self, block: Block) -> Iterator[str]:
        case, flow = self.case, self.case.flow
        parts = [safe(words.title(case))]
        if case.mail is not None and case.mail.message_id:
            parts.append(f"message-id {safe(case.mail.message_id)}")
        start = case.flow.start_ns if case.mail is None else case.mail.start_ns
        parts += [f"{flow.client} to {flow.server}", f"{clock(start)} UTC", tls(case)]
        yield from self._flowed(parts)
        if len(block.cases) > 1:
            last = max(one.flow.end_ns for one in block.cases)
            alike = f"and {count(len(block.cases) - 1, 'more mail')} to {flow.server} with the same end, the last one"
            if case.mail is None:
                alike = alike.replace("mail", "connection", 1)
            yield from wrapped(f"{alike} {clock(last)} UTC", self.width)
        head = headline(case)
        for line in wrapped(safe(str(head)), self.width):
            yield self.style(line, COLOURS[head.bad])
        yield from (self.style(line, "yellow") for told in self.given.unmatched for line in wrapped(told, self.width))

    def _flowed(self, parts: Iterable[str]) -> Iterator[str]:
        """Parts side by side with three blanks, as many on a line as there is room for."""
        line = ""
        for part in parts:
            joined = f"{line}   {part}" if line else part
            if line and self.width is not None and wide(joined) > self.width:
                yield line
                joined = f"  {part}"
            line = joined
        yield line

    def _told(self, label: str, texts: Iterable[str]) -> Iterator[str]:
        """Each text behind the label, which stands once. A line break in a text begins a deeper line, a carriage
        return one that is to be pasted and therefore not wrapped.
        """
        head = self.style(padded(label, LABEL), "bold")
        room = None if self.width is None else self.width - LABEL
        for text in texts:
            for number, part in enumerate(text.split("\n")):
                indent = "  " if number else ""
                pasted = part.startswith("\r")
                for line in wrapped(safe(part[pasted:]), None if pasted else room, indent):
                    yield (head + line).rstrip()
                    head = " " * LABEL

    def _timeline(self) -> Iterator[str]:
        moments = self.case.observed.timeline
        for moment in moments:
            at = (moment.begin_ns - moments[0].begin_ns) / 1e9
            took = (moment.end_ns - moment.begin_ns) / 1e9
            yield f"{moment.phase:<9} at {at:,.3f} s, took {took:,.3f} s, packet {moment.packet:,}: {moment.told}"

    def _hidden(self) -> Iterator[str]:
        moments = self.case.observed.timeline
        if moments:
            yield f"{count(len(moments), 'step')}: shown from {RICH} columns on, in a pipe, and by --format html"

    def _causes(self, degree: str) -> Iterator[str]:
        listed = places(self.case.causes, degree)
        for place in listed[:RANKS]:
            yield self._cause(place)
        if len(listed) > RANKS:
            yield f"and {len(listed) - RANKS:,} more, less fitting: --format json"

    def _cause(self, place: Place) -> str:
        first = place.causes[0]
        lead = f"{first.confidence:<9} " if first.degree == "fits" else ""
        return "\n".join([f"{lead}{heading(place)}", *words.told(place, 4 if self.rich else 2)])

    def _against(self, kind: str) -> Iterator[str]:
        listed = words.against(self.case, kind)
        yield from listed[:LINES]
        if len(listed) > LINES:
            yield f"and {len(listed) - LINES:,} more: --format json has them"

    def _remedies(self) -> Iterator[str]:
        place = ""
        listed = words.remedies(self.case)
        most = LINES if self.rich else LINES // 2
        for number, remedy in enumerate(listed[:most], 1):
            if remedy.where != place:
                place = remedy.where
                yield f"{words.PLACES[place]}:"
            yield _remedy(number, remedy)
        if len(listed) > most:
            yield f"and {len(listed) - most} more, with wider effect"


def _remedy(number: int, remedy: Remedy) -> str:
    lines = [f"{number}  {remedy.title}", *(f"\r{command}" for command in remedy.commands)]
    for word, text in (("you lose", remedy.loses), ("check", remedy.check), ("undo", remedy.undo)):
        if text:
            lines.append(f"{word}: {text}")
    return "\n".join(lines)


def _some(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:LINES]
    if len(texts) > LINES:
        yield f"and {len(texts) - LINES} more"
