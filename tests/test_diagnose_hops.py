"""A hop more or less proves no box; the timeline is that of the mail; how many recipients an accepted mail had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit import capture, dialogue, wire
from kit.link import LINKS
from kit.segment import ACK, FIN
from smtpinspect.cli import main
from smtpinspect.report.diagnose_words import legend
from test_diagnose_outcome import DATA, HELLO, MAIL, TEXT, after, case_of, segments, told


@pytest.mark.parametrize(("ttl", "by"), [(56, "server"), (58, "server"), (55, "server"), (54, "middlebox")])
def test_a_fin_from_a_hop_or_two_beside_is_the_servers(ttl: int, by: str) -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    case = case_of([*made, after(made, 0.1, FIN | ACK, ttl=ttl)])
    assert told(case)[1:] == ("fin", by)
    if by == "server":
        assert f"a TTL that differs by {abs(ttl - 57)}" in case.observed.broken.signs[0].text


def test_a_hop_and_another_sign_are_a_box() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    made = [segment.but(window=10_000) for segment in made]
    case = case_of([*made, after(made, 0.1, FIN | ACK, ttl=56).but(window=65_000)])
    assert told(case)[1:] == ("fin", "middlebox")


def test_the_timeline_has_no_other_mails() -> None:
    one = MAIL + DATA + TEXT + "S: 250 taken\n"
    case = case_of(segments(HELLO + one * 50 + MAIL + DATA + TEXT))
    phases = [moment.phase for moment in case.observed.timeline]
    assert phases == ["connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "databody"]


@pytest.mark.parametrize("mails", [1, 2])
def test_of_an_accepted_mail_its_recipients_are_counted(
    mails: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "C: RCPT TO:<c@example.net>\nS: 450 4.2.1 later\n"
    text = HELLO + (MAIL + more + DATA + TEXT + "S: 250 taken\n") * mails + "C: QUIT\nS: 221 bye\n"
    path = tmp_path / "mail.pcap"
    path.write_bytes(capture.pcap(capture.records(wire.packets(wire.build(dialogue.parse(text))), LINKS["ethernet"])))
    for form in ("text", "html"):
        assert main(["diagnose", str(path), "--format", form]) == 0
        assert capsys.readouterr().out.count("accepted (1 of 2 recipients)") == mails
    assert main(["diagnose", str(path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["mails"]
    assert [(mail["accepted"], mail["recipients"]) for mail in found] == [(1, 2)] * mails


def test_the_words_of_confidence_are_those_of_lookalikes_too() -> None:
    lines = " ".join(" ".join(legend()).split())
    for word in ("likely", "possible"):
        assert "look-alike" in lines.partition(f" {word} ")[2].partition(" unlikely ")[0]
