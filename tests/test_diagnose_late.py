"""A mail that the server took when its sender had given up: it was accepted, and comes again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kit import capture
from kit.broken import Connection, message
from kit.link import LINKS
from smtpinspect.cli import main


def page(path: Path, made: Connection, capsys: pytest.CaptureFixture[str]) -> str:
    path.write_bytes(capture.pcap(capture.records(made.packets, LINKS["ethernet"])))
    assert main(["diagnose", str(path)]) == 0
    return capsys.readouterr().out


def test_it_was_accepted_too_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Connection().envelope().say("C", message(600), acked=True).wait(60).close("C")
    told = page(tmp_path / "late.pcap", made.wait(20).say("S", b"250 2.0.0 Ok\r\n").reset("C"), capsys)
    assert "ACCEPTED, TOO LATE: the server took it 20 s after the sender had closed" in told
    assert "the sender does not know: retries make duplicates" in told
    assert 'the answer that came too late: "250 2.0.0 Ok"' in told and "the answer that decided" not in told
    assert told.count("the sender did not wait long enough") == 1


def test_a_refusal_that_comes_late_is_no_acceptance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Connection().envelope().say("C", message(600), acked=True).wait(60).close("C")
    told = page(tmp_path / "late.pcap", made.wait(20).say("S", b"554 5.7.1 no\r\n").reset("C"), capsys)
    assert "ACCEPTED" not in told


def test_commands_name_the_server_and_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = page(tmp_path / "gone.pcap", Connection().envelope().say("C", message(600)[:100]).reset("S"), capsys)
    assert "--since '2023-11-14 22:13:20 UTC'" in told
    assert "SERVER" not in told


def test_a_file_that_tells_nothing_of_the_mail_is_named_under_the_headline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "asa.log"
    log.write_text("Nov 14 2023 22:13:20 fw : %ASA-2-108003: Terminating ESMTP/SMTP connection; malicious pattern "
                   "detected in the mail address from outside:203.0.113.1/4711 to inside:10.9.9.9/25. Data: x\n")
    capture_of = tmp_path / "cut.pcap"
    capture_of.write_bytes(capture.pcap(capture.records(Connection().cut(message(600)).packets, LINKS["ethernet"])))
    assert main(["diagnose", str(capture_of), "--firewall-log", str(log)]) == 0
    assert re.search(r"^NOT DELIVERED: .*\nNOT MATCHED: ", capsys.readouterr().out, re.MULTILINE)
    assert main(["diagnose", str(capture_of), "--firewall-log", str(log), "--format", "html"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("NOT MATCHED") == 1 and shown.index("NOT MATCHED") < shown.index("<h3>Proved")
    mail = "Nov 14 22:13:20 mx postfix/smtp[1]: A: to=<z@example.com>, relay=mx.example.com[203.0.113.99]:25, delay=1, "
    assert main(["diagnose", str(capture_of), "--log", f"{mail}status=deferred (lost connection with mx)"]) == 0
    found = re.search(r"^NOT DELIVERED: .*\nNOT MATCHED: --log: (.*)", capsys.readouterr().out, re.MULTILINE)
    assert found is not None and found[1].startswith("no line is about a failed mail")
