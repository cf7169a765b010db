"""The command line: its help, what is wrong usage, and what it says then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smtpinspect
from called import FAKE, records, run, written
from kit.dialogue import DELIVERY
from smtpinspect.actions import Strength
from smtpinspect.commands import arguments, replay, reporting


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return written(tmp_path, DELIVERY)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return written(tmp_path, FAKE, name="fake.pcap", first=1)


def test_help_tells_what_it_does() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("replay", "transcript", "rules", "examples", "exit status", "Only inline and probe send"):
        assert word in done.stdout
    assert run("help").stdout == run("-h").stdout == done.stdout


def test_help_of_replay_explains_its_words() -> None:
    from smtpinspect._core import views

    done = run("replay", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Reads captures and reports; sends nothing." in done.stdout
    for word in (*views.OUTCOMES, *views.DOUBTS, *(strength.word for strength in Strength)):
        assert re.search(rf"\b{word}\b", done.stdout), word
    for option in ("-i", "--format", "-o", "--records", "--each", "--threads", "--port", "--fail-on"):
        assert option in done.stdout
    assert "--show-secrets" in done.stdout
    assert run("help", "replay").stdout == done.stdout


@pytest.mark.parametrize("command", ["transcript", "rules"])
def test_help_of_the_others(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["replay", "--help"], ["transcript", "--help"]])
def test_help_fits_80_columns(command: list[str]) -> None:
    lines = run(*command, COLUMNS="80").stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_profiles_of_the_help_are_the_known_ones() -> None:
    from smtpinspect.inspectors import registry

    for inspector in registry.default():
        _, _, told = replay.REPLAY_HELP.partition(f"\n  {inspector.name} ")
        assert told.split("(")[0].split() == list(inspector.profiles)
        assert told.split("(")[1].startswith(f"{inspector.profile})")


def test_ports_are_those_of_the_engine() -> None:
    from smtpinspect import engine

    assert arguments.PORTS == engine.PORTS
    assert set(reporting.RECORDS) == engine.RECORDS


def test_version() -> None:
    assert run("--version").stdout == f"smtpinspect {smtpinspect.__version__}\n"


def test_nothing_asked() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr


# --- wrong usage


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fromat", "eve"], "Did you mean --format?"),
        (["--format", "yaml"], "eve"),
        (["--format", "cef"], "invalid choice"),
        (["--records", "mail,packets"], "no such records: packets. Known: mail alert flow"),
        (["--threads", "0"], "no number from 1"),
        (["--threads", "two"], "no number from 1"),
        (["--port", "70000"], "no number from 1 to 65,535"),
        (["--fail-on", "warning"], "invalid choice"),
        (["--each", "--format", "eve"], "--each is for --format text"),
        (["-i", "mailgard"], "Did you mean mailguard?"),
        (["-i", "mailguard:pix-7"], "Did you mean asa-7.0?"),
        (["-i", "stormshield,levl=ids"], "level"),
        (["-i", "stormshield,217.action=maybe"], "block"),
        (["-o", "no/such/folder/out.txt"], "cannot be written"),
    ],
)
def test_wrong_usage(words: list[str], told: str, clean: Path) -> None:
    done = run("replay", clean, *words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert done.stderr.startswith("smtpinspect: ")
    assert done.stderr.rstrip().endswith("(exit status 2)")
    assert done.stdout == ""


def test_no_capture_named() -> None:
    for command in ("replay", "transcript"):
        done = run(command)
        assert done.returncode == 2
        assert "CAPTURE" in done.stderr
        assert f"smtpinspect {command} --help" in done.stderr


def test_neither_command_nor_file() -> None:
    done = run("reply")
    assert done.returncode == 2
    assert "neither a command nor a file" in done.stderr
    assert "Did you mean replay?" in done.stderr


def test_missing_file_and_directory(clean: Path) -> None:
    for words in (["replay"], ["transcript"], ["replay", "--each"], []):
        done = run(*words, clean.with_name("mial.pcap"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "did you mean" in done.stderr
        done = run(*words, clean.parent)
        assert (done.returncode, done.stdout) == (2, "")
        assert "directory" in done.stderr


def test_report_does_not_overwrite_the_capture(clean: Path) -> None:
    before = clean.read_bytes()
    for words in (["replay"], ["replay", "--format", "eve"], ["transcript"]):
        done = run(*words, clean, "-o", clean)
        assert done.returncode == 2
        assert "that is what is to be read" in done.stderr
    assert clean.read_bytes() == before


def test_options_stand_anywhere(clean: Path, fake: Path) -> None:
    one = run("replay", "-i", "mailguard", clean, fake, "--format", "eve")
    other = run("replay", clean, "--format", "eve", fake, "-i", "mailguard")
    assert one.returncode == other.returncode == 0
    assert records(one)[:-1] == records(other)[:-1]
