"""`replay` for people: what was seen, what would happen and by which evidence, sums, what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpinspect.report import words
from smtpinspect.report.summary import DUPLICATE, FINE, SHOWN, TROUBLE, Key, MailSum, Row, RuleSum, Summary
from smtpinspect.report.terminal import Style, clock, count, cut, padded, program, took, wide, wrapped

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert
    from smtpinspect.inspectors.base import Inspector

TOP: Final = 5  # destinations, and sender domains, that are printed
QUOTED: Final = 48  # characters of evidence, on a terminal
READABLE: Final = 12  # columns that are left of an address
_GENERATION: Final = re.compile(r"([a-z]+)-(\d.*)")


class Product(NamedTuple):
    """A column: an emulated product under its key in a verdict."""

    label: str
    title: str
    note: str  # what was assumed or set
    unused: tuple[str, ...] = ()  # settings that were read and that nothing evaluates
    spec: str = ""  # as it was given; empty when nobody named a product


def products(inspectors: Sequence[Inspector], labels: Sequence[str], specs: Sequence[str]) -> list[Product]:
    """Columns of the table. `specs` are the words of the command line, none when nobody named a product."""
    made: list[Product] = []
    for number, (inspector, label) in enumerate(zip(inspectors, labels, strict=True)):
        spec = specs[number] if specs else ""
        head, _, keys = spec.partition(",")
        title = _title(inspector)
        if twins := sum(other.title == title or other.title.startswith(f"{title} #") for other in made):
            title = f"{title} #{twins + 1}"
        read = inspector.configuration
        assumed = ":" not in head and len(inspector.profiles) > 1 and not (read and read.profile)
        notes = ["assumed: you did not say which"] if assumed else []
        if read and read.assumed and ":" not in head:
            notes.append("assumed: no version line")
        if not inspector.active:
            notes.append("inactive by configuration: it inspects nothing")
        note = "; ".join([*notes, *([keys] if keys else [])])
        made.append(Product(label, title, note, inspector.notes(), spec))
    return made


def _title(inspector: Inspector) -> str:
    """A profile that is a product generation names the product; of others the profile is told."""
    if generation := _GENERATION.fullmatch(inspector.profile):
        return f"{generation[1].upper()} {generation[2]}"
    first = inspector.title.partition(" ")[0]
    name = first if first.lower() == inspector.name else inspector.name.capitalize()
    return f"{name} ({inspector.profile})" if len(inspector.profiles) > 1 else name


class Text:
    """A summary as lines. `width` is that of a terminal, None without one: then nothing is cut or wrapped."""

    def __init__(
        self,
        summary: Summary,
        columns: Sequence[Product],
        *,
        width: int | None = None,
        style: Style | None = None,
        ports: Sequence[int] = (),
    ) -> None:
        self.sum = summary
        self.columns = columns
        self.width = width
        self.style = style or Style(False)
        self.ports = ports
        self.common = summary.common()
        self.titles = {column.label: column.title for column in columns}
        self._told: set[tuple[int, str, str, int]] = set()  # alerts that are printed

    def lines(self) -> Iterator[str]:
        """The whole report."""
        if self.sum.duplicates:
            told = f"{count(self.sum.duplicates, 'mail')} MAY HAVE BEEN DELIVERED; retries make duplicates."
            yield self.style(told, "bold")
            yield ""
        if not self.sum.rows and not self.sum.connections:
            yield from self._nothing()
            return
        if not self.sum.each:
            yield from self._wrapped(self._head())
        yield from self._emulated()
        if self.sum.rows:
            yield from self._table()
        yield from self._hidden()
        if self.sum.several:
            if "alert" in self.sum.records:
                yield from self._by_rule()
            if not self.sum.each:
                yield from self._by("By destination", self.sum.servers)
                yield from self._by("By sender domain", self.sum.domains)
        yield from self._doubts()
        yield ""
        for line in self._wrapped(self._total()):
            yield self.style(line, "bold")
        yield from self._next()

    # --- above the table

    def _nothing(self) -> Iterator[str]:
        what = "these captures" if self.sum.captures > 1 else "this capture"
        stopped = " before you stopped it" if self.sum.stopped else ""
        yield f"no SMTP in {what}: {count(self.sum.packets, 'packet')} read{stopped}."
        if self.sum.packets:
            ports = ", ".join(str(port) for port in self.ports)
            looked = f"Looked for: server ports {ports}, and a 220 greeting on any port."
            yield from self._wrapped(f"{looked} Other ports: --port N")

    def _head(self) -> str:
        one = self.sum
        parts = [count(one.connections, "connection"), count(one.mails, "mail")]
        if one.encrypted:
            parts.append(f"{one.encrypted:,} encrypted")
        parts.append(count(one.packets, "packet"))
        if one.last_ns:
            first, last = clock(one.first_ns), clock(one.last_ns)
            # The day is told once.
            until = last.removeprefix(first[:11])
            parts.append(f"{first} UTC" if last == first else f"{first} to {until} UTC")
        return ", ".join(parts)

    def _emulated(self) -> Iterator[str]:
        if self.columns:
            told = [f"{one.title} ({one.note})" if one.note else one.title for one in self.columns]
            yield from self._wrapped(f"Emulated here, not the products themselves: {'; '.join(told)}.")
            for column in self.columns:
                for note in column.unused:
                    yield from self._wrapped(f"Not evaluated, {column.title}: {note}.")
            yield ""

    # --- the table

    def _table(self) -> Iterator[str]:
        names = ["capture", "mail from"] if self.sum.each else ["mail from", "to"]
        heads = [[name] for name in names] + [["in the", "capture"]]
        heads += [_two_lines(column.title) for column in self.columns]
        lines = [self._cells(row) for row in self.sum.rows]
        widths = [max(map(wide, (*head, *(line[i] for line in lines)))) for i, head in enumerate(heads)]
        if self.width is not None:
            widths = _shrunk(widths, len(names), self.width)
        fits = self.width is None or sum(widths) + 2 * (len(widths) - 1) <= self.width
        if fits:
            yield from self._heads(heads, widths, len(names))
        shown = None
        for row, line in zip(self.sum.rows, lines, strict=True):
            if not fits:
                yield from self._stacked(row, line)
            else:
                if self.sum.each and row.capture == shown:
                    line[0] = ""
                shown = row.capture
                colours = ["", "", words.colour(row.outcome)]
                colours += [words.colour(row.cells.get(one.label, ("", ""))[0]) for one in self.columns]
                yield self._joined(line, widths, colours).rstrip()
            yield from self._details(row)

    def _heads(self, heads: Sequence[Sequence[str]], widths: Sequence[int], names: int) -> Iterator[str]:
        above = " " * sum(width + 2 for width in widths[:names]) + padded("OBSERVED", widths[names] + 2)
        yield self.style(f"{above}{'WOULD HAPPEN behind' if self.columns else ''}".rstrip(), "dim")
        tall = max(map(len, heads))
        for number in range(tall):
            line = [([""] * (tall - len(head)) + [*head])[number] for head in heads]
            yield self.style(self._joined(line, widths).rstrip(), "bold")

    def _cells(self, row: Row) -> list[str]:
        names = [row.capture, row.sender] if self.sum.each else [row.sender, row.to]
        return [*names, row.observed, *(row.cells.get(one.label, ("", ""))[1] for one in self.columns)]

    def _joined(self, cells: Sequence[str], widths: Sequence[int], colours: Sequence[str] = ()) -> str:
        made = []
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            text = cut(cell, width)
            space = " " * (width - wide(text)) if number < len(cells) - 1 else ""
            made.append((self.style(text, colours[number]) if colours else text) + space)
        return "  ".join(made)

    def _stacked(self, row: Row, line: Sequence[str]) -> Iterator[str]:
        """Too many products for this terminal: a line for each thing that would happen."""
        for name in self._wrapped("  ".join(part for part in line[:2] if part)):
            yield self.style(name if self.width is None else cut(name, self.width), "bold")
        yield f"  OBSERVED      in the capture: {self.style(row.observed, words.colour(row.outcome))}"
        same: dict[tuple[str, str], list[str]] = {}
        for column in self.columns:
            same.setdefault(row.cells.get(column.label, ("", "")), []).append(column.title)
        lead = "WOULD HAPPEN"
        for (kind, text), titles in same.items():
            joined = ", ".join(titles)
            short = self.width is None or wide(f"{'':<16}behind {joined}: {text}") <= self.width
            for title in (joined,) if short else titles:
                yield f"  {lead:<12}  behind {title}: {self.style(text, words.colour(kind))}"
                lead = ""

    # --- below a row

    def _details(self, row: Row) -> Iterator[str]:
        for note in row.notes:
            yield from self._wrapped(note, "  ")
        if "alert" not in self.sum.records:
            return
        for alert in row.breaks:
            yield from self._break(alert)
        known = {(alert.inspector, alert.rule) for alert in row.breaks} | self.common
        alarms = []
        for key, (alert, n) in (*row.fired.items(), *row.later.items()):
            if key in known:
                continue
            if alert.action == "alarm" and alert.row.kind == "emulate":
                alarms.append(self._rule(key) + (f" ({n})" if n > 1 else ""))
            else:
                yield from self._other(alert, n, " (behind this mail)" if key in row.later else "")
        if alarms and not self.sum.several:
            yield from self._wrapped(f"alarms only: {', '.join(alarms)}", "  ")

    def _break(self, alert: Alert) -> Iterator[str]:
        does = f"{words.does(alert)}:"
        new = self._new(alert)
        if new:
            told = alert.title + (f" ({alert.detail})" if alert.detail else "")
        else:
            told = f"the connection, since packet {alert.packet:,} (above)"
        for line in self._wrapped(f"{self._rule((alert.inspector, alert.rule))}  {does} {told}", "  "):
            yield line.replace(does, self.style(does, "red"), 1)
        if new:
            yield from self._where(alert)
            for consequence in words.consequences(alert):
                yield from self._wrapped(consequence, "    ")

    def _other(self, alert: Alert, n: int, place: str) -> Iterator[str]:
        if not self._new(alert):
            return
        times = f", {n} times" if n > 1 else ""
        place = " (after the break)" if alert.after_break else place
        rule = self._rule((alert.inspector, alert.rule))
        refused = words.refuses(alert)
        title = f"{alert.title} ({alert.detail})" if refused and alert.detail else alert.title
        yield from self._wrapped(f"{rule}  {words.does(alert)}: {title}{times}{place}", "  ")
        yield from self._where(alert)
        for consequence in words.consequences(alert) if refused else ():
            yield from self._wrapped(consequence, "    ")

    def _new(self, alert: Alert) -> bool:
        """Not printed yet? What lies outside mails counts for all mails of the connection."""
        identity = (alert.flow_id, alert.inspector, alert.rule, alert.offset)
        if identity in self._told:
            return False
        self._told.add(identity)
        return True

    def _rule(self, key: Key) -> str:
        """The rule's id, with its product where another one has the same rules."""
        label, rule = key
        shared = ":" in label or "#" in label
        return f"{rule} [{self.titles.get(label, label)}]" if shared else rule

    def _where(self, alert: Alert) -> Iterator[str]:
        quoted = words.evidence(alert)
        if self.width is not None:
            quoted = cut(quoted, QUOTED)
        place = f"{alert.direction}'s byte {alert.offset:,}, packet {alert.packet:,}"
        if quoted:
            place = f'"{quoted}"   {place}'
        yield from self._wrapped(f"{place}   ({words.BASIS.get(alert.basis, alert.basis)})", "    ")

    # --- below the table

    def _hidden(self) -> Iterator[str]:
        fine, trouble = self.sum.hidden[FINE], self.sum.hidden[TROUBLE] + self.sum.hidden[DUPLICATE]
        if trouble or fine:
            yield ""
            told = [f"{trouble:,} that break or would"] if trouble else []
            told += [f"{fine:,} that do not"] if fine else []
            yield f"… and {' and '.join(told)}, counted below. All of them: --format eve"

    def _by_rule(self) -> Iterator[str]:
        if not self.sum.rules:
            return
        yield ""
        yield "By rule"
        plain = {key: one for key, one in self.sum.rules.items() if key not in self.common}
        longest = max((wide(self._rule(key)) for key in plain), default=0)
        for key, one in sorted(plain.items(), key=_weight):
            held = count(one.connections, "connection")
            if one.mails:
                held = f"{count(one.mails, 'mail')} in {held}"
            if not self.sum.each:
                held += f"; first: packet {one.first.packet:,}"
            yield from self._wrapped(
                f"{padded(self._rule(key), longest)}  {words.does(one.first):<10}  {held}", "  "
            )
        if self.common:
            numbers = {self.sum.rules[key].connections for key in self.common}
            least, most, total = min(numbers), max(numbers), self.sum.connections
            some = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            how = "every connection" if least == total else f"{some} of {total:,} connections"
            yield from self._wrapped(
                f"on {how}: {', '.join(self._rule(key) for key in sorted(self.common))}", "  "
            )

    def _by(self, title: str, sums: Mapping[str, MailSum]) -> Iterator[str]:
        if not sums:
            return
        yield ""
        yield title
        order = sorted(sums.items(), key=lambda item: (-item[1].broken.total(), -item[1].mails, item[0]))
        longest = max(wide(key) for key, _ in order[:TOP])
        for key, one in order[:TOP]:
            parts = [count(one.mails, "mail")]
            if one.trouble:
                parts.append(f"{one.trouble:,} not accepted")
            parts += [f"{self.titles.get(label, label)} would break {n:,}" for label, n in one.broken.items()]
            yield from self._wrapped(f"{padded(key, longest)}  {', '.join(parts)}", "  ")
        if len(order) > TOP:
            yield f"  … and {len(order) - TOP:,} more"

    def _doubts(self) -> Iterator[str]:
        if self.sum.doubts:
            yield ""
            yield "What the capture cannot show"
        for word, n in sorted(self.sum.doubts.items()):
            yield from self._wrapped(f"{word} ({n:,}): {words.DOUBTS.get(word, word)}", "  ")

    def _total(self) -> str:
        parts = [count(self.sum.captures, "capture")] if self.sum.each else []
        parts.append(count(self.sum.mails, "mail"))
        if self.sum.encrypted:
            parts.append(f"{self.sum.encrypted:,} encrypted")
        told = [", ".join(parts)]
        for column in self.columns:
            listed = [f"{n:,} {kind}" for kind, n in words.ordered(self.sum.kinds[column.label])]
            told.append(f"{column.title}: {', '.join(listed) if listed else 'all pass'}")
        stopped = f"stopped after {count(self.sum.packets, 'packet')}"
        told.append(stopped if self.sum.stopped else took(self.sum.seconds))
        return ".  ".join(told)

    def _next(self) -> Iterator[str]:
        """Commands to paste: about what breaks most, or else alters most."""
        order = sorted(self.sum.rules.items(), key=_weight)
        path = order[0][1].path if order else self.sum.path
        commands = []
        if path not in ("", "-") and (self.sum.each or self.sum.mails <= 2 * SHOWN):
            specs = "".join(f" -i {shlex.quote(column.spec)}" for column in self.columns if column.spec)
            words = f"replay {shlex.quote(path)}{specs}" if self.sum.each else f"transcript {shlex.quote(path)}"
            commands.append(f"{program()} {words}")
        if order:
            label, rule = order[0][0]
            spec = next((column.spec for column in self.columns if column.label == label), "")
            given = f"-i {shlex.quote(spec)} " if spec else ""
            commands.append(f"{program()} rules {given}{rule}")
        line = f"Next: {'      '.join(commands)}"
        if not commands:
            return
        if self.width is None or wide(line) <= self.width:
            yield line
        else:
            yield f"Next: {commands[0]}"
            yield from (f"      {command}" for command in commands[1:])

    def _wrapped(self, text: str, indent: str = "") -> Iterator[str]:
        return wrapped(text, self.width, indent)


def _weight(item: tuple[Key, RuleSum]) -> tuple[bool, int, int, Key]:
    """Breaks first, then the stronger action, then the more frequent."""
    key, one = item
    return not one.first.breaks, -words.STRENGTH[one.first.action], -one.connections, key


def _two_lines(title: str) -> list[str]:
    """`Stormshield (high)` over two lines: its cells are narrower."""
    name, bracket, profile = title.partition(" (")
    return [name, f"({profile}"] if bracket else [title]


def _shrunk(widths: Sequence[int], shrinkable: int, width: int) -> list[int]:
    """Addresses and names give way, the widest first, down to a readable rest."""
    made = list(widths)
    excess = sum(made) + 2 * (len(made) - 1) - width
    while excess > 0 and (most := max(made[:shrinkable])) > READABLE:
        made[made.index(most)] -= 1
        excess -= 1
    return made
