"""Any octets give facts: seeded captures of chance, a few of every target in fuzz/; --deep for many."""

from __future__ import annotations

import time
from random import Random

import pytest

import smtpinspect
from fuzz.checks import PROFILES, check
from fuzz.targets import TARGETS, capture_from, mailed, written
from kit import capture, wire
from kit.dialogue import DELIVERY, Turn, parse
from kit.segment import ACK, PSH, SYN, Segment
from running import frames

FEW = 12  # captures of each target
DEEP = 600
KEYWORDS = ("mailguard:asa-8",)


@pytest.mark.parametrize("name", TARGETS)
def test_captures_of_chance(name: str, request: pytest.FixtureRequest) -> None:
    """What must hold of every capture holds of these; a failure names its seed."""
    deep = bool(request.config.getoption("--deep"))
    first = time.time_ns() // 1_000_000 if deep else 0
    for seed in range(first, first + (DEEP if deep else FEW)):
        source = capture_from(name, seed)
        try:
            # one profile after the other; all of them when there is time
            check(source, PROFILES if deep else (PROFILES[seed % len(PROFILES)],))
        except Exception as error:
            error.add_note(f"python -m fuzz {name} --seed {seed}")
            raise


# --- what the fuzzing and a review by eye have found once ------------------------------------------------


def test_keywords_behind_a_lost_command() -> None:
    """An EHLO reply goes on when no command waits any more, because the client's octets have a hole."""
    turns = [Turn("S", b"220 mx\r\n"), Turn("C", b"EHLO a\r\n"), Turn("S", b"250-mx\r\n")]
    segments = wire.build(turns, step=0.5, close="none")
    last = segments[-1]
    client = last.ack + 10  # ten octets of the client are missing
    late = [last.but(direction="C", seq=client, ack=last.seq + 8, payload=b"garbage\r\n", time=last.time + 1)]
    for i in range(8):
        late.append(last.but(seq=last.seq + 8, ack=client + 9, payload=b"", flags=ACK, time=last.time + 2 + i))
    late.append(last.but(seq=last.seq + 8, ack=client + 9, payload=b"250-SIZE 10\r\n250 X\r\n", time=last.time + 11))
    source = written([*segments, *late])
    check(source, (KEYWORDS,))


def test_a_reply_that_comes_late_loses_nothing() -> None:
    """Picked up mid-stream: the server's first octets come while client octets wait behind a hole."""
    pieces = [b"NOOP\r\n"] * 12 + [b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n"]
    segments, at = [], 1000
    for i, octets in enumerate(pieces):
        segments.append(Segment("C", at, 5000, ACK | PSH, octets, wire.START + i * 0.02))
        at += len(octets)
    server = Segment("S", 5000, 1000, ACK | PSH, b"250 ok\r\n" * 12, wire.START + 1)
    hole = segments.pop(-2)
    segments += [server, hole.but(time=wire.START + 1.1)]
    (mail,) = smtpinspect.replay(frames(segments), inspectors=[]).mails
    assert (mail.mail_from, mail.rcpt_to) == ("a@b.example", ["c@d.example"])


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize("size", [1, 5, 3000])
def test_a_syn_with_octets_ends(flags: int, size: int) -> None:
    """One frame, and nothing behind it."""
    lone = Segment("C", 1000, 0, flags, b"x" * size, wire.START)
    check(written([lone]), (KEYWORDS,))
    check(written([lone, lone.but(direction="S", seq=7)]), (KEYWORDS,))


def test_a_frame_that_says_four_gigabytes() -> None:
    """An IP length of 0 means the frame's own, which a file may say is anything: no time goes into it."""
    segments = wire.build(parse(DELIVERY), close="none")
    items = capture.records(wire.packets(segments))
    big = bytearray(items[-1].frame)
    big[16:18] = b"\0\0"
    items += [capture.Record(items[-1].time + i, bytes(big), 0xF0000000) for i in range(1, 9)]
    began = time.perf_counter()
    check(capture.pcap(items), (KEYWORDS,))
    assert time.perf_counter() - began < 20  # 8 x 4 GiB of zeros would take minutes


@pytest.mark.parametrize(
    "field",
    [
        b"Subject: =?utf-8?b?a?=",
        b"Subject: =?a\0b?q?x?=",
        b"Subject: =?idna?q?x?=",
        b"Subject: =?undefined?q?x?=",
        b"Content-Disposition: attachment; filename*=a\0b''x",
        b"Content-Disposition: attachment; filename*=undefined''x",
        b"Content-Disposition: attachment; filename*0*=idna''%ff; filename*1=y",
        b"Content-Type: multipart/mixed; boundary*=undefined''%41",
        b"Content-Type: text/plain; name*0=a; name*=b; name*x=c",
    ],
)
def test_hostile_fields_have_a_transcript(field: bytes) -> None:
    """Charsets and encodings that the standard library raises for."""
    turns = [Turn("S", b"220 mx\r\n"), Turn("C", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")]
    turns += [Turn("S", b"250 ok\r\n250 ok\r\n354 go\r\n"), Turn("C", field + b"\r\n\r\nx\r\n.\r\n")]
    (talk,) = smtpinspect.transcript(frames(wire.build([*turns, Turn("S", b"250 ok\r\n")])))
    assert talk["messages"][0]["final_reply"] == 250


def test_a_recipient_behind_the_end_of_data_belongs_to_no_mail() -> None:
    """The mail is over, though its reply has not come."""
    octets = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 6 LAST\r\nA: b\r\nRCPT TO:<late@d>\r\n"
    turns = [Turn("S", b"220 mx\r\n"), Turn("C", octets), Turn("S", b"250 ok\r\n" * 3 + b"503 no\r\n")]
    (mail,) = smtpinspect.replay(frames(wire.build(turns)), inspectors=[]).mails
    assert mail.rcpt_to == ["c@d"]


def test_mails_without_replies() -> None:
    """Many mails that end at once, with alerts each."""
    octets = b"MAIL FROM:<a@b>\r\nRCPT TO:<c|x@d>\r\nBDAT 9 LAST\r\nA: \xff\r\n\r\nx" * 700
    source = written(wire.build([Turn("S", b"220 mx\r\n"), Turn("C", octets)]))
    check(source, (PROFILES[0],), talks=False)


def test_the_last_address_behind_a_backslash() -> None:
    """A quoted string that ends in a backslash takes nothing with it: EVE has the address that Python has."""
    check(written(wire.build(mailed(Random(1), b'To: "c\\\r\nSubject: x\r\n\r\ny'))), (KEYWORDS,))
