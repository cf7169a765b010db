"""A capture that ends before its connection does, and the sender's log that tells how that went on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit import capture as captured
from kit.broken import GREETING, Connection, message
from kit.wire import START, V4
from mta_runs import FOLDER
from smtpinspect import cli

ABSENT = "the runs of real mail servers are not beside this tree"
EARLY = (
    "exim-dotreply-drop-pipe", "exim-reply354-drop-pipe", "postfix-dotreply-drop", "postfix-dotreply-drop-pipe",
    "sendmail-greeting-drop",
)  # fmt: skip
SECONDS = (7, 5, 7, 7, 5)
WHOLE = "A capture until the sender gives up tells it, best on both sides of the firewall (--outside, --inside)"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, object], str]:
    """The mail of the JSON, and the page."""
    assert cli.main(["diagnose", *words]) == 0
    page = capsys.readouterr().out
    assert cli.main(["diagnose", *words, "--format", "json"]) == 0
    (mail,) = json.loads(capsys.readouterr().out)["mails"]
    return mail, page


def file_of(folder: Path, made: Connection) -> str:
    path = folder / "early.pcap"
    path.write_bytes(captured.pcap(captured.records(made.packets)))
    return str(path)


def line(after: float, text: str, errno: str = "(110): Connection timed out") -> str:
    when = datetime.fromtimestamp(START + after, UTC)
    return (
        f"{when:%Y-%m-%d %H:%M:%S}+0000 1xV5Kx-0001VW-2L == bob@example.net R=r1 T=smtp defer {errno} "
        f"H=mx.example.net [{V4.server}]:25 DT={after:.0f}s: {text}"
    )


@pytest.fixture
def ends_early(tmp_path: Path) -> str:
    """All of the text is acknowledged, then the capture ends."""
    return file_of(tmp_path, Connection().envelope().say("C", message(600), acked=True))


TIMEOUT = "SMTP timeout after end of data (601 bytes written)"


def test_its_seconds_are_the_silence_and_nobody_is_said_to_have_kept_it(
    ends_early: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mail, page = told(capsys, ends_early, "--log", line(600, TIMEOUT))
    assert mail["break"] == {"kind": "drop", "by": "unknown"}
    assert (mail["silence"], mail["phase"], mail["outcome"]) == (600.0, "dotreply", "stalled")
    assert "no reply to the final dot; by its log the sender gave up after 10 min" in page
    assert "so it waited 10 min in vain; the capture ends before" in page
    assert WHOLE in page
    proved = page[page.index("PROVED") : page.index("MAIL LOG")]
    assert "silence at the end" not in proved


def test_what_the_log_rules_in_is_not_ruled_out(ends_early: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone, _ = told(capsys, ends_early)
    mail, _ = told(capsys, ends_early, "--log", line(600, TIMEOUT))
    before, after = ({cause["cause"] for cause in each["causes"]} for each in (alone, mail))  # type: ignore[attr-defined]
    assert "capture-stopped" in before and "outage" not in before
    assert {"server-gone", "outage", "slow-scanner", "unknown-filter"} <= after and "capture-stopped" not in after
    out = {each["cause"]: each["text"] for each in mail["against"]}  # type: ignore[attr-defined]
    assert out["capture-stopped"] == "the mail's log tells how it ended"
    assert "600 s" in out["sender-timeout"]
    hasty, _ = told(capsys, ends_early, "--log", line(7, TIMEOUT))
    assert "sender-timeout" in {cause["cause"] for cause in hasty["causes"]}  # type: ignore[attr-defined]


def test_a_close_that_only_the_log_tells_of_is_no_silence(ends_early: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "SMTP error from remote mail server after end of data: 451 4.3.0 try again later"
    mail, page = told(capsys, ends_early, "--log", line(3, text, "(-46)"))
    assert (mail["break"], mail["outcome"]) == ({"kind": "reply", "by": "unknown"}, "refused")
    assert "451 4.3.0 try again later" in page
    assert "451" not in page[page.index("PROVED") : page.index("MAIL LOG")]


def test_a_silence_that_the_capture_shows_stays_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, Connection().cut(message(600)))
    alone, _ = told(capsys, path)
    mail, page = told(capsys, path, "--log", line(600, TIMEOUT))
    assert mail["silence"] == alone["silence"] and mail["break"] == alone["break"]
    assert "silence at the end" in page and WHOLE not in page


def test_a_line_about_another_place_changes_nothing(ends_early: str, capsys: pytest.CaptureFixture[str]) -> None:
    mail, page = told(capsys, ends_early, "--log", line(300, "SMTP timeout after DATA"))
    assert mail["silence"] != 300.0
    assert "another place" in page


def test_a_line_of_an_attempt_that_ended_later_than_any_wait_changes_nothing(
    ends_early: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exim's final_timeout is 10 min; that of the line was begun when the capture was over."""
    mail, page = told(capsys, ends_early, "--log", line(2_413, TIMEOUT).replace("DT=2413s", "DT=600s"))
    assert mail["silence"] != 2413.0 and "in vain" not in page


def test_a_fin_behind_the_last_octets_does_not_end_the_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Connection().open().say("S", GREETING, acked=True)
    for command, reply in (
        (b"EHLO out.example.org\r\n", b"250-mx.example.net\r\n250 PIPELINING\r\n"),
        (b"MAIL FROM:<alice@example.org>\r\n", b"250 Ok\r\n"), (b"RCPT TO:<bob@example.net>\r\n", b"250 Ok\r\n"),
        (b"DATA\r\n", b"354 go on\r\n"),
    ):  # fmt: skip
        made.say("C", command, acked=True).say("S", reply, acked=True)
    text = message(300) + b"QUIT\r\n"
    made.emit("C", 0x19, text)
    made.sent["C"] += len(text)
    made.got["S"] = made.sent["C"] + 1
    made.ack("S")
    alone, page = told(capsys, file_of(tmp_path, made))
    assert "the sender closed" not in page
    assert "capture-stopped" in {cause["cause"] for cause in alone["causes"]}  # type: ignore[attr-defined]


@pytest.mark.skipif(not FOLDER.exists(), reason=ABSENT)
@pytest.mark.parametrize(("name", "seconds"), list(zip(EARLY, SECONDS, strict=True)), ids=EARLY)
def test_real_captures_that_end_early(
    name: str, seconds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mail.log"
    text = (FOLDER / f"{name}.txt").read_text()
    log.write_text("\n".join(each for each in text.splitlines() if not each.startswith("#")) + "\n")
    mail, page = told(capsys, str(FOLDER / f"{name}.pcap"), "--log", str(log))
    assert mail["break"] == {"kind": "drop", "by": "unknown"}
    assert mail["silence"] == seconds
    assert mail["phase"] == name.split("-")[1]
    assert f"by its log the sender gave up after {seconds} s" in page
    assert WHOLE in page
    found = {cause["cause"] for cause in mail["causes"]}  # type: ignore[attr-defined]
    assert {"server-gone", "outage", "unknown-filter"} <= found and "capture-stopped" not in found
