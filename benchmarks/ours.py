"""Our own command: the variants that are measured, and whether threads change a record."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from process import Failed, Program, run

INSPECTORS = ("mailguard", "stormshield", "sonicwall")  # all that are built in, at their defaults
OURS = "{python} -m smtpinspect replay {capture} --format eve --records mail -o /dev/null" + "".join(
    f" -i {name}" for name in INSPECTORS
)
ALL, THREADS, WITHOUT = "ours, all records", "ours, 2 threads", "ours, no sonicwall"
STATS = b'{"event_type":"stats"'  # the last line; it tells seconds


def words(line: str) -> Callable[[Path], Sequence[str]]:
    def made(capture: Path) -> Sequence[str]:
        return [word.format(python=sys.executable, capture=capture) for word in shlex.split(line)]

    return made


def variants(line: str) -> Iterator[Program]:
    """The command that counts; of our own also what some of its options cost."""
    yield Program("ours", words(line))
    if line == OURS:
        yield Program(ALL, words(OURS.replace(" --records mail", "")))
        yield Program(WITHOUT, words(OURS.replace(" -i sonicwall", "")))
        yield Program(THREADS, words(f"{OURS} --threads 2"))


def same_records(capture: Path, scratch: Path) -> int:
    """The number of records, the same octets of all of them with one thread and with two."""
    files = [scratch / "one.json", scratch / "two.json"]
    line = OURS.replace(" --records mail", "").replace("-o /dev/null", "-o {out}")
    for threads, file in enumerate(files, 1):
        run(words(f"{line.replace('{out}', shlex.quote(str(file)))} --threads {threads}")(capture))
    count = 0
    with files[0].open("rb") as one, files[1].open("rb") as two:
        for number, (left, right) in enumerate(zip_longest(one, two), 1):
            if left != right and not (left and right and left.startswith(STATS) and right.startswith(STATS)):
                raise Failed(f"{capture.name}: record {number} is another with two threads")
            count = number
    for file in files:
        file.unlink()
    return count
