"""The control group, counted while a capture is read: mails that were accepted, and what they had in common.

Nothing of a mail is kept but numbers: for each path and property how many were cut and accepted, for each path and
rule that an accepted mail trips which mails these were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from smtpinspect._core.views import Alert, Mail
from smtpinspect.diagnose.effect import ends
from smtpinspect.diagnose.model import Path, path_of
from smtpinspect.diagnose.properties import NAME, properties_of
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import BROKEN, IN_TEXT


class Trip(NamedTuple):
    """Accepted mails of a path that trip a rule: how many, whose the first ones were and when they ended, when the
    first and the last of all did."""

    mails: int
    named: tuple[tuple[str, int], ...]
    first_ns: int
    last_ns: int
    limit: int | None  # of the row, where it has one


@dataclass(slots=True)
class Counts:
    """Of mails: cut, accepted."""

    cut: int = 0
    accepted: int = 0

    def add(self, cut: bool) -> None:
        if cut:
            self.cut += 1
        else:
            self.accepted += 1


@dataclass(slots=True)
class PathMails:
    """The mails of a path, or of all."""

    all: Counts = field(default_factory=Counts)
    having: dict[str, Counts] = field(default_factory=dict)
    trips: dict[tuple[str, str], Trip] = field(default_factory=dict)  # by inspector's label and rule's full id
    last_cut_ns: int = 0  # when the last of those that were cut ended


@dataclass(slots=True)
class Tally:
    """All that contrast needs of a capture. `left_out`: mails of paths beyond the limit, in `total` only."""

    total: PathMails = field(default_factory=PathMails)
    paths: dict[Path, PathMails] = field(default_factory=dict)
    cut: dict[tuple[int, int], frozenset[str]] = field(default_factory=dict)  # flow_id, tx_id: properties
    mails: int = 0
    left_out: int = 0

    def add(self, mail: Mail, alerts: Iterable[Alert]) -> None:
        """A mail that is over, with every alert of its own and of its connection outside mails until then."""
        self.mails += 1
        cut = is_cut(mail)
        if not cut and mail.outcome != "accepted":
            return
        mine = [each for each in alerts if each.tx_id == mail.tx_id or (each.tx_id is None and each.ns <= mail.end_ns)]
        words = properties_of(mail, (alert for alert in mine if alert.inspector == NAME))
        groups = [self.total]
        path = path_of(mail)
        if path in self.paths or len(self.paths) < limits.CONTRAST_PATHS:
            groups.append(self.paths.setdefault(path, PathMails()))
        else:
            self.left_out += 1
        for group in groups:
            group.all.add(cut)
            for word in words:
                group.having.setdefault(word, Counts()).add(cut)
        if cut:
            for group in groups:
                group.last_cut_ns = max(group.last_cut_ns, mail.end_ns)
            if len(self.cut) < limits.DIAGNOSED_FAILED:
                self.cut[mail.flow_id, mail.tx_id] = words
        elif len(groups) > 1:
            self._trips(groups[1], mail, mine)

    def _trips(self, group: PathMails, mail: Mail, alerts: Iterable[Alert]) -> None:
        """Rules that would have ended this mail, and did not."""
        fired: Mapping[tuple[str, str], Alert] = {
            (alert.inspector, alert.rule): alert for alert in alerts if alert.inspector != NAME and ends(alert)
        }
        own = mail.client, mail.end_ns
        for key, alert in fired.items():
            known = group.trips.get(key)
            if known is None:
                if len(group.trips) < limits.CONTRAST_RULES:
                    group.trips[key] = Trip(1, (own,), mail.end_ns, mail.end_ns, limit_of(alert))
                continue
            group.trips[key] = known._replace(
                mails=known.mails + 1,
                named=(*known.named, own)[:limits.CONTRAST_NAMED],
                first_ns=min(known.first_ns, mail.end_ns),
                last_ns=max(known.last_ns, mail.end_ns),
            )


def is_cut(mail: Mail) -> bool:
    """Did it end without a code, or was its text refused? A box may answer in the server's place there."""
    return mail.outcome in BROKEN or (mail.outcome == "refused" and mail.phase in IN_TEXT)


def limit_of(alert: Alert) -> int | None:
    """The limit of its row, where it is about a length or a count."""
    for _, test in alert.row.when.tests:
        if test.op == "gt" and isinstance(test.values[0], int) and test.values[0] > 1:
            return test.values[0]
    return None
