"""What a connection of a capture said, with its places; which connection is taken; its packets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import public
import running
import smtpinspect
from dialogues import dialogues
from kit import capture, ip, link, mutate, wire
from kit.dialogue import Turn, parse, stream
from smtpinspect.enforce.craft import sound
from smtpinspect.errors import UsageError
from smtpinspect.simulate.flow import Captured, choose, packets
from smtpinspect.simulate.guess import received, receiver_of, sender_of
from smtpinspect.simulate.script import Script, script_of

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
CAPTURES = sorted(PCAPS.glob("*.pcap"))

PIPELINED = """
S: 220 mx.example.net ESMTP Postfix
C: EHLO a.example
S: 250-mx.example.net
S: 250-PIPELINING
S: 250 SIZE 1000
C: MAIL FROM:<a@a.example> SIZE=20
C: RCPT TO:<b@mx.example>
C: RCPT TO:<"c d"@mx.example> NOTIFY=NEVER
C: DATA
S: 250 ok
S: 250 ok
S: 550 no
S: 354 go
C: Received: by a.example (Postfix, from userid 0)
C: \\tid 1; now
C: Subject: x
C:
C: ..dot
C: .
C: QUIT
S: 250 2.0.0 Ok: queued as 1234567890
S: 221 bye
"""


def script(turns: list[Turn], **how: object) -> Script:
    made = script_of(running.frames(wire.build(turns, **how)), 1)  # type: ignore[arg-type]
    assert made is not None
    return made


def held(made: Script) -> None:
    """Every place is right."""
    client, server = made.streams
    for command in made.commands:
        assert client[command.at : command.at + len(command.line)] == command.line
        assert client[command.at : command.end].rstrip(b"\r\n") == command.line.rstrip(b"\r\n")
    for reply in made.replies:
        assert server[reply.at : reply.end] == reply.octets
    for mail in made.mails:
        if mail.text_at is None or mail.chunks:
            continue
        assert client[mail.text_at : mail.text_at + len(mail.text)] == mail.text
        if mail.complete:
            assert mail.text_end == mail.text_at + len(mail.text) + 3
            assert client[mail.text_end - 3 : mail.text_end] == b".\r\n"


def test_all_of_a_pipelined_mail() -> None:
    made = script(parse(PIPELINED))
    held(made)
    (mail,) = made.mails
    assert (mail.sender, mail.recipients) == ("a@a.example", ("b@mx.example", '"c d"@mx.example'))
    assert (mail.mail.parameters, mail.rcpts[1].parameters) == (("SIZE=20",), ("NOTIFY=NEVER",))
    assert [each.behind for each in made.commands] == [0, 0, 1, 2, 3, 1]
    assert [each.reply.code for each in made.commands if each.reply] == [250, 250, 250, 550, 354, 221]
    assert mail.text.endswith(b"\r\n\r\n..dot\r\n")
    assert mail.reply is not None
    assert mail.reply.text == "250 2.0.0 Ok: queued as 1234567890"
    assert made.greeting is not None
    assert made.greeting.text == "220 mx.example.net ESMTP Postfix"
    assert (made.helo, made.host, made.keywords) == ("a.example", "mx.example.net", ("PIPELINING", "SIZE 1000"))
    assert made.pipelined
    assert (sender_of(mail), receiver_of(made)) == ("postfix", "postfix")


def test_an_ehlo_that_was_refused_gives_no_keywords() -> None:
    made = script(parse("S: 220 x\nC: EHLO a\nS: 500 what\nC: HELO b\nS: 250 mx"))
    assert (made.helo, made.keywords, made.pipelined) == ("b", (), False)


def test_chunks_are_one_text() -> None:
    made = script(
        parse(
            "S: 220 x\nC: EHLO a\nS: 250 mx\nC: MAIL FROM:<>\nS: 250 ok\n"
            "C: BDAT 4\nC: ab\nC: BDAT 3 LAST\nC: c\nS: 250 ok\nS: 250 done"
        )
    )  # fmt: skip
    (mail,) = made.mails
    assert (mail.text, mail.chunks, mail.complete, mail.sender) == (b"ab\r\nc\r\n", (4, 3), True, "")
    assert mail.reply is not None
    assert mail.reply.text == "250 done"


def test_a_text_that_stops() -> None:
    made = script(
        parse("S: 220 x\nC: HELO a\nS: 250 mx\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: DATA\nS: 354 go\nC: half a l\\c")
    )
    (mail,) = made.mails
    assert (mail.text, mail.complete, mail.reply) == (b"half a l", False, None)


def test_a_hole_in_a_text_is_zeros() -> None:
    text = (
        "S: 220 x\nC: HELO a\nS: 250 mx\nC: MAIL FROM:<a@b>\nS: 250 ok\n"
        "C: DATA\nS: 354 go\nC: one\nC: two\nC: .\nS: 250 ok"
    )
    segments = wire.build(parse(text), mss=100)
    before = len(b"HELO a\r\nMAIL FROM:<a@b>\r\nDATA\r\n")
    segments = mutate.without(mutate.cut_at(segments, client=[before + 2, before + 7]), "C", before + 2, before + 7)
    made = script_of(running.frames(segments), 1)
    assert made is not None
    assert made.gaps == ((0, before + 2, 5),)
    (mail,) = made.mails
    assert (mail.text, mail.holes) == (b"on" + bytes(5) + b"o\r\n", 5)


@given(turns=dialogues(), seed=st.integers(0, 1 << 30))
def test_arrival_changes_no_script(turns: list[Turn], seed: int) -> None:
    plain = script(turns)
    held(plain)
    assert plain.streams[0] == stream(turns, "C")
    assert plain.streams[1] == stream(turns, "S")
    rng = Random(seed)
    cut = mutate.retransmitted(mutate.random_cuts(wire.build(turns), rng, 0.05), rng)
    other = script_of(running.frames(mutate.evenly(cut)), 1)
    assert other is not None
    assert other._replace(start_ns=0, confidence=()) == plain._replace(start_ns=0, confidence=())


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_the_script_of_a_capture_is_its_transcript(file: Path) -> None:
    flow = smtpinspect.replay(file, inspectors=[]).flows[0]
    (told,) = smtpinspect.transcript(file)
    made = script_of(str(file), flow.first_packet)
    assert made is not None
    held(made)
    assert [each.verb for each in made.commands] == [each["verb"] for each in told["commands"]]
    assert [each.code for each in made.replies] == told["reply_codes"]
    texts = [mail for mail in made.mails if mail.text_at is not None]
    assert [len(mail.text) for mail in texts] == [each["bytes_wire"] for each in told["messages"]]
    assert hashlib.sha256(made.streams[0]).hexdigest() == told["client_sha256"]
    assert len(made.mails) == flow.mails


# ---- the choice


def mail_of(subject: str, more: str = "") -> str:
    head = "C: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\nC: DATA\nS: 354 go\n"
    return f"{head}C: Subject: {subject}\nC:\nC: .\nS: 250 ok\n{more}"


START = "S: 220 x ESMTP\nC: HELO a\nS: 250 mx\n"
END = "C: QUIT\nS: 221 bye"


def two_connections() -> list[tuple[float, bytes]]:
    first = wire.build(parse(START + mail_of("fine") + END))
    second = wire.build(parse(START + mail_of("fine") + mail_of("\\xe9") + END), start=wire.START + 10)
    other = wire.Ends(client_port=40_113)
    return [*running.frames(first), *running.frames(second, other)]


def test_the_first_that_breaks_is_taken() -> None:
    found = choose(two_connections(), "stormshield")
    assert found is not None
    assert (found.why, found.mail, found.flow.client) == ("breaks", 2, "192.0.2.10:40113")
    assert found.rule == "stormshield.smtp-231"


def test_a_mail_can_be_asked_for() -> None:
    found = choose(two_connections(), "stormshield", mail=2)
    assert found is not None
    assert (found.why, found.mail, found.flow.client) == ("asked", 1, "192.0.2.10:40113")
    with pytest.raises(UsageError, match="--mail 4: the capture holds 3 mails"):
        choose(two_connections(), "stormshield", mail=4)


def test_what_nothing_breaks_is_taken_from_the_front() -> None:
    found = choose(two_connections(), "stormshield,off=231")
    assert found is not None
    assert (found.why, found.mail, found.whole) == ("first", 1, True)
    altered = choose(two_connections(), "mailguard")
    assert altered is not None
    assert (altered.why, altered.rule) == ("alters", "mailguard.banner-masked")


def test_no_smtp_is_no_choice() -> None:
    assert choose([(1.0, b"\0" * 60)], "mailguard") is None


# ---- the packets


@pytest.mark.parametrize("name", sorted(link.LINKS))
def test_packets_are_the_datagrams_that_were_sent(name: str) -> None:
    sent = wire.packets(wire.build(parse(PIPELINED)), wire.V4)
    frames = capture.pcap(capture.records(sent, link.LINKS[name]), link=link.LINKS[name].number)
    got = list(packets_of(frames))
    assert [each.ip for each in got] == [each.octets for each in sent]
    assert [each.by_client for each in got] == [each.direction == "C" for each in sent]


def packets_of(octets: bytes) -> list[Captured]:
    import io

    (flow,) = smtpinspect.replay(io.BytesIO(octets), inspectors=[]).flows
    return list(packets(io.BytesIO(octets), flow))


def test_ipv6_with_extensions_and_fragments() -> None:
    sent = [ip.with_extensions(each, [ip.HOP_BY_HOP]) for each in wire.packets(wire.build(parse(PIPELINED)), wire.V6)]
    got = packets_of(capture.pcap(capture.records(sent)))
    assert [each.ip for each in got] == [each.octets for each in sent]
    plain = list(wire.packets(wire.build(parse(PIPELINED)), wire.V4))
    parts = [part for each in plain for part in (ip.fragments(each, 48) if len(each.octets) > 100 else [each])]
    assert len(parts) > len(plain)
    joined = packets_of(capture.pcap(capture.records(parts)))
    assert [each.ip[20:] for each in joined] == [each.octets[20:] for each in plain]
    assert all(sound(each.ip) for each in joined)


def test_what_a_snap_length_cut_is_told() -> None:
    sent = wire.packets(wire.build(parse(PIPELINED)), wire.V4)
    got = packets_of(capture.pcap(capture.records(sent, snaplen=80)))
    assert sum(each.missing for each in got) == sum(max(0, len(each.octets) + 14 - 80) for each in sent)


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_every_packet_of_a_capture_comes(file: Path) -> None:
    (flow,) = smtpinspect.replay(file, inspectors=[]).flows
    got = list(packets(str(file), flow))
    assert len(got) == flow.pkts_toserver + flow.pkts_toclient
    assert all(sound(each.ip) for each in got)
    assert got[-1].ns == flow.end_ns


# ---- who wrote it


@pytest.mark.parametrize(
    ("field", "who"),
    [
        (b"from root by a with local (Exim 4.96)\r\n\t(envelope-from <x>)", "exim"),
        (b"by a.example (Postfix, from userid 0)\r\n\tid 1", "postfix"),
        (b"from a (localhost [127.0.0.1])\r\n\tby b (8.17.1/8.17.1/Debian-9) with ESMTP id 1", "sendmail"),
        (b"from a (localhost [local])\r\n\tby a (OpenSMTPD) with ESMTPA id 1", "opensmtpd"),
        (b"(qmail 4711 invoked by uid 0); 1 Jan 2026 00:00:00 -0000", "qmail"),
        (b"from A (192.0.2.1) by B (192.0.2.2) with\r\n Microsoft SMTP Server id 15.1", "exchange"),
        (b"from a by b with SMTP", None),
    ],
)
def test_the_client_by_its_received_field(field: bytes, who: str | None) -> None:
    text = (
        b"DKIM-Signature: v=1\r\nReceived: " + field + b"\r\nReceived: by z (Postfix)\r\n\r\nReceived: by z (Exim 4.9)"
    )
    made = script(
        [
            *parse("S: 220 x\nC: HELO a\nS: 250 mx\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: DATA\nS: 354 go"),
            Turn("C", text + b"\r\n.\r\n"),
            Turn("S", b"250 ok\r\n"),
        ]
    )
    assert sender_of(made.mails[0]) == who
    assert received(text).startswith(field.split(b"\r")[0].decode())


@pytest.mark.parametrize(
    ("greeting", "last", "who"),
    [
        ("220 mx ESMTP Exim 4.96 now", "250 ok", "exim"),
        ("220 **************", "250 OK id=1xVERw-000001-0Z", "exim"),
        ("220 **************", "250 2.0.0 Ok: queued as 8080540", "postfix"),
        ("220 **************", "250 ok 1234 qp 5678", "qmail"),
        ("220 mx ESMTP", "250 thanks", None),
    ],
)
def test_the_server_by_its_words(greeting: str, last: str, who: str | None) -> None:
    text = mail_of("x").removesuffix("S: 250 ok\n")
    made = script(parse(f"S: {greeting}\nC: HELO a\nS: 250 mx\n{text}S: {last}"))
    assert receiver_of(made) == who


@pytest.mark.skipif(not public.FOLDER.is_dir(), reason=public.ABSENT)
def test_public_captures_give_scripts_whose_places_are_right() -> None:
    seen = 0
    for file in sorted(public.FOLDER.glob("*.pcap*")):
        for flow in smtpinspect.replay(file, inspectors=[]).flows[:20]:
            made = script_of(str(file), flow.first_packet)
            assert made is not None
            if not made.gaps:
                held(made)
                seen += 1
    assert seen > 60
