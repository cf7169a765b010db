"""Every run of the reference laboratory, predicted by the command: real MTAs, real breaks, the real log lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from smtpinspect import cli
from smtpinspect.mta import registry

RUNS = Path(__file__).resolve().parents[1] / ".." / "shared" / "reference" / "mta-pcaps"
HEAD = re.compile(
    r"# client=(?P<client>\S+) \S+ phase=(?P<phase>\S+) kind=(?P<kind>\S+) server_extensions=(?P<extensions>\S+) "
    r"overrides=(?P<overrides>.*?) ?body_bytes=(?P<size>\d+) elapsed="
)
PHASE_OF = {"data": "datacmd", "dot": "dotreply"}
# `connect..datablock` is how the runs of Sendmail put all that is neither connect nor final.
TIMEOUTS = {
    "exim": "connect=5,command=5,data=5,final=7",
    "postfix": "connect=5,command=5,data=5,final=7",
    "sendmail": "connect=5,command=5,data=5,final=7",
    "opensmtpd": "connect=5,command=5,data=5,final=7",
}
WRITTEN = re.compile(r"end of data \(\d+ bytes written\)")
RECIPIENT = "u@example.net"


class Run(NamedTuple):
    name: str
    mta: str
    phase: str
    arguments: tuple[str, ...]
    lines: tuple[str, ...]  # of the log


def runs() -> list[Run]:
    found = []
    for path in sorted(RUNS.glob("*.txt")):
        first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        head = HEAD.match(first)
        if not head:
            continue
        mta, phase, kind = head["client"].lower(), head["phase"], head["kind"]
        if head["overrides"]:
            step, _, reply = head["overrides"].partition("=")
            phase, kind = PHASE_OF.get(step, step), f"reply={reply}"
        arguments = ["--mta", mta, "--at", phase, "--break", kind, "--size", head["size"]]
        if "PIPELINING" in head["extensions"]:
            arguments.append("--pipelining")
        arguments += ["--timeouts", TIMEOUTS[mta]]
        log = [line for line in lines if not line.startswith("#") and " BREAK phase=" not in line]
        found.append(Run(path.stem, mta, phase, tuple(arguments), tuple(log)))
    return found


ALL = runs() if RUNS.is_dir() else []


def of_first_recipient(mta: str, lines: Sequence[str]) -> list[str]:
    """The lines of the attempt at the first recipient: nothing of the queue, of bounces, of other mails."""
    if mta == "exim":
        ident = lines[0].split()[2]
        return [line for line in lines if f" {ident} " in line and not re.search(r" <= | Completed", line)]
    if mta == "postfix":
        ident = re.search(r"cleanup\[\d+\]: (\w+):", "\n".join(lines))
        assert ident
        own = [line for line in lines if "postfix/smtp[" in line]
        return [line for line in own if f" {ident[1]}: " in line or ": connect to " in line]
    if mta == "sendmail":
        ident = lines[0].split(": ")[1]
        other = re.compile(rf": {ident}: (from=|to=(?!{RECIPIENT})|\w+: postmaster notify)")
        return [line for line in lines if f": {ident}: " in line and not other.search(line)]
    return [line for line in lines if re.match(r"\w{16} mta |smtp-out: ", line)]


def predicted(run: Run, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.main(["simulate", *run.arguments, "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert isinstance(made, dict)
    return made


@pytest.mark.skipif(not ALL, reason="../shared/reference/mta-pcaps is absent")
@pytest.mark.parametrize("run", ALL, ids=lambda run: run.name)
def test_the_sender_logs_what_it_really_logged(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    mask = registry.SENDERS[run.mta].mask
    real = of_first_recipient(run.mta, run.lines)
    made = predicted(run, capsys)["sender_log"]
    assert isinstance(made, list)
    assert [mask(line) for line in made] == [mask(line) for line in real]
    # Only where a write blocked the count is left to chance.
    assert WRITTEN.findall("\n".join(made)) == WRITTEN.findall("\n".join(real))


@pytest.mark.skipif(not ALL, reason="../shared/reference/mta-pcaps is absent")
def test_the_runs_are_there() -> None:
    by_mta = Counter(run.mta for run in ALL)
    assert set(by_mta) == {"exim", "postfix", "sendmail", "opensmtpd"}
    assert len(ALL) > 150


def table() -> list[str]:
    """Agreement by MTA and phase: runs predicted of runs there are. `python tests/test_simulate_runs.py` prints it."""
    from smtpinspect.simulate import bench

    agreed: Counter[tuple[str, str]] = Counter()
    of = Counter((run.mta, run.phase) for run in ALL)
    for run in ALL:
        given = [word for word in run.arguments if word != "--pipelining"]
        options = dict(zip(given[::2], given[1::2], strict=True))
        asked = bench.question(
            run.mta,
            run.phase,
            options["--break"],
            int(options["--size"]),
            "--pipelining" in run.arguments,
            bench.timeouts_of(options["--timeouts"]),
        )
        mask = registry.SENDERS[run.mta].mask
        made = [mask(line) for line in bench.simulate(asked).result.sender_log]
        agreed[run.mta, run.phase] += made == [mask(line) for line in of_first_recipient(run.mta, run.lines)]
    mtas = sorted({mta for mta, _ in of})
    lines = [f"{'phase':<10}" + "".join(f"{mta:>12}" for mta in mtas)]
    for phase in (phase for phase in bench.PHASES if any(of[mta, phase] for mta in mtas)):
        cells = (f"{agreed[mta, phase]}/{of[mta, phase]}" if of[mta, phase] else "-" for mta in mtas)
        lines.append(f"{phase:<10}" + "".join(f"{cell:>12}" for cell in cells))
    sums = [tuple(sum(n for key, n in counts.items() if key[0] == mta) for counts in (agreed, of)) for mta in mtas]
    lines.append(f"{'all':<10}" + "".join(f"{f'{right}/{all_}':>12}" for right, all_ in sums))
    return lines


if __name__ == "__main__":
    print(*table(), sep="\n")
