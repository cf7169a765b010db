"""`smtpinspect compare` for people: what is worse, what else is different, what is the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from smtpinspect.diagnose.compare import Change, Comparison, Side, share
from smtpinspect.report.terminal import Style, clock, count, padded, program, safe, wide, wrapped

SHOWN: Final = 30  # differences of each sort


def page(made: Comparison, names: tuple[str, str], width: int | None, style: Style) -> Iterator[str]:
    """The lines of the page. `names` are those of the two captures."""
    worse = [one for one in made.differences if one.worse]
    other = [one for one in made.differences if not one.worse]
    if not made.before.connections or not made.after.connections:
        empty = [name for name, one in zip(names, (made.before, made.after), strict=True) if not one.connections]
        yield f"no SMTP in {safe(' and '.join(empty))}: nothing to compare."
        return
    if made.too_few:
        yield style("TOO FEW TO TELL", "yellow") + "  (what that means: --help)"
        few = [f"{count(one.all.mails, 'mail')} in clear" for one in (made.before, made.after)]
        yield from wrapped(
            f"{few[0]} before, {few[1]} after: chance explains any difference between so few. What became of them:",
            width,
            "  ",
        )
        yield from wrapped(f"accepted: {' → '.join(_accepted(one) for one in (made.before, made.after))}", width, "  ")
    else:
        yield style("WORSE" if worse else "NOT WORSE", "red" if worse else "green") + "  (what that means: --help)"
    yield from _listed(worse, width)
    for told in _failed(made):
        yield from wrapped(told, width, "  ")
    if other:
        yield style("OTHERWISE DIFFERENT", "bold")
        yield from _listed(other, width)
    yield ""
    yield from _sums(made.before, made.after, width)
    yield ""
    yield f"Next: {_next(made, names)}"


def _failed(made: Comparison) -> Iterator[str]:
    for mail in made.fail_now:
        to = " and ".join(mail.rcpt_to) or "nobody yet"
        yield f"fails now: {safe(f'{mail.mail_from} to {to}')}, {clock(mail.start_ns)} UTC: {mail.outcome}"
    left = made.after.all.broken + made.after.all.refused - len(made.fail_now)
    if made.fail_now and left:
        yield f"and {count(left, 'more mail')}"


def _accepted(one: Side) -> str:
    return share(one.all.outcomes["accepted"], one.all.mails)


def _next(made: Comparison, names: tuple[str, str]) -> str:
    """What was not accepted is diagnosed; else what would be cut is counted, or more is captured."""
    before, after = map(shlex.quote, names)
    mails = made.after.all
    if made.worse or mails.outcomes["accepted"] < mails.mails:
        return f"{program()} diagnose {after}"
    if made.too_few:
        return f"{program()} compare {before} {after}   (with more mails in both)"
    return f"{program()} diagnose {'--impact ' if mails.outcomes['accepted'] else ''}{after}"


def _listed(rows: Sequence[Change], width: int | None) -> Iterator[str]:
    for one in rows[:SHOWN]:
        yield from wrapped(f"{safe(one.what)}: {safe(one.before)} → {safe(one.after)}", width, "  ")
    if len(rows) > SHOWN:
        yield f"  … and {len(rows) - SHOWN:,} more"


def _sums(before: Side, after: Side, width: int | None) -> Iterator[str]:
    rows = [
        ("", "before", "after"),
        ("connections", f"{before.connections:,}", f"{after.connections:,}"),
        ("with TLS", share(before.encrypted, before.connections), share(after.encrypted, after.connections)),
        ("mails in clear", f"{before.all.mails:,}", f"{after.all.mails:,}"),
    ]
    for word in sorted({*before.all.outcomes, *after.all.outcomes}):
        was, now = before.all.outcomes[word], after.all.outcomes[word]
        rows.append((f"  {word}", share(was, before.all.mails), share(now, after.all.mails)))
    for name, old in before.having.items():
        new = after.having[name]
        if old.mails or new.mails:
            rows.append((f"  broken: {name}", share(old.broken, old.mails), share(new.broken, new.mails)))
    widths = [max(wide(row[n]) for row in rows) for n in range(3)]
    narrow = width is not None and sum(widths) + 4 > width
    for row in rows[narrow:]:
        if narrow:
            name = row[0].lstrip()
            yield from wrapped(f"{name}: {row[1]} → {row[2]}", width, " " * (len(row[0]) - len(name)))
            continue
        yield f"{padded(row[0], widths[0])}  {padded(row[1], widths[1])}  {row[2]}".rstrip()
