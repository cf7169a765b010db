"""Ctrl-C: what was read is told, once, and counted as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from running import until_read

PCAPS = Path(__file__).parent.parent / "pcaps"
CAPTURE = PCAPS / "clean-delivery.pcap"


def stopped(*words: str, command: Sequence[str] = ("replay",)) -> tuple[str, str, int]:
    """A capture comes through a pipe that stays open; then Ctrl-C. What was printed, and the status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "smtpinspect", *command, "-", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(CAPTURE.read_bytes())
    process.stdin.flush()
    until_read(process.stdin)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    return out.decode(), errors.decode(), process.returncode


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_page_counts_the_packets_once(threads: str) -> None:
    whole = subprocess.run(
        [sys.executable, "-m", "smtpinspect", "replay", str(CAPTURE), "--format", "eve"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    packets = json.loads(whole.splitlines()[-1])["smtpinspect"]["packets"]
    out, _, status = stopped("--threads", threads)
    assert status == 130
    assert f"1 connection, 1 mail, {packets} packets" in out
    assert f"stopped after {packets} packets" in out


@pytest.mark.parametrize("threads", ["1", "2"])
def test_eve_tells_that_it_was_stopped(threads: str) -> None:
    out, errors, status = stopped("--format", "eve", "--threads", threads)
    *records, stats = map(json.loads, out.splitlines())
    packets = stats["smtpinspect"]["packets"]
    assert stats["smtpinspect"]["truncated"] == f"stopped after {packets} packets"
    assert f"stopped after {packets} packets" in errors
    assert sum(record["event_type"] == "smtp" for record in records) == 1
    assert status == 130


def test_the_mails_that_were_read_have_their_impact() -> None:
    out, errors, status = stopped(command=("diagnose", "--impact"))
    assert status == 130
    assert "1 mail, 1 accepted" in out
    assert "stopped; what was read is reported" in errors
