"""What a capture does not prove, though it looks so at first: the reports say less there."""

from __future__ import annotations

import pytest

from kit import capture
from kit.broken import Connection
from kit.segment import ACK, PSH, RST
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Where
from test_diagnose_outcome import DATA, HELLO, MAIL, TEXT, after, case_of, segments, told

SAID = HELLO + MAIL + DATA + TEXT


def diagnosed(*made: Connection, taken: Where | None = None, snaplen: int = capture.SNAPLEN) -> Case:
    """The mail of the first connection."""
    packets = sorted((p for each in made for p in each.packets), key=lambda p: p.time)
    octets = capture.pcap(capture.records(packets, snaplen=snaplen))
    cases = diagnose(Asked(octets, taken=taken)).diagnosis.cases
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
