"""Bounces of several servers, read to the phase; messages that are none; damaged ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from smtpinspect.diagnose import reading
from smtpinspect.diagnose.reading import month
from smtpinspect.diagnose.stored.check import check
from smtpinspect.engine import Engine
from smtpinspect.report import readings_page
from smtpinspect.report.terminal import Style


def dsn(human: str, status: str, *, head: str = "") -> bytes:
    return f"""\
Return-Path: <>
From: MAILER-DAEMON@out.example.org
To: a@example.org
{head}Date: Tue, 3 Mar 2026 10:10:02 +0100
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain; charset=utf-8

{human}
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; out.example.org
Arrival-Date: Tue, 3 Mar 2026 10:00:02 +0100

{status}
--b
Content-Type: message/rfc822

From: Anna <a@example.org>
Message-ID: <77@example.org>
Subject: hello

text
--b--
""".encode()


POSTFIX: Final = dsn(
    """\
This is the mail system at host out.example.org.

<u@example.net>: conversation with mx.example.net[192.0.2.1] timed out while
    sending end of data -- message may be sent more than once""",
    """\
Final-Recipient: rfc822; u@example.net
Action: failed
Status: 4.4.2
Diagnostic-Code: X-Postfix; conversation with mx.example.net[192.0.2.1] timed
    out while sending end of data -- message may be sent more than once""",
)
POSTFIX_REPLY: Final = dsn(
    """\
This is the mail system at host out.example.org.

<u@example.net>: host mx.example.net[192.0.2.1] said: 552 5.7.0 no macros here (in
    reply to end of DATA command)""",
    """\
Final-Recipient: rfc822; u@example.net
Action: failed
Status: 5.7.0
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 552 5.7.0 no macros here""",
)
EXIM: Final = dsn(
    """\
This message was created automatically by mail delivery software.

  u@example.net
    host mx.example.net [192.0.2.1]
    SMTP timeout after sending data block (81890 bytes written):
    retry timeout exceeded""",
    """\
Action: failed
Final-Recipient: rfc822;u@example.net
Status: 5.0.0
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; SMTP timeout after sending data block (81890 bytes written): retry timeout exceeded""",
    head="X-Failed-Recipients: u@example.net\n",
)
EXCHANGE: Final = dsn(
    "Your message couldn't be delivered. Microsoft Exchange",
    """\
Final-Recipient: rfc822;u@example.net
Action: failed
Status: 5.4.316
Diagnostic-Code: smtp;550 5.4.316 Message expired, connection refused(Socket error code 10061)""",
)
QMAIL: Final = b"""\
Return-Path: <>
From: MAILER-DAEMON@out.example.org
To: a@example.org
Date: 3 Mar 2026 10:10:02 -0000
Subject: failure notice

Hi. This is the qmail-send program at out.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.

<u@example.net>:
Connected to 192.0.2.1 but connection died. Possible duplicate! (#4.4.2)
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.
"""
ALL: Final = {"postfix": POSTFIX, "reply": POSTFIX_REPLY, "exim": EXIM, "exchange": EXCHANGE, "qmail": QMAIL}


@pytest.mark.parametrize(
    ("name", "mta", "phases", "broken"),
    [
        ("postfix", "postfix", "databody datamid dot dotreply", ("drop",)),
        ("reply", "postfix", "dot dotreply", ("reply",)),
        ("exim", "exim", "databody datamid", ("drop", "fin")),
        ("exchange", "exchange", "connect", ("rst",)),
        ("qmail", "qmail", "databody datamid dot dotreply", ("drop", "rst", "fin")),
    ],
)
def test_a_bounce_tells_the_phase(name: str, mta: str, phases: str, broken: tuple[str, ...]) -> None:
    (told,) = reading.read_bounce(ALL[name])
    assert (told.mta, told.phases, told.broken) == (mta, tuple(phases.split()), broken)
    assert (told.fate, told.recipient) == ("bounced", "u@example.net")
    assert told.when is not None
    if name != "qmail":
        assert (told.message_id, told.sender) == ("77@example.org", "a@example.org")
        assert "<77@example.org>" in " ".join(told.ask) or not told.phases or "dot" not in told.phases


def test_a_bounce_in_a_file_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(POSTFIX)
    (told,) = reading.read_file(path)
    assert told == reading.read_bounce(POSTFIX, str(path))[0]
    assert told.commands[0] == f"smtpinspect check {path}"


def test_a_mail_that_was_returned_is_in_no_queue() -> None:
    (told,) = reading.read_bounce(POSTFIX.replace(b"Arrival-Date", b"X-Postfix-Queue-ID: C5D4F21C4AE\nArrival-Date"))
    assert told.queue_id == "C5D4F21C4AE"
    words = "\n".join(told.commands)
    assert "postqueue" not in words and "send the mail once more" in words and "tcpdump" in words
    page = "\n".join(readings_page.page([told], month.of([told]), 80, Style(False)))
    assert "C5D4F21C4AE" in page and "RETURNED, YET MAY HAVE BEEN DELIVERED" in page and "retries" not in page


def test_check_looks_at_the_mail_that_came_back(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    raw = "Subject: R\u00e9union".encode()
    for part in (b"message/rfc822", b"text/rfc822-headers; charset=us-ascii"):
        octets = POSTFIX.replace(b"message/rfc822", part).replace(b"Subject: hello", raw)
        path.write_bytes(octets)
        (checked,) = check([str(path)], Engine(["stormshield:high"]))
        assert checked.stored.returned
        assert {(each.alert.rule, each.line) for each in checked.fired} == {
            ("stormshield.smtp-231", octets[: octets.index(raw)].count(b"\n") + 1)
        }
    path.write_bytes(b"Subject: x\nFrom: a@example.org\n\n--b\nContent-Type: message/rfc822\n\nSubject: \xff\n\n")
    (checked,) = check([str(path)], Engine(["stormshield:high"]))
    assert not checked.stored.returned and not checked.fired


def test_a_delayed_mail_is_not_lost_yet() -> None:
    (told,) = reading.read_bounce(POSTFIX.replace(b"Action: failed", b"Action: delayed"))
    assert told.fate == "deferred" and told.tries


def test_bounces_are_recognised_and_other_mail_is_not() -> None:
    assert all(reading.recognise(message) for message in ALL.values())
    mail = b"From: a@example.org\r\nSubject: SMTP timeout after end of data\r\n\r\nSMTP timeout after DATA\r\n"
    assert not reading.recognise(mail) and not reading.read_bounce(mail)
    others = (b"", b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", b"GIF89a", b"hello\nworld\n", b"Nov 22 11:00:00 h sshd[1]: x\n")
    for head in others:
        assert not reading.recognise(head)
        assert reading.read_bounce(head) == []


@pytest.mark.parametrize("name", ALL)
def test_damaged_bounces_never_raise(name: str) -> None:
    rng = random.Random(name)
    for _ in range(60):
        octets = bytearray(ALL[name])
        for _ in range(rng.randrange(1, 30)):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        cut = bytes(octets[: rng.randrange(len(octets))])
        reading.read_bounce(cut)
        reading.recognise(cut)


GMAIL: Final = "The recipient server did not accept our requests to connect. Learn more at https://example.com/7720 "


@pytest.mark.parametrize(
    ("where", "phases", "broken", "peer"),
    [
        ("[mx.example.net 203.0.113.9: timed out]", "connect greeting", ("drop",), "mx.example.net 203.0.113.9"),
        ("[mx.example.net. 2001:db8::1: timed out]", "connect greeting", ("drop",), "mx.example.net 2001:db8::1"),
        ("[(0) mx.example.net. [203.0.113.9]:25: Connection timed out]", "connect greeting", ("drop",),
         "mx.example.net 203.0.113.9"),
        ("[mx.example.net (1): Connection dropped]", "connect greeting", ("rst", "fin"), "mx.example.net "),
        ("[mx.example.net. 203.0.113.9: unable to read banner]", "greeting", ("drop", "rst", "fin"),
         "mx.example.net 203.0.113.9"),
        ("[mx.example.net. 203.0.113.9: FAILED_PRECONDITION: connect error (111): Connection refused]", "connect",
         ("rst",), "mx.example.net 203.0.113.9"),
        ("", "connect greeting", ("drop", "rst", "fin"), " "),
    ],
)  # fmt: skip
def test_gmail_names_the_host_and_the_error(where: str, phases: str, broken: tuple[str, ...], peer: str) -> None:
    made = dsn(f"There was a problem.\n\nThe response was:\n{GMAIL}\n{where}", f"""\
Final-Recipient: rfc822; u@example.net
Action: failed
Status: 4.4.1
Diagnostic-Code: smtp; {GMAIL}
 {where}""")
    (told,) = reading.read_bounce(made)
    assert (" ".join(told.phases), told.broken, f"{told.host} {told.ip}") == (phases, broken, peer)
    assert (told.recipient, told.fate, told.mta) == ("u@example.net", "bounced", "")
