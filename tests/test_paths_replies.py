"""Two points show that it is the reply that was lost: what the client had said was there, acknowledged before the box
or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import capture
from kit.broken import Connection
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.report import diagnose_words as words
from smtpinspect.report.headline import headline

TEXT = b"Subject: R\xe9union\r\nFrom: <alice@example.org>\r\n\r\nHi\r\n.\r\n"


def answered(reply: bytes) -> tuple[Connection, Connection]:
    """At the sender the text is sent again and again; at the server it came, and was answered, the acknowledgement with
    the reply."""
    outside = Connection().cut(TEXT)
    inside = Connection(ttl=64, client_ttl=57).envelope().say("C", TEXT)
    at = inside.sent["S"]
    inside.say("S", reply, arrives=False)
    for n in range(5):
        inside.wait(0.4 * 2**n).again("S", at, len(reply))
    return outside, inside


def case_of(folder: Path, reply: bytes) -> Case:
    paths = folder / "outside.pcap", folder / "inside.pcap"
    for path, made in zip(paths, answered(reply), strict=True):
        path.write_bytes(capture.pcap(capture.records(made.packets)))
    given = tuple(Point(path.stem, str(path)) for path in paths)
    (case,) = diagnose(Asked(str(paths[0]), points=given)).diagnosis.cases
    return case


def test_the_place_is_the_reply_and_the_mail_may_have_arrived(tmp_path: Path) -> None:
    case = case_of(tmp_path, b"250 2.0.0 Ok: queued as DEAD\r\n")
    assert (case.observed.phase, case.observed.stage) == ("dotreply", "after-end-of-data")
    assert "MAY HAVE BEEN DELIVERED" in str(headline(case))
    assert any("never reached outside" in each for each in words.proved(case))


def test_no_rule_about_the_text_that_came_through_is_a_cause(tmp_path: Path) -> None:
    case = case_of(tmp_path, b"250 2.0.0 Ok: queued as DEAD\r\n")
    assert not any(cause.alert is not None and cause.alert.direction == "client" for cause in case.causes)
    assert "server-gone" in {each.cause for each in case.against}
    assert list(words.what_if(case)) == []


@pytest.mark.parametrize("reply", [b"451 4.3.0 queue error\r\n", b"554 5.7.1 no\r\n"])
def test_what_the_server_refused_has_not_been_delivered(tmp_path: Path, reply: bytes) -> None:
    case = case_of(tmp_path, reply)
    assert case.observed.phase == "dotreply"
    assert str(headline(case)) == "NOT DELIVERED: cut between inside and outside, at the reply to the final dot"
