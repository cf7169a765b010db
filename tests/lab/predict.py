"""What the project says about a run: `smtpinspect simulate`, and the masks of its tables."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rows import TIMEOUTS, Row
from smtpinspect.mta import registry

Mask = Callable[[str], str]


def sender_mask(mta: str) -> Mask:
    """A line of this MTA as client, without what differs from run to run."""
    return registry.sender(mta).mask


def receiver_mask(mta: str) -> Mask:
    return registry.receiver(mta).mask


def break_at(row: Row) -> dict[str, Any]:
    """The prediction for a break at a phase."""
    return _simulate(row.arguments)


def by_rule(row: Row, capture: Path) -> dict[str, Any]:
    """The prediction for a mail that has once gone through, with the box of this row in its way."""
    return _simulate([str(capture), *row.box, "--mta", row.client, "--re-enact"])


def _simulate(words: Sequence[str]) -> dict[str, Any]:
    timeouts = ",".join(f"{word}={seconds}" for word, seconds in TIMEOUTS.items())
    command = [sys.executable, "-m", "smtpinspect", "simulate", *words, "--timeouts", timeouts, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
