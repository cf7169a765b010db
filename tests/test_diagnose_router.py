"""A capture taken on a router: what came in and never went out was dropped there, what came out changed was changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pointed
import routed
import test_transcripts as documents
from kit import capture as captured
from kit.broken import Connection, message
from kit.wire import Ends
from routed import INSIDE, OUTSIDE, Seen, case_of, cut, later, octets, told
from smtpinspect.cli import main
from smtpinspect.diagnose.export.annotate import comments
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Diagnosis, Difference
from smtpinspect.diagnose.paths.points import Point, differences
from smtpinspect.diagnose.survey import survey
from smtpinspect.diagnose.trace import Trace, traces
from smtpinspect.enforce import craft
from smtpinspect.report.diagnose_words import shown
from smtpinspect.report.headline import headline

FORMS = ["sll2", "sll", "ethernet", "raw"]
FIRES = [path for path in documents.DOCUMENTS if "-fires" in path.stem and path.parent.name != "smtp"]
HERE = "the machine where this was captured"


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
        seen = [*routed.routed(packets, gone=gone[:times], hops=0), *later(made)]
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
    assert case.failed and (case.observed.outcome, case.observed.phase) == ("accepted", "dotreply")
    assert case.observed.reply == "250 2.0.0 Ok"
    assert "the server took it, the sender never learnt" in str(headline(case))


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
    path = routed.written(tmp_path / "any.pcap", [*seen, *later(made)])
    (case,) = [case for case in told(path).cases if case.failed]
    assert (case.observed.broken.kind, case.observed.broken.by) == ("rst", "middlebox")
    assert case.observed.broken.signs[0].text == f"made on {HERE}, between interface 3 and interface 2"
    assert {(each.kind, each.what) for each in case.differences} == {("injected", "RST"), ("dropped", "octets")}


def test_of_two_ends_that_were_made_there_the_client_s_decides(tmp_path: Path) -> None:
    made = Connection().envelope()
    number = len(made.say("C", message(600), arrives=False).packets)
    made.reset("C", ttl=65).reset("S").wait(3)
    seen = routed.routed(made.packets, gone=[number - 1], made=[number, number + 1])
    (case,) = [
        case for case in told(routed.written(tmp_path / "any.pcap", [*seen, *later(made)])).cases if case.failed
    ]
    assert {(each.what, each.direction) for each in case.differences} == {
        ("RST", "client"), ("RST", "server"), ("octets", "client"),
    }  # fmt: skip
    assert case.observed.broken.packet == 2 * number + 1  # in the server's name


def test_an_rst_like_all_others_may_have_been_missed_as_it_came_in(tmp_path: Path) -> None:
    made, forged = reset(ttl=None, more=False)
    seen = routed.routed(made.packets, gone=[forged[0] - 1], made=forged)
    path = routed.written(tmp_path / "any.pcap", [*seen, *later(made)])
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


def carried(ehlo: bytes, folder: Path, text: bytes = b"") -> Diagnosis:
    """A client that talks to a proxy on this machine, which carries on what it says."""
    text = text or message(600)
    one = Connection().envelope().say("C", text, acked=True).wait(8).close("C")
    two = Connection(Ends("203.0.113.7", client_port=61001), start=one.packets[0].time + 0.0004)
    two.isn = {"C": 70_000, "S": 90_000}
    two.envelope().wait(8.3).close("C")
    seen = [routed.came(p) if p.direction == "C" else routed.went(p) for p in one.packets]
    seen += [routed.went(p) if p.direction == "C" else routed.came(p) for p in two.packets]
    seen = [
        each._replace(ip=octets(each.ip, b"out.example.org", ehlo)) if each.interface == INSIDE and b"EHLO" in each.ip
        else each for each in seen
    ]  # fmt: skip
    return told(routed.written(folder / "any.pcap", sorted(seen, key=lambda each: each.time)))


def test_what_a_proxy_takes_and_does_not_carry_on_was_kept_back_there(tmp_path: Path) -> None:
    found = carried(b"out.example.org", tmp_path)
    (case,) = found.cases
    assert case.failed and case.flow.client == "192.0.2.10:40112"
    assert [(each.kind, each.direction) for each in case.differences] == [("withheld", "client")]
    assert case.observed.broken.signs[0].text.startswith(f"kept back on {HERE}")
    assert any(line.startswith(f"{HERE}, in the server's name, acknowledged") for line in shown(case))
    assert any("where a proxy carries it on" in note for note in found.notes)


def test_a_relay_with_a_name_of_its_own_is_not_compared(tmp_path: Path) -> None:
    found = carried(b"mx9.example.org", tmp_path)
    assert len(found.cases) == 2 and not any(case.differences for case in found.cases)
    assert any("seem to be the same mail on both sides" in note for note in found.notes)


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


# --- as one of several points


@pytest.mark.parametrize("place", [0, 1])
def test_a_capture_of_both_sides_does_not_stand_between_others(place: int, tmp_path: Path) -> None:
    """Which of its sides would it be? What it dropped itself had left nobody's network."""
    made, gone = cut()
    router = routed.written(tmp_path / "any.pcap", [*routed.routed(made.packets, gone=gone), *later(made)])
    far = [packet for n, packet in enumerate(made.packets) if n not in gone] if place == 0 else made.packets
    other = tmp_path / "other.pcap"
    other.write_bytes(captured.pcap(captured.records(far)))
    named = [Point("router", router), Point("other", str(other))]
    found = diagnose(Asked(named[place].source, points=tuple(named if place == 0 else named[::-1]))).diagnosis
    assert not any(case.differences for case in found.cases)
    assert any(note.startswith("router: ") and "diagnose it alone" in note for note in found.notes)
    assert not found.unmatched


def test_a_router_may_drop_for_a_line_or_a_host_behind_it_that_died(tmp_path: Path) -> None:
    made, gone = cut()
    seen = routed.routed(made.close("C", answered=False).packets, gone=gone)
    case = case_of(routed.written(tmp_path / "any.pcap", seen))
    assert [each.kind for each in case.differences if each.here][:1] == ["dropped"]
    assert not {"outage", "server-gone"} & {out.cause for out in case.against}
