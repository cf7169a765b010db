"""A captured flow through a firewall: what both sides see, as it was up to the break and as it would have gone on."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import public
import smtpinspect
from kit import capture, mutate, wire
from kit.dialogue import parse
from smtpinspect.enforce.at import PHASES, AtPhase
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.mta import registry
from smtpinspect.mta.base import submitted
from smtpinspect.simulate import bench
from smtpinspect.simulate.attempt import attempt
from smtpinspect.simulate.captures import Asked, simulate
from smtpinspect.simulate.client import Letter
from smtpinspect.simulate.flow import packets
from smtpinspect.simulate.story import Story

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
CAPTURES = sorted(PCAPS.glob("*.pcap"))
INSPECTORS = (
    "mailguard:pix-4.0",
    "mailguard:pix-6",
    "mailguard:asa-8",
    "stormshield:high",
    "sonicwall",
    "sonicwall,on_match=drop",
)


def story(capture: str | Path, inspector: Any, **more: Any) -> Story:
    told = simulate(Asked(str(capture), inspector, **more)).story
    assert told is not None
    return told


def saved(path: Path, octets: bytes) -> str:
    path.write_bytes(octets)
    return str(path)


def dialogue(path: Path, text: str, **how: Any) -> str:
    return saved(path, capture.pcap(capture.records(wire.packets(wire.build(parse(text), **how), wire.V4))))


def events(told: Story, actor: str) -> list[str]:
    return [each.event for each in told.result.timeline if each.actor == actor]


# ---- the same as the form without a capture


@functools.cache
def delivery(mta: str, size: int, pipelining: bool, folder: Path) -> str:
    """A capture of a mail that nothing breaks, by the modelled sender."""
    sender = registry.SENDERS[mta]
    envelope = sender.example
    body = submitted(envelope, size)
    letter = Letter(envelope._replace(size=len(body)), sender.message(envelope, body, bench.STARTED), bench.STARTED)
    offers = ("PIPELINING",) if pipelining else ()
    start = int(bench.STARTED) * 10**9
    made = attempt(sender, letter, registry.RECEIVERS["postfix"], extensions=offers, start=start)
    path = folder / f"{mta}-{size}-{pipelining}.pcap"
    made.client_tap.write(path)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deliveries")


def comparable(mask: Callable[[str], str], lines: list[str] | tuple[str, ...]) -> list[str]:
    return [mask(re.sub(r"\bpri=\d+", "", line)) for line in lines]


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("phase", PHASES[1:])
@pytest.mark.parametrize("mta", registry.SENDERS)
def test_a_recorded_break_ends_as_one_without_a_capture(mta: str, phase: Any, pipelining: bool, folder: Path) -> None:
    """The ends that take up a captured flow in its midst end as those do that were modelled from their first packet."""
    same_break(mta, phase, 2_000, pipelining, folder)


@pytest.mark.parametrize("phase", ["databody", "datamid", "dot", "dotreply"])
@pytest.mark.parametrize("mta", ["exim", "postfix", "sendmail", "qmail"])
def test_a_large_body_blocks_where_it_would(mta: str, phase: Any, folder: Path) -> None:
    same_break(mta, phase, 1_000_000, False, folder)


def same_break(mta: str, phase: Any, size: int, pipelining: bool, folder: Path) -> None:
    path = delivery(mta, size, pipelining, folder)
    sender, receiver = registry.SENDERS[mta], registry.RECEIVERS["postfix"]
    for kind in ("drop", "rst", "fin"):
        got = story(path, AtPhase(phase, kind, min(20_000, size // 2)), mta=mta, receiver="postfix").result
        expected = bench.simulate(bench.question(mta, phase, kind, size, pipelining, {}, "postfix")).result
        masks = functools.partial(comparable, sender.mask), functools.partial(comparable, receiver.mask)
        assert masks[0](got.sender_log) == masks[0](expected.sender_log), kind
        assert masks[1](got.receiver_log["postfix"]) == masks[1](expected.receiver_log["postfix"]), kind
        assert got.fate == expected.fate
        assert got.seconds == pytest.approx(expected.seconds, abs=2)
        count = re.compile(r"\(\d+ bytes\)")
        assert count.findall(str(got.receiver_log)) == count.findall(str(expected.receiver_log))


# ---- the project's own captures


def test_a_silent_drop() -> None:
    told = story(PCAPS / "subject-8bit.pcap", "stormshield")
    record = told.record()
    assert (record["mode"], record["mta"], record["fate"], record["break"]) == (
        "recorded",
        "postfix",
        "deferred",
        "drop",
    )
    assert (record["phase"], record["stage"]) == ("databody", "after-end-of-data")
    assert record["rule"] == {
        "rule": "stormshield.smtp-231", "action": "drop-flow", "direction": "client", "offset": 313,
        "octets": "Subject: R\\xc3\\xa9union", "packet": 11,
    }  # fmt: skip
    assert record["guessed"] == ["mta", "receiver"]
    assert record["observed"] == "accepted"
    assert "timed out while sending end of data -- message may be sent more than once" in record["sender_log"][-1]
    assert any("timeout after DATA (0 bytes)" in line for line in record["receiver_log"]["postfix"])
    assert record["seconds"] == pytest.approx(600, abs=1)
    assert record["attempts"] == len(record["retries"]) + 1 > 50
    assert record["slot_seconds"] == pytest.approx(record["attempts"] * 600, rel=0.01)
    assert (record["duplicate_risk"], record["copies"], record["duplicates"]) == (True, 0, 0)
    assert record["next_mx"] is True
    assert "status=expired, returned to sender" in record["final_log"][-1]
    times = [each.t for each in told.result.timeline if each.actor == "client" and "again" in each.event]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert [round(later / earlier) for earlier, later in pairwise(gaps[:6])] == [2] * 5


@pytest.mark.parametrize(
    ("how", "text", "fate"),
    [
        ("rst", "lost connection with mx.example.net[203.0.113.25] while sending end of data", "rst"),
        ("fin", "lost connection with mx.example.net[203.0.113.25] while sending end of data", "fin"),
        ("drop", "timed out while sending end of data", "drop"),
    ],
)
def test_another_teardown_than_the_products_own(how: Any, text: str, fate: str) -> None:
    told = story(PCAPS / "subject-8bit.pcap", "stormshield", broken=how)
    assert text in told.result.sender_log[-1]
    assert told.result.broken == fate


@pytest.mark.parametrize("mta", registry.SENDERS)
def test_the_client_is_who_it_is_said_to_be(mta: str) -> None:
    told = story(PCAPS / "subject-8bit.pcap", "stormshield", mta=mta)
    assert (told.result.mta, told.result.fate, told.mail.guessed) == (mta, "deferred", ("receiver",))
    waits = {
        "exim": 600,
        "postfix": 600,
        "sendmail": 925,
        "opensmtpd": 300,
        "qmail": 925,
        "exchange": 600,
        "rfc5321": 600,
    }
    assert waits[mta] <= told.result.seconds < waits[mta] + 40


def test_the_time_outs_that_were_asked_for() -> None:
    told = story(PCAPS / "subject-8bit.pcap", "stormshield", mta="exim", timeouts={"final": 7.0})
    assert told.result.seconds == pytest.approx(7, abs=0.1)


def test_a_reply_of_the_firewall_bounces_the_mail() -> None:
    told = story(PCAPS / "encrypted-zip.pcap", "sonicwall")
    assert (told.result.fate, told.result.broken, told.hit) == ("bounced", "reply", None)
    assert told.altered == ("sonicwall.encrypted-zip",)
    assert "status=bounced (host mx.example.net[203.0.113.25] said: 552 " in told.result.sender_log[-1]
    assert any("lost connection after DATA (0 bytes)" in line for line in told.result.receiver_log["postfix"])


def test_what_the_capture_cannot_show_is_said() -> None:
    told = story(PCAPS / "bdat.pcap", "mailguard:pix-4.0")  # EHLO answered by the box: the client would say HELO
    assert (told.result.fate, told.result.sender_log) == ("", ())
    assert told.record()["fate"] is None
    assert any("--re-enact" in note for note in told.notes)


def test_a_line_that_a_person_typed_does_not_depend_on_the_reply() -> None:
    told = story(PCAPS / "smtp-223.pcap", "mailguard:pix-4.0")
    assert told.altered == ("mailguard.command-not-allowed",)
    assert told.result.fate == "delivered"
    assert "to the client: 250 OK" in events(told, "firewall")


def test_octets_that_are_rewritten_reach_the_other_side(tmp_path: Path) -> None:
    client, server = str(tmp_path / "c.pcap"), str(tmp_path / "s.pcap")
    told = story(PCAPS / "clean-delivery.pcap", "mailguard:pix-6", write_client=client, write_server=server)
    assert told.result.broken == "none"
    (seen,) = smtpinspect.transcript(client)
    assert seen["reply_codes"][0] == 220
    assert b"220 ****" in Path(client).read_bytes()
    assert b"XXXX mail.example.org" in Path(server).read_bytes()
    assert b"220 mx.example.net" in Path(server).read_bytes()


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_nothing_fires_and_nothing_changes(file: Path, tmp_path: Path) -> None:
    """An inspector that is switched off: both views are the capture."""
    views = [tmp_path / "c.pcap", tmp_path / "s.pcap"]
    off = "stormshield,level=ids,off=217+219+223+122+231"
    told = story(file, off, write_client=str(views[0]), write_server=str(views[1]))
    if told.result.broken != "none" or told.altered:
        pytest.skip("some other rule of the product fires here")
    assert views[0].read_bytes() == views[1].read_bytes()
    (flow,) = smtpinspect.replay(file, inspectors=[]).flows
    (same,) = smtpinspect.replay(views[0], inspectors=[]).flows
    sent = [(each.ns, each.ip) for each in packets(str(file), flow)]
    assert [(each.ns, each.ip) for each in packets(str(views[0]), same)] == sent
    assert told.views == (len(sent), len(sent))
    assert "no rule fires on this connection: both sides see what the capture shows" in told.notes


def test_the_mail_that_was_asked_for() -> None:
    told = story(PCAPS / "several-mails.pcap", "stormshield", mail=2)
    assert (told.mail.number, told.mail.why, told.result.fate) == (2, "the mail that was asked for", "delivered")
    with pytest.raises(UsageError, match="--mail 9"):
        story(PCAPS / "several-mails.pcap", "stormshield", mail=9)


def test_a_mail_before_the_break_was_delivered(tmp_path: Path) -> None:
    one = (
        "C: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\nC: DATA\nS: 354 go\n"
        "C: Subject: {}\nC:\nC: .\nS: 250 ok\n"
    )
    text = "S: 220 x ESMTP\nC: HELO a\nS: 250 mx\n" + one.format("fine") + one.format("\\xe9") + "C: QUIT\nS: 221 bye"
    path = dialogue(tmp_path / "two.pcap", text)
    assert story(path, "stormshield", mail=1).result.fate == "delivered"
    broken = story(path, "stormshield")
    assert (broken.mail.number, broken.result.fate) == (2, "deferred")


def test_a_dot_reply_that_is_lost_makes_copies() -> None:
    told = story(PCAPS / "clean-delivery.pcap", AtPhase("dotreply", "drop"))
    assert (told.result.fate, told.result.duplicate_risk) == ("deferred", True)
    assert told.days.copies == told.days.attempts > 1


# ---- captures as they come


TEXT = """S: 220 mx.example.net ESMTP
C: HELO a.example
S: 250 mx
C: MAIL FROM:<a@b>
S: 250 ok
C: RCPT TO:<c@d>
S: 250 ok
C: DATA
S: 354 go
C: Subject: \\xe9
C:
C: text
C: .
S: 250 ok
C: QUIT
S: 221 bye"""


def test_mid_stream(tmp_path: Path) -> None:
    told = story(dialogue(tmp_path / "m.pcap", TEXT, handshake=False), "stormshield")
    assert told.result.fate == "deferred"
    assert any("in the midst" in note for note in told.notes)


@pytest.mark.parametrize("side", ["C", "S"])
def test_one_direction(side: Any, tmp_path: Path) -> None:
    path = dialogue(tmp_path / "o.pcap", TEXT, only=side)
    told = simulate(Asked(path, "stormshield")).story
    assert told is None or any("one direction" in note for note in told.notes)


def test_checksums_that_were_not_filled_in(tmp_path: Path) -> None:
    segments = [each.but(bad_checksum=each.direction == "C") for each in wire.build(parse(TEXT))]
    path = saved(tmp_path / "b.pcap", capture.pcap(capture.records(wire.packets(segments, wire.V4))))
    told = story(path, "stormshield")
    assert any("checksums" in note for note in told.notes)
    assert told.result.fate == "deferred"


def test_a_snap_length(tmp_path: Path) -> None:
    records = capture.records(wire.packets(wire.build(parse(TEXT)), wire.V4), snaplen=70)
    told = story(saved(tmp_path / "s.pcap", capture.pcap(records)), "stormshield")
    assert any("snap length" in note for note in told.notes)


def test_a_gap(tmp_path: Path) -> None:
    segments = mutate.without(wire.build(parse(TEXT)), "C", 20, 40)
    told = story(
        saved(tmp_path / "g.pcap", capture.pcap(capture.records(wire.packets(segments, wire.V4)))), "stormshield"
    )
    assert any("missing" in note for note in told.notes)


def test_a_capture_that_is_cut_off(tmp_path: Path) -> None:
    octets = (PCAPS / "subject-8bit.pcap").read_bytes()
    path = saved(tmp_path / "cut.pcap", octets[:-30])
    told = simulate(Asked(path, "stormshield"))
    assert told.story is not None
    assert told.story.hit is not None
    with pytest.raises(CaptureError):
        simulate(Asked(saved(tmp_path / "none.pcap", b"nothing at all, but long enough"), "stormshield"))


@pytest.mark.skipif(not public.FOLDER.is_dir(), reason=public.ABSENT)
@pytest.mark.parametrize("re_enact", [False, True])
@pytest.mark.parametrize("inspector", INSPECTORS)
def test_any_capture_has_a_story(inspector: str, re_enact: bool) -> None:
    told = 0
    for file in [*CAPTURES, *sorted(public.FOLDER.glob("*.pcap*"))]:
        try:
            made = simulate(Asked(str(file), inspector, re_enact=re_enact))
        except CaptureError:
            continue
        if made.story is not None:
            assert made.story.record()["fate"] in ("delivered", "deferred", "bounced", None)
            told += 1
    assert told > 70


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_the_packets_fire_what_the_replay_fires(file: Path) -> None:
    """Packet by packet the flow breaks by the rule that broke it as a whole."""
    for inspector in INSPECTORS:
        (flow,) = smtpinspect.replay(file, inspectors=[inspector]).flows
        told = story(file, inspector)
        assert (None if told.hit is None else told.hit.rule) == next(iter(flow.broken_by.values()), None)


def test_no_smtp_has_no_story() -> None:
    frames = capture.pcap([capture.Record(1.0, b"\0" * 60, 60)])
    assert simulate(Asked(io.BytesIO(frames), "mailguard")).story is None  # type: ignore[arg-type]
