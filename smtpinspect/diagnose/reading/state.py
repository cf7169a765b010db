"""What is remembered from line to line: mails in the queue, attempts whose last line has not come. Bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.grammar import limits

Phases = tuple[str, ...]
STAGES: Final = {
    "body": "after-sending-data-block",
    "dot": "after-end-of-data",
    "rset": None,
    "quit": None,
}
# What the kernel takes from a sender at most before anything is acknowledged: tcp_wmem[2] of Linux.
SEND_BUFFER: Final = 4 << 20
_TRIES: Final = 100  # readings kept of one mail: no domain has as many servers


class Mail(NamedTuple):
    """What earlier lines have told of a mail."""

    size: int | None = None
    sender: str = ""
    message_id: str = ""
    note: str = ""  # what a line before has told of this attempt


class State:
    """Of one log."""

    def __init__(self) -> None:
        self.mails: dict[str, Mail] = {}
        self.pending: dict[str, list[Reading]] = {}
        self._held = 0  # readings in there
        self.sessions: dict[str, Any] = {}  # an MTA's own notes, by session
        self.notes = 0  # how often something was kept: a line was understood
        self.arrived = 0  # mails that were named for the first time

    def mail(self, queue_id: str) -> Mail:
        """What is known of it; nothing of one that no line has named."""
        return self.mails.get(queue_id) or Mail()

    def known(self, queue_id: str) -> dict[str, Any]:
        """The fields of a Reading that earlier lines have told."""
        mail = self.mail(queue_id)
        return {"sender": mail.sender, "size": mail.size, "message_id": mail.message_id}

    def know(self, queue_id: str, **told: Any) -> None:
        """A line has told this of a mail in the queue; of too many the one that was named longest ago is forgotten."""
        self.notes += 1
        self.arrived += queue_id not in self.mails and "note" not in told
        known = self.mails.pop(queue_id, None) or Mail()  # the latest stands last
        self.mails[queue_id] = known._replace(**told)
        if len(self.mails) > limits.MAIL_LOG_MAILS:
            del self.mails[next(iter(self.mails))]

    def session(self, key: str, notes: Any) -> None:
        """Keep an MTA's own notes under this key; of too many the oldest are forgotten."""
        self.notes += 1
        self.sessions.pop(key, None)
        self.sessions[key] = notes
        if len(self.sessions) > limits.MAIL_LOG_PENDING:
            del self.sessions[next(iter(self.sessions))]

    def hold(self, key: str, reading: Reading) -> list[Reading]:
        """Keep it until more is told; what is given back has waited too long."""
        self.notes += 1
        self.pending.setdefault(key, []).append(reading)
        self._held += 1
        if len(self.pending[key]) > _TRIES:
            return self.take(key)
        return self.take(next(iter(self.pending))) if self._held > limits.MAIL_LOG_PENDING else []

    def take(self, key: str) -> list[Reading]:
        """What was kept under this key; it is forgotten."""
        found = self.pending.pop(key, [])
        self._held -= len(found)
        return found

    def rest(self) -> Iterator[Reading]:
        """All that is still kept."""
        while self.pending:
            yield from self.take(next(iter(self.pending)))


def stage_of(meant: Iterable[Meant]) -> str | None:
    """In the words of the log itself; None where it fits several."""
    found = {STAGES.get(each.step, "after-initial-connection") for each in meant if each.cause != "sent"}
    return found.pop() if len(found) == 1 else None


def narrowed(found: tuple[str, ...], octets: int | None) -> tuple[str, ...]:
    """Without the phases that this many octets exclude."""
    if octets is None:
        return found
    out = set[str]()
    if octets <= limits.FIRST_SEGMENT and "dot" in found:  # else it may be a chunk, behind which more was to come
        out.add("datamid")
    if octets > SEND_BUFFER + limits.FIRST_SEGMENT:
        out.add("databody")  # its first segment has been acknowledged
    return tuple(phase for phase in found if phase not in out)


def reading(line: Line, mta: str, sense: Sense | None = None, **more: Any) -> Reading:
    """What a line tells in this MTA's words; `more` are fields of the Reading."""
    if sense is None:
        return Reading(line.whole, mta, when=line.when, **more)
    octets = more.pop("octets", None)
    if octets is None and sense.held.get("n"):
        octets = int(sense.held["n"][:15])
    host, ip, reply = (sense.held.get(key, "") for key in ("host", "ip", "reply"))
    more.setdefault("host", host)
    more.setdefault("ip", ip)
    more.setdefault("reply", reply)
    more.setdefault("text", sense.text)
    more.setdefault("fate", fate_of(sense))
    risk = any(each.step == "dot" for each in sense.meant) and not reply and more["fate"] == "deferred"
    more.setdefault("duplicate_risk", risk)
    return Reading(
        line.whole,
        mta,
        narrowed(phrases.phases(sense.meant), octets),
        phrases.breaks(sense.meant),
        stage_of(sense.meant),
        octets=octets,
        when=line.when,
        **more,
    )


def fate_of(sense: Sense) -> str:
    """By the text alone: a 5xx comes back, a break is tried again."""
    if all(each.cause == "sent" for each in sense.meant):
        return "delivered"
    return "bounced" if sense.reply.startswith("5") else "deferred"
