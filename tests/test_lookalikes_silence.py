"""From some octet on nothing comes back: a box that drops, a dead host and a cut line look the same from one side."""

from __future__ import annotations

import pytest

from kit import capture as captured
from kit.broken import Connection, message
from kit.wire import START, Ends
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Where
from smtpinspect.report import diagnose_words as words

EIGHT_BIT = b"Subject: R\xe9union\r\nFrom: <alice@example.org>\r\n\r\nHi\r\n.\r\n"
NAMED = b"Message-ID: <one@out.example.org>\r\n" + EIGHT_BIT
NEXT = Ends(client_port=40_113)
BOTH = ("server-gone", "outage")


def case_of(*made: Connection, taken: Where | None = None) -> Case:
    """The mail of the first connection."""
    packets = sorted((p for each in made for p in each.packets), key=lambda p: p.time)
    cases = diagnose(Asked(captured.frames(packets), taken=taken)).diagnosis.cases
    return next(case for case in cases if case.flow.client == made[0].ends.names()[0])


def said(case: Case) -> dict[str, str]:
    """What is said of these two: a word of confidence, or why one is out."""
    found = {cause.cause: cause.confidence for cause in case.causes if cause.cause in BOTH}
    return {**found, **{out.cause: out.text for out in case.against if out.cause in BOTH}}


def waits(text: bytes = EIGHT_BIT) -> Connection:
    """All of the text is acknowledged, then nothing; the client gives up."""
    return Connection().envelope().say("C", text, acked=True).wait(30).close("C", answered=False)


@pytest.mark.parametrize("made", [Connection().cut(EIGHT_BIT), Connection().cut(message(9_000)), waits()])
def test_where_nothing_comes_back_a_dead_host_and_a_cut_line_are_possible(made: Connection) -> None:
    assert said(case_of(made)) == {"server-gone": "possible", "outage": "possible"}


def test_before_the_capture_ends_nobody_need_close() -> None:
    made = Connection().envelope().say("C", EIGHT_BIT, acked=True).wait(30).emit("C", 16)
    assert said(case_of(made)) == {"server-gone": "possible", "outage": "possible"}


def test_a_capture_that_just_ends_shows_no_silence() -> None:
    made = Connection().envelope().say("C", EIGHT_BIT, acked=True)
    assert set(said(case_of(made)).values()) <= {"packets came through to the end"}


def test_syns_without_an_answer_leave_them_open() -> None:
    made = Connection()
    for n in range(4):
        made.emit("C", 2).wait(2**n)
    assert said(case_of(made)) == {"server-gone": "possible", "outage": "possible"}


def test_they_stand_behind_what_fits_the_octets_and_behind_the_unknown_filter() -> None:
    causes = case_of(Connection().cut(EIGHT_BIT)).causes
    assert [cause.cause for cause in causes[:2]] == ["stormshield.smtp-231", "unknown-filter"]
    assert [cause.rank for cause in causes if cause.cause in BOTH] == [2, 2]


def test_that_it_fell_silent_takes_nothing_from_what_if() -> None:
    case = case_of(Connection().cut(EIGHT_BIT))
    assert list(words.what_if(case)) == ["if it is this rule, stormshield.smtp-231 on pass: this mail goes through"]


def test_what_is_proved_does_not_tell_a_box_from_a_dead_host() -> None:
    told = " ".join(words.proved(case_of(Connection().cut(EIGHT_BIT))))
    assert "this connection alone does not tell a box that drops from a host that died or a line that was cut" in told
    alive = Connection().envelope()
    at = alive.sent["C"]
    alive.say("C", EIGHT_BIT, arrives=False)
    for n in range(4):
        alive.wait(0.4 * 2**n).again("C", at, len(EIGHT_BIT)).ack("S")
    case = case_of(alive)
    assert case.observed.broken.by == "middlebox"
    assert "does not tell" not in " ".join(words.proved(case))
    assert all("still answers" in why for why in said(case).values())
    assert set(said(case)) == set(BOTH)


def test_another_connection_that_is_answered_meanwhile_rules_both_out() -> None:
    other = Connection(NEXT, start=START + 5).envelope().wait(1).say("C", b"RSET\r\n", acked=True)
    told = said(case_of(Connection().cut(EIGHT_BIT), other))
    assert set(told) == set(BOTH)
    assert all("heard of the server" in why for why in told.values())


def test_another_connection_behind_the_silence_rules_nothing_out() -> None:
    broken = Connection().cut(EIGHT_BIT)
    told = said(case_of(broken, Connection(NEXT, start=broken.now + 60).delivered()))
    assert told == {"server-gone": "possible", "outage": "possible"}


@pytest.mark.parametrize("text", [EIGHT_BIT, NAMED], ids=["its text", "its message-id"])
def test_the_same_mail_that_stalls_at_the_same_octet_again_rules_both_out(text: bytes) -> None:
    broken = Connection().cut(text)
    again = Connection(NEXT, start=broken.now + 900).cut(text)
    told = said(case_of(broken, again))
    assert set(told) == set(BOTH)
    assert all("the same mail stalled at the same byte" in why for why in told.values())


def test_another_mail_that_stalls_leaves_them_open() -> None:
    broken = Connection().cut(EIGHT_BIT)
    other = Connection(NEXT, start=broken.now + 900).cut(message(300))
    assert said(case_of(broken, other)) == {"server-gone": "possible", "outage": "possible"}


def test_packets_that_came_through_behind_the_lost_one_speak_against_both() -> None:
    made = Connection().envelope()
    at, text = made.sent["C"], message(9_000)
    made.say("C", text[:1460], arrives=False).say("C", text[1460:5840], acked=True)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 1460)
    case = case_of(made.wait(2).close("C", answered=False))
    assert said(case) == {"server-gone": "unlikely", "outage": "unlikely"}


def test_at_the_receiver_the_line_may_be_cut_and_the_server_is_there() -> None:
    made = Connection(ttl=64, client_ttl=57).envelope().say("C", EIGHT_BIT, acked=True)
    at = made.sent["S"]
    made.say("S", b"250 2.0.0 Ok\r\n", arrives=False)
    for n in range(6):
        made.wait(0.4 * 2**n).again("S", at, 14)
    told = said(case_of(made, taken="receiver"))
    assert told["outage"] == "possible"
    assert "client" in told["server-gone"]


def test_a_side_that_falls_silent_at_its_own_cable_is_not_cut_off() -> None:
    told = said(case_of(Connection().cut(EIGHT_BIT), taken="receiver"))
    assert told["server-gone"] == "possible"
    assert "on its own side" in told["outage"]


def test_a_greeting_that_never_comes_leaves_them_open() -> None:
    made = Connection().open().wait(30).close("C", answered=False)
    assert said(case_of(made)) == {"server-gone": "possible", "outage": "possible"}


def slow(*, routed: bool) -> Connection:
    """Acknowledgements of what was sent before come up to 0.35 s behind the first packet that is lost: a long queue."""
    made = Connection().envelope()
    text = message(9_000)
    made.say("C", text[:4_380])
    at = made.sent["C"]
    made.say("C", text[4_380:5_840], arrives=False).wait(0.15)
    made.say("C", text[5_840:7_300], arrives=False).wait(0.2).ack("S")
    for n in range(5):
        made.wait(0.8 * 2**n).again("C", at, 1_460)
        if routed:
            made.icmp("203.0.113.1", 3, 0)
    return made


def test_on_a_slow_path_what_comes_late_had_been_sent_before() -> None:
    assert said(case_of(slow(routed=False))) == {"server-gone": "possible", "outage": "possible"}


def test_a_router_that_knows_no_way_to_the_server_any_more_tells_of_an_outage() -> None:
    case = case_of(slow(routed=True))
    assert said(case)["outage"] == "likely"
    told = next(cause for cause in case.causes if cause.cause == "outage")
    assert told.evidence[0].text.startswith("203.0.113.1 says that the server cannot be reached")


def test_a_reply_of_which_the_last_line_never_came_had_begun() -> None:
    made = Connection().envelope().say("C", EIGHT_BIT, acked=True).say("S", b"250-2.0.0 first\r\n", acked=True)
    case = case_of(made.wait(600).close("C"))
    proved = [sign.text for sign in case.observed.broken.signs]
    assert proved[0].endswith("its last line never came")
    assert "the server still answers, but never sent the reply" not in proved
    assert "slow-scanner" not in [cause.cause for cause in case.causes]
    assert not [out for out in case.against if "says something else" in out.text]
    assert case.observed.outcome == "stalled"


@pytest.mark.parametrize(
    ("text", "taken", "expected"),
    [
        (b"Subject: x\r\n\r\nhalf of", "sender", ["sender-stopped"]),
        (b"Subject: x\r\n\r\nall of it\r\n.\r\n", "sender", []),
        (b"Subject: x\r\n\r\nhalf of", "receiver", []),
    ],
)
def test_a_sender_that_closes_amid_its_text_is_a_cause_of_its_own(
    text: bytes, taken: Where, expected: list[str]
) -> None:
    """Its process was ended: its own kernel closes, 0.2 s behind the last octets, and all of them are acknowledged."""
    made = Connection().envelope().say("C", text, acked=True).wait(0.2).close("C")
    causes = {cause.cause: cause.confidence for cause in case_of(made, taken=taken).causes}
    assert [name for name in causes if name == "sender-stopped"] == expected
    assert all(causes[name] == "likely" for name in expected)


def test_a_host_that_rejects_a_packet_tells_of_a_filter_and_no_outage() -> None:
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", EIGHT_BIT, arrives=False)
    for n in range(5):
        made.wait(0.8 * 2**n).again("C", at, len(EIGHT_BIT)).icmp("203.0.113.1", 3, 3)
    assert said(case_of(made))["outage"] == "possible"


def test_a_packet_of_a_connection_that_stood_still_before_tells_of_no_outage() -> None:
    """One end of it is in the capture, sending again: the same rule may have cut it."""
    stray = Connection(NEXT, start=START + 0.01)
    stray.sent["C"] = 400
    stray.streams["C"] = b"x" * 400
    stray.again("C", 300, 100)
    case = case_of(Connection().cut(EIGHT_BIT), stray)
    (told,) = [cause for cause in case.causes if cause.cause == "outage"]
    assert told.confidence == "possible" and "other connection" not in told.evidence[0].text


def test_where_the_server_counts_octets_that_never_came_it_had_answered() -> None:
    made = Connection().envelope().say("C", EIGHT_BIT, acked=True).wait(0.2)
    made.say("S", b"250 2.0.0 Ok: queued\r\n", seen=False, arrives=False).wait(20).ack("S").wait(10)
    case = case_of(made.close("C", answered=False), taken="sender")
    out = {each.cause: each.text for each in case.against}
    for name in ("slow-scanner", "sender-timeout"):
        assert out[name].startswith("the server had answered by then")
