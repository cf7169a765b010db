"""Speed and memory of whole processes, told as a share of the floor in the same run.

    python benchmarks/compare.py [--profiles mixed,bulk] [--size 1G] [--peers] [--memory] [--json FILE]

Start-up (the time of the same command on a capture of ten frames) is measured apart and subtracted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import corpus
import floor
import peers

HERE = Path(__file__).parent
OURS = (
    "{python} -m smtpinspect replay {capture} --format eve --records mail"
    " -i mailguard -i stormshield -i sonicwall -o /dev/null"
)
SLOW = 30.0  # a peer that takes longer is run once
EXCERPT = 20_000_000  # what scapy reads; its time is scaled up


@dataclass(frozen=True)
class Run:
    seconds: float
    peak: int
    """resident octets at most; pages of a mapped file count"""
    output: str


@dataclass(frozen=True)
class Corpus:
    profile: str
    path: Path
    octets: int
    frames: int
    mails: int


class Failed(Exception):
    pass


def run(command: str, capture: Path, **names: object) -> Run:
    """A whole process, its standard output kept. A `-` for the capture means standard input."""
    words = [word.format(python=sys.executable, capture=capture, **names) for word in shlex.split(command)]
    with open(capture, "rb") as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdin=source, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read()[-2_000:].decode(errors="replace")
            raise Failed(f"{shlex.join(words)}: exit status {process.returncode}\n{last}")
        out.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return Run(seconds, usage.ru_maxrss * unit, out.read(100_000).decode())


def warm(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def made(folder: Path, profile: str, size: str, seed: int) -> Corpus:
    """The corpus out of the folder, or a new one.

    A process of its own writes it: the peak memory told of a child is never under that of its parent.
    """
    path = folder / f"{profile}-{size}-{seed}.pcap"
    told = path.with_suffix(".json")
    if not (
        path.exists() and told.exists() and json.loads(told.read_text())["octets"] == path.stat().st_size
    ):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"writing {path.name}", file=sys.stderr)
        command = [sys.executable, str(HERE / "corpus.py"), profile, size, str(path), "--seed", str(seed)]
        told.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    held = json.loads(told.read_text())
    return Corpus(profile, path, held["octets"], held["frames"], held["mails"])


def excerpt(path: Path, out: Path, octets: int = 1 << 62, frames: int = 1 << 62) -> Path:
    """The first frames of a capture, as many as both limits allow."""
    with path.open("rb") as source, out.open("wb") as target:
        target.write(source.read(24))
        while frames and target.tell() < octets and (header := source.read(16)):
            target.write(header + source.read(int.from_bytes(header[8:12], "little")))
            frames -= 1
    return out


@dataclass
class Side:
    """What one program took, run by run, and its start-up."""

    start_up: list[float]
    runs: list[Run]

    def seconds(self) -> float:
        """The median above start-up."""
        taken = statistics.median(run.seconds for run in self.runs)
        return max(taken - statistics.median(self.start_up), 1e-6)

    def told(self, octets: int) -> dict[str, object]:
        return {
            "seconds": round(self.seconds(), 4),
            "gigabytes_per_second": round(octets / self.seconds() / 1e9, 4),
            "runs": [round(run.seconds, 4) for run in self.runs],
            "start_up": round(statistics.median(self.start_up), 4),
            "peak_octets": max(run.peak for run in self.runs),
        }


def measure(held: Corpus, command: str, program: Path, start: Path, runs: int) -> tuple[Side, Side]:
    """Floor and ours in turn, so that a slow spell of the machine meets both."""
    warm(held.path)
    bottom = f"{shlex.quote(str(program))} {{capture}}"
    least, ours = Side([], []), Side([], [])
    for _ in range(runs):
        for side, line in (least, bottom), (ours, command):
            side.start_up.append(run(line, start).seconds)
            side.runs.append(run(line, held.path))
    records = json.loads(least.runs[0].output)["records"]
    if records != held.frames:
        raise Failed(f"{held.path.name}: the floor saw {records} records, the generator wrote {held.frames}")
    return least, ours


def measure_peers(held: Corpus, start: Path, runs: int, scratch: Path) -> dict[str, Side | str]:
    """A peer that cannot be run is told with the reason."""
    script = shlex.quote(str(HERE / "peers.py"))
    suricata = "suricata -c {yaml} -r {capture} -l {log} -k none --runmode single -S /dev/null"
    lines = {
        "dpkt": f"{{python}} {script} dpkt {{capture}}",
        "scapy": f"{{python}} {script} scapy {{capture}}",
        "tshark": "tshark -q -n -r {capture} -z io,stat,0,smtp",
        "suricata, MIME off": suricata,
        "suricata, MIME on": suricata,
    }
    out: dict[str, Side | str] = {}
    for name, line in lines.items():
        program = shlex.split(line)[0]
        if program != "{python}" and not shutil.which(program):
            out[name] = "missing"
            continue
        yaml = scratch / "suricata.yaml"
        yaml.write_text(peers.suricata_yaml(name.endswith("on")))
        capture, scale = held.path, 1.0
        if name == "scapy" and held.octets > EXCERPT:
            capture = excerpt(held.path, scratch / "excerpt.pcap", octets=EXCERPT)
            scale = held.octets / capture.stat().st_size
        side = Side([], [])
        try:
            for _ in range(runs):
                started = run(line, start, yaml=yaml, log=scratch).seconds
                taken = run(line, capture, yaml=yaml, log=scratch)
                side.start_up.append(started)
                side.runs.append(Run(started + (taken.seconds - started) * scale, taken.peak, ""))
                if taken.seconds > SLOW:
                    break
        except Failed as failure:
            out[name] = str(failure)
        else:
            out[name] = side
    return out


def measure_memory(folder: Path, profile: str, seed: int, command: str) -> dict[str, dict[str, int]]:
    """Peaks by path and by standard input: a mapped file's pages count as resident, a stream's do not."""
    out: dict[str, dict[str, int]] = {}
    for size in "100M", "1G":
        held = made(folder, profile, size, seed)
        warm(held.path)
        streamed = command.replace("{capture}", "-")
        out[size] = {
            "path": run(command, held.path).peak,
            "standard input": run(streamed, held.path).peak,
        }
    return out


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(": ")[2] if named else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures smtpinspect against the floor and its peers.")
    parser.add_argument("--profiles", default=",".join(corpus.PROFILES), help="default: %(default)s")
    parser.add_argument("--size", default="1G", help="of each corpus; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, default=HERE / ".corpora", help="keeps the corpora")
    parser.add_argument("--runs", type=int, default=5, help="the median counts; default: %(default)s")
    parser.add_argument("--command", default=OURS, help="with {capture} and, if wanted, {python}")
    parser.add_argument("--peers", action="store_true", help="dpkt, scapy, tshark and Suricata as well")
    parser.add_argument("--memory", action="store_true", help="only peak memory on 100 MB and on 1 GB")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    profiles = given.profiles.split(",")
    if unknown := set(profiles) - set(corpus.PROFILES):
        parser.error(f"no such profile: {', '.join(sorted(unknown))}")

    told: dict[str, Any] = {"machine": machine(), "command": given.command, "seed": given.seed}
    try:
        if given.memory:
            told["memory"] = {
                name: measure_memory(given.dir, name, given.seed, given.command) for name in profiles
            }
            print(table(("profile", "corpus", "path MB", "standard input MB"), memory_rows(told["memory"])))
        else:
            told["size"], told["profiles"] = given.size, {}
            compare(given, profiles, told["profiles"])
    except Failed as failure:
        raise SystemExit(str(failure)) from None
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def memory_rows(memory: dict[str, dict[str, dict[str, int]]]) -> list[tuple[str, str, str, str]]:
    return [
        (profile, size, f"{peaks['path'] / 1e6:.0f}", f"{peaks['standard input'] / 1e6:.0f}")
        for profile, sizes in memory.items()
        for size, peaks in sizes.items()
    ]


def compare(given: argparse.Namespace, profiles: Sequence[str], told: dict[str, Any]) -> None:
    rows: list[Sequence[str]] = []
    peer_rows: list[Sequence[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        program = floor.build(scratch)
        for profile in profiles:
            held = made(given.dir, profile, given.size, given.seed)
            start = excerpt(held.path, scratch / "start.pcap", frames=10)
            least, ours = measure(held, given.command, program, start, given.runs)
            share = least.seconds() / ours.seconds()
            told[profile] = {
                **{name: value for name, value in asdict(held).items() if name not in ("path", "profile")},
                "floor": least.told(held.octets),
                "ours": ours.told(held.octets),
                "share_of_floor": round(share, 4),
            }
            rows.append(
                (
                    profile,
                    f"{held.octets:,}",
                    f"{held.octets / least.seconds() / 1e9:.2f}",
                    f"{held.octets / ours.seconds() / 1e9:.2f}",
                    f"{share:.3f}",
                    f"{held.mails / ours.seconds():,.0f}",
                    f"{held.frames / ours.seconds():,.0f}",
                    f"{max(run.peak for run in ours.runs) / 1e6:.0f}",
                    f"{statistics.median(ours.start_up) * 1e3:.0f}",
                )
            )
            if given.peers:
                told[profile]["peers"] = {}
                for name, side in measure_peers(held, start, given.runs, scratch).items():
                    if isinstance(side, str):
                        told[profile]["peers"][name] = side.splitlines()[0].partition(": ")[2] or side
                        peer_rows.append((profile, name, told[profile]["peers"][name], "", "", ""))
                        continue
                    times = side.seconds() / ours.seconds()
                    told[profile]["peers"][name] = {
                        **side.told(held.octets),
                        "ours_is_times_as_fast": round(times, 2),
                    }
                    rate = f"{held.octets / side.seconds() / 1e9:.4f}"
                    part = f"{least.seconds() / side.seconds():.4f}"
                    peak = f"{max(run.peak for run in side.runs) / 1e6:.0f}"
                    peer_rows.append((profile, name, rate, part, f"{times:.1f}", peak))
    heads = (
        "profile",
        "octets",
        "floor GB/s",
        "ours GB/s",
        "of floor",
        "mails/s",
        "packets/s",
        "peak MB",
        "start ms",
    )
    print(table(heads, rows))
    if peer_rows:
        print()
        print(table(("profile", "peer", "GB/s", "of floor", "ours is times", "peak MB"), peer_rows))


if __name__ == "__main__":
    main()
