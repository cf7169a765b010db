"""A file alone, without a command: it is looked at, and the command runs that fits."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from called import records, run, written
from kit.dialogue import DELIVERY
from smtpinspect.commands import fitting


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return written(tmp_path, DELIVERY)


def test_a_file_alone_is_replayed(clean: Path) -> None:
    alone, asked = run(clean), run("replay", clean)
    assert alone.returncode == 0
    assert alone.stdout.splitlines()[:8] == asked.stdout.splitlines()[:8]
    assert records(run(clean, "--format", "eve"))[-1]["event_type"] == "stats"
    assert run("-i", "stormshield", clean).returncode == 0


def test_what_is_no_capture_is_told(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("How are you?\n")
    done = run(note)
    assert (done.returncode, done.stdout) == (3, "")
    assert "not a capture: it begins with text" in done.stderr
    assert "messages and mail logs" in done.stderr


def test_a_message_alone_is_checked(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_text("From: alice@a.example\nSubject: h\u00e9llo\n\nHow are you?\n", encoding="utf-8")
    alone, asked = run(mail, "-i", "stormshield"), run("check", "-i", "stormshield", mail)
    assert (alone.returncode, alone.stdout) == (0, asked.stdout)
    assert "stormshield.smtp-231" in alone.stdout


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"Mar  2 10:00:02 mx postfix/smtp[7]: 4cQ8: to=<b@example.net>", "log"),
        (b"2026-03-02 10:00:02 1vN4Xk-0001 == b@example.net R=dns T=smtp defer", "log"),
        (b"@4000000065e1a0c20d3f1c2c delivery 1: deferral:", "log"),
        (b"#Software: Microsoft Exchange Server\r\n", "log"),
        (b"Return-Path: <a@example.org>\r\n", "message"),
        (b"From a@example.org Mon Mar  2 10:00:00 2026\n", "message"),
        (b"From: <>\nContent-Type: multipart/report; report-type=delivery-status\n", "log"),
        (b"policy-map: global\n", "other"),
        (b"", "other"),
        (bytes.fromhex("d4c3b2a1"), "capture"),
    ],
)
def test_what_a_file_is(head: bytes, kind: str, tmp_path: Path) -> None:
    for name, octets in (("plain", head), ("packed.gz", gzip.compress(head) if head else b"")):
        (tmp_path / name).write_bytes(octets)
        assert fitting.kind_of(str(tmp_path / name)) == kind
