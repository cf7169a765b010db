"""A mail server's own log beside a capture: one story, told with the mail."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from kit import capture as captured
from kit.broken import Connection, message
from kit.wire import START, V4
from smtpinspect import cli
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import joined

SUBJECT = Path(__file__).resolve().parents[1] / "pcaps" / "subject-8bit.pcap"
POSTFIX = (
    "Nov 22 20:52:12 mail postfix/smtp[34]: 5012B21C62A: to=<bob@example.net>, relay=mx.example.net[203.0.113.25]:25, "
    "delay=600, delays=0/0/0/600, dsn=4.4.2, status=deferred (conversation with mx.example.net[203.0.113.25] timed out "
    "while sending end of data -- message may be sent more than once)"
)
NO_TIME = "H=mx.example.net [203.0.113.25]: SMTP timeout after end of data (335 bytes written)"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["diagnose", *words]) == 0
    return capsys.readouterr().out


def simulated(capsys: pytest.CaptureFixture[str], folder: Path, mta: str = "postfix") -> tuple[Path, Path, list[str]]:
    """The captures at the sender and at the receiver of a mail that a firewall cuts, and the sender's own log."""
    before, behind = folder / "before.pcap", folder / "behind.pcap"
    words = ["simulate", str(SUBJECT), "-i", "stormshield", "--mta", mta, "--re-enact", "--format", "json"]
    assert cli.main([*words, "--write-client", str(before), "--write-server", str(behind)]) == 0
    return before, behind, json.loads(capsys.readouterr().out)["sender_log"]


@pytest.mark.parametrize("mta", ["exim", "postfix", "sendmail", "opensmtpd"])
def test_its_own_line_stands_with_the_mail(capsys: pytest.CaptureFixture[str], tmp_path: Path, mta: str) -> None:
    *captures, log = simulated(capsys, tmp_path, mta)
    file = tmp_path / "mail.log"
    file.write_text("\n".join(log))
    for capture in map(str, captures):
        alone = run(capsys, capture).split("\n")
        for given in (log[-1], str(file)):
            text = run(capsys, capture, "--log", given)
            assert f"MAIL LOG     {log[-1]}" in text and "the packets agree" in text
            assert "MAY HAVE BEEN DELIVERED" not in text and "THE LOG" not in text and text.count("Next:") == 1
            assert set(alone) <= set(text.split("\n"))  # all of the page without the log, and its headline
            page = run(capsys, capture, "--log", given, "--format", "html")
            assert "Mail log" in page and "MAY HAVE BEEN DELIVERED" not in page and "From the log" not in page
            told = json.loads(run(capsys, capture, "--log", given, "--format", "json"))
            (mail,), failed = told["mails"], [each for each in told["logs"] if each["phases"]]
            assert mail["logs"] == [each["line"] for each in failed] == [log[-1]]
            assert [(each["mail"], each["mta"], each["causes"]) for each in failed] == [(0, mta, [])]


@pytest.mark.parametrize(
    ("line", "joined"),
    [
        (POSTFIX, True),
        (NO_TIME, True),
        (POSTFIX.replace("20:52:12", "19:52:12"), True),  # another zone
        (POSTFIX.replace("20:52:12", "20:31:12"), False),  # an earlier attempt
        (POSTFIX.replace("20:52:12", "21:40:00"), False),  # a later one
        (POSTFIX.replace("bob@", "carol@"), False),
        (POSTFIX.replace("203.0.113.25", "203.0.113.26"), False),
        (NO_TIME.replace("203.0.113.25", "203.0.113.26"), False),
        ("Nov 22 20:47:13 mx postfix/smtpd[9]: timeout after DATA (0 bytes) from mail.example.org[198.51.100.7]", True),
        ("Nov 22 20:47:13 mx postfix/smtpd[9]: timeout after DATA (0 bytes) from x.example[203.0.113.25]", False),
        (POSTFIX.replace("Nov 22 20:52:12", "2026-11-22T20:52:12+00:00"), True),
        (POSTFIX.replace("Nov 22 20:52:12", "2026-11-22T20:52:12+01:00"), False),  # its zone is told
    ],
)
def test_only_lines_of_this_attempt_are_joined(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, joined: bool
) -> None:
    before, _, _ = simulated(capsys, tmp_path)
    text = run(capsys, str(before), "--log", line)
    assert (line in text) is joined and ("THE LOG" in text) is not joined
    (told,) = json.loads(run(capsys, str(before), "--log", line, "--format", "json"))["logs"]
    assert told["mail"] == (0 if joined else None) and bool(told["causes"]) is not joined


def test_an_attempt_ends_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, _, _ = simulated(capsys, tmp_path)
    log = tmp_path / "mail.log"
    line = "2026-11-22 20:{} SMTP data timeout (message abandoned) on connection from (x) [198.51.100.7] F=<>"
    log.write_text("\n".join(line.format(when) for when in ("57:12", "58:41")))  # 300 s behind, and of a later session
    text = run(capsys, str(before), "--log", str(log))
    assert f"MAIL LOG     {line.format('57:12')}" in text and "\n2026-11-22 20:58:41 (log's clock)" in text
    assert text.count("SMTP data timeout") == 2


def test_a_line_without_a_year_is_of_the_capture_s(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _, _ = simulated(capsys, tmp_path)
    later = time.time() + 700 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert "MAIL LOG" in run(capsys, str(before), "--log", POSTFIX)


def test_another_place_than_the_packets_show_is_told_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, _, _ = simulated(capsys, tmp_path)
    line = POSTFIX.replace("sending end of data -- message may be sent more than once", "sending MAIL FROM")
    text = run(capsys, str(before), "--log", line)
    assert "it says: MAIL" in text and "show another place" in text and "the packets agree" not in text


def test_what_else_the_log_holds_is_told_behind_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, _, _ = simulated(capsys, tmp_path)
    log = tmp_path / "mail.log"
    sent = re.sub(r"dsn=.*", "dsn=2.0.0, status=sent (250 2.0.0 Ok)", POSTFIX)
    later = sent.replace("20:52:12", "21:52:12")
    other = sent.replace("5012B21C62A", "9012B21C62A").replace("bob", "eve")
    log.write_text("\n".join([POSTFIX, other, later]))
    text = run(capsys, str(before), "--log", str(log))
    assert f"{later}\n               delivered at a later attempt, 2026-11-22 21:52:12 by its clock" in text
    assert text.endswith("The log: 1 failed attempt is told with its mail above; beside it 1 mail delivered.\n")
    log.write_text("\n".join([POSTFIX, POSTFIX.replace("bob@", "carol@").replace("5012B", "9012B")]))
    text = run(capsys, str(before), "--log", str(log))
    assert "9012B21C62A  mx.example.net" in text and text.count("THE LOG") == 1
    assert "The log: 1 failed attempt is told with its mail above; beside it 1 failed attempt:\n" in text
    others = [POSTFIX.replace("bob@", f"u{n}@").replace("5012B", f"{n}012B") for n in range(9)]
    log.write_text("\n".join([*others, POSTFIX]))
    text = run(capsys, str(before), "--log", str(log))
    assert f"MAIL LOG     {POSTFIX}" in text and "\n9 mails never delivered, 0 delivered\n" in text


def test_the_folder_for_the_other_side_has_the_line_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, _, log = simulated(capsys, tmp_path)
    run(capsys, str(before), "--log", log[-1], "--evidence", str(tmp_path / "with"))
    run(capsys, str(before), "--evidence", str(tmp_path / "without"))
    head = "What the log of the sender's mail server says, by its own clock"
    for name in ("README.txt", "README.html"):
        told, alone = (
            " ".join(html.unescape((tmp_path / kind / name).read_text()).split()) for kind in ("with", "without")
        )
        assert head in told and log[-1] in told
        assert head not in alone


@pytest.mark.parametrize("few", [64, 1_000])
def test_of_many_mails_none_that_fits_is_passed_over(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails are found by their times: those that any line may be of are among them, whatever the order of these."""
    monkeypatch.setattr(joined, "FEW", few)
    rng = Random(7)
    peer = joined._Peer()
    for _ in range(300):
        begin = 1_772_445_600 + rng.randrange(80_000)
        flow = SimpleNamespace(start_ns=begin * 10**9, end_ns=(begin + rng.choice((1, 30, 700))) * 10**9)
        peer.cases.append(SimpleNamespace(flow=flow))  # type: ignore[arg-type]
    fitting = 0
    for _ in range(400):
        of = rng.choice(peer.cases).flow.end_ns / 10**9
        late = rng.choice((-3.0, 0.0, 4.9, 29.0, 31.0, 3_000.0, 3_600.0, -7_200.0, 20_000.0)) + rng.random()
        told = Reading(
            "x", when=of + late, seconds=rng.choice((None, 0.0, 1.0, 600.0)), local=rng.random() < 0.5,
            broken=rng.choice(((), ("drop",))),
        )  # fmt: skip
        near = [*map(id, peer.around(told))]
        fits = [id(case) for case in peer.cases if joined._apart(case, told) is not None]
        assert set(fits) <= set(near) and [each for each in near if each in fits] == fits
        fitting += len(fits)
    assert fitting > 400


def cut(folder: Path) -> str:
    """A mail to bob: RCPT and DATA were answered, the text was not acknowledged."""
    path = folder / "cut.pcap"
    path.write_bytes(captured.pcap(captured.records(Connection().cut(message(600)).packets)))
    return str(path)


def exim(text: str, recipient: str = "bob@example.net") -> tuple[str, str]:
    """The line of the host, and that of the recipient."""
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(START + 14))} +0000 1w0ccc-0001Bc-2x"
    one = f"{stamp} H=mx.example.net [{V4.server}]: {text}"
    return one, f"{stamp} == {recipient} R=dnslookup T=remote_smtp defer (110): Connection timed out"


AGREE = "the packets agree"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SMTP timeout after end of data (600 bytes written)", AGREE),
        ("SMTP timeout after RCPT TO:<carol@example.net>", "no line is about a failed mail of the capture"),
        ("SMTP timeout after MAIL FROM:<carol@example.net>", "no line is about a failed mail of the capture"),
        ("SMTP timeout after RCPT TO:<bob@example.net>", "the packets of this capture show another place"),
        ("Remote host closed connection in response to end of data", "the packets show this place, yet silence"),
    ],
)
def test_the_packets_agree_where_recipient_place_and_kind_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str
) -> None:
    page = " ".join(run(capsys, cut(tmp_path), "--log", exim(text)[0]).split())
    assert said in page and (AGREE in page) == (said == AGREE)


def test_the_line_of_the_recipient_is_no_second_story(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    lines = exim("SMTP timeout after end of data (600 bytes written)")
    one.write_text(lines[0])
    two.write_text(lines[1])
    page = run(capsys, cut(tmp_path), "--log", str(one), "--log", str(two))
    assert AGREE in page and "was not set up" not in page and page.count("1w0ccc-0001Bc-2x H=") == 1
    alone = run(capsys, cut(tmp_path), "--log", str(two))
    assert "it says: the system's error alone, which names no place; silence" in alone and AGREE in alone
