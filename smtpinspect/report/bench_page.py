"""`smtpinspect bench`: what a capture costs, for people and as one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from smtpinspect.measure import STAGES, Cost, Measured, shares
from smtpinspect.report.terminal import Style, count, cut, padded, program, safe, wrapped

STAGE_NAMES: Final = {
    "reading": "reading the capture",
    "frames": "frames: link, IP, TCP headers",
    "dialogue": "connections, dialogue, mail text",
    "attachments": "looking into attachments",
    "rules": "all other rules",
    "records": "writing records (EVE)",
}
assert (*STAGE_NAMES,) == STAGES
_FIRST: Final = 10  # columns of a share, or of alerts
_CELL: Final = 12  # of a cost
_NAME: Final = 36  # columns of the first, where there is room
_RICH: Final = 92  # columns from which there are bars
_BAR: Final = 16
_BUSY: Final = 1.25  # times the processor time: from there on the clock on the wall tells of something else
_SHORT: Final = 1e-3  # seconds of a pass below which a capture tells little


def page(
    m: Measured,
    name: str,
    size: int,
    profiles: Mapping[str, str],
    *,
    every: bool = False,
    width: int | None = None,
    style: Style | None = None,
) -> Iterator[str]:
    """The lines of the report. `size` is that of the capture, 0 when it is not known; `profiles` those of the
    inspectors by label; `every` lists all rules.
    """
    style = style or Style(False)
    part = _octets(m.octets) if m.whole else f"the first {_octets(m.octets)}" + (f" of {_octets(size)}" if size else "")
    held = ", ".join((part, count(m.packets, "packet"), count(m.connections, "connection"), count(m.mails, "mail")))
    yield from wrapped(f"{safe(name)}: {held}", width)
    if not m.packets:
        yield "There is nothing to measure: no packet was read."
        return
    if m.stages[0].seconds is None:
        yield "Stopped before anything was measured."
        return
    threads = "one thread" if m.threads == 1 else f"{m.threads} threads"
    runs = f"{count(m.runs, 'run')} in turn" if m.runs else "the first run is not whole"
    yield from wrapped(f"{runs}, {threads}; medians. Costs are processor time; 1 kB is 1,000 bytes.", width)
    yield ""
    yield from _speed(m, width, style)
    yield ""
    yield from _stages(m, width, style)
    yield ""
    yield from _inspectors(m, profiles, width, style)
    yield ""
    yield from _rules(m, every, width, style)
    yield ""
    for note in _notes(m):
        yield from wrapped(note, width)
    yield from _next(m)


def record(m: Measured, captures: Sequence[str], profiles: Mapping[str, str]) -> dict[str, Any]:
    """The same as one object.

    `seconds` and what is per second are by the clock on the wall, all else is processor time; GB are 10**9 octets of
    packets, kB 1,000. `ns_per_kb` is 0 when the cost is less than `noise`, null when it was not measured; so is
    `ns_per_mail`, which is null without mails, too. The shares of the stages add up to 1.
    """
    rules = [{"rule": one.name, "inspector": one.owner, "alerts": one.alerts, **_cost(one, m)} for one in _sorted(m)]
    return {
        "captures": [*captures],
        "whole": m.whole,
        "truncated": None if m.fault is None else str(m.fault),
        "packets": m.packets,
        "octets": m.octets,
        "connections": m.connections,
        "mails": m.mails,
        "threads": m.threads,
        "runs": m.runs,
        "seconds": m.wall,
        "cpu_seconds": m.cpu,
        "gb_per_second": _rate(m.octets / 1e9, m.wall),
        "gb_per_second_without_rules": _rate(m.octets / 1e9, m.wall_none),
        "packets_per_second": _rate(m.packets, m.wall),
        "mails_per_second": _rate(m.mails, m.wall) if m.mails else None,
        "noise": _cost(Cost("noise", m.noise), m),
        "stages": [
            {"stage": one.name, "share": share, **_cost(one, m)}
            for one, share in zip(m.stages, shares(m.stages), strict=True)
        ],
        "inspectors": [
            {
                "inspector": one.name,
                "profile": profiles.get(one.name, "default"),
                "rules": sum(rule.owner == one.name for rule in m.rules),
                "alerts": one.alerts,
                **_cost(one, m),
            }
            for one in m.inspectors
        ],
        "together": {"alerts": m.together.alerts, **_cost(m.together, m)},
        "rules": rules,
    }


def percents(parts: Sequence[float]) -> list[int]:
    """Whole ones that add up to 100, as the parts do to 1: what is cut off goes to those that lost most."""
    told = [int(part * 100) for part in parts]
    if any(parts):
        by_loss = sorted(range(len(parts)), key=lambda i: told[i] - parts[i] * 100)
        for i in by_loss[: 100 - sum(told)]:
            told[i] += 1
    return told


def _speed(m: Measured, width: int | None, style: Style) -> Iterator[str]:
    yield style("SPEED", "bold")
    if m.wall is None:
        yield "  not measured"
        return
    rates = [f"{_figure(m.octets / m.wall / 1e9)} GB/s", f"{_figure(m.packets / m.wall)} packets/s"]
    if m.mails:
        rates.append(f"{_figure(m.mails / m.wall)} mails/s")
    yield from wrapped("   ".join(rates), width, "  ")
    if m.wall_none:
        yield from wrapped(f"without rules and records: {_figure(m.octets / m.wall_none / 1e9)} GB/s", width, "  ")
    if m.cpu and m.threads == 1 and m.wall > _BUSY * m.cpu:
        busy = (
            f"the processor worked for {percents([m.cpu / m.wall, 1 - m.cpu / m.wall])[0]}% of this time: other "
            f"programs or the disk took the rest. Alone it would be {_figure(m.octets / m.cpu / 1e9)} GB/s"
        )
        yield from wrapped(busy, width, "  ")


def _stages(m: Measured, width: int | None, style: Style) -> Iterator[str]:
    yield _head("WHERE THE TIME GOES", "share", width, style)
    parts = shares(m.stages)
    total = sum(one.seconds or 0.0 for one in m.stages)
    for one, percent, part in zip(m.stages, percents(parts), parts, strict=True):
        shown = "-" if one.seconds is None else f"{percent}%"
        if one.seconds == 0.0 and m.noise and total:  # less than can be measured is not nothing
            shown = f"< {int(100 * m.noise / total) + 1}%"
        yield _row(STAGE_NAMES[one.name], shown, _cells(one.seconds, m), width, part)
    if all(one.seconds is not None for one in m.stages):
        yield _row("together", "100%", _cells(total, m), width)


def _inspectors(m: Measured, profiles: Mapping[str, str], width: int | None, style: Style) -> Iterator[str]:
    yield _head("EACH INSPECTOR, alone", "alerts", width, style)
    for one in m.inspectors:
        profile = profiles.get(one.name, "")
        told = one.name if ":" in one.name else f"{one.name}:{profile}" if profile else f"{one.name} (always on)"
        yield _row(told, f"{one.alerts:,}", _cells(one.seconds, m), width)
    yield _row("together", f"{m.together.alerts:,}", _cells(m.together.seconds, m), width)


def _rules(m: Measured, every: bool, width: int | None, style: Style) -> Iterator[str]:
    yield _head("EACH RULE, alone", "alerts", width, style)
    listed = [one for one in _sorted(m) if one.seconds or every]
    most = max((one.seconds or 0.0 for one in listed), default=0.0) or 1.0
    for one in listed:
        name = one.owner + " " + one.name.partition(".")[2] if ":" in one.owner else one.name
        yield _row(name, f"{one.alerts:,}", _cells(one.seconds, m), width, (one.seconds or 0.0) / most)
    small = sum(one.seconds == 0.0 for one in m.rules)
    unknown = sum(one.seconds is None for one in m.rules)
    if small and not every:
        others = "other rule" if listed else "rule"
        yield from wrapped(f"{count(small, others)}: less than can be measured (--all lists them)", width, "  ")
    if unknown:
        yield from wrapped(f"{count(unknown, 'rule')} not measured yet", width, "  ")


def _notes(m: Measured) -> Iterator[str]:
    if not m.connections:
        yield "There is no SMTP in what was measured. Other server ports: --port N"
    if m.noise is not None:
        noise = " ns per kB, ".join(_figure(cost) for cost in _pair(m.noise, m) if cost is not None)
        last = " ns per mail" if m.mails else " ns per kB"
        yield f"Less than {noise}{last} cannot be measured here: equal runs differ by half of that."
    yield "Rules share work, and each is charged with all of it: they do not add up."
    if m.wall is not None and m.wall < _SHORT:
        yield f"A pass takes {_figure(m.wall * 1e3)} ms, most of it beginning and end: a longer capture tells more."
    if not m.whole:
        yield "--whole measures all of the capture."
    yield "This is what the checks cost here; a firewall's own figures differ, what it has to look at does not."


def _next(m: Measured) -> Iterator[str]:
    dearest = next((one.name for one in _sorted(m) if one.seconds), "")
    yield f"Next: {program()} rules {dearest}" if dearest else f"Next: {program()} bench --help"


def _head(title: str, first: str, width: int | None, style: Style) -> str:
    room, n = _columns(width)
    cells = "".join(f"{cell:>{_CELL}}" for cell in ("ns per kB", "ns per mail")[:n])
    return style(title, "bold") + f"{first:>{room + 2 + _FIRST - len(title)}}" + cells


def _row(name: str, first: str, cells: Sequence[str], width: int | None, part: float = 0.0) -> str:
    room, n = _columns(width)
    bar = "#" * round(part * _BAR) if width is None or width >= _RICH else ""
    told = safe(name) if width is None else cut(safe(name), room)
    line = f"  {padded(told, room)}{first:>{_FIRST}}"
    return line + "".join(f"{cell:>{_CELL}}" for cell in cells[:n]) + (f"   {bar}" if bar else "")


def _columns(width: int | None) -> tuple[int, int]:
    """How wide names may be, and how many costs stand beside them."""
    n = 2 if width is None or width >= 2 + _NAME + _FIRST + 2 * _CELL else 1
    return (_NAME if width is None else min(_NAME, width - 2 - _FIRST - n * _CELL)), n


def _cells(seconds: float | None, m: Measured) -> tuple[str, str]:
    """Of a cost, per kB and per mail."""
    if seconds is None:
        return "-", "-"
    kb, mail = _pair(seconds or m.noise or 0.0, m)
    less = "" if seconds else "< "
    return "-" if kb is None else less + _figure(kb), "-" if mail is None else less + _figure(mail)


def _pair(seconds: float, m: Measured) -> tuple[float | None, float | None]:
    per_kb = seconds * 1e12 / m.octets if m.octets else None
    return per_kb, seconds * 1e9 / m.mails if m.mails else None


def _cost(one: Cost, m: Measured) -> dict[str, float | None]:
    pair = (None, None) if one.seconds is None else _pair(one.seconds, m)
    return dict(zip(("ns_per_kb", "ns_per_mail"), pair, strict=True))


def _rate(n: float, seconds: float | None) -> float | None:
    return n / seconds if seconds else None


def _sorted(m: Measured) -> list[Cost]:
    """The rules, dearest first."""
    return sorted(m.rules, key=lambda one: -(one.seconds or 0.0))


def _figure(value: float) -> str:
    """As many digits as mean something: two or three."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _octets(n: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return count(n, "byte")
