"""Two captures, before and after a change: what servers say, how much goes through TLS, what becomes of mails.

Worse is what `WORSE` tells, and nothing else: a share that chance explains is none of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, erfc, sqrt
from typing import Any, Final, NamedTuple

from smtpinspect._core.views import Mail
from smtpinspect.diagnose.heads import Sent, Talk, talks
from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.properties import COMPARED, NAME, Compared
from smtpinspect.engine import PORTS, Stats
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import BROKEN
from smtpinspect.source import Input

CHANCE: Final = 0.01  # a difference that comes by chance less often is one; divided among the properties
NAMED: Final = 3  # mails that failed, and recipients of each, that are told by name
EXACT: Final = 2_000  # mails of both captures up to which chance is counted, not estimated
WORSE: Final = (
    "a server's greeting is starred now and was not",
    "a server that offered a keyword in all replies to EHLO before offers it in none now, or one that was never"
    " masked (XXXX...) is masked",
    "TLS is used on a smaller share of connections than before",
    "a larger share of mails breaks without a reply (stalled, reset, closed), or is refused (4xx, 5xx): of all"
    " mails, or of those with one property",
)


@dataclass(slots=True)
class Sum:
    """Outcomes of mails."""

    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str) -> None:
        """Count a mail."""
        self.outcomes[outcome] += 1

    @property
    def mails(self) -> int:
        return self.outcomes.total()

    @property
    def broken(self) -> int:
        return sum(self.outcomes[word] for word in BROKEN)

    @property
    def refused(self) -> int:
        return self.outcomes["refused"]


@dataclass(slots=True)
class Server:
    """What one server says. `greetings` are kept in part; `keywords` counts the replies to EHLO that hold each."""

    greetings: set[str] = field(default_factory=set)
    starred: int = 0
    connections: int = 0
    replies: int = 0
    keywords: Counter[str] = field(default_factory=Counter)


class Failed(NamedTuple):
    """A mail that did not get through; `start_ns` is capture time."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    outcome: str
    start_ns: int


@dataclass(slots=True)
class Side:
    """One of the two captures. `failed`: the first mails that broke or were refused."""

    connections: int = 0
    encrypted: int = 0
    all: Sum = field(default_factory=Sum)
    having: dict[str, Sum] = field(default_factory=lambda: {one.mails: Sum() for one in COMPARED})
    servers: dict[str, Server] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    stats: Stats | None = None
    fault: CaptureError | None = None

    def record(self) -> dict[str, Any]:
        """What the object of `--format json` says of it."""
        return {
            "connections": self.connections,
            "tls": self.encrypted,
            "mails": self.all.mails,
            "outcomes": dict(self.all.outcomes),
            "properties": {name: dict(one.outcomes) for name, one in self.having.items() if one.mails},
            "servers": {
                name: {
                    "connections": one.connections,
                    "starred": one.starred,
                    "greetings": sorted(one.greetings),
                    "ehlo_replies": one.replies,
                    "keywords": dict(one.keywords),
                }
                for name, one in self.servers.items()
            },
        }


class Change(NamedTuple):
    """Something that is not as it was. `before` and `after` are told as they are printed."""

    what: str
    before: str
    after: str
    worse: bool


class Comparison(NamedTuple):
    """Both captures, and what differs: what is worse first."""

    before: Side
    after: Side
    differences: tuple[Change, ...]

    @property
    def worse(self) -> bool:
        return any(one.worse for one in self.differences)

    @property
    def too_few(self) -> bool:
        """Not worse, but of so few mails that chance would explain it even if none of those after went through."""
        before, after = self.before.all.mails, self.after.all.mails
        return not self.worse and chance(0, before, after, after) >= CHANCE

    @property
    def fail_now(self) -> Sequence[Failed]:
        """Mails that fail, where a smaller share is accepted than before."""
        before, after = self.before.all, self.after.all
        fewer = after.outcomes["accepted"] * before.mails < before.outcomes["accepted"] * after.mails
        return self.after.failed if fewer else ()

    def record(self) -> dict[str, Any]:
        """The object of `--format json`."""
        return {
            "worse": self.worse,
            "too_few": self.too_few,
            "differences": [one._asdict() for one in self.differences],
            "before": self.before.record(),
            "after": self.after.record(),
        }


def compare(before: Input, after: Input, *, ports: Sequence[int] = PORTS) -> Comparison:
    """One pass over each; memory does not grow with them. Raises UsageError for what cannot be opened."""
    first, second = side(before, ports), side(after, ports)
    found = [*_servers(first, second), *_tls(first, second), *_outcomes(first, second)]
    found.sort(key=lambda one: not one.worse)
    return Comparison(first, second, tuple(found))


def side(source: Input, ports: Sequence[int]) -> Side:
    """What one capture shows."""
    made = Side()
    for told in talks(source, [Compared()], ports=ports):
        if isinstance(told, Stats):
            made.stats = told
        elif isinstance(told, CaptureError):
            made.fault = told
        elif isinstance(told, Sent):
            _add_mail(made, told.mail, told.marks)
        else:
            _add_talk(made, told)
    return made


def _add_mail(made: Side, mail: Mail, marks: Collection[str]) -> None:
    if mail.outcome == "encrypted":
        return
    made.all.add(mail.outcome)
    if mail.outcome in (*BROKEN, "refused") and len(made.failed) < NAMED:
        to = tuple(mail.rcpt_to[:NAMED])
        made.failed.append(Failed(mail.mail_from or "<>", to, mail.outcome, mail.start_ns))
    for one in COMPARED:
        if f"{NAME}.{one.seen}" in marks or one.has(mail):
            made.having[one.mails].add(mail.outcome)


def _add_talk(made: Side, talk: Talk) -> None:
    made.connections += 1
    made.encrypted += talk.encrypted
    name = talk.flow.server
    if name not in made.servers and len(made.servers) >= limits.COUNTED_KEYS:
        name = "(others)"
    server = made.servers.setdefault(name, Server())
    server.connections += 1
    server.starred += generations.starred(talk.greeting)
    if talk.greeting and len(server.greetings) < limits.SERVER_GREETINGS:
        server.greetings.add(talk.greeting)
    server.replies += bool(talk.keywords)
    for word in dict.fromkeys(talk.keywords):
        if word in server.keywords or len(server.keywords) < limits.SERVER_KEYWORDS:
            server.keywords[word] += 1


def _servers(first: Side, second: Side) -> Iterator[Change]:
    for name in sorted(first.servers.keys() & second.servers.keys()):
        old, new = first.servers[name], second.servers[name]
        if bool(old.starred) != bool(new.starred):
            told = ("in clear", "starred") if new.starred else ("starred", "in clear")
            yield Change(f"{name}: greeting", *told, bool(new.starred))
        elif old.greetings.isdisjoint(new.greetings) and old.greetings and new.greetings:
            yield Change(f"{name}: greeting", min(old.greetings), min(new.greetings), False)
        if not old.replies or not new.replies:
            if old.replies and new.connections > 1:
                yield Change(f"{name}: replies to EHLO with keywords", f"{old.replies:,}", "none", True)
            continue
        # a keyword that is missing may be another server's behind that address, unless a box shows itself
        enough = chance(0, old.replies, new.replies, new.replies) < CHANCE
        enough = enough or bool(new.starred) or any(map(generations.masked, new.keywords))
        for word in sorted(old.keywords.keys() | new.keywords.keys()):
            was, now = old.keywords[word], new.keywords[word]
            masked = generations.masked(word)
            shares = f"{was:,} of {old.replies:,}", f"{now:,} of {new.replies:,}"
            if was == old.replies and not now:
                yield Change(f"{name}: keyword {word}", *shares, not masked and enough)
            elif now and not was:
                yield Change(f"{name}: keyword {word}", *shares, masked)


def _tls(first: Side, second: Side) -> Iterator[Change]:
    if not first.connections or not second.connections:
        return
    lower = chance(first.connections - first.encrypted, first.connections,
                   second.connections - second.encrypted, second.connections)  # fmt: skip
    higher = chance(first.encrypted, first.connections, second.encrypted, second.connections)
    if min(lower, higher) < CHANCE:
        yield Change(
            "connections with TLS", share(first.encrypted, first.connections),
            share(second.encrypted, second.connections), lower < CHANCE,
        )  # fmt: skip


def _outcomes(first: Side, second: Side) -> Iterator[Change]:
    rows: Mapping[str, tuple[Sum, Sum]] = {"all mails": (first.all, second.all)} | {
        f"mails {name}": (one, second.having[name]) for name, one in first.having.items()
    }
    for name, (old, new) in rows.items():
        limit = CHANCE if name == "all mails" else CHANCE / len(COMPARED)
        for word, was, now in (("broken", old.broken, new.broken), ("refused", old.refused, new.refused)):
            if not old.mails or not new.mails:
                continue
            more = chance(was, old.mails, now, new.mails)
            less = chance(old.mails - was, old.mails, new.mails - now, new.mails)
            if min(more, less) < limit:
                yield Change(f"{name}, {word}", share(was, old.mails), share(now, new.mails), more < limit)


def share(n: int, of: int) -> str:
    """`3 of 40 (7.5%)`."""
    return f"{n:,} of {of:,} ({100 * n / of:.1f}%)" if of else "none"


def chance(was: int, before: int, now: int, after: int) -> float:
    """How probable it is that so many of `after`, or more, have what `was` of `before` had, were nothing changed.

    Fisher's exact test, one-sided; by the normal distribution where there are many.
    """
    if not before or not after or now * before <= was * after:
        return 1.0
    total, having = before + after, was + now
    if total > EXACT:
        p = having / total
        spread = sqrt(p * (1 - p) * (1 / before + 1 / after))
        return 0.5 * erfc((now / after - was / before) / spread / sqrt(2)) if spread else 1.0
    return sum(comb(having, k) * comb(total - having, after - k) for k in range(now, min(having, after) + 1)) / comb(
        total, after
    )
