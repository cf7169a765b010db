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


SONICWALL = (
    '<129> id=firewall sn=F time="2026-11-23 00:00:59 UTC" fw=203.0.113.1 pri=1 c=32 gcat=3 m=809 msg="Gateway '
    'Anti-Virus Alert: x blocked." n=1 src=198.51.100.7:40000:X1 dst=203.0.113.25:25:X0 proto=tcp/smtp'
)


@pytest.mark.parametrize("option", [[], ["--firewall-log"]], ids=["alone", "option"])
def test_a_capture_with_a_firewalls_log_is_diagnosed(option: list[str], clean: Path, tmp_path: Path) -> None:
    log = tmp_path / "sonicwall.log"
    log.write_text(SONICWALL + "\n")
    alone, asked = run(clean, *option, log), run("diagnose", clean, "--firewall-log", log)
    assert (alone.returncode, alone.stdout) == (0, asked.stdout)
    assert "sonicwall.log: 1 line" in alone.stdout


def test_a_log_with_a_capture_is_diagnosed(clean: Path, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_text("2026-03-02 10:00:02 1vN4Xk-0001-2c == b@example.net R=dns T=smtp defer (-46): SMTP timeout\n")
    alone, asked = run(log, clean), run("diagnose", clean, "--log", log)
    assert (alone.returncode, alone.stdout) == (asked.returncode, asked.stdout) == (0, asked.stdout)


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
        (b"How are you?\n", "other"),
        (b"> H=mx.example.net [203.0.113.9]: SMTP timeout after end of data (2350 bytes written)\n", "log"),
        (b'id=firewall time="2026-03-02 10:00:02" fw="F" tz=+0000 pri=4 proto=smtp\n', "firewall-log"),
        (b"Mar  2 10:00:02 fw %ASA-4-108004: SMTP Classification: Dropped connection\n", "firewall-log"),
        (b"Mar  2 10:00:01 fw %ASA-4-108004: SMTP Classification: Dropped connection\n"
         b"Mar  2 10:00:02 mx postfix/smtp[7]: 4cQ8: to=<b@example.net>\n", "log"),
        (b"", "other"),
        (bytes.fromhex("d4c3b2a1"), "capture"),
    ],
)
def test_what_a_file_is(head: bytes, kind: str, tmp_path: Path) -> None:
    for name, octets in (("plain", head), ("packed.gz", gzip.compress(head) if head else b"")):
        (tmp_path / name).write_bytes(octets)
        assert fitting.kind_of(str(tmp_path / name)) == kind


@pytest.mark.parametrize("command", [["diagnose"], ["simulate", "-i", "stormshield"]], ids=" ".join)
def test_damage_is_told_of_what_was_asked_for(command: list[str], clean: Path) -> None:
    """Standard input is kept in a file, whose name nobody knows."""
    done = run(*command, "-", stdin=clean.read_bytes()[:-5])
    assert done.returncode == 3
    assert done.stderr.startswith("smtpinspect: standard input: cut off inside record ")


@pytest.mark.parametrize("words", [["-", "-"], ["-", "--log", "-"], ["a.pcap", "--log", "-", "--firewall-log", "-"]])
def test_standard_input_is_read_once(words: list[str], clean: Path) -> None:
    done = run("diagnose", *words, stdin=clean.read_bytes())
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input (-) can be read once only" in done.stderr
