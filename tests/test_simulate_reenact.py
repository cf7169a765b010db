"""The mail of a capture sent again: what refused commands, masked replies and silence lead to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import smtpinspect
from kit import capture, wire
from kit.dialogue import parse
from smtpinspect.enforce.at import AtPhase
from smtpinspect.mta import registry
from smtpinspect.simulate.captures import Asked, simulate
from smtpinspect.simulate.story import Story

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"


def story(capture: str | Path, inspector: Any, **more: Any) -> Story:
    told = simulate(Asked(str(capture), inspector, re_enact=True, **more)).story
    assert told is not None
    assert told.mode == "re-enacted"
    return told


def said(told: Story, actor: str = "client") -> list[str]:
    return [each.event for each in told.result.timeline if each.actor == actor]


def dialogue(path: Path, text: str) -> Path:
    path.write_bytes(capture.pcap(capture.records(wire.packets(wire.build(parse(text)), wire.V4))))
    return path


@pytest.mark.parametrize("mta", [name for name in registry.SENDERS if name != "qmail"])
def test_an_ehlo_that_is_refused_falls_back_to_helo(mta: str) -> None:
    told = story(PCAPS / "clean-delivery.pcap", "mailguard:pix-6,banner=none", mta=mta)
    commands = said(told)
    assert commands[1:3] == ["EHLO mail.example.org", "HELO mail.example.org"]
    assert not any("SIZE=" in each for each in commands)  # nobody offers it any more
    assert (told.result.fate, told.result.broken) == ("delivered", "none")


def test_a_starred_banner_switches_postfixs_workaround_on() -> None:
    told = story(PCAPS / "clean-delivery.pcap", "mailguard:pix-6", mta="postfix")
    assert "enabling PIX workarounds: disable_esmtp" in told.result.sender_log[0]
    assert "HELO mail.example.org" in said(told)
    assert "EHLO mail.example.org" not in said(told)
    other = story(PCAPS / "clean-delivery.pcap", "mailguard:pix-6", mta="exim")
    assert not any("PIX" in line for line in other.result.sender_log)


def test_an_old_mail_waits_before_its_dot(tmp_path: Path) -> None:
    """A server behind a masked banner that never answers the dot: later attempts take ten seconds more."""
    text = """S: 220 **************
C: HELO a
S: 250 mx
C: MAIL FROM:<a@b>
S: 250 ok
C: RCPT TO:<c@d>
S: 250 ok
C: DATA
S: 354 go
C: Subject: x
C:
C: .
S: 250 ok"""
    told = story(dialogue(tmp_path / "starred.pcap", text), AtPhase("dotreply", "drop"), mta="postfix")
    assert any("wait 10 s before the dot (delay_dotcrlf), and end in the same way" in note for note in told.notes)
    first, many = told.result.seconds, told.days.attempts
    assert told.days.slots == pytest.approx(first + (many - 1) * (first + 10), abs=1)


def test_masked_keywords_are_not_used() -> None:
    told = story(PCAPS / "pipelined.pcap", "mailguard:asa-8", mta="postfix", receiver="postfix")
    commands = said(told)
    if "EHLO mail.example.org" in commands:
        assert "mailguard.ehlo-param-masked" in told.altered
    assert told.result.fate == "delivered"


@pytest.mark.parametrize(
    ("mta", "line"),
    [
        ("exim", "a TLS session is required, but the server did not offer TLS support"),
        ("postfix", "TLS is required, but was not offered by host mx.example.net[203.0.113.25]"),
        ("sendmail", "encryption too weak 0 less than 1"),
        ("opensmtpd", "mta error reason="),
    ],
)
def test_lost_starttls(mta: str, line: str) -> None:
    """In clear text; where TLS is a must, not at all."""
    open_ = story(PCAPS / "starttls.pcap", "mailguard:pix-6", mta=mta)
    assert (open_.result.fate, "STARTTLS" in said(open_)) == ("delivered", False)
    assert any("another one of about its size" in note for note in open_.notes)
    must = story(PCAPS / "starttls.pcap", "mailguard:pix-6", mta=mta, require_tls=True)
    assert must.result.fate == "deferred"
    assert line in "\n".join(must.result.sender_log)
    assert not any(each.startswith("MAIL") for each in said(must))


def test_tls_that_is_not_lost_hides_the_mail() -> None:
    told = story(PCAPS / "starttls.pcap", "sonicwall", mta="exim", require_tls=True)
    assert "STARTTLS" in said(told)
    assert told.result.fate == "delivered"
    assert any("TLS" in note for note in told.notes)


AUTH = """S: 220 mx.example.net ESMTP
C: EHLO a.example
S: 250-mx.example.net
S: 250 AUTH PLAIN LOGIN
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: c2VjcmV0
S: 334 UGFzc3dvcmQ6
C: cGFzc3dvcmQ=
S: 235 ok
C: MAIL FROM:<a@b>
S: 250 ok
C: RCPT TO:<c@d>
S: 250 ok
C: DATA
S: 354 go
C: Subject: x
C:
C: .
S: 250 ok
C: QUIT
S: 221 bye"""


def test_auth_is_held_again_and_not_shown(tmp_path: Path) -> None:
    path = dialogue(tmp_path / "auth.pcap", AUTH)
    told = story(path, "sonicwall", mta="exim")
    assert "AUTH LOGIN" in said(told)
    assert told.result.fate == "delivered"
    assert "c2VjcmV0" not in str(told.record())
    recorded = simulate(Asked(str(path), AtPhase("dot", "drop"), mta="exim")).story
    assert recorded is not None
    assert "c2VjcmV0" not in str(recorded.record())
    assert "cGFzc3dvcmQ" not in str(recorded.record())


def test_lost_auth(tmp_path: Path) -> None:
    path = dialogue(tmp_path / "auth.pcap", AUTH)
    without = story(path, "mailguard:pix-6,banner=none", mta="exim")
    assert not any(each.startswith("AUTH") for each in said(without))
    must = story(path, "mailguard:pix-6,banner=none", mta="exim", require_auth=True)
    assert must.result.fate == "deferred"
    assert "authentication required but server did not advertise AUTH support" in must.result.sender_log[-1]


def test_552_bounces() -> None:
    told = story(PCAPS / "encrypted-zip.pcap", "sonicwall", mta="exim")
    assert (told.result.fate, told.result.broken, told.days.attempts) == ("bounced", "reply", 1)
    assert re.search(r" \*\* bob@example.net .*: 552 ", told.result.sender_log[-1])


def test_silence_is_tried_for_days() -> None:
    told = story(PCAPS / "subject-8bit.pcap", "stormshield", mta="exim")
    days = told.days
    assert (told.result.fate, told.result.gives_up_after, days.copies) == ("deferred", 4 * 86_400, 0)
    assert days.attempts == len(told.result.retries) + 1
    assert days.slots == pytest.approx(days.attempts * told.result.seconds)
    assert told.hit is not None
    assert told.hit.packet is None  # of no capture


def test_a_chunk_is_sent_where_chunks_are_offered(tmp_path: Path) -> None:
    client, server = tmp_path / "c.pcap", tmp_path / "s.pcap"
    told = story(PCAPS / "bdat.pcap", "sonicwall", write_client=str(client), write_server=str(server))
    assert "BDAT 417 LAST" in said(told)
    assert told.result.fate == "delivered"
    (sent,) = smtpinspect.transcript(PCAPS / "bdat.pcap")
    (again,) = smtpinspect.transcript(server)
    assert again["messages"][0]["sha256"] == sent["messages"][0]["sha256"]
    data = story(PCAPS / "bdat.pcap", "mailguard:pix-6", write_server=str(server))
    assert "DATA" in said(data)
    (plain,) = smtpinspect.transcript(server)
    assert plain["messages"][0]["sha256"] == sent["messages"][0]["sha256"]  # dots stuffed, and unstuffed


@pytest.mark.parametrize("mta", registry.SENDERS)
@pytest.mark.parametrize("name", ["clean-delivery", "pipelined", "packed-exe", "mime-attachment", "many-recipients"])
def test_the_mail_arrives_as_it_was(name: str, mta: str, tmp_path: Path) -> None:
    server = tmp_path / "s.pcap"
    told = story(PCAPS / f"{name}.pcap", "sonicwall,off=packed-exe", mta=mta, write_server=str(server))
    if told.result.broken != "none":
        pytest.skip("a rule of the product fires")
    (sent,) = smtpinspect.transcript(PCAPS / f"{name}.pcap")
    (again,) = smtpinspect.transcript(server)
    assert [each["sha256"] for each in again["messages"]] == [sent["messages"][0]["sha256"]]
    assert again["rcpt_to"] == [each.split(" ")[0] for each in sent["rcpt_to"]] or mta in ("exim", "postfix")


def test_a_refused_recipient_is_refused_again() -> None:
    told = story(PCAPS / "refused-recipient.pcap", "sonicwall", mta="postfix")
    assert told.result.fate == "bounced"
    assert "550" in told.result.sender_log[-1]
