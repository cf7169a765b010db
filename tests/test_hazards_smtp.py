"""Hazards of the SMTP dialogue (S) and of end marks (D)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import running
from hazards import hazard
from kit import mutate, wire
from kit.dialogue import DELIVERY, Turn, octets_of, parse, stream

HELLO = "S: 220 mx.example ESMTP\nC: EHLO a.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
ENVELOPE = "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\n"
TEXT = "C: DATA\nS: 354 go on\nC: Subject: x\nC:\nC: text\nC: .\nS: 250 queued\n"
BYE = "C: QUIT\nS: 221 bye\n"


def answers(text: str) -> list[tuple[str, int | None]]:
    """Verbs with their replies."""
    return [(c["verb"], c["reply"]) for c in running.transcript_text(text)["commands"]]


def messages(text: str) -> list[tuple[int, bool, int | None]]:
    """Octets, whether terminated, final reply."""
    got = running.transcript_text(text)["messages"]
    return [(m["bytes_message"], m["terminated"], m["final_reply"]) for m in got]


def mails(text: str, **options: Any) -> list[tuple[str, int | None]]:
    return [(m.outcome, m.reply) for m in running.replay_text(text, **options).mails]


WHOLE_TEXT = len(b"Subject: x\r\n\r\ntext\r\n")


@hazard("S-01")
def test_pipelining() -> None:
    text = f"""{HELLO}
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<b@b.example>
        C: RCPT TO:<c@c.example>
        C: RCPT TO:<d@d.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550-no
        S: 550 such user
        S: 451 later
        S: 354 go on
        C: Subject: x
        C:
        C: text
        C: .
        S: 250 queued
    """
    assert answers(text)[1:] == [("MAIL", 250), ("RCPT", 250), ("RCPT", 550), ("RCPT", 451), ("DATA", 354)]
    assert messages(text) == [(WHOLE_TEXT, True, 250)]
    (mail,) = running.replay_text(text).mails
    assert mail.rcpt_to == ["b@b.example", "c@c.example", "d@d.example"]
    assert list(mail.rcpt_replies) == [250, 550, 451]


def test_a_command_in_many_segments_is_not_pipelined() -> None:
    """More segments than are remembered lie between its first octet and its end."""
    text = f"{HELLO}C: MAIL FROM:<alice@a.example>\nS: 250 ok\nC: RCPT TO:<bob@b.example>\nS: 250 ok\n"
    for mss in (1, 2, 3):
        result = running.replay_text(text, ["mailguard:asa-8"], mss=mss)
        assert "mailguard.pipelining" not in running.rules(result)


@hazard("S-02")
def test_pipelining_that_was_never_offered() -> None:
    text = "S: 220 mx\nC: HELO a\nC: MAIL FROM:<a@a>\nC: RCPT TO:<b@b>\nS: 250 a\nS: 250 b\nS: 250 c\n"
    assert answers(text) == [("HELO", 250), ("MAIL", 250), ("RCPT", 250)]


@hazard("S-03")
def test_next_mail_before_the_reply_to_the_dot() -> None:
    first = ENVELOPE + "C: DATA\nS: 354 go on\nC: one\nC: .\nC: MAIL FROM:<n@n.example>\n"
    text = HELLO + first + "S: 451 later\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\n" + TEXT + BYE
    assert [m[2] for m in messages(text)] == [451, 250]
    assert [(m.outcome, m.reply) for m in running.replay_text(text).mails] == [
        ("refused", 451),
        ("accepted", 250),
    ]


@hazard("S-04")
def test_client_talks_first() -> None:
    text = "C: EHLO a\nS: 220 mx\nS: 250 mx\n" + ENVELOPE + TEXT + BYE
    assert answers(text)[0] == ("EHLO", 250)
    assert mails(text) == [("accepted", 250)]


@hazard("S-05")
def test_unsolicited_replies() -> None:
    """A 421 inside the text belongs to no command."""
    turns = parse(HELLO + ENVELOPE + "C: DATA\nS: 354 go on\nC: Subject: x\nS: 421 4.4.2 timeout\n")
    got = running.transcript(wire.build(turns))
    assert got["reply_codes"][-1] == 421
    assert got["commands"][-1]["reply"] == 354
    assert got["messages"][0]["final_reply"] is None
    (mail,) = running.replay(wire.build(turns)).mails
    assert mail.outcome in ("refused", "closed", "aborted")
    assert mail.outcome != "accepted"
    after_quit = running.transcript_text(HELLO + BYE + "S: 250 what\n")
    assert after_quit["reply_codes"] == [220, 250, 221, 250]


@hazard("S-06", "S-24")
@pytest.mark.parametrize(
    "reply",
    [
        "S: 250-a\nS: 250-b\nS: 250 c",
        "S: 550-a\nS: 250 b",
        "S: 250-a\nS: 250",
        "S: 250",
        "S: 250-a\\nb\nS: 250 c",
    ],
)
def test_multi_line_replies(reply: str) -> None:
    """One reply each; where the codes differ the last line decides."""
    text = f"{HELLO}C: VRFY root\n{reply}\n{BYE}"
    assert answers(text)[1:] == [("VRFY", 250), ("QUIT", 221)]
    turns = parse(text)
    assert running.transcript(mutate.octetwise(wire.build(turns))) == running.transcript(wire.build(turns))


@hazard("S-06")
def test_reply_without_a_last_line() -> None:
    got = running.transcript_text(f"{HELLO}C: VRFY root\nS: 252-a\n", close="rst")
    assert got["reply_codes"] == [220, 250, 252]


@hazard("S-07")
@pytest.mark.parametrize("code", [400, 432, 472, 523, 538, 556, 200, 599, 299])
def test_codes_that_no_table_holds(code: int) -> None:
    assert answers(f"{HELLO}C: NOOP\nS: {code} what\n{BYE}")[1:] == [("NOOP", code), ("QUIT", 221)]


@hazard("S-07", "S-10")
@pytest.mark.parametrize("line", ["4.7.0 what", "25 ok", "OK", "abc def", "2500 ok", "-250 ok"])
def test_replies_without_a_code(line: str) -> None:
    got = running.transcript_text(f"{HELLO}C: NOOP\nS: {line}\n{BYE}")
    assert got["reply_codes"] == [220, 250, None, 221]
    assert [c["reply"] for c in got["commands"]] == [250, None, 221]


@hazard("S-08")
def test_eight_bit_replies() -> None:
    assert answers(HELLO + r"C: NOOP" + "\n" + r"S: 550 n\xe9\x01\x00 \xff" + "\n" + BYE)[1] == ("NOOP", 550)


PATHS = {
    "MAIL FROM:<a@b>": "<a@b>",
    "mail from:<a@b>": "<a@b>",
    "MAIL FROM: <a@b>": "<a@b>",
    "MAIL FROM:   <a@b>  ": "<a@b>",
    "MAIL  FROM:<a@b>": "<a@b>",
    " MAIL FROM:<a@b>": "<a@b>",
    "MAIL\\tFROM:<a@b>": "<a@b>",
    "MAIL FROM :<a@b>": "FROM :<a@b>",
    "MAIL FROM:a@b": "a@b",
    "MAIL FROM:<>": "<>",
    "MAIL FROM:<@a,@b:c@d>": "<@a,@b:c@d>",
    'MAIL FROM:<"a b>c"@d>': '<"a b>c"@d>',
    "MAIL FROM:<a@b> SIZE=12 BODY=8BITMIME": "<a@b> SIZE=12 BODY=8BITMIME",
}


@hazard("S-09")
@pytest.mark.parametrize("line", PATHS)
def test_envelope_spellings(line: str) -> None:
    got = running.transcript_text(f"{HELLO}C: {line}\nS: 250 ok\n{BYE}")
    assert got["mail_from"] == [PATHS[line]]
    assert got["commands"][1]["verb"] == "MAIL"
    assert got["commands"][1]["length"] == len(octets_of(line))


@hazard("S-10")
@pytest.mark.parametrize("line", ["", "   ", "\\r", "\\t"])
def test_empty_command_lines(line: str) -> None:
    got = running.transcript_text(f"{HELLO}C: {line}\nS: 500 5.5.2 what\n{BYE}")
    assert got["commands"][-1] == {"verb": "QUIT", "arg": "", "length": 4, "reply": 221}
    assert 500 in got["reply_codes"]
    fired = running.rules(running.replay_text(f"{HELLO}C: {line}\nS: 500 what\n{BYE}", ["stormshield"]))
    assert any(r.startswith("stormshield.smtp-219") for r in fired) == (line == "")


@hazard("S-11", "S-12", "F-06")
@pytest.mark.parametrize("size", [511, 512, 513, 998, 1000, 1001, 4096, 65_536])
def test_long_lines(size: int) -> None:
    """Lengths are exact, wherever the lines are cut."""
    text = f"{HELLO}C: {{x*{size}}}\nS: 500 {{y*{size - 4}}}\n{BYE}"
    turns = parse(text)
    for segments in (wire.build(turns), wire.build(turns, mss=97)):
        got = running.transcript(segments)
        assert got["commands"][1]["length"] == size
        assert got["commands"][1]["reply"] == 500
        assert got["commands"][2]["reply"] == 221
    found = [
        a
        for a in running.replay(wire.build(turns, mss=97), ["stormshield:high"]).alerts
        if a.rule.startswith("stormshield.smtp-217")
    ]
    assert {a.direction for a in found} == ({"client", "server"} if size > 4096 else set())


@hazard("S-13")
@pytest.mark.parametrize("line", [r"MAIL\0FROM:<a@b>", r"\0", r"NOOP \0x"])
def test_nul_in_a_command(line: str) -> None:
    got = running.transcript_text(f"{HELLO}C: {line}\nS: 500 what\n{BYE}")
    assert got["commands"][1]["length"] == len(octets_of(line))
    assert got["commands"][2]["verb"] == "QUIT"


@hazard("S-14")
@pytest.mark.parametrize("local", [r"\xe9", r"\xc3\xa9", r"\xc0\xaf", r"e\xcc\x81", r"\xff\xfe"])
def test_eight_bit_addresses(local: str) -> None:
    """The octets are kept, valid or not, offered or not."""
    got = running.transcript_text(f"{HELLO}C: RCPT TO:<{local}@x> SMTPUTF8\nS: 555 no\n{BYE}")
    assert got["rcpt_to"] == [f"<{octets_of(local).decode('latin-1')}@x> SMTPUTF8"]


VERBS = "XCLIENT XFORWARD X-LINK2STATE BURL ETRN ATRN TURN HELP VERB LHLO GET PROXY X X-EXPS 12 A.B"


@hazard("S-15")
@pytest.mark.parametrize("verb", VERBS.split())
def test_unknown_verbs(verb: str) -> None:
    assert answers(f"{HELLO}C: {verb} x\nS: 500 what\n{BYE}")[1:] == [(verb, 500), ("QUIT", 221)]


@hazard("S-15")
def test_proxy_header_before_the_greeting() -> None:
    text = "C: PROXY TCP4 192.0.2.1 192.0.2.2 1 25\n" + HELLO + ENVELOPE + TEXT + BYE
    assert mails(text) == [("accepted", 250)]


@hazard("S-16", "S-17")
@pytest.mark.parametrize("reply", ["503 5.5.1 no", "451 later", "554 no", "521 no"])
def test_refused_data(reply: str) -> None:
    """Command mode goes on until a 354."""
    text = f"{HELLO}C: DATA\nS: {reply}\nC: VRFY root\nS: 252 ok\n{ENVELOPE}{TEXT}{BYE}"
    assert answers(text)[1:3] == [("DATA", int(reply[:3])), ("VRFY", 252)]
    assert messages(text) == [(WHOLE_TEXT, True, 250)]


@hazard("S-17")
def test_data_refused_in_a_pipeline() -> None:
    pipeline = "C: MAIL FROM:<a@a>\nC: RCPT TO:<b@b>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 554 none\n"
    text = HELLO + pipeline + "C: RSET\nS: 250 ok\n" + ENVELOPE + TEXT + BYE
    assert [m.outcome for m in running.replay_text(text).mails] == ["refused", "accepted"]
    assert messages(text) == [(WHOLE_TEXT, True, 250)]


@hazard("S-18")
def test_all_recipients_refused_and_still_354() -> None:
    text = (
        HELLO
        + "C: MAIL FROM:<a@a>\nS: 250 ok\nC: RCPT TO:<b@b>\nS: 550 no\n"
        + TEXT.replace("250 q", "554 q")
    )
    assert mails(text) == [("refused", 554)]
    (mail,) = running.replay_text(text).mails
    assert list(mail.rcpt_replies) == [550]


@hazard("S-19")
@pytest.mark.parametrize("reset", ["RSET", "EHLO again.example", "HELO again.example"])
def test_reset_and_a_new_mail(reset: str) -> None:
    text = f"{HELLO}{ENVELOPE}C: {reset}\nS: 250 ok\n{ENVELOPE}{TEXT}{BYE}"
    assert [m.outcome for m in running.replay_text(text).mails] == ["aborted", "accepted"]


@hazard("S-19")
def test_nested_mail_keeps_the_first_envelope() -> None:
    text = HELLO + ENVELOPE + "C: MAIL FROM:<n@n>\nS: 503 nested\n" + TEXT + BYE
    (mail,) = running.replay_text(text).mails
    assert "a@a.example" in mail.mail_from
    assert mail.outcome == "accepted"


@hazard("S-19")
@pytest.mark.parametrize("way", ["whole", "octetwise", "reordered"])
def test_nested_mail_that_the_server_takes(way: str) -> None:
    """What the client sends behind the 250 belongs to a second mail."""
    text = HELLO + ENVELOPE + "C: MAIL FROM:<n@n> SIZE=7\nS: 250 ok\nC: RCPT TO:<m@m>\nS: 250 ok\n" + TEXT + BYE
    segments = wire.build(parse(text))
    if way != "whole":
        segments = mutate.octetwise(segments)
    if way == "reordered":
        segments = mutate.reordered(segments, Random(1))
    first, second = running.replay(segments).mails
    assert (first.outcome, list(first.rcpt_to)) == ("aborted", ["b@b.example"])
    assert (second.outcome, second.mail_from, list(second.rcpt_to)) == ("accepted", "n@n", ["m@m"])
    assert [first.tx_id, second.tx_id] == [0, 1]


@hazard("S-19")
def test_nested_mail_in_a_pipeline_stays_in_the_first() -> None:
    """Whose recipient it is the client could not know."""
    nested = "C: MAIL FROM:<n@n>\nC: RCPT TO:<m@m>\nS: 250 ok\nS: 250 ok\n"
    (mail,) = running.replay_text(HELLO + ENVELOPE + nested + TEXT + BYE).mails
    assert mail.outcome == "accepted"
    assert len(mail.rcpt_to) == 2


@hazard("S-20", "S-21")
def test_dialogue_inside_a_text() -> None:
    body = "C: MAIL FROM:<x@x>\nC: DATA\nC: 354 go\nC: ..\nC: ...\nC: ..x\nC: QUIT\n"
    text = HELLO + ENVELOPE + TEXT.replace("C: text\n", body) + BYE
    assert [v for v, _ in answers(text)] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    message = running.transcript_text(text)["messages"][0]
    assert message["bytes_wire"] - message["bytes_message"] == 3


@hazard("S-21")
def test_empty_text() -> None:
    assert messages(HELLO + ENVELOPE + "C: DATA\nS: 354 go on\nC: .\nS: 250 ok\n" + BYE) == [(0, True, 250)]


@hazard("S-22", "D-01", "F-02")
def test_end_mark_in_every_cut() -> None:
    turns = parse(DELIVERY)
    whole = running.transcript(wire.build(turns))
    at = stream(turns, "C").index(b"\r\n.\r\n")
    for cuts in range(1, 32):
        places = [at + i for i in range(5) if cuts >> i & 1]
        segments = mutate.cut_at(wire.build(turns), client=places)
        assert running.transcript(segments) == whole
        split = {at + 3, at + 4} & set(places)
        fired = running.rules(running.replay(segments, ["mailguard:pix-6"]))
        # The dot and its CRLF in different segments: what an old PIX loses.
        if not split:
            assert "mailguard.eod-split" not in fired


@hazard("S-23")
def test_auth_answers_that_look_like_commands() -> None:
    text = f"""{HELLO}
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: DATA
        S: 334 UGFzc3dvcmQ6
        C: QUIT
        S: 235 ok
        C: AUTH PLAIN =
        S: 501 no
        C: AUTH CRAM-MD5
        S: 334 x
        C: *
        S: 501 cancelled
    """
    shown = [
        ("(auth-response)", 334),
        ("(auth-response)", 235),
        ("AUTH", 501),
        ("AUTH", 334),
        ("(auth-response)", 501),
    ]
    assert answers(text + BYE)[2:] == [*shown, ("QUIT", 221)]
    assert "UGFz" not in repr(running.transcript_text(text + BYE)["commands"])


@hazard("S-26")
def test_connection_that_ends_before_the_reply() -> None:
    text = HELLO + ENVELOPE + TEXT.replace("S: 250 queued\n", "")
    for close, outcomes in (
        ("fin", ("closed", "unknown")),
        ("rst", ("reset",)),
        ("none", ("unknown", "stalled")),
    ):
        (mail,) = running.replay_text(text, close=close).mails
        assert mail.outcome in outcomes
        assert mail.reply is None
        assert mail.stage == "after-end-of-data"


@hazard("S-27")
def test_fifty_mails_on_one_connection() -> None:
    text = HELLO
    for n in range(50):
        text += f"C: MAIL FROM:<s{n}@a>\nS: 250 ok\nC: RCPT TO:<r{n}@b>\nS: 250 ok\n" + TEXT
    found = running.replay_text(text + BYE).mails
    assert len(found) == 50
    for n, mail in enumerate(found):
        assert f"s{n}@a" in mail.mail_from
        assert [f"r{n}@b" in r for r in mail.rcpt_to] == [True]
        assert mail.outcome == "accepted"


@hazard("S-30", "S-31", "S-32")
def test_bare_line_ends() -> None:
    """A line ends at LF; a bare CR is an octet of it."""
    turns = [
        Turn("S", b"220 mx\n"),
        Turn("C", b"EHLO x\n"),
        Turn("S", b"250 mx\r\n"),
        Turn("C", b"NOOP a\rb\r\n"),
        Turn("S", b"250 ok\n"),
        Turn("C", b"MAIL FROM:<a@b>\r\r\n"),
        Turn("S", b"250 ok\r\n"),
    ]
    for segments in (wire.build(turns), mutate.octetwise(wire.build(turns))):
        got = running.transcript(segments)
        assert [(c["verb"], c["length"], c["reply"]) for c in got["commands"]] == [
            ("EHLO", 6, 250),
            ("NOOP", 8, 250),
            ("MAIL", 16, 250),
        ]


END_MARKS = {
    "D-02": (b"\n.\n", "lf-dot-lf"),
    "D-03": (b"\n.\r\n", "lf-dot-crlf"),
    "D-04": (b"\r\n.\n", "crlf-dot-lf"),
    "D-05": (b"\r.\r", "cr-dot-cr"),
    "D-06": (b"\r.\n", "cr-dot-lf"),
    "D-07": (b"\n.\r", "lf-dot-cr"),
    "D-08": (b"\r.\r\n", "cr-dot-crlf"),
    "D-09": (b"\r\n.\r", "crlf-dot-cr"),
    "D-10": (b"\r\n\0.\r\n", "crlf-nul-dot-crlf"),
    "D-11": (b"\r\n.\0\r\n", "crlf-dot-nul-crlf"),
    "D-12": (b"\r\n.\r\r\n", "crlf-dot-cr-crlf"),
    "D-13": (b"\r\r\n.\r\r\n", "cr-crlf-dot-cr-crlf"),
}


@hazard(*END_MARKS, "D-14")
@pytest.mark.parametrize("name", END_MARKS)
def test_end_marks_that_are_none(name: str) -> None:
    """One mail, and the fact that some servers would see two; the same however it is cut."""
    mark, word = END_MARKS[name]
    smuggled = b"Subject: x\r\n\r\none" + mark + b"MAIL FROM:<smuggled@a>\r\nDATA\r\ntwo\r\n.\r\n"
    head, tail = parse(HELLO + ENVELOPE + "C: DATA\nS: 354 go on\n"), parse("S: 250 queued\n" + BYE)
    turns = [*head, Turn("C", smuggled), *tail]
    for segments in (wire.build(turns), mutate.octetwise(wire.build(turns))):
        got = running.transcript(segments)
        assert [m["bytes_wire"] for m in got["messages"]] == [len(smuggled) - 3]
        assert [c["verb"] for c in got["commands"]] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        result = running.replay(segments)
        assert len(result.mails) == 1
        fired = [r for r in running.rules(result) if r.startswith("smtp.smuggling-")]
        assert f"smtp.smuggling-{word}" in fired
