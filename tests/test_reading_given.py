"""What may be given as a log, and what is said of what is none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from smtpinspect import cli
from smtpinspect.diagnose import face
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import read_line

LINE: Final = "H=mx.example.net [203.0.113.9]: SMTP timeout after end of data (2350 bytes written)"
PCAP: Final = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
MAIL: Final = b"From: a@example.org\nTo: u@example.net\nSubject: x\n\ntext\n"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["diagnose", *words])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("text", ["hello world", "", "mail.lgo", "\x1b[2J"])
def test_a_text_that_no_mail_server_writes_is_wrong_usage(capsys: pytest.CaptureFixture[str], text: str) -> None:
    status, out, err = run(capsys, "--log", text)
    assert (status, out) == (2, "")
    assert "no line of a mail server that is known" in err and "Exim, Postfix" in err
    assert "\x1b" not in err


def test_a_file_without_such_lines_is_told_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "notes"
    for octets in (b"hello\nworld\n", b"", gzip.compress(b"")):
        path.write_bytes(octets)
        status, out, _ = run(capsys, "--log", str(path))
        assert status == 0 and out.startswith("No line of a mail server that is known")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_capture_is_no_log(capsys: pytest.CaptureFixture[str], tmp_path: Path, pack: object) -> None:
    path = tmp_path / "m.log"
    path.write_bytes(pack(PCAP))  # type: ignore[operator]
    status, out, err = run(capsys, "--log", str(path))
    assert (status, out) == (2, "")
    assert "this is a capture; give it without --log" in err


@pytest.mark.parametrize(
    "lead",
    ["", "2026-03-03 10:10:02 1xV5Kf-0001L7-1o ", "From: MAILER-DAEMON@a.example\nSubject: failure notice\n\n"],
    ids=["copied", "with its time", "in a bounce"],
)
def test_a_log_is_read_as_one_without_log(capsys: pytest.CaptureFixture[str], tmp_path: Path, lead: str) -> None:
    path = tmp_path / "mail.log"
    path.write_text(f"{lead}{LINE}\n")
    assert run(capsys, str(path)) == run(capsys, "--log", str(path))
    assert "SMTP timeout after end of data" in run(capsys, str(path))[1]


def test_a_message_is_for_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a mail.eml"
    path.write_bytes(MAIL)
    status, _, err = run(capsys, str(path))
    assert status == 2 and f"smtpinspect check '{path}'" in err


def test_a_delivered_line_is_told_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "2026-11-22 11:02:57 1xV5Kf-0001L7-1o => u@example.net R=r T=t H=mx.example.net [192.0.2.1] C=\"250 OK\" DT=1s"
    )
    status, out, _ = run(capsys, "--log", line, "--format", "json")
    (told,) = json.loads(out)["logs"]
    assert (status, told["mta"], told["phases"], told["fate"], told["line"]) == (0, "exim", [], "delivered", line)
    _, out, _ = run(capsys, "--log", line)
    assert "1 mail delivered, none failed" in out and "1xV5Kf-0001L7-1o  mx.example.net [192.0.2.1]" in out


def test_control_c_ends_the_log_and_what_was_read_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mail.log"
    path.write_text("x")

    def stopped(log: str) -> Iterator[Reading]:
        told = read_line(LINE)
        assert told is not None
        yield told
        raise KeyboardInterrupt

    monkeypatch.setattr(face, "_readings", stopped)
    status, out, err = run(capsys, "--log", str(path))
    assert status == 130 and "SMTP timeout after end of data" in out and "stopped" in err
