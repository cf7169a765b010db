"""Who sent an RST, and what it acknowledges: told once, for all that ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import capture, wire
from kit.segment import ACK, PSH, RST
from smtpinspect.diagnose.causes.scene import scene_of
from test_diagnose_outcome import DATA, HELLO, MAIL, TEXT, after, case_of, looked_at, segments, told


def test_an_rst_that_any_kernel_sends_tells_nothing() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    bare = after(made, 0.1, RST | ACK, window=0)
    case = case_of([*made, bare])
    assert told(case)[1:] == ("rst", "unknown")
    assert "could be of any kernel" in case.observed.broken.signs[0].text
    before = case.observed.octets_acknowledged
    own = case_of([*made, bare.but(window=made[-1].window or 512)])
    assert told(own) == ("dotreply", "rst", "server")
    assert own.observed.octets_acknowledged > before, "the server's own RST acknowledges, nobody's does not"


def test_a_server_that_takes_the_mail_behind_an_rst_did_not_send_it() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    rst = after(made, 0.1, RST | ACK, window=0)
    reply = after(made, 0.2, PSH | ACK).but(payload=b"250 2.0.0 queued\r\n")
    case = case_of([*made, rst, after(made, 0.15, ACK), reply])
    assert told(case) == ("dotreply", "rst", "middlebox")
    assert (case.observed.outcome, case.observed.reply) == ("accepted", "250 2.0.0 queued")
    assert case.failed, "its client does not know"


def test_who_acknowledged_what_is_the_same_for_everybody() -> None:
    made = segments(HELLO + MAIL + DATA + TEXT)
    for changes in ({}, {"window": 0}, {"ttl": 64}):
        case = case_of([*made, after(made, 0.1, RST | ACK, **changes)])
        assert case.account is not None
        scene = scene_of(case)
        assert scene is not None
        seen = case.observed.octets_acknowledged
        assert (seen, seen) == (scene.client.through, case.account.client.acked)


@pytest.mark.parametrize("snaplen", [82, 96])
def test_the_replies_tell_of_packets_that_were_cut_when_captured(snaplen: int, tmp_path: Path) -> None:
    said = HELLO + 2 * (MAIL + DATA + TEXT + "S: 250 queued\n") + "C: QUIT\nS: 221 bye\n"
    packets = wire.packets(segments(said, close="fin"))
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture.pcap(capture.records(packets, snaplen=snaplen)))
    cases = [case for case in looked_at(str(path)) if case.mail is not None]
    assert cases and {case.observed.outcome for case in cases} == {"accepted"}
    assert not any(case.failed for case in cases)


def test_a_busy_server_is_quoted() -> None:
    case = case_of(segments("S: 421 4.3.2 too many connections\n", close="fin"))
    assert (case.observed.broken.kind, case.observed.reply) == ("reply", "421 4.3.2 too many connections")
