"""What a capture does not prove, though it looks so at first: the reports say less there."""

from __future__ import annotations

from tempfile import NamedTemporaryFile

import pytest

from kit import capture
from kit.broken import ENVELOPE, Connection, message
from kit.segment import ACK, FIN, PSH, RST, SYN, Segment
from kit.wire import START, Ends
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Where
from smtpinspect.diagnose.observe.ending import NOT_TAKEN
from test_diagnose_outcome import DATA, HELLO, MAIL, TEXT, after, case_of, segments, told

SAID = HELLO + MAIL + DATA + TEXT


def diagnosed(*made: Connection, taken: Where | None = None, snaplen: int = capture.SNAPLEN) -> Case:
    """The mail of the first connection."""
    packets = sorted((p for each in made for p in each.packets), key=lambda p: p.time)
    with NamedTemporaryFile(suffix=".pcap") as held:
        held.write(capture.pcap(capture.records(packets, snaplen=snaplen)))
        held.flush()
        cases = diagnose(Asked(held.name, taken=taken)).diagnosis.cases
    return next(case for case in cases if case.flow.client == made[0].ends.names()[0])


def stamped(value: int, echo: int) -> bytes:
    return b"\1\1\x08\x0a" + value.to_bytes(4, "big") + echo.to_bytes(4, "big")


# --- an RST that overtakes what was sent before it


def test_an_ack_that_the_servers_own_rst_overtook_is_no_sign_of_a_box() -> None:
    made = segments(SAID)
    reset = after(made, 0.1, RST | ACK)
    overtaken = after(made, 0.1, ACK).but(ack=reset.ack - 5, time=reset.time + 0.00002)
    case = case_of([*made, reset, overtaken])
    assert told(case)[1:] == ("rst", "server")


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({}, "server"),  # it may have been sent before
        ({"ack": 5}, "middlebox"),
        ({"payload": b"250 ok\r\n", "flags": PSH | ACK}, "middlebox"),
        ({"time": 2.0}, "middlebox"),
    ],
    ids=["nothing new", "acknowledges more", "says more", "much later"],
)
def test_a_server_that_goes_on_behind_an_rst_did_not_send_it(changes: dict[str, object], by: str) -> None:
    made = segments(SAID)
    reset = after(made, 0.1, RST | ACK).but(ack=made[-1].seq)
    later = {"ack": reset.ack, "time": reset.time + 0.0005, "flags": ACK}
    given = {name: later[name] + value if name in ("ack", "time") else value for name, value in changes.items()}
    assert told(case_of([*made, reset, after(made, 0.1, ACK).but(**{**later, **given})]))[2] == by


@pytest.mark.parametrize(("stamp", "by"), [(99, "server"), (100, "server"), (101, "middlebox")])
def test_timestamps_tell_which_of_both_was_sent_first(stamp: int, by: str) -> None:
    made = [each.but(options=each.options + stamped(90, 90)) for each in segments(SAID)]
    reset = after(made, 0.1, RST | ACK).but(options=stamped(100, 90))
    late = after(made, 0.1, ACK).but(options=stamped(stamp, 90), time=reset.time + 0.001)
    assert told(case_of([*made, reset, late]))[2] == by


def test_what_echoes_a_packet_behind_the_rst_was_sent_behind_it() -> None:
    made = [each.but(options=each.options + stamped(90, 90)) for each in segments(SAID)]
    reset = after(made, 0.1, RST).but(window=0, options=b"")
    goes_on = made[-1].but(time=reset.time + 0.2, options=stamped(300, 90))
    answer = after(made, 0.1, ACK).but(time=goes_on.time + 0.03)
    assert told(case_of([*made, reset, goes_on, answer.but(options=stamped(95, 90))]))[2] == "unknown"
    assert told(case_of([*made, reset, goes_on, answer.but(options=stamped(95, 300))]))[2] == "middlebox"


# --- large packets that came through in pieces


def probed(cut: bytes, before: int = 0) -> Connection:
    """The line is down for some seconds, so that TCP tries smaller packets; then `cut` is dropped again and again."""
    made = Connection().envelope()
    if before:
        made.say("C", message(3000)[:before], acked=True)
    at = made.sent["C"]
    made.say("C", message(3000)[:1460], arrives=False)
    for n in range(3):
        made.wait(0.4 * 2**n).again("C", at, 1460)
    made.wait(4).again("C", at, 700, arrives=True).ack("S").again("C", at + 700, 760, arrives=True).ack("S")
    at = made.sent["C"]
    made.say("C", cut, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, len(cut))
    return made.wait(2).close("C", answered=False)


@pytest.mark.parametrize("made", [probed(b"EVIL" * 10), probed(b"EVIL" * 365, before=1460)], ids=["small", "as large"])
def test_tcp_makes_packets_smaller_behind_any_loss(made: Connection) -> None:
    case = diagnosed(made)
    assert "path-mtu" in {out.cause for out in case.against}
    assert not [cause.cause for cause in case.causes if cause.confidence in ("certain", "likely")]


def test_where_nothing_as_large_came_through_a_narrow_way_is_likely() -> None:
    first = diagnosed(probed(b"text" * 365)).causes[0]
    assert (first.cause, first.confidence, first.degree) == ("path-mtu", "likely", "fits")


def test_a_sender_that_heeds_the_router_and_is_cut_all_the_same_is_cut_for_something_else() -> None:
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(1600)[:1460], arrives=False).icmp("203.0.113.1", 3, 4, 1400)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 1300)
    causes = {cause.cause: cause.confidence for cause in diagnosed(made.wait(2).close("C", answered=False)).causes}
    assert causes.get("path-mtu") not in ("certain", "likely")


# --- keep-alives without an answer


def kept_alive(octets: int, before: float, *answered: bool, close: bool = True) -> Connection:
    """All of the text is acknowledged; then one keep-alive after another."""
    made = Connection().envelope().say("C", message(600), acked=True).wait(before)
    for each in answered:
        made.emit("C", ACK, b"\0" * octets, at=made.sent["C"] - 1)
        if each:
            made.ack("S")
        made.wait(5)
    return made.reset("C") if close else made.emit("C", ACK, at=made.sent["C"] - 1)


def judged(case: Case) -> dict[str, str]:
    out = {against.cause: "ruled out" for against in case.against}
    return {**out, **{cause.cause: cause.confidence for cause in case.causes}}


@pytest.mark.parametrize("octets", [0, 1])
@pytest.mark.parametrize("close", [True, False])
def test_keep_alives_without_an_answer_show_that_the_way_was_dead(octets: int, close: bool) -> None:
    case = diagnosed(kept_alive(octets, 20, False, False, False, close=close))
    told = judged(case)
    assert [told.get(name) for name in ("idle-timeout", "outage", "server-gone")] == ["possible"] * 3
    assert told["slow-scanner"] == "unlikely"
    assert any("keep-alives of the client had no answer" in sign.text for sign in case.observed.broken.signs)


@pytest.mark.parametrize("octets", [0, 1])
def test_keep_alives_that_are_answered_show_that_it_was_alive(octets: int) -> None:
    case = diagnosed(kept_alive(octets, 20, True, True, True))
    told = judged(case)
    assert told["idle-timeout"] == told["outage"] == "ruled out" and told["slow-scanner"] != "unlikely"
    assert not any("keep-alive" in sign.text for sign in case.observed.broken.signs)


def test_a_connection_that_outlived_such_a_silence_before_was_hardly_forgotten_in_it() -> None:
    made = Connection().envelope().say("C", message(600), acked=True)
    for answered in (True, False, False):
        made.wait(75).emit("C", ACK, b"\0", at=made.sent["C"] - 1)
        if answered:
            made.ack("S")
    assert judged(diagnosed(made.wait(5).reset("C")))["idle-timeout"] == "unlikely"


# --- SYNs without an answer


def knocking(port: int = 25, start: float = 0.0) -> Connection:
    made = Connection(Ends(client_port=40_900, server_port=port), start=START + start)
    for n in range(6):
        made.emit("C", SYN).wait(2**n / 4)
    return made


def test_syns_without_an_answer_do_not_tell_who_dropped_them() -> None:
    case = diagnosed(knocking(2525))
    assert case.observed.broken.by == "middlebox"  # the likeliest, as of any silence; its sign names the others
    assert [sign.text for sign in case.observed.broken.signs] == [f"6 SYNs unanswered: {NOT_TAKEN}"]
    told = judged(case)
    names = ("port-filter", "busy", "outage", "server-gone")
    assert [told.get(name) for name in names] == ["possible"] * len(names)
    remedies = [each for cause in case.causes if cause.cause == "port-filter" for each in cause.remedies]
    assert "nc -vz 198.51.100.25 2525" in [command for each in remedies for command in each.commands]


@pytest.mark.parametrize(("port", "word"), [(25, "unlikely"), (587, "likely")])
def test_another_connection_to_that_host_tells_whether_the_port_is_filtered(port: int, word: str) -> None:
    other = Connection(Ends(client_port=40_901, server_port=port), start=START + 1).delivered()
    assert judged(diagnosed(knocking(), other))["port-filter"] == word


# --- octets that never came, and those that the capture lost


def holed(*, got: bool, sack: bool, later: float = 0.0) -> Connection:
    """At the receiver: a full segment in the middle of the text is not in the capture. `got`: the server has it."""
    made = Connection(ttl=64, client_ttl=57).envelope()
    text = message(4000)
    made.say("C", text[:1460], acked=True).say("C", text[1460:2920], arrives=got, seen=False)
    made.say("C", text[2920:], arrives=sack)
    if sack:
        made.ack("S")
    return made.wait(later).ack("C").ack("S") if later else made


@pytest.mark.parametrize("later", [0.0, 3.0])
def test_what_the_server_has_not_got_either_was_not_lost_by_the_capture(later: float) -> None:
    seen = diagnosed(holed(got=False, sack=True, later=later)).observed
    assert "gap" not in seen.confidence
    assert "the server has not got them either" in seen.broken.signs[0].text
    assert (seen.broken.kind, seen.broken.by) == ("drop", "middlebox" if later else "unknown")


def test_what_the_server_acknowledges_was_lost_by_the_capture() -> None:
    seen = diagnosed(holed(got=True, sack=True)).observed
    assert "gap" in seen.confidence
    assert not any("never came" in sign.text for sign in seen.broken.signs)


def test_before_the_server_says_what_it_has_the_capture_may_have_lost_it() -> None:
    seen = diagnosed(holed(got=False, sack=False)).observed
    assert not any("never came" in sign.text for sign in seen.broken.signs)
    seen = diagnosed(holed(got=False, sack=False, later=3)).observed
    assert "the server has not got them either" in seen.broken.signs[0].text


# --- the reply that was waited for in vain


def waited_at_rcpt(*, late: bool, arrives: bool = True) -> Connection:
    made = Connection().open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    made.say("C", b"EHLO out.example.org\r\n", acked=True).say("S", b"250 mx.example.net\r\n", acked=True)
    made.say("C", b"MAIL FROM:<alice@example.org>\r\n", acked=True).say("S", b"250 Ok\r\n", acked=True)
    made.say("C", b"RCPT TO:<bob@example.net>\r\n", acked=arrives, arrives=arrives).wait(8).close("C")
    return made.wait(4).say("S", b"250 Ok\r\n") if late else made


@pytest.mark.parametrize(("late", "word"), [(False, "possible"), (True, "likely")])
def test_a_reply_that_was_waited_for_in_vain_counts_among_the_slow_ones(late: bool, word: str) -> None:
    assert judged(diagnosed(waited_at_rcpt(late=late)))["tarpit"] == word


def test_what_the_server_never_got_it_need_not_answer() -> None:
    assert judged(diagnosed(waited_at_rcpt(late=False, arrives=False)))["tarpit"] == "ruled out"


# --- a line of the text that ends with a full stop


def sentence(*, more: int = 0, ttl: int = 57) -> Connection:
    """The server waits on for the end of the text, and closes. `more`: octets of the client that never came here."""
    made = Connection(ttl=ttl, client_ttl=64 if ttl == 57 else 57).envelope()
    made.say("C", message(400)[:-3] + b"This is a sentence.\r\n", acked=True).wait(40).say("S", b"421 waited\r\n")
    return made.emit("C", ACK, at=made.sent["C"] + more).close("S")


@pytest.mark.parametrize(("ttl", "more", "word"), [(64, 500, None), (64, 0, "possible"), (57, 0, "possible")])
def test_a_line_that_ends_with_a_full_stop_is_no_missing_line_end(ttl: int, more: int, word: str | None) -> None:
    assert judged(diagnosed(sentence(more=more, ttl=ttl))).get("missing-crlf") == word


# --- another TTL from some packet on


def another_ttl(ttl: int, *, back: bool = False, reply: bool = False) -> Case:
    """The server's FIN, or a 550 of its, has this TTL, and all behind it in its name; before it was 57."""
    made = segments(HELLO + "C: MAIL FROM:<a@example.org>\n" + ("S: 550 no\n" if reply else "S: 250 ok\n"))
    if reply:
        made[-1] = made[-1].but(ttl=ttl)
    fin = after(made, 0.1, FIN | ACK, ttl=ttl)
    taken = Segment("C", fin.ack, fin.seq + 1, ACK, time=fin.time + 0.05, ttl=64)
    last = fin.but(seq=fin.seq + 1, flags=ACK, time=fin.time + 0.1, ttl=57 if back else ttl)
    return case_of([*made, fin, taken, last])


@pytest.mark.parametrize("reply", [True, False], ids=["reply", "fin"])
@pytest.mark.parametrize(
    ("ttl", "back", "by"),
    [(52, False, "unknown"), (62, False, "unknown"), (52, True, "middlebox"), (120, False, "middlebox")],
    ids=["further away", "nearer", "and back", "another system's"],
)
def test_another_ttl_in_all_that_follows_may_be_another_route(ttl: int, back: bool, by: str, reply: bool) -> None:
    broken = another_ttl(ttl, back=back, reply=reply).observed.broken
    assert (broken.kind, broken.by) == ("reply" if reply else "fin", by)
    assert any(str(ttl) in sign.text and "57" in sign.text for sign in broken.signs)


# --- what is counted


def test_how_often_octets_were_sent_counts_segments_however_long() -> None:
    made = Connection(mss=20_000).envelope()
    at = made.sent["C"]
    made.say("C", message(30_000)[:20_000], arrives=False)
    for octets in (5_000, 1_460, 1_460, 1_460):
        made.wait(0.5).again("C", at, octets)
    owed = diagnosed(made).account.client.owed  # type: ignore[union-attr]
    assert owed is not None and owed.times == 5


def test_the_line_of_bdat_is_no_octet_of_the_message() -> None:
    made = Connection().open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    for command, reply in (*ENVELOPE[:3], (b"BDAT 100\r\n" + b"x" * 100, b"250 100 ok\r\n")):
        made.say("C", command, acked=True).say("S", reply, acked=True)
    at = made.sent["C"]
    made.say("C", b"BDAT 50 LAST\r\n" + b"y" * 50, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 64)
    seen = diagnosed(made.wait(2).close("C", answered=False)).observed
    assert seen.text_acknowledged == 100
    assert [row.told.partition(":")[0] for row in seen.timeline][-2:] == ["100 bytes of text", "50 bytes of text"]


# --- a server that waited for its client


@pytest.mark.parametrize("ttl", [57, 64], ids=["at the sender", "at the receiver"])
def test_a_421_to_no_command_stands_where_the_next_one_was_due(ttl: int) -> None:
    made = Connection(ttl=ttl, client_ttl=64 if ttl == 57 else 57)
    made.open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    for command, reply in ENVELOPE[:2]:
        made.say("C", command, acked=True).say("S", reply, acked=True)
    case = diagnosed(made.wait(300).say("S", b"421 4.4.2 time-out\r\n", acked=True).close("S").close("C"))
    seen = case.observed
    assert (seen.phase, seen.broken.kind, seen.broken.by) == ("rcpt", "reply", "server")
    told = "it answers no command: the server had waited 300 s for the client"
    assert [sign.text for sign in seen.broken.signs] == [told]
    assert judged(case).get("sender-stopped") == ("likely" if ttl == 57 else None)


# --- packets that were cut short when they were captured


def test_what_a_snap_length_cut_off_was_not_lost_by_the_capture() -> None:
    made = Connection().open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    long = b"".join(b"250-KEYWORD%d WITH ITS PARAMETERS\r\n" % n for n in range(9)) + b"250 HELP\r\n"
    for command, reply in zip([each for each, _ in ENVELOPE], (long, *(r for _, r in ENVELOPE[1:])), strict=True):
        made.say("C", command, acked=True).say("S", reply, acked=True)
    at = made.sent["C"]
    made.say("C", message(4000)[:1460], acked=True).say("C", message(4000)[1460:], arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at + 1460, 1460)
    case = diagnosed(made, snaplen=96)
    assert "snaplen" in case.observed.confidence and "gap" not in case.observed.confidence
    assert not any("EHLO has no reply" in sign.text for cause in case.causes for sign in cause.evidence)


@pytest.mark.parametrize(("arrives", "word"), [(True, "likely"), (False, "ruled out")])
def test_a_sender_that_closes_amid_its_text_itself_has_stopped(arrives: bool, word: str) -> None:
    made = Connection().envelope().say("C", message(600)[:300], arrives=arrives, acked=arrives).wait(0.2)
    assert judged(diagnosed(made.close("C", answered=arrives)))["sender-stopped"] == word


def test_of_a_reply_that_only_began_it_is_told_that_it_did() -> None:
    made = Connection().envelope().say("C", message(400), acked=True).say("S", b"250-2.0.0 first\r\n", acked=True)
    case = diagnosed(made.wait(600).close("C"))
    texts = [sign.text for sign in case.observed.broken.signs]
    assert texts[0] == "the server's reply begins here (17 bytes); its last line never came"
    assert texts[1] == "the server still answers, but never sent the rest of it"
    assert "slow-scanner" not in judged(case) and judged(case).get("tarpit") != "ruled out"


def test_a_retransmission_behind_an_rst_was_sent_behind_it() -> None:
    """A bare RST, as a host's answer to nothing: no packet is overtaken for as long as a retransmission timer runs."""
    made = Connection().envelope().say("C", message(400), acked=True).emit("S", RST)
    case = diagnosed(made.wait(0.2).say("S", b"250 2.0.0 Ok\r\n"))
    assert case.observed.broken.by == "middlebox"


def test_an_rst_for_an_old_connection_is_no_new_one_that_is_refused() -> None:
    old = Connection(Ends(client_port=40_907), start=START + 0.5)
    old.sent["C"] = 400
    old.streams["C"] = b"x" * 400
    old.again("C", 300, 100).reset("S")
    assert judged(diagnosed(Connection().cut(message(400)), old))["server-gone"] != "likely"
