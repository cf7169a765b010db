"""Which rules a stored message would trip: it goes through the core as a capture of its sending would."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail, excerpt
from smtpinspect.diagnose.stored.dialogue import END, IP_LINK, SERVER, begin_of_text, client_of, index_of, packets
from smtpinspect.diagnose.stored.mailbox import Box, Stored, boxes
from smtpinspect.diagnose.stored.places import Places
from smtpinspect.engine import Engine
from smtpinspect.facts import CONTENT, COUNT, END_OF_DATA, FIELD, LINE, PART, Test
from smtpinspect.inspectors.base import Rule
from smtpinspect.source import open_source

_FRAME: Final = 0.001  # seconds between two packets
_START: Final = 1_000_000_000
# Kinds of facts that the text alone decides; of LINE and COUNT only some, below.
_ON_TEXT: Final = (FIELD, PART, CONTENT)
_SOME: Final = {
    LINE: ("where", frozenset(("header", "part-header", "body"))),
    COUNT: ("what", frozenset(("header-octets", "body-octets", "to-addresses"))),
}


class Fired(NamedTuple):
    """A rule that the message trips. `line` is that of the file; `octets` are the evidence, escaped."""

    alert: Alert
    where: str
    line: int

    def record(self) -> dict[str, Any]:
        """The object of `--format json`."""
        return {
            "rule": self.alert.rule,
            "where": self.where,
            "line": self.line,
            "octets": excerpt(self.alert.octets),
            "action": self.alert.action,
            "inspector": self.alert.inspector,
            "detail": self.alert.detail,
            "breaks": self.alert.breaks,
        }


class Checked(NamedTuple):
    """A message, and the rules that it trips, in the order of its octets; 16 alerts of a rule at most."""

    stored: Stored
    subject: str | None
    fired: tuple[Fired, ...]
    octets: int  # of the text on the wire

    def record(self, not_judged: Sequence[Unjudged]) -> dict[str, Any]:
        """The object of `--format json`."""
        made: dict[str, Any] = {"file": self.stored.file}
        if self.stored.number:
            made["number"] = self.stored.number
        made["subject"] = self.subject
        made["alerts"] = [each.record() for each in self.fired]
        made["not_judged"] = [str(each) for each in not_judged]
        return made


class _Pending:
    """A message on its way through the core."""

    def __init__(self, stored: Stored, box: Box) -> None:
        self.stored, self.box = stored, box
        self.alerts: list[Alert] = []
        self.subject: str | None = None
        self.octets = 0


def check(
    paths: Sequence[str],
    engine: Engine,
    *,
    utf8: bool = False,
    progress: Callable[[Engine], None] | None = None,
) -> Iterator[Checked]:
    """Every message of these files, in order. `utf8`: it is sent with SMTPUTF8 (RFC 6531).

    Memory is bounded: mailboxes are read in pieces, and a message that trips something is read once more to tell
    where. Raises UsageError for a file that cannot be read or holds no message; what came before it has been told.
    """
    waiting: deque[_Pending] = deque()
    open_boxes: deque[Box] = deque()
    port = _port(engine)
    failed: list[BaseException] = []

    def frames() -> Iterator[tuple[float, bytes]]:
        index = number = 0
        for path in paths:
            for box in boxes(path):
                open_boxes.append(box)
                for stored, pieces in box.messages():
                    pending = _Pending(stored, box)
                    waiting.append(pending)
                    for packet in packets(index, _counted(pending, pieces), port, utf8):
                        number += 1
                        yield _START + number * _FRAME, packet
                    index += 1

    def guarded() -> Iterator[tuple[float, bytes]]:
        try:
            yield from frames()
        except BaseException as error:  # told when the messages before it have been
            failed.append(error)

    base = 0
    begin = begin_of_text(utf8)
    finished: dict[int, _Pending] = {}
    try:
        for record in engine.run(open_source(guarded(), linktype=IP_LINK), progress=progress):
            if not isinstance(record, (Alert, Mail, Flow)):
                continue
            index = index_of(record.client)
            pending = waiting[index - base]
            if isinstance(record, Alert):
                if record.direction == "client" and begin <= record.offset < begin + pending.octets + len(END):
                    pending.alerts.append(record)
            elif isinstance(record, Mail):
                pending.subject = record.subject
            else:
                finished[index] = pending
                while base in finished:
                    told = finished.pop(base)
                    waiting.popleft()
                    base += 1
                    _close(open_boxes, told.box)
                    yield _located(told, begin)
    finally:
        for box in open_boxes:
            box.close()
    if failed:
        raise failed[0]


def _counted(pending: _Pending, pieces: Iterable[Any]) -> Iterator[bytes]:
    for piece in pieces:
        pending.octets += len(piece.wire)
        yield piece.wire


def _close(open_boxes: deque[Box], box: Box) -> None:
    """The boxes before this one are through."""
    while open_boxes and open_boxes[0] is not box:
        open_boxes.popleft().close()


def _located(pending: _Pending, begin: int) -> Checked:
    stored = pending.stored
    if not pending.alerts:
        return Checked(stored, pending.subject, (), pending.octets)
    wanted = sorted({alert.offset - begin for alert in pending.alerts})
    found: dict[int, tuple[str, int]] = {}
    places, at, k = Places(), 0, 0
    where, line = "", stored.line
    for piece in pending.box.again(stored):
        plain = piece.wire[1:] if piece.wire.startswith(b"..") else piece.wire
        where = places.line(plain) if piece.first else places.more()
        line = piece.line
        at += len(piece.wire)
        while k < len(wanted) and wanted[k] < at:
            found[wanted[k]] = where, line
            k += 1
        if k == len(wanted):
            break
    for offset in wanted[k:]:
        found[offset] = "end of the message", line
    fired = [Fired(alert, *found[alert.offset - begin]) for alert in pending.alerts]
    fired.sort(key=lambda one: one.alert.offset)
    return Checked(stored, pending.subject, tuple(fired), pending.octets)


def _port(engine: Engine) -> int:
    """A server port at which most of the inspectors look."""
    client = ":".join(map(str, client_of(0)))

    def looking(port: int) -> int:
        return sum(engine.looks_at(label, client, f"{SERVER}:{port}") for label in engine.labels)

    return max(engine.ports, key=looking)


class Unjudged(NamedTuple):
    """Something that no stored message can tell, and the rules in force that hang on it."""

    text: str
    rules: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text}: {', '.join(self.rules)}" if self.rules else self.text


def unjudged(engine: Engine) -> list[Unjudged]:
    """What `check` leaves out under these settings."""
    dialogue: dict[str, None] = {}
    borders: dict[str, None] = {}
    for inspector in engine.inspectors:
        for row in inspector.table():
            if row.kind == "emulate" and not on_text(row):
                (borders if row.when.kind is END_OF_DATA else dialogue)[row.id] = None
    port = _port(engine)
    client = ":".join(map(str, client_of(0)))
    blind = [label for label in engine.labels if not engine.looks_at(label, client, f"{SERVER}:{port}")]
    told = [
        Unjudged("the dialogue around it: greeting, keywords, commands, addresses, replies, TLS", (*sorted(dialogue),)),
        Unjudged("borders of segments: how the sender's network parts the text", (*sorted(borders),)),
        Unjudged(
            "what mail servers add or change before it is sent: Received, DKIM-Signature, folding, line ends, "
            "8-bit text encoded anew; check the copy that the last one of them holds"
        ),
    ]
    if engine.program.scopes.any:
        told.append(Unjudged("who sends it to whom (inside=, exclusions=): it is taken for mail between strangers"))
    return told + [Unjudged(f"{label} does not look at such mail by its settings") for label in blind]


def on_text(row: Rule) -> bool:
    """Does the text of the message alone decide this row?"""
    kind = row.when.kind
    tests = dict(row.when.tests)
    if kind in _ON_TEXT:
        return True
    if kind in _SOME:
        name, words = _SOME[kind]
        listed = kind.fields[name].words
        test = tests.get(name)
        return test is None or any(listed[int(number)] in words for number in test.values)
    return kind is END_OF_DATA and tests.get("variant") != Test("eq", (1,))
