"""`smtpinspect simulate CAPTURE` on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from kit import capture
from smtpinspect.cli import main

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
SUBJECT = str(PCAPS / "subject-8bit.pcap")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([SUBJECT], "takes one -i INSPECTOR, not 0"),
        ([SUBJECT, "-i", "mailguard", "-i", "sonicwall"], "takes one -i INSPECTOR, not 2"),
        (["-i", "mailguard"], "goes with a CAPTURE"),
        ([SUBJECT, "-i", "mailguard", "--size", "10"], "--size and --pipelining are for the form without"),
        ([SUBJECT, "-i", "mailguard", "--at", "dot"], "--at is for the form without a capture"),
        ([SUBJECT, "-i", "mailguard", "--break", "rest"], "unknown break 'rest'"),
        ([SUBJECT, "-i", "mailguard", "--mta", "exom"], "unknown mail server 'exom'"),
        ([SUBJECT, "-i", "mailguard", "--mail", "2"], "the capture holds 1 mail"),
        ([SUBJECT, "-i", "mailgard"], "mailguard"),
        (["nowhere.pcap", "-i", "mailguard"], "no such file"),
        ([SUBJECT, "-i", "mailguard", "--write-client", SUBJECT], "that is what is to be read"),
        ([SUBJECT, "-i", "mailguard", "--write-client", "/x/y", "--write-server", "/x/y"], "a file of its own"),
        ([SUBJECT, "-i", "mailguard", "--write-client", "/nowhere/at/all"], "cannot be written"),
    ],
)
def test_wrong_usage(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = tmp_path / "client.pcap"
    assert main(["simulate", SUBJECT, "-i", "stormshield", "--write-client", str(client)]) == 0
    page = capsys.readouterr().out
    for part in (
        "OBSERVED  in the capture: accepted", "WOULD HAPPEN behind stormshield", "TIMELINE", "THE SENDER LOGS",
        "THE RECEIVER LOGS", "FATE",
        'breaks the flow at the client\'s byte 313, packet 11: "Subject: R\\xc3\\xa9union"',
        f"written: {client}", "--re-enact",
    ):  # fmt: skip
        assert part in page
    assert client.exists()


@pytest.mark.parametrize("how", [[], ["--re-enact"]])
def test_json_is_one_object(how: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", SUBJECT, "-i", "stormshield", "--format", "json", *how]) == 0
    record = json.loads(capsys.readouterr().out)
    contract = (
        "mta phase break stage sender_log receiver_log fate scope seconds duplicate_risk retries gives_up_after "
        "timeline"
    )
    more = (
        "mode inspector client server mail mail_from rcpt_to guessed observed rule altered_by attempts copies "
        "duplicates slot_seconds next_mx final_log packets notes"
    )
    assert list(record) == [*contract.split(), *more.split()]
    assert set(record["timeline"][0]) == {"t", "actor", "event"}
    assert record["mode"] == ("re-enacted" if how else "recorded")


def test_nothing_fires_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(PCAPS / "clean-delivery.pcap"), "-i", "stormshield"]) == 0
    assert "both sides see what the capture shows" in capsys.readouterr().out


def test_no_smtp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.pcap"
    path.write_bytes(capture.pcap([capture.Record(1.0, b"\0" * 60, 60)]))
    assert main(["simulate", str(path), "-i", "mailguard"]) == 0
    assert "no SMTP in this capture" in capsys.readouterr().out


def test_what_was_read_is_told_and_the_rest_complained_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(Path(SUBJECT).read_bytes()[:-5])
    assert main(["simulate", str(path), "-i", "mailguard"]) == 3
    told = capsys.readouterr()
    assert "WOULD HAPPEN" in told.out
    assert "cut off" in told.err
    path.write_bytes(b"this is no capture, but long enough to be looked at")
    assert main(["simulate", str(path), "-i", "mailguard"]) == 3


def test_standard_input_is_a_capture_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", SUBJECT, "-i", "stormshield", "--format", "json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    with open(SUBJECT, "rb") as raw:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw))
        assert main(["simulate", "-", "-i", "stormshield", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == from_file


def test_a_firewalls_answer_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    zipped = str(PCAPS / "encrypted-zip.pcap")
    assert main(["simulate", zipped, "-i", "sonicwall", "--re-enact", "--mta", "sendmail"]) == 0
    page = capsys.readouterr().out
    assert "firewall  answers the client itself: 552 5.7.0 Message blocked by gateway anti-virus" in page


def test_a_chunk_that_is_not_the_last_one_is_no_mail(capsys: pytest.CaptureFixture[str]) -> None:
    """SonicWall's 552 comes amid the second BDAT: the server has answered the first one only."""
    macro = str(PCAPS / "office-macro.pcap")
    assert main(["simulate", macro, "-i", "sonicwall", "--format", "json"]) == 0
    story = json.loads(capsys.readouterr().out)
    assert story["fate"] == "bounced"
    assert not any("<=" in line for line in story["receiver_log"]["exim"])


def test_a_rewriting_firewall_stands_in_the_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(PCAPS / "clean-delivery.pcap"), "-i", "mailguard:pix-6", "--re-enact"]) == 0
    assert "firewall  mailguard.banner-masked: rewrite" in capsys.readouterr().out
