"""Points of the contract that went wrong once: what an alert's place, its stage and a mail's end depend on."""

from __future__ import annotations

from typing import Any

import pytest

import running
from kit import wire
from kit.dialogue import Turn, parse

BOTH = ["mailguard:pix-6", "stormshield"]
ENVELOPE = """
S: 220 mx
C: HELO x
S: 250 ok
C: MAIL FROM:<a@b>
S: 250 ok
C: RCPT TO:<c@d>
S: 250 ok
C: DATA
"""


def told(segments: Any) -> list[Any]:
    return sorted((a.rule, a.direction, a.offset, a.octets) for a in running.replay(segments, BOTH).alerts)


def test_a_second_greeting_is_unsolicited_in_any_order() -> None:
    """8.0.2: HELO and its reply are captured before the greeting that they acknowledge."""
    segments = wire.build(parse("S: 220 a\nS: 220 b\nC: HELO x\nS: 250 ok\nC: QUIT\nS: 221 bye\n"))
    first, second, third = [i for i, s in enumerate(segments) if s.payload][:3]
    mixed = list(segments)
    mixed[first], mixed[second], mixed[third] = segments[second], segments[third], segments[first]
    mixed = [s.but(time=t.time) for s, t in zip(mixed, segments, strict=True)]
    assert told(mixed) == told(segments)
    assert any(rule == "mailguard.server-transition" for rule, *_ in told(segments))


@pytest.mark.parametrize(
    ("behind", "stage"),
    [(65_535, "after-end-of-data"), (65_536, "after-end-of-data"), (65_537, "after-sending-data-block")],
)
def test_stage_by_what_follows_the_deciding_octet(behind: int, stage: str) -> None:
    """8.0.10: at most 65,536 octets follow, up to and including the end mark."""
    head, end = b"X: \xe9\r\n\r\n", b"\r\n.\r\n"
    lines, rest = divmod(behind - len(b"\r\n\r\n") - len(end), 72)
    text = head + (b"a" * 70 + b"\r\n") * lines + b"a" * rest + end
    assert len(text) - text.index(b"\xe9") - 1 == behind
    turns = [*parse(ENVELOPE + "S: 354 go\n"), Turn("C", text), Turn("S", b"250 ok\r\n")]
    alerts = running.replay(wire.build(turns), BOTH).alerts
    assert [a.stage for a in alerts if a.rule == "stormshield.smtp-122"] == [stage]


def test_a_line_without_code_does_not_answer_data() -> None:
    result = running.replay_text(ENVELOPE + "S: huh\nS: 354 go\nC: Subject: x\nC:\nC: text\nC: .\nS: 250 ok\n", BOTH)
    assert [m.outcome for m in result.mails] == ["accepted"]
    assert "stormshield.smtp-219.command" not in running.rules(result)


def test_a_bracket_behind_the_path_is_stray() -> None:
    text = "S: 220 mx\nC: HELO x\nS: 250 ok\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<{}>\nS: 250 ok\n"
    for address, stray in (("a>b@c", True), ("a@c", False)):
        fired = running.rules(running.replay_text(text.replace("{}", address), BOTH))
        assert ("mailguard.address-angle" in fired) is stray


def test_the_first_fin_ends_the_silence() -> None:
    """A bare ACK that comes long behind both FINs makes no stall of a close."""
    turns = [*parse(ENVELOPE + "S: 354 go\n"), Turn("C", b"Subject: x\r\n\r\ntext\r\n")]
    segments = wire.build(turns)
    late = [*segments[:-1], segments[-1].but(time=segments[-1].time + 60)]
    for sent in (segments, late):
        (mail,) = running.replay(sent, BOTH).mails
        assert (mail.outcome, mail.closer) == ("closed", "client")
        assert mail.silence < 1


def test_the_reply_to_rcpt_is_the_refusal_not_what_follows_from_it() -> None:
    text = ENVELOPE.replace("RCPT TO:<c@d>\nS: 250 ok", "RCPT TO:<c@d>\nS: 550 who")
    text += "S: 503 no\nC: QUIT\nS: 221 x\n"
    (mail,) = running.replay_text(text, BOTH).mails
    assert (mail.outcome, mail.reply, mail.phase) == ("refused", 550, "rcpt")
