"""The driver: one target after the other, so many captures or so many seconds each."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
import traceback
from pathlib import Path

from fuzz.checks import PROFILES, check
from fuzz.targets import TARGETS, capture_from

SLOW = 20.0  # seconds for one small capture: reported like a failure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {' '.join(TARGETS)}; all when none is named")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target (20)")
    parser.add_argument("--runs", type=int, help="captures for each target, whatever time they take")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--keep", type=Path, help="a folder for the captures that failed")
    parser.add_argument("--all", action="store_true", help="go on behind a failure")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    faulthandler.enable()
    bad = 0
    for name in chosen.targets or TARGETS:
        bad += run(name, chosen)
    return 1 if bad else 0


def run(name: str, chosen: argparse.Namespace) -> int:
    start = time.monotonic()
    seed = chosen.first if chosen.seed is None else chosen.seed
    done = bad = 0
    while True:
        source = capture_from(name, seed)
        if chosen.keep:  # written first: a crash leaves it behind
            chosen.keep.mkdir(parents=True, exist_ok=True)
            (chosen.keep / f"{name}.now").write_bytes(source)
            (chosen.keep / f"{name}.seed").write_text(str(seed))
        began = time.monotonic()
        faulthandler.dump_traceback_later(SLOW * 6, exit=True)
        try:
            check(source, PROFILES)
            took = time.monotonic() - began
            if took > SLOW:
                raise AssertionError(f"{took:.1f} s for {len(source):,} octets")
        except Exception:
            bad += 1
            print(f"{name} --seed {seed}: {len(source):,} octets", file=sys.stderr)
            traceback.print_exc()
            if chosen.keep:
                (chosen.keep / f"{name}-{seed}.pcap").write_bytes(source)
            if not chosen.all:
                break
        finally:
            faulthandler.cancel_dump_traceback_later()
        done += 1
        seed += 1
        if chosen.seed is not None or (chosen.runs is not None and done >= chosen.runs):
            break
        if chosen.runs is None and time.monotonic() - start > chosen.seconds:
            break
    print(f"{name}: {done} captures, {bad} failed, {time.monotonic() - start:.1f} s", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
