"""How and by whom a flow ended, as its packets show it: real runs, and captures made by hand. A script prints them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

import mta_runs
from kit import capture, dialogue, wire
from kit.link import LINKS
from kit.segment import ACK, FIN, PSH, RST, Segment
from mta_runs import ABSENT, FOLDER, Run
from smtpinspect.diagnose.account import accounts
from smtpinspect.diagnose.model import Case, Observed, Where
from smtpinspect.diagnose.observe.outcome import closer_look, observe
from smtpinspect.diagnose.survey import survey
from smtpinspect.source import Input

EMPTY: Final = 24  # octets of a capture without packets
# The reply to which command was replaced.
OF_OVERRIDE: Final = {"greeting": "greeting", "ehlo": "ehlo", "mail": "mail", "rcpt": "rcpt", "data": "datacmd",
                      "dot": "dotreply"}  # fmt: skip
# What the server had acknowledged was lost with its reply, so that the packets are those of the phase before.
SAME: Final = {
    "exim-dot-drop-pipe": "databody", "exim-dot-drop": "databody", "postfix-dot-drop-pipe": "databody",
    "postfix-dot-drop": "databody", "exim-reply354-drop": "datacmd", "postfix-reply354-drop": "datacmd",
}  # fmt: skip
# The capture ends some milliseconds behind the last acknowledgment: nobody can tell who keeps silent.
UNTOLD: Final = (
    "exim-dotreply-drop-pipe", "exim-reply354-drop-pipe", "postfix-dotreply-drop-pipe", "postfix-dotreply-drop",
    "sendmail-greeting-drop",
)  # fmt: skip
# HELO was taken after EHLO had been refused: nothing broke.
DELIVERED: Final = ("opensmtpd-ehlo-code554", "postfix-ehlo-code502", "postfix-ehlo-code554")
# Holds what an earlier run left behind, and nothing of its own.
OTHERS: Final = ("opensmtpd-databody-rst",)
IN_TEXT: Final = ("databody", "datamid")


def looked_at(source: Input, taken: Where | None = None) -> list[Case]:
    """The cases of a capture, observed as `diagnose` does it."""
    cases = survey(source, []).cases
    for case in cases:
        case.observed = observe(case, taken)
    closer = closer_look(cases)
    found = accounts(source, [case.flow for case in closer])
    for case in closer:
        case.account = found.get(case.flow.flow_id)
        case.observed = observe(case, taken)
    return cases


def broken(cases: list[Case]) -> Case:
    return next((case for case in cases if case.observed.broken.kind != "none"), cases[0])


def told(case: Case) -> tuple[str | None, str, str]:
    seen = case.observed
    return seen.phase, seen.broken.kind, seen.broken.by


# --- real runs


def runs() -> list[Run]:
    made = []
    for path in sorted(FOLDER.glob("*.txt")):
        held = path.with_suffix(".pcap")
        run = mta_runs.read(path) if held.exists() and held.stat().st_size > EMPTY else None
        if run is not None and run.name not in OTHERS:
            made.append(run)
    return made


def expected(run: Run) -> tuple[str | None, str, str]:
    """Phase, kind and side. A group that was sent together breaks at its first command."""
    if run.name in DELIVERED:
        return None, "none", "unknown"
    if run.override is not None:
        return OF_OVERRIDE[run.override[0]], "reply", "server"
    phase = "mail" if run.pipelining and run.phase in ("rcpt", "datacmd") else run.phase
    return SAME.get(run.name, phase), run.kind, "unknown" if run.name in UNTOLD else "middlebox"


def stage_of(run: Run) -> str | None:
    if run.name in DELIVERED:
        return None
    phase = OF_OVERRIDE[run.override[0]] if run.override is not None else run.phase
    if phase in IN_TEXT:
        return "after-end-of-data" if run.size < 65_000 else "after-sending-data-block"
    return "after-end-of-data" if phase in ("dot", "dotreply") else "after-initial-connection"


@pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)
@pytest.mark.parametrize("run", [pytest.param(run, id=run.name) for run in runs()])
def test_a_real_break_is_told_as_it_was_made(run: Run) -> None:
    case = broken(looked_at(str(FOLDER / f"{run.name}.pcap")))
    assert told(case) == expected(run)
    assert case.observed.stage == stage_of(run)
    if case.observed.broken.by == "middlebox":
        assert case.observed.broken.signs
    if run.phase == "none":
        assert case.observed.vantage.where in ("sender", "unknown")


@pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)
def test_the_laboratory_captures_were_taken_at_the_sender() -> None:
    where = Counter(broken(looked_at(str(FOLDER / f"{run.name}.pcap"))).observed.vantage.where for run in runs())
    assert where["receiver"] == where["between"] == 0
    assert where["sender"] > 80


# --- by hand

HELLO: Final = "S: 220 mx.example.net ESMTP\nC: EHLO out.example.com\nS: 250 mx.example.net\n"
MAIL: Final = "C: MAIL FROM:<a@example.org>\nS: 250 ok\nC: RCPT TO:<b@example.net>\nS: 250 ok\n"
DATA: Final = "C: DATA\nS: 354 go on\n"
TEXT: Final = "C: Subject: a\nC: \nC: text\nC: .\n"


def segments(text: str, **options: Any) -> list[Segment]:
    """A connection's segments, the server one hop further away than the client; nobody closes unless asked."""
    made = wire.build(dialogue.parse(text), **{"close": "none", **options})
    return [segment.but(ttl=64 if segment.direction == "C" else 57) for segment in made]


def case_of(made: list[Segment], ends: wire.Ends = wire.V4, link: str = "ethernet", taken: Where | None = None) -> Case:
    return of_records(capture.records(wire.packets(made, ends), LINKS[link]), LINKS[link].number, taken)


def of_records(records: list[capture.Record], link: int = 1, taken: Where | None = None) -> Case:
    with NamedTemporaryFile(suffix=".pcap") as held:
        held.write(capture.pcap(records, link=link))
        held.flush()
        return broken(looked_at(held.name, taken))


def after(made: list[Segment], seconds: float, flags: int, **changes: Any) -> Segment:
    """What the server sends next, `seconds` behind the last segment."""
    last = [segment for segment in made if segment.direction == "S"][-1]
    mine = [segment for segment in made if segment.direction == "C"][-1]
    syn = 1 if last.syn else 0
    return last.but(
        seq=last.seq + len(last.payload) + syn, ack=mine.seq + len(mine.payload), flags=flags, payload=b"",
        time=made[-1].time + seconds, **changes,
    )  # fmt: skip


def again(segment: Segment, *waits: float) -> list[Segment]:
    return [segment.but(time=segment.time + wait) for wait in waits]


def test_an_rst_with_another_ttl_is_none_of_the_servers() -> None:
    made = segments(HELLO + MAIL + "C: DATA\n")
    case = case_of([*made, after(made, 0.1, RST | ACK, ttl=64)])
    assert told(case) == ("datacmd", "rst", "middlebox")
    assert "its TTL is 64, that of the server's packets 57" in [sign.text for sign in case.observed.broken.signs]
    assert case.observed.outcome == "reset"


def test_the_servers_own_rst_is_the_servers() -> None:
    made = segments(HELLO + MAIL + "C: DATA\n")
    case = case_of([*made, after(made, 0.1, RST)])
    assert told(case) == ("datacmd", "rst", "server")


def test_a_fin_behind_which_the_server_goes_on_is_forged() -> None:
    made = segments(HELLO + MAIL + "C: DATA\n")
    fin = after(made, 0.1, FIN | ACK)
    reply = after(made, 0.2, PSH | ACK).but(payload=b"354 go on\r\n")
    assert told(case_of([*made, fin, reply]))[1:] == ("fin", "middlebox")


@pytest.mark.parametrize("link", ["ethernet", "vlan", "qinq", "sll2", "raw", "loop"])
@pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["v4", "v6"])
def test_a_segment_that_is_never_acknowledged(link: str, ends: wire.Ends) -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    case = case_of([*made, *again(made[-1], 0.2, 0.6, 1.4)], ends, link)
    assert told(case) == ("databody", "drop", "middlebox")
    assert case.observed.stage == "after-end-of-data"
    assert case.observed.text_acknowledged == 0
    assert case.observed.silence == pytest.approx(1.4, abs=0.01)
    assert case.observed.broken.at == case.observed.octets_acknowledged


def test_a_client_that_gives_up_did_not_break_the_flow() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    taken = after(made, 0.01, ACK)
    fin = made[-1].but(seq=made[-1].seq + len(made[-1].payload), flags=FIN | ACK, payload=b"", time=made[-1].time + 300)
    case = case_of([*made, taken, fin, *again(fin, 0.2, 0.6)])
    assert told(case) == ("dotreply", "drop", "middlebox")
    assert case.observed.silence == pytest.approx(300, abs=1)
    assert case.observed.outcome == "stalled"


def test_a_server_that_is_alive_but_does_not_reply() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    taken = after(made, 0.01, ACK)
    fin = made[-1].but(seq=made[-1].seq + len(made[-1].payload), flags=FIN | ACK, payload=b"", time=made[-1].time + 300)
    case = case_of([*made, taken, fin, taken.but(ack=fin.seq + 1, time=fin.time + 0.1)])
    assert told(case) == ("dotreply", "drop", "server")


def test_a_reply_that_the_server_had_sent_but_that_never_came() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    taken = after(made, 0.01, ACK)
    fin = made[-1].but(seq=made[-1].seq + len(made[-1].payload), flags=FIN | ACK, payload=b"", time=made[-1].time + 300)
    later = taken.but(seq=taken.seq + 20, ack=fin.seq + 1, time=fin.time + 0.1)
    assert told(case_of([*made, taken, fin, later])) == ("dotreply", "drop", "middlebox")


def test_a_closed_window_is_the_servers() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    full = after(made, 0.1, ACK, window=0).but(ack=made[-1].seq)
    assert told(case_of([*made, full, *again(made[-1], 0.2, 0.6, 1.4)])) == ("databody", "drop", "server")


@pytest.mark.parametrize(
    ("syns", "answer", "expected"),
    [
        (1, None, ("connect", "drop", "unknown")),
        (3, None, ("connect", "drop", "middlebox")),
        (1, (RST | ACK, 0), ("connect", "rst", "server")),
        (1, (RST | ACK, 500), ("connect", "rst", "middlebox")),
        (1, (FIN | ACK, 500), ("connect", "fin", "middlebox")),
    ],
)
def test_no_connection(syns: int, answer: tuple[int, int] | None, expected: tuple[str, str, str]) -> None:
    syn = segments(HELLO)[0]
    made = [syn.but(time=syn.time + n) for n in range(syns)]
    if answer is not None:
        flags, window = answer
        made.append(Segment("S", 0, syn.seq + 1, flags, time=syn.time + 3, ttl=57, window=window))
    case = case_of(made)
    assert told(case) == expected
    assert case.observed.stage == "after-initial-connection"


def test_a_handshake_that_only_the_server_goes_on_with() -> None:
    syn, answer = segments(HELLO)[:2]
    made = [syn.but(ttl=50), *(answer.but(ttl=64, time=answer.time + n) for n in range(3))]
    case = case_of(made)
    assert case.observed.vantage.where == "receiver"
    assert told(case) == ("connect", "drop", "middlebox")


@pytest.mark.parametrize(
    ("said", "lost", "phase"),
    [
        (HELLO, "C: MAIL FROM:<a@example.org>\n", "mail"),
        (HELLO + MAIL, "C: DATA\n", "datacmd"),
        ("S: 220 mx ESMTP\n", "C: EHLO out.example.com\n", "ehlo"),
        (HELLO, "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: DATA\n", "mail"),
    ],
)
def test_the_first_command_that_was_lost_gives_the_phase(said: str, lost: str, phase: str) -> None:
    made = segments(said + lost)
    case = case_of([*made, *again(made[-1], 0.2, 0.6)])
    assert told(case) == (phase, "drop", "middlebox")


def test_the_last_acknowledged_octet_decides_in_the_text() -> None:
    lines = "".join(f"C: {'x' * 70}\n" for _ in range(60))
    made = segments(HELLO + MAIL + DATA + "C: Subject: a\nC: \n" + lines + "C: .\n", mss=1000)
    text = [segment for segment in made if segment.direction == "C" and len(segment.payload) > 200]
    answer = after(made, 0.1, ACK)
    middle = case_of([*made, answer.but(ack=text[2].seq), *again(text[2], 0.4, 0.8)])
    assert told(middle) == ("datamid", "drop", "middlebox")
    assert middle.observed.text_acknowledged == 2_000
    assert told(case_of([*made, answer.but(ack=text[-1].seq), *again(text[-1], 0.4, 0.8)]))[0] == "dot"
    assert told(case_of([*made, answer.but(ack=text[0].seq), *again(text[0], 0.4, 0.8)]))[0] == "databody"


def test_what_a_forged_rst_acknowledges_names_the_segment() -> None:
    lines = "".join(f"C: {'x' * 70}\n" for _ in range(60))
    made = segments(HELLO + MAIL + DATA + "C: Subject: a\nC: \n" + lines + "C: .\n", mss=1000)
    text = [segment for segment in made if segment.direction == "C" and len(segment.payload) > 200]
    for segment, phase in ((text[0], "databody"), (text[2], "datamid"), (text[-1], "dot")):
        reset = after(made, 0.1, RST | ACK, ttl=60).but(ack=segment.seq + len(segment.payload))
        assert told(case_of([*made, reset])) == (phase, "rst", "middlebox")


@pytest.mark.parametrize(("size", "stage"), [("20000", "after-end-of-data"), ("70000", "after-sending-data-block")])
def test_what_mail_declares_tells_what_the_socket_had_taken(size: str, stage: str) -> None:
    lines = "".join(f"C: {'x' * 70}\n" for _ in range(60))
    mail = MAIL.replace("MAIL FROM:<a@example.org>", f"MAIL FROM:<a@example.org> SIZE={size}")
    made = segments(HELLO + mail + DATA + "C: Subject: a\nC: \n" + lines, mss=1000)
    text = [segment for segment in made if segment.direction == "C" and len(segment.payload) > 200]
    answer = after(made, 0.1, ACK)
    case = case_of([*made, answer.but(ack=text[2].seq), *again(text[2], 0.4, 0.8)])
    assert (told(case)[0], case.observed.stage) == ("datamid", stage)


def test_of_a_large_capture_a_few_delivered_mails_of_a_broken_path_are_looked_at() -> None:
    def case(server: str, outcome: str) -> Case:
        flow: Any = SimpleNamespace(client="192.0.2.1:4000", server=server, bytes_toserver=9, bytes_toclient=9, mails=1)
        return Case(flow, cast(Any, SimpleNamespace(tx_id=0, start_ns=0, end_ns=1)), observed=Observed(outcome=outcome))

    bad = "198.51.100.1:25"
    cases = [case(server, "accepted") for server in (bad, "198.51.100.2:25") for _ in range(90)]
    found = [(each.flow.server, each.observed.outcome) for each in closer_look([*cases, case(bad, "stalled")])]
    assert sorted(found) == [(bad, "accepted")] * 3 + [(bad, "stalled")]


def test_a_snap_length_hides_the_end_mark() -> None:
    lines = "".join(f"C: {'x' * 70}\n" for _ in range(60))
    made = segments(HELLO + MAIL + DATA + "C: Subject: a\nC: \n" + lines + "C: .\n", mss=1460)
    last = next(segment for segment in reversed(made) if segment.direction == "C")
    reset = after(made, 0.1, RST | ACK, ttl=60).but(ack=last.seq + len(last.payload))
    records = capture.records(wire.packets([*made, reset]), snaplen=200)
    assert told(of_records(records)) == ("dot", "rst", "middlebox")


@pytest.mark.parametrize(
    ("text", "close", "outcome"),
    [
        (HELLO + MAIL + DATA + TEXT + "S: 250 taken\nC: QUIT\nS: 221 bye\n", "fin", "accepted"),
        (HELLO + MAIL + DATA + TEXT + "S: 250 taken\nC: QUIT\nS: 221 bye\n", "rst", "accepted"),
        (HELLO + MAIL + DATA + TEXT + "S: 250 taken\n", "none", "accepted"),
        (HELLO + "C: QUIT\nS: 221 bye\n", "fin", "aborted"),
        ("S: 220 mx ESMTP\n", "fin", "aborted"),
        (HELLO + "C: STARTTLS\nS: 220 go\n", "fin", "encrypted"),
    ],
)
def test_a_normal_end_is_no_break(text: str, close: wire.Close, outcome: str) -> None:
    case = case_of(segments(text, close=close))
    assert case.observed.broken.kind == "none"
    assert case.observed.outcome == outcome
    assert not case.failed


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("S: 554 no\nC: QUIT\nS: 221 bye\n", "greeting"),
        ("S: 220 mx\nC: EHLO a\nS: 421 later\n", "ehlo"),
        (HELLO + "C: MAIL FROM:<a@example.org>\nS: 451 later\nC: QUIT\nS: 221 bye\n", "mail"),
        (HELLO + MAIL + DATA + TEXT + "S: 554 no\nC: QUIT\nS: 221 bye\n", "dotreply"),
    ],
)
def test_a_reply_that_says_no_is_the_servers(text: str, phase: str) -> None:
    case = case_of(segments(text, close="fin"))
    assert told(case) == (phase, "reply", "server")
    assert case.observed.outcome == "refused"


def test_a_reply_that_another_one_wrote_is_not_the_servers() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT + "S: 552 no\n")
    assert told(case_of([*made[:-1], made[-1].but(ttl=64)])) == ("dotreply", "reply", "middlebox")


def test_a_box_that_takes_over_acknowledges_for_nobody() -> None:
    """It takes the text as the server would, says 552 and closes: nothing of that got through."""
    lines = "".join(f"C: {'x' * 70}\n" for _ in range(60))
    made = segments(HELLO + MAIL + DATA + "C: Subject: a\nC: \n" + lines, mss=1000)
    made = [segment.but(window=5_000) for segment in made]
    text = [segment for segment in made if segment.direction == "C" and len(segment.payload) > 200]
    theirs = {"ttl": 64, "window": 65_000}
    acks = [after(made, 0.1 * n, ACK, **theirs).but(ack=each.seq + 1000) for n, each in enumerate(text[:3])]
    said = after(made, 0.5, FIN | PSH | ACK, **theirs).but(payload=b"552 5.7.0 blocked\r\n")
    case = case_of([*made, acks[0], acks[1], said, acks[2].but(time=said.time + 0.1)])
    assert told(case)[1:] == ("reply", "middlebox")
    assert case.observed.text_acknowledged == 0


def test_a_reply_that_never_reached_the_client_is_none() -> None:
    made = segments("S: 220 mx ESMTP\nC: EHLO out.example.com\nS: 502 what\n")
    far = [segment.but(ttl=50 if segment.direction == "C" else 64) for segment in made]
    case = case_of([*far, *again(far[-1], 0.2, 0.6)])
    assert told(case)[1:] == ("drop", "middlebox")
    assert case.observed.vantage.where == "receiver"


def test_a_route_that_changes_forges_nothing() -> None:
    """From some reply on all packets of the server have another TTL; its IP ids go on as before."""
    made = segments(HELLO + MAIL + "C: DATA\n")
    other = [
        segment.but(ttl=56) if segment.direction == "S" and n > 7 else segment for n, segment in enumerate(made)
    ]
    assert told(case_of([*other, after(made, 0.1, FIN | ACK, ttl=56)])) == ("reply354", "fin", "server")


def test_a_frame_that_was_captured_twice_was_sent_once() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    twice = [copy for segment in made for copy in (segment, segment.but(ttl=(segment.ttl or 1) - 1))]
    assert told(case_of(twice))[1:] == ("drop", "unknown")


@pytest.mark.parametrize(("times", "outcome"), [(3, "stalled"), (0, "encrypted")])
def test_tls_hides_the_phase_but_not_the_break(times: int, outcome: str) -> None:
    made = segments(HELLO + "C: STARTTLS\nS: 220 go\n")
    last = made[-1]
    octets = b"\x16\x03\x01\x02\x00" + bytes(512)
    hello = Segment("C", last.ack, last.seq + 8, PSH | ACK, octets, last.time + 0.1, ttl=64)
    case = case_of([*made, hello, *again(hello, *(0.3 * n for n in range(1, times)))])
    assert case.observed.outcome == outcome
    assert case.failed == (times > 1)
    assert (case.observed.phase, case.observed.stage) == (None, None)
    assert case.observed.broken.kind == ("drop" if times > 1 else "none")


def test_a_lost_quit_breaks_no_mail() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT + "S: 250 taken\nC: QUIT\n")
    case = case_of([*made, *again(made[-1], 0.2, 0.6)])
    assert told(case) == ("quit", "drop", "middlebox")
    assert (case.observed.stage, case.observed.outcome, case.failed) == (None, "accepted", False)


@pytest.mark.parametrize("side", ["C", "S"])
def test_one_direction_tells_no_break(side: str) -> None:
    case = case_of(segments(HELLO + MAIL + DATA + TEXT, only=side))
    assert case.observed.broken.kind == "none"


def test_a_capture_that_begins_in_the_middle() -> None:
    made = segments(MAIL + DATA + TEXT, handshake=False)
    case = case_of([*made, *again(made[-1], 0.2, 0.6)])
    assert told(case)[1:] == ("drop", "middlebox")


def test_where_it_was_taken() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    lost = [*made, *again(made[-1], 0.2, 0.6)]
    assert case_of(lost).observed.vantage.where == "sender"
    far = [segment.but(ttl=50 if segment.direction == "C" else 64) for segment in lost]
    at_receiver = case_of(far).observed
    assert (at_receiver.vantage.where, at_receiver.broken.by) == ("receiver", "server")
    between = [segment.but(ttl=50) for segment in lost]
    assert case_of(between).observed.vantage.where == "between"
    said = case_of(between, taken="receiver").observed.vantage
    assert (said.where, said.told) == ("receiver", True)


def test_the_timeline_tells_each_step_and_no_secret() -> None:
    login = "C: AUTH PLAIN AGFsaWNlAHMzY3JldA==\nS: 235 ok\n"
    made = segments(HELLO + login + MAIL + "C: DATA\n")
    case = case_of([*made, *again(made[-1], 0.2, 0.6)])
    line = case.observed.timeline
    assert [moment.phase for moment in line] == ["connect", "greeting", "ehlo", "ehlo", "mail", "rcpt", "datacmd"]
    assert all(moment.begin_ns <= moment.end_ns for moment in line)
    assert line[-1].told == "DATA: no reply"
    assert "AGFsaWNl" not in "".join(moment.told for moment in line)


def test_a_trace_keeps_its_begin_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpinspect.grammar import limits

    made = segments(HELLO + MAIL + DATA + TEXT)
    lost = [*made, *again(made[-1], *(0.1 * n for n in range(1, 30)))]
    monkeypatch.setattr(limits, "TRACE_HEAD", len(made) + 2)
    monkeypatch.setattr(limits, "TRACE_TAIL", 5)
    case = case_of(lost)
    assert case.trace is not None
    assert case.trace.left_out == 29 - 2 - 5
    assert case.trace.packets[-1].number == len(lost)
    assert told(case) == ("databody", "drop", "middlebox")


def test_without_its_packets_a_mail_is_told_by_its_record() -> None:
    made = segments(HELLO + MAIL + "C: DATA\n")
    case = case_of([*made, after(made, 0.1, RST, window=0)])
    case.account = None
    assert told(Case(case.flow, case.mail, observed=observe(case)))[1:] == ("rst", "server")


def _script() -> int:
    """Prints the table; 1 when a run is told otherwise than it was made."""
    right: Counter[tuple[str, str]] = Counter()
    every: Counter[tuple[str, str]] = Counter()
    wrong = []
    for run in runs():
        case = broken(looked_at(str(FOLDER / f"{run.name}.pcap")))
        phase = run.phase if run.override is None else f"({run.override[0]})"
        good = told(case) == expected(run) and case.observed.stage == stage_of(run)
        every[run.mta, phase] += 1
        right[run.mta, phase] += good
        if not good:
            wrong.append(f"{run.name}: {told(case)} {case.observed.stage}, made as {expected(run)}")
    mtas, phases = sorted({mta for mta, _ in every}), list(dict.fromkeys(phase for _, phase in every))
    print(f"{'phase':12}" + "".join(f"{mta:>11}" for mta in mtas))
    for phase in phases:
        cells = (f"{right[mta, phase]}/{every[mta, phase]}" if every[mta, phase] else "" for mta in mtas)
        print(f"{phase:12}" + "".join(f"{cell:>11}" for cell in cells))
    print(f"{sum(right.values())} of {sum(every.values())}; {len(SAME)} with the packets of the phase before, "
          f"{len(UNTOLD)} that end before anybody can tell who keeps silent")  # fmt: skip
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(_script())
