"""How many mails that a capture shows as accepted each profile would have cut, and which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smtpinspect._core.views import Mail
from smtpinspect.diagnose.effect import refuses
from smtpinspect.diagnose.heads import Sent, talks
from smtpinspect.engine import PORTS, Engine, Stats
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Watch

BY: Final = ("rule", "destination", "sender domain", "sender's mail server", "hour")
REST: Final = "(others)"


class Share(NamedTuple):
    """Mails that would be lost, of all accepted ones with the same name (`of` 0: of all)."""

    name: str
    lost: int
    of: int


@dataclass(slots=True)
class Sums:
    """Names with how many mails are lost, of how many; further names than a limit are one."""

    of: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, lost: bool) -> None:
        """Count a mail of this name."""
        row = self.of.get(name)
        if row is None:
            name = name if len(self.of) < limits.COUNTED_KEYS else REST
            row = self.of.setdefault(name, [0, 0])
        row[0] += lost
        row[1] += 1

    def top(self, n: int | None = None) -> list[Share]:
        """Those with a loss, the greatest first."""
        rows = [Share(name, lost, all_of) for name, (lost, all_of) in self.of.items() if lost]
        return sorted(rows, key=lambda row: (-row.lost, row.name))[:n]


class First(NamedTuple):
    """A mail to look at."""

    sender: str
    packet: int
    octets: bytes


@dataclass(slots=True)
class Profile:
    """What one profile would do to the accepted mails. `cut`: silently; `refused`: with a 4xx or 5xx of the box."""

    label: str
    inspector: Inspector
    cut: int = 0
    refused: int = 0
    by: dict[str, Sums] = field(default_factory=lambda: {name: Sums() for name in BY})
    first: dict[str, First] = field(default_factory=dict)  # by rule

    @property
    def lost(self) -> int:
        """Mails that would not arrive."""
        return self.cut + self.refused


@dataclass(slots=True)
class Impact:
    """All of it. `accepted` of `mails` count; `encrypted` connections show none."""

    profiles: list[Profile]
    mails: int = 0
    accepted: int = 0
    encrypted: int = 0
    stats: Stats | None = None
    fault: CaptureError | None = None
    stopped: bool = False  # by Ctrl-C; what was read counts

    def record(self) -> dict[str, Any]:
        """The object of `--format json`."""
        return {
            "mails": self.mails,
            "accepted": self.accepted,
            "encrypted": self.encrypted,
            "profiles": [
                {
                    "inspector": one.label,
                    "profile": one.inspector.profile,
                    "cut": one.cut,
                    "refused": one.refused,
                    "by": {
                        name.replace(" ", "_").replace("'", ""): [row._asdict() for row in sums.top()]
                        for name, sums in one.by.items()
                    },
                }
                for one in self.profiles
            ],
        }


def impact(
    source: Input,
    inspectors: Sequence[str | Inspector] | None = None,
    *,
    ports: Sequence[int] = PORTS,
    watch: Watch | None = None,
) -> Impact:
    """One pass over a capture; memory does not grow with it. On Ctrl-C what was read counts. Raises UsageError like
    Engine.run.
    """
    engine = Engine(inspectors, ports=ports)
    made = Impact([Profile(*pair) for pair in zip(engine.labels, engine.inspectors, strict=True)])
    try:
        for told in talks(source, engine.inspectors, ports=ports, watch=watch):
            if isinstance(told, Stats):
                made.stats = told
            elif isinstance(told, CaptureError):
                made.fault = told
            elif isinstance(told, Sent):
                made.mails += told.mail.outcome != "encrypted"
                made.encrypted += told.mail.outcome == "encrypted"
                if told.mail.outcome == "accepted":
                    made.accepted += 1
                    _count(made.profiles, told)
    except KeyboardInterrupt:
        made.stopped = True
    return made


def _count(profiles: Sequence[Profile], sent: Sent) -> None:
    mail = sent.mail
    names = {
        "destination": mail.server.removesuffix(":25"),
        "sender domain": domain(mail.mail_from),
        "sender's mail server": sent.mta or "(not told)",
        "hour": f"{datetime.fromtimestamp(mail.start_ns // 1_000_000_000, UTC):%H} UTC",
    }
    for one in profiles:
        rule = mail.broken_by.get(one.label)
        refused = "" if rule else _refused(mail, one.label)
        one.cut += bool(rule)
        one.refused += bool(refused)
        lost = rule or refused
        for by, name in names.items():
            one.by[by].add(name, bool(lost))
        if lost:
            one.by["rule"].add(lost, True)
            if lost not in one.first:
                # what broke the flow before the mail began is none of its alerts
                fired = (*mail.alerts, *sent.broken)
                alert = next((a for a in fired if a.rule == lost and a.inspector == one.label), None)
                packet, octets = (alert.packet, alert.octets) if alert else (0, b"")
                one.first[lost] = First(mail.mail_from or "<>", packet, octets)


def _refused(mail: Mail, label: str) -> str:
    """The rule by which the box itself refuses the text."""
    if mail.verdict.get(label) != "answer":
        return ""
    return next((each.rule for each in mail.alerts if each.inspector == label and refuses(each)), "")


def domain(address: str | None) -> str:
    """The domain of an envelope address; a bounce has none."""
    if address is None:
        return "(not told)"
    return address.rpartition("@")[2].strip("<> ").lower() or "(bounces)"
