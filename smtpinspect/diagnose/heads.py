"""Beside the records of a pass, what the dialogues begin with: greetings, keywords, the head of each mail's text.

Memory is bounded: for each connection that is open a few thousand octets, and so many mails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail, ObjectSink
from smtpinspect.diagnose.properties import NAME as PROPERTIES
from smtpinspect.engine import PORTS, Engine, Run, Stats
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.base import Inspector
from smtpinspect.simulate.guess import RECEIVED, RECEIVED_HEAD, received
from smtpinspect.source import Input

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Watch

SERVER: Final = 1


class Sent(NamedTuple):
    """A mail that is over. `mta` has put the first Received field on it, "": it is not told. `broken`: what breaks the
    flow of its connection, one alert for each rule of each inspector. `marks`: full ids of its properties.
    """

    mail: Mail
    mta: str
    broken: tuple[Alert, ...]
    marks: frozenset[str] = frozenset()


class Talk(NamedTuple):
    """A connection that is over, behind its mails. `encrypted`: with STARTTLS, or from the start."""

    flow: Flow
    greeting: str  # its first line without code
    keywords: tuple[str, ...]  # of the first reply to EHLO
    encrypted: bool


@dataclass(slots=True)
class _Records:
    """Those of a connection, until it is over."""

    mails: deque[Mail] = field(default_factory=deque)
    broken: dict[tuple[str, str], Alert] = field(default_factory=dict)
    marks: dict[int | None, set[str]] = field(default_factory=dict)  # by tx_id
    texts: int = 0  # of mails that have been told already
    encrypted: bool = False

    def add(self, mail: Mail) -> Iterator[Sent]:
        """Of too many mails the first ones are told at once: whose text is whose shows in the end only."""
        self.encrypted = self.encrypted or mail.outcome == "encrypted"
        self.mails.append(mail)
        if len(self.mails) > limits.HEARD_MAILS:
            first = self.mails.popleft()
            self.texts += bool(first.octets)
            yield Sent(first, "", tuple(self.broken.values()), self._marks(first))

    def sent(self, senders: Sequence[str]) -> Iterator[Sent]:
        """Texts and mails come in the same order; a mail without octets has no text."""
        told, broken = iter(senders[self.texts :]), tuple(self.broken.values())
        for mail in self.mails:
            yield Sent(mail, next(told, "") if mail.octets else "", broken, self._marks(mail))

    def _marks(self, mail: Mail) -> frozenset[str]:
        return frozenset(self.marks.pop(mail.tx_id, ()))


class _Open:
    __slots__ = ("senders", "server", "starttls", "text", "verbs")

    def __init__(self) -> None:
        self.server = bytearray()
        self.text: bytearray | None = None
        self.senders: list[str] = []
        self.verbs: list[bytes] = []
        self.starttls = False


class _Tape:
    """Hears what the machine reads; each method gets the connection's first packet."""

    def __init__(self) -> None:
        self.open: dict[int, _Open] = {}

    def of(self, conn: int) -> _Open:
        made = self.open.get(conn)
        if made is None:
            made = self.open[conn] = _Open()
        return made

    def stream(self, conn: int, side: int, at: int, octets: bytes, _: Any) -> None:
        if side == SERVER and at < limits.DIALOGUE_HEAD:
            talk = self.of(conn)
            if len(talk.server) == at:
                talk.server += octets[: limits.DIALOGUE_HEAD - at]

    def command(self, conn: int, line: bytes, *_: Any) -> None:
        talk = self.of(conn)
        if len(talk.verbs) < 2:
            talk.verbs.append(line[:5].upper())

    def text_begin(self, conn: int, *_: Any) -> None:
        self._close(self.of(conn))

    def text(self, conn: int, octets: bytes, *_: Any) -> None:
        talk = self.of(conn)
        if talk.text is None:
            talk.text = bytearray()
        if len(talk.text) < RECEIVED_HEAD:
            talk.text += octets[: RECEIVED_HEAD - len(talk.text)]

    def text_end(self, conn: int, *_: Any) -> None:
        self._close(self.of(conn))

    def chunk_done(self, conn: int, _: int, last: bool, *__: Any) -> None:
        if last:
            self._close(self.of(conn))

    def starttls(self, conn: int, *_: Any) -> None:
        self.of(conn).starttls = True

    implicit_tls = starttls

    def __getattr__(self, name: str) -> Any:
        return _nothing

    def _close(self, talk: _Open) -> None:
        if talk.text is not None:
            talk.senders.append(_sender(bytes(talk.text)))
            talk.text = None

    def finish(self, conn: int) -> _Open:
        """What was heard of a connection that is over; it is forgotten here."""
        talk = self.open.pop(conn, None) or _Open()
        self._close(talk)
        return talk


def _nothing(*_: Any) -> None:
    """The rest is of no interest here."""


def talks(
    source: Input,
    inspectors: Sequence[str | Inspector] | None,
    *,
    ports: Sequence[int] = PORTS,
    watch: Watch | None = None,
) -> Iterator[Sent | Talk | Stats | CaptureError]:
    """The mails of each connection when it is over, and the connection; then the sums, and why the capture could not
    be read to its end, where so. On Ctrl-C that of what was read comes before KeyboardInterrupt goes on. Raises
    UsageError like Engine.run.
    """
    engine = Engine(inspectors, ports=ports)
    tape = _Tape()
    run = Run(engine, source, ObjectSink(engine.program, alerts=True, mails=True, flows=True), tape)
    known: dict[int, _Records] = {}
    stopped: KeyboardInterrupt | None = None
    try:
        with watch(engine) if watch is not None else nullcontext():
            try:
                for record in run.records():
                    yield from _told(record, known, tape)
            except KeyboardInterrupt as error:
                stopped = error
        yield run.stats(stopped is not None)
        if stopped is not None:
            raise stopped
        if run.replay.fault is not None:
            yield run.replay.fault
    finally:
        run.close()


def _told(record: Alert | Mail | Flow, known: dict[int, _Records], tape: _Tape) -> Iterator[Sent | Talk]:
    if isinstance(record, Alert):
        if record.breaks:
            broken = known.setdefault(record.flow_id, _Records()).broken
            broken.setdefault((record.inspector, record.rule), record)
        elif record.inspector == PROPERTIES:
            known.setdefault(record.flow_id, _Records()).marks.setdefault(record.tx_id, set()).add(record.rule)
    elif isinstance(record, Mail):
        yield from known.setdefault(record.flow_id, _Records()).add(record)
    else:
        heard, mine = tape.finish(record.first_packet), known.pop(record.flow_id, None) or _Records()
        yield from mine.sent(heard.senders)
        greeting, keywords = _said(bytes(heard.server), heard.verbs)
        yield Talk(record, greeting, keywords, heard.starttls or mine.encrypted)


def _sender(text: bytes) -> str:
    told = received(text)
    return next((mark.mta for mark in RECEIVED if told and mark.pattern.search(told)), "")


def _said(octets: bytes, verbs: Sequence[bytes]) -> tuple[str, tuple[str, ...]]:
    """The greeting's first line, and the keywords of the reply to EHLO where that was the first or second command."""
    replies: list[list[str]] = [[]]
    for line in octets.decode("latin-1").split("\n")[:-1]:
        text = line.rstrip("\r")
        replies[-1].append(text)
        if text[3:4] != "-":
            replies.append([])
        if len(replies) > 3:
            break
    greeting = replies[0][0][4:] if replies[0] else ""
    for verb, reply in zip(verbs, replies[1:], strict=False):
        if verb in (b"EHLO ", b"LHLO ") and reply and reply[0].startswith("250"):
            return greeting, tuple(line[4:].split(" ")[0].upper() for line in reply[1:])
    return greeting, ()
