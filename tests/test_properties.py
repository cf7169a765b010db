"""The same octets, however they arrive, give the same transcript and alerts; and the oracle agrees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import running
from dialogues import dialogues
from kit import mutate, wire
from kit.dialogue import Turn, stream
from oracle import smtp
from oracle.reassembly import reassemble

# One octet per segment is legal; more segments than this make an example slow, and show nothing more.
MOST_SEGMENTS = 3000
MIME_FIELDS = ("subject_raw", "subject_decoded", "parts")


@dataclass(frozen=True)
class Arrival:
    """How the octets of a dialogue arrive."""

    mss: int
    cuts: float
    retransmissions: int
    duplicates: float
    window: int
    client_isn: int
    server_isn: int
    seed: int

    def segments(self, turns: list[Turn]) -> mutate.Segments:
        rng = Random(self.seed)
        octets = sum(len(t.octets) for t in turns)
        mss = max(self.mss, octets // MOST_SEGMENTS + 1)
        result = wire.build(turns, mss=mss, client_isn=self.client_isn, server_isn=self.server_isn)
        if self.cuts:
            result = mutate.random_cuts(result, rng, self.cuts)
        if self.retransmissions:
            result = mutate.retransmitted(result, rng, self.retransmissions)
        if self.duplicates:
            result = mutate.duplicated(result, rng, self.duplicates)
        if self.window:
            result = mutate.reordered(result, rng, self.window)
        return mutate.evenly(result)


isns = st.one_of(st.just(0), st.integers(2**32 - 3000, 2**32 - 1), st.integers(0, 2**32 - 1))
arrivals = st.builds(
    Arrival,
    mss=st.sampled_from([1, 2, 3, 7, 40, 536, 1460]),
    cuts=st.sampled_from([0.0, 0.01, 0.2]),
    retransmissions=st.integers(0, 4),
    duplicates=st.sampled_from([0.0, 0.2, 0.5]),
    window=st.integers(0, 4),
    client_isn=isns,
    server_isn=isns,
    seed=st.integers(0, 2**16),
)

OWN_MAP = (
    *("body length gt 30 -> log", "header length gt 40 -> log", "body line length gt 20 -> reset"),
    *(
        "header to-fields count gt 0 -> log",
        "invalid-recipients count gt 0 -> log",
        "mime filetype regex octet -> log",
    ),
    *(
        "mime encoding 7bit -> log",
        "mime encoding base64 others -> drop-connection",
        "sender-address regex a -> log",
    ),
    *(
        "not sender-address length gt 4 -> log",
        "cmd verb noop vrfy -> mask",
        "not cmd line length gt 20 -> log",
    ),
    *(
        "not ehlo-reply-parameter size -> mask",
        "mime filename length gt 2 -> log",
        "cmd RCPT count gt 1 -> log",
    ),
)
STREAM_RULES = [
    f"mailguard:asa-9-tls,{running.OFF},match={'+'.join(OWN_MAP)}",
    f"mailguard:pix-4.0,{running.OFF}",
    f"mailguard:pix-6,{running.OFF}",
    f"mailguard:asa-8,{running.OFF}",
    "stormshield:high",
    "stormshield:low,level=ids",
]


@given(turns=dialogues(), arrival=arrivals)
def test_arrival_changes_no_transcript(turns: list[Turn], arrival: Arrival) -> None:
    assert running.transcript(arrival.segments(turns)) == running.transcript(wire.build(turns))


@given(turns=dialogues(), arrival=arrivals)
def test_arrival_changes_no_alert(turns: list[Turn], arrival: Arrival) -> None:
    plain = running.replay(wire.build(turns), STREAM_RULES)
    other = running.replay(arrival.segments(turns), STREAM_RULES)
    assert running.alerts(other) == running.alerts(plain)
    assert running.mails(other) == running.mails(plain)


@given(turns=dialogues(), arrival=arrivals)
def test_arrival_changes_no_alert_but_those_about_segments(turns: list[Turn], arrival: Arrival) -> None:
    """With every rule on; whether an alert stands after a break may then depend on a rule about segments."""
    everything = ["mailguard:pix-6", "stormshield:high", "sonicwall,on_match=drop"]
    plain = running.replay(wire.build(turns), everything)
    other = running.replay(arrival.segments(turns), everything)
    assert running.alerts(other, less=["after_break"]) == running.alerts(plain, less=["after_break"])
    less = ["verdict", "broken_by"]
    assert running.mails(other, less=less) == running.mails(plain, less=less)


@given(turns=dialogues(), arrival=arrivals)
def test_the_oracle_agrees(turns: list[Turn], arrival: Arrival) -> None:
    got = running.transcript(arrival.segments(turns))
    client, server = stream(turns, "C"), stream(turns, "S")
    plain = [email_reads_as_we_do(text) for text in smtp.texts(client, server)]
    expected = smtp.transcript(client, server)
    assert got["gaps"] == []
    assert judged(got, expected, plain) == judged(expected, expected, plain)


@given(turns=dialogues(), arrival=arrivals)
def test_the_oracle_reassembles_what_was_said(turns: list[Turn], arrival: Arrival) -> None:
    conversation = reassemble(arrival.segments(turns))
    assert conversation.client.octets == stream(turns, "C")
    assert conversation.server.octets == stream(turns, "S")
    assert not conversation.client.conflicts
    assert not conversation.server.conflicts


# A text that is read in whole segments, and one of which each segment is too short for any short way.
TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b".", b"..", b"-", b"--b", b"--b--", b"b", b"begin 644 x.zip\r\n", b"begin"),
    *(b"x" * 40, b"UEsDBBQAAQAIAA", b"PK\3\4\x14\0\1\0", b"=2E", b"a", b" ", b"#4$L#!!0``0`(\r\n", b"end\r\n"),
)
HEADS = (
    *(b"\r\n", b"Content-Type: text/plain\r\n\r\n", b"Content-Transfer-Encoding: base64\r\n\r\n"),
    *(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
    ),
)
texts = st.lists(st.one_of(st.sampled_from((b"\r\n", b"\r\n", b"\r\na")), st.sampled_from(TOKENS)), max_size=40)


@given(st.sampled_from(HEADS), texts.map(b"".join), st.integers(1, 3), st.integers(4, 90))
def test_short_ways_through_a_text_change_nothing(head: bytes, text: bytes, short: int, long: int) -> None:
    while b"\r\n.\r\n" in (text := b"\r\n" + text.lstrip(b"\r\n") + b"\r\n"):
        text = text.replace(b"\r\n.\r\n", b"\r\n..\r\n")
    ask = b"EHLO a.example\r\nMAIL FROM:<a@a.example> SIZE=60\r\nRCPT TO:<b@b.example>\r\nDATA\r\n"
    turns = [
        *(Turn("S", b"220 mx\r\n"), Turn("C", ask[:16]), Turn("S", b"250-mx\r\n250 SIZE\r\n"), Turn("C", ask[16:])),
        *(Turn("S", b"250 ok\r\n250 ok\r\n354 go\r\n"), Turn("C", head + text + b".\r\n"), Turn("S", b"250 ok\r\n")),
    ]
    inspectors = [*STREAM_RULES, "sonicwall,on_match=drop"]
    slow, quick = wire.build(turns, mss=short), wire.build(turns, mss=long)
    assert running.transcript(quick) == running.transcript(slow)
    one, other = running.replay(slow, inspectors), running.replay(quick, inspectors)
    assert running.alerts(other) == running.alerts(one)
    assert running.mails(other) == running.mails(one)


def email_reads_as_we_do(text: bytes) -> bool:
    """Python's email package, the oracle of MIME, ends lines at a bare CR too."""
    return re.search(rb"\r(?!\n)", text) is None


def judged(got: dict[str, Any], expected: dict[str, Any], plain: list[bool]) -> dict[str, Any]:
    """The fields that the two streams decide; of a message that the MIME oracle misreads, the octets only."""
    result = {k: got[k] for k in expected if k != "messages"}
    result["messages"] = [
        {k: m[k] for k in e if p or k not in MIME_FIELDS}
        for m, e, p in zip(got["messages"], expected["messages"], plain, strict=True)
    ]
    return result
