"""A diagnosis in text: what stands on the page, folded, at 80 columns, and where the capture cannot tell."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import pytest

from diagnosed import PCAPS, QUESTION, RULES, by_hand, cut_capture, looked_at
from smtpinspect.diagnose.model import Break, Case, Diagnosis, Difference, Vantage
from smtpinspect.report import diagnose_page, diagnose_words
from smtpinspect.report.headline import headline
from smtpinspect.report.terminal import Style, wide

LABELS = "PROVED CONFIRMED FITS CONTRAST REFUTED WHAT DO ASK".split()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_capture(tmp_path_factory.mktemp("cut"))


@pytest.fixture
def found(capture: Path) -> Diagnosis:
    return by_hand(capture)


def told(diagnosis: Diagnosis, width: int | None = None) -> list[str]:
    return list(diagnose_page.page(diagnosis, width, Style(False), ["mail.pcap"]))


def text(diagnosis: Diagnosis, width: int | None = None) -> str:
    return "\n".join(told(diagnosis, width))


def section(lines: list[str], label: str) -> str:
    """What stands behind a label, up to the next one."""
    at = next(n for n, line in enumerate(lines) if line.startswith(label))
    end = next((n for n, line in enumerate(lines[at + 1 :], at + 1) if line[:1] != " "), len(lines))
    return "\n".join(line[diagnose_page.LABEL :] for line in lines[at:end])


def again(case: Case, **changed: object) -> Case:
    other = copy(case)
    other.observed = case.observed._replace(**changed)
    if other.observed.outcome == "accepted":
        other.causes = []
    return other


def test_the_page_goes_from_what_is_proved_to_what_to_ask(found: Diagnosis) -> None:
    lines = told(found)
    starts = [line.split()[0] for line in lines if line.split() and line.split()[0] in LABELS and line[0] != " "]
    assert starts == LABELS
    assert lines[0].startswith("Mail alice@example.org to bob@example.net   message-id <minutes@")
    head = "NOT DELIVERED: cut silently inside the message headers, from its byte 0 on"
    assert lines[1] == f"{head}; CONFIRMED by the firewall's log"
    assert section(lines, "NOTE").startswith("taken on the sender's side (guessed: ")
    assert "guessed" not in section(lines, "PROVED")
    assert lines[-1] == "Next: smtpinspect diagnose mail.pcap --format html -o diagnosis.html"


def test_degrees_stay_apart(found: Diagnosis) -> None:
    lines = told(found)
    proved, fits, confirmed = (section(lines, label) for label in ("PROVED", "FITS", "CONFIRMED"))
    assert "never acknowledged" in proved and "stormshield.smtp" not in proved
    assert fits.startswith("likely    stormshield.smtp-231 or stormshield.smtp-122: ")
    assert "possible  a filter we do not know cut it" in fits and "certain" not in fits
    assert "alarm 231 in the firewall's log" in confirmed and "alarm 231 in the" not in fits


def test_how_often_the_lost_octets_left_is_counted(found: Diagnosis) -> None:
    (case,) = found.cases
    assert case.trace is not None
    at = case.observed.broken.at
    times = sum(packet.by_client and packet.at == at and packet.length > 0 for packet in case.trace.packets)
    assert times > 2
    assert f"left {times} times and were never acknowledged" in section(told(found), "PROVED")


def test_remedies_begin_at_the_sender(found: Diagnosis) -> None:
    do = section(told(found), "DO").split("\n")
    assert do[0] == "at the sender:" and "Encode the Subject" in do[1]
    place = do.index("on the firewall:")
    assert place > 1 and "Let alarm 231 pass" in do[place + 1]
    assert any("you lose: " in line for line in do) and any("undo: " in line for line in do)


def test_what_would_help_and_what_to_ask(found: Diagnosis) -> None:
    lines = told(found)
    assert section(lines, "WHAT IF").startswith(f"{RULES[0]} and {RULES[1]} on pass: this mail goes through")
    assert section(lines, "ASK THEM") == QUESTION
    assert "3 of 3 failed" in section(lines, "CONTRAST") and "112 of 112 accepted" in section(lines, "CONTRAST")
    assert "zero-window, path-mtu: segments of 1,448" in section(lines, "RULED OUT")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_nothing_is_wider_than_the_terminal(found: Diagnosis, width: int) -> None:
    long = [line for line in told(found, width) if wide(line) > width and not line.startswith("Next:")]
    assert not long
    assert QUESTION.replace(" ", "") in text(found, width).replace("\n", "").replace(" ", "")


def test_a_command_stays_on_its_line(found: Diagnosis) -> None:
    (case,) = found.cases
    command = "CONFIG PROTOCOL SMTP PROFILE ALARM UPDATE index=0 id=231 context=protocol action=pass level=minor"
    first = case.causes[0]
    case.causes[0] = first._replace(remedies=(first.remedies[0]._replace(commands=(command,)),))
    assert any(line.strip() == command for line in told(found, 80))


def test_many_rules_of_one_rank_are_counted(found: Diagnosis) -> None:
    (case,) = found.cases
    case.causes = [case.causes[0]._replace(cause=f"product.rule-{number}") for number in range(20)]
    assert "one of 20 rules: product rule-0, rule-1, rule-2 ..." in " ".join(text(found, 80).split())
    assert "the same byte fits all 20" in " ".join(text(found, 80).split())


def test_a_wide_terminal_gets_the_timeline(found: Diagnosis) -> None:
    assert "TIMELINE" in text(found, 120)
    assert section(told(found, 80), "TIMELINE") == "2 steps: shown from 110 columns on, in a pipe, and by --format html"


@pytest.mark.parametrize(("phase", "arrived"), [("datamid", False), ("dot", True), ("dotreply", True)])
def test_from_the_final_dot_on_it_may_have_been_delivered(found: Diagnosis, phase: str, arrived: bool) -> None:
    found.cases = [again(found.cases[0], phase=phase)]
    assert ("MAY HAVE BEEN DELIVERED; retries make duplicates: cut silently" in text(found)) is arrived
    assert ("NOT DELIVERED" in text(found)) is not arrived


@pytest.mark.parametrize(
    ("reply", "by", "boxes", "words"),
    [
        ("451 4.7.1 later", "server", False, "DEFERRED: the server answered 451 at the reply to the final dot"),
        ("552 no", "server", True, "REJECTED: a 552 came back at the reply to the final dot, from the server or a box"),
        ("552 no", "middlebox", True, "REJECTED: a box on the way, not the server, answered 552"),
    ],
)
def test_a_reply_is_told_with_who_gave_it(found: Diagnosis, reply: str, by: str, boxes: bool, words: str) -> None:
    case = again(found.cases[0], outcome="refused", reply=reply, phase="dotreply", broken=Break("reply", by))
    case.causes = [cause for cause in case.causes if boxes and cause.degree != "confirmed"]
    found.cases = [case]
    assert words in text(found)
    assert "MAY HAVE BEEN" not in text(found)


def test_a_mail_whose_sender_never_learnt_that_it_was_taken(found: Diagnosis) -> None:
    (case,) = found.cases
    lost = again(case, outcome="accepted", phase="dotreply", broken=Break("rst", "middlebox", 17))
    want = "MAY HAVE BEEN DELIVERED: the server took it, the sender never learnt; retries make duplicates"
    assert str(headline(lost)) == want
    taken = again(case, outcome="accepted", accepted=1, phase=None, broken=Break())
    assert str(headline(taken)) == "DELIVERED: the server took it"


@pytest.mark.parametrize(
    ("phase", "broken", "words"),
    [
        ("dotreply", Break("drop", "server", 9), "no reply to the final dot; the capture ends after 5 min"),
        ("dotreply", Break("drop", "middlebox", 9), "cut silently at the reply to the final dot"),
        ("greeting", Break("drop", "unknown", 9), "no greeting; the capture ends after 5 min"),
        ("datamid", Break("drop", "unknown", 9, 4000), "cut silently inside the message"),
    ],
)
def test_silence_is_no_cut(found: Diagnosis, phase: str, broken: Break, words: str) -> None:
    case = again(found.cases[0], phase=phase, broken=broken, silence=300.0)
    case.causes, case.transaction = [], None
    assert words in str(headline(case))


def test_silence_behind_starttls_has_a_place(found: Diagnosis) -> None:
    dropped = Break("drop", "middlebox", 9)
    case = again(found.cases[0], phase=None, stage=None, outcome="stalled", broken=dropped, silence=19.0)
    assert case.script is not None and case.transaction is not None
    case.causes, case.mail = [], None
    case.script = case.script._replace(tls_at=case.transaction.text_at)
    assert str(headline(case)) == "NO MAIL SEEN: silent after STARTTLS: 19 s without an answer"


def test_the_points_between_which_it_was_cut_are_named(found: Diagnosis) -> None:
    case = again(found.cases[0])
    case.causes = []
    case.differences = (Difference("dropped", ("outside", "inside"), "client", 97),)
    assert "NOT DELIVERED: cut between outside and inside, inside the message" in str(headline(case))


def test_a_reply_is_quoted_whole_where_the_dialogue_has_it() -> None:
    (case,) = looked_at(PCAPS / "refused-recipient.pcap").cases
    lines = told(Diagnosis([case]))
    assert lines[1] == "REJECTED: the server answered 550 at RCPT"
    assert 'the answer that decided: "550 Unrouteable address"' in section(lines, "PROVED")


def test_a_reset_is_told_with_who_sent_it(found: Diagnosis) -> None:
    found.cases = [again(found.cases[0], outcome="reset", phase="rcpt", broken=Break("rst", "middlebox", 17))]
    assert "NOT DELIVERED: reset by a box on the way at RCPT" in text(found)
    assert "an RST ended the connection (packet 17)" in text(found)


def test_behind_the_box_the_bytes_are_not_there(found: Diagnosis) -> None:
    found.cases = [again(found.cases[0], vantage=Vantage("receiver", True))]
    assert "the bytes that tripped the rule are not in this capture; get the sender's, or the .eml" in text(found)
    assert "taken on the receiver's side (you said so)" in text(found)


def test_tls_leaves_no_content_rule(found: Diagnosis) -> None:
    (case,) = found.cases
    assert case.script is not None and case.transaction is not None
    case.script = case.script._replace(tls_at=case.transaction.text_at)
    packet = case.observed.broken.packet
    told_at = f"TLS from packet {packet}: no content rule can be the cause unless the box decrypts. What is left: "
    assert told_at in text(found)


def test_offload_is_told(found: Diagnosis) -> None:
    found.cases = [again(found.cases[0], confidence=("super-segments",))]
    assert "packet borders worked out from the MSS; split rules not judged" in text(found)


def test_alike_mails_are_one_block(found: Diagnosis) -> None:
    found.cases = found.cases * 41
    lines = told(found, 80)
    assert lines[0] == "41 mails: 41 not delivered"
    assert sum(line.startswith("NOT DELIVERED") for line in lines) == 1
    assert "and 40 more mails to 203.0.113.25:25" in "\n".join(lines)


def test_connections_without_a_mail_come_last_and_are_no_mails(found: Diagnosis) -> None:
    (case,) = found.cases
    empty = again(case, outcome="unknown", broken=Break())
    empty.mail = None
    found.cases = [empty, empty, case]
    lines = told(found)
    assert lines[0] == "1 mail: 1 not delivered; and 2 connections without a mail"
    heads = [line.split(":")[0] for line in lines if line.startswith(("NOT ", "NO "))]
    assert heads == ["NOT DELIVERED", "NO MAIL SEEN"]


def test_ten_thousand_mails_of_many_kinds_make_a_page_that_can_be_read(found: Diagnosis) -> None:
    (case,) = found.cases
    fine = again(case, outcome="accepted")
    kinds = []
    for number in range(60):
        other = again(case, reply=f"{400 + number} no", outcome="refused", broken=Break("reply", "server"))
        kinds += [other] * (60 - number)
    found.cases = kinds + [fine] * (10_000 - len(kinds))
    lines = told(found, 80)
    assert len(lines) < 1_000
    assert "8,170 accepted" in lines[0]
    assert "48 further kinds of failure:" in lines
    assert "  and 18 more: --format json has all" in lines


def test_nothing_failed(found: Diagnosis) -> None:
    found.cases = [again(found.cases[0], outcome="accepted")]
    assert told(found) == [
        "Mail alice@example.org to bob@example.net: accepted, nothing to explain",
        "Next: smtpinspect replay mail.pcap",
    ]
    found.cases = []
    assert told(found) == ["no SMTP found: nothing to diagnose"]


def test_the_next_command_names_points_as_points(found: Diagnosis) -> None:
    lines = list(diagnose_page.page(found, None, Style(False), ["a b.pcap", "c.pcap"], ["x=a b.pcap", "y=c.pcap"]))
    assert lines[-1].startswith("Next: smtpinspect diagnose --point 'x=a b.pcap' --point y=c.pcap --format html")


def test_strangers_move_no_cursor(found: Diagnosis) -> None:
    (case,) = found.cases
    case.observed = case.observed._replace(
        reply="550 \x1b[2J\u202egnp.exe", outcome="refused", broken=Break("reply", "server")
    )
    assert "\x1b" not in text(found) and "\u202e" not in text(found)


def test_words_of_confidence_are_explained() -> None:
    lines = "\n".join(diagnose_words.legend())
    for word in ("certain", "likely", "possible", "unlikely", "PROVED", "CONFIRMED", "FITS"):
        assert f"  {word} " in lines


def test_what_is_only_counted_stands_in_the_sum(found: Diagnosis) -> None:
    found.left_out = (0, 1_000)
    found.cases = [*found.cases, *found.cases]
    assert text(found).startswith("2 mails: ")
    assert "; only counted: 1,000 more that failed or had no mail\n" in text(found)
