"""What is said, and what is not, of rules whose octets nobody saw, and of mails that were answered."""

from __future__ import annotations

import pytest

from kit import capture as captured
from kit.broken import GREETING, Connection, message
from kit.wire import Ends
from smtpinspect.diagnose.causes import what_if
from smtpinspect.diagnose.causes.questions import searched
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Cause, WhatIf, Where
from smtpinspect.report import diagnose_words as words
from smtpinspect.report.diagnose_places import Place, heading
from smtpinspect.report.headline import headline

EIGHT_BIT = b"Subject: R\xe9union\r\nFrom: <alice@example.org>\r\n\r\nHi\r\n.\r\n"
PLAIN = b"Subject: hello\r\nFrom: <alice@example.org>\r\n\r\nHi\r\n.\r\n"
OF_REPLIES = {"stormshield.smtp-217.reply", "stormshield.smtp-219.reply", "stormshield.smtp-223"}


def case_of(*made: Connection, named: str = "", taken: Where | None = None) -> Case:
    """The first one that failed."""
    packets = sorted((p for each in made for p in each.packets), key=lambda p: p.time)
    asked = Asked(captured.frames(packets), inspectors=(named,) if named else None, taken=taken)
    return next(case for case in diagnose(asked).diagnosis.cases if case.causes)


def names(case: Case) -> set[str]:
    return {cause.cause for cause in case.causes}


def command_lost() -> Connection:
    """MAIL is sent again and again; whether it arrived nobody can tell: its reply may have been cut."""
    made = Connection().open().say("S", GREETING, acked=True)
    made.say("C", b"EHLO out.example.org\r\n", acked=True).say("S", b"250 mx.example.net\r\n", acked=True)
    at = made.sent["C"]
    line = b"MAIL FROM:<alice@example.org>\r\n"
    made.say("C", line, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, len(line))
    return made.wait(2).close("C", answered=False)


def silent(text: bytes = PLAIN) -> Connection:
    """The whole text is acknowledged, and never answered."""
    return Connection().envelope().say("C", text, acked=True).wait(30).close("C", answered=False)


def answered(reply: bytes) -> Connection:
    made = Connection().envelope().say("C", PLAIN, acked=True).say("S", reply, acked=True)
    return made.say("C", b"QUIT\r\n").say("S", b"221 Bye\r\n").close("S").close("C")


def reply_lost() -> Connection:
    """At the receiver: the 250 is sent again and again."""
    made = Connection().envelope().say("C", PLAIN, acked=True)
    at = made.sent["S"]
    made.say("S", b"250 2.0.0 Ok: queued as DEAD\r\n", arrives=False)
    for n in range(6):
        made.wait(0.4 * 2**n).again("S", at, 30)
    return made


def nothing_of_the_text(size: str = "") -> Connection:
    """At the receiver: behind its 354 nothing comes."""
    made = Connection().open().say("S", GREETING, acked=True)
    mail = b"MAIL FROM:<alice@example.org>%s\r\n" % size.encode()
    for command, reply in (
        (b"EHLO out.example.org\r\n", b"250 mx.example.net\r\n"), (mail, b"250 Ok\r\n"),
        (b"RCPT TO:<bob@example.net>\r\n", b"250 Ok\r\n"),
    ):  # fmt: skip
        made.say("C", command, acked=True).say("S", reply, acked=True)
    made.say("C", b"DATA\r\n", acked=True)
    at = made.sent["S"]
    made.say("S", b"354 go on\r\n", arrives=False)
    for n in range(6):
        made.wait(0.4 * 2**n).again("S", at, 11)
    return made


# ---- replies that were never due


@pytest.mark.parametrize("named", ["", "stormshield"])
@pytest.mark.parametrize("text", [PLAIN, message(9_000)], ids=["one segment", "many"])
def test_a_text_that_never_arrived_has_no_reply_that_could_be_the_cause(text: bytes, named: str) -> None:
    case = case_of(Connection().cut(text), named=named)
    assert not names(case) & OF_REPLIES
    assert case.causes[0].kind == "unknown-filter"
    assert [cause.rank for cause in case.causes].count(0) == 1
    assert case.what_if == WhatIf()


def test_a_text_that_was_acknowledged_waits_for_its_reply() -> None:
    assert names(case_of(silent())) >= OF_REPLIES


def test_a_server_that_closes_or_goes_on_without_a_reply_never_sent_one() -> None:
    alive = Connection().envelope().say("C", PLAIN, acked=True).wait(30).close("C")
    closes = Connection().envelope().say("C", PLAIN, acked=True).close("S")
    for made in (alive, closes):
        case = case_of(made)
        assert not names(case) & OF_REPLIES
        assert "unknown-filter" in names(case)


def test_behind_a_forged_rst_the_reply_is_there() -> None:
    made = Connection().envelope().say("C", PLAIN, acked=True).reset("S", ttl=250)
    case = case_of(made.ack("S").say("S", b"250 2.0.0 Ok\r\n"))
    assert case.observed.outcome == "accepted"
    assert not names(case) & OF_REPLIES


def test_a_command_that_was_sent_again_may_have_had_its_reply_cut() -> None:
    assert names(case_of(command_lost())) >= OF_REPLIES


def places(case: Case) -> dict[str, int]:
    return {cause.cause: cause.rank for cause in case.causes}


@pytest.mark.parametrize("acked", [True, False], ids=["acknowledged", "by the RST alone"])
def test_an_rst_in_place_of_a_reply_may_be_for_the_reply_as_for_anything(acked: bool) -> None:
    made = Connection().open().say("S", GREETING, acked=True).say("C", b"EHLO out.example.org\r\n", acked=acked)
    found = places(case_of(made.reset("S", ttl=250)))
    assert {found[rule] for rule in OF_REPLIES} == {found["unknown-filter"]} == {0}


@pytest.mark.parametrize("octets", [400, 600])
def test_a_reply_that_stops_amid_a_line_that_is_too_long_names_the_rule_about_length(octets: int) -> None:
    made = Connection().open().say("S", GREETING, acked=True)
    made.say("C", b"EHLO out.example.org\r\n", acked=True).say("S", b"250 mx.example.net\r\n", acked=True)
    made.say("C", b"MAIL FROM:<alice@example.org>\r\n", acked=True)
    made.say("S", b"250 2.1.0 " + b"o" * octets, acked=True).say("C", b"RCPT TO:<bob@example.net>\r\n", arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", made.sent["C"] - 27, 27)
    found = places(case_of(made.wait(2).close("C", answered=False)))
    assert (found.get("stormshield.smtp-217.reply", 99) < found["unknown-filter"]) is (octets > 512)


# ---- what would let it pass


def test_what_nobody_saw_is_not_relaxed() -> None:
    for made in (silent(), command_lost(), nothing_of_the_text()):
        case = case_of(made)
        assert case.what_if == WhatIf()
        assert list(words.what_if(case)) == []


def test_with_the_product_named_rules_are_switched_off_to_find_out() -> None:
    case = case_of(command_lost(), named="stormshield")
    assert set(case.what_if.relax) == OF_REPLIES
    (told,) = words.what_if(case)
    assert told.startswith("if it is one of these: switch off ")
    assert "goes through" not in told


def test_a_hole_amid_the_text_is_of_no_rule_about_commands() -> None:
    """Seen at the receiver: what lay behind the hole came, the end mark too."""
    text = b"Subject: two\r\n\r\n" + b"line of text\r\n" * 300 + b".\r\n"
    one = Connection().envelope().say("C", text[:1460], acked=True)
    one.say("C", text[1460:2920], arrives=False, seen=False).say("C", text[2920:], acked=True).wait(40).ack("S")
    case = case_of(one, taken="receiver")
    rules = {cause.cause for cause in case.causes if cause.kind == "rule"}
    assert rules
    assert not {rule for rule in rules if "command" in rule or rule.endswith(("rcpt-count", "sender-length"))}


def test_what_was_seen_goes_through_without_its_rule() -> None:
    case = case_of(Connection().cut(EIGHT_BIT))
    assert case.what_if.relax == ("stormshield.smtp-231",)
    assert list(words.what_if(case)) == ["if it is this rule, stormshield.smtp-231 on pass: this mail goes through"]


def test_of_a_rule_that_more_than_the_break_tells_of_no_if_is_said() -> None:
    case = case_of(Connection().cut(EIGHT_BIT))
    case.what_if = case.what_if._replace(assumes=False)
    assert list(words.what_if(case)) == ["stormshield.smtp-231 on pass: this mail goes through"]


def test_where_nothing_answers_any_more_no_arrival_is_promised() -> None:
    made = Connection().cut(EIGHT_BIT)
    again = Connection(Ends(client_port=40_113), start=made.now + 5)
    for n in range(4):
        again.emit("C", 2).wait(2**n)
    case = case_of(made, again)
    assert "outage" in names(case)
    (told,) = words.what_if(case)
    assert "is not known" in told
    assert "goes through" not in told


def test_an_altered_dialogue_leads_nobody_knows_where() -> None:
    masked = b"220-" + b"*" * 20 + b"\r\n" + b"*" * 13 + b"\r\n"
    made = Connection().open().say("S", masked, acked=True).wait(5).close("C")
    case = case_of(made, named="mailguard:pix-4.4")
    (told,) = words.what_if(case)
    assert "nothing of what was seen would be cut" in told
    assert "--re-enact" in told
    assert f"off={'+'.join(case.what_if.relax)}" in told


def test_a_product_without_a_rule_is_no_rule_to_relax() -> None:
    case = case_of(Connection().cut(EIGHT_BIT))
    case.causes = [Cause("mailguard", "rule", "certain", "its log", degree="confirmed"), *case.causes]
    assert "mailguard" not in what_if(case).relax


# ---- what was answered


def test_of_an_accepted_mail_nothing_that_was_answered_is_a_cause() -> None:
    case = case_of(reply_lost(), taken="receiver")
    assert case.observed.outcome == "accepted"
    assert [cause for cause in case.causes if cause.kind == "rule"] == []
    assert "retries make duplicates" in str(headline(case))
    assert words.BEHIND not in list(words.notes(case))
    assert "was it accepted" not in " ".join(case.questions)


@pytest.mark.parametrize(
    "reply", [b"550 5.1.1 no such user\r\n", b"554 5.7.1 virus found\r\n", b"552 5.3.4 too big\r\n"], ids=str
)
def test_a_refusal_may_always_be_the_servers_own(reply: bytes) -> None:
    case = case_of(answered(reply))
    assert names(case) & {"refused", "filter-refuses"}
    assert "unknown-filter" in names(case)


def test_a_gateways_words_name_a_gateway() -> None:
    case = case_of(answered(b"552 5.7.0 Message blocked by gateway anti-virus\r\n"))
    found = {cause.cause: cause for cause in case.causes}
    assert found["gateway-virus"].confidence == "possible"
    assert "SonicWall" in found["gateway-virus"].title
    assert found["filter-refuses"].confidence == "possible"


def test_who_refused_is_asked_for_the_reason() -> None:
    case = case_of(answered(b"554 5.7.1 no, id=1xVQHr-0004\r\n"))
    asked = case.questions[-1]
    assert 'why was it answered "554 5.7.1 no, id=1xVQHr-0004" (queue id 1xVQHr-0004)?' in asked
    assert " UTC" in asked
    assert "time-out" not in " ".join(case.questions)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_recipient_refused_for_good_is_told_beside_one_refused_for_now(order: tuple[int, int]) -> None:
    replies = b"550 5.1.1 no\r\n", b"451 4.7.1 later\r\n"
    said = [(b"EHLO out.example.org\r\n", b"250 mx\r\n"), (b"MAIL FROM:<alice@example.org>\r\n", b"250 ok\r\n")]
    said += [(b"RCPT TO:<r%d@example.net>\r\n" % n, replies[n]) for n in order]
    made = Connection().open().say("S", GREETING, acked=True)
    for command, reply in (*said, (b"QUIT\r\n", b"221 Bye\r\n")):
        made.say("C", command, acked=True).say("S", reply, acked=True)
    case = case_of(made.close("S").close("C"))
    assert str(headline(case)) == "DEFERRED: 1 recipient refused for good, 1 for now"
    told = next(line for line in words.shown(case) if line.startswith("recipients"))
    assert {"r0@example.net 550", "r1@example.net 451"} == set(told.partition(": ")[2].split(", "))
    decided = next(cause for cause in case.causes if cause.cause == "refused").evidence[0].text
    assert case.observed.reply[:3] in decided


def test_a_busy_greeting_is_a_refusal_and_no_crash() -> None:
    made = Connection().open().say("S", b"421 4.3.2 too busy\r\n", acked=True).close("S")
    case = case_of(made)
    assert (case.causes[0].cause, case.causes[0].confidence) == ("busy", "likely")
    assert "server-gone" not in names(case)
    assert 'why was it answered "421 4.3.2 too busy"?' in case.questions[-1]


def test_behind_starttls_nobody_is_asked_for_alarms_about_content() -> None:
    made = Connection().open().say("S", GREETING, acked=True)
    made.say("C", b"EHLO out.example.org\r\n", acked=True).say("S", b"250-mx\r\n250 STARTTLS\r\n", acked=True)
    made.say("C", b"STARTTLS\r\n", acked=True).say("S", b"220 go\r\n", acked=True)
    at, hello = made.sent["C"], b"\x16\x03\x01\x02\x00" + b"\x01" * 512
    made.say("C", hello, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, len(hello))
    case = case_of(made.wait(2).close("C", answered=False))
    assert "alarm" not in case.questions[0]
    assert "anything that dropped" in case.questions[0]
    assert list(searched(case.causes, general=False)) == []


# ---- what the receiver's side cannot see


def test_what_lies_deep_in_a_text_comes_last_where_nothing_of_the_text_came() -> None:
    causes = case_of(nothing_of_the_text(), taken="receiver").causes
    deep = [cause.rank for cause in causes if cause.product == "sonicwall"]
    others = [cause.rank for cause in causes if cause.kind == "rule" and cause.product != "sonicwall"]
    assert deep
    assert min(deep) > max(others)


def test_a_mail_that_is_too_small_for_an_attachment_is_cut_by_no_rule_about_attachments() -> None:
    causes = case_of(nothing_of_the_text(" SIZE=332"), taken="receiver").causes
    assert not any(cause.product == "sonicwall" for cause in causes)
    assert any(cause.product == "stormshield" for cause in causes)


def test_nobody_says_which_direction_was_cut_where_the_receiver_hears_nothing() -> None:
    case = case_of(nothing_of_the_text(), taken="receiver")
    told = next(cause for cause in case.causes if cause.kind == "unknown-filter")
    assert "either direction" in told.evidence[0].text


def test_what_was_not_acknowledged_may_have_arrived() -> None:
    for made in (Connection().cut(PLAIN), Connection().cut(EIGHT_BIT)):
        told = " ".join(sign.text for cause in case_of(made).causes for sign in cause.evidence)
        assert "acknowledged" in told
        assert "come through" not in told
        assert "came through" not in told


def test_a_number_behind_octets_that_never_came_proves_them_cut() -> None:
    made = Connection(ttl=64, client_ttl=57).envelope()
    at = made.sent["C"]
    case = case_of(made.say("C", PLAIN, arrives=False, seen=False).ack("C").wait(5).ack("C"))
    seen = case.observed
    assert (seen.phase, seen.broken.kind, seen.broken.by, seen.broken.at) == ("databody", "drop", "middlebox", at)
    assert f"bytes {at:,}-{at + len(PLAIN) - 1:,}, which never came here" in " ".join(words.proved(case))


def test_what_came_within_a_round_trip_does_not_still_send() -> None:
    made = Connection(ttl=64, client_ttl=57).envelope()
    made.packets.pop()  # the acknowledgement of the 354
    at = made.sent["S"] - len(b"354 go on\r\n")
    made.got["C"] = at
    made.ack("C")  # and what crosses it
    for n in range(6):
        made.wait(0.4 * 2**n).again("S", at, 11)
    told = " ".join(words.proved(case_of(made)))
    assert "still sends" not in told
    assert "the last that came from the client came" in told


def test_where_the_capture_just_ends_nobody_says_that_it_was_cut() -> None:
    case = case_of(Connection().envelope())
    assert str(headline(case)) == "NOT KNOWN: the capture ends at the first segment of the message"


# ---- how it is written


def place(*rules: str, about: str = "headers") -> Place:
    made = [Cause(rule, "rule", "possible", f"title of {rule}", unseen=about) for rule in rules]
    return Place(tuple(made))


def test_a_few_rules_are_named_with_their_titles() -> None:
    assert heading(place("a.x", "a.y")) == "a.x or a.y: title of a.x / title of a.y"


def test_many_rules_are_counted_by_product_and_by_what_they_read() -> None:
    told = heading(place("a.x", "a.y", "a.z", "a.w", "b.x"))
    assert told == "one of 5 rules: a x, y, z ... (headers); b x (headers)"


def test_the_unknown_filter_is_named_with_those_that_share_its_place() -> None:
    nobody = Cause("unknown-filter", "unknown-filter", "possible", "a filter we do not know")
    told = heading(Place((nobody, *place("a.x").causes)))
    assert told == "a filter we do not know or a.x: title of a.x"
    assert heading(Place((nobody,))) == "a filter we do not know"


def test_a_mail_that_the_client_gave_up_has_a_stage_with_its_phase() -> None:
    made = Connection().open().say("S", b"220 mx ESMTP\r\n", acked=True).say("C", b"HELO out.example\r\n")
    made.say("S", b"250 mx\r\n").say("C", b"MAIL FROM:<alice@example.org>\r\n").say("S", b"250 ok\r\n")
    made.say("C", b"RCPT TO:<bob@example.net>\r\n").say("S", b"250 ok\r\n", acked=True)
    made.say("C", b"RSET\r\n").say("S", b"250 ok\r\n").say("C", b"QUIT\r\n").say("S", b"221 bye\r\n").close("S")
    (case,) = diagnose(Asked(captured.frames(made.packets))).diagnosis.cases
    seen = case.observed
    assert (seen.outcome, seen.phase, seen.stage) == ("aborted", "rcpt", "after-initial-connection")
