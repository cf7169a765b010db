"""Compiles floor.c and runs it: `python benchmarks/floor.py CAPTURE...`"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import native


def build(folder: Path) -> Path:
    return native.build("floor", folder)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Walks captures once and finds every line end in TCP payload.")
    parser.add_argument("captures", nargs="+", type=Path, metavar="CAPTURE")
    parser.add_argument("--cache", type=Path, help="folder that keeps the compiled program")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        program = build(given.cache or Path(temporary))
        for capture in given.captures:
            done = subprocess.run([program, capture], check=True, capture_output=True)
            figures = json.loads(done.stdout)
            rate = capture.stat().st_size / figures["seconds"] / 1e9
            print(json.dumps({"capture": str(capture), **figures, "gigabytes_per_second": round(rate, 2)}))


if __name__ == "__main__":
    main()
