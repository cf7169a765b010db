"""The report of a run: for a person, and as JSON."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from explained import EXPLAINED
from judge import Judgement
from rows import PHASES, Row

TITLES = {
    "matrix": "Senders: real log against prediction, agreeing of all",
    "receivers": "Receivers: real log against prediction, agreeing of all",
    "chunks": "Exim with CHUNKING: what its log says of the break, and what its packets show",
    "rules": "Rules at work",
    "culprits": "Culprits: mails that each rule broke or refused, of all",
    "relaxed": "The same mails with the rules off that diagnose names: arrived, of all",
    "contrast": "Contrast: a path that cuts and one that does not",
    "checked": "Mails as stored and as sent: check against replay",
}


def text(judgements: Iterable[Judgement], first: Iterable[Judgement] = ()) -> str:
    """Tables of agreement, then every run that does not agree, with its lines.

    `first` are judgements of runs that were played again, as they were at the first time.
    """
    done = list(judgements)
    parts = []
    for group, title in TITLES.items():
        chosen = [each for each in done if each.row.group == group]
        if chosen:
            parts.append(f"{title}\n\n{_TABLES.get(group, _list)(chosen)}")
    wrong = [each for each in done if each.wrong]
    parts += [_mismatch(each) for each in wrong]
    better = [each for each in first if each.row not in [other.row for other in wrong]]
    if better:
        parts.append("Played again, since the first time it was not as predicted; the second time it was:")
        parts += [_mismatch(each) for each in better]
    known = sum(each.row.name in EXPLAINED for each in wrong)
    parts.append(
        f"{len(done) - len(wrong)} of {len(done)} runs agree" + (f", {known} more are explained." if known else ".")
    )
    return "\n\n".join(parts) + "\n"


def write(judgements: Iterable[Judgement], file: Path) -> None:
    """All of it as JSON."""
    file.write_text(json.dumps([asdict(each) for each in judgements], indent=1) + "\n")


def _by_phase(done: list[Judgement]) -> str:
    """By phase and MTA."""
    return _table(done, "phase", PHASES, lambda row: (row.phase, _mta(row)))


def _mta(row: Row) -> str:
    """Whose log it is."""
    return row.server if row.group == "receivers" else row.client


def _by_rule(done: list[Judgement]) -> str:
    """By rule and sender."""
    return _table(done, "rule", sorted({each.row.fires for each in done}), lambda row: (row.fires, row.client))


_TABLES = {"matrix": _by_phase, "receivers": _by_phase, "chunks": _by_phase, "culprits": _by_rule, "relaxed": _by_rule}


def _table(
    done: list[Judgement], title: str, firsts: Iterable[str], place: Callable[[Row], tuple[str, str]]
) -> str:
    cells: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in done:
        first, mta = place(each.row)
        for cell in ((mta, first), (mta, "all"), ("all", first), ("all", "all")):
            cells[cell].append(not each.wrong)
    mtas = [*dict.fromkeys(mta for mta, _ in cells if mta != "all"), "all"]
    rows = [first for first in (*firsts, "all") if ("all", first) in cells]
    lines = [[title, *mtas]]
    for first in rows:
        counts = [cells.get((mta, first), []) for mta in mtas]
        lines.append([first, *(f"{sum(each)}/{len(each)}" if each else "-" for each in counts)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]) for first, *cells in lines)


def _list(done: list[Judgement]) -> str:
    width = max(len(each.row.name) for each in done)
    return "\n".join(
        f"{each.row.name.ljust(width)}  {'NOT AS PREDICTED' if each.wrong else _result(each)}" for each in done
    )


def _result(each: Judgement) -> str:
    words = {"arrives": "arrives", "stopped": "stopped, as predicted"}
    words |= {"checked": "the same", "contrast": "the wrong rule falls"}
    return words.get(each.row.judged, f"answered {each.row.replied}")


def _mismatch(each: Judgement) -> str:
    lines = [f"{each.row.name}: {each.wrong}"]
    if each.row.name in EXPLAINED:
        lines.append(f"  why: {EXPLAINED[each.row.name]}")
    for title, told in (("real", each.log), ("real, masked", each.real), ("predicted", each.predicted)):
        lines += [f"  {title}:", *(f"    {line}" for line in told)] if told else []
    return "\n".join(lines)
