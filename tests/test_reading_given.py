"""What may be given as a log, and what is said of what is none."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from smtpinspect import cli
from smtpinspect.commands.diagnose import DIAGNOSE_HELP
from smtpinspect.diagnose import logs, lookalikes
from smtpinspect.diagnose.model import CONFIDENCE, DEGREES, Reading
from smtpinspect.diagnose.reading import read_line
from smtpinspect.grammar.words import PHASES
from smtpinspect.mta.registry import SENDERS
from smtpinspect.report import diagnose_page, readings_page

PCAPS: Final = Path(__file__).resolve().parents[1] / "pcaps"
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


@pytest.mark.parametrize("octets", [b"hello\nworld\n", bytes(range(256)), b"all is well\n"])
def test_a_file_without_such_lines_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, octets: bytes
) -> None:
    path = tmp_path / "notes"
    path.write_bytes(octets)
    status, out, err = run(capsys, "--log", str(path))
    assert (status, out) == (2, "") and f"{path}: no line of a mail server that is known" in err


def test_an_empty_log_is_told_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.touch()
    assert run(capsys, "--log", str(path)) == (0, f"{path}: it is empty\n", "")


IDLE: Final = {
    "2026-11-22 10:00:00 1xVQHr-000001-2A <= a@x.example H=h [192.0.2.7] P=esmtp S=7": "1 mail received, none",
    "2026-11-22 10:00:00 1xVQHr-000001-2A Completed": "1 line of Exim: nothing in it that tells of a delivery.",
    "Nov 22 11:02:05 mx postfix/smtpd[1]: disconnect from x.example[192.0.2.7] quit=1": "1 line of Postfix: nothing",
    "Nov 22 11:02:05 mx postfix/qmgr[1]: 4B1A2C3D4E: from=<a@x.example>, size=7, nrcpt=1 (queue active)": "1 mail",
    "Nov 22 11:02:05 mx sendmail[2]: 5AMB25qk012345: from=a@x.example, size=7, class=0": "1 mail received",
    "Nov 22 11:02:05 mx smtpd[2]: d248e67f495eb1a0 smtp connected address=192.0.2.7 host=x": "1 line of OpenSMTPD: not",
    "2026-11-22 10:00:00 Start queue run: pid=7": "1 line of Exim: nothing in it that tells of a delivery.",
}


@pytest.mark.parametrize("line", IDLE)
def test_a_line_of_a_mail_server_that_tells_of_no_failure_is_no_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str
) -> None:
    path = tmp_path / "mail.log"
    path.write_text(f"{line}\n")
    for given in (line, str(path)):
        status, out, _ = run(capsys, "--log", given)
        assert status == 0 and out.startswith(IDLE[line])
        (told,) = json.loads(run(capsys, "--log", given, "--format", "json")[1])["logs"]
        assert told["line"] == line and told["mta"] in SENDERS and told["phases"] == []


def test_mails_that_came_in_and_went_out_are_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mainlog"
    lines = [
        f"2026-11-22 10:00:0{n} 1xVQHr-00000{n}-2A {what}"
        for n in (1, 2)
        for what in ("<= a@x.example H=h [192.0.2.7] P=esmtp S=7", "=> u <u@example.net> R=l T=maildir", "Completed")
    ]
    path.write_text("\n".join(lines))
    assert run(capsys, "--log", str(path))[1] == "2 mails received, none failed.\n"
    sent = '2026-11-22 10:00:02 1xVQHr-000002-2A => u@example.net R=r T=t H=mx.example.net [192.0.2.1] C="250 OK"'
    path.write_text("\n".join([*lines, sent]))
    assert run(capsys, "--log", str(path))[1].startswith("2 mails received, 1 delivered, none failed.\n")


WHOLE: Final = (
    "2026-11-22 10:00:00 1xVQHr-000001-2A == u@example.net R=dnslookup T=remote_smtp defer (110): Connection timed out "
    "H=mx.example.net [203.0.113.9]: SMTP timeout after end of data (2350 bytes written)"
)


def folded(text: str, width: int, mark: str) -> str:
    """As a mail program, or a terminal, breaks it."""
    if mark == "terminal":
        return "\n".join(text[n:n + width] for n in range(0, len(text), width))
    return textwrap.indent("\n".join(textwrap.wrap(text, width)), mark)


@pytest.mark.parametrize("mark", ["", "> ", "    ", "> > ", "terminal"])
@pytest.mark.parametrize("width", [72, 80, 999])
@pytest.mark.parametrize("end", ["", "\r"])
def test_a_line_that_was_folded_or_quoted_is_read_as_a_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mark: str, width: int, end: str
) -> None:
    made = folded(WHOLE, width, mark).replace("\n", f"{end}\n") + end
    path = tmp_path / "copied"
    path.write_bytes(made.encode())
    whole = run(capsys, "--log", WHOLE)
    assert whole[1].startswith("2026-11-22 10:00:00 (log's clock)  1xVQHr-000001-2A  mx.example.net [203.0.113.9]")
    for words in (("--log", made), ("--log", str(path)), (str(path),)):
        assert run(capsys, *words) == whole


def test_lines_of_several_attempts_are_not_joined(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = WHOLE.replace("000001", "000002")
    for text in (f"{WHOLE}\n{other}", f"> {WHOLE}\n> {other}", f"{folded(WHOLE, 72, '')}\n{folded(other, 72, '')}"):
        told = json.loads(run(capsys, "--log", text, "--format", "json")[1])["logs"]
        assert [each["queue_id"] for each in told] == ["1xVQHr-000001-2A", "1xVQHr-000002-2A"]


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


def test_the_help_explains_every_word_of_its_pages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["diagnose", "--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    page = "".join(Path(str(module.__file__)).read_text() for module in (diagnose_page, readings_page))
    labels = set(re.findall(r'_(?:labelled|told)\("([A-Z ]+)"', page)) - {"NOTE", "THE LOG", "FATE", "BEFORE", "SO"}
    assert {"RULED OUT", "WHAT IF", "MAIL LOG", "POSSIBLE"} < labels
    names = [row.name for row in lookalikes.TABLE]
    for word in (*labels, *readings_page.KINDS.values(), *DEGREES, *CONFIDENCE, *names):
        shown = re.escape(word.upper() if word in DEGREES else word)
        assert re.search(rf"(^  |, ){shown}(?!\w)", text, re.MULTILINE), word
    for phase in PHASES:
        assert phase is None or phase in text


def test_the_example_of_the_help_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = re.findall(r"--log ('H=.*?')", DIAGNOSE_HELP, re.DOTALL)
    status, out, _ = run(capsys, "--log", *shlex.split(text))
    assert status == 0
    assert out.startswith("mx.example.net [203.0.113.9]  Exim, sending\n  SMTP timeout after end of data (2350")


def test_a_line_is_read_as_one_without_log(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "--log", LINE)
    assert run(capsys, LINE) == told
    assert (cli.main([LINE]), *capsys.readouterr()) == told
    status, _, err = run(capsys, "no such capture")
    assert status == 2 and "no such file" in err


ALARM: Final = "Nov 22 2026 11:02:58: %ASA-6-302013: Built inbound TCP 7 for out:192.0.2.1/9 to in:192.0.2.7/25"


def test_a_firewall_s_log_is_known_as_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log, capture = tmp_path / "asa.log", str(PCAPS / "subject-8bit.pcap")
    log.write_text(f"{ALARM}\n")
    status, _, err = run(capsys, "--log", str(log))
    assert status == 2 and f"is a firewall's log: smtpinspect diagnose CAPTURE --firewall-log {log}" in err
    assert run(capsys, capture, str(log)) == run(capsys, capture, "--firewall-log", str(log))
    status, _, err = run(capsys, str(log))
    assert status == 2 and "--firewall-log is joined with the connections of a capture" in err


def test_a_message_is_for_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a mail.eml"
    path.write_bytes(MAIL)
    for words in ((str(path),), ("--log", str(path))):
        status, _, err = run(capsys, *words)
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

    def stopped(*_: object, **__: object) -> Iterator[Reading]:
        told = read_line(LINE)
        assert told is not None
        yield told
        raise KeyboardInterrupt

    monkeypatch.setattr(logs, "read_file", stopped)
    status, out, err = run(capsys, "--log", str(path))
    assert status == 130 and "SMTP timeout after end of data" in out and "stopped" in err


def test_one_log_of_several_that_tells_nothing_is_noted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In whatever order they are named; alone it is wrong usage."""
    mail, note = tmp_path / "mail.log", tmp_path / "note.txt"
    mail.write_text(LINE)
    note.write_text("How are you?")
    for order in ((mail, note), (note, mail)):
        status, out, _ = run(capsys, *(word for log in order for word in ("--log", str(log))))
        assert status == 0
        assert f"--log {note}: no line of a mail server" in out and "SMTP timeout after end of data" in out
    assert run(capsys, "--log", str(note))[0] == 2


def test_of_all_that_is_damaged_something_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The first of it last, as always; the rest on the page."""
    mail, log = tmp_path / "mail.pcap", tmp_path / "mail.log.gz"
    mail.write_bytes((PCAPS / "subject-8bit.pcap").read_bytes()[:-5])
    log.write_bytes(gzip.compress((LINE + "\n").encode() * 9)[:-4])
    status, out, err = run(capsys, str(mail), "--log", str(log))
    assert status == 3
    assert f"{mail}: cut off inside record" in err and str(log) not in err
    assert f"{log}: the gzip data are cut off" in out.replace("\n               ", " ")


def test_a_log_that_is_missing_is_told_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from smtpinspect.diagnose import face

    monkeypatch.setattr(face, "survey", None)  # a capture may have gigabytes
    status, out, err = run(capsys, str(PCAPS / "subject-8bit.pcap"), "--log", "nowhere.log")
    assert (status, out) == (2, "") and "--log nowhere.log: no such file" in err
