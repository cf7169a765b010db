"""What two points prove together is not gainsaid by what one of them could not see."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from kit import capture, wire
from kit.broken import ENVELOPE, GREETING, Connection, message
from kit.segment import SYN
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.enforce import craft
from smtpinspect.report.diagnose_words import shown
from smtpinspect.report.headline import headline

TEXT = message(400)
OUT = "198.51.100.99"  # of a proxy


def diagnosed(outside: Iterable[wire.Packet], inside: Iterable[wire.Packet], folder: Path) -> Case:
    paths = []
    for name, packets in (("outside", outside), ("inside", inside)):
        paths.append(Point(name, str(folder / f"{name}.pcap")))
        (folder / f"{name}.pcap").write_bytes(capture.pcap(capture.records(packets)))
    cases = diagnose(Asked(paths[0].source, points=tuple(paths))).diagnosis.cases
    return next(case for case in cases if case.failed)


def named(case: Case, kind: str = "ruled-out") -> dict[str, str]:
    return {each.cause: each.text for each in case.against if each.kind == kind}


def confident(case: Case) -> dict[str, str]:
    return {cause.cause: cause.confidence for cause in case.causes}


# ---- an answer that was lost


def forgotten(reply: bytes) -> tuple[list[wire.Packet], list[wire.Packet]]:
    """The server answers after 30 s, when the box between the points has forgotten the connection."""
    hops = {"outside": (57, 64), "inside": (64, 57)}
    outside, inside = (
        Connection(ttl=hops[name][0], client_ttl=hops[name][1]).envelope().say("C", TEXT, acked=True) for name in hops
    )
    at = inside.sent["S"]
    inside.wait(30).say("S", reply, arrives=False)
    for n in range(6):
        inside.wait(0.4 * 2**n).again("S", at, len(reply))
    outside.wait(46).reset("C")
    return outside.packets, inside.packets


def test_an_answer_that_was_lost_was_given(tmp_path: Path) -> None:
    """The first point saw an idle connection; what the server did, only the second one knows."""
    case = diagnosed(*forgotten(b"250 2.0.0 Ok: queued\r\n"), tmp_path)
    head = str(headline(case))
    assert "the server took it, the sender never learnt" in head and "cut between inside and outside" in head
    out, fits = named(case), confident(case)
    assert out["slow-scanner"] == out["sender-timeout"] == "the server did answer; its answer was lost"
    assert "sent again" not in out["loss"] and "inside" in out["loss"]
    assert "tarpit" not in out  # the reply that was lost had taken 30 s
    assert "idle-timeout" in fits and "outage" in fits
    assert not {"slow-scanner", "sender-timeout"} & fits.keys()


def test_a_refusal_that_was_lost_is_read_at_the_point_that_has_it(tmp_path: Path) -> None:
    case = diagnosed(*forgotten(b"452 4.3.1 Insufficient system storage\r\n"), tmp_path)
    assert confident(case)["full-disk"] == "likely"
    assert str(headline(case)).startswith("NOT DELIVERED")


# ---- a proxy: two connections


def stamped(packets: Iterable[wire.Packet], base: int) -> list[wire.Packet]:
    """With time stamps of the host's own clock (RFC 7323)."""
    made = []
    for p in packets:
        at = craft.layout(p.octets)
        assert at is not None
        out = bytearray(p.octets[: at.payload] + craft.stamped(base + int(p.time * 1000) % 2**20, 0))
        out += p.octets[at.payload : at.end]
        out[at.tcp + 12] += 3 << 4
        out[2:4] = len(out).to_bytes(2, "big")
        made.append(p._replace(octets=craft.filled(bytes(out))))
    return made


def swallowed(*, closes: str, stamps: bool = True) -> tuple[list[wire.Packet], list[wire.Packet]]:
    """The proxy takes the text and keeps it; `closes`: who gives up."""
    outside = Connection().envelope().say("C", TEXT, acked=True)
    inside = Connection(wire.Ends(client=OUT, client_port=50_000)).envelope()
    if closes == "client":
        inside.now = outside.wait(6).now + 0.0005
        outside.close("C")
        inside.close("C")
    else:
        outside.close("S").close("C")
    beside = Connection(wire.Ends(client_port=40_999), start=wire.START + 3_600).delivered()  # both captures go on
    ends = outside.packets, inside.packets
    ends = (stamped(ends[0], 1_000_000), stamped(ends[1], 7_000_000)) if stamps else ends
    return [*ends[0], *beside.packets], [*ends[1], *beside.packets]


@pytest.mark.parametrize("stamps", [True, False])
def test_a_proxy_that_keeps_a_text_back_ends_what_its_client_ended(stamps: bool, tmp_path: Path) -> None:
    case = diagnosed(*swallowed(closes="client", stamps=stamps), tmp_path)
    assert str(headline(case)).startswith("NOT DELIVERED: cut between outside and inside")
    assert (case.observed.broken.kind, case.observed.broken.by) == ("drop", "middlebox")
    told = " ".join(shown(case))
    assert "FIN" not in told and "never acknowledged" not in told and "were kept back before inside" in told
    assert "slow-scanner" not in confident(case) and confident(case)["sender-timeout"] == "possible"
    assert not any("get the receiver's" in sign.text for cause in case.causes for sign in cause.evidence)


def test_a_proxy_that_ends_what_nobody_ended(tmp_path: Path) -> None:
    case = diagnosed(*swallowed(closes="proxy"), tmp_path)
    assert str(headline(case)).startswith("NOT DELIVERED: closed by a box between outside and inside")
    assert any("a FIN in the server's name reached outside; none like it passed inside" in line for line in shown(case))


# ---- nothing lost between the points


@pytest.mark.parametrize("phase", ["connect", "text"])
def test_what_came_to_the_last_point_was_not_lost_before_it(phase: str, tmp_path: Path) -> None:
    one = Connection()
    if phase == "connect":
        for n in range(5):
            one.emit("C", SYN).wait(2**n)
    else:
        one.cut(TEXT)
    case = diagnosed(one.packets, one.packets, tmp_path)
    assert case.observed.broken.by == "unknown"
    assert any("came to inside too, and no answer came by there" in line for line in shown(case))


def test_what_was_lost_before_the_last_point_did_not_come_there(tmp_path: Path) -> None:
    whole = Connection().cut(TEXT)
    came = [p for p in whole.packets if p.time < wire.START + 0.001 * (3 + 4 * len(ENVELOPE))]
    later = wire.START + 3_600
    beside = Connection(wire.Ends(client_port=40_999), start=later).delivered()  # the capture goes on
    case = diagnosed([*whole.packets, *beside.packets], [*came, *beside.packets], tmp_path)
    assert case.observed.broken.by == "middlebox"
    assert not any("came to inside too" in line for line in shown(case))


def test_a_packet_that_the_second_capture_lost_hides_no_cut_behind_it(tmp_path: Path) -> None:
    """Three segments: the first one came and is not in the capture, the second one was dropped, the third came."""
    text = message(3 * 1_460)
    outside, inside = (Connection().envelope() for _ in range(2))
    at = outside.sent["C"]
    for each, seen in ((outside, True), (inside, False)):
        each.say("C", text[:1_460], seen=seen).say("C", text[1_460:2_920], arrives=False, seen=seen)
        each.say("C", text[2_920:4_380]).ack("S")
    for n in range(5):
        outside.wait(0.4 * 2**n).again("C", at + 1_460, 1_460)
    inside.wait(12.4).ack("S")
    case = diagnosed(outside.packets, inside.packets, tmp_path)
    (gone,) = (each for each in case.differences if each.kind == "dropped")
    assert (gone.at, gone.length, gone.times) == (at + 1_460, 1_460, 6)


def test_a_packet_that_left_once_before_the_server_closed_may_have_been_lost_by_the_capture(tmp_path: Path) -> None:
    one = Connection().envelope().say("C", TEXT, arrives=False)
    last = one.packets[-1]
    one.reset("S")
    case = diagnosed(one.packets, [p for p in one.packets if p is not last], tmp_path)
    assert (case.observed.broken.kind, case.differences) == ("rst", ())


def test_a_command_that_never_came_had_no_reply_to_lose(tmp_path: Path) -> None:
    """With one capture its reply may have been what was lost, and the acknowledgement with it."""
    outside, inside = (
        Connection().open().say("S", GREETING, acked=True).say("C", b"EHLO out.example.org\r\n", acked=True)
        .say("S", b"250 mx.example.net\r\n", acked=True) for _ in range(2)
    )  # fmt: skip
    at, line = outside.sent["C"], b"MAIL FROM:<alice@example.org>\r\n"
    outside.say("C", line, arrives=False)
    for n in range(5):
        outside.wait(0.4 * 2**n).again("C", at, len(line))
    case = diagnosed(outside.packets, inside.packets, tmp_path)
    assert not any(".reply" in cause.cause for cause in case.causes)
