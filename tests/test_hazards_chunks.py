"""Hazards of chunks (B) and TLS (X)."""

from __future__ import annotations

import pytest

import running
from hazards import hazard
from kit import mutate, wire
from kit.dialogue import Turn, parse
from test_hazards_smtp import BYE, ENVELOPE, HELLO, TEXT, answers, mails, messages


@hazard("B-01", "B-03", "B-09")
def test_chunks_in_any_cut() -> None:
    """Dots, CRLF and NUL mean nothing inside; the next mail may come in the same segment."""
    chunks = b"BDAT 7\r\n\r\n.\r\n\0\nBDAT 10 LAST\r\nBDAT 5\r\n.\r"
    turns = [*parse(HELLO + ENVELOPE), Turn("C", chunks + b"MAIL FROM:<n@n>\r\n")]
    turns += parse("S: 250 ok\nS: 250 queued\nS: 250 ok\n" + BYE)
    for segments in (wire.build(turns), mutate.octetwise(wire.build(turns))):
        got = running.transcript(segments)
        assert [(c["verb"], c["reply"]) for c in got["commands"][3:]] == [
            ("BDAT", 250),
            ("BDAT", 250),
            ("MAIL", 250),
            ("QUIT", 221),
        ]
        assert [(m["bytes_message"], m["terminated"], m["final_reply"]) for m in got["messages"]] == [
            (17, True, 250)
        ]


@hazard("B-02", "B-11")
def test_empty_last_chunk() -> None:
    """The reply to it, not to QUIT, is the outcome."""
    text = HELLO + ENVELOPE + "C: BDAT 6\nC: hello!\\c\nS: 250 ok\nC: BDAT 0 LAST\nS: 250 queued\n" + BYE
    assert messages(text) == [(6, True, 250)]
    assert mails(text) == [("accepted", 250)]


SIZES = "x -1 +5 0x10 5x 5.0 1e3 18446744073709551616 99999999999999999999999999999999"


@hazard("B-04")
@pytest.mark.parametrize("size", ["", *SIZES.split(), "5 LASTX", "5 X"])
def test_chunks_without_a_size(size: str) -> None:
    text = f"{HELLO}{ENVELOPE}C: BDAT {size}\nS: 501 syntax\nC: NOOP\nS: 250 ok\n{BYE}"
    assert answers(text)[3:] == [("BDAT", 501), ("NOOP", 250), ("QUIT", 221)]
    assert messages(text) == []


@hazard("B-05")
def test_refused_chunk_still_counts_its_octets() -> None:
    chunks = "C: BDAT 6\nC: QUIT\nC: BDAT 6\nC: RSET\nC: BDAT 6 LAST\nC: NOOP\n"
    text = HELLO + ENVELOPE + chunks + "S: 452 full\nS: 503 no\nS: 503 no\nC: RSET\nS: 250 ok\n" + BYE
    assert answers(text)[3:] == [("BDAT", 452), ("BDAT", 503), ("BDAT", 503), ("RSET", 250), ("QUIT", 221)]
    assert mails(text)[0][0] == "refused"


@hazard("B-06")
def test_short_chunk() -> None:
    text = HELLO + ENVELOPE + "C: BDAT 100 LAST\nC: short\n"
    assert messages(text) == [(7, False, None)]


@hazard("B-06")
def test_long_chunk_spills_into_commands() -> None:
    text = HELLO + ENVELOPE + "C: BDAT 5 LAST\nC: hello there\nS: 250 ok\nS: 500 what\n" + BYE
    assert answers(text)[3:] == [("BDAT", 250), ("THERE", 500), ("QUIT", 221)]


@hazard("B-07")
def test_chunks_and_data_in_one_mail() -> None:
    text = HELLO + ENVELOPE + "C: BDAT 5\nC: hello\\c\nS: 250 ok\nC: DATA\nS: 503 no\n" + BYE
    assert answers(text)[3:] == [("BDAT", 250), ("DATA", 503), ("QUIT", 221)]


@hazard("B-08")
def test_chunks_that_were_never_offered() -> None:
    """Follow the octets; the reply tells the rest."""
    text = HELLO.replace("CHUNKING", "HELP") + ENVELOPE + "C: BDAT 7 LAST\nC: hello\nS: 500 what\n" + BYE
    assert answers(text)[3:] == [("BDAT", 500), ("QUIT", 221)]


@hazard("B-12")
def test_xexch50() -> None:
    text = HELLO + ENVELOPE + "C: XEXCH50 8 2\nS: 354 send\nC: QUIT\\r\\nAB\\c\nS: 250 ok\n" + TEXT + BYE
    assert [v for v, _ in answers(text)[3:]] == ["XEXCH50", "DATA", "QUIT"]
    assert mails(text) == [("accepted", 250)]


# --- TLS

STARTTLS = "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n"


@hazard("X-01")
def test_starttls() -> None:
    text = (
        STARTTLS
        + "S: 220 go\n"
        + r"C: \x16\x03\x01\x00\x05hello\c"
        + "\n"
        + r"S: \x16\x03\x01\x00\x05there\c"
    )
    got = running.transcript_text(text)
    assert got["starttls"] == {"accepted": True, "client_tls_bytes": 10, "server_tls_bytes": 10}
    assert got["reply_codes"] == [220, 250, 220]
    assert [c["verb"] for c in got["commands"]] == ["EHLO", "STARTTLS"]
    result = running.replay_text(text, ["mailguard", "stormshield"])
    assert [(m.outcome, m.mail_from) for m in result.mails] == [("encrypted", None)]
    assert result.flows[0].mails == 0


@hazard("X-02")
@pytest.mark.parametrize("reply", ["454 no", "500 what", "502 no", "250 ok"])
def test_starttls_refused(reply: str) -> None:
    assert mails(STARTTLS + f"S: {reply}\n" + ENVELOPE + TEXT + BYE) == [("accepted", 250)]


@hazard("X-03")
def test_octets_behind_starttls() -> None:
    text = STARTTLS.replace("C: STARTTLS\n", "C: STARTTLS\nC: MAIL FROM:<x@x>\n") + "S: 220 go\n"
    result = running.replay_text(text + r"C: \x16\x03\x01\x00\x05hello\c")
    assert "smtp.starttls-injection" in running.rules(result)
    tiny = running.replay(mutate.octetwise(wire.build(parse(text))))
    told = [[(a.offset, a.length, a.octets) for a in r.alerts if "injection" in a.rule] for r in (result, tiny)]
    assert told[0] == told[1]
    assert told[0][0][2].startswith(b"MAIL FROM:<x@x>")
    assert "smtp.starttls-injection" not in running.rules(running.replay_text(STARTTLS + "S: 220 go\n"))


@hazard("X-04", "F-03")
def test_masked_keyword_is_still_a_dialogue() -> None:
    text = "S: 220 ****0*2***\nC: EHLO a\nS: 250-mx\nS: 250 XXXXXXXA\n" + ENVELOPE + TEXT + BYE
    assert mails(text) == [("accepted", 250)]


@hazard("X-05")
def test_plain_text_behind_starttls() -> None:
    """A capture that was decrypted in place."""
    text = STARTTLS + "S: 220 go\nC: EHLO a\nS: 250 mx\n" + ENVELOPE + TEXT + BYE
    assert ("accepted", 250) in mails(text)


@hazard("X-06")
@pytest.mark.parametrize("port", [25, 465, 587])
def test_tls_from_the_first_octet(port: int) -> None:
    turns = [Turn("C", b"\x16\x03\x01\x00\x05hello"), Turn("S", b"\x16\x03\x03\x00\x05there")]
    ends = wire.Ends(server_port=port)
    got = running.transcript(wire.build(turns), ends)
    assert got["commands"] == []
    assert got["reply_codes"] == []
    assert got["client_bytes"] == 10
    assert running.rules(running.replay(wire.build(turns), ["mailguard", "stormshield"], ends)) == []
