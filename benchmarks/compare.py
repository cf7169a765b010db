"""The table: our command beside the floor and what people would use instead, each figure beside its target.

    python benchmarks/compare.py [--quick] [--profiles mixed,bulk] [--size 1G] [--peer-root DIR] [--no-peers]

Start-up (the time of the same command on a capture of ten frames) is measured apart and subtracted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apart
import corpus
import native
import ours
import peers
from chroot import Root
from corpora import Corpus, excerpt, made
from process import Failed, Program, Run, Taken, in_turn
from report import Report

HERE = Path(__file__).parent
START_FRAMES = 10
QUICK = {"size": "100M", "runs": 3, "slow": 2.0, "scapy": "5M"}
FULL = {"size": "1G", "runs": 5, "slow": 30.0, "scapy": "20M"}


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures smtpinspect against the floor, its peers and its targets.")
    folder = HERE / ".corpora"
    parser.add_argument("--profiles", default=",".join(corpus.PROFILES), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="corpora of 100 MB, three runs: about two minutes")
    parser.add_argument("--size", help="of each corpus (1G)")
    parser.add_argument("--runs", type=int, help="the median counts (5)")
    parser.add_argument("--slow", type=float, help="seconds; a program that takes longer is run once (30)")
    parser.add_argument("--scapy", metavar="SIZE", help="of the excerpt that scapy reads; its time is scaled up (20M)")
    parser.add_argument("--processor", action="store_true", help="processor seconds count: for a machine that is busy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, default=folder, help="keeps the corpora")
    parser.add_argument("--command", default=ours.OURS, help="another one, with {capture} and, if wanted, {python}")
    parser.add_argument("--no-peers", action="store_true", help="the floor and ours alone")
    parser.add_argument("--peer-root", type=Path, metavar="DIR", help="Suricata and tshark run by chroot from there")
    parser.add_argument("--no-others", action="store_true", help="neither memory nor start-up and what else is apart")
    parser.add_argument("--json", type=Path, metavar="FILE", default=folder / "bench.json", help="(%(default)s)")
    parser.add_argument("--table", type=Path, metavar="FILE", default=folder / "bench.txt", help="(%(default)s)")
    given = parser.parse_args(arguments)
    for name, value in (QUICK if given.quick else FULL).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    given.dir = given.dir.resolve()
    given.profiles = given.profiles.split(",")
    if unknown := set(given.profiles) - set(corpus.PROFILES):
        parser.error(f"no such profile: {', '.join(sorted(unknown))}")
    return given


def measured(given: argparse.Namespace, held: Corpus, scratch: Path, root: Root) -> dict[str, Taken]:
    """All programs on one corpus; floor and ours must have run, and the floor must have seen all of it."""

    def seen(done: Run) -> dict[str, object]:
        if (records := json.loads(done.output)["records"]) != held.frames:
            raise Failed(f"{held.path.name}: the floor saw {records} records of {held.frames}")
        return {}

    floor = str(native.build("floor", scratch))
    programs = [Program("floor", lambda capture: [floor, str(capture)], notes=seen), *ours.variants(given.command)]
    if not given.no_peers:
        programs += peers.present(root, held, scratch, corpus.octets(given.scapy))
    start = excerpt(held.path, scratch / "start.pcap", frames=START_FRAMES)
    taken = in_turn(programs, held.path, start, given.runs, given.slow, given.processor)
    for name in "floor", "ours":
        if taken[name].failed:
            raise Failed(taken[name].failed)
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    given = options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: programs end, folders go
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary).resolve()
        root = Root(given.peer_root and given.peer_root.resolve(), (given.dir, scratch))
        told = {"command": given.command, "seed": given.seed, "runs": given.runs}
        versions = {} if given.no_peers else peers.versions(root)
        report = Report((given.table, given.json), given.processor, versions, told)
        captures: dict[str, Path] = {}
        try:
            for profile in given.profiles:
                held = made(given.dir, profile, given.size, given.seed)
                print(f"{profile} ...", file=sys.stderr, flush=True)
                taken = measured(given, held, scratch, root)
                if given.command == ours.OURS:
                    taken[ours.THREADS].notes["records, the same"] = ours.same_records(held.path, scratch)
                report.add(held, taken)
                report.write()
                captures[profile] = held.path
            if not given.no_others:
                report.rest = apart.figures(captures, given.quick)
                report.write()
        except Failed as failure:
            raise SystemExit(str(failure)) from None
    print(report.text(), end="")


if __name__ == "__main__":
    main()
