"""A reply inside of a text is the reply to that text: by order, as every client takes it (RFC 2920 3.2)."""

from __future__ import annotations

import pytest

import running
import smtpinspect
from kit import capture, wire
from kit.broken import Connection, message
from kit.dialogue import Turn, parse
from smtpinspect.diagnose.account.spoken import TEXT as TEXT_STEP
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case
from smtpinspect.report.headline import headline
from smtpinspect.simulate.observed import refusal
from smtpinspect.simulate.script import script_of
from test_hazards_smtp import BYE, ENVELOPE, HELLO, TEXT

WIRE = b"Subject: x\r\n\r\nhello\r\n.\r\n"
START = [*parse(HELLO + ENVELOPE), Turn("C", b"DATA\r\n"), Turn("S", b"354 go on\r\n")]
REPLIES = [
    (b"552 5.7.0 content refused\r\n", "refused", 552),
    (b"451-4.3.0 no\r\n451 4.3.0 disk\r\n", "refused", 451),
    (b"421 4.3.2 closing\r\n", "refused", 421),
    (b"250 2.0.0 queued\r\n", "accepted", 250),
]


def inside(reply: bytes, cut: int, behind: str = BYE) -> list[Turn]:
    """A dialogue with the reply behind so many octets of the text."""
    return [*START, Turn("C", WIRE[:cut]), Turn("S", reply), Turn("C", WIRE[cut:]), *parse(behind)]


def cases(turns: list[Turn]) -> list[Case]:
    return list(diagnose(Asked(running.frames(wire.build(turns)))).diagnosis.cases)


@pytest.mark.parametrize(("reply", "outcome", "code"), REPLIES)
def test_where_it_stands_decides_nothing(reply: bytes, outcome: str, code: int) -> None:
    made = [running.mails(running.replay(wire.build(inside(reply, cut)))) for cut in range(1, len(WIRE) + 1)]
    assert [(m["outcome"], m["reply"]) for m in made[-1]] == [(outcome, code)]
    assert all(each == made[-1] for each in made)


@pytest.mark.parametrize(("reply", "outcome", "code"), REPLIES)
def test_all_readers_agree(reply: bytes, outcome: str, code: int) -> None:
    turns = inside(reply, 12, ENVELOPE + TEXT + BYE)
    got = running.transcript(wire.build(turns))
    assert [m["final_reply"] for m in got["messages"]] == [code, 250]
    assert [c["reply"] for c in got["commands"]] == [250, 250, 250, 354, 250, 250, 354, 221]
    script = script_of(running.frames(wire.build(turns)), 1)
    assert script is not None
    assert [mail.reply.code for mail in script.mails if mail.reply is not None] == [code, 250]
    assert not any(each.behind for each in script.commands)
    found = cases(turns)
    assert [(case.observed.outcome, case.observed.reply[:3]) for case in found] == [
        (outcome, str(code)),
        ("accepted", "250"),
    ]
    account = found[0].account
    assert account is not None or outcome == "accepted"
    if account is not None and code != 421:
        texts = [step for step in account.said.steps if step.verb == TEXT_STEP]
        assert [step.answer.code for step in texts if step.answer is not None] == [code, 250]


def test_the_mail_behind_a_refused_one_is_read_as_a_mail() -> None:
    result = running.replay(wire.build(inside(b"554 5.7.0 virus\r\n", 5, ENVELOPE + TEXT + BYE)))
    assert [(m.outcome, m.reply) for m in result.mails] == [("refused", 554), ("accepted", 250)]
    assert result.mails[0].confidence == ["end-mark-disputed"]
    assert result.mails[1].confidence == []


@pytest.mark.parametrize("first", [b"552 no\r\n", b"552 no\r\n500 what\r\n"])
def test_a_server_that_answers_the_end_mark_too_has_refused_before(first: bytes) -> None:
    turns = inside(first, 5, "S: 250 2.0.0 queued\nC: RSET\nS: 250 reset\n" + ENVELOPE + TEXT + BYE)
    got = running.transcript(wire.build(turns))
    assert [m["final_reply"] for m in got["messages"]] == [552, 250]
    loose = [r["text"] for r in got["replies"] if r["command"] is None and r["message"] is None]
    assert loose[-1] == "250 2.0.0 queued"
    found = cases(turns)
    assert [case.observed.outcome for case in found] == ["refused", "accepted"]
    account = found[0].account
    assert account is not None
    (rset,) = [step for step in account.said.steps if step.verb == "RSET"]
    assert rset.answer is not None
    assert rset.answer.line == b"250 reset\r\n"


@pytest.mark.parametrize("flags", ["FIN", "RST"])
def test_a_text_that_is_refused_and_never_ends_is_refused(flags: str) -> None:
    made = Connection().envelope().say("C", message(3_000)[:2_000], acked=True).say("S", b"552 5.7.0 virus\r\n")
    made = made.close("S") if flags == "FIN" else made.reset("S")
    (mail,) = smtpinspect.replay(capture.frames(made.packets)).mails
    assert (mail.outcome, mail.reply, mail.closer) == ("refused", 552, "none")
    (case,) = diagnose(Asked(capture.frames(made.packets))).diagnosis.cases
    assert str(headline(case)).startswith("REJECTED: ")
    assert case.account is not None
    text = case.account.said.steps[-1]
    assert (text.verb, text.answer is not None and text.answer.code) == (TEXT_STEP, 552)


def test_an_early_yes_does_not_deliver_what_broke() -> None:
    """A server that sees another end mark may have taken it; the sender has not ended it."""
    made = Connection().envelope().say("C", b"Subject: x\r\n\r\na\n.\n", acked=True)
    made.say("S", b"250 2.0.0 queued\r\n").wait(60).reset("C")
    (mail,) = smtpinspect.replay(capture.frames(made.packets)).mails
    assert mail.outcome not in ("accepted", "refused")
    assert "end-mark-disputed" in mail.confidence


def test_the_page_says_where_the_reply_stood() -> None:
    (case,) = cases(inside(b"552 5.7.0 content refused\r\n", 5))
    assert "552 in the middle of the message" in str(headline(case))


# --- chunks: the first refusal of those that the others follow from (RFC 3030 4.2)

GROUP = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 5 LAST\r\nhello"
FIRST = [
    (b"250 ok\r\n550 5.1.1 unknown\r\n503 no recipients\r\n", 550, "rcpt"),
    (b"451 4.7.1 later\r\n503 no\r\n503 no\r\n", 451, "mail"),
    (b"250 ok\r\n250 ok\r\n552 too large\r\n", 552, "dotreply"),
]


@pytest.mark.parametrize(("replies", "code", "phase"), FIRST)
def test_of_a_pipelined_group_the_first_refusal_counts(replies: bytes, code: int, phase: str) -> None:
    turns = [*parse(HELLO), Turn("C", GROUP), Turn("S", replies), *parse(BYE)]
    (mail,) = running.replay(wire.build(turns)).mails
    assert (mail.outcome, mail.reply, mail.phase) == ("refused", code, phase)
    (case,) = cases(turns)
    assert (case.observed.phase, case.observed.reply[:3]) == (phase, str(code))
    decided = refusal(case.transaction)
    assert decided is not None
    assert decided[2].code == code


def test_a_refused_chunk_decides_and_its_command_line_is_no_message() -> None:
    said = "C: BDAT 6\nC: hello!\\c\nS: 452 4.3.1 disk\nC: BDAT 3 LAST\nC: abc\\c\nS: 503 5.5.1 no\n"
    (case,) = cases(parse(HELLO + ENVELOPE + said + BYE))
    assert (case.observed.outcome, case.observed.reply, case.observed.phase) == ("refused", "452", "datacmd")
    assert case.observed.text_acknowledged == 9
    assert [cause.cause for cause in case.causes if cause.confidence == "likely"] == ["full-disk"]
