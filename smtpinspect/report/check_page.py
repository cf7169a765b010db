"""`smtpinspect check` for people: which rules each message trips, where, and what it cannot judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.stored.check import Checked, Fired, Unjudged
from smtpinspect.inspectors.base import Inspector
from smtpinspect.report.terminal import Style, count, cut, program, safe, wide, wrapped
from smtpinspect.report.text import Product
from smtpinspect.report.words import DOES

NEXT: Final = ("  tcpdump -U -i any -s0 -w m.pcap 'port 25 or icmp or icmp6' &", "  # when it has failed again:")
SHOWN: Final = 40  # messages that trip something and are printed; the rest is counted
REPEATED: Final = 3  # alerts of one rule in one message that are printed
_NAMED: Final = 60  # characters of a subject


class CheckPage:
    """Fed with messages, gives lines as they come; `end` the sums."""

    def __init__(
        self, inspectors: Sequence[Inspector], columns: Sequence[Product], width: int | None, style: Style
    ) -> None:
        self.pages = {rule: page for made in inspectors for rule, page in made.pages.items()}
        self.titles = {column.label: column.title for column in columns}
        self.columns = columns
        self.width, self.style = width, style
        self.messages = self.tripped = self.cut = 0
        self.rules: Counter[str] = Counter()
        self.files: set[str] = set()
        self.first = ""
        self.begun = False

    def _begin(self) -> Iterator[str]:
        """What is emulated, above the first line."""
        if self.begun:
            return
        self.begun = True
        told = [f"{one.title} ({one.note})" if one.note else one.title for one in self.columns]
        if told:
            yield from wrapped(f"Emulated here, not the products themselves: {'; '.join(told)}.", self.width)
        yield ""

    def message(self, checked: Checked) -> Iterator[str]:
        """One message; nothing of one that trips no rule, unless it is the only one."""
        yield from self._begin()
        self.messages += 1
        self.files.add(checked.stored.file) if len(self.files) < 2 else None
        if not checked.fired:
            return
        self.tripped += 1
        self.cut += any(one.alert.breaks for one in checked.fired)
        self.rules.update({one.alert.rule for one in checked.fired})
        self.first = self.first or checked.fired[0].alert.rule
        if self.tripped > SHOWN:
            return
        number = f" #{checked.stored.number}" if checked.stored.number else ""
        subject = f'  "{cut(safe(checked.subject), _NAMED)}"' if checked.subject else ""
        inside = ", the mail that came back in it:" if checked.stored.returned else ""
        head = f"{safe(checked.stored.file)}{number}{inside}{subject}"
        yield from (self.style(line, "bold") for line in wrapped(head, self.width))
        if checked.stored.bare:
            bare = "none of its first lines is a header field (RFC 5322 2.2): is it a whole message?"
            yield from wrapped(bare, self.width, "  ")
        seen: Counter[str] = Counter()
        told: set[str] = set()
        for one in checked.fired:
            seen[one.alert.rule] += 1
            if seen[one.alert.rule] <= REPEATED:
                yield from self._fired(one, one.alert.rule not in told)
                told.add(one.alert.rule)
        for rule, n in seen.items():
            if n > REPEATED:
                yield f"  {rule}: {n - REPEATED} more places"
        yield ""

    def _fired(self, one: Fired, first: bool) -> Iterator[str]:
        alert = one.alert
        title = self.titles.get(alert.inspector, "whatever firewall")
        breaks = "would cut" if alert.breaks else DOES[alert.action]
        lead = f"  {title}: {breaks}: {alert.rule}"
        colour = "red" if alert.breaks else "yellow"
        if self.width is None or wide(f"{lead}  {alert.title}") <= self.width:
            yield self.style(lead, colour) + f"  {alert.title}"
        else:
            yield from (self.style(line, colour) for line in wrapped(lead.strip(), self.width, "  "))
            yield from wrapped(alert.title, self.width, "    ")
        detail = f" ({alert.detail})" if alert.detail else ""
        told = f"line {one.line}, {safe(one.where)}{detail}: {safe(excerpt(alert.octets))}"
        yield from wrapped(told, self.width, "    ")
        page = self.pages.get(alert.rule)
        if first and page is not None and page.sender_can:
            yield from wrapped(f"the sender can: {page.sender_can}", self.width, "    ")

    def end(self, unjudged: Iterable[Unjudged]) -> Iterator[str]:
        """Sums, what was not judged, and what to do next."""
        yield from self._begin()
        if self.tripped > SHOWN:
            yield f"… and {count(self.tripped - SHOWN, 'more message')} that trip rules"
        if self.messages > 1 and self.rules:
            yield self.style("By rule", "bold") + "  (messages)"
            for rule, n in self.rules.most_common():
                yield f"{n:>9,}  {rule}"
            yield ""
        yield self.style("NOT JUDGED from a stored message", "bold")
        for each in unjudged:
            rules = f" ({count(len(each.rules), 'rule')}: --format json names them)" if each.rules else ""
            yield from wrapped(f"- {each.text}{rules}", self.width, "  ")
        yield ""
        yield self.style(self._total(), "bold")
        if self.first:
            yield f"Next: {program()} rules {self.first}"
        else:
            yield "Next, on the sending server: the next attempt, as it goes over the wire"
            yield from NEXT
            yield f"  kill %1; {program()} diagnose m.pcap"

    def _total(self) -> str:
        if not self.messages:
            return "no message in there."
        if not self.tripped:
            return f"{count(self.messages, 'message')}: none trips a content rule."
        trip = "trips" if self.tripped == 1 else "trip"
        return f"{count(self.messages, 'message')}: {self.tripped:,} {trip} a rule, {self.cut:,} would be cut."
