"""What people read: one way of counting, rows and sides called what they are."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pages
from dealing import connection
from kit import capture
from kit.broken import Connection, message
from smtpinspect import cli
from smtpinspect._core.sources import records
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Reading
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.reading.means import commands, requeue
from smtpinspect.grammar.phrases import alike
from smtpinspect.report import diagnose_words as words
from smtpinspect.report.html.ladder import rungs
from smtpinspect.report.terminal import wide
from smtpinspect.source import open_source

ROOT = Path(__file__).resolve().parents[1]
PCAPS = ROOT / "pcaps"
READ = ("report", "commands", "diagnose", "simulate", "enforce", "inspectors")
TITLES = ("smtp/inspector.py",)  # signatures of records, whose words stay


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A mail sent again through a firewall that cuts its text and the QUIT in the same segment: both sides of it."""
    folder = tmp_path_factory.mktemp("points")
    before, behind = (str(folder / name) for name in ("before.pcap", "behind.pcap"))
    command = ["simulate", str(PCAPS / "subject-8bit.pcap"), "-i", "stormshield", "--re-enact"]
    assert cli.main([*command, "-o", str(folder / "page"), "--write-client", before, "--write-server", behind]) == 0
    return before, behind


def only(asked: Asked) -> Case:
    (case,) = diagnose(asked).diagnosis.cases
    return case


def sentences(path: Path) -> Iterator[str]:
    """Its texts that are no docstrings, without what stands in braces."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    explained = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in explained:
            yield node.value


def test_people_read_bytes() -> None:
    found = [
        f"{path.name}: {text}"
        for folder in READ
        for path in sorted((ROOT / "smtpinspect" / folder).rglob("*.py"))
        if not path.as_posix().endswith((*TITLES, "craft.py"))
        for text in sentences(path)
        if re.search(r"\boctets?\b(?!-)", text) and re.search(r"\s", text.strip()) and "records" not in text
        if not re.search(r"[|{}<]|where, line, octets|packets octets|multipart mixed", text)
    ]
    assert not found


def test_what_follows_the_message_in_its_segment_is_no_part_of_it(points: tuple[str, str]) -> None:
    case = only(Asked(source=points[0]))
    labels = [rung.label for rung in rungs(case)]
    assert "message, bytes 0-334, and QUIT behind it" in labels
    assert not [label for label in labels if "0-340" in label]
    timeline = {moment.phase: moment.told for moment in case.observed.timeline}
    assert timeline["databody"].startswith("335 bytes of text with the final dot")


def test_of_several_points_nothing_is_guessed(points: tuple[str, str]) -> None:
    before, behind = points
    two = (Point("outside", before), Point("inside", behind))
    (note, *_) = words.notes(only(Asked(source=before, points=two)))
    assert note == "packets and bytes are those of outside, of these captures the one nearest to the sender"
    (alone, *_) = words.notes(only(Asked(source=before)))
    assert "guessed" in alone


def test_a_mail_sent_again_keeps_its_port(points: tuple[str, str]) -> None:
    recorded = diagnose(Asked(source=str(PCAPS / "subject-8bit.pcap"))).diagnosis.cases[0].flow.client
    assert only(Asked(source=points[0])).flow.client == recorded


RESET = """\
S: 220 mx.example.net ESMTP
C: EHLO client.example.org
S: 250 mx.example.net
C: MAIL FROM:<alice@example.org>
S: 250 ok
C: RCPT TO:<bob@example.net>
S: 550 5.1.1 no such user
C: RSET
S: 250 ok
C: NOOP
S: 250 ok
C: QUIT
S: 221 bye
"""


def test_a_row_of_the_timeline_is_called_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "reset.pcap"
    path.write_bytes(capture.pcap(connection(0, RESET)))
    rows = [moment.phase for moment in only(Asked(source=str(path))).observed.timeline]
    assert rows == ["connect", "greeting", "ehlo", "mail", "rcpt", "rset", "noop", "quit"]


def test_lines_of_a_text_that_began_before_the_capture_are_no_commands(tmp_path: Path) -> None:
    """From the middle of a text on: its lines, then QUIT, which the server no longer answers."""
    lines = "C: line of the text\n" * 300
    text = RESET.replace("550 5.1.1 no such user", "250 ok").replace("RSET", "DATA")
    text = text.replace("S: 250 ok\nC: NOOP", f"S: 354 go\n{lines}C: .")
    frames = connection(0, text, mss=500)
    path = tmp_path / "amid.pcap"
    path.write_bytes(capture.pcap(frames[len(frames) // 2 :]))
    rows = [(moment.phase, moment.told) for moment in only(Asked(source=str(path))).observed.timeline]
    assert not [told for row, told in rows if row == "ehlo"]
    assert any(re.fullmatch(r"\d+ lines of what began before the capture", told) for row, told in rows if row == "?")


def test_what_to_simulate_is_named(points: tuple[str, str]) -> None:
    """What an altered dialogue leads to is another command's business, on this very capture."""
    case = only(Asked(source=points[0]))
    case.what_if = case.what_if._replace(relax=("mailguard.banner-masked",), passes=True, doubt="altered", spec="")
    (told,) = words.what_if(case, "'my mail.pcap'")
    assert "smtpinspect simulate 'my mail.pcap' --re-enact" in told


@pytest.mark.parametrize(
    ("mta", "id_", "to", "again"),
    [
        ("exim", "1vxK2b-0000iU-1g", "bob@example.net", "exim -M 1vxK2b-0000iU-1g"),
        ("exim", "", "bob@example.net", "exim -Rf example.net"),
        ("exim", "", "bob@$(id)", "exim -Rf '$(id)'"),
        ("exim", "", "", ""),
        ("postfix", "", "", "postqueue -f"),
        ("sendmail", "", "<bob@example.net>", "sendmail -qRexample.net -v"),
    ],
)
def test_a_mail_without_an_id_is_sent_with_those_of_its_domain(mta: str, id_: str, to: str, again: str) -> None:
    told = Reading("x", mta, ("dotreply",), fate="deferred", recipient=to, queue_id=id_)
    assert requeue(told) == again
    assert "QUEUE-ID" not in " ".join(commands(told, "x"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["diagnose", "x.pcap", "--format", "htm"], "html"),
        (["check", "x.eml", "--fail-on", "cut"], "break"),
        (["diagnose", "x.pcap", "--taken", "sendr"], "sender"),
        (["replay", "x.pcap", "--format", "q"], ""),
        (["replay", "x.pcap", "--thread", "2"], "--threads"),
    ],
)
def test_a_word_that_is_misspelt(given: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(given)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert f". Did you mean {meant}?" in said if meant else "Did you mean" not in said


@pytest.mark.parametrize(
    ("given", "meant"),
    [("good.A.pcap", ""), ("Mail.pcap", "mail.pcap"), ("mial.pcap", "mail.pcap"), ("mail.pcpa", "mail.pcap"),
     ("mail", "mail.pcap"), ("x.pcap", "")],
)  # fmt: skip
def test_a_file_that_is_misspelt(given: str, meant: str) -> None:
    """What all captures end in makes none of them alike."""
    assert alike(given, ["ok.pcap", "mail.pcap", "before.pcap"]) == meant


def test_a_simulation_counts_as_a_diagnosis_does(capsys: pytest.CaptureFixture[str]) -> None:
    """The message with its final dot, and QUIT told apart; what is looked at is called so."""
    path = str(PCAPS / "subject-8bit.pcap")
    assert cli.main(["simulate", path, "-i", "stormshield", "--re-enact"]) == 0
    again = capsys.readouterr().out
    assert "sends the text, 335 bytes with the final dot, and QUIT behind it\n" in again
    assert "drops 341 bytes of the client" in again
    assert "OBSERVED  in the capture: accepted   (looked at: the first mail that would break)" in again
    assert re.search(r"about \d+ attempts, which keep a delivery process busy for [\d.]+ h in all", again)
    assert "delivery slots" not in again
    assert cli.main(["simulate", path, "-i", "mailguard"]) == 0
    assert "text, bytes 0-334 with the final dot, QUIT" in capsys.readouterr().out


PAGES = {
    "diagnose": ("diagnose", "BEFORE"),
    "points": ("diagnose", "--outside", "BEFORE", "--inside", "BEHIND"),
    "simulate": ("simulate", str(PCAPS / "subject-8bit.pcap"), "-i", "stormshield", "--re-enact"),
    "impact": ("diagnose", "--impact", str(PCAPS / "subject-8bit.pcap")),
    "compare": ("compare", str(PCAPS / "clean-delivery.pcap"), "BEFORE"),
    "check": ("check", "MAIL"),
    "replay": ("replay", str(PCAPS / "subject-8bit.pcap")),
    "transcript": ("transcript", str(PCAPS / "subject-8bit.pcap")),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_wide_as_the_terminal(
    name: str, points: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for commands, which are pasted as they stand. What is one is called one."""
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"From: a@example.org\r\nSubject: R\xc3\xa9union\r\n\r\nhello\r\n")
    given = {"BEFORE": points[0], "BEHIND": points[1], "MAIL": mail.name}
    monkeypatch.setattr(pages, "COLUMNS", 60)
    words = [given.get(word, word) for word in PAGES[name]]
    printed = pages.on_a_terminal([sys.executable, "-m", "smtpinspect", *words], tmp_path)
    lines = printed.splitlines()
    assert len(lines) > 3
    pasted = re.compile(r" *(Next: |CONFIG |smtpinspect )| {6}smtpinspect ")
    assert not [line for line in lines if wide(line) > 60 and not pasted.match(line)]
    assert not re.search(r"\b1 trip\b|\bnone of the 1\b", printed)
    assert not [line for line in lines if line.startswith("broken: ")]  # of `mails in clear`, and so below it


def test_a_packet_of_several_captures_is_found_in_its_file(
    points: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbered through all of them, as they are read; where to look one up is said. Of one capture, or of points of a
    path, the numbers are the file's."""
    first = tmp_path / "first.pcap"
    first.write_bytes(capture.pcap(connection(0, RESET, start=1_000_000_000)))
    held = len(list(records(open_source(str(first)))))
    (own,) = {only(Asked(source=points[0])).observed.broken.packet}
    assert own is not None
    for kind in ("text", "html"):
        assert cli.main(["diagnose", str(first), points[0], "--format", kind]) == 0
        told = capsys.readouterr().out
        assert f"packet {held + own} is packet {own} of before.pcap" in told
        assert f"(first in packet {held + own})" in told
    for given in (points[:1], ("--outside", points[0], "--inside", points[1])):
        assert cli.main(["diagnose", *given]) == 0
        assert "numbered through" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sent", "where"), [(None, "behind the text, before the reply to it"), (90, "before the mail's end")]
)
def test_a_reset_is_where_it_came(sent: int | None, where: str) -> None:
    made = Connection().envelope().say("C", message(600)[:sent], acked=True).reset("S")
    case = only(Asked(source=capture.frames(made.packets)))
    (gone,) = [cause for cause in case.causes if cause.cause == "server-gone"]
    assert gone.evidence[0].text == f"RST in the server's name {where}"
