"""Rules whose deciding octets this capture cannot hold: those of the reply that never came, and, on the receiver's
side, those of the segment that was cut."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from smtpinspect._core.views import excerpt
from smtpinspect.actions import Strength
from smtpinspect.diagnose.account.spoken import TEXT
from smtpinspect.diagnose.causes.loaded import rules_of
from smtpinspect.diagnose.causes.scene import PATIENT, Direction, Scene
from smtpinspect.diagnose.causes.wire import Look, fit
from smtpinspect.diagnose.model import Case, Difference, Sign
from smtpinspect.diagnose.survey import EVERY
from smtpinspect.inspectors.base import Rule
from smtpinspect.simulate.script import Script

# What is read where the flow stands: kinds of facts by place. A text that has not begun may hold all of it.
BODY: Final = frozenset({"Part", "Content", "Line", "EndOfData", "Count", "EmptyLine"})
FACTS_AT: Final[Mapping[str, frozenset[str]]] = {
    "command": frozenset({"Command", "Path", "EmptyLine", "Line", "Count"}),
    "text": BODY | {"Field"},
    "body": BODY,
    "reply": frozenset({"Reply", "ReplyLine", "Line", "Count"}),
}
_ENDLESS: Final = re.compile(rb"220-[^\n]*\*{4}")
_SIZE: Final = re.compile(rb" SIZE=(\d{1,9})\b", re.I)
REPLY_LINE: Final = 512  # octets that a reply's line may have (RFC 5321 4.5.3.1.5)
ATTACHED: Final = 512  # octets that no mail with an archive or a program is below: headers of the mail and of its parts
# Verbs that a server need not know: 500 and 502 are likely replies (RFC 5321 4.2.4).
END: Final = "the end of data"
LOST: Final = ("dropped", "withheld")  # between points of the path
CORE: Final = frozenset({END, "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"})
ASK: Final[Mapping[Direction, str]] = {
    "client": "the bytes that would decide are not in this capture: get the sender's, or the message",
    "server": "the reply that would decide is not in this capture: get the receiver's",
}


class Hidden(NamedTuple):
    """A rule that may have fired. `strong`: what is seen makes its octets likely. `reply`: it is the one reply that
    never came whose octets decide."""

    rule: str
    title: str
    label: str
    look: Look
    strong: bool
    default: bool  # the flow ends so by itself, without another setting
    evidence: tuple[Sign, ...]
    reply: bool = False
    about: str = ""  # what its octets would be part of; "" where what decides is seen all the same
    deep: bool = False  # it reads an attachment, and not even the text's first octet came


def hidden(case: Case, scene: Scene, out: Collection[tuple[str, str]] = ()) -> tuple[Hidden, ...]:
    """Each rule once, strong ones first. `out`: inspectors' labels and rules that let such octets pass."""
    found: dict[str, Hidden] = {}
    for label, spec in case.specs.items():
        rows = rules_of(spec)
        for each in (
            *_greeting(case, scene, label, rows), *_replies(case, scene, label, rows), *_cut(case, scene, label, rows)
        ):  # fmt: skip
            known = found.get(each.rule)
            if (label, each.rule) not in out and (known is None or _better(each) < _better(known)):
                found[each.rule] = each
    return tuple(sorted(found.values(), key=_better))


def _better(one: Hidden) -> tuple[bool, bool]:
    return not one.strong, not one.default


def endless(case: Case, scene: Scene) -> bool:
    """Is the greeting's last line lost in its mask, and does the client wait for more?"""
    greeting = case.script.greeting if case.script is not None else None
    if greeting is None or scene.client.sent:
        return False
    return bool(_ENDLESS.match(greeting.octets)) and b"\n220 " not in greeting.octets


def _greeting(case: Case, scene: Scene, label: str, rows: Iterable[Rule]) -> Iterator[Hidden]:
    if not endless(case, scene):
        return
    for row in rows:
        if row.breaks and row.when.kind.name == "Greeting":
            look = fit(row, scene)
            text = "the greeting is masked with stars, and its last line is none: the client waits for it"
            if look is not None:
                yield Hidden(row.id, row.title, label, look, True, True, (Sign(None, text),))


def _replies(case: Case, scene: Scene, label: str, rows: Iterable[Rule]) -> Iterator[Hidden]:
    """A command waits for its reply, which the box may have cut, or for the rest of it."""
    begun = _amid_line(case)
    if begun > REPLY_LINE and scene.side != "receiver":
        text = f"the server's bytes end {begun:,} bytes into a line of a reply; its rest is not in this capture"
        lines = (row for row in _possible(rows, "reply", scene) if row.when.kind.name == "Line")
        yield from (_made(row, label, scene, True, text)._replace(about="") for row in lines)
    waiting = _waiting(case)
    if not waiting or scene.side == "receiver" or scene.server.lost or _unheard(case, scene, waiting):
        return
    if case.observed.outcome == "accepted" or _unsaid(case) or _none_elsewhere(case):
        return  # the reply is in the capture, or never was on the way
    lost = next((each for each in case.differences if each.direction == "server" and each.kind in LOST), None)
    for row in _possible(rows, "reply", scene):
        if lost is not None and lost.what == "octets" and row.when.kind.name != "Count":
            # another point of the path shows it
            if _trips(row, lost, _begun(case, lost)):
                text = f"the reply that never came was {excerpt(lost.before)[:60]}"
                yield _made(row, label, scene, True, text)._replace(about="")
            continue
        strong = unsure(case) and row.when.kind.name == "Reply"
        text = f"{waiting} has no reply"
        text += ", and the server may not know it; " if strong else "; "
        yield _made(row, label, scene, strong, text + ASK["server"])._replace(reply=True)


def _amid_line(case: Case) -> int:
    """Octets of the line amid which the server's octets end."""
    said = case.script.streams[1] if case.script is not None else b""
    return len(said) - said.rfind(b"\n") - 1


def _unheard(case: Case, scene: Scene, waiting: str) -> bool:
    """Was text lost on its way? Then the server never had anything to reply to. Of a lone command that cannot be told:
    its reply may have carried the acknowledgement; but by another point, to which it never came."""
    gone = (one for one in case.differences if one.direction == "client" and one.kind in LOST and one.what == "octets")
    if scene.client.lost and any(one.at <= scene.client.through < one.at + one.length for one in gone):
        return True
    return scene.client.lost and (waiting == END or (waiting == "BDAT" and not unsure(case)))


def _unsaid(case: Case) -> bool:
    """Does the server, when it or the client closes, count no more octets than came by? Then it had not replied."""
    account = case.account
    if case.observed.broken.by != "server" or account is None or account.ended is None:
        return False
    behind = (p for p in account.packets if not p.by_client and p.number >= account.ended.number)
    return any(p.at == account.server.end for p in behind)


def _none_elsewhere(case: Case) -> bool:
    """Did the server say no more at another point, nearer to it, whose capture went on long enough?"""
    account, points = case.account, case.elsewhere.values()
    if account is None or any(one.direction == "server" and one.kind in LOST for one in case.differences):
        return False
    waited = max((p.ns for p in account.client.sent), default=0) + PATIENT
    return any(0 < each.account.server.end <= account.server.end and each.until_ns >= waited for each in points)


def _begun(case: Case, lost: Difference) -> int:
    """Octets of the line in which it begins that came through before it."""
    if case.script is None:
        return 0
    said = case.script.streams[1][: lost.at]
    return len(said) - said.rfind(b"\n") - 1


def _trips(row: Rule, lost: Difference, begun: int) -> bool:
    """Would the reply that was lost trip this row?"""
    lines = lost.before.removesuffix(b"\r\n").split(b"\r\n")
    tests = dict(row.when.tests)
    if row.when.kind.name == "Reply":
        code = lines[-1][:3]
        return "code" in tests and code.isdigit() and int(code) in tests["code"].values
    if row.when.kind.name == "ReplyLine":
        return any(len(line) < 3 for line in lines[1 if begun else 0 :])
    limit = tests["length"].values[0] if "length" in tests else None
    longest = begun + lost.length if len(lines) == 1 else max(begun + len(lines[0]), *map(len, lines[1:]))
    return isinstance(limit, int) and longest > limit


def _cut(case: Case, scene: Scene, label: str, rows: Iterable[Rule]) -> Iterator[Hidden]:
    """The client's octets end, or have a hole, and nothing behind is in the capture."""
    if scene.client.lost and scene.client.hole is None:
        return
    if scene.side == "sender" or (scene.side == "unknown" and _place(case, scene) == "command"):
        return
    if case.observed.outcome == "accepted":
        return  # all of this mail was answered
    unread = case.transaction is not None and not case.transaction.text and not named(case)
    for row in _possible(rows, _place(case, scene), scene):
        deep = unread and row.when.kind.name == "Content"
        if not (deep and _too_small(case)):
            yield _made(row, label, scene, False, ASK["client"])._replace(deep=deep)


def _too_small(case: Case) -> bool:
    """Does the size that MAIL announces (RFC 1870) leave no room for an attachment?"""
    mail = case.transaction.mail if case.transaction is not None else None
    size = _SIZE.search(mail.line) if mail is not None else None
    return size is not None and int(size[1]) < ATTACHED


def named(case: Case) -> bool:
    """Did the user say which product it is?"""
    return tuple(case.specs.values()) != EVERY


def _made(row: Rule, label: str, scene: Scene, strong: bool, text: str) -> Hidden:
    look = fit(row, scene)
    assert look is not None
    return Hidden(
        row.id, row.title, label, look, strong, not look.setting, (Sign(None, text),), about=_about(row)
    )  # fmt: skip


_ABOUT: Final[Mapping[str, str]] = {
    "Command": "commands",
    "Path": "commands",
    "Field": "headers",
    "Part": "attachments",
    "Content": "attachments",
    "Reply": "replies",
    "ReplyLine": "replies",
}


def _about(row: Rule) -> str:
    """What it reads, in a word; of kinds that are born in several places, its id tells."""
    words = (("header", "headers"), ("reply", "replies"), ("recipients", "replies"), ("body", "the body"))
    told = next((about for word, about in words if word in row.id), "")
    place = "commands" if "command" in _where(row) or "command" in row.id else "the message"
    return _ABOUT.get(row.when.kind.name) or told or place


def _possible(rows: Iterable[Rule], place: str, scene: Scene) -> Iterator[Rule]:
    for row in rows:
        if row.kind == "seen" or not (row.breaks or row.action.strength >= Strength.ANSWER):
            continue
        if row.when.kind.name not in FACTS_AT[place] or fit(row, scene) is None:
            continue
        if row.when.kind.name not in _SHARED or place in _where(row):
            yield row


# Kinds of facts that are born in more than one place, and those of their rules.
_SHARED: Final = frozenset({"Line", "Count", "EmptyLine"})
_COMMANDS: Final = ("217.command", "219.command", "cmd-line-length", "rcpt-count", "rate-limit")


def _where(row: Rule) -> tuple[str, ...]:
    if row.id.endswith(_COMMANDS):
        return ("command",)
    if row.id.endswith((".reply", "invalid-recipients")):
        return ("reply",)
    return ("text", "body") if ".body" in row.id else ("text",)


def unsure(case: Case) -> bool:
    """Does a command wait for its reply that the server need not know?"""
    waiting = _waiting(case)
    return bool(waiting) and waiting not in CORE and not _offered(case.script, waiting)


def _waiting(case: Case) -> str:
    """What has no reply: the verb of a command, or the end of data; "" for nothing."""
    if case.script is None:
        return ""
    if "snaplen" in case.observed.confidence and case.account is not None:
        steps = case.account.said.steps  # by lengths: the script has no reply whose end was cut off
        since = max((n for n, step in enumerate(steps, 1) if step.answer is not None), default=0)
        left = next(iter(steps[since:]), None)
        return "" if left is None or not left.last else END if left.verb == TEXT else left.verb or "a line"
    verb = next((each.verb or "a line" for each in case.script.commands if each.reply is None), "")
    mail = case.transaction
    return verb or (END if mail is not None and mail.complete and mail.reply is None else "")


def _offered(script: Script | None, verb: str) -> bool:
    if script is None:
        return False
    offered = {word.split()[0].upper().partition("=")[0] for word in script.keywords if word}
    greeting = script.greeting.text.upper() if script.greeting is not None else ""
    return {"EHLO": "ESMTP" in greeting, "BDAT": "CHUNKING" in offered}.get(verb, verb in offered)


def _place(case: Case, scene: Scene) -> str:
    """Where the client's dialogue stands when its octets end, or where their hole begins."""
    mail = case.transaction
    hole = scene.client.hole
    if mail is not None and hole is not None and mail.text_at is not None and mail.holds(hole[0]):
        return "body" if b"\r\n\r\n" in mail.text[: hole[0] - mail.text_at] else "text"
    if mail is None or mail.text_at is None or mail.complete:
        return "command"
    return "body" if b"\r\n\r\n" in mail.text else "text"
