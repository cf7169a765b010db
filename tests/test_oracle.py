"""The oracle against captures that nobody here made, and against cases small enough to see."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import public
from kit import mutate, wire
from kit.dialogue import DELIVERY, parse, stream
from kit.segment import ACK, Segment
from oracle.peer import Connection, connections
from oracle.reassembly import reassemble
from oracle.smtp import lines, replies, transcript


@cache
def peers(capture: Path) -> list[Connection]:
    return connections(capture)


@pytest.mark.parametrize("expectation", public.parameters())
def test_public_capture(expectation: public.Expectation) -> None:
    first = expectation.stream["first_frame"]
    (connection,) = [c for c in peers(expectation.capture) if c.first_frame == first]
    conversation = reassemble(connection.segments)
    got = transcript(conversation.client.octets, conversation.server.octets)
    got |= {"client": connection.client, "server": connection.server}
    assert public.differences(expectation, got) == {}
    for side in ("client", "server"):
        missing = [g["length"] for g in conversation.gaps if g["direction"] == side]
        if "commands" in expectation.stream:
            assert missing == expectation.stream.get(f"missing_{side}_bytes", [])


def test_every_public_capture_has_an_expectation() -> None:
    if not public.FOLDER.is_dir():
        pytest.skip(public.ABSENT)
    captures = {p for p in public.FOLDER.iterdir() if p.suffix in (".pcap", ".pcapng")}
    assert captures == {e.capture for e in public.expectations()}


def test_no_stale_entry_among_the_wrong_expectations() -> None:
    if not public.FOLDER.is_dir():
        pytest.skip(public.ABSENT)
    streams = {(e.capture.name, e.number) for e in public.expectations()}
    assert {(name, number) for name, number, _ in public.EXPECTATION_IS_WRONG} <= streams


def letters(start: int, text: str) -> Segment:
    return Segment("C", 1000 + start, 1, ACK, text.encode(), 0.0)


def test_overlap_vectors_first_copy_wins() -> None:
    """The vectors of Novak and Sturges; positions count from 1."""
    one = (
        (2, "AAA"),
        (6, "BB"),
        (8, "CCC"),
        (12, "D"),
        (15, "EE"),
        (17, "FFF"),
        (20, "GG"),
        (22, "HH"),
        (24, "I"),
    )
    two = (
        (3, "JJJJ"),
        (8, "KKK"),
        (11, "LLL"),
        (14, "MMM"),
        (18, "N"),
        (21, "O"),
        (22, "P"),
        (24, "QQ"),
        (1, "0"),
    )
    syn = Segment("C", 1000, 0, 2)
    conversation = reassemble([syn, *(letters(at, text) for at, text in one + two)])
    assert conversation.client.octets == b"0AAAJBBCCCLDLMEEFFFGGHHIQ"
    assert conversation.client.conflicts


def test_holes() -> None:
    syn = Segment("C", 1000, 0, 2)
    conversation = reassemble([syn, letters(1, "abc"), letters(6, "def"), letters(10, "g")])
    assert conversation.client.gaps == [(3, 2), (8, 1)]
    assert conversation.client.octets == b"abc\0\0defg"


def test_wrap_and_mid_stream() -> None:
    turns = parse(DELIVERY)
    for handshake in (True, False):
        segments = wire.build(turns, client_isn=0xFFFFFFF0, server_isn=0xFFFFFFFF, mss=7, handshake=handshake)
        conversation = reassemble(segments)
        assert conversation.client.octets == stream(turns, "C")
        assert conversation.server.octets == stream(turns, "S")


def test_only_an_exact_rst_ends_a_stream() -> None:
    segments = wire.build(parse(DELIVERY))
    whole = reassemble(segments).client.octets
    assert reassemble(mutate.stray_rst(segments, 6, 5)).client.octets == whole
    assert reassemble(mutate.stray_rst(segments, 6, 0)).client.octets == whole[: whole.index(b"RCPT")]


def test_lines_and_replies() -> None:
    assert lines(b"a\r\nb\n\rc") == [b"a\r\n", b"b\n", b"\rc"]
    assert replies(b"220-a\r\n220 b\r\n250\r\nOK\r\n250-x\r\ny\r\n550 z\r\n4.7.0 no\r\n") == [
        220,
        250,
        None,
        550,
        None,
    ]


def test_transcript_of_a_delivery() -> None:
    turns = parse(DELIVERY)
    got = transcript(stream(turns, "C"), stream(turns, "S"))
    assert [(c["verb"], c["reply"]) for c in got["commands"]] == [
        ("EHLO", 250),
        ("MAIL", 250),
        ("RCPT", 250),
        ("DATA", 354),
        ("QUIT", 221),
    ]
    assert got["mail_from"] == ["<alice@a.example>"]
    assert got["rcpt_to"] == ["<bob@mx.example>"]
    (message,) = got["messages"]
    assert message["final_reply"] == 250
    assert message["terminated"]
    assert message["subject_raw"] == "hello"


@pytest.mark.parametrize("reply", ["503 5.5.1 no", "451 4.3.0 later"])
def test_refused_data_stays_in_command_mode(reply: str) -> None:
    got = transcript(b"DATA\r\nVRFY root\r\n", f"220 a\r\n{reply}\r\n252 ok\r\n".encode())
    assert [(c["verb"], c["reply"]) for c in got["commands"]] == [("DATA", int(reply[:3])), ("VRFY", 252)]
    assert got["messages"] == []


def test_auth_answers_are_no_commands() -> None:
    got = transcript(
        b"AUTH LOGIN\r\nQUIT\r\n*\r\nQUIT\r\n", b"220 a\r\n334 x\r\n334 y\r\n501 z\r\n221 bye\r\n"
    )
    assert [(c["verb"], c["reply"]) for c in got["commands"]] == [
        ("AUTH", 334),
        ("(auth-response)", 334),
        ("(auth-response)", 501),
        ("QUIT", 221),
    ]


def test_chunks() -> None:
    client = b"BDAT 5\r\n.\r\n.\nBDAT 0 LAST\r\nBDAT -1 LAST\r\nBDAT 9 LAST\r\nabc"
    got = transcript(client, b"220 a\r\n250 1\r\n250 2\r\n501 3\r\n")
    assert [c["reply"] for c in got["commands"]] == [250, 250, 501, None]
    assert [(m["bytes_wire"], m["terminated"], m["final_reply"]) for m in got["messages"]] == [
        (5, True, 250),
        (3, False, None),
    ]
