"""What a start costs: `python -c pass` and a replay of ten packets in turn, medians, beside the bound."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

CAPTURE: Final = Path(__file__).parent.parent / "pcaps" / "bdat.pcap"  # ten packets
TIMES: Final = 1.5  # of `python -c pass`
MORE: Final = 0.060  # seconds


def commands(capture: Path, out: Path) -> dict[str, list[str]]:
    """What is measured, by name: the module, and the script that pip installs, where there is one."""
    made = {"python -c pass": [sys.executable, "-c", "pass"]}
    script = Path(sys.executable).with_name("smtpinspect")
    for name, program in (
        ("python -m smtpinspect", [sys.executable, "-m", "smtpinspect"]),
        ("smtpinspect", [str(script)]),
    ):
        if program[0] != str(script) or script.exists():
            made[f"{name}, eve"] = [*program, "replay", str(capture), "--format", "eve", "-o", str(out)]
            made[f"{name}, text"] = [*program, "replay", str(capture)]
    return made


def measure(runs: int = 41, capture: Path = CAPTURE) -> dict[str, Any]:
    """Medians in seconds of alternating runs, the bound, and whether each command keeps it."""
    # Where bytecode is not kept, Python would compile every module anew each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def start(program: list[str]) -> float:
        began = time.perf_counter()
        subprocess.run(program, stdout=subprocess.DEVNULL, check=True, env=environment)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        programs = commands(capture, Path(folder) / "eve.json")
        for program in programs.values():  # the first start of all may write what the others read
            start(program)
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(runs):
            for name, program in programs.items():
                seconds[name].append(start(program))
    medians = {name: round(statistics.median(each), 5) for name, each in seconds.items()}
    bare = medians.pop("python -c pass")
    bound = round(TIMES * bare + MORE, 5)
    return {
        "runs": runs,
        "bare": bare,
        "bound": bound,
        "seconds": medians,
        "kept": {name: each <= bound for name, each in medians.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=41, metavar="N", help="of each command, in turn (41)")
    parser.add_argument("--capture", type=Path, default=CAPTURE, help="another capture of a few packets")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    given = parser.parse_args(arguments)
    found = measure(given.runs, given.capture)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{'python -c pass':36}{found['bare'] * 1e3:7.1f} ms")
    print(f"{f'bound: {TIMES} times that and 60 ms':36}{found['bound'] * 1e3:7.1f} ms")
    for name, seconds in found["seconds"].items():
        print(f"{name:36}{seconds * 1e3:7.1f} ms   {'kept' if found['kept'][name] else 'MISSED'}")


if __name__ == "__main__":
    main()
