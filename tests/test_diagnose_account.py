"""What the packets of a connection tell, asked of its account: sent, acknowledged, missing, closed, said."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import capture, wire
from kit.segment import ACK, FIN, PSH, RST, Segment
from smtpinspect.diagnose.account import Account
from test_diagnose_outcome import DATA, HELLO, MAIL, TEXT, after, again, case_of, looked_at, segments

SAID = HELLO + MAIL + DATA + TEXT


def account_of(made: list[Segment]) -> Account:
    account = case_of(made).account
    assert account is not None
    return account


def behind(segment: Segment, seconds: float, flags: int, skipped: int = 0, **changes: object) -> Segment:
    """Of the same side, `skipped` octets later."""
    octets = len(segment.payload) + segment.fin + skipped
    return segment.but(seq=segment.seq + octets, flags=flags, payload=b"", time=segment.time + seconds, **changes)


def test_what_was_sent_and_acknowledged_counts_octets_from_the_handshake_on() -> None:
    made = segments(SAID)
    sent = sum(len(each.payload) for each in made if each.direction == "C")
    text = len(made[-1].payload)
    waiting, taken = account_of(made), account_of([*made, after(made, 0.1, ACK)])
    assert (waiting.client.end, waiting.client.acknowledged) == (sent, sent - text)
    assert (taken.client.end, taken.client.acknowledged) == (sent, sent)
    assert [packet.length for packet in waiting.client.lost] == [text]
    assert not taken.client.lost


def test_a_fin_is_no_octet() -> None:
    made = segments(SAID)
    fin = behind(made[-1], 0.1, FIN | ACK)
    account = account_of([*made, fin, after([*made, fin], 0.1, ACK).but(ack=fin.seq + 1)])
    assert account.client.acknowledged == account.client.end == account.claimed(True)
    assert account.client.acked == account.client.end + 1
    assert account.client.owed is None


def test_a_fin_that_a_box_sent_amid_a_text_is_none_either() -> None:
    made = segments(SAID)
    fin = behind(made[-1], 0.1, FIN | ACK)
    closed = after([*made, fin], 0.1, ACK).but(ack=fin.seq + 1)
    goes_on = fin.but(flags=PSH | ACK, payload=b"more of it\r\n", time=closed.time + 0.1)
    account = account_of([*made, fin, closed, goes_on])
    assert account.client.acknowledged == account.client.end - len(goes_on.payload)


def test_octets_that_the_capture_lost_are_not_counted() -> None:
    made = segments(SAID)
    account = account_of([*made, after(made, 0.1, ACK).but(ack=made[-1].seq + len(made[-1].payload) + 500)])
    assert account.client.acknowledged == account.client.end
    assert account.client.acked == account.client.end + 500


def test_what_is_owed_is_counted_from_its_first_copy_on() -> None:
    made = segments(SAID)
    once, thrice = account_of(made).client.owed, account_of([*made, *again(made[-1], 0.2, 0.6)]).client.owed
    assert once is not None and not once.repeated
    assert thrice is not None and thrice.repeated
    assert (thrice.times, round(thrice.seconds, 1)) == (3, 0.6)
    assert thrice.at == account_of(made).client.acknowledged


def test_a_segment_captured_twice_was_not_sent_again() -> None:
    made = segments(SAID)
    owed = account_of([*made, *again(made[-1], 0.001)]).client.owed
    assert owed is None or not owed.repeated


def test_all_copies_hold_an_octet() -> None:
    made = segments(SAID)
    account = account_of([*made, *again(made[-1], 0.2)])
    begin = account.client.acknowledged
    assert [packet.number for packet in account.client.holding(begin)] == [len(made), len(made) + 1]
    assert not account.client.holding(account.client.end)


@pytest.mark.parametrize(
    ("flags", "payload", "skipped"),
    [(PSH | ACK, b"behind it\r\n.\r\n", 700), (FIN | ACK, b"", 700), (ACK, b"", 700)],
    ids=["octets", "a FIN", "an ACK that counts them"],
)
def test_octets_that_never_came_are_a_hole(flags: int, payload: bytes, skipped: int) -> None:
    made = segments(SAID)
    taken = after(made, 0.1, ACK)
    account = account_of([*made, taken, behind(made[-1], 0.2, flags, skipped).but(payload=payload)])
    end = account.client.acknowledged
    assert account.client.hole == (end, end + skipped)
    assert account.server.hole is None


@pytest.mark.parametrize("flags", [FIN | ACK, RST | ACK])
def test_who_closes_behind_all_that_came_leaves_no_hole(flags: int) -> None:
    made = segments(SAID)
    fin = behind(made[-1], 0.2, FIN | ACK)
    account = account_of([*made, after(made, 0.1, ACK), fin, behind(fin, 0.3, flags)])
    assert account.client.hole is None
    assert account.client.reach is None


def test_a_forged_rst_is_none_of_the_ends() -> None:
    made = segments(SAID)
    forged = after(made, 0.1, RST | ACK, ttl=64)
    fin = after(made, 0.2, FIN | ACK)
    account = account_of([*made, forged, fin])
    number = len(made) + 1
    assert account.forged is not None and account.forged[0].number == number
    assert number not in {packet.number for packet in account.own}
    for first in (account.ended, account.reset):  # whoever sent it
        assert first is not None and first.number == number
    assert account.closer is not None and account.closer.number == number + 1


def test_what_a_box_acknowledges_counts_where_captures_are_compared_only() -> None:
    made = segments(SAID)
    forged = after(made, 0.1, RST | ACK, ttl=64)
    account = account_of([*made, forged])
    assert account.claimed(True) == account.client.end
    assert account.client.acknowledged == account.client.end - len(made[-1].payload)
    assert account.acknowledging(True, account.client.end) is None


def test_an_rst_behind_a_fin_reset_nothing() -> None:
    made = segments(SAID)
    fin = behind(made[-1], 0.1, FIN | ACK)
    account = account_of([*made, fin, after([*made, fin], 0.1, RST)])
    assert account.reset is None
    assert account.ended is not None and account.ended.by_client


@pytest.mark.parametrize("flags", [FIN | PSH | ACK, RST | PSH | ACK])
def test_a_fin_with_the_last_octets_leaves_its_client_listening(flags: int) -> None:
    made = segments(SAID)
    last = made[-1].but(flags=flags)
    later = behind(last, 0.2, RST)
    account = account_of([*made[:-1], last, later])
    assert account.ended is not None and account.ended.number == len(made)
    assert account.closed is not None and account.closed.number == len(made) + (1 if flags & FIN else 0)


def test_who_acknowledged_it_first_is_told_with_its_packet() -> None:
    made = segments(SAID)
    late = after(made, 3, ACK)
    account = account_of([*made, late, late.but(time=late.time + 1)])
    first = account.acknowledging(True, account.client.end)
    assert first is not None and first.number == len(made) + 1


def test_replies_are_found_where_several_came_in_one_segment() -> None:
    made = segments("S: 220 mx.example.net\n")
    asked = behind(made[-1].but(direction="C", seq=made[-1].ack, ack=made[-1].seq, payload=b""), 0.1, PSH | ACK)
    asked = asked.but(payload=b"HELO\r\nMAIL FROM:<a@example.org>\r\n", ack=made[-1].seq + len(made[-1].payload))
    both = behind(made[-1], 0.2, PSH | ACK).but(payload=b"501 whose?\r\n250 ok\r\n", ack=asked.seq + len(asked.payload))
    said = account_of([*made, asked, both]).said
    assert [each.code for each in said.replies] == [220, 501, 250]
    assert {each.packet.number for each in said.replies[1:]} == {len(made) + 2}
    assert [(step.verb, step.answer and step.answer.code) for step in said.steps] == [("HELO", 501), ("MAIL", 250)]


def test_the_mails_of_a_connection_share_its_account(tmp_path: Path) -> None:
    said = HELLO + 2 * (MAIL + DATA + TEXT + "S: 554 no\n") + MAIL + "C: DATA\n"
    path = tmp_path / "mails.pcap"
    path.write_bytes(capture.pcap(capture.records(wire.packets(segments(said)))))
    cases = looked_at(str(path))
    accounts = [case.account for case in cases if case.account is not None]
    assert len(cases) == len(accounts) == 3
    assert all(account is accounts[0] for account in accounts)
