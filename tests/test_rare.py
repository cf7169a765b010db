"""A rule that wants one rare fact: it is found whatever its case and length, and what is not wanted costs nothing."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
from kit import wire
from kit.dialogue import Turn
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.engine import compile_rows
from smtpinspect.facts import COMMAND, FIELD, KEYWORD, Octets, Pattern, contains, flags, in_, matches, ne
from smtpinspect.grammar import limits
from smtpinspect.grammar.verbs import PARAMETERS, VERBS
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule, Settings

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import bench_inspector
import corpus


class Wanting(Inspector):
    """Rows that ask Python, and what Python was told."""

    name = "wanting"
    title = "Wants these"

    def __init__(self, *wants: Pattern, method: str = "on_one") -> None:
        self.wants = wants
        self.method = method
        self.told: list[Any] = []
        super().__init__()

    def rules(self, settings: Settings) -> Iterable[Rule]:
        for number, when in enumerate(self.wants, 1):
            yield Rule(f"wanting.{number}", when, ALARM, PROJECT, "test", number, "x", method=self.method)

    def on_one(self, fact: Any) -> None:
        self.told.append(fact)


# ---- what is filled in

COMMON = [
    *(b"Received", b"From", b"To", b"Cc", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type"),
    *(b"Content-Transfer-Encoding", b"Content-Disposition", b"Return-Path", b"Reply-To", b"In-Reply-To"),
    *(b"References", b"User-Agent", b"X-Mailer", b"DKIM-Signature", b"List-Unsubscribe"),
]
OFFERED = [
    *(b"PIPELINING", b"SIZE", b"8BITMIME", b"STARTTLS", b"AUTH", b"ENHANCEDSTATUSCODES", b"SMTPUTF8", b"CHUNKING"),
    *(b"DSN", b"HELP", b"VRFY", b"EXPN"),
]


def wanted(kind: Any, names: list[bytes], *wants: Pattern, method: str = "on_one") -> list[bytes]:
    program = compile_rows([*registry.default(), Wanting(*wants, method=method)])
    return [name for name in names if program.wants(kind.number, name)]


def test_the_products_want_no_field_by_its_name_alone() -> None:
    assert wanted(FIELD, COMMON) == []


@pytest.mark.parametrize("name", [b"X-Spam-Flag", b"X-Odd", b"X-Virus-Scanned", b"Disposition-Notification-To"])
def test_a_field_that_is_not_wanted_is_no_fact(name: bytes) -> None:
    assert len(wanted(FIELD, COMMON, FIELD(name=name, value=matches(b"yes")))) <= 1
    assert wanted(FIELD, [name, name.lower(), name.upper()], FIELD(name=in_(name.title()))) == [
        name, name.lower(), name.upper(),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [b"X-ODD", b"XCLIENT", b"ETRN", b"BINARYMIME"])
def test_a_keyword_that_is_not_wanted_is_no_fact(name: bytes) -> None:
    assert len(wanted(KEYWORD, OFFERED, KEYWORD(name=name))) <= 1
    assert wanted(KEYWORD, [name, name.lower()], KEYWORD(name=name)) == [name, name.lower()]


@pytest.mark.parametrize(
    "when", [FIELD(), FIELD(level=0), FIELD(name=ne(b"X")), FIELD(name=contains(b"x")), FIELD(name=matches(b"x"))]
)
def test_a_row_that_takes_any_name(when: Pattern) -> None:
    assert wanted(FIELD, COMMON, when, method="") == COMMON


def test_a_row_that_asks_for_octets() -> None:
    """Fields without such octets cannot fire it, whatever else it asks."""
    eight_bit = flags(Octets.EIGHT_BIT)
    assert wanted(FIELD, COMMON, FIELD(octets=eight_bit), FIELD(octets=eight_bit, name=b"Subject")) == []


# ---- against plain Python

letters = st.text("xXoO-7", min_size=0, max_size=4).map(str.encode)
lengths = st.integers(limits.NAME_LENGTH - 2, limits.NAME_LENGTH + 2)
long_names = st.builds(lambda n, c: b"x" * (n - 1) + c, lengths, st.sampled_from([b"x", b"O"]))
names = st.one_of(letters, long_names, st.sampled_from([b"X-Spam-Flag", b"x-spam-flag", b"Subject", b"TO"]))
values = st.sampled_from([b"", b" yes", b" no", b"\tYES (no)", b" yes\r\n no", b"\r\n yes", b" ye\xe9s", b" a\x00b "])
headers = st.lists(st.tuples(names, st.sampled_from([b":", b":", b":", b""]), values), max_size=8)


def mail_with(header: list[tuple[bytes, bytes, bytes]]) -> list[Turn]:
    lines = b"".join(b"First: x\r\n" if not name + colon else b"" for name, colon, _ in header[:1])
    lines += b"".join(
        name + colon + (value if colon else value[value.find(b"\r") :] if b"\r" in value else b"") + b"\r\n"
        for name, colon, value in header if name + colon
    )  # fmt: skip
    return [
        Turn("S", b"220 mx.example\r\n"),
        Turn("C", b"HELO a.example\r\n"),
        Turn("S", b"250 mx.example\r\n"),
        Turn("C", b"MAIL FROM:<a@a.example>\r\n"),
        Turn("S", b"250 ok\r\n"),
        Turn("C", b"RCPT TO:<b@mx.example>\r\n"),
        Turn("S", b"250 ok\r\n"),
        Turn("C", b"DATA\r\n"),
        Turn("S", b"354 go on\r\n"),
        Turn("C", lines + b"\r\ntext\r\n.\r\n"),
        Turn("S", b"250 ok\r\n"),
    ]


def fields_of(header: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """As a rule sees them: a line without a colon is a name, and what is folded under it its value."""
    found = []
    for name, colon, value in header:
        if name + colon:
            kept = value if colon else value[value.find(b"\r") :] if b"\r" in value else b""
            found.append((name[: limits.NAME_LENGTH], kept.strip(b" \t\r\n")))
    return found


@given(headers, st.lists(names, max_size=3), st.booleans(), st.sampled_from([1, 7, 1460]))
def test_fields_by_name(header: list[tuple[bytes, bytes, bytes]], wants: list[bytes], valued: bool, mss: int) -> None:
    asked = {"value": matches(b"yes")} if valued else {}
    inspector = Wanting(*([FIELD(name=in_(*wants), **asked)] if wants else []), FIELD(name=b"Odd", **asked))
    running.replay(wire.build(mail_with(header), mss=mss), [inspector])
    lowered = {name.lower() for name in wants} | {b"odd"}
    expected = [
        (name, value)
        for name, value in fields_of(header)
        if name.lower() in lowered and (not valued or re.search(b"yes", value, re.IGNORECASE))
    ]
    assert [(fact.name, fact.value) for fact in inspector.told] == expected


keywords = st.one_of(
    letters, st.sampled_from([b"ETRN", b"etrn", b"SIZE", b"size", b"DSN", b"AUTH", b"auth", b"8BITMIME"])
)
offers = st.lists(st.tuples(keywords, st.sampled_from([b"", b" 100", b"\tx", b"=LOGIN"])), max_size=8)


def offering(offer: list[tuple[bytes, bytes]], commands: Iterable[bytes] = ()) -> list[Turn]:
    lines = [b"mx.example", *(name + rest for name, rest in offer)]
    turns = [Turn("S", b"220 mx.example\r\n"), Turn("C", b"EHLO a.example\r\n")]
    last = len(lines) - 1
    reply = b"".join(b"250%c%b\r\n" % (b" -"[i < last], line) for i, line in enumerate(lines))
    turns.append(Turn("S", reply))
    for command in commands:
        turns += [Turn("C", command + b"\r\n"), Turn("S", b"500 no\r\n")]
    return turns


def keyword_of(name: bytes, rest: bytes) -> bytes:
    return name + b"=" if rest.startswith(b"=") else name


@given(offers, st.lists(keywords, min_size=1, max_size=3), st.sampled_from([1, 7, 1460]))
def test_keywords_by_name(offer: list[tuple[bytes, bytes]], wants: list[bytes], mss: int) -> None:
    inspector = Wanting(KEYWORD(name=in_(*wants)))
    running.replay(wire.build(offering(offer), mss=mss), [inspector])
    lowered = {name.lower() for name in wants}
    found = [keyword_of(name, rest) for name, rest in offer if name + rest]
    assert [fact.name for fact in inspector.told] == [name for name in found if name.lower() in lowered]


COMMANDS = {
    **{command: verb for verb in VERBS for command in [verb.name] if command in (b"ETRN", b"AUTH", b"VRFY")},
    b"MAIL FROM:<a@a.example> SIZE=1 BODY=8BITMIME": VERBS[3],
    b"MAIL FROM:<a@a.example> ret=full": VERBS[3],
    b"XODD": VERBS[0],
}


def advertised(command: bytes, offered: set[bytes]) -> bool:
    needs = COMMANDS[command].keywords
    parameters = [word.partition(b"=")[0].upper() for word in command.split()[2:]]
    return (not needs or any(k in offered for k in needs)) and all(PARAMETERS[p] in offered for p in parameters)


@given(offers, st.lists(st.sampled_from([*COMMANDS]), max_size=4), st.sampled_from([b"ETRN", b"MAIL", b"AUTH"]))
def test_what_was_advertised(offer: list[tuple[bytes, bytes]], commands: list[bytes], verb: bytes) -> None:
    """A row that takes one verb is told the same as one that takes all."""
    offered = {keyword_of(name, rest).upper() for name, rest in offer}
    for when in (COMMAND(verb=verb), COMMAND(verb=in_(verb, b"XODD")), COMMAND(verb=ne(verb)), COMMAND(known=0)):
        inspector = Wanting(when)
        running.replay(wire.build(offering(offer, commands)), [inspector])
        for fact in inspector.told:
            if fact.line in COMMANDS:
                assert fact.advertised == advertised(fact.line, offered), fact
        assert len(inspector.told) == running_count(when, commands)


def running_count(when: Pattern, commands: list[bytes]) -> int:
    """How many of these commands, and of the EHLO before them, such a row takes."""
    ((name, test),) = when.tests
    words = [b"EHLO", *(command.split()[0] for command in commands)]
    if name == "known":
        return words.count(b"XODD")
    return sum((word in test.values) == (test.op != "ne") for word in words)


# ---- what it costs


@pytest.mark.parametrize("profile", ["chatty", "mixed"])
def test_a_rare_fact_is_cheap(profile: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--deep"):
        pytest.skip("--deep counts instructions, a few minutes")
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind here")
    path = tmp_path / f"{profile}.pcap"
    corpus.write(profile, 2_000_000, path)
    # one that takes any verb may ask what was advertised: every keyword is read, at 3 %
    facts = [fact for fact in bench_inspector.RARE if fact != "command"]
    found = bench_inspector.measure([path], facts=facts, count=True)
    assert found["kept"], found
