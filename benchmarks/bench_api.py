"""What reading every mail in Python costs, as a multiple of the command's run over the same capture.

The command is `replay --format eve --records mail`; Python reads `mail.mail_from` and `mail.verdict` of each mail out
of `Engine().run(capture)`, once with all records and once with `records={"mail"}`. Whole processes in turn, medians of
user and system time; what the same process takes for ten packets is subtracted.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

CAPTURE: Final = Path(__file__).parent.parent / "pcaps" / "bdat.pcap"  # ten packets: the start alone
BOUND: Final = 3.0

READ: Final = """
import sys
from smtpinspect import Engine
mails = 0
for record in Engine().run(sys.argv[1]{more}):
    if record.record == "smtp":
        record.mail_from, record.verdict
        mails += 1
print(mails)
"""


def seconds_of(command: Sequence[str]) -> float:
    """Processor time of a process: other work on the machine adds less to it than to the clock's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def commands(capture: Path, out: Path) -> dict[str, list[str]]:
    words = ["replay", str(capture), "--format", "eve", "--records", "mail", "-o", str(out)]
    return {
        "command": [sys.executable, "-m", "smtpinspect", *words],
        "all records": [sys.executable, "-c", READ.format(more=""), str(capture)],
        "mails only": [sys.executable, "-c", READ.format(more=", records={'mail'}"), str(capture)],
    }


def measure(capture: Path, runs: int = 5) -> dict[str, Any]:
    """Medians of processor seconds above a start, and the ratios to the command's."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "eve.json"
        found: dict[str, list[float]] = {}
        for path in (CAPTURE, capture):
            for _ in range(runs):
                for name, command in commands(path, out).items():
                    found.setdefault(f"{path} {name}", []).append(seconds_of(command))
    names = list(commands(capture, out))
    median = {key: statistics.median(each) for key, each in found.items()}
    above = {name: median[f"{capture} {name}"] - median[f"{CAPTURE} {name}"] for name in names}
    ratios = {name: round(above[name] / above["command"], 3) for name in names if name != "command"}
    return {
        "capture": str(capture),
        "runs": runs,
        "seconds": {name: round(each, 4) for name, each in above.items()},
        "ratios": ratios,
        "bound": BOUND,
        "kept": all(ratio <= BOUND for ratio in ratios.values()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path, metavar="CAPTURE", help="100 MB or more: see corpus.py")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each, in turn (5)")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    given = parser.parse_args(arguments)
    found = measure(given.capture, given.runs)
    if given.json:
        print(json.dumps(found))
        return
    for name, seconds in found["seconds"].items():
        ratio = f"   {found['ratios'][name]:.2f} times the command" if name in found["ratios"] else ""
        print(f"{name:12}{seconds:8.3f} s{ratio}")
    print(f"bound: {BOUND:g} times, {'kept' if found['kept'] else 'MISSED'}")


if __name__ == "__main__":
    main()
