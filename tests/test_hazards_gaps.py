"""Hazards of TCP (T), second half: holes, one direction, life cycle; and memory (M)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import running
import smtpinspect
from hazards import hazard
from kit import mutate, wire
from kit.dialogue import DELIVERY, Turn, parse, stream
from kit.segment import ACK, PSH, SYN, Segment

TURNS = parse(DELIVERY)
SEGMENTS = wire.build(TURNS)
CLIENT, SERVER = stream(TURNS, "C"), stream(TURNS, "S")


def index(text: bytes) -> int:
    return next(i for i, s in enumerate(SEGMENTS) if s.payload.startswith(text))


def verbs(transcript: dict[str, Any]) -> list[str]:
    return [c["verb"] for c in transcript["commands"]]


@hazard("T-40")
@pytest.mark.parametrize("side", ["C", "S"])
def test_gap_sweep(side: str) -> None:
    """Each segment missing in turn: the hole is said, the rest is read, and no new rule fires."""
    whole = running.replay(SEGMENTS, ["mailguard", "stormshield"])
    known = set(running.rules(whole))
    for i, s in enumerate(SEGMENTS):
        # A hole at the end of a stream has nothing behind it.
        if not s.payload or s.direction != side or s.payload.startswith((b"QUIT", b"221")):
            continue
        segments = mutate.dropped(SEGMENTS, lambda n, _, i=i: n == i)  # type: ignore[misc]
        got = running.transcript(segments)
        name = {"C": "client", "S": "server"}[side]
        (gap,) = got["gaps"]
        assert (gap["direction"], gap["length"]) == (name, len(s.payload))
        assert got[f"{name}_bytes"] == len(CLIENT if side == "C" else SERVER)
        result = running.replay(segments, ["mailguard", "stormshield"])
        assert "gap" in running.doubts(result)
        assert set(running.rules(result)) <= known, f"without {s.payload[:30]!r}"


@hazard("T-40")
def test_gap_in_the_text() -> None:
    """The mail goes on behind it, and its part is not whole."""
    at = CLIENT.index(b"How are you?")
    segments = mutate.without(SEGMENTS, "C", at, at + 5)
    got = running.transcript(segments)
    assert got["gaps"] == [{"direction": "client", "offset": at, "length": 5}]
    assert got["messages"][0]["bytes_wire"] == running.transcript(SEGMENTS)["messages"][0]["bytes_wire"]
    (mail,) = running.replay(segments).mails
    assert (mail.outcome, mail.reply) == ("accepted", 250)
    assert "gap" in mail.confidence


@hazard("T-40")
def test_gap_of_one_octet_counts_as_nothing() -> None:
    at = CLIENT.index(b"How are you?")
    got = running.transcript(mutate.without(SEGMENTS, "C", at, at + 1))
    assert got["client_bytes"] == len(CLIENT) - 1
    assert got["gaps"] == [{"direction": "client", "offset": at, "length": 1}]


@hazard("T-41")
def test_gap_over_the_354() -> None:
    """The text that follows shows that there was one."""
    got = running.transcript(mutate.dropped(SEGMENTS, lambda _, s: s.payload.startswith(b"354")))
    assert "FROM:" not in verbs(got)
    (mail,) = running.replay(mutate.dropped(SEGMENTS, lambda _, s: s.payload.startswith(b"354"))).mails
    assert mail.outcome in ("accepted", "unknown")


@hazard("T-41")
def test_gap_over_the_end_mark() -> None:
    at = CLIENT.index(b"\r\n.\r\n")
    segments = mutate.without(SEGMENTS, "C", at, at + 5)
    (mail,) = running.replay(segments).mails
    assert mail.outcome in ("accepted", "unknown")
    assert "gap" in mail.confidence


STARTTLS = r"""
S: 220 mx.example
C: EHLO a.example
S: 250-mx.example
S: 250 STARTTLS
C: STARTTLS
S: 220 go ahead
C: \x16\x03\x01\x00\x05hello\x17\x03\x03\c
S: \x16\x03\x01\x00\x05there\c
"""


@hazard("T-41")
def test_gap_over_starttls() -> None:
    """TLS records are no commands, whatever is missing before them."""
    segments = wire.build(parse(STARTTLS))
    for missing in (b"STARTTLS", b"220 go"):
        got = running.transcript(mutate.dropped(segments, lambda _, s, m=missing: s.payload.startswith(m)))  # type: ignore[misc]
        assert not [v for v in verbs(got) if v.startswith("\x16")]


CHUNKS = """
S: 220 mx.example
C: EHLO a.example
S: 250 CHUNKING
C: MAIL FROM:<a@a.example>
S: 250 ok
C: RCPT TO:<b@mx.example>
S: 250 ok
C: BDAT 30
C: {0123456789*2}abcdefgh
--
S: 250 ok
C: BDAT 8 LAST
C: abcdef
S: 250 ok
C: QUIT
S: 221 bye
"""


@hazard("T-41")
def test_gap_inside_a_chunk() -> None:
    """The sequence numbers tell how much of it remains."""
    turns = parse(CHUNKS)
    segments = wire.build(turns)
    at = stream(turns, "C").index(b"0123")
    got = running.transcript(mutate.without(segments, "C", at + 3, at + 9))
    assert [(m["bytes_wire"], m["terminated"]) for m in got["messages"]] == [(38, True)]
    assert verbs(got)[-3:] == ["BDAT", "BDAT", "QUIT"]


@hazard("T-42")
def test_late_retransmission_is_no_gap() -> None:
    """Lost behind the capture point's back, sent again 30 seconds later; nobody acknowledged past it."""
    narrow = wire.build(TURNS, mss=20)
    at = CLIENT.index(b"How are you?")
    i = mutate.holding(narrow, "C", at)
    end = next(n for n in range(i, len(narrow)) if narrow[n].direction == "S")
    later = [s.but(time=s.time + 30) for s in (narrow[i], *narrow[end:])]
    assert running.transcript([*narrow[:i], *narrow[i + 1 : end], *later]) == running.transcript(SEGMENTS)


@hazard("T-43")
@pytest.mark.parametrize("only", ["C", "S"])
def test_one_direction(only: Any) -> None:
    segments = wire.build(TURNS, only=only)
    got = running.transcript(segments)
    result = running.replay(segments)
    assert "one-direction" in running.doubts(result)
    if only == "C":
        assert verbs(got) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert got["messages"][0]["terminated"]
        (mail,) = result.mails
        assert mail.outcome == "unknown"
    else:
        assert got["reply_codes"] == [220, 250, 250, 250, 354, 250, 221]
        assert got["commands"] == []


@hazard("T-44")
def test_every_mid_stream_start() -> None:
    """The first segments missing, for every number of them: no rule fires that did not before."""
    known = set(running.rules(running.replay(SEGMENTS, ["mailguard", "stormshield"])))
    expected = running.transcript(SEGMENTS)
    for n in range(3, len(SEGMENTS) - 3):
        (got,) = smtpinspect.transcript(running.frames(SEGMENTS[n:])) or [{"commands": []}]
        text = {c["verb"] for c in got["commands"]}
        assert text <= {c["verb"] for c in expected["commands"]}, f"from segment {n}"
        result = running.replay(SEGMENTS[n:], ["mailguard", "stormshield"])
        assert set(running.rules(result)) <= known, f"from segment {n}"
        if result.flows:
            assert "mid-stream" in running.doubts(result)


@hazard("T-44")
def test_mid_stream_in_every_octet_of_the_text() -> None:
    """Nor does a half line of the text count as a command."""
    start = CLIENT.index(b"From:")
    known = set(running.rules(running.replay(SEGMENTS, ["mailguard", "stormshield"])))
    i = index(b"From")
    for cut in range(1, len(SEGMENTS[i].payload) - 5):
        piece = mutate.split(SEGMENTS[i], [cut])[1]
        result = running.replay([piece, *SEGMENTS[i + 1 :]], ["mailguard", "stormshield"])
        assert set(running.rules(result)) <= known, f"from offset {start + cut}"


@hazard("T-32")
@pytest.mark.parametrize("first", [1, 3, 4])
def test_without_the_syn(first: int) -> None:
    """SYN/ACK first, then the greeting, then a command: the roles are right."""
    got = running.transcript(SEGMENTS[first:])
    assert (got["client"], got["server"]) == wire.V4.names()
    assert verbs(got) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    other = wire.Ends(server_port=26)
    if first < 4:
        got = running.transcript(SEGMENTS[first:], other)
        assert (got["client"], got["server"]) == other.names()


@hazard("T-45")
@pytest.mark.parametrize("pause", [0.001, 120.0])
@pytest.mark.parametrize("close", ["fin", "rst", "none"])
def test_the_same_ports_again(pause: float, close: wire.Close) -> None:
    first = wire.build(TURNS, close=close)
    later = first[-1].time + pause
    second = wire.build(TURNS, client_isn=90_000_000, server_isn=3_000_000_000, start=later)
    got = smtpinspect.transcript(running.frames([*first, *second]))
    assert got == [running.transcript(SEGMENTS)] * 2


@hazard("T-46")
def test_half_close() -> None:
    """The client's FIN comes with its last octets; the server still answers."""
    text = index(b"From")
    sent = SEGMENTS[text]
    fin = sent.but(flags=sent.flags | 1)
    reply = SEGMENTS[text + 1].but(ack=SEGMENTS[text + 1].ack + 1)
    (mail,) = running.replay([*SEGMENTS[:text], fin, reply]).mails
    assert (mail.outcome, mail.reply) == ("accepted", 250)


@hazard("T-47", "S-28")
def test_nine_minutes_for_the_reply_to_the_dot() -> None:
    text = DELIVERY.replace("S: 250 2.0.0 Ok: queued as 1", "-- 540\nS: 250 2.0.0 Ok: queued as 1")
    result = running.replay_text(text)
    (mail,) = result.mails
    assert (mail.outcome, mail.reply) == ("accepted", 250)
    assert len(result.flows) == 1


@hazard("T-48", "S-26")
def test_silent_drop() -> None:
    """The client sends its text again and again; nothing comes back."""
    i = index(b"From")
    again = [SEGMENTS[i].but(time=SEGMENTS[i].time + 2**n) for n in range(8)]
    (mail,) = running.replay([*SEGMENTS[: i + 1], *again]).mails
    assert mail.outcome in ("stalled", "unknown")
    assert mail.reply is None
    assert mail.stage in ("after-end-of-data", "after-sending-data-block")


@hazard("T-49")
def test_no_depth() -> None:
    """4 MB of text: the part behind the depth that other engines stop at is read."""
    turns = parse(DELIVERY.replace("How are you?", "{a line of seventy octets\\r\\n*160000}"))
    got = running.transcript(wire.build(turns, mss=60_000))
    assert got["messages"][0]["terminated"]
    assert got["messages"][0]["bytes_wire"] > 4_000_000
    assert got["messages"][0]["final_reply"] == 250


# --- memory


@hazard("M-01", "M-02")
def test_many_connections_beside_one() -> None:
    """20,000 SYNs and as many with one octet: the mail between them is whole."""
    frames = running.frames(SEGMENTS)
    flood = []
    for n in range(20_000):
        ends = wire.Ends(client=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
        flood += running.frames([Segment("C", n, 0, SYN, time=wire.START)], ends)
        if n % 10 == 0:
            flood += running.frames([Segment("C", n + 1, 1, ACK | PSH, b"E", wire.START)], ends)
    result = smtpinspect.replay([*frames[:8], *flood, *frames[8:]], inspectors=[])
    (mail,) = result.mails
    assert mail.outcome == "accepted"


@hazard("M-03", "M-04")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_hole_before_much(reverse: bool) -> None:
    """The first octet of 2 MB is missing; in order, or in small pieces from behind."""
    turns = parse(DELIVERY.replace("How are you?", "{a line of seventy octets\\r\\n*80000}"))
    segments = wire.build(turns, mss=200 if reverse else 1460)
    at = stream(turns, "C").index(b"a line")
    i = mutate.holding(segments, "C", at)
    end = next(n for n in range(i, len(segments)) if segments[n].direction == "S")
    text = segments[i + 1 : end]
    arrived = [*segments[:i], *(text[::-1] if reverse else text), *segments[end:]]
    (got,) = smtpinspect.transcript(running.frames(arrived))
    assert got["commands"][-1]["verb"] == "QUIT"
    assert got["gaps"][0]["direction"] == "client"


LONG = {
    "M-05 a line without an end": "C: MAIL FROM:<{a*2000000}>\nS: 500 line too long",
    "M-06 commands without replies": "C: {NOOP\\r\\n*20000}NOOP\nS: {250 ok\\r\\n*20000}250 ok",
    "M-07 mails without text": "C: {MAIL FROM:<a@b>\\r\\nRSET\\r\\n*3000}NOOP\nS: {250 ok\\r\\n*6000}250 ok",
    "S-06 a reply of many lines": "C: HELP\nS: {214-more\\r\\n*5000}214 done",
}


@hazard("M-05", "M-06", "M-07", "S-06")
@pytest.mark.parametrize("name", LONG)
def test_long_dialogues(name: str) -> None:
    """Bounded, and what follows is read as if nothing had been."""
    text = DELIVERY.replace("C: MAIL", f"{LONG[name]}\nC: MAIL")
    turns = parse(text)
    segments = wire.build(turns)
    got = running.transcript(segments)
    assert verbs(got)[-4:] == ["MAIL", "RCPT", "DATA", "QUIT"]
    assert [c["reply"] for c in got["commands"][-4:]] == [250, 250, 354, 221]
    assert got["messages"][0]["final_reply"] == 250
    assert running.replay(segments, ["mailguard", "stormshield"]).mails[-1].outcome == "accepted"


@hazard("M-06")
def test_commands_that_nobody_answers() -> None:
    turns = [Turn("S", b"220 mx\r\n"), Turn("C", b"NOOP\r\n" * 100_000)]
    got = running.transcript(wire.build(turns))
    assert len(got["commands"]) > 0
    assert got["commands"][0]["reply"] is None


@hazard("M-08")
def test_many_recipients() -> None:
    text = DELIVERY.replace("C: RCPT TO:<bob@mx.example>", "C: {RCPT TO:<b@mx.example>\\r\\n*5000}NOOP")
    turns = parse(text.replace("S: 250 2.1.5 Ok", "S: {250 2.1.5 Ok\\r\\n*5000}250 ok"))
    (mail,) = running.replay(wire.build(turns)).mails
    assert mail.outcome == "accepted"
    assert len(mail.rcpt_to) >= 1000


MESSAGES = {
    "M-09": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000)
    ),
    "M-10": b"X-Long: "
    + b"y" * 2_000_000
    + b"\r\n"
    + b"X: y\r\n" * 50_000
    + b"X:\r\n"
    + b" fold\r\n" * 50_000,
    "M-14": b"a\rb" * 200_000 + b"\r\n",
    "M-11": b"Content-Type: text/plain;" + b"".join(b" name*%d=a;" % n for n in range(20_000)) + b"\r\n",
}


@hazard("M-09", "M-10", "M-11", "M-14")
@pytest.mark.parametrize("name", MESSAGES)
def test_heavy_messages(name: str) -> None:
    """Cost is bounded: these end in the time of a test."""
    at = next(i for i, t in enumerate(TURNS) if t.octets.startswith(b"From"))
    text = MESSAGES[name] + b"\r\nbody\r\n.\r\n"
    segments = wire.build([*TURNS[:at], Turn("C", text), *TURNS[at + 1 :]])
    result = running.replay(segments, ["mailguard", "stormshield"])
    (mail,) = result.mails
    assert (mail.outcome, mail.reply) == ("accepted", 250)
    if name == "M-14":
        assert len([a for a in result.alerts if a.rule == "stormshield.smtp-122"]) <= 16
    got = running.transcript(segments)
    assert got["messages"][0]["bytes_wire"] == len(text) - 3


@hazard("M-04")
def test_random_arrival_of_everything() -> None:
    """All data segments in any order, far beyond a window of a few: the handshake first, the end last."""
    tiny = mutate.octetwise(SEGMENTS)
    data = [s for s in tiny if s.payload and s.direction == "S"]
    Random(3).shuffle(data)
    opened = [s for s in tiny if s.direction == "C" or not s.payload]
    got = running.transcript([*opened[:-3], *data, *opened[-3:]])
    assert got["reply_codes"] == [220, 250, 250, 250, 354, 250, 221]
