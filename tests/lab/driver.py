"""Plays the chosen rows, several at a time, judges them and reports."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import agreement
import judge
import needs
import roots
from rows import MATRIX, RECEIVERS, SELECTION, Row
from scenes import SCENES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECIPE = ROOT / "pcaps" / "recipe"
BUILD = ROOT / "build" / "lab"
NAMESPACES = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
EVERYTHING = [*MATRIX, *RECEIVERS, *SCENES]
LONGEST = 600  # seconds after which a run is ended


def main() -> int:
    options = _arguments()
    if options.install:
        needs.install()
    if lacking := needs.missing():
        lines = ["The laboratory cannot be built here. Missing:", *(f"  {what}" for what in lacking)]
        print("\n".join([*lines, "On Debian 12, as root, `make lab LAB=--install` installs it."]), file=sys.stderr)
        return 3
    rows = EVERYTHING if options.full else [*SELECTION, *SCENES]
    rows = [row for row in rows if re.search(options.only, row.name)]
    rows += [row for row in SCENES if row.name in {row.twin for row in rows} - {row.name for row in rows}]
    begin = time.monotonic()
    if not options.judge:
        _enter()
        _play(rows, options.jobs)
    played = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        judgements = list(pool.map(lambda row: judge.judge(row, BUILD), rows))
    text = agreement.text(judgements)
    took = f"{len(rows)} runs in {played - begin:.0f} s, judged in {time.monotonic() - played:.0f} s.\n"
    (BUILD / "report.txt").write_text(text + took)
    agreement.write(judgements, BUILD / "report.json")
    print(text + took, end="")
    return 1 if any(each.wrong for each in judgements) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Real mail servers, a real break, and the prediction.")
    parser.add_argument("--full", action="store_true", help="the whole matrix")
    parser.add_argument("--only", metavar="PATTERN", default="", help="runs whose name holds this regular expression")
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1), help="runs at a time")
    parser.add_argument("--judge", action="store_true", help="judge what the last time has left")
    parser.add_argument("--install", action="store_true", help="first install what is missing")
    return parser.parse_args()


def _enter() -> None:
    """Go on in a mount namespace of our own, where the roots of the MTAs can be mounted once for all runs."""
    if "LAB_BASES" in os.environ:
        return
    bases = BUILD / "bases"
    bases.mkdir(parents=True, exist_ok=True)
    own = os.environ | {"LAB_BASES": str(bases)}
    os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], own)


def _play(rows: Sequence[Row], jobs: int) -> None:
    """Play the rows, those that wait for minutes beside the others."""
    bases = Path(os.environ["LAB_BASES"])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(bases)], check=True)
    for package in needs.MTAS:
        roots.base(package, bases)
    slow = [row for row in rows if row.slow]
    quick = [row for row in rows if not row.slow]
    with ThreadPoolExecutor(len(slow) or 1) as waiting, ThreadPoolExecutor(jobs) as working:
        runs = {waiting.submit(_one, row, bases): row for row in slow}
        runs |= {working.submit(_one, row, bases): row for row in quick}
        for number, run in enumerate(as_completed(runs), 1):
            if sys.stderr.isatty():
                print(f"\r{number} of {len(rows)}", end="", file=sys.stderr)
            run.result()


def _one(row: Row, bases: Path) -> None:
    folder = BUILD / row.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [*NAMESPACES, sys.executable, str(HERE / "play.py"), json.dumps(asdict(row)), str(folder), str(bases)]
    paths = os.pathsep.join([str(HERE), str(RECIPE), str(ROOT)])
    own = os.environ | {"PYTHONPATH": paths, "LAB_IPTABLES": str(needs.iptables())}
    with (folder / "play.log").open("wb") as log:
        try:
            subprocess.run(command, env=own, stdout=log, stderr=log, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            log.write(b"took too long\n")
