"""What people read: one way of counting, rows and sides called what they are."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dealing import connection
from kit import capture
from smtpinspect import cli
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.lookalikes.table import TABLE
from smtpinspect.diagnose.model import Case, Reading
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.reading.means import commands, requeue
from smtpinspect.report import diagnose_words as words
from smtpinspect.report.html.ladder import rungs

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


def test_a_shell_takes_what_is_printed_for_it() -> None:
    """No label in front of a command, and nothing left to be filled in but what is known of the mail."""
    lines = [command for row in TABLE for remedy in row.remedies for command in remedy.commands]
    script = "\n".join(lines)
    assert "SERVER" in script and "TIME" in script
    assert not re.search(r"\beth0\b|^\w+: ", script, re.MULTILINE)
    for line in lines:
        word = line.split()[0]
        assert word == "#" or re.fullmatch(r"[a-z]+", word), line
    assert "'postfix*' -u exim4" in script  # Debian's units
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


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
