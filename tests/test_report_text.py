"""The text report: its words are whole, its memory is bounded, its columns stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

import smtpinspect
from kit import capture, wire
from kit.dialogue import DELIVERY, parse
from smtpinspect._core import views
from smtpinspect.actions import Action, Strength
from smtpinspect.facts import LINE, gt
from smtpinspect.grammar.words import BROKEN
from smtpinspect.inspectors.base import Inspector, Rule, Settings
from smtpinspect.report import summary, words
from smtpinspect.report.summary import SHOWN, Summary
from smtpinspect.report.terminal import Style, cut, safe, took, wide, wrapped
from smtpinspect.report.text import Text, products
from smtpinspect.report.transcript_text import lines as ladder

CUT = DELIVERY.replace("Subject: hello", "Subject: Réunion")
LONG = DELIVERY.replace("Subject: hello", "Subject: {x*999}")
TLS = "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nC: \\x16\\x03\\c\n"


def frames(*texts: str) -> list[tuple[float, bytes]]:
    """A connection each, one after the other."""
    packets = []
    for number, text in enumerate(texts):
        segments = wire.build(parse(text), start=wire.START + 5 * number)
        packets += wire.packets(segments, wire.Ends(client_port=40_000 + number))
    return capture.frames(packets)


def summed(*texts: str, inspectors: list[str] | None = None, **options: Any) -> tuple[Summary, Text]:
    engine = smtpinspect.Engine(inspectors)
    made = Summary(engine.labels, looks_at=engine.looks_at, **options)
    made.begin("here", "here.pcap")
    for record in engine.run(frames(*texts)):
        made.take(record)
    columns = products(engine.inspectors, engine.labels, inspectors or ())
    return made, Text(made, columns, ports=engine.ports)


def told(*texts: str, **options: Any) -> str:
    return "\n".join(summed(*texts, **options)[1].lines())


# --- the words


def test_every_word_of_the_records_is_explained() -> None:
    assert set(words.DOES) == {strength.word for strength in Strength}
    assert set(words.DOUBTS) == set(views.DOUBTS)
    assert set(words.PHASES) == {phase for phase in views.PHASES if phase}
    assert set(views.OUTCOMES) >= BROKEN


def test_effects_are_of_known_rules() -> None:
    known = {i for profile in smtpinspect.Mailguard.profiles for i in smtpinspect.Mailguard(profile).ids()}
    assert set(words.EFFECTS) <= known


@pytest.mark.parametrize(
    ("inspector", "text", "cell"),
    [
        ("mailguard:pix-6", DELIVERY, "no ESMTP, no TLS"),
        ("mailguard:pix-6", DELIVERY.replace("EHLO", "HELO"), "greeting masked"),
        ("mailguard:pix-4.0", DELIVERY, "answers itself"),
        (
            "mailguard:asa-8",
            DELIVERY.replace("Subject: hello", "Subject: {x*999}"),
            "cut: header-line-length",
        ),
        ("stormshield", CUT, "cut: smtp-231"),
        ("stormshield,teardown=rst-both", CUT, "reset: smtp-231"),
        ("stormshield,level=ids", CUT, "passes, alarm"),
        ("stormshield", DELIVERY, "passes"),
        (
            "stormshield:internet,122.action=pass",
            DELIVERY.replace("From: ", "From: é"),
            "passes, in part unseen",
        ),
    ],
)
def test_cells(inspector: str, text: str, cell: str) -> None:
    made, _ = summed(text, inspectors=[inspector])
    (row,) = made.rows
    ((_, found),) = row.cells.values()
    assert found == cell


def test_a_hanging_greeting_is_a_break() -> None:
    text = DELIVERY.replace("S: 220 mx", "S: 220-mx.example welcomes you\nS: 220 mx", 1)
    made, text_ = summed(text, inspectors=["mailguard:pix-4.4"])
    assert made.rows[0].cells["mailguard"] == ("would hang", "hang: banner-multiline-broken")
    assert "hangs the client:" in "\n".join(text_.lines())


class Box(Inspector):
    """Refuses a mail with a body line of more than ten octets."""

    name = "box"
    title = "Box of somebody"

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """One row."""
        refused = Action(Strength.ANSWER, "answer", {"reply": b"552 too long", "client": "rst"})
        long = LINE(where="body", length=gt(10))
        yield Rule("box.long-line", long, refused, "project", "x", 1, "a long line", "body")


def test_a_mail_that_the_box_refuses() -> None:
    engine = smtpinspect.Engine([Box()])
    made = Summary(engine.labels)
    for record in engine.run(frames(DELIVERY, DELIVERY.replace("How are you?", "Hello."))):
        made.take(record)
    text = "\n".join(Text(made, products(engine.inspectors, engine.labels, ())).lines())
    assert [row.cells["box"] for row in made.rows] == [
        ("would be refused", "refused: long-line"),
        ("", "passes"),
    ]
    assert "box.long-line  refuses: a long line (body)" in text
    assert "the sender would log: 552 too long   [after-end-of-data]" in text
    assert "or a lost connection: the reset may come before the reply is read" in text
    assert "Box: 1 would be refused." in text
    assert words.colour("would be refused") == "red"


def test_a_product_that_does_not_look() -> None:
    away = "stormshield:low,inside=192.0.2.0/24,directions=inbound"
    made, text = summed(CUT, inspectors=[away, "stormshield,inside=192.0.2.0/24"])
    assert [cell for _, cell in made.rows[0].cells.values()] == ["not inspected", "cut: smtp-231"]
    assert "1 not inspected" in "\n".join(text.lines())
    made, text = summed("S: 220 mx\nC: QUIT\nS: 221 bye\n", inspectors=[away])
    assert made.rows[0].cells["stormshield"] == ("not inspected", "not inspected")


def test_titles_of_products() -> None:
    engine = smtpinspect.Engine(["sonicwall", "stormshield:low"])
    assert [one.title for one in products(engine.inspectors, engine.labels, ())] == [
        "SonicWall",
        "Stormshield (low)",
    ]


def test_products_of_one_fate_share_a_line() -> None:
    engine = smtpinspect.Engine(["mailguard", "stormshield", "sonicwall"])
    made = Summary(engine.labels)
    for record in engine.run(frames(DELIVERY)):
        made.take(record)
    columns = products(engine.inspectors, engine.labels, ())
    lines = [*Text(made, columns, width=62).lines()]
    assert "                behind Stormshield (high), SonicWall: passes" in lines
    lines = [*Text(made, columns, width=58).lines()]
    assert "                behind Stormshield (high): passes" in lines
    assert "                behind SonicWall: passes" in lines


def test_stages_become_what_a_sender_logs() -> None:
    assert "SMTP timeout after end of data   [after-end-of-data]" in told(CUT, inspectors=["stormshield"])
    reset = told(CUT, inspectors=["stormshield,teardown=rst-both"])
    assert "Remote host closed connection in response to end of data" in reset
    vrfy = DELIVERY.replace("C: MAIL", "C: VRFY bob\nS: 502 5.5.1 off\nC: MAIL", 1)
    assert "after the command whose reply was cut" in told(vrfy, inspectors=["stormshield"])


def test_assumed_products_are_called_so() -> None:
    assert "PIX 6 (assumed: you did not say which); Stormshield (high) (assumed" in told(DELIVERY)
    text = told(DELIVERY, inspectors=["mailguard", "stormshield:low", "mailguard:asa-8,limits=none"])
    assert "PIX 6 (assumed: you did not say which); Stormshield (low); ASA 8 (limits=none)" in text


def test_what_is_not_evaluated_is_told() -> None:
    text = told(DELIVERY, inspectors=["mailguard:asa-8,match=cmd verb mail -> rate-limit 5"])
    assert "Not evaluated, ASA 8: Class 1: cmd verb mail -> rate-limit 5: spans connections" in text
    assert "Not evaluated" not in told(DELIVERY, inspectors=["mailguard:asa-8"])


def test_two_of_a_kind_are_told_apart() -> None:
    specs = ["mailguard:pix-6", "mailguard:pix-6,deny_style=noop", "mailguard:pix-4.0"]
    text = told(DELIVERY, inspectors=specs)
    for title in ("PIX 6", "PIX 6 #2", "PIX 4.0"):
        assert f"mailguard.ehlo-blocked [{title}]" in text


# --- what is shown


def test_a_row_for_a_connection_without_mail() -> None:
    text = told("S: 220 mx.example ESMTP\nC: HELO a.example\nS: 250 mx\nC: QUIT\nS: 221 bye\n")
    assert "(no mail)" in text
    assert "2 commands" in text


def test_a_break_counts_for_later_mails_and_is_explained_once() -> None:
    again = CUT.split("C: MAIL", 1)[1].split("C: QUIT")[0].replace("Réunion", "hello")
    text = told(CUT.replace("C: QUIT", f"C: MAIL{again}C: QUIT"), inspectors=["stormshield"])
    assert text.count("cut: smtp-231") == 2
    assert text.count("client's byte") == 1
    assert "cuts: the connection, since packet" in text


def test_what_comes_behind_the_last_mail_is_told() -> None:
    text = told(DELIVERY.replace("C: QUIT", "C: VRFY bob\nS: 502 5.5.1 off\nC: QUIT"))
    assert "mailguard.command-not-allowed  alters: verb outside the allowed list (behind this mail)" in text
    assert "stormshield.smtp-223  cuts: SMTP command not supported by the server (behind this mail)" in text


def test_what_fires_for_every_client_is_folded() -> None:
    text = told(*[DELIVERY] * 4, inspectors=["mailguard:pix-6"])
    assert "on every connection: mailguard.banner-masked, mailguard.ehlo-blocked" in text
    assert "greeting masked with asterisks" not in text


def test_no_break_is_folded() -> None:
    assert "stormshield.smtp-231  cuts" in told(*[CUT] * 4, inspectors=["stormshield"])


def test_confidence_words_are_explained() -> None:
    turns = parse(DELIVERY)
    segments = [s for s in wire.build(turns) if s.direction == "C"]
    engine = smtpinspect.Engine([])
    made = Summary(())
    made.begin("", "")
    for record in engine.run(capture.frames(wire.packets(segments))):
        made.take(record)
    text = "\n".join(Text(made, ()).lines())
    assert "confidence: one-direction" in text
    assert "one-direction (1): only one direction is in the capture" in text


def test_nothing_found() -> None:
    made, text = summed()
    assert made.packets == 0
    assert "no SMTP in this capture: 0 packets read." in "\n".join(text.lines())


def test_records_are_left_out() -> None:
    assert "client's byte" not in told(CUT, records=("mail",))
    assert "alice@a.example " not in told(CUT, records=("flow",))


def test_stopped() -> None:
    engine = smtpinspect.Engine(["stormshield"])
    made = Summary(engine.labels)
    made.begin("", "here.pcap")
    for record in engine.run(frames(DELIVERY)):
        if isinstance(record, smtpinspect.Mail):
            made.take(record)
            made.stop(9)
            break
    text = "\n".join(Text(made, products(engine.inspectors, engine.labels, ())).lines())
    assert "stopped after 9 packets" in text
    assert "1 connection, 1 mail" in text


# --- memory


def test_rows_are_limited_and_the_rest_is_counted() -> None:
    made, text = summed(*[DELIVERY, CUT] * 50, inspectors=["stormshield"])
    assert len(made.rows) == 2 * SHOWN
    assert made.mails == 100
    assert made.hidden == [50 - SHOWN, 50 - SHOWN, 0]
    shown = "\n".join(text.lines())
    assert "… and 30 that break or would and 30 that do not" in shown
    assert "--format eve" in shown
    assert "100 mails.  Stormshield (high): 50 would be cut." in shown
    assert not made._talks


def test_sums_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "KEYS", 3)
    made, _ = summed(*[DELIVERY.replace("a.example", f"a{n}.example") for n in range(9)])
    assert len(made.domains) == 4
    assert made.domains["(others)"].mails == 6


# --- the terminal


def test_strangers_octets_are_safe() -> None:
    assert safe("\x1b[2J\u202e\x07") == r"\x1b[2J\u202e\x07"
    assert safe("Réunion 会議") == "Réunion 会議"


def test_widths() -> None:
    assert [wide(text) for text in ("abc", "é", "e\u0301", "会議")] == [3, 1, 1, 4]
    assert cut("会議室", 5) == "会議…"
    assert cut("abc", 3) == "abc"
    assert list(wrapped("aa bb cc", None, "  ")) == ["  aa bb cc"]
    assert list(wrapped("aa bb cc", 7, "  ")) == ["  aa bb", "    cc"]


def test_durations_are_readable() -> None:
    assert [took(s) for s in (0.00042, 0.25, 1234.5)] == ["0.4 ms", "0.25 s", "1,234.50 s"]


def test_colour_carries_no_meaning_alone() -> None:
    made, text = summed(CUT)
    plain = list(text.lines())
    coloured = list(Text(made, text.columns, style=Style(True), ports=text.ports).lines())
    assert any("\x1b[31m" in line for line in coloured)
    assert [line.replace("\x1b[", "\0") for line in plain] == plain
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


# --- the ladder


def ladder_of(text: str, **options: Any) -> str:
    return "\n".join(ladder(smtpinspect.transcript(frames(text), **options), None, Style(False)))


def test_ladder() -> None:
    text = ladder_of(DELIVERY)
    assert text.splitlines()[0] == "192.0.2.10:40000 to 198.51.100.25:25"
    assert "  S: 220" in text
    assert "  C: DATA                         354 " in text  # as the server said it
    replies = smtpinspect.transcript(frames(DELIVERY))[0]["replies"]
    assert [reply["text"] for reply in replies if reply["message"] == 0] == ["250 2.0.0 Ok: queued as 1"]
    assert "     text by DATA: " in text
    assert "; 250" in text


def test_ladder_without_a_reply() -> None:
    text = ladder_of(DELIVERY.split("S: 250 2.1.5")[0])
    assert "C: RCPT TO:<bob@mx.example>     no reply" in text


def test_ladder_of_tls() -> None:
    text = ladder_of(
        "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nC: \\x16\\x03\\c\n"
    )
    assert "TLS from here: 2 bytes from the client, 0 from the server" in text
