"""What an inspector of a third party costs that wants one rare fact and decides in Python, in per cent of a run.

Whole processes in turn, with it and without; medians of processor time above the same run over ten packets. Each
inspector is defined as the README tells it, and its method is hardly ever asked. With --count, callgrind counts
instructions instead: slow, but the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from smtpinspect import Engine, Inspector, Rule
from smtpinspect.actions import ALARM, PROJECT, Action
from smtpinspect.facts import COMMAND, CONTENT, FIELD, KEYWORD, LINE, PART, REPLY, contains, gt, in_, matches
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Settings

CAPTURE: Final = Path(__file__).parent.parent / "pcaps" / "bdat.pcap"  # ten packets: the start alone
BOUND: Final = 0.03

RARE: Final = {
    "verb": COMMAND(verb=b"ETRN"),
    "command": COMMAND(line_end="lf"),
    "part": PART(type=in_(b"application/x-odd")),
    "reply": REPLY(code=554),
    "keyword": KEYWORD(name=b"X-ODD"),
    "field": FIELD(name=in_(b"X-Odd")),
    "value": FIELD(name=b"X-Spam-Flag", value=matches(rb"^yes\b")),
    "line": LINE(where="header", length=gt(100_000)),
    "attachment": PART(filename=contains(b".odd")),
    "content": CONTENT(kind="zip-encrypted", depth=gt(3)),
}


class Rare(Inspector):
    """One rule; the core compares, Python is asked where the fact is there."""

    name = "rare"
    title = "One rare fact"
    fact = "verb"

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """The one row."""
        yield Rule("rare.one", RARE[self.fact], ALARM, PROJECT, "house rule", 1, "rare", method="on_one")

    def on_one(self, fact: Any) -> Action | None:
        """Python's word."""
        return ALARM if fact.about.client else None


def replay(fact: str, capture: str, out: str) -> None:
    """The run that is measured: the built-in inspectors, and the rare one unless `fact` is empty."""
    Rare.fact = fact
    with open(out, "wb") as file:
        Engine([*registry.default(), *([Rare()] if fact else [])]).write_eve(capture, file, {"mail"})


def cost(command: list[str], count: bool, folder: Path) -> float:
    """Processor seconds of a process, or its instructions."""
    if count:
        counted = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'callgrind'}", *command]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else most of a run is the compiler's
        done = subprocess.run(counted, check=True, capture_output=True, text=True, env=environment)
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found, done.stderr
        return float(found[1])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(
    captures: Sequence[Path], runs: int = 5, facts: Sequence[str] = ("verb", "part"), count: bool = False
) -> dict[str, Any]:
    """By capture and fact: the share of a run that the inspector adds."""
    shares: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def one(fact: str, path: Path) -> float:
            return cost([sys.executable, __file__, "--one", fact, str(path), str(folder / "eve.json")], count, folder)

        def medians(path: Path) -> dict[str, float]:
            found: dict[str, list[float]] = {fact: [] for fact in ("", *facts)}
            for _ in range(1 if count else runs):
                for fact, each in found.items():
                    each.append(one(fact, path))
            return {fact: statistics.median(each) for fact, each in found.items()}

        one("", CAPTURE)  # what the first start compiles
        start = medians(CAPTURE)
        for path in captures:
            whole = medians(path)
            bare = whole[""] - start[""]
            shares[str(path)] = {fact: round((whole[fact] - start[fact]) / bare - 1, 4) for fact in facts}
    return {
        "runs": 1 if count else runs,
        "unit": "instructions" if count else "processor time",
        "shares": shares,
        "bound": BOUND,
        "kept": all(share < BOUND for each in shares.values() for share in each.values()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", type=Path, metavar="CAPTURE", help="100 MB or more: see corpus.py")
    parser.add_argument("--fact", action="append", choices=list(RARE), help="may be repeated (verb, part)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each, in turn (5)")
    parser.add_argument("--count", action="store_true", help="instructions, by valgrind; captures of a few MB")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument("--one", nargs=3, metavar=("FACT", "CAPTURE", "OUT"), help="the run that is measured")
    given = parser.parse_args(arguments)
    if given.one:
        replay(*given.one)
        return
    if not given.captures:
        parser.error("which captures?")
    found = measure(given.captures, given.runs, given.fact or ("verb", "part"), given.count)
    if given.json:
        print(json.dumps(found))
        return
    for capture, shares in found["shares"].items():
        told = "  ".join(f"{fact} {share:+.1%}" for fact, share in shares.items())
        print(f"{Path(capture).name:28}{told}")
    print(f"of {found['unit']}; bound: {BOUND:.0%}, {'kept' if found['kept'] else 'MISSED'}")


if __name__ == "__main__":
    main()
