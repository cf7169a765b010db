"""Terminals, pipes, full disks and Ctrl-C: what goes where, how wide, in which colours."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import running
from called import COLOUR, FAKE, octets, on_terminal, run, written
from kit.dialogue import DELIVERY
from smtpinspect.commands import console


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return written(tmp_path, DELIVERY)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return written(tmp_path, FAKE, name="fake.pcap", first=1)


def test_without_a_terminal_nothing_is_cut_wrapped_or_coloured(fake: Path) -> None:
    plain = run("replay", fake)
    narrow = run("replay", fake, COLUMNS="40", TERM="xterm")

    def settled(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("1 mail.")]

    assert settled(plain.stdout) == settled(narrow.stdout)
    assert "\x1b" not in narrow.stdout
    assert "…" not in narrow.stdout


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("words", [["replay"], ["replay", "--each"], ["transcript"]], ids=" ".join)
def test_terminal_lines_fit(words: list[str], columns: int, tmp_path: Path) -> None:
    long = FAKE.replace("alice@a.example", f"a.sender.with.a.long.name@{'long-' * 8}name.example")
    file = written(tmp_path, long, FAKE, name="a-capture-with-quite-a-long-name.pcap")
    done, seen = on_terminal(*words, file, columns=columns)
    assert done == 0
    for line in COLOUR.sub("", seen).splitlines():
        # A command to paste is never wrapped; nor is a name, which has no place for it.
        assert len(line) <= columns or "smtpinspect " in line or " " not in line.strip(), line


def test_columns_goes_before_the_terminal(fake: Path) -> None:
    _, seen = on_terminal("replay", fake, columns=200, COLUMNS="80")
    lines = [line for line in COLOUR.sub("", seen).splitlines() if "smtpinspect " not in line]
    assert max(map(len, lines)) <= 80


def test_colours_only_for_a_person(fake: Path) -> None:
    _, seen = on_terminal("replay", fake)
    assert "\x1b[" in seen
    _, seen = on_terminal("replay", fake, NO_COLOR="1")
    assert "\x1b" not in seen
    _, seen = on_terminal("replay", fake, TERM="dumb")
    assert "\x1b" not in seen


def test_octets_of_a_stranger_do_not_reach_the_terminal(tmp_path: Path) -> None:
    hostile = DELIVERY.replace("<alice@a.example>", r"<alice\x1b[2J@a.example>").replace(
        "Subject: hello", "Subject: \\x1b]0;owned\\x07 \u202e txt"
    )
    file = written(tmp_path, hostile)
    for words in (["replay"], ["transcript"]):
        done = run(*words, file)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("how", ["text", "eve"])
def test_full_disk(how: str, clean: Path) -> None:
    for words in (["-o", "/dev/full"], []):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "smtpinspect", "replay", "--format", how, str(clean), *words],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr.startswith(b"smtpinspect: cannot write: ")
        assert done.stderr.count(b"\n") == 1


def test_progress_is_for_large_captures(tmp_path: Path) -> None:
    """On a terminal: none for a small capture, a line that goes away for a large one."""
    small = written(tmp_path, DELIVERY)
    out = tmp_path / "out"
    assert on_terminal("replay", small, "-o", out) == (0, "")
    large = tmp_path / "large.pcap"
    once = octets(DELIVERY)
    large.write_bytes(once + once[24:] * (6_000_000 // len(once)))
    done, seen = on_terminal("replay", large, "--format", "eve", "-o", out)
    assert done == 0
    assert "mails" in seen
    assert run("replay", large, "-o", out).stderr == ""


def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    file = written(tmp_path, *[FAKE] * 200)
    for how in (["replay", "--format", "eve"], ["transcript"], ["replay", "--each"]):
        files = [str(file)] * (200 if "--each" in how else 1)
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpinspect", *how, *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        process.stderr.close()
        assert (process.wait(60), told) == (console.BROKEN_PIPE, b"")


@pytest.mark.parametrize("how", ["text", "eve"])
def test_ctrl_c_ends_with_what_was_read(how: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "smtpinspect", "replay", "--format", how, "-o", str(out), "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(octets(*[FAKE] * 50))
    process.stdin.flush()
    running.until_read(process.stdin)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == console.STOPPED
    assert b"stopped" in told
    assert b"Traceback" not in told
    if how == "eve":
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert found[-1]["event_type"] == "stats"
    else:
        assert out.read_text()


def test_start_up_imports_only_what_it_needs(clean: Path) -> None:
    code = (
        "import sys; from smtpinspect.cli import main; main(sys.argv[1:]); "
        "print(*sorted({'rich', 'click', 'scapy', 'dpkt', 'json', 'smtpinspect.transcripts', "
        "'smtpinspect.report.rules_page', 'shutil'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "replay", "--format", "eve", str(clean)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {"rich", "click", "scapy", "dpkt", "smtpinspect.transcripts"}
    assert "smtpinspect.report.rules_page" not in loaded
