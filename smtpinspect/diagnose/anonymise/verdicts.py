"""Are the verdicts of the anonymised capture those of the original?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.engine import Engine
from smtpinspect.errors import CaptureError
from smtpinspect.facts import CONTENT
from smtpinspect.source import Input

SHOWN: Final = 100  # changes that are kept; the rest is counted

Key = tuple[int, str, str]  # when it began, the ends as they are now


class Change(NamedTuple):
    """A connection whose verdicts are not the same: rules that fire no longer, and new ones.

    None of either: something else differs (outcome, place of an alert).
    """

    client: str
    server: str
    lost: tuple[str, ...]
    new: tuple[str, ...]


class Compared(NamedTuple):
    """How many connections and mails there are, and how many connections differ; the first of these."""

    connections: int
    mails: int
    changed: int
    changes: tuple[Change, ...]

    @property
    def same(self) -> bool:
        return not self.changed


class _Sum(NamedTuple):
    digest: bytes
    rules: tuple[str, ...]
    mails: int


def _sums(
    source: Input, inspectors: Sequence[str] | None, ports: Sequence[int], name: Callable[[str], str]
) -> dict[Key, _Sum]:
    """By connection, what its records say, addresses and octets left out."""
    made: dict[Key, _Sum] = {}
    engine = Engine(inspectors, ports=ports)
    # Where in packed octets something shows hangs on how they are packed.
    packed = {row.id for each in engine.inspectors for row in each.table() if row.when.kind is CONTENT}
    alerts: dict[int, list[Alert]] = {}
    mails: dict[int, list[Mail]] = {}
    try:
        for record in engine.run(source):
            if isinstance(record, Alert):
                alerts.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Mail):
                mails.setdefault(record.flow_id, []).append(record)
            elif isinstance(record, Flow):
                fired, sent = alerts.pop(record.flow_id, []), mails.pop(record.flow_id, [])
                rules = sorted(
                    (a.rule, a.detail, a.direction, *((0, 0) if a.rule in packed else (a.offset, a.length)), a.action,
                     a.tx_id or 0)
                    for a in fired
                )  # fmt: skip
                told = [
                    (m.tx_id, m.outcome, m.reply, m.phase, m.stage, m.octets, sorted(m.verdict.items()),
                     sorted(m.broken_by.items()), len(m.rcpt_to), len(m.attachments), m.confidence)
                    for m in sent
                ]  # fmt: skip
                whole = repr((rules, told, sorted(record.verdict.items()), record.mails, record.commands, record.gaps))
                digest = hashlib.blake2b(whole.encode(), digest_size=12).digest()
                key = record.start_ns, name(record.client), name(record.server)
                made[key] = _Sum(digest, tuple(rule for rule, *_ in rules), record.mails)
    except CaptureError:
        pass  # who read it first has told
    return made


def compare(
    before: Input,
    behind: Input,
    inspectors: Sequence[str] | None,
    ports: Sequence[int],
    name: Callable[[str], str],
) -> Compared:
    """Replay both; `name` gives an end (`ADDRESS:PORT`) of the first as it is in the second."""
    first = _sums(before, inspectors, ports, name)
    second = _sums(behind, inspectors, ports, lambda end: end)
    changes: list[Change] = []
    changed = 0
    for key in sorted({*first, *second}):
        old, new = first.get(key), second.get(key)
        if old is not None and new is not None and old.digest == new.digest:
            continue
        changed += 1
        if len(changes) < SHOWN:
            was, now = list(old.rules if old else ()), list(new.rules if new else ())
            changes.append(Change(key[1], key[2], _without(was, now), _without(now, was)))
    return Compared(len(first), sum(each.mails for each in first.values()), changed, tuple(changes))


def _without(rules: list[str], others: list[str]) -> tuple[str, ...]:
    left = list(others)
    made = []
    for rule in rules:
        if rule in left:
            left.remove(rule)
        else:
            made.append(rule)
    return tuple(dict.fromkeys(made))
