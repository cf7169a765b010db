"""A capture taken on a router: what came in and never went out was dropped there, what came out changed changed there.

Where the capture does not show that it holds both sides, nothing is said.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

import pointed
import routed
import test_transcripts as documents
from kit import capture
from kit.broken import Connection, message
from kit.wire import Ends
from routed import INSIDE, OUTSIDE, Seen
from smtpinspect.cli import main
from smtpinspect.diagnose.export.annotate import comments
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Diagnosis, Difference
from smtpinspect.diagnose.paths.points import differences
from smtpinspect.diagnose.survey import survey
from smtpinspect.diagnose.trace import Trace, traces
from smtpinspect.enforce import craft
from smtpinspect.report.diagnose_words import shown
from smtpinspect.report.headline import headline

FORMS = ["sll2", "sll", "ethernet", "raw"]
FIRES = [path for path in documents.DOCUMENTS if "-fires" in path.stem and path.parent.name != "smtp"]
HERE = "the machine where this was captured"


def told(path: str, inspectors: Sequence[str] = ()) -> Diagnosis:
    return diagnose(Asked(path, inspectors=tuple(inspectors))).diagnosis


def case_of(path: str) -> Case:
    (case,) = told(path).cases
    return case


def text_of(made: Connection, at: int) -> list[int]:
    """The packets of the client from this stream offset on that carry octets."""
    first = made.isn["C"] + 1 + at
    return [
        n for n, packet in enumerate(made.packets)
        if (segment := craft.parse(packet.octets)) and packet.direction == "C" and segment.payload
        and segment.seq >= first
    ]  # fmt: skip


def cut(octets: int = 600) -> tuple[Connection, list[int]]:
    """A mail whose text comes in and never goes out, nor does what is sent of it again."""
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(octets), arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, min(octets, made.mss))
    made.wait(3)
    return made, text_of(made, at)


def octets(packet: bytes, before: bytes, after: bytes) -> bytes:
    assert before in packet and len(before) == len(after)
    return craft.filled(packet.replace(before, after))


# --- dropped there


@pytest.mark.parametrize("form", FORMS)
def test_what_came_in_and_never_went_out_was_dropped_there(form: str, tmp_path: Path) -> None:
    made, gone = cut()
    seen = [*routed.routed(made.packets, gone=gone), *routed.routed(made.close("C").packets[-2:])]
    case = case_of(routed.written(tmp_path / "any.pcap", seen, form))
    (lost,) = [each for each in case.differences if each.what == "octets"]
    assert (lost.kind, lost.direction, lost.times, len(lost.near)) == ("dropped", "client", 6, 6)
    assert (case.observed.broken.kind, case.observed.broken.by) == ("drop", "middlebox")
    sign = case.observed.broken.signs[0]
    assert sign.packet == lost.near[0] == case.observed.broken.packet and sign.point == ""
    if form == "sll2":
        assert sign.text == f"dropped on {HERE}, between interface 2 and interface 3"
        assert any("came in on interface 2 6 times and never went out on interface 3" in line for line in shown(case))
        assert HERE in headline(case).text


def test_of_a_mirrored_bridge_the_order_of_copies_tells(tmp_path: Path) -> None:
    made, gone = cut()
    for times in (4, 3):
        packets = [packet for n, packet in enumerate(made.packets) if n not in gone[times:]]
        seen = [*routed.routed(packets, gone=gone[:times], hops=0), *_later(made)]
        path = routed.written(tmp_path / "any.pcap", seen, "bridged")
        (case,) = [case for case in told(path).cases if case.failed]
        assert [(each.kind, each.times) for each in case.differences] == ([("dropped", 4)] if times == 4 else [])


@pytest.mark.parametrize("form", ["sll2", "ethernet"])
def test_a_router_may_set_the_ttl_of_what_it_sends(form: str, tmp_path: Path) -> None:
    made, gone = cut()
    seen = [
        each if each.incoming else each._replace(ip=craft.filled(each.ip[:8] + bytes([200]) + each.ip[9:]))
        for each in routed.routed(made.packets, gone=gone)
    ]  # fmt: skip
    case = case_of(routed.written(tmp_path / "any.pcap", seen, form))
    kinds = [(each.kind, each.direction, each.times) for each in case.differences]
    assert kinds == ([("dropped", "client", 6)] if form == "sll2" else [])


def test_the_answer_of_the_server_is_dropped_there_as_well(tmp_path: Path) -> None:
    made = Connection().envelope().say("C", message(600), acked=True)
    at = made.sent["S"]
    first = len(made.packets)
    made.say("S", b"250 2.0.0 Ok\r\n", arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("S", at, 14)
    gone = range(first, len(made.packets))
    made.wait(3).close("C", answered=False)
    case = case_of(routed.written(tmp_path / "any.pcap", routed.routed(made.packets, gone=gone)))
    assert [(each.kind, each.direction) for each in case.differences] == [("dropped", "server")]
    assert case.observed.broken.signs[0].text.endswith("between interface 3 and interface 2")
    assert case.failed and case.observed.phase == "dotreply"


def test_it_is_in_the_record_the_timeline_and_the_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, gone = cut()
    path = routed.written(tmp_path / "any.pcap", routed.routed(made.packets, gone=gone))
    assert main(["diagnose", path, "--format", "json"]) == 0
    (mail,) = json.loads(capsys.readouterr().out)["mails"]
    assert mail["break"] == {"kind": "drop", "by": "middlebox"}
    evidence = [sign for cause in mail["causes"] for sign in cause["evidence"]]
    sign = {"packet": 2 * gone[0] + 1, "text": f"dropped on {HERE}, between interface 2 and interface 3"}
    assert sign in evidence
    found = told(path)
    (moment,) = [each for each in found.cases[0].observed.timeline if each.phase == "dropped"]
    assert moment.packet == sign["packet"] and (moment.end_ns - moment.begin_ns) // 10**9 == 12
    assert any("PROVED" in text and HERE in text for text in comments(found)[moment.packet])
    folder = tmp_path / "evidence"
    assert main(["diagnose", path, "--evidence", str(folder)]) == 0
    assert any(HERE in file.read_text() for file in folder.rglob("*.txt"))


def test_what_got_lost_there_on_its_way_is_told_of_a_mail_that_failed_later(tmp_path: Path) -> None:
    for times in (8, 7):  # so few the capture may have missed
        made = Connection().envelope()
        gone = []
        for _ in range(times):
            at = made.sent["C"]
            made.say("C", b"x" * 500 + b"\r\n", arrives=False).wait(0.4)
            gone.append(len(made.packets) - 1)
            made.again("C", at, 502, arrives=True).ack("S")
        made.wait(200).reset("C").wait(2).ack("S")
        case = case_of(routed.written(tmp_path / "any.pcap", routed.routed(made.packets, gone=gone)))
        assert case.failed
        told = [(each.kind, each.direction, each.length) for each in case.differences]
        assert told == ([("lost", "client", 8)] if times == 8 else [])


# --- made there, rewritten there


def reset(*, ttl: int | None, more: bool) -> tuple[Connection, list[int]]:
    """The text comes in, and an RST goes out to its sender; `more`: the server goes on."""
    made = Connection().envelope()
    made.say("C", message(600), arrives=False)
    number = len(made.packets)
    made.reset("S", ttl=ttl)
    if more:
        made.wait(0.3).again("S", made.sent["S"] - 11, 11)
    return made.wait(3), [number]


@pytest.mark.parametrize(("ttl", "more"), [(65, False), (None, True)])
def test_an_rst_that_went_out_and_never_came_in_was_made_there(ttl: int | None, more: bool, tmp_path: Path) -> None:
    made, forged = reset(ttl=ttl, more=more)
    seen = routed.routed(made.packets, gone=[forged[0] - 1], made=forged)
    path = routed.written(tmp_path / "any.pcap", [*seen, *_later(made)])
    (case,) = [case for case in told(path).cases if case.failed]
    assert (case.observed.broken.kind, case.observed.broken.by) == ("rst", "middlebox")
    assert case.observed.broken.signs[0].text == f"made on {HERE}, between interface 3 and interface 2"
    assert {(each.kind, each.what) for each in case.differences} == {("injected", "RST"), ("dropped", "octets")}


def test_an_rst_like_all_others_may_have_been_missed_as_it_came_in(tmp_path: Path) -> None:
    made, forged = reset(ttl=None, more=False)
    seen = routed.routed(made.packets, gone=[forged[0] - 1], made=forged)
    path = routed.written(tmp_path / "any.pcap", [*seen, *_later(made)])
    (case,) = [each for each in told(path).cases if each.failed]
    assert not case.differences


def test_a_banner_is_masked_there(tmp_path: Path) -> None:
    made, gone = cut()
    banner = next(n for n, packet in enumerate(made.packets) if b"220 mx" in packet.octets)
    change = {banner: lambda ip: octets(ip, b"mx.example.net ESMTP", b"********************")}
    case = case_of(routed.written(tmp_path / "any.pcap", routed.routed(made.packets, gone=gone, changed=change)))
    rewritten = case.differences[-1]
    assert (rewritten.kind, rewritten.direction, rewritten.length) == ("rewritten", "server", 20)
    assert rewritten.far[0] == rewritten.near[0] + 1
    assert any(f"as packet {rewritten.far[0]}" in line and "went out on interface 2" in line for line in shown(case))
    assert {sign.what for sign in case.fingerprints} == {"banner-starred"}


def test_addresses_that_are_translated_there(tmp_path: Path) -> None:
    made, gone = cut()
    nat = pointed.NAT._replace(client_isn=0, server_isn=0, hops=0, seconds=0)
    seen = [
        each._replace(ip=pointed._ends(each.ip, segment, nat))
        if each.interface == INSIDE and (segment := craft.parse(each.ip)) else each
        for each in routed.routed(made.packets, gone=gone)
    ]  # fmt: skip
    found = told(routed.written(tmp_path / "any.pcap", seen))
    (case,) = found.cases
    assert case.flow.client == "192.0.2.10:40112"
    assert [(each.kind, each.times) for each in case.differences] == [("dropped", 6)]
    folder = tmp_path / "evidence"
    assert main(["diagnose", str(tmp_path / "any.pcap"), "--evidence", str(folder)]) == 0
    text = (folder / "README.txt").read_text()
    assert "203.0.113.7:61001 to 10.1.1.25:25, in connection-001-behind.pcapng" in " ".join(text.split())
    assert "connection-001-behind.pcapng" in (folder / "SHA256SUMS").read_text()
    (note,) = found.notes
    assert "203.0.113.7:61001 to 10.1.1.25:25 is 192.0.2.10:40112 to 198.51.100.25:25" in note and "told once" in note


@pytest.mark.parametrize("path", FIRES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_a_box_does_is_told_of_one_capture_as_of_two(path: Path, tmp_path: Path) -> None:
    """But for what only a second capture proves: an end that came in once, or a break before both sides are known."""
    document = documents.read(path)
    sides = pointed.played(document.segments, document.specs[0], tmp_path)
    two = [kind(each) for each in differences([*_ways(sides)])]
    one = [kind(each) for case in told(_both(sides, tmp_path), document.specs).cases for each in case.differences]
    assert set(one) <= set(two)
    if any(what in ("rewritten", "injected") for what, *_ in two):
        assert one


def kind(each: Difference) -> tuple[object, ...]:
    return each.kind, each.what, each.direction, each.at, each.before, each.after


# --- nothing is said


def test_nothing_where_all_that_came_in_went_out(tmp_path: Path) -> None:
    made = Connection().cut(message(600))
    for form in FORMS:
        case = case_of(routed.written(tmp_path / "any.pcap", routed.routed(made.packets), form))
        assert case.failed and not case.differences
        assert case.trace is not None and len(case.trace.packets) == len(made.packets) == case.trace.copies


@pytest.mark.parametrize("form", FORMS)
def test_nothing_where_the_capture_ends_too_soon(form: str, tmp_path: Path) -> None:
    made, gone = cut()
    last = routed.came(made.packets[gone[1]]).time
    seen = [each for each in routed.routed(made.packets, gone=gone) if each.time < last + 0.5]
    case = case_of(routed.written(tmp_path / "any.pcap", seen, form))
    assert not case.differences


def test_nothing_where_packets_take_long_to_come_out_and_the_capture_ends_before(tmp_path: Path) -> None:
    made, gone = cut()
    seen = routed.routed(made.packets, gone=gone, after=0.0005)
    slow = next(n for n, each in enumerate(seen) if not each.incoming)
    seen[slow] = seen[slow].later(2)
    seen.sort(key=lambda each: each.time)
    assert not case_of(routed.written(tmp_path / "any.pcap", seen)).differences


def test_nothing_of_what_was_sent_once(tmp_path: Path) -> None:
    made, gone = cut()
    packets = [packet for n, packet in enumerate(made.packets) if n not in gone[1:]]
    seen = [*routed.routed(packets, gone=gone[:1]), *_later(made)]
    (case,) = [case for case in told(routed.written(tmp_path / "any.pcap", seen)).cases if case.failed]
    assert not case.differences


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", ["C", "S"])
def test_nothing_where_one_direction_only_is_there_twice(side: str, form: str, tmp_path: Path) -> None:
    made, gone = cut()
    single = [n for n, packet in enumerate(made.packets) if packet.direction == side]
    case = case_of(routed.written(tmp_path / "any.pcap", routed.routed(made.packets, gone={*gone, *single}), form))
    assert not case.differences
    assert case.trace is not None and not case.trace.sides


@pytest.mark.parametrize("form", ["sll2", "sll", "ethernet"])
def test_copies_out_of_order_are_no_difference(form: str, tmp_path: Path) -> None:
    made = Connection().cut(message(600))
    seen = routed.routed(made.packets)
    swapped = [each for n in range(0, len(seen), 2) for each in (seen[n + 1], seen[n])]
    case = case_of(routed.written(tmp_path / "any.pcap", swapped, form))
    assert case.failed and not case.differences
    made, gone = cut()
    seen = routed.routed(made.packets, gone=gone)
    for n in range(0, 2 * gone[0] - 1, 2):
        seen[n], seen[n + 1] = seen[n + 1], seen[n]
    case = case_of(routed.written(tmp_path / "any.pcap", seen, form))
    assert [(each.kind, each.times) for each in case.differences] == [("dropped", 6)]


@pytest.mark.parametrize("which", [4, 5, 11, 12, 17])
@pytest.mark.parametrize("times", [3, 4])
def test_where_the_capture_itself_lost_packets_it_takes_more(times: int, which: int, tmp_path: Path) -> None:
    """What was acknowledged had gone out, captured or not; what never goes out so often was dropped all the same."""
    made, gone = cut()
    packets = [packet for n, packet in enumerate(made.packets) if n not in gone[times:]]
    seen = routed.routed(packets, gone=gone[:times])
    data = [n for n, each in enumerate(seen) if (segment := craft.parse(each.ip)) and segment.payload]
    del seen[data[which]]
    path = routed.written(tmp_path / "any.pcap", [*seen, *_later(made)])
    (case,) = [case for case in told(path).cases if case.failed]
    assert [each.times for each in case.differences] == ([4] if times == 4 else [])


def test_nothing_where_the_kernel_says_that_it_dropped_packets(tmp_path: Path) -> None:
    made, gone = cut()
    records = routed.records(routed.routed(made.packets, gone=gone))
    for dropped in (0, 7):
        section = capture.Pcapng().interface(276)
        for record in records:
            section.packet(record)
        options = section.option(4, struct.pack("<Q", 900)) + section.option(5, struct.pack("<Q", dropped))
        section.block(5, struct.pack("<III", 0, 0, 0) + options + section.option(0, b""))
        path = tmp_path / "any.pcapng"
        path.write_bytes(section.octets())
        found = told(str(path))
        assert bool(found.cases[0].differences) == (not dropped)
        assert any("dropped 7 packets" in note for note in found.notes) == bool(dropped)


def test_merged_segments_that_go_out_parted_are_not_lost(tmp_path: Path) -> None:
    made = Connection(mss=2920).envelope()
    text = message(2900)
    made.say("C", text, acked=True)
    whole = next(n for n, packet in enumerate(made.packets) if len(packet.octets) > 2900)
    made.wait(700).reset("C").wait(2).ack("S")
    seen = routed.routed(made.packets, gone=[whole])
    segment = craft.parse(made.packets[whole].octets)
    assert segment is not None
    for at in (0, 1460):
        part = segment._replace(seq=segment.seq + at, payload=segment.payload[at : at + 1460], ttl=segment.ttl - 1)
        seen.append(Seen(made.packets[whole].time + 0.0001 + at / 1e7, craft.build(part), False, INSIDE))
    seen.sort(key=lambda each: each.time)
    case = case_of(routed.written(tmp_path / "any.pcap", seen))
    assert case.failed and case.trace is not None and case.trace.sides
    assert not case.differences


def test_the_client_is_on_the_interface_by_which_it_comes(tmp_path: Path) -> None:
    made, gone = cut()
    swap = {OUTSIDE: 7, INSIDE: 4}
    seen = [each._replace(interface=swap[each.interface]) for each in routed.routed(made.packets, gone=gone)]
    case = case_of(routed.written(tmp_path / "any.pcap", seen))
    assert case.differences[0].between == ("interface 7", "interface 4")


def _later(made: Connection) -> list[Seen]:
    """Another connection, so that the capture goes on."""
    other = Connection(Ends(client_port=40999), start=made.now + 5).delivered()
    return routed.routed(other.packets)


def _ways(paths: Sequence[Path]) -> Iterator[tuple[str, Trace]]:
    for path in paths:
        (case,) = {case.flow.flow_id: case for case in survey(str(path), []).cases}.values()
        yield path.stem, traces(str(path), [case.flow])[case.flow.flow_id]


def _both(paths: Sequence[Path], folder: Path) -> str:
    """Two captures, of the client's side and the server's, as one of a router."""
    seen = []
    for interface, path in zip((OUTSIDE, INSIDE), paths, strict=True):
        for when, ip in pointed.packets(path):
            by_client = ip[22:24] == b"\0\x19" if ip[0] >> 4 == 4 else ip[42:44] == b"\0\x19"
            seen.append(Seen(when, ip, by_client == (interface == OUTSIDE), interface))
    seen.sort(key=lambda each: each.time)
    other = Connection(Ends(client_port=40999), start=seen[-1].time + 5).delivered()
    seen += routed.routed(other.packets)  # so that the capture goes on
    return routed.written(folder / "both.pcap", seen)




# --- captures that lie


def _beyond() -> Connection:
    """What goes out here, and gets lost further on."""
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(4000), arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 1460)
    return made.wait(3).close("C", answered=False)


def _unheard() -> Connection:
    made = Connection().envelope().say("C", message(600), acked=True)
    at = made.sent["S"]
    made.say("S", b"250 2.0.0 Ok\r\n", arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("S", at, 14)
    return made.wait(3).close("C", answered=False)


def _sent_again() -> Connection:
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(600), arrives=False).wait(0.4).again("C", at, 600, arrives=True).ack("S")
    return made.wait(200).reset("C")


def _reset() -> Connection:
    return Connection().envelope().say("C", message(600), arrives=False).reset("S").wait(1)


ENDINGS = (_beyond, _unheard, _sent_again, _reset, lambda: Connection().delivered(3000))


def _missed(rng: Random, seen: list[Seen]) -> list[Seen]:
    """Some of it is not captured, some in another order, or the capture ends."""
    if rng.random() < 0.4:
        first = rng.randrange(len(seen))
        seen = [*seen[:first], *seen[first + rng.randrange(1, 12) :]]
    share = rng.choice([0, 0.02, 0.05, 0.1, 0.3])
    seen = [each for each in seen if rng.random() >= share]
    for n in range(len(seen) - 1 if rng.random() < 0.3 else 0):
        if rng.random() < 0.2:
            seen[n], seen[n + 1] = seen[n + 1], seen[n]
    return seen[: rng.randrange(1, len(seen) + 1)] if seen and rng.random() < 0.3 else seen


def test_a_router_that_did_nothing_is_blamed_for_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for seed in range(3_000 if request.config.getoption("--deep") else 60):
        rng = Random(seed)
        made = rng.choice(ENDINGS)()
        seen = routed.routed(made.packets, after=rng.choice([0.00002, 0.0005, 0.02]), hops=rng.choice([0, 1]))
        seen = _missed(rng, [*seen, *(_later(made) if rng.random() < 0.5 else [])])
        path = routed.written(tmp_path / "any.pcap", seen, rng.choice([*FORMS, "bridged"]))
        assert not [each for case in told(path).cases for each in case.differences], seed


def test_octets_that_were_flipped_end_in_no_traceback(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made, gone = cut()
    seen = routed.routed(made.packets, gone=gone)
    for seed in range(1_000 if request.config.getoption("--deep") else 40):
        rng = Random(seed)
        path = Path(routed.written(tmp_path / "any.pcap", seen, rng.choice(FORMS)))
        octets = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 60)):
            octets[rng.randrange(24, len(octets))] = rng.randrange(256)
        path.write_bytes(octets)
        told(str(path))
