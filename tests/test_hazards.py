"""Every hazard of the catalogue is named by a test, or by a line that says why not."""

from __future__ import annotations

import importlib

import pytest

import hazards

MODULES = ("capture", "ip", "tcp", "gaps", "smtp", "chunks", "message")
for _name in MODULES:
    importlib.import_module(f"test_hazards_{_name}")

TUNNELS = "tunnels come later: the frame decoder has a place for them"
DIAGNOSE = "a cause, not a reading of the stream: belongs to diagnose"
SONICWALL = "no inspector reads contents of attachments yet"

NOT_HERE: dict[str, str] = {
    "L-14": TUNNELS,
    "T-05": "an inline engine rewrites packets: belongs to enforce",
    "T-10": "checksums of data are not verified: public captures carry edited payloads under stale sums, and their"
    " expectations count them; RST segments are (T-13)",
    "T-23": "timestamps are not judged: an old segment is a retransmission, and its octets are there already",
    "M-12": SONICWALL,
    "M-13": "the only regular expressions on input are knobs, empty by default",
    "B-10": "BURL: the message lies outside the capture, and no server of this world's mail path takes it",
    "X-07": "what stands behind an accepted STARTTLS is encrypted; decrypted in place: X-05",
    "X-08": "the handshake inside TLS is not read: a break there is told as closed or reset",
    "E-12": SONICWALL,
    "E-14": SONICWALL,
    "E-15": SONICWALL,
    "E-16": SONICWALL,
    "F-07": "sequence translation: belongs to enforce and to diagnose with two captures",
    "F-08": "pairing of two captures: belongs to diagnose",
    "F-10": "a sender's words: belong to the model of its MTA",
    "F-11": "a sender's timers: belong to the model of its MTA",
    "F-12": DIAGNOSE,
    "F-13": DIAGNOSE,
    "F-14": DIAGNOSE,
}


def test_every_hazard_has_a_test_or_a_reason() -> None:
    if not hazards.CATALOGUE.is_file():
        pytest.skip("no folder shared/reference beside the project: the catalogue of hazards is not compared")
    known = hazards.catalogue()
    assert len(known) > 150
    assert known - set(hazards.COVERED) - set(NOT_HERE) == set()
    assert set(hazards.COVERED) | set(NOT_HERE) <= known


def test_no_hazard_is_on_both_sides() -> None:
    assert set(hazards.COVERED) & set(NOT_HERE) == set()
    assert all(NOT_HERE.values())
