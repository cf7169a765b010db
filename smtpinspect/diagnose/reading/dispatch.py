"""Whose line is it? By the program that syslog names, else by its shape, else by a phrase anywhere in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import (
    exchange,
    exim,
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

# First match counts. A program's readers are asked in turn until one has something to tell.
_PROGRAMS: Final[tuple[tuple[re.Pattern[str], tuple[Reader, ...]], ...]] = tuple(
    (re.compile(pattern), readers)
    for pattern, readers in (
        (r"postfix[\w.-]*(?:/[\w.-]+)*/(?:smtpd|postscreen)$", (receivers.read,)),
        (r"postfix[\w.-]*(?:/[\w.-]+)*$", (postfix.read,)),
        (r"(?:sendmail|sm-mta|sm-msp-queue|sm-msp|sendmail-[\w-]+)$", (sendmail.read, receivers.read)),
        (r"exim4?$", (exim.read, receivers.read)),
        (r"smtpd$", (opensmtpd.read, receivers.read)),
        (r"(?:qmail|qmail-send|splogger|send)$", (qmail.read,)),
    )
)
_SHAPES: Final[tuple[tuple[re.Pattern[str], tuple[Reader, ...]], ...]] = tuple(
    (re.compile(pattern), readers)
    for pattern, readers in (
        (rf"(?:\[\d+\] )?{exim.ID} ", (exim.read, receivers.read)),
        (r"(?:\[\d+\] )?(?:SMTP (?:command|data|connection) |unexpected disconnection)", (receivers.read,)),
        (r"[0-9a-f]{16} (?:mta|smtp) |smtp-out: ", (opensmtpd.read, receivers.read)),
        (r"(?:starting )?delivery \d+: |info msg \d+: |(?:status|end msg|new msg)", (qmail.read,)),
        (rf"{sendmail.ID}: (?:to|from)=[^<]|{sendmail.ID}: (?:timeout|SYSERR|collect|lost input)", (
            sendmail.read, receivers.read)),
        (rf"{postfix.ID}: |connect to |(?:timeout|lost connection) after ", (postfix.read, receivers.read)),
        (r"[^,]*,[0-9A-F]{12,16},\d+,|[0-9A-F]{12,16},\d+,", (exchange.read,)),
        (r"<[^>]*> (?:deferred|bounced|delivered) by ", (rfc5321.read,)),
    )
)  # fmt: skip
# A word at least of every phrase that is looked for anywhere.
_HINT: Final = re.compile(
    r"SMTP timeout|Remote host|SMTP error from|Malformed SMTP|conversation with|lost connection|refused to talk"
    r"|said: \d"
    r"|connect to |Connected to |_to_|connection died|Primary target IP|4\.4\.\d|5\.4\.3|Sorry, I|timeout waiting"
    r"|timeout writing|Deferred|mta error|mta delivery|PIX workarounds|QUEUE\.Expired"
    r"|connection closed in|connection reset in|RFC conformant|Exchange Server authentication|LastError|TLS is required"
    r"|command timeout|data timeout|IO Error|Connection closed unexpectedly|server cmd read|collect: "
    r"|disconnected abruptly|timeout after |disconnected reason"
)
_NEAR: Final = 1_024  # characters around such a word
_DISTINCT: Final = 18  # fixed letters of a phrase that is believed anywhere
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
        self._readers: dict[str, tuple[Reader, ...]] = {}

    def feed(self, text: str, *, guess: bool = True) -> Iterator[Reading]:
        """The readings that are complete with this line. `guess`: phrases are looked for in unknown layouts, too."""
        if not text:
            return
        line = line_of(text[: limits.MAIL_LOG_LINE], self._now)
        if line.when is not None:
            self._local = line.local
        readers, found, notes = self._of(line), False, self._state.notes
        for reader in readers:
            for told in reader(line, self._state):
                found = True
                yield explained(told, local=self._local)
            if found:
                return
        # a line of a known layout that its reader made nothing of may have been copied by hand
        if guess and self._state.notes == notes:
            for told in anywhere(line, self._state):
                yield explained(told, local=self._local)

    def rest(self) -> Iterator[Reading]:
        """What has waited for a line that never came."""
        for told in self._state.rest():
            yield explained(told, local=self._local)

    def knows(self, text: str) -> bool:
        """Is it a line of a mail server?"""
        line = line_of(text[: limits.MAIL_LOG_LINE], self._now)
        if text.startswith("#Software: Microsoft Exchange"):
            return True
        readers = self._of(line)
        if readers and (line.program or (line.when is not None and readers[0] is exim.read)):
            return True
        return any(True for _ in self.feed(text)) or bool(self._state.pending)

    def _of(self, line: Line) -> tuple[Reader, ...]:
        if line.program:
            known = self._readers.get(line.program)
            if known is None:
                known = _first(_PROGRAMS, line.program)
                if len(self._readers) < 1_000:
                    self._readers[line.program] = known
            return known
        return _first(_SHAPES, line.text)


def _first(
    table: Iterable[tuple[re.Pattern[str], tuple[Reader, ...]]], text: str
) -> tuple[Reader, ...]:
    return next((readers for pattern, readers in table if pattern.match(text)), ())


def anywhere(line: Line, state: State) -> Iterator[Reading]:
    """A phrase in a line of unknown layout: a quotation, a ticket, a bounce."""
    hint = _HINT.search(line.text)
    if hint is None:
        return
    # what is far from it is of no interest, and costs time
    near = line.text[max(hint.start() - _NEAR // 8, 0) : hint.start() + _NEAR]
    line = line._replace(text=near)
    for reader in (exchange.read, receivers.read, qmail.read):
        if told := list(reader(line, state)):
            yield from told
            return
    text = exim.normal(line.text)
    if text == line.text:
        text = postfix.normal(text)
    for name in _ANYWHERE:
        if (found := phrases.sense(name, text, anywhere=_DISTINCT)) is not None:
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
