"""A user's ESMTP policy map: what is read, what is refused by name, what is told and not evaluated."""

from __future__ import annotations

import re

import pytest

import running
from kit import mutate, wire
from kit.dialogue import parse
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule
from smtpinspect.inspectors.mailguard import Mailguard, maps
from smtpinspect.inspectors.mailguard.expressions import translated
from smtpinspect.inspectors.mailguard.profiles import CRITERIA

# Each criterion of the guide with a value that it takes.
VALUES = {"limit": "gt 7", "words": "etrn", "regex": "a.c"}
LINES = {c.words: f"{c.words} {VALUES[c.takes]}" for c in CRITERIA} | {
    "mime encoding": "mime encoding base64"
}


def of(*items: str, **keys: object) -> list[Rule]:
    """The rows that the lines of a map make."""
    return [row for row in Mailguard("asa-8", match=items, **keys).table() if row.detail.startswith("Class ")]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.words)
@pytest.mark.parametrize("word", ["drop-connection", "reset", "log", "drop-connection log", "reset log"])
def test_every_criterion_takes_every_action(criterion: maps.Criterion, word: str) -> None:
    made = of("cmd verb noop -> log", f"{LINES[criterion.words]} -> {word}")
    rows = [row for row in made if row.detail == "Class 2"]
    assert {row.id.removeprefix("mailguard.") for row in rows} == {criterion.rule}
    strength = {"drop-connection": "drop-flow", "reset": "reset", "log": "alarm"}[word.split()[0]]
    for row in rows:
        assert row.action.strength.word == strength
        assert row.action.params["criterion"] == LINES[criterion.words]
        assert row.action.params["log"] == ("log" in word)
        assert row.source.split("; ")[0] in Mailguard.sources


def test_mask_is_for_two_criteria() -> None:
    (verb,) = of("cmd verb etrn -> mask")
    assert (verb.action.strength.word, verb.action.how) == ("rewrite", "xxxx-all")
    keywords = of("ehlo-reply-parameter others size -> mask log")
    assert {row.id for row in keywords} == {"mailguard.starttls-blocked", "mailguard.ehlo-param-masked"}
    assert {row.action.how for row in keywords} == {"mask-keyword"}
    for criterion in CRITERIA:
        if criterion.rule not in ("cmd-verb", "ehlo-param-masked"):
            with pytest.raises(UsageError, match="mask is for cmd verb and ehlo-reply-parameter"):
                of(f"{LINES[criterion.words]} -> mask")


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.words)
def test_not(criterion: maps.Criterion) -> None:
    """A line with `not` has rows of its own, or tells that it is not evaluated; never the rows without."""
    item = f"{LINES[criterion.words]} -> log"
    plain, negated = of(item), of("not " + item)
    made = Mailguard("asa-8", match=["not " + item])
    assert bool(negated) == (not made.notes())
    assert {row.when for row in plain}.isdisjoint(row.when for row in negated)


def test_keywords_in_any_case_and_blanks() -> None:
    made = maps.read(["MATCH  Not CMD  Verb  Expn  VRFY ->  DROP-Connection   LOG"])[0]
    assert (made.text, made.value, made.negated) == ("Not CMD Verb Expn VRFY", "expn vrfy", True)
    assert (made.action, made.log) == ("drop-connection", True)


def test_a_map_stands_in_the_default_maps_place() -> None:
    default = Mailguard("asa-8").settings
    own = Mailguard("asa-8", match=["header line length gt 4096 -> log"]).settings
    both = Mailguard("asa-8", match=["header line length gt 4096 -> log"], limits="default-map").settings
    assert (default.limits, default.rcpt_count, default.ehlo_mask) == ("default-map", 100, "others")
    assert (own.limits, own.rcpt_count, own.ehlo_mask) == ("none", 0, "none")
    assert (both.limits, both.rcpt_count, both.ehlo_mask) == ("default-map", 100, "others")
    assert own.banner == default.banner  # a parameter, no match line


def test_one_rate_is_named_and_not_evaluated() -> None:
    made = registry.load("mailguard:asa-8,match=cmd verb mail -> rate-limit 20")
    assert made.notes() == ("Class 1: cmd verb mail -> rate-limit 20: spans connections, not evaluated",)
    assert not [row for row in made.table() if row.detail == "Class 1"]
    assert Mailguard().notes() == ()


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ("header line length gt 10", "CRITERION -> ACTION is wanted"),
        (
            "header size gt 10 -> log",
            "unknown criterion 'header size gt 10' for a match line. Known: body line",
        ),
        ("header length > 10 -> log", "header length takes gt N"),
        ("header length gt 4294967296 -> log", "header length takes gt N"),
        ("header length -> log", "header length takes gt N"),
        ("cmd verb -> log", "cmd verb takes verbs"),
        ("mime encoding base46 -> log", "unknown word behind mime encoding 'base46'"),
        ("mime encoding base46 -> log", "Did you mean base64?"),
        ("ehlo-reply-parameter starttls -> mask", "Known: 8bitmime auth"),
        ("cmd verb vrfy -> drop", "unknown action 'drop'"),
        ("cmd verb vrfy -> drop-conection", "Did you mean drop-connection?"),
        ("cmd verb vrfy -> log log", "unknown action"),
        ("cmd verb vrfy -> rate-limit fast", "rate-limit takes a number of messages"),
        ("sender-address regex -> log", "the regular expression is empty"),
        ("sender-address regex class SPAM -> log", "write the expression"),
        ("sender-address regex (?i)spam -> log", "what an ASA makes of '(?' at 1 is not known"),
    ],
)
def test_what_cannot_be_read_is_named(item: str, part: str) -> None:
    with pytest.raises(UsageError) as error:
        Mailguard("asa-8", match=["cmd verb noop -> log", item])
    assert part in str(error.value)
    assert str(error.value).startswith(f"match line 2 of mailguard, {item!r}: ")


def test_only_where_there_are_maps() -> None:
    with pytest.raises(UsageError, match="match is for a map of inspect=esmtp"):
        Mailguard("pix-6", match=["cmd verb noop -> log"])


@pytest.mark.parametrize(
    ("expression", "fits", "fails"),
    [
        ("spam", b"a spam b", b"SPAM"),
        ("^a.c$", b"abc", b"xabc"),
        ('"^ab"', b"abc", b"cab"),
        ("a{2}b{1,}", b"aabb", b"abb"),
        (r"\x41\056\102", b"xA.B", b"a.b"),
        (r"[a-c\]]+x", b"]x", b"dx"),
        (r"[^[]b", b"ab", b"[b"),
        (r"[a&&b]c", b"&c", b"d"),
        (r"\.\?\(\\", b".?(\\", b"x?(\\"),
        (r"\r\n\t\f", b"\r\n\t\f", b"rntf"),
        ("a|bc", b"bc", b"c"),
    ],
)
def test_expressions(expression: str, fits: bytes, fails: bytes) -> None:
    # As the core compiles them: without case, unless the expression says so.
    made = re.compile(translated(expression), re.IGNORECASE)
    assert made.search(fits)
    assert not made.search(fails)


@pytest.mark.parametrize(
    "expression",
    ["", '""', "(?:a)", "(?P<a>b)", r"\d", r"a\b", r"(a)\1", r"\x4", r"\78", "a**", "a+?", "a{2}{3}", "(", "[a", "[]a]",
     "[[:alpha:]]", "*a", "a\\"],
)  # fmt: skip
def test_expressions_of_another_language(expression: str) -> None:
    with pytest.raises(UsageError, match="the regular expression"):
        translated(expression)


MAIL = """
S: 220 mx.example ESMTP
C: EHLO a.example
S: 250 mx.example
C: MAIL FROM:<alice@a.example>
S: 250 2.1.0 Ok
C: RCPT TO:<bob@mx.example>
S: 550 5.1.1 no such user
C: DATA
S: 354 go on
C: To: bob@mx.example, carol@mx.example
C: Content-Type: image/png;
C:  name="picture.png"
C: Content-Transfer-Encoding: BASE64
C:
C: AAAA
C: .
S: 250 2.0.0 Ok
"""
EVIDENCE = {
    "header to-fields count gt 1": "To: bob@mx.example, carol@",
    "mime filetype regex ^image/png$": "image/png",
    "mime encoding base64": "BASE64",
    "mime filename length gt 3": "picture.png",
    "sender-address regex alice": "MAIL FROM:<alice@a.example>",
    "cmd verb rcpt": "RCPT TO:<bob@mx.example>",
    "invalid-recipients count gt 0": "550 5.1.1 no such user",
}


@pytest.mark.parametrize("criterion", EVIDENCE)
def test_evidence_is_what_decided(criterion: str) -> None:
    """The same octets for every cut, and none of another line."""
    whole = wire.build(parse(MAIL))
    for segments in (whole, mutate.octetwise(whole)):
        alerts = running.replay(segments, [f"mailguard:asa-8,match={criterion} -> log"]).alerts
        assert [a.octets for a in alerts if a.detail == "Class 1"] == [EVIDENCE[criterion].encode()]
