"""Rules whose deciding octets this capture cannot hold: those of the reply that never came, and, on the receiver's
side, those of the segment that was cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from smtpinspect.actions import Strength
from smtpinspect.diagnose.causes.scene import Direction, Scene
from smtpinspect.diagnose.causes.wire import Look, fit
from smtpinspect.diagnose.model import Case, Sign
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule
from smtpinspect.simulate.script import Command, Script

# What is read where the flow stands: kinds of facts by place. A text that has not begun may hold all of it.
BODY: Final = frozenset({"Part", "Content", "Line", "EndOfData", "Count"})
PLACES: Final[Mapping[str, frozenset[str]]] = {
    "command": frozenset({"Command", "Path", "EmptyLine", "Line", "Count"}),
    "text": BODY | {"Field"},
    "body": BODY,
    "reply": frozenset({"Reply", "ReplyLine", "Line"}),
}
# Verbs that a server need not know: 500 and 502 are likely replies (RFC 5321 4.2.4).
CORE: Final = frozenset({"HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"})
ASK: Final[Mapping[Direction, str]] = {
    "client": "the octets that would decide are not in this capture: get the sender's, or the message",
    "server": "the reply that would decide is not in this capture: get the receiver's",
}


class Hidden(NamedTuple):
    """A rule that may have fired. `strong`: what is seen makes its octets likely."""

    rule: str
    title: str
    label: str
    look: Look
    strong: bool
    evidence: tuple[Sign, ...]


def hidden(case: Case, scene: Scene) -> tuple[Hidden, ...]:
    """Each rule once, strong ones first."""
    found: dict[str, Hidden] = {}
    for label, spec in case.specs.items():
        rows = _rows(spec)
        for each in (*_replies(case, scene, label, rows), *_cut(case, scene, label, rows)):
            known = found.get(each.rule)
            if known is None or (each.strong and not known.strong):
                found[each.rule] = each
    return tuple(sorted(found.values(), key=lambda each: not each.strong))


_TABLES: dict[str, tuple[Rule, ...]] = {}


def _rows(spec: str | Inspector) -> tuple[Rule, ...]:
    if isinstance(spec, Inspector):
        return spec.table()
    if spec not in _TABLES:
        _TABLES.clear() if len(_TABLES) > 64 else None
        _TABLES[spec] = registry.load(spec).table()
    return _TABLES[spec]


def _replies(case: Case, scene: Scene, label: str, rows: Iterable[Rule]) -> Iterator[Hidden]:
    """A command waits for its reply, which the box may have cut."""
    waiting = _waiting(case.script)
    if waiting is None or scene.side == "receiver" or scene.server.lost:
        return
    unsure = waiting.verb not in CORE and not _offered(case.script, waiting.verb)
    for row in _possible(rows, "reply", scene, "server"):
        strong = unsure and row.when.kind.name == "Reply"
        text = f"{waiting.verb or 'a line'} has no reply"
        text += ", and the server may not know it; " if strong else "; "
        yield Hidden(row.id, row.title, label, _look(row, scene), strong, (Sign(None, text + ASK["server"]),))


def _cut(case: Case, scene: Scene, label: str, rows: Iterable[Rule]) -> Iterator[Hidden]:
    """The client's octets end, or have a hole, and nothing behind is in the capture."""
    if scene.client.lost and scene.client.hole is None:
        return
    if scene.side == "sender":
        return
    for row in _possible(rows, _place(case), scene, "client"):
        yield Hidden(row.id, row.title, label, _look(row, scene), False, (Sign(None, ASK["client"]),))


def _possible(rows: Iterable[Rule], place: str, scene: Scene, direction: Direction) -> Iterator[Rule]:
    for row in rows:
        if row.kind == "seen" or not (row.breaks or row.action.strength >= Strength.ANSWER):
            continue
        if row.when.kind.name not in PLACES[place] or fit(row, scene, direction) is None:
            continue
        if row.when.kind.name not in _SHARED or place in _where(row):
            yield row


# Kinds of facts that are born in more than one place, and those of their rules.
_SHARED: Final = frozenset({"Line", "Count"})
_COMMANDS: Final = ("217.command", "cmd-line-length", "rcpt-count", "invalid-recipients", "rate-limit")


def _where(row: Rule) -> tuple[str, ...]:
    if row.id.endswith(_COMMANDS):
        return ("command",)
    if row.id.endswith(".reply"):
        return ("reply",)
    return ("text", "body") if ".body" in row.id else ("text",)


def _look(row: Rule, scene: Scene) -> Look:
    made = fit(row, scene, "client")
    assert made is not None
    return made


def _waiting(script: Script | None) -> Command | None:
    if script is None:
        return None
    return next((each for each in script.commands if each.reply is None), None)


def _offered(script: Script | None, verb: str) -> bool:
    if script is None:
        return False
    offered = {word.split()[0].upper().partition("=")[0] for word in script.keywords if word}
    return {"EHLO": False, "BDAT": "CHUNKING" in offered}.get(verb, verb in offered)


def _place(case: Case) -> str:
    """Where the client's dialogue stands when its octets end."""
    mail = case.transaction
    if mail is None or mail.text_at is None or mail.complete:
        return "command"
    return "body" if b"\r\n\r\n" in mail.text else "text"
