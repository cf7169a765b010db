"""The phrases of the mail servers' tables, read backwards: which step and which end each of them stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Final, NamedTuple

from smtpinspect.grammar.words import PHASES
from smtpinspect.mta import registry
from smtpinspect.mta.base import BREAKS, Cause, Ending, Envelope, Sender, Step

# A step's phases. What the end mark's timer is asked about may have been lost anywhere in the text: a write returns
# once the kernel has taken the octets (mta.md, section 0, 2 and 3). STARTTLS and AUTH have no phase of their own.
PHASES_OF: Final[Mapping[Step, tuple[str, ...]]] = {
    "connect": ("connect",),
    "greeting": ("greeting",),
    "ehlo": ("ehlo",),
    "helo": ("ehlo",),
    "starttls": ("ehlo",),
    "auth": ("ehlo",),
    "mail": ("mail",),
    "rcpt": ("rcpt",),
    "datacmd": ("datacmd", "reply354"),
    "body": ("databody", "datamid"),
    "dot": ("databody", "datamid", "dot", "dotreply"),
    "rset": ("quit",),
    "quit": ("quit",),
}
# Of the two that only an answer in place of another makes: the text was whole when it came.
ANSWERED: Final[Mapping[Step, tuple[str, ...]]] = {**PHASES_OF, "dot": ("dot", "dotreply")}
BREAKS_OF: Final[Mapping[Cause, tuple[str, ...]]] = {
    "timeout": ("drop",),
    "closed": ("fin",),
    "reset": ("rst",),
    "refused": ("rst",),
    "unreachable": (),
    "reply": ("reply",),
    "malformed": ("reply",),
    "lacking": ("reply",),
    "sent": ("none",),
}
KINDS: Final = ("drop", "rst", "fin", "reply", "none")

_STEPS: Final[tuple[Step, ...]] = tuple(PHASES_OF)
_HOST, _IP, _RCPT, _SENDER, _HELO = "\x01host", "\x01ip", "\x01rcpt", "\x01sender", "\x01helo"
_SAID, _WAS = "\x01said", "\x01was"
_PORT, _WRITTEN = 61_023, 987_654_321
_MAIL: Final = Envelope(_SENDER, (_RCPT,), _HELO, _HOST, _IP, "\x01source", _PORT)
_CODES: Final = (421, 450, 451, 452, 454, 500, 501, 502, 503, 504, 550, 551, 552, 553, 554)
_GROUPS: Final = (
    # `(n bytes written)` may be missing: so it is in the wording of providers, who quote no counts
    (re.escape(re.escape(f" ({_WRITTEN} bytes written)")), r"(?: \((?P<n>\d+) bytes written\))?"),
    (re.escape(_HOST), r"(?P<host>[^\s\[\]]+|\[[^\]\s]+\])"),
    (re.escape(_IP), r"(?P<ip>[0-9a-fA-F.:]+)"),
    (re.escape(str(_PORT)), r"\d+"),
    (rf"(?:{'|'.join(map(str, _CODES))})\\ {re.escape(_SAID)}", r"(?P<reply>[1-5]\d\d(?:[ -].*|$))"),
    (re.escape(_SAID), r"(?P<said>.*)"),
    (rf"\d{{3}}\\ {re.escape(_WAS)}", r".*"),
    (re.escape(_RCPT) + "|" + re.escape(_SENDER), r"[^>]*"),
    (re.escape(_HELO), r"[^\s:]+"),
)


class Meant(NamedTuple):
    """What a phrase may stand for. `grouped`: the commands of a pipelined group that is waited for here, too."""

    step: Step
    cause: Cause
    grouped: tuple[Step, ...] = ()
    code: int = 0  # of a reply


class Phrase(NamedTuple):
    """A text as a pattern, with all that it may mean. Groups, where there are any: host, ip, n, reply, said."""

    pattern: re.Pattern[str]
    meant: tuple[Meant, ...]
    literal: int  # how many letters of it are fixed


class Sense(NamedTuple):
    """What a text has told: all its meanings, and what its groups hold."""

    meant: tuple[Meant, ...]
    text: str
    held: Mapping[str, str]

    @property
    def reply(self) -> str:
        """The server's reply that it quotes, "" for none."""
        return self.held.get("reply", "")


@cache
def phrases_of(name: str) -> tuple[Phrase, ...]:
    """The phrases of an MTA as a client, most letters first."""
    found: dict[str, dict[Meant, None]] = {}
    for ending, meant in _endings(registry.SENDERS[name]):
        text = registry.SENDERS[name].text(ending).rstrip(" ")
        if text:
            found.setdefault(_pattern(text), {})[meant] = None
    made = [Phrase(re.compile(pattern), _likely(meant), _letters(pattern)) for pattern, meant in found.items()]
    return tuple(sorted(made, key=lambda phrase: -phrase.literal))


def sense(name: str, text: str, *, anywhere: int = 0) -> Sense | None:
    """What a text means when this MTA has written it as a whole; `anywhere`: fixed letters that allow more around."""
    return (_sense if len(text) < 512 else _sense.__wrapped__)(name, text, anywhere)


@lru_cache(maxsize=4_096)
def _sense(name: str, text: str, anywhere: int) -> Sense | None:
    text = text.rstrip(" ")
    best: tuple[Phrase, re.Match[str]] | None = None
    for phrase in phrases_of(name):
        if anywhere and phrase.literal < anywhere:
            continue
        match = (phrase.pattern.search if anywhere else phrase.pattern.fullmatch)(text)
        if match and (best is None or match.start() < best[1].start()):  # what stands first may quote another
            best = phrase, match
            if not anywhere:
                break
    if best is None:
        return None
    return Sense(best[0].meant, best[1][0].strip(), held_by(best[1]))


def held_by(match: re.Match[str]) -> dict[str, str]:
    """What its groups hold, but for those that did not take part."""
    return {key: value for key, value in match.groupdict().items() if value is not None}


def phases(meant: Iterable[Meant]) -> tuple[str, ...]:
    """The phases, in order, in which the flow may have been broken."""
    found = set[str]()
    for each in meant:
        if each.cause == "sent":
            continue
        answered = each.cause in ("reply", "malformed", "lacking")
        table = ANSWERED if answered else PHASES_OF
        found.update(table[each.step])
        for step in each.grouped:
            found.update(("datacmd",) if step == "datacmd" else table[step])
    return ordered(found)


def breaks(meant: Iterable[Meant]) -> tuple[str, ...]:
    """How it may have been broken. A FIN amid a large text does not stop the writer (mta.md, section 0, 7)."""
    kept = tuple(meant)
    found = {kind for each in kept for kind in BREAKS_OF[each.cause]}
    if any((each.step, each.cause) == ("body", "timeout") for each in kept):
        found.add("fin")
    return tuple(kind for kind in KINDS if kind in found)


def ordered(found: Iterable[str]) -> tuple[str, ...]:
    """Phases in the order of a dialogue."""
    wanted = set(found)
    return tuple(phase for phase in PHASES if phase is not None and phase in wanted)


def _likely(meant: Iterable[Meant]) -> tuple[Meant, ...]:
    """Without what other words go with: octets that are no reply (a warning), and what comes behind the mail."""
    kept = tuple(meant)
    broken = [each for each in kept if each.cause in BREAKS]
    if broken:
        kept = tuple(each for each in kept if each.cause not in ("malformed", "lacking"))
    before = tuple(each for each in kept if each.step not in ("rset", "quit"))
    return before or kept


def _endings(sender: Sender) -> Iterator[tuple[Ending, Meant]]:
    for step in _STEPS:
        for cause in _causes(step):
            for ending in _variants(sender, step, cause):
                group: tuple[Step, ...] = ()
                if ending.pipelined and step == sender.pipelines[0]:
                    group = sender.pipelines[1:]
                yield ending, Meant(step, cause, group, ending.code)


def _causes(step: Step) -> tuple[Cause, ...]:
    if step == "connect":
        return "timeout", "refused", "unreachable"  # nobody believes a FIN in reply to a SYN
    causes: tuple[Cause, ...] = ("timeout", "closed", "reset", "reply", "malformed")
    if step in ("starttls", "auth"):
        causes += ("lacking",)
    return (*causes, "sent") if step == "dot" else causes


def _variants(sender: Sender, step: Step, cause: Cause) -> Iterator[Ending]:
    command = {
        "ehlo": f"EHLO {_HELO}",
        "helo": f"HELO {_HELO}",
        "starttls": "STARTTLS",
        "auth": "AUTH",
        "mail": sender.mail_command.format(_SENDER),
        "rcpt": sender.rcpt_command.format(_RCPT),
        "datacmd": "DATA",
        "rset": "RSET",
        "quit": "QUIT",
    }.get(step, "")
    plain = Ending(step, cause, _MAIL, command=command, written=_WRITTEN if step in ("body", "dot") else None)
    replies = {"reply": [f"{code} {_SAID}" for code in _CODES], "sent": [f"250 {_SAID}"], "malformed": [_SAID, ""]}
    for reply in replies.get(cause, [""]):
        ending = plain._replace(reply=reply)
        yield ending
        if step == "connect":
            yield ending._replace(fast_open=True)
        if step in sender.pipelines and len(sender.pipelines) > 1:
            yield ending._replace(pipelined=True)
        if step == "helo":
            yield ending._replace(refused_ehlo=f"550 {_WAS}")


def _pattern(text: str) -> str:
    pattern = re.escape(text)
    for place, group in _GROUPS:
        pattern = re.sub(place, lambda _, group=group: group, pattern)  # type: ignore[misc]
    # a group's name may stand once
    seen = set[str]()

    def once(match: re.Match[str]) -> str:
        first = match[1] not in seen
        seen.add(match[1])
        return match[0] if first else "(?:"

    return re.sub(r"\(\?P<(\w+)>", once, pattern)


def _letters(pattern: str) -> int:
    """Letters behind what the groups take."""
    bare = re.sub(r"\(\?P?<?\w*>?.*?\)\??|\[[^\]]*\][*+]?|\\\w", "", pattern)
    return sum(char.isalpha() for char in bare)
