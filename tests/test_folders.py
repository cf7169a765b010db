"""A folder is sorted by what its files are; what is not meant is counted and named, and read as nothing else."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from shutil import copy

import pytest

from smtpinspect import cli

ROOT = Path(__file__).resolve().parents[1]
MAIL = "From: a@example.org\nSubject: R\u00e9union\n\nhello\n"
LOG = (
    "2026-03-03 10:10:02 1vxK2b-0000iU-1g H=mx.example.net [203.0.113.25]: SMTP timeout after end of data "
    "(2350 bytes written)\n"
)
BOUNCE = "From: <>\nX-Failed-Recipients: b@example.net\nSubject: failed\n\nno\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that may lie together; a `new` alone makes no Maildir."""
    made = tmp_path / "my files"
    (made / "new").mkdir(parents=True)
    copy(ROOT / "pcaps" / "bdat.pcap", made)
    copy(ROOT / "LICENSE", made)
    copy(ROOT / "Makefile", made)
    copy(ROOT / "LICENSE", made / "new")
    (made / "mail.eml").write_text(MAIL, encoding="utf-8")
    (made / "bounce.eml").write_text(BOUNCE)
    (made / "mainlog").write_text(LOG)
    (made / "empty").write_text("")
    (made / ".hidden").write_text(MAIL)
    (made / "x\x1b[2J").write_text("?")
    return made


@pytest.mark.parametrize("command", [["diagnose"], []])
def test_of_a_folder_each_sort_has_its_command(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, str(folder)]) == 2
    said = capsys.readouterr().err
    capture, log, whole = (shlex.quote(str(path)) for path in (folder / "bdat.pcap", folder / "mainlog", folder))
    for told in (
        "1 capture (bdat.pcap)", "2 messages (bounce.eml, mail.eml)", "1 mail server's log (mainlog)", "5 others (",
        f"smtpinspect diagnose {capture}", f"smtpinspect diagnose --log {log}", f"smtpinspect check {whole}",
    ):  # fmt: skip
        assert told in said
    assert "\x1b" not in said


def test_its_messages_are_checked_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(folder), "--format", "json"]) == 0
    told = capsys.readouterr()
    assert [Path(one["file"]).name for one in json.loads(told.out)["messages"]] == ["bounce.eml", "mail.eml"]
    assert "not looked at in " in told.err
    for left in ("1 capture (bdat.pcap)", "1 mail server's log (mainlog)", "LICENSE", "Makefile", "new/"):
        assert left in told.err
    assert "\x1b" not in told.err


def test_a_folder_without_a_message_is_none_of_messages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(folder / "new")]) == 2
    assert "a directory without a message, and no Maildir: 1 other (LICENSE)" in capsys.readouterr().err


def test_a_maildir_is_no_capture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cur").mkdir()
    assert cli.main(["diagnose", str(folder)]) == 2
    assert f"holds messages, no capture: smtpinspect check {shlex.quote(str(folder))}" in capsys.readouterr().err


def test_a_bounce_and_its_message_do_not_send_to_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no rule is tripped a capture is next, not the log, which may be where one came from."""
    (folder / "bounce.eml").write_text(BOUNCE)
    assert cli.main(["check", str(folder / "bounce.eml")]) == 0
    following = capsys.readouterr().out.partition("\nNext")[2]
    assert "--log" not in following and "smtpinspect diagnose m.pcap" in following and "tcpdump -U" in following
