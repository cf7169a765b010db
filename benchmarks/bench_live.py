"""At which offered rate is the first frame lost? `smtpinspect live` and `tcpdump -w` beside it, in one run.

    python benchmarks/bench_live.py [--dir FOLDER] [--size 100M] [--profiles mixed chatty hostile] [--seconds 4]

Root only: two network namespaces, a virtual cable, a corpus that flood.c sends through it again and again at a rate
that rises step by step, from one process per processor. Each program has the same rate in turn, the same room for
frames that wait (--buffer, -B) and the same choice of frames. A frame is lost when the interface had it and the program
did not; what the cable itself lost is none of theirs.

Sending, the kernel's part and reading share the processors: where the rate no longer rises, all are busy, and a
program that needs less of them leaves more to the senders. So the processor seconds of each program are told, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpora import Corpus, made
from native import build

NEAR, FAR = "near0", "far0"
BUFFER = 64  # MiB
STEP = 2**0.5
FIRST = 0.7  # Gbit/s
PORTS = "tcp and (port 25 or port 587 or port 465 or port 2525)"


@dataclass(frozen=True)
class Program:
    name: str
    words: Callable[[Path], Sequence[str]]
    counted: Callable[[str], tuple[int, int]]
    """frames received and dropped, as it tells them on standard error"""


def ours(told: str) -> tuple[int, int]:
    found = re.search(r"([\d,]+) packets received, ([\d,]+) dropped", told)
    assert found, told
    received, dropped = (int(number.replace(",", "")) for number in found.groups())
    return received - dropped, dropped


def theirs(told: str) -> tuple[int, int]:
    captured, dropped = (
        re.search(rf"(\d+) packets? {word}", told) for word in ("captured", "dropped by kernel")
    )
    assert captured and dropped, told
    return int(captured[1]), int(dropped[1])


def live(*more: str) -> Callable[[Path], Sequence[str]]:
    def words(folder: Path) -> Sequence[str]:
        command = [sys.executable, "-m", "smtpinspect", "live", NEAR, "--format", "eve", "--records", "mail"]
        return [*command, "--buffer", str(BUFFER), "-o", str(folder / "mails.json"), *(
            word.format(folder=folder) for word in more
        )]

    return words


def tcpdump(to: str) -> Callable[[Path], Sequence[str]]:
    def words(folder: Path) -> Sequence[str]:
        command = ["tcpdump", "-Z", "root", "-i", NEAR, "-s", "0", "-B", str(BUFFER * 1024)]
        return [*command, "-w", to.format(folder=folder), PORTS]

    return words


PROGRAMS = (
    Program("live", live(), ours),
    Program("live --write", live("--write", "{folder}/broken.pcap"), ours),
    Program("tcpdump -w", tcpdump("{folder}/all.pcap"), theirs),
    Program("tcpdump -w /dev/null", tcpdump("/dev/null"), theirs),
)


class Cable:
    """NEAR and FAR, each in a namespace of its own."""

    def __init__(self) -> None:
        self.near, self.far = (f"live-bench-{os.getpid()}-{end}" for end in ("near", "far"))

    @contextmanager
    def made(self) -> Iterator[None]:
        try:
            for name in (self.near, self.far):
                _do("ip", "netns", "add", name)
                _do(*self.within(name, "sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"))
            _do("ip", "-n", self.near, "link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", self.far)
            _do("ip", "-n", self.near, "link", "set", NEAR, "up")
            _do("ip", "-n", self.far, "link", "set", FAR, "up")
            yield
        finally:
            for name in (self.near, self.far):
                subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def within(self, name: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", name, *words]

    def came(self) -> int:
        """Frames that the near end has received."""
        words = self.within(self.near, "ip", "-j", "-s", "link", "show", NEAR)
        (link,) = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
        return int(link["stats64"]["rx"]["packets"])

    def bound(self) -> bool:
        """Does somebody read there?"""
        words = self.within(self.near, "cat", "/proc/net/packet")
        rows = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[1:]
        return any(row.split()[3] == "0003" for row in rows)


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@dataclass(frozen=True)
class Step:
    gigabits: float
    """per second, of frames without what a real cable puts around them"""
    packets: float
    """per second"""
    came: int
    lost: int
    busy: float
    """processor seconds of the program for a million packets"""


def step(cable: Cable, flood: Path, corpus: Corpus, program: Program, rate: float, seconds: float) -> Step:
    with tempfile.TemporaryDirectory(dir=corpus.path.parent) as name:
        process = subprocess.Popen(
            cable.within(cable.near, *program.words(Path(name))),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        senders = []
        try:
            while not cable.bound():
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.02)
            before = cable.came()
            for n in sorted(os.sched_getaffinity(0)):
                share = f"{rate * 1e9 / os.cpu_count():.0f}"  # type: ignore[operator]
                words = [str(flood), str(corpus.path), FAR, share, str(seconds), str(4096 * n + 1)]
                words = cable.within(cable.far, "taskset", "-c", str(n), *words)
                senders.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            sent = [sender.communicate()[0].split() for sender in senders]
            time.sleep(1.0)  # what waits in the ring is read
            process.send_signal(signal.SIGINT)
            assert process.stderr
            told = process.stderr.read()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        finally:
            for each in (process, *senders):
                if each.returncode is None:
                    each.kill()
    frames, octets = (sum(int(one[n]) for one in sent) for n in range(2))
    took = max(float(one[2]) for one in sent)
    came = cable.came() - before
    received, _ = program.counted(told)
    busy = (usage.ru_utime + usage.ru_stime) / came * 1e6
    return Step(octets * 8 / took / 1e9, frames / took, came, came - received, busy)


def climb(cable: Cable, flood: Path, corpus: Corpus, seconds: float, runs: int) -> dict[str, list[Step]]:
    """Rates rise until the sender can do no more. Every program has every rate."""
    found: dict[str, list[Step]] = {program.name: [] for program in PROGRAMS}
    rate = FIRST
    while True:
        reached = 0.0
        for _ in range(runs):
            for program in PROGRAMS:
                one = step(cable, flood, corpus, program, rate, seconds)
                found[program.name].append(one)
                reached = max(reached, one.gigabits)
                print(
                    f"  {corpus.profile:8} {program.name:22} {one.gigabits:6.2f} Gbit/s {one.packets:11,.0f} packets/s"
                    f" {one.came:11,} came {one.lost:10,} lost  {one.busy:5.2f} s for a million",
                    flush=True,
                )
        if reached < 0.9 * rate:
            return found
        rate *= STEP


def told(steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """Gbit/s and packets/s of the fastest step below the first loss; the share lost, and the processor seconds of a
    million packets, at the fastest of all."""
    steps = sorted(steps, key=lambda one: one.gigabits)
    without: list[Step] = []
    for one in steps:
        if one.lost > 0:
            break
        without.append(one)
    last = steps[-1]
    best = without[-1] if without else Step(0, 0, 0, 0, 0)
    return best.gigabits, best.packets, last.lost / last.came, last.busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path(__file__).parent / ".corpora")
    parser.add_argument("--size", default="100M")
    parser.add_argument("--profiles", nargs="+", default=["mixed", "chatty", "hostile"])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("network namespaces: root only")
    flood = build("flood", given.dir)
    cable = Cable()
    lines = []
    with cable.made():
        for profile in given.profiles:
            corpus = made(given.dir, profile, given.size, 1)
            found = climb(cable, flood, corpus, given.seconds, given.runs)
            base = told(found["tcpdump -w"])[0]
            for name, steps in found.items():
                gigabits, packets, share, busy = told(steps)
                ratio = f"{gigabits / base:5.2f}" if base else "    -"
                fastest = max(one.gigabits for one in steps)
                lines.append(
                    f"{profile:8} {name:22} {gigabits:6.2f} Gbit/s {packets:11,.0f} packets/s {ratio} times tcpdump -w;"
                    f" at {fastest:5.2f} Gbit/s it lost {share:6.2%},"
                    f" {busy:.2f} s for a million packets"
                )
    print("\nfastest step without a lost frame")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
