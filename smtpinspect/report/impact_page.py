"""`diagnose --impact` for people: what each profile would cost in mails that the capture shows as accepted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.impact import BY, Impact, Profile
from smtpinspect.report.terminal import Style, count, padded, program, safe, wide, wrapped
from smtpinspect.report.text import Product

TOP: Final = 8  # names that are printed of each kind


def page(
    impact: Impact, columns: Sequence[Product], captures: Sequence[str], width: int | None, style: Style
) -> Iterator[str]:
    """The lines of the page."""
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
        yield from _profile(one, titles[one.label], impact.accepted, style)
    worst = max(impact.profiles, key=lambda one: one.lost, default=None)
    if worst is not None and worst.lost:
        yield f"Next: {program()} rules {worst.by['rule'].top(1)[0].name}"
    else:
        yield f"Next: {program()} replay {' '.join(map(shlex.quote, captures))}"


def _profile(one: Profile, column: Product, accepted: int, style: Style) -> Iterator[str]:
    note = f" ({column.note})" if column.note else ""
    yield style(f"WOULD HAPPEN behind {column.title}{note}, as we emulate it", "bold")
    parts = [f"{one.cut:,} would be cut"] if one.cut else []
    parts += [f"{one.refused:,} would be refused by the box"] if one.refused else []
    if not parts:
        yield f"  none of the {accepted:,} accepted mails would be lost"
        return
    share = f"{100 * one.lost / accepted:.1f}%"
    yield style(f"  of {count(accepted, 'accepted mail')}: {', '.join(parts)} ({share})", "red")
    for by in BY:
        rows = one.by[by].top()
        if not rows:
            continue
        yield f"  by {by}"
        names = max(wide(safe(row.name)) for row in rows[:TOP])
        for row in rows[:TOP]:
            told = f"{row.lost:,}" if by == "rule" else f"{row.lost:,} of {row.of:,}"
            line = f"    {padded(safe(row.name), names)}  {told:>9}"
            if by == "rule" and (first := one.first.get(row.name)) is not None and first.packet:
                line += f"   first: {safe(first.sender)}, packet {first.packet:,}: {safe(excerpt(first.octets))}"
            yield line
        if len(rows) > TOP:
            yield f"    … {len(rows) - TOP:,} more, {sum(row.lost for row in rows[TOP:]):,} mails"
