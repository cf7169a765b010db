"""`diagnose --impact`: the accepted mails that a profile would have cut, counted by what they have in common."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kit import capture, wire
from kit.dialogue import parse
from many import Sent, write
from smtpinspect.cli import main
from smtpinspect.diagnose.impact import Profile, Share, domain, impact
from smtpinspect.grammar import limits
from smtpinspect.report.impact_page import page
from smtpinspect.report.terminal import Style
from smtpinspect.report.text import products

EXIM = "from x by y with esmtp (Exim 4.97) id 1"
RAW = "R\\xc3\\xa9union"
PCAPS = Path(__file__).parents[1] / "pcaps"


@pytest.fixture
def day(tmp_path: Path) -> str:
    """A mail each ten minutes, three of nine Subjects raw 8-bit; then one such accepted, one refused, one lost."""
    mails = [Sent(f"mail {n}", "u@shop.example") if n % 3 else Sent(RAW, "u@club.example") for n in range(9)]
    mails += [Sent(RAW, "x@club.example", "198.51.100.99", received=EXIM)]
    mails += [Sent(RAW, "y@club.example", "198.51.100.99", "550 5.7.1 no"), Sent(RAW, "", reply="")]
    return write(tmp_path / "day.pcap", mails, gap=600.0)


def only(capture: str, spec: str) -> Profile:
    (profile,) = impact(capture, [spec]).profiles
    return profile


def test_accepted_mails_are_counted_and_no_others(day: str) -> None:
    made = impact(day, ["stormshield", "mailguard"])
    assert (made.mails, made.accepted, made.encrypted) == (12, 10, 0)
    assert [(one.cut, one.refused) for one in made.profiles] == [(4, 0), (0, 0)]


def test_by_what_they_have_in_common(day: str) -> None:
    by = {name: sums.top() for name, sums in only(day, "stormshield").by.items()}
    assert by == {
        "rule": [Share("stormshield.smtp-231", 4, 4)],
        "destination": [Share("198.51.100.25", 3, 9), Share("198.51.100.99", 1, 1)],
        "sender domain": [Share("club.example", 4, 4)],
        "sender's mail server": [Share("postfix", 3, 9), Share("exim", 1, 1)],
        "hour": [Share("10 UTC", 2, 6), Share("11 UTC", 2, 4)],
    }


def test_what_the_box_refuses_is_lost_too() -> None:
    found = only(str(PCAPS / "encrypted-zip.pcap"), "sonicwall")
    assert (found.cut, found.refused, found.lost) == (0, 1, 1)
    assert found.by["rule"].top() == [Share("sonicwall.encrypted-zip", 1, 1)]
    assert only(str(PCAPS / "encrypted-zip.pcap"), "sonicwall,on_match=drop").cut == 1


def test_an_answer_that_loses_no_mail_is_none() -> None:
    """A command that MailGuard answers itself does not take the mail away."""
    assert only(str(PCAPS / "smtp-223.pcap"), "mailguard:pix-6").lost == 0


def test_names_are_limited(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COUNTED_KEYS", 1)
    by = only(day, "stormshield").by
    assert by["destination"].top() == [Share("198.51.100.25", 3, 9), Share("(others)", 1, 1)]
    assert sum(row.lost for row in by["hour"].top()) == 4


def test_of_a_connection_with_many_mails_the_first_ones_have_no_mta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mail is counted all the same; those that are kept until the connection ends keep their own."""
    lines = ["S: 220 mx.example.net ESMTP", "C: EHLO mail.example.org", "S: 250 mx.example.net"]
    for mta in ("Exim 4.97", "Postfix", "Exim 4.97", "Postfix", "Postfix"):
        lines += ["C: MAIL FROM:<u@shop.example>", "S: 250 Ok", "C: RCPT TO:<bob@example.net>", "S: 250 Ok", "C: DATA"]
        lines += ["S: 354 go on", f"C: Received: from x by y with esmtp ({mta}) id 1", f"C: Subject: {RAW}"]
        lines += ["C:", "C: .", "S: 250 2.0.0 Ok"]
    file = tmp_path / "one.pcap"
    file.write_bytes(capture.pcap(capture.records(wire.packets(wire.build(parse("\n".join(lines)))))))

    def senders() -> list[Share]:
        return only(str(file), "stormshield").by["sender's mail server"].top()

    assert senders() == [Share("postfix", 3, 3), Share("exim", 2, 2)]
    monkeypatch.setattr(limits, "HEARD_MAILS", 2)
    assert senders() == [Share("(not told)", 3, 3), Share("postfix", 2, 2)]


def test_domains() -> None:
    told = {"A@B.Example": "b.example", "": "(bounces)", None: "(not told)", "odd": "odd"}
    assert {each: domain(each) for each in told} == told


def test_the_command(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--impact", "-i", "stormshield", day]) == 0
    text = capsys.readouterr().out
    assert "12 mails, 10 accepted" in text and "4 would be cut (40.0%)" in text
    assert "WOULD HAPPEN behind Stormshield" in text and "as we emulate it" in text
    assert text.rstrip().endswith("rules stormshield.smtp-231")
    assert main(["diagnose", "--impact", "--format", "json", day]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["cut"] for one in told["profiles"]] == [0, 4, 0]
    assert told["profiles"][1]["by"]["hour"][0] == {"name": "10 UTC", "lost": 2, "of": 6}
    assert main(["diagnose", "--impact"]) == 2


def test_the_first_mail_of_a_rule_is_told_by_file_and_packet(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several captures, as of each alone; also where the rule broke the flow before that mail began."""
    names = [str(PCAPS / f"{name}.pcap") for name in ("smtp-219", "smtp-223", "subject-8bit")]
    alone = []
    for name in names:
        assert main(["diagnose", "--impact", "-i", "stormshield", name]) == 0
        alone += re.findall(r"(smtp-\S+) +1   first: .*, packet (\d+): (.+)", capsys.readouterr().out)
    assert main(["diagnose", "--impact", "-i", "stormshield", *names]) == 0
    found = re.findall(r"(smtp-\S+) +1   first: .*, (\S+) packet (\d+): (.+)", capsys.readouterr().out)
    assert [(rule, packet, text) for rule, _, packet, text in found] == alone and len(alone) == 3
    assert [name for _, name, _, _ in found] == names
    assert [text for rule, _, text in alone if "smtp-219" in rule] == ["(an empty line)"]


def test_the_page_fits_the_terminal() -> None:
    made = impact([str(PCAPS / f"{name}.pcap") for name in ("smtp-219", "packed-exe", "subject-8bit")])
    columns = products([one.inspector for one in made.profiles], [one.label for one in made.profiles], ())
    lines = [*page(made, columns, ["a.pcap"], 60, Style(False))]
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("      first: alice@example.org, packet ") for line in lines)


def test_what_it_does_not_do_is_not_ignored(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--evidence", "e"], ["--sweep", "stormshield.header_limit"], ["--taken", "sender"], ["--log", "x"]):
        assert main(["diagnose", "--impact", day, *more]) == 2
        assert f"leave out {more[0]}" in capsys.readouterr().err
