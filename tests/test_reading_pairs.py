"""An attempt of which a log has two lines: that of the host, and that of the recipient, which says less."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpinspect import cli
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import month, read_text

MAIL = "1vxK2b-0000iU-1g"
HOST = "H=mx.example.net [203.0.113.25]"
TEXT = "SMTP timeout after end of data (2350 bytes written)"
STRERROR = "Connection timed out"
IN_TEXT = ("databody", "datamid", "dot", "dotreply")


def log(*lines: str, at: str = "10:10:02") -> str:
    return "\n".join(f"2026-03-03 {at} {MAIL} {line}" for line in lines)


def deferred(recipient: str = "bob@example.net", why: str = f"(110): {STRERROR}") -> str:
    return f"== {recipient} R=dnslookup T=remote_smtp defer {why}"


def told(text: str) -> list[tuple[str, str, str, tuple[str, ...], str | None]]:
    return [(r.recipient, r.ip, r.fate, r.phases, r.break_kind) for r in read_text(text)]


@pytest.mark.parametrize("behind", ["", f": {STRERROR}"])
def test_a_line_without_a_host_is_of_the_host_before_it(behind: str) -> None:
    text = log(f"{HOST}: {TEXT}{behind}", deferred())
    assert told(text) == [("bob@example.net", "203.0.113.25", "deferred", IN_TEXT, "drop")]
    (reading,) = read_text(text)
    assert (reading.text, reading.octets, reading.duplicate_risk) == (TEXT, 2350, True)
    assert reading.line.endswith(f"{HOST}: {TEXT}{behind}")


def test_the_second_of_its_recipients_was_tried_there_as_well() -> None:
    text = log(f"{HOST}: {TEXT}", deferred(), deferred("carl@example.net"))
    assert [(recipient, phases) for recipient, _, _, phases, _ in told(text)] == [
        ("bob@example.net", IN_TEXT), ("carl@example.net", IN_TEXT),
    ]  # fmt: skip


def test_of_several_hosts_it_is_the_last() -> None:
    first = "H=mx1.example.net [203.0.113.24] Connection timed out"
    assert told(log(first, f"{HOST}: {TEXT}", deferred())) == [
        ("", "203.0.113.24", "deferred", ("connect",), "drop"),
        ("bob@example.net", "203.0.113.25", "deferred", IN_TEXT, "drop"),
    ]


def test_an_rst_amid_the_dialogue_is_no_refused_connection() -> None:
    closed = f"{HOST}: Remote host closed connection in response to end of data"
    for why in ("(104): Connection reset by peer", "(104)"):
        (reading,) = read_text(log(closed, deferred(why=why)))
        assert "dotreply" in reading.phases


@pytest.mark.parametrize(
    ("first", "why", "at"),
    [(TEXT, "(111): Connection refused", "10:10:02"), (TEXT, f"(110): {STRERROR}", "10:40:02")],
    ids=["another kind of break", "half an hour later"],
)
def test_what_is_of_another_attempt_stays_apart(first: str, why: str, at: str) -> None:
    text = "\n".join([log(f"{HOST}: {first}"), log(deferred(why=why), at=at)])
    assert [phases for _, _, _, phases, _ in told(text)] == [IN_TEXT, ("connect",)]


def test_a_connection_that_was_not_set_up_is_told_once() -> None:
    text = log(f"{HOST} {STRERROR}", deferred())
    assert told(text) == [("bob@example.net", "203.0.113.25", "deferred", ("connect",), "drop")]


@pytest.mark.parametrize("said", [": retry timeout exceeded", f": {STRERROR}: retry timeout exceeded", f": {STRERROR}"])
def test_so_is_a_mail_that_comes_back(said: str) -> None:
    text = log(f"{HOST}: {TEXT}", f"** bob@example.net R=dnslookup T=remote_smtp{said}")
    assert told(text) == [("bob@example.net", "203.0.113.25", "bounced", IN_TEXT, "drop")]
    assert read_text(text)[0].gave_up == ("retry" in said)


def test_postfix_tells_an_attempt_that_was_not_set_up_once() -> None:
    why = "connect to mx.example.net[203.0.113.25]:25: Connection timed out"
    status = f"4F3B21C0: to=<bob@example.net>, relay=none, delay=30, delays=0/0/30/0, status=deferred ({why})"
    head = "Mar  3 10:10:02 out postfix/smtp[7]: "
    assert told(f"{head}{why}\n{head}{status}") == [
        ("bob@example.net", "203.0.113.25", "deferred", ("connect",), "drop")
    ]


def test_a_month_counts_it_once() -> None:
    lines = log(f"{HOST}: {TEXT}", deferred())
    readings: list[Reading] = read_text(lines)
    (group,) = month.of(readings).groups
    assert (group.destination, group.attempts, group.never) == ("mx.example.net", 1, 1)


def test_one_mail_has_one_page_however_its_lines_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = log(f"{HOST}: {TEXT}", deferred())
    path = tmp_path / "mail.log"
    path.write_text(lines + "\n")
    apart = [word for line in lines.splitlines() for word in ("--log", line)]
    for words in (["--log", str(path)], ["--log", lines], apart):
        assert cli.main(["diagnose", *words]) == 0
        page = capsys.readouterr().out
        assert page.count("THE LOG") == 1, words
        assert "the connection was not set up" not in page
        assert "MAY HAVE BEEN DELIVERED" in page
