"""A capture taken on a router that does not show what that did: then nothing is said of it."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

import routed
from kit import capture
from kit.broken import Connection, message
from routed import INSIDE, OUTSIDE, Seen, case_of, cut, later, told
from smtpinspect.enforce import craft

FORMS = ["sll2", "sll", "ethernet", "raw"]


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
    seen = [*routed.routed(packets, gone=gone[:1]), *later(made)]
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
    path = routed.written(tmp_path / "any.pcap", [*seen, *later(made)])
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
        seen = _missed(rng, [*seen, *(later(made) if rng.random() < 0.5 else [])])
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
