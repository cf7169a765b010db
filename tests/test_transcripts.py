"""Transcripts as documents: each one run whole, octet by octet, at random cuts, reordered and with retransmissions.

A document holds inspectors (```spec), a dialogue (```dialogue; `dialogue cuts` when its `|` part segments) and the
alerts that are expected, with stream offsets (```alerts).
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import running
from kit import mutate, wire
from kit.dialogue import Turn, octets_of, parse, stream
from kit.segment import Segment

FOLDER = Path(__file__).parent / "transcripts"
DOCUMENTS = sorted(FOLDER.glob("*/*.md"))
BLOCK = re.compile(r"^```(\w+)( cuts)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = 20_000  # octets: longer dialogues are not sent octet by octet


class Document(NamedTuple):
    specs: list[str]
    turns: list[Turn]
    alerts: list[str]
    segments: list[Segment]
    about_segments: bool


def read(path: Path) -> Document:
    blocks = {name: (bool(cuts), body) for name, cuts, body in BLOCK.findall(path.read_text())}
    cuts, dialogue = blocks["dialogue"]
    text = re.sub(r"^-- (\d+)s$", r"-- \1", dialogue, flags=re.MULTILINE)
    marks: dict[str, list[int]] = {"C": [], "S": []}
    if cuts:
        text, marks = parted(text)
    turns = parse(text)
    segments = wire.build(turns)
    if cuts:
        segments = mutate.cut_at(segments, client=marks["C"], server=marks["S"])
    return Document(
        blocks["spec"][1].split("\n")[:-1] if "spec" in blocks else [],
        turns,
        [line for line in blocks["alerts"][1].splitlines() if line],
        segments,
        cuts,
    )


def parted(text: str) -> tuple[str, dict[str, list[int]]]:
    """The dialogue without its `|`, and where they stood in the octets of each side."""
    marks: dict[str, list[int]] = {"C": [], "S": []}
    at = {"C": 0, "S": 0}
    lines = []
    for line in text.splitlines():
        if line[:2] in ("C:", "S:"):
            side, body = line[0], line[2:].removeprefix(" ")
            bare = body.endswith(r"\c")
            pieces = body.removesuffix(r"\c").split("|")
            for piece in pieces[:-1]:
                at[side] += len(octets_of(piece))
                marks[side].append(at[side])
            at[side] += len(octets_of(pieces[-1])) + (0 if bare else 2)
            line = f"{side}: {''.join(pieces)}" + (r"\c" if bare else "")
        lines.append(line)
    return "\n".join(lines) + "\n", marks


def told(segments: list[Segment], specs: list[str]) -> list[str]:
    """The alerts as a document writes them."""
    lines = []
    for a in running.replay(segments, specs).alerts:
        words = [a.rule, a.action, f"{a.direction}@{a.offset}", a.detail]
        words += ["breaks"] * a.breaks + ["after_break"] * a.after_break
        lines.append(" ".join(word for word in words if word))
    return lines


def without_segment_rules(lines: list[str]) -> list[str]:
    """What must stay the same however the octets are cut, in an order of its own."""
    kept = [x for x in lines if x.split()[0].rsplit(".", 1)[-1] not in running.ABOUT_SEGMENTS]
    return sorted(x.replace(" after_break", "") for x in kept)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_document(path: Path) -> None:
    document = read(path)
    assert sorted(told(document.segments, document.specs)) == sorted(document.alerts)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_document_cut_otherwise(path: Path) -> None:
    document = read(path)
    expected = without_segment_rules(document.alerts)
    whole = wire.build(document.turns)
    octets = len(stream(document.turns, "C")) + len(stream(document.turns, "S"))
    ways: dict[str, list[Segment]] = {"whole": whole}
    if octets < TINY:
        ways["octet by octet"] = mutate.octetwise(whole)
    for seed in range(3):
        cut = mutate.random_cuts(whole, Random(seed), share=min(0.1, 200 / octets))
        ways[f"random cuts {seed}"] = cut
        ways[f"reordered {seed}"] = mutate.reordered(cut, Random(seed))
        ways[f"retransmitted {seed}"] = mutate.retransmitted(cut, Random(seed))
    got = {way: without_segment_rules(told(segments, document.specs)) for way, segments in ways.items()}
    assert {way: lines for way, lines in got.items() if lines != expected} == {}


def test_every_kind_of_document_is_there() -> None:
    assert len(DOCUMENTS) >= 150
