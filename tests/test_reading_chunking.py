"""Exim with CHUNKING: what it logged when the laboratory broke the flow (4.96, `chunk-...` of tests/lab/rows.py)."""

from __future__ import annotations

import pytest

from kit import capture as captured
from kit.broken import GREETING, Connection, message
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.reading import read_line
from smtpinspect.report.headline import headline

HEAD = "2026-11-23 14:25:09 1xVUye-00000s-0N == u@example.net R=r1 T=remote_smtp defer "
PEER = "H=10.9.2.2 [10.9.2.2]:25"
TIMEOUT = "(110): Connection timed out {peer} DT={taken}: SMTP timeout after {what}"
CLOSED = "(-18) {peer} DT=0s: Remote host closed connection in response to {what}"
RESET = "(104): Connection reset by peer {peer} DT=0s: SMTP error from remote mail server after {what}"

# Where the capture of the sender's side shows the break, how, and what the log said: pipelined, small, large. With
# PIPELINING the text of a small mail, and the headers of a larger one, are in one segment with MAIL and RCPT.
RUNS = [
    ("databody", "drop", TIMEOUT, "7s", "end of data (2347 bytes written)"),
    ("dotreply", "drop", TIMEOUT, "7s", "end of data (2347 bytes written)"),
    ("databody", "rst", CLOSED, "", "end of data"),
    ("dotreply", "fin", CLOSED, "", "end of data"),
    ("mail", "drop", TIMEOUT, "5s", "pipelined end of data (2347 bytes written)"),
    ("dotreply", "drop", TIMEOUT, "7s", "pipelined end of data (2347 bytes written)"),
    ("mail", "rst", CLOSED, "", "pipelined end of data"),
    ("mail", "fin", CLOSED, "", "pipelined end of data"),
    ("dotreply", "rst", CLOSED, "", "pipelined end of data"),
    ("databody", "drop", TIMEOUT, "5s", "sending data block (331 bytes written)"),
    ("databody", "fin", CLOSED, "", "sending data block"),
    ("mail", "drop", TIMEOUT, "5s", "pipelined sending data block (331 bytes written)"),
    ("datamid", "drop", TIMEOUT, "5s", "pipelined sending data block (331 bytes written)"),
    ("mail", "rst", CLOSED, "", "pipelined sending data block"),
    ("datamid", "fin", CLOSED, "", "pipelined sending data block"),
    ("datamid", "drop", TIMEOUT, "7s", "end of data (101707 bytes written)"),
    ("datamid", "drop", TIMEOUT, "5s", "sending data block (172343 bytes written)"),
    ("datamid", "fin", TIMEOUT, "5s", "sending data block (123196 bytes written)"),
    ("datamid", "rst", CLOSED, "", "end of data"),
    ("datamid", "rst", RESET, "", "sending data block: 250 2.0.0 Ok"),
]


@pytest.mark.parametrize(("phase", "kind", "text", "taken", "what"), RUNS)
def test_the_interval_holds_what_the_capture_shows(phase: str, kind: str, text: str, taken: str, what: str) -> None:
    told = read_line(HEAD + text.format(peer=PEER, taken=taken, what=what))
    assert told is not None
    assert phase in told.phases
    assert kind in told.broken
    assert (told.fate, told.ip) == ("deferred", "10.9.2.2")


def test_a_good_reply_in_an_error_is_of_the_chunk_before_and_no_refusal() -> None:
    line = f"2026-11-23 14:24:59 1xVUyZ-00000s-1k {PEER}: SMTP error from remote mail server after sending data block: "
    told = read_line(f"{line}250 2.0.0 Ok: Connection reset by peer")
    assert told is not None
    assert (told.phases, told.broken, told.reply) == (("databody", "datamid"), ("rst", "fin"), "")
    assert "refused" not in {cause.cause for cause in told.causes}
    refused = read_line(f"{line}421 4.3.2 closing")
    assert refused is not None
    assert (refused.broken, refused.reply) == (("reply",), "421 4.3.2 closing")


def chunk(last: bytes) -> Connection:
    """One chunk, acknowledged and never answered."""
    made = Connection().open().say("S", GREETING, acked=True)
    for command, reply in (
        (b"EHLO out.example.org\r\n", b"250-mx.example.net\r\n250 CHUNKING\r\n"),
        (b"MAIL FROM:<alice@example.org>\r\n", b"250 Ok\r\n"), (b"RCPT TO:<bob@example.net>\r\n", b"250 Ok\r\n"),
    ):  # fmt: skip
        made.say("C", command, acked=True).say("S", reply, acked=True)
    text = message(400)
    made.say("C", b"BDAT %d%s\r\n" % (len(text), last) + text, acked=True)
    return made.wait(6).close("C", answered=False)


@pytest.mark.parametrize(("last", "phase"), [(b"", "datamid"), (b" LAST", "dotreply")], ids=["more to come", "last"])
def test_a_mail_of_which_a_chunk_is_still_to_come_has_not_been_delivered(last: bytes, phase: str) -> None:
    (case,) = diagnose(Asked(captured.frames(chunk(last).packets))).diagnosis.cases
    assert case.observed.phase == phase
    assert ("MAY HAVE BEEN DELIVERED" in str(headline(case))) == bool(last)
