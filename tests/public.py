"""The captures that nobody here made, and what is known about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "pcaps-public"
ABSENT = "no folder shared/pcaps-public beside the project: the public captures are not compared"

# (capture, stream, field): why the expectation is wrong, not the reader. "*" as field: the whole stream.
EXPECTATION_IS_WRONG: dict[tuple[str, int, str], str] = {}

COMMAND_FIELDS = ("verb", "arg", "length", "reply")
MESSAGE_FIELDS = (
    "via",
    "terminated",
    "bytes_wire",
    "bytes_message",
    "sha256",
    "final_reply",
    "subject_raw",
    "subject_decoded",
)
PART_FIELDS = ("type", "filename", "encoding", "bytes", "md5")
PLAIN_FIELDS = (
    "client",
    "server",
    "client_bytes",
    "server_bytes",
    "client_sha256",
    "server_sha256",
    "reply_codes",
    "mail_from",
    "rcpt_to",
    "starttls",
)


@dataclass(frozen=True)
class Expectation:
    """One stream of a capture; `place` is its rank among the streams of the file, by first frame."""

    capture: Path
    place: int
    stream: dict[str, Any]

    @property
    def number(self) -> int:
        return int(self.stream["tcp_stream"])

    def __str__(self) -> str:
        return f"{self.capture.name}-{self.number}"


@cache
def expectations() -> tuple[Expectation, ...]:
    found = []
    for file in sorted(FOLDER.glob("*.expected.json")):
        known = json.loads(file.read_text(encoding="utf-8"))
        streams = sorted(known["streams"], key=lambda s: int(s["first_frame"]))
        found += [Expectation(FOLDER / known["capture"], i, s) for i, s in enumerate(streams)]
    return tuple(found)


def parameters() -> list[Any]:
    """One parameter per stream; one that skips with a clear message where the folder is absent."""
    if not FOLDER.is_dir():
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))]
    return [pytest.param(e, id=str(e)) for e in expectations()]


def chosen(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: entry[name] for name in names if name in entry}


def comparable(stream: dict[str, Any]) -> dict[str, Any]:
    """The fields of a stream that a transcript has too."""
    result = chosen(stream, PLAIN_FIELDS)
    if "commands" in stream:
        result["commands"] = [chosen(c, COMMAND_FIELDS) for c in stream["commands"]]
        # A stream without STARTTLS has no such key: a transcript says null.
        result.setdefault("starttls", None)
    if "messages" in stream:
        result["messages"] = [message(m) for m in stream["messages"]]
    return result


def message(entry: dict[str, Any]) -> dict[str, Any]:
    result = chosen(entry, MESSAGE_FIELDS)
    if "parts" in entry:
        result["parts"] = [chosen(p, PART_FIELDS) for p in entry["parts"]]
    return result


def held(got: Any, expected: Any) -> Any:
    """Of `got`, only what the expectation speaks of; a list keeps its true length."""
    if isinstance(got, dict) and isinstance(expected, dict):
        return {k: held(got[k], v) for k, v in expected.items() if k in got}
    if isinstance(got, list) and isinstance(expected, list):
        return [held(g, expected[i]) if i < len(expected) else g for i, g in enumerate(got)]
    return got


def differences(expectation: Expectation, got: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that differ, as (expected, got), less those whose expectation is known to be wrong."""
    expected = comparable(expectation.stream)
    result = {}
    for name, value in expected.items():
        if any(
            (expectation.capture.name, expectation.number, n) in EXPECTATION_IS_WRONG for n in (name, "*")
        ):
            continue
        mine = held(got.get(name), value)
        if mine != value:
            result[name] = (value, mine)
    return result
