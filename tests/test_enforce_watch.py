"""The core for one packet at a time: the alerts of a replay, each with the packet that decides it."""

from __future__ import annotations

import resource
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
from dialogues import dialogues
from kit import mutate, wire
from smtpinspect.enforce.watch import Watch
from test_transcripts import DOCUMENTS, read

SPECS = ["mailguard:pix-6", "mailguard:asa-8", "mailguard:pix-4.0", "stormshield", "sonicwall"]


def told(alert):
    return alert.rule, alert.detail, alert.action, alert.direction, alert.offset, alert.packet, alert.tx_id


def watched(spec, packets):
    """What a watch tells, and the packet by which it told it."""
    watch = Watch(spec)
    found = []
    for number, packet in enumerate(packets, 1):
        for alert in watch.push(int(packet.time * 1e9), packet.octets):
            assert alert.pcap_cnt == number
            found.append(alert)
    watch.finish()
    return found + list(watch.fired()), watch


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_gives_the_alerts_of_its_replay(path):
    segments = read(path).segments
    for spec in SPECS:
        found, watch = watched(spec, wire.packets(segments))
        result = running.replay(segments, [spec])
        # (a replay keeps sixteen of a rule; a watch tells all)
        counts = Counter(alert.rule for alert in found)
        kept = {rule for rule, n in counts.items() if n <= 16}
        assert {told(a) for a in found if a.rule in kept} == {told(a) for a in result.alerts if a.rule in kept}
        assert dict(counts) == {rule: n for rule, n in result.stats.alerts.items() if n}
        assert watch.counts == result.stats.alerts


@given(dialogues(), st.randoms(use_true_random=False))
def test_any_dialogue_gives_the_alerts_of_its_replay(turns, rng):
    segments = mutate.random_cuts(wire.build(turns), rng)
    for spec in ("mailguard:asa-8", "stormshield"):
        found, _ = watched(spec, wire.packets(segments))
        result = running.replay(segments, [spec])
        assert Counter(alert.rule for alert in found) == Counter(result.stats.alerts)


def test_idle_connections_are_forgotten_and_memory_stays():
    """A million connections of which only the beginning is seen, over 12 days."""
    watch = Watch("mailguard:pix-6")
    ends = wire.Ends()
    syn = bytearray(wire.packets(wire.build([], close="none")[:1], ends)[0].octets)
    second = 1_000_000_000
    before = 0
    for i in range(400_000):
        syn[12:16] = (0x0A000000 + i).to_bytes(4, "big")
        watch.step(i * second, bytes(syn))
        if i == 100_000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_more_than_sixteen_alerts_of_a_rule_are_told():
    text = "S: 220 mx\n" + "C: WIZ\nS: 500 no\n" * 40
    found, _ = watched("mailguard:pix-6", wire.packets(wire.build(running.parse(text))))
    assert Counter(a.rule for a in found)["mailguard.command-not-allowed"] == 40


def test_a_watch_tells_records_to_another_sink():
    import io
    import json

    from smtpinspect._core.eve import EveSink

    watch = Watch("mailguard:pix-6")
    out = io.BytesIO()
    eve = EveSink(watch.program, out)
    watch.tell(eve)
    text = "S: 220 mx\nC: HELO a\nS: 250 a\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: WIZ\nS: 500 no\nC: QUIT\nS: 221 bye\n"
    seen = []
    for packet in wire.packets(wire.build(running.parse(text))):
        watch.push(int(packet.time * 1e9), packet.octets)
        eve.drain()
        seen.append(len(out.getvalue().splitlines()))
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [record["event_type"] for record in records] == ["alert", "alert", "smtp", "flow"]
    assert seen[3] == 1 and seen[8] == 2  # with the greeting, and with WIZ, though its mail went on


def test_an_error_of_a_rule_in_python_is_raised_and_the_watch_goes_on():
    from smtpinspect.actions import ALARM
    from smtpinspect.facts import COMMAND
    from smtpinspect.inspectors.base import Inspector, Rule

    class Failing(Inspector):
        name = "failing"

        def rules(self, settings):
            yield Rule("failing.rule", COMMAND(verb=b"WIZ"), ALARM, "project", "none", 1, "fails", method="fail")

        def fail(self, fact):
            raise RuntimeError("on purpose")

    watch = Watch(Failing())
    raised = 0
    for packet in wire.packets(wire.build(running.parse("S: 220 mx\nC: WIZ\nS: 500 no\nC: WIZ\nS: 500 no\n"))):
        try:
            watch.push(int(packet.time * 1e9), packet.octets)
        except RuntimeError:
            raised += 1
    assert raised == 2
