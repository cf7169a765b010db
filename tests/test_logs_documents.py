"""Every document and every dialogue that the tests know, as logs: the lines keep their forms, whatever the cuts."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given

from dialogues import dialogues
from kit import mutate, wire
from kit.dialogue import Turn
from kit.segment import Segment
from running import frames
from smtpinspect.engine import Engine, replay
from smtpinspect.report.vendor_logs import PRODUCTS
from test_logs import LOGS, log, proper
from test_transcripts import DOCUMENTS, TINY, read

EAGER = [
    "mailguard:asa-8,deny_style=noop,special_character=on,mail_relay=b,limits=on,drop_rst=client",
    "mailguard:pix-4.4",
    "mailguard:fwsm-3,match=cmd verb NOOP VRFY -> mask log+header line length gt 10 -> log",
    "stormshield:high,level=ids,preset=rfc5321",
    "stormshield:internet,deny_op=NOOP,blank_is_empty=on",
]


def logs_of(segments: list[Segment], specs: list[str]) -> dict[str, list[str]]:
    """The lines of each product among these, each held against its form."""
    source = frames(segments)
    made = Engine(specs or None)
    names = {inspector.name for inspector in made.inspectors}
    return {form: log(form, source, made.inspectors) for form, name in PRODUCTS.items() if name in names}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_documents(path: Path) -> None:
    document = read(path)
    logs_of(document.segments, document.specs)
    octets = sum(len(turn.octets) for turn in document.turns)
    if octets < TINY:
        logs_of(mutate.octetwise(wire.build(document.turns)), document.specs)


@given(dialogues())
def test_dialogues(turns: list[Turn]) -> None:
    segments = wire.build(turns)
    logs_of(segments, EAGER)
    logs_of(mutate.random_cuts(segments, Random(1), share=0.05), EAGER)


@given(dialogues())
def test_one_event_a_segment_and_none_behind_a_break(turns: list[Turn]) -> None:
    """Told again from the alerts alone, in a slow and obvious way."""
    source = frames(wire.build(turns))
    for spec in EAGER:
        result = replay(source, [spec])
        form = "asa" if spec.startswith("mailguard") else "stormshield"
        lines = log(form, source, [spec])
        events = [line for line in lines if "507003" not in line and "302014" not in line]
        alerts: list[Any] = [a for a in result.alerts if a.inspector != "smtp" and a.row.kind != "seen"]
        assert len(events) <= len({(a.direction, a.packet) for a in alerts if not a.after_break})
        breaks = [a for a in alerts if a.breaks and not a.after_break]
        assert sum("302014" in line for line in lines) <= len(breaks) <= 2
        for line in lines:
            proper(form, line)
        if not alerts:
            assert not lines
        if form == "stormshield" and alerts and all("smtp-" in a.rule for a in alerts):
            assert lines
        blocked = [line for line in lines if " action=block " in line]
        assert len(blocked) <= 1 and (not blocked or lines[-1] == blocked[0])


def test_the_forms_are_those_of_the_products() -> None:
    assert LOGS.keys() == PRODUCTS.keys()
