"""Plays the chosen rows, several at a time, judges them and reports."""

import argparse
import functools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict

import agreement
import culprits
import judge
import namespaces
import needs
import ranks
from explained import EXPLAINED
from namespaces import BUILD
from rows import CHUNKED, MATRIX, RECEIVERS, SELECTION, Row
from scenes import SCENES

EVERYTHING = [*MATRIX, *RECEIVERS, *CHUNKED, *SCENES]
AGAIN = 40  # runs that are played again at most; more would be no accident
LONGEST = 600  # seconds after which a run is ended


def main() -> int:
    options = _arguments()
    if options.install and not namespaces.inside():
        needs.install()
    if namespaces.lacking("On Debian 12, as root, `make lab LAB=--install` installs it."):
        return 3
    rows = EVERYTHING if options.full else [*SELECTION, *SCENES, *culprits.FEW]
    rows = culprits.DIAGNOSED if options.culprits else rows
    rows = [row for row in rows if re.search(options.only, row.name)]
    rows += [row for row in SCENES if row.name in {row.twin for row in rows} - {row.name for row in rows}]
    begin = time.monotonic()
    if not options.judge:
        namespaces.enter()
        print(f"{len(rows)} runs, {options.jobs} at a time ...", flush=True)
    play = (lambda chosen: None) if options.judge else functools.partial(_play, jobs=options.jobs)
    found, relaxed = _two_acts(rows, play)
    rows += relaxed
    judgements = _judged(rows)
    first = [] if options.judge else _once_more(judgements)
    text = agreement.text(judgements, first) + (f"\n{ranks.text(found)}\n\n" if found else "")
    took = f"{len(rows)} runs in {time.monotonic() - begin:.0f} s.\n"
    (BUILD / "report.txt").write_text(text + took)
    agreement.write(judgements, BUILD / "report.json")
    print(text + took + f"The report: {BUILD / 'report.txt'}; what each run left lies beside it.")
    return 1 if ranks.wrong(found) or any(each.wrong and each.row.name not in EXPLAINED for each in judgements) else 0


def _two_acts(rows: Sequence[Row], play: Callable[[Sequence[Row]], None]) -> tuple[list[ranks.Rank], list[Row]]:
    """Play the rows; then each mail that a culprit has stopped once more, with the rules off that diagnose names.

    What diagnose says, and the rows of the second act. Those that wait for minutes wait beside both acts.
    """
    slow = [row for row in rows if row.slow]
    found: list[ranks.Rank] = []
    relaxed: list[Row] = []
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(play, slow)
        for chosen, ready in (([row for row in rows if not row.slow], None), (slow, waiting)):
            if ready is None:
                play(chosen)
            else:
                ready.result()
            made = ranks.ranks([row for row in chosen if row.judged == "culprit"], BUILD)
            sets = ranks.sets(made)
            again = [culprits.relaxed(row, sets.get(row.name, ())) for row in chosen if row.judged == "culprit"]
            play(again)
            found += made
            relaxed += again
    return found, relaxed


def _judged(rows: Sequence[Row]) -> list[judge.Judgement]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda row: judge.judge(row, BUILD), rows))


def _once_more(judgements: list[judge.Judgement]) -> list[judge.Judgement]:
    """Play what does not agree again, a few at a time: on a busy machine a packet may come too late.

    Puts what has become of it into `judgements`; the first judgements of those runs.
    """
    wrong = [each for each in judgements if each.wrong and not each.row.slow and each.row.name not in EXPLAINED]
    if len(wrong) > AGAIN:
        return []
    for each in wrong:
        kept = BUILD / f"{each.row.name}.first"
        shutil.rmtree(kept, ignore_errors=True)
        (BUILD / each.row.name).rename(kept)
    _play([each.row for each in wrong], 2)
    for old, new in zip(wrong, _judged([each.row for each in wrong]), strict=True):
        judgements[judgements.index(old)] = new
    return wrong


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Real mail servers, a real break, and the prediction.")
    parser.add_argument("--full", action="store_true", help="the whole matrix")
    parser.add_argument("--culprits", action="store_true", help="each rule as the culprit, and what diagnose says")
    parser.add_argument("--only", metavar="PATTERN", default="", help="runs whose name holds this regular expression")
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1), help="runs at a time")
    parser.add_argument("--judge", action="store_true", help="judge what the last time has left")
    parser.add_argument("--install", action="store_true", help="first install what is missing")
    return parser.parse_args()


def _play(rows: Sequence[Row], jobs: int) -> None:
    """Play the rows, those that wait for minutes beside the others."""
    slow = [row for row in rows if row.slow]
    quick = [row for row in rows if not row.slow]
    with ThreadPoolExecutor(len(slow) or 1) as waiting, ThreadPoolExecutor(jobs) as working:
        runs = {waiting.submit(_one, row): row for row in slow}
        runs |= {working.submit(_one, row): row for row in quick}
        for number, run in enumerate(as_completed(runs), 1):
            if sys.stderr.isatty():
                print(f"\r{number} of {len(rows)}", end="", file=sys.stderr)
            run.result()


def _one(row: Row) -> None:
    folder = BUILD / row.name
    words = [json.dumps(asdict(row)), str(folder), os.environ["LAB_BASES"]]
    namespaces.alone(folder, namespaces.HERE / "play.py", words, LONGEST)
