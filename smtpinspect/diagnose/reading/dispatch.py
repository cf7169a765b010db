"""Whose line is it? By the program that syslog names, else by its shape, else by a phrase anywhere in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import (
    exchange,
    exim,
    gmail,
    opensmtpd,
    phrases,
    postfix,
    qmail,
    receivers,
    rfc5321,
    sendmail,
)
from smtpinspect.diagnose.reading.lines import Line, line_of
from smtpinspect.diagnose.reading.means import explained
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.grammar import limits

Reader = Callable[[Line, State], Iterator[Reading]]


class Layout(NamedTuple):
    """Lines of an MTA. `marked`: nobody else writes such lines, whatever they tell."""

    pattern: re.Pattern[str]
    mta: str
    readers: tuple[Reader, ...]  # asked in turn until one has something to tell
    marked: bool = True


# First match counts.
_PROGRAMS: Final = tuple(
    Layout(re.compile(pattern), mta, readers)
    for pattern, mta, readers in (
        (r"postfix[\w.-]*(?:/[\w.-]+)*/(?:smtpd|postscreen)$", "postfix", (receivers.read,)),
        (r"postfix[\w.-]*(?:/[\w.-]+)*$", "postfix", (postfix.read,)),
        (r"(?:sendmail|sm-mta|sm-msp-queue|sm-msp|sendmail-[\w-]+)$", "sendmail", (sendmail.read, receivers.read)),
        (r"exim4?$", "exim", (exim.read, receivers.read)),
        (r"smtpd$", "opensmtpd", (opensmtpd.read, receivers.read)),
        (r"(?:qmail|qmail-send|splogger|send)$", "qmail", (qmail.read,)),
    )
)
_SHAPES: Final = tuple(
    Layout(re.compile(pattern), mta, readers, marked)
    for pattern, mta, readers, marked in (
        (rf"(?:\[\d+\] )?{exim.ID} ", "exim", (exim.read, receivers.read), True),
        (r"(?:\[\d+\] )?(?:SMTP (?:command|data|connection) |unexpected disconnection)", "exim", (
            receivers.read,), False),
        (r"[0-9a-f]{16} (?:mta|smtp) |smtp-out: ", "opensmtpd", (opensmtpd.read, receivers.read), True),
        (r"(?:starting )?delivery \d+: |info msg \d+: |(?:end msg|new msg) \d", "qmail", (qmail.read,), True),
        (r"status: (?:local|exiting)", "qmail", (qmail.read,), True),
        (rf"{sendmail.ID}: (?:to|from)=[^<]|{sendmail.ID}: (?:timeout|SYSERR|collect|lost input)", "sendmail", (
            sendmail.read, receivers.read), True),
        (rf"{postfix.ID}: (?:to|from|client|message-id|removed)\b", "postfix", (postfix.read, receivers.read), True),
        (rf"{postfix.ID}: |connect to |(?:timeout|lost connection) after ", "postfix", (
            postfix.read, receivers.read), False),
        (r"(?:(?:\"[^\"]*\"|[^,]*),)?[0-9A-F]{12,16},\d+,", "exchange", (exchange.read,), True),
        (r"<[^>]*> (?:deferred|bounced|delivered) by ", "rfc5321", (rfc5321.read,), True),
        # what Exim writes about itself and its clients, without an id (doc/spec, chapter 52)
        (r"(?:\[\d+\] )?(?:(?:Start|End) queue run: |exim \S+ daemon started|no host name found for IP address "
         r"|H=\S* ?(?:\(\S*\) )?\[[\d.a-fA-F:]+\].* (?:rejected|temporarily rejected|F=<))", "exim", (), True),
    )
)  # fmt: skip
# A word at least of every phrase that is looked for anywhere.
_HINT: Final = re.compile(
    r"SMTP timeout|Remote host|SMTP error from|Malformed SMTP|conversation with|lost connection|refused to talk"
    r"|said: \d"
    r"|connect to |Connected to |_to_|connection died|[Pp]rimary target IP|Failed to connect|4\.4\.\d|5\.4\.3|Sorry, I"
    r"|requests to connect|timeout waiting"
    r"|timeout writing|Deferred|mta error|mta delivery|PIX workarounds|QUEUE\.Expired"
    r"|connection closed in|connection reset in|RFC conformant|Exchange Server authentication|LastError|TLS is required"
    r"|command timeout|data timeout|IO Error|Connection closed unexpectedly|server cmd read|collect: "
    r"|disconnected abruptly|timeout after |disconnected reason"
)
# Of the line of an attempt, whatever stands before it.
_DELIVERY: Final = re.compile(
    r"\bstatus=(?:sent|deferred|bounced|expired)\b|\bstat=(?:Sent|Deferred)\b| (?:=>|->|>>|==|\*\*) \S{1,100}@"
    r"|\bresult=\"?(?:Ok|TempFail|PermFail)\b|\bdelivery \d+: (?:success|deferral|failure)\b"
)
_NEAR: Final = 1_024  # characters around such a word
_DISTINCT: Final = 18  # fixed letters of a phrase that is believed anywhere
_REFINED: Final = {"exim": exim.refined, "postfix": postfix.refined}
_ANYWHERE: Final = ("exim", "postfix", "qmail", "opensmtpd", "rfc5321")
_PEER: Final = re.compile(r"(?<![\w.-])(?P<host>[\w-]+(?:\.[\w-]+)+) ?\[(?P<ip>[0-9A-Fa-f.:]{3,45})\]")
_EXIM_ID: Final = re.compile(r"\b\w{6}-\w{6}(?:\w{5})?-\w{2}(?:\w{2})?\b")
_STAT: Final = re.compile(r"\bstat=(.*)")
_TOLD: Final = re.compile(r"(?:(?:sm-mta|sendmail)\S*: )?(timeout (?:waiting for input from|writing message to) .*)")


class LogReader:
    """Reads a log line by line; what several lines tell of one attempt becomes one reading."""

    def __init__(self, now: float | None = None) -> None:
        self._state = State()
        self._now = now
        self._local = False  # do its times lack a zone?
        self._programs: dict[str, Layout | None] = {}
        self.strange = False  # does the last line look like a delivery's, and is of a form that is not known?

    def feed(self, text: str, *, guess: bool = True, idle: bool = False) -> Iterator[Reading]:
        """The readings that are complete with this line. `guess`: phrases are looked for in unknown layouts, too.

        `idle`: also one with the fate "received" where a mail is named for the first time, and with "none" for a line
        of an MTA that tells nothing of a delivery; not of lines that are kept for what comes behind them.
        """
        self.strange = False
        if not text:
            return
        line = line_of(text[: limits.MAIL_LOG_LINE], self._now)
        if line.when is not None:
            self._local = line.local
        layout, found, state = self._of(line), False, self._state
        notes, arrived = state.notes, state.arrived
        for reader in layout.readers if layout is not None else ():
            for told in reader(line, state):
                found = True
                yield explained(_placed(told) if guess else told, local=self._local)
            if found:
                return
        # a line of a known layout that its reader made nothing of may have been copied by hand
        if guess and state.notes == notes:
            for told in anywhere(line, state):
                found = True
                yield explained(told, local=self._local)
        if layout is None and not (found or line.program or text[:1] == "#") and state.notes == notes:
            self.strange = bool(_DELIVERY.search(line.text))
        if not idle or found or layout is None or not _marked(layout, line):
            return
        if state.arrived > arrived or state.notes == notes:
            fate = "received" if state.arrived > arrived else "none"
            yield Reading(line.whole, layout.mta, when=line.when, local=line.local, fate=fate)

    def rest(self) -> Iterator[Reading]:
        """What has waited for a line that never came."""
        for told in self._state.rest():
            yield explained(told, local=self._local)

    def knows(self, text: str) -> bool:
        """Is it a line of a mail server?"""
        line = line_of(text[: limits.MAIL_LOG_LINE], self._now)
        if text.startswith("#Software: Microsoft Exchange"):
            return True
        layout = self._of(line)
        if layout is not None and _marked(layout, line) and (line.program or line.when is not None):
            return True
        return any(True for _ in self.feed(text)) or bool(self._state.pending)

    def mta(self, text: str) -> str:
        """Whose line it is, whatever it tells; "" for none that is known."""
        line = line_of(text[: limits.MAIL_LOG_LINE], self._now)
        layout = self._of(line)
        return layout.mta if layout is not None and _marked(layout, line) else ""

    def _of(self, line: Line) -> Layout | None:
        if not line.program:
            return _first(_SHAPES, line.text)
        if line.program in self._programs:
            return self._programs[line.program]
        known = _first(_PROGRAMS, line.program)
        if len(self._programs) < 1_000:
            self._programs[line.program] = known
        return known


def _first(table: Iterable[Layout], text: str) -> Layout | None:
    return next((layout for layout in table if layout.pattern.match(text)), None)


def _marked(layout: Layout, line: Line) -> bool:
    return layout.marked or bool(line.program)


def _placed(told: Reading) -> Reading:
    """By a phrase within a text that is not known as a whole."""
    if not told.unplaced or told.reply:
        return told
    within = next((each for each in anywhere(Line(told.line, None, "", told.text), State()) if each.phases), None)
    if within is None:
        return told
    return told._replace(
        phases=within.phases, broken=within.broken, stage=within.stage, octets=within.octets, reply=within.reply,
        duplicate_risk=within.duplicate_risk, host=told.host or within.host, ip=told.ip or within.ip,
    )  # fmt: skip


def anywhere(line: Line, state: State) -> Iterator[Reading]:
    """A phrase in a line of unknown layout: a quotation, a ticket, a bounce."""
    hint = _HINT.search(line.text)
    if hint is None:
        return
    # what is far from it is of no interest, and costs time
    near = line.text[max(hint.start() - _NEAR // 8, 0) : hint.start() + _NEAR]
    line = line._replace(text=near)
    for reader in (exchange.read, receivers.read, qmail.read, gmail.read):
        if told := list(reader(line, state)):
            yield from told
            return
    text = exim.normal(line.text)
    if text == line.text:
        text = postfix.normal(text)
    for name in _ANYWHERE:
        if (found := phrases.sense(name, text, anywhere=_DISTINCT)) is not None:
            refine = _REFINED.get(name)
            found = refine(found, line.text) if refine is not None else found
            if found.text not in line.text:  # older wording: as it stands
                found = found._replace(text=line.text[min(hint.start(), _NEAR // 8) :].strip())
            peer, number = _PEER.search(line.text), _EXIM_ID.search(line.text)
            yield reading(
                line, name, found, host=peer["host"] if peer else "", ip=peer["ip"] if peer else "",
                queue_id=number[0] if number and name == "exim" else "",
            )  # fmt: skip
            return
    if stat := _STAT.search(line.text):
        found = phrases.sense("sendmail", stat[1].strip())
        if found is not None:
            yield reading(line, "sendmail", found)
    elif notice := _TOLD.search(line.text):
        alone = State()
        quoted = line._replace(text=f"NOQUEUE: {notice[1]}")
        yield from (*sendmail.read(quoted, alone), *(each._replace(queue_id="") for each in alone.rest()))
