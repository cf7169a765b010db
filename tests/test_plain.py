"""The fast looks at octets, numbers and verbs against plain statements of what they are meant to find."""

from __future__ import annotations

import io
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

import running
import smtpinspect
from kit import wire
from kit.dialogue import Turn
from smtpinspect._core.plain import runs
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.facts import COMMAND, FIELD, Octets, flags, in_, not_in
from smtpinspect.grammar.verbs import VERBS
from smtpinspect.inspectors.base import Inspector, Rule, Settings

# mostly plain, with everything that is nearly so
NEARLY = b"\r\n\0\x08\t\x1f !\"#[\\]~\x7f\x80\x9f\xa0\xff"
OCTETS = st.lists(st.sampled_from(NEARLY + b"x" * 60), max_size=120).map(bytes)


def slowly(octets: bytes) -> tuple[int, int]:
    field = (i for i, c in enumerate(octets) if not (32 <= c < 127 or c == 9))
    text = (i for i, c in enumerate(octets) if not 32 <= c < 127 or c in b'"\\')
    return next(field, len(octets)), next(text, len(octets))


@given(st.one_of(OCTETS, st.binary(max_size=80)))
@example(b"")
def test_the_first_octet_that_is_not_plain(octets: bytes) -> None:
    assert runs(octets) == slowly(octets)


def test_at_every_place_of_every_length() -> None:
    for n in range(1, 70):
        assert runs(b"x" * n) == (n, n)
        for at in range(n):
            for c in b'\n\t"\\\x7f\x80\xff':
                octets = bytearray(b"x" * n)
                octets[at] = c
                assert runs(bytes(octets)) == slowly(bytes(octets))


class Rows(Inspector):
    """Patterns by name."""

    name = "rows"
    title = "Rows of a test"
    when: tuple[tuple[str, Any], ...] = ()

    def rules(self, settings: Settings) -> Iterable[Rule]:
        for number, (name, when) in enumerate(self.when, 1):
            yield Rule(f"rows.{name}", when, ALARM, PROJECT, "test", number, name)


def fired(turns: list[Turn], **when: Any) -> list[tuple[str, int]]:
    """Which patterns fire, and at which offset."""

    class Some(Rows):
        pass

    Some.when = tuple(when.items())
    result = running.replay(wire.build(turns), [Some()])  # type: ignore[list-item]
    return [(a.rule.removeprefix("rows."), a.offset) for a in result.alerts if a.inspector == "rows"]


WORDS = [verb.name.decode() for verb in VERBS[1:]] + ["XYZZY", "HE", "STARTTLSX", "."]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12, unique=True), st.sampled_from(WORDS))
def test_verbs_by_number_are_verbs_by_name(listed: list[str], verb: str) -> None:
    names = [word.lower().encode() for word in listed]
    told = fired(
        [Turn("S", b"220 a\r\n"), Turn("C", verb.swapcase().encode() + b" 1\r\n"), Turn("S", b"500 no\r\n")],
        among=COMMAND(verb=in_(*names)),
        outside=COMMAND(verb=not_in(*names)),
    )
    assert [name for name, _ in told] == ["among" if verb in listed else "outside"]


VALUES = st.lists(st.sampled_from(b"\0\x01\t\x7f\x80\xc3\xbc:." + b"x " * 12), max_size=60).map(bytes)
CLASSES = {"eight": Octets.EIGHT_BIT, "control": Octets.CONTROL, "nul": Octets.NUL, "name": Octets.BAD_NAME}


@given(st.lists(st.tuples(st.sampled_from([b"X-A:", b"To :", b"Subject:", b" ", b"\t"]), VALUES), max_size=6))
def test_classes_of_a_field_s_octets(lines: list[tuple[bytes, bytes]]) -> None:
    head = b"Date: x\r\n"
    octets = head + b"".join(name + value + b"\r\n" for name, value in lines)
    wanted: list[tuple[str, int]] = []
    fields: list[tuple[int, list[tuple[int, bytes]]]] = [(0, [(0, b"Date: x")])]
    at = len(head)
    for name, value in lines:
        line = name + value
        if line[:1] in b" \t":
            fields[-1][1].append((at, line))
        else:
            fields.append((at, [(at, line)]))
        at += len(line) + 2
    for _, of in fields:
        for word, test in (
            ("eight", lambda c: c >= 0x80),
            ("control", lambda c: (c < 32 and c != 9) or c == 127),
            ("nul", lambda c: c == 0),
        ):
            found = [place + i for place, line in of for i, c in enumerate(line) if test(c)]
            wanted += [(word, found[0])] if found else []
        place, line = of[0]
        bad = [i for i, c in enumerate(line.partition(b":")[0]) if c < 33 or c > 126]
        wanted += [("name", place + bad[0])] if bad else []
    before = b"HELO b\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n"
    turns = [Turn("S", b"220 a\r\n")]
    for line in before.splitlines(keepends=True):
        turns += [Turn("C", line), Turn("S", b"354 a\r\n" if line == b"DATA\r\n" else b"250 a\r\n")]
    turns += [Turn("C", octets + b"\r\n.\r\n"), Turn("S", b"250 a\r\n")]
    told = fired(turns, **{word: FIELD(octets=flags(bit)) for word, bit in CLASSES.items()})
    assert sorted(told) == sorted((word, place + len(before)) for word, place in wanted)


def sparse(number: int) -> ipaddress.IPv6Address:
    """Groups of zeros, in many places."""
    groups = [number >> 20 * i & 0xFFFF if number >> 20 * i & 0x10000 else 0 for i in range(8)]
    return ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups))


PORTS = st.sampled_from([1, 9, 10, 99, 100, 999, 1000, 9999, 10000, 65535])


@given(st.one_of(st.ip_addresses(v=4), st.integers(0, 2**160 - 1).map(sparse)), PORTS, st.binary(max_size=40))
def test_addresses_numbers_and_texts_of_a_record(address: Any, port: int, octets: bytes) -> None:
    ends = replace(wire.V6 if address.version == 6 else wire.V4, client=str(address), client_port=port)
    subject = bytes(c for c in octets if c not in b"\r\n")
    turns = [Turn("S", b"220 a\r\n"), Turn("C", b"MAIL FROM:<>\r\n"), Turn("S", b"250 a\r\n")]
    turns += [Turn("C", b"DATA\r\n"), Turn("S", b"354 a\r\n")]
    turns += [Turn("C", b"Subject:" + subject + b"\r\n\r\n.\r\n"), Turn("S", b"250 a\r\n")]
    out = io.BytesIO()
    frames = running.frames(wire.build(turns), ends)
    smtpinspect.Engine([]).write_eve(frames, out, records=("mail",))
    record = json.loads(out.getvalue().splitlines()[0])
    assert (record["src_ip"], record["src_port"]) == (str(address), port)
    assert record["timestamp"].startswith("2023-11-14T22:13:20.") and len(record["timestamp"]) == 31
    told = record.get("email", {}).get("subject", "")
    assert told == subject.strip(b" \t").decode("utf-8", "backslashreplace")
