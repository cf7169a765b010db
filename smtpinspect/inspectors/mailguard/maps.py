"""A user's own ESMTP policy map: its `match` lines, in the ASA's words, become rows.

One item is `[not] CRITERION -> ACTION`, `header line length gt 4096 -> drop-connection log`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from smtpinspect.errors import UsageError
from smtpinspect.facts import (
    COMMAND,
    COUNT,
    KEYWORD,
    LINE,
    PART,
    PATH,
    Pattern,
    gt,
    in_,
    lt,
    matches,
    ne,
    not_in,
)
from smtpinspect.inspectors.mailguard.profiles import CRITERIA, Criterion
from smtpinspect.inspectors.settings import Settings, unknown

Word = Literal["drop-connection", "mask", "reset", "log", "rate-limit"]
_ACTIONS: Final[tuple[Word, ...]] = ("drop-connection", "mask", "reset", "log", "rate-limit")
# Only these two criteria can be masked.
_MASKED: Final = ("cmd-verb", "ehlo-param-masked")
_HIGHEST: Final = 2**31 - 1

# An EHLO parameter's name and the keywords that it stands for; every other keyword is `others`.
PARAMETERS: Final = {
    "8bitmime": ("8BITMIME",),
    "auth": ("AUTH", "AUTH="),
    "binaryname": ("BINARYNAME",),
    "checkpoint": ("CHECKPOINT",),
    "dsn": ("DSN",),
    "ecode": ("ENHANCEDSTATUSCODES",),
    "etrn": ("ETRN",),
    "others": (),
    "pipelining": ("PIPELINING",),
    "size": ("SIZE",),
    "vrfy": ("VRFY",),
}
ENCODINGS: Final = ("7bit", "8bit", "base64", "binary", "others", "quoted-printable")


class Match(NamedTuple):
    """One `match` line with its action."""

    number: int  # its place in the map
    criterion: Criterion
    negated: bool
    value: str
    text: str  # as the ASA's log tells it
    action: Word
    log: bool
    rate: int

    @property
    def evaluated(self) -> bool:
        """Is it more than read? A rate spans connections; what stays below a limit, only an end could tell."""
        return self.action != "rate-limit" and not (self.negated and self.criterion.rule in _AT_ITS_END)

    @property
    def note(self) -> str:
        """Why it is not evaluated; empty when it is."""
        if self.action == "rate-limit":
            return f"Class {self.number}: {self.text} -> rate-limit {self.rate}: spans connections, not evaluated"
        if not self.evaluated:
            return f"Class {self.number}: {self.text}: when an ASA decides this is not known, not evaluated"
        return ""


def read(items: Sequence[str]) -> tuple[Match, ...]:
    """The lines of a map. Raises UsageError naming the item and what is known instead."""
    made = []
    for number, item in enumerate(items, 1):
        try:
            made.append(_read(number, item))
        except UsageError as error:
            raise UsageError(f"match line {number} of mailguard, {item.strip()!r}: {error}") from None
    return tuple(made)


def _read(number: int, item: str) -> Match:
    criterion, arrow, action = item.rpartition("->")
    if not arrow:
        raise UsageError("CRITERION -> ACTION is wanted")
    text = criterion.strip()
    bare = re.sub(r"(?i)^match\s+", "", text)
    plain = re.sub(r"(?i)^not\s+", "", bare)
    for known in CRITERIA:
        words = r"\s+".join(map(re.escape, known.words.split()))
        if found := re.fullmatch(rf"(?is){words}(?:\s+(.*))?", plain):
            word, log, rate = _action(action.split(), known)
            value = _VALUES[known.takes](known, (found[1] or "").strip())
            return Match(number, known, plain != bare, value, " ".join(bare.split()), word, log, rate)
    raise unknown("criterion", plain, tuple(c.words for c in CRITERIA), "a match line")


def _action(words: list[str], criterion: Criterion) -> tuple[Word, bool, int]:
    match [word.lower() for word in words]:
        case ["rate-limit", rate] if re.fullmatch(r"[1-9][0-9]{0,9}", rate):
            return "rate-limit", False, int(rate)
        case ["rate-limit", *_]:
            raise UsageError("rate-limit takes a number of messages")
        case ["log"]:
            return "log", True, 0
        case ["drop-connection" | "mask" | "reset" as word, *log] if log in ([], ["log"]):
            if word == "mask" and criterion.rule not in _MASKED:
                raise UsageError("mask is for cmd verb and ehlo-reply-parameter")
            return next(known for known in _ACTIONS if known == word), bool(log), 0
    raise unknown("action", " ".join(words), _ACTIONS, "a match line")


def _limit(criterion: Criterion, value: str) -> str:
    found = re.fullmatch(r"(?i)gt\s+([0-9]{1,10})", value)
    if not found or int(found[1]) > _HIGHEST:
        raise UsageError(f"{criterion.words} takes gt N, N from 0 to {_HIGHEST}")
    return found[1]


def _words(criterion: Criterion, value: str) -> str:
    known = {"cmd-verb": (), "ehlo-param-masked": tuple(PARAMETERS), "mime-encoding": ENCODINGS}[
        criterion.rule
    ]
    words = value.lower().split()
    if not words:
        raise UsageError(f"{criterion.words} takes {' '.join(known) or 'verbs'}")
    for word in words:
        if known and word not in known:
            raise unknown(f"word behind {criterion.words}", word, known, "a match line")
    return " ".join(words)


def _regex(criterion: Criterion, value: str) -> str:
    if re.match(r"(?i)class\s", value):
        raise UsageError("a class of expressions has no meaning here: write the expression, (one|other)")
    from smtpinspect.inspectors.mailguard.expressions import translated

    translated(value)
    return value


_VALUES: Final[dict[str, Callable[[Criterion, str], str]]] = {
    "limit": _limit,
    "words": _words,
    "regex": _regex,
}


def rows(match: Match, s: Settings) -> Iterator[tuple[str, Pattern]]:
    """The rule's id, and what it waits for, of one line; several patterns are alternatives."""
    if not match.evaluated:
        return
    rule = match.criterion.rule
    if rule == "ehlo-param-masked":
        yield from _keywords(match, s)
        return
    for pattern in _PATTERNS[rule](match):
        yield rule, pattern


# Nothing is born when these are not passed.
_AT_ITS_END: Final = frozenset(
    "rcpt-count body-length body-line-length header-length header-line-length to-fields-count"
    " invalid-recipients".split()
)


def _cmd_line(match: Match) -> tuple[Pattern, ...]:
    limit = int(match.value)
    if not match.negated:
        return (LINE(where="command", wire_length=gt(limit)),)
    return (COMMAND(length=lt(limit - 1), line_end="crlf"), COMMAND(length=lt(limit), line_end="lf"))


def _sender_length(match: Match) -> tuple[Pattern, ...]:
    limit = int(match.value)
    return (PATH(role="sender", length=lt(limit + 1) if match.negated else gt(limit)),)


def _filename(match: Match) -> tuple[Pattern, ...]:
    limit = int(match.value)
    if match.negated:
        return (PART(filename_length=lt(limit + 1), filename=ne(b"")),)
    return (PART(filename_length=gt(limit)),)


def _count(what: str) -> Callable[[Match], tuple[Pattern, ...]]:
    return lambda match: (COUNT(what=what, value=gt(int(match.value))),)


def _lines(*where: str) -> Callable[[Match], tuple[Pattern, ...]]:
    return lambda match: (LINE(where=in_(*where), length=gt(int(match.value))),)


def _verbs(match: Match) -> tuple[Pattern, ...]:
    verbs = [verb.upper().encode() for verb in match.value.split()]
    return (COMMAND(verb=not_in(*verbs) if match.negated else in_(*verbs)),)


def _expression(match: Match) -> bytes:
    from smtpinspect.inspectors.mailguard.expressions import translated

    found = translated(match.value)
    # Two searches in a row would try each place with each other; an address and a type hold no LF.
    if not found.startswith(b".*") or b"|" in found:
        found = rb"(?s:.*?)" + found
    return rb"\A" + (b"(?!" + found + b")" if match.negated else found)


def _sender(match: Match) -> tuple[Pattern, ...]:
    return (PATH(role="sender", address=matches(_expression(match))),)


def _filetype(match: Match) -> tuple[Pattern, ...]:
    # A part without Content-Type has no type that could match, or fail to.
    return (PART(type=matches(rb"(?=.)" + _expression(match))),)


def _encoding(match: Match) -> tuple[Pattern, ...]:
    words = set(match.value.split())
    if match.negated:
        words = set(ENCODINGS) - words
    spelled = {word: (word.encode(), b"") if word == "7bit" else (word.encode(),) for word in ENCODINGS}
    del spelled["others"]
    # Without the field it is 7bit (RFC 2045 6.1).
    named = {octets for word, both in spelled.items() if word in words for octets in both}
    rest = {octets for both in spelled.values() for octets in both} - named
    test = not_in(*sorted(rest)) if "others" in words else in_(*sorted(named))
    return (PART(encoding=test),) if words else ()


def _keywords(match: Match, s: Settings) -> Iterator[tuple[str, Pattern]]:
    words = set(match.value.split())
    if match.negated:
        words = set(PARAMETERS) - words
    named = {keyword for keywords in PARAMETERS.values() for keyword in keywords} | {
        *map(str.upper, s.ehlo_named)
    }
    chosen = {keyword for word in words for keyword in PARAMETERS[word]}
    if "others" not in words:
        if chosen:
            yield "ehlo-param-masked", KEYWORD(name=in_(*_octets(chosen)))
        return
    if s.allow_tls == "off":
        yield "starttls-blocked", KEYWORD(name=b"STARTTLS")
    yield "ehlo-param-masked", KEYWORD(name=not_in(*_octets(named - chosen | {"STARTTLS"})))


def _octets(words: set[str]) -> list[bytes]:
    return [word.encode() for word in sorted(words)]


_PATTERNS: Final[dict[str, Callable[[Match], tuple[Pattern, ...]]]] = {
    "cmd-line-length": _cmd_line,
    "rcpt-count": _count("rcpt"),
    "cmd-verb": _verbs,
    "body-length": _count("body-octets"),
    "body-line-length": _lines("body", "part-header"),
    "header-length": _count("header-octets"),
    "header-line-length": _lines("header"),
    "to-fields-count": _count("to-addresses"),
    "invalid-recipients": _count("rcpt-refused"),
    "mime-filetype": _filetype,
    "mime-filename-length": _filename,
    "mime-encoding": _encoding,
    "sender-regex": _sender,
    "sender-length": _sender_length,
}
