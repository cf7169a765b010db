"""A month of readings by destination, phase, size and day, and what these numbers say about the cause."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.means import explained
from smtpinspect.diagnose.reading.sizes import Sizes, split
from smtpinspect.diagnose.reading.state import Phases
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.mta.words import iso

REST: Final = "(other destinations)"
# Sizes in the queue (octets) from which on a mail fills a segment: 1,460 less tunnels, and what headers add.
MTU: Final = (1_000, 3_000)
SAME: Final = 5.0  # seconds between the lines of one attempt: no MTA tries again so soon
FEW: Final = 5  # mails of a kind from which on a number says something
_DOMAINS: Final = 4  # of a destination that are remembered
_CHANCE: Final = 0.01
_EXAMPLES: Final = 2  # of a destination: mails that have failed, while no later attempt delivered them


class Conclusion(NamedTuple):
    """`kind`: content, path-mtu, size, requeue, greylisting, loss, host, address, began, refusal, outage, few,
    untried, unknown.
    """

    kind: str
    text: str


@dataclass(slots=True)
class _Mail:
    """A mail that has failed and is not yet delivered."""

    destination: str
    attempts: int
    phases: Phases
    size: int | None
    replied: bool
    unplaced: bool
    ip: str
    risky: bool
    last: float | None
    returned: bool = False


@dataclass(slots=True)
class Group:
    """One destination. Counts are mails, but `attempts` (failed ones) and `seconds` (spent in them)."""

    destination: str
    delivered: int = 0
    requeued: int = 0  # delivered at a later attempt
    requeued_text: int = 0  # of these: broken in the text, or behind it, before
    requeued_replied: int = 0
    never: int = 0
    returned: int = 0  # of `never`: came back to the sender
    retried: int = 0  # of `never`: tried more than once
    attempts: int = 0
    seconds: float = 0.0
    requeued_unplaced: int = 0
    replied: int = 0  # of `never`: a reply decided it
    unplaced: int = 0  # of `never`: by a text that is not known
    doubtful: int = 0  # of `never`: may have been delivered
    in_text: int = 0  # of `never`: broken in the text or behind it
    masked: bool = False
    mtas: Counter[str] = field(default_factory=Counter)
    phases: Counter[Phases] = field(default_factory=Counter)  # of failed attempts
    breaks: Counter[str] = field(default_factory=Counter)
    sizes_failed: Sizes = field(default_factory=Sizes)
    sizes_fine: Sizes = field(default_factory=Sizes)
    first: float | None = None  # failure
    last: float | None = None
    amid: int = 0  # deliveries between them
    since: int = 0  # deliveries behind the last one
    fine_by_address: Counter[str] = field(default_factory=Counter)
    failed_by_address: Counter[str] = field(default_factory=Counter)
    days: dict[str, list[int]] = field(default_factory=dict)  # ISO date: delivered, failed attempts
    examples: dict[tuple[str, str], Reading] = field(default_factory=dict)  # by mail
    domains: set[str] = field(default_factory=set)  # of recipients, the first ones
    conclusions: tuple[Conclusion, ...] = ()


class Month(NamedTuple):
    """`groups`: those with failures, the worst first. `begin`, `end` in seconds since 1970."""

    groups: tuple[Group, ...]
    readings: int
    delivered: int
    fine: int  # destinations without a failure
    receiving: Counter[tuple[str, Phases]]  # a receiver's lines: its MTA, the phases
    begin: float | None
    end: float | None
    local: bool = False  # the times are those of the log's own clock
    received: int = 0  # mails that came in
    waiting: int = 0  # mails without an attempt in this log, for their host's time has not come
    idle: tuple[tuple[str, int], ...] = ()  # lines that tell nothing of a delivery: their MTA, how many


def of(readings: Iterable[Reading]) -> Month:
    """The readings grouped; they are not kept."""
    tally = Counting()
    for each in readings:
        tally.add(each)
    return tally.month()


class Counting:
    """Counts readings as they come; memory does not grow with their number."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._open: dict[tuple[str, str], _Mail] = {}
        self._readings = 0
        self._receiving: Counter[tuple[str, Phases]] = Counter()
        self._begin: float | None = None
        self._end: float | None = None
        self._day: tuple[int, str] = (-1, "")
        self._local = False
        self._received = 0
        self._idle: Counter[str] = Counter()
        self._waiting: set[tuple[str, str]] = set()

    def add(self, told: Reading) -> None:
        """Count a reading; it is not kept."""
        if told.fate in ("received", "none"):
            self._received += told.fate == "received"
            self._idle[told.mta] += told.fate == "none"
            return
        self._readings += 1
        self._local = self._local or told.local
        if told.when is not None:
            self._begin = told.when if self._begin is None else min(self._begin, told.when)
            self._end = told.when if self._end is None else max(self._end, told.when)
        if told.side == "receiver":
            ended = told.mta, told.phases
            if ended in self._receiving or len(self._receiving) < limits.MONTH_HOSTS:
                self._receiving[ended] += 1
            return
        destination = self._destination(told)
        group = self._group(destination)
        group.mtas[told.mta] += 1
        group.masked = group.masked or told.masked
        # a mail to a domain; whichever of its servers takes it
        domain = told.recipient.rpartition("@")[2].strip("<>").lower() or group.destination
        if len(group.domains) < _DOMAINS:
            group.domains.add(domain)
        key = (told.queue_id or f"{told.sender} {told.recipient}", domain)
        apart = (key[0], told.recipient)
        if not (told.waiting and not told.phases):
            self._waiting.difference_update((key, apart))
        elif not (key in self._open or apart in self._open) and len(self._waiting) < limits.MONTH_MAILS:
            self._waiting.add(key)
        if told.fate == "delivered":
            self._delivered(group, apart if apart in self._open else key, told)
        elif told.phases or told.unplaced:
            self._failed(group, apart if told.scope == "address" else key, told)
        elif told.gave_up:
            for each in (key, apart):
                mail = self._open.get(each)
                if mail is not None:
                    mail.returned = True
                    examples = self._groups[mail.destination].examples
                    if each in examples:
                        examples[each] = explained(examples[each]._replace(fate="bounced"), local=told.local)
            if told.recipient and not (key in self._open or apart in self._open):  # it had failed before this log
                self._failed(group, key, told)

    def month(self) -> Month:
        """What has come until now."""
        for mail in self._open.values():
            _settle(self._groups[mail.destination], mail)
        self._open.clear()
        failing = [group for group in self._groups.values() if group.attempts]
        for group in failing:
            group.conclusions = tuple(_conclusions(group, self._sound(group)))
        failing.sort(key=lambda group: (-group.never, -group.attempts, group.destination))
        return Month(
            tuple(failing),
            self._readings,
            sum(group.delivered + group.requeued for group in self._groups.values()),
            len(self._groups) - len(failing),
            self._receiving,
            self._begin,
            self._end,
            self._local,
            self._received,
            len(self._waiting),
            tuple((mta, number) for mta, number in self._idle.most_common() if number),
        )

    def _sound(self, group: Group) -> Group | None:
        """A server that takes nearly all mail of the same domain."""
        if group.delivered + group.requeued:
            return None
        others = (each for each in self._groups.values() if each is not group and each.domains & group.domains)
        return next((each for each in others if each.delivered >= max(FEW, 10 * each.never)), None)

    def _destination(self, told: Reading) -> str:
        if told.host and not told.host.startswith("["):
            return told.host.lower().rstrip(".")
        domain = told.recipient.rpartition("@")[2].strip("<>").lower()
        return told.ip or told.host.strip("[]") or domain or "(not told)"

    def _group(self, destination: str) -> Group:
        group = self._groups.get(destination)
        if group is None:
            if len(self._groups) >= limits.MONTH_HOSTS:
                destination = REST
                group = self._groups.get(REST)
            if group is None:
                group = self._groups[destination] = Group(destination)
        return group

    def _count_day(self, group: Group, when: float | None, at: int) -> None:
        if when is None:
            return
        number = int(when // 86_400)
        if number != self._day[0]:
            self._day = number, time.strftime("%Y-%m-%d", time.gmtime(number * 86_400))
        counts = group.days.get(self._day[1])
        if counts is None:
            if len(group.days) >= limits.MONTH_DAYS:
                return
            counts = group.days[self._day[1]] = [0, 0]
        counts[at] += 1

    def _delivered(self, group: Group, key: tuple[str, str], told: Reading) -> None:
        self._count_day(group, told.when, 0)
        _count_address(group.fine_by_address, told.ip)
        if told.size is not None:
            group.sizes_fine.add(told.size)
        group.since += 1
        mail = self._open.pop(key, None)
        if mail is None:
            group.delivered += 1
            return
        group = self._groups[mail.destination]  # of several servers, the one where it had failed
        group.examples.pop(key, None)
        group.requeued += 1
        group.requeued_text += bool(IN_TEXT & set(mail.phases)) and not mail.replied
        group.requeued_replied += mail.replied
        group.requeued_unplaced += mail.unplaced

    def _failed(self, group: Group, key: tuple[str, str], told: Reading) -> None:
        self._count_day(group, told.when, 1)
        _count_address(group.failed_by_address, told.ip)
        group.attempts += 1
        group.seconds += told.seconds or 0.0
        group.phases[told.phases] += 1
        group.breaks[told.break_kind or " or ".join(told.broken) or "not told"] += 1
        group.first = told.when if group.first is None else group.first
        group.last = told.when
        group.amid, group.since = group.amid + (group.since if group.attempts > 1 else 0), 0
        if not told.recipient and told.mta in ("exim", "postfix"):
            return  # of a server that was not the last one: the next one's line tells the fate
        if key in group.examples or len(group.examples) < _EXAMPLES:
            group.examples[key] = told
        mail = self._open.get(key)
        if mail is None:
            if len(self._open) >= limits.MONTH_MAILS:
                oldest = self._open.pop(next(iter(self._open)))
                _settle(self._groups[oldest.destination], oldest)
            mail = self._open[key] = _Mail(
                group.destination, 0, told.phases, told.size, False, False, told.ip, False, None
            )  # fmt: skip
        if mail.last is None or told.when is None or told.when - mail.last > SAME:
            mail.attempts += 1  # else another recipient of it
        mail.last = told.when
        mail.phases = told.phases
        mail.size = told.size if told.size is not None else mail.size
        mail.replied = "reply" in told.broken
        mail.unplaced = not told.phases
        mail.risky = mail.risky or told.duplicate_risk
        mail.returned = mail.returned or told.fate == "bounced" or told.gave_up


def _count_address(counts: Counter[str], ip: str) -> None:
    if ip and (ip in counts or len(counts) < limits.MONTH_ADDRESSES):
        counts[ip] += 1


def _settle(group: Group, mail: _Mail) -> None:
    group.never += 1
    group.returned += mail.returned
    group.retried += mail.attempts > 1
    group.replied += mail.replied
    group.unplaced += mail.unplaced
    group.doubtful += mail.risky
    group.in_text += bool(IN_TEXT & set(mail.phases)) and not mail.replied
    if mail.size is not None and not mail.unplaced:
        group.sizes_failed.add(mail.size)


def _conclusions(group: Group, sound: Group | None) -> Iterator[Conclusion]:
    """What the numbers say; each names those that it rests on. `sound`: another server of the same domain."""
    broken = group.never - group.replied - group.unplaced
    if group.replied:
        yield Conclusion("refusal", f"{group.replied:,} of {group.never:,} were answered with a code: ask whose it is")
    if group.unplaced:
        told = f"{group.unplaced:,} of {group.never:,} failed by a text that is not known here: where is not told"
        yield Conclusion("unknown", told)
    if broken:
        yield _of_broken(group, broken, sound)
    if group.requeued_text:
        yield Conclusion(
            "requeue",
            f"{_mails(group.requeued_text)} broken in the text, or behind it, passed when sent again: how the end of "
            "data fell into segments, or loss; not content",
        )
    if group.requeued_replied:
        text = f"{_mails(group.requeued_replied)} answered with a 4xx passed later: greylisting, load"
        yield Conclusion("greylisting", text)
    if group.requeued_unplaced:
        yield Conclusion("loss", f"{_mails(group.requeued_unplaced)} failed by a text that is not known passed later")
    others = group.requeued - group.requeued_text - group.requeued_replied - group.requeued_unplaced
    if others:
        yield Conclusion("loss", f"{_mails(others)} broken before the text passed later: loss, load, a restart")
    began = _began(group)
    if began:
        yield began


def _mails(number: int) -> str:
    return f"{number:,} mail" if number == 1 else f"{number:,} mails"


def _of_broken(group: Group, broken: int, sound: Group | None) -> Conclusion:
    """Of mails that broke off and were never delivered."""
    bad, fine = _bad_address(group), group.delivered + group.requeued
    if bad:
        return Conclusion("address", bad)
    if not fine and broken >= FEW:
        at = "the text, or at its end" if group.in_text == broken else "the text, or earlier"
        failed = f"all {broken:,} mails failed {f'in {at}' if group.in_text else 'before the text'}"
        if sound is not None:
            domain = min(sound.domains & group.domains)
            other = f"{sound.destination} took {_mails(sound.delivered)} meanwhile, for {domain} too"
            return Conclusion("address", f"{failed}; {other}: one bad server of several, or a box before it alone")
        why = "the path (MTU) or a box that cuts all" if group.in_text else "the path, a port filter or that server"
        return Conclusion("host", f"{failed}; none got through: {why}, not what is in one of them")
    if group.in_text < FEW or fine < FEW:
        where = "" if group.in_text == broken else f" ({group.in_text:,} in the text or behind it)"
        return Conclusion(
            "few",
            f"{_mails(broken)} failed{where}, {fine:,} passed: too few to part content, size, the path and chance. "
            f"What tells: a longer log ({FEW} of each at least), or a capture of the next attempt",
        )
    if group.amid < FEW and group.first is not None and group.last is not None:
        while_ = f"from {iso(group.first)} to {iso(group.last)}"
        return Conclusion(
            "outage",
            f"all {broken:,} failed {while_}, and {group.amid:,} passed meanwhile: an outage fits as well as size or "
            "content. What tells: whether the same mails pass now",
        )
    return _size(group) or _content(group, fine)


def _size(group: Group) -> Conclusion | None:
    """Do the mails above a size fail, and those below pass?"""
    found = split(group.sizes_failed, group.sizes_fine)
    if found is None or not found.parts or found.failed_above < FEW or found.fine_below < FEW:
        return None
    least = group.sizes_failed.next_to(found.size)
    if least is not None and MTU[0] <= least <= MTU[1] and not found.fine_above:
        return Conclusion("path-mtu", f"{found}: large packets get lost (path MTU), or what only longer mails hold")
    return Conclusion("size", f"{found}: a limit of size, path MTU, or what only the larger mails hold")


def _content(group: Group, fine: int) -> Conclusion:
    tried = f"{group.retried:,} of them tried again ({group.attempts:,} attempts in all)"
    told = f"{_mails(group.in_text)} never passed, {tried}, while {fine:,} others did"
    if group.retried < FEW:
        return Conclusion("untried", f"{told}. What tells: whether they pass when they are sent again")
    if not (group.sizes_failed.number and group.sizes_fine.number):
        return Conclusion("size", f"{told}: what is in them decides, or their size, which the log does not tell")
    found = split(group.sizes_failed, group.sizes_fine)
    return Conclusion("content", f"{told}: what is in them decides; size does not: {found or 'it was alike'}")


def _bad_address(group: Group) -> str:
    """Do all failures go to one address of several?"""
    failed = [ip for ip, count in group.failed_by_address.items() if count]
    well = sum(count for ip, count in group.fine_by_address.items() if ip not in failed)
    if len(failed) != 1 or group.attempts < FEW or well < FEW or group.fine_by_address[failed[0]]:
        return ""
    return (
        f"all {group.failed_by_address[failed[0]]:,} failures at {failed[0]}, none of {well:,} deliveries there: one "
        "bad server of several"
    )


def _began(group: Group) -> Conclusion | None:
    """Was there a time before it?"""
    days = sorted(group.days)
    bad = [day for day in days if group.days[day][1]]
    if not bad:
        return None
    before = [day for day in days if day < bad[0]]
    passed = sum(group.days[day][0] for day in before)
    if len(before) < 2 or passed < 2 * FEW or len(bad) < 2 or group.attempts < FEW:
        return None
    failed, fine = group.never + group.requeued, group.delivered - passed
    if (fine / max(failed + fine, 1)) ** passed > _CHANCE:  # so many in a row may pass with what failed later
        return None
    quiet = f"{passed:,} deliveries on {len(before)} days before it without a failure"
    return Conclusion("began", f"began on {bad[0]}: {quiet}; what changed?")
