"""`diagnose --impact` for people: what each profile would cost in mails that the capture shows as accepted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.impact import BY, First, Impact, Profile
from smtpinspect.report.terminal import Style, count, cut, padded, program, safe, wide, wrapped
from smtpinspect.report.text import Product
from smtpinspect.source.again import Place

TOP: Final = 8  # names that are printed of each kind


def page(
    impact: Impact,
    columns: Sequence[Product],
    captures: Sequence[str],
    width: int | None,
    style: Style,
    places: Mapping[int, Place] = MappingProxyType({}),
) -> Iterator[str]:
    """The lines of the page. `places`: of several captures, where the packets of `packets_of` lie."""
    head = f"OBSERVED  {count(impact.mails, 'mail')}, {impact.accepted:,} accepted"
    if impact.encrypted:
        head += f"; {count(impact.encrypted, 'connection')} encrypted: what they carry is not judged"
    yield from wrapped(head, width)
    yield from wrapped("Accepted mails are taken for legitimate: a rule that cuts them costs you mail.", width)
    if not impact.accepted:
        yield "No accepted mail: nothing to lose, nothing to tell."
        return
    titles = {column.label: column for column in columns}
    for one in impact.profiles:
        yield ""
        yield from _profile(one, titles[one.label], impact.accepted, width, style, places)
    worst = max(impact.profiles, key=lambda one: one.lost, default=None)
    if worst is not None and worst.lost:
        yield f"Next: {program()} rules {worst.by['rule'].top(1)[0].name}"
    else:
        yield f"Next: {program()} replay {' '.join(map(shlex.quote, captures))}"


def packets_of(impact: Impact) -> list[int]:
    """Those that the page names."""
    return [first.packet for one in impact.profiles for first in one.first.values() if first.packet]


def _profile(
    one: Profile,
    column: Product,
    accepted: int,
    width: int | None,
    style: Style,
    places: Mapping[int, Place],
) -> Iterator[str]:
    note = f" ({column.note})" if column.note else ""
    yield from (
        style(line, "bold") for line in wrapped(f"WOULD HAPPEN behind {column.title}{note}, as we emulate it", width)
    )
    parts = [f"{one.cut:,} would be cut"] if one.cut else []
    parts += [f"{one.refused:,} would be refused by the box"] if one.refused else []
    if not parts:
        which = "the accepted mail" if accepted == 1 else f"none of the {accepted:,} accepted mails"
        yield f"  {which} would {'not ' if accepted == 1 else ''}be lost"
        return
    share = f"{100 * one.lost / accepted:.1f}%"
    told = f"of {count(accepted, 'accepted mail')}: {', '.join(parts)} ({share})"
    yield from (style(line, "red") for line in wrapped(told, width, "  "))
    for by in BY:
        rows = one.by[by].top()
        if not rows:
            continue
        yield f"  by {by}"
        names = max(wide(safe(row.name)) for row in rows[:TOP])
        for row in rows[:TOP]:
            told = f"{row.lost:,}" if by == "rule" else f"{row.lost:,} of {row.of:,}"
            line = f"    {padded(safe(row.name), names)}  {told:>9}"
            first = one.first.get(row.name) if by == "rule" else None
            more = f"first: {_first(first, places)}" if first is not None and first.packet else ""
            if more and width is not None and wide(line) + 3 + wide(more) > width:
                yield line
                yield from (cut(each, width) for each in wrapped(more, width, "      "))
            else:
                yield f"{line}   {more}".rstrip()
        if len(rows) > TOP:
            yield f"    … {len(rows) - TOP:,} more, {sum(row.lost for row in rows[TOP:]):,} mails"


def _first(first: First, places: Mapping[int, Place]) -> str:
    place = places.get(first.packet)
    packet = f"packet {first.packet:,}" if place is None else f"{safe(place.path)} packet {place.number:,}"
    return f"{safe(first.sender)}, {packet}: {safe(excerpt(first.octets)) or '(an empty line)'}"
