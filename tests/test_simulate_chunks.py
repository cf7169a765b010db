"""Exim with CHUNKING sends a mail again: what it logs of a break is what it logged in the laboratory (4.96)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit import capture, wire
from kit.dialogue import parse
from smtpinspect import cli
from smtpinspect.diagnose.reading import read_line
from smtpinspect.enforce.at import AtPhase, Kind, Phase
from smtpinspect.simulate.captures import Asked, simulate

HEAD = "From: <alice@example.org>\r\nTo: <bob@example.net>\r\nMessage-Id: <one@example.org>\r\n\r\n"
SMALL, LARGE = 2_000, 9_000  # octets of a body that goes with its header, and of one that does not
DROP = "mailguard:asa-8,match=sender-address length gt 3 -> drop-connection"
RESET = "mailguard:asa-8,match=sender-address length gt 3 -> reset"


def capture_of(folder: Path, octets: int, *, pipelining: bool) -> Path:
    """A mail that was taken, by BDAT."""
    text = HEAD + ("x" * 70 + "\r\n") * (octets // 72)
    keywords = ("PIPELINING", "CHUNKING") if pipelining else ("CHUNKING",)
    offered = [f"S: 250{'-' if n < len(keywords) else ' '}{word}" for n, word in enumerate(("mx", *keywords))]
    lines = [
        "S: 220 mx.example.net ESMTP", "C: EHLO out.example.org", *offered, "C: MAIL FROM:<alice@example.org>",
        "S: 250 ok", "C: RCPT TO:<bob@example.net>", "S: 250 ok", f"C: BDAT {len(text)} LAST",
        *(f"C: {line}" for line in text.split("\r\n")[:-1]), "S: 250 2.0.0 queued as 4F2A", "C: QUIT", "S: 221 bye",
    ]  # fmt: skip
    path = folder / "bdat.pcap"
    path.write_bytes(capture.pcap(capture.records(wire.packets(wire.build(parse("\n".join(lines) + "\n"))))))
    return path


def told(path: Path, box: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], float]:
    """Exim's log, and the seconds of the attempt."""
    words = ["simulate", str(path), "-i", box, "--mta", "exim", "--re-enact", "--format", "json"]
    assert cli.main([*words, "--timeouts", "connect=5,command=5,data=5,final=7"]) == 0
    made = json.loads(capsys.readouterr().out)
    return made["sender_log"], made["seconds"]


@pytest.mark.parametrize(
    ("octets", "pipelining", "box", "said"),
    [
        (SMALL, True, DROP, "SMTP timeout after pipelined end of data ("),
        (LARGE, True, DROP, f"SMTP timeout after pipelined sending data block ({len(HEAD)} bytes written)"),
        (SMALL, True, RESET, "Remote host closed connection in response to pipelined end of data"),
        (LARGE, True, RESET, "Remote host closed connection in response to pipelined sending data block"),
        (SMALL, False, DROP, "SMTP timeout after MAIL FROM:<alice@example.org>"),
        (LARGE, False, RESET, "Remote host closed connection in response to MAIL FROM:<alice@example.org>"),
    ],
)
def test_a_break_at_mail_is_named_after_the_text_that_shares_its_segment(
    octets: int, pipelining: bool, box: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, seconds = told(capture_of(tmp_path, octets, pipelining=pipelining), box, capsys)
    assert said in log[-1]
    assert seconds < 6  # the time-out is that of a command
    reading = read_line(log[-1])
    assert reading is not None
    assert "mail" in reading.phases


WRITTEN = "({} bytes written)"


# As `chunk-...` of tests/lab/rows.py went: where it breaks, and what was logged, after how many seconds.
@pytest.mark.parametrize(
    ("phase", "kind", "octets", "pipelining", "said", "seconds"),
    [
        ("datacmd", "drop", SMALL, False, "SMTP timeout after end of data", 7),
        ("datacmd", "drop", LARGE, False, f"SMTP timeout after sending data block {WRITTEN.format(len(HEAD))}", 5),
        ("datacmd", "fin", LARGE, False, "Remote host closed connection in response to sending data block", 0),
        ("dotreply", "drop", SMALL, True, "SMTP timeout after pipelined end of data", 7),
        ("dotreply", "rst", SMALL, True, "Remote host closed connection in response to pipelined end of data", 0),
        ("dotreply", "drop", LARGE, True, "SMTP timeout after pipelined sending data block", 5),
        ("dotreply", "drop", LARGE, False, f"SMTP timeout after sending data block {WRITTEN.format(len(HEAD))}", 5),
        ("datamid", "drop", LARGE, True, f"SMTP timeout after end of data {WRITTEN.format(len(HEAD) + LARGE)}", 7),
        ("datamid", "rst", LARGE, False, "Remote host closed connection in response to end of data", 0),
    ],
)
def test_each_end_of_a_chunk_has_its_words(
    phase: Phase, kind: Kind, octets: int, pipelining: bool, said: str, seconds: int, tmp_path: Path
) -> None:
    path = capture_of(tmp_path, octets, pipelining=pipelining)
    shorter = {"connect": 5.0, "command": 5.0, "data": 5.0, "final": 7.0}
    box = AtPhase(phase, kind, 5_000)
    story = simulate(Asked(str(path), box, mta="exim", re_enact=True, timeouts=shorter)).story
    assert story is not None
    line = story.result.sender_log[-1]
    assert f": {said}" in line
    assert f" DT={seconds}s" in line


@pytest.mark.parametrize(("octets", "chunks"), [(SMALL, 1), (LARGE, 2)])
def test_a_large_text_sends_its_header_first(
    octets: int, chunks: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = capture_of(tmp_path, octets, pipelining=True)
    words = ["simulate", str(path), "-i", "sonicwall", "--mta", "exim", "--re-enact"]
    assert cli.main(words) == 0
    page = capsys.readouterr().out
    assert page.count("BDAT ") == chunks
    log, _ = told(path, "sonicwall", capsys)
    assert " K C=" in log[-1]
