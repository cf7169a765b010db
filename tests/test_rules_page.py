"""`rules`: every page can be made, is readable at 80 columns, and leads on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from smtpinspect.actions import Action, Strength
from smtpinspect.errors import UsageError
from smtpinspect.facts import GREETING
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule, Settings
from smtpinspect.report.rules_page import WIDTH, listing, page

BUILT_IN = (*registry.default(), *registry.always())
IDS = [rule for inspector in BUILT_IN for rule in inspector.ids()]
FAMILIES = ["stormshield.smtp-217", "stormshield.smtp-219"]


def commands() -> set[str]:
    """What is pasted, and so never wrapped."""
    names = [(inspector, rule) for inspector in BUILT_IN for rule in (*inspector.ids(), *FAMILIES)]
    return {c.strip() for inspector, rule in names for r in inspector.remedies(rule) for c in r.commands}


def test_listing_names_every_rule_once() -> None:
    text = listing(BUILT_IN)
    found = [line.split()[0] for line in text.splitlines() if line.startswith(" ") and "." in line.split()[0]]
    assert found == IDS
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "mailguard:pix-6" in text
    assert "stormshield:high" in text
    assert text.endswith("Next: smtpinspect rules mailguard.banner-masked\n")


def test_listing_shows_the_profile_that_is_given() -> None:
    text = listing([registry.load("mailguard:asa-8"), registry.load("stormshield:internet")])
    lines = {
        line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith((" mail", " storm"))
    }
    assert lines["mailguard.header-line-length"] == "drop-flow*"
    assert lines["mailguard.ehlo-blocked"] == "(answer)"
    assert lines["mailguard.special-character"] == "(off)"
    assert lines["stormshield.smtp-231"] == "alarm"


@pytest.mark.parametrize("rule", [*IDS, *FAMILIES])
def test_every_page(rule: str) -> None:
    text = page(rule, BUILT_IN)
    lines = text.splitlines()
    assert lines[0].startswith(rule)
    for label in ("fires when", "the box then", "honest mail", "certainty", "sources", "next"):
        assert f"\n  {label}" in text, label
    pasted = commands()
    for line in lines:
        command = line.strip() in pasted or line.startswith("  next ")
        assert len(line) <= WIDTH or command, line
        assert line == line.rstrip()
    assert len(lines) <= 96


def test_what_the_page_of_217_tells() -> None:
    text = page("stormshield.smtp-217", BUILT_IN)
    flat = " ".join(text.split())
    assert "SMTP timeout after end of data" in flat
    assert "our assumption" in flat
    assert "64 to 4,096" in flat
    assert "CONFIG PROTOCOL ACTIVATE" in flat
    assert ".command .reply .header .bdat .xexch50" in flat
    assert page("217", BUILT_IN) == text
    assert page("SMTP:217", BUILT_IN) == text


def test_remedies_print_the_port() -> None:
    """`no fixup protocol smtp` without the port would put port 25 back."""
    text = page("banner-masked", BUILT_IN)
    assert "no fixup protocol smtp 25\n" in text
    assert "no fixup protocol smtp\n" not in text
    assert "no fixup protocol" not in " ".join(page("header-line-length", BUILT_IN).split())


@pytest.mark.parametrize("rule", IDS)
def test_every_rule_that_harms_has_a_remedy(rule: str) -> None:
    inspector = next(i for i in BUILT_IN if rule in i.ids())
    if rule == "mailguard.tls-started":
        assert inspector.remedies(rule) == ()
        return
    for remedy in inspector.remedies(rule):
        assert remedy.source
        assert set(remedy.profiles) <= set(inspector.profiles)
        for source in remedy.source.split("; "):
            assert source in inspector.sources
    assert inspector.remedies(rule)


@pytest.mark.parametrize(
    ("rule", "guess"),
    [
        ("stormshield.smtp-218", "stormshield.smtp-21"),
        ("mailguard.baner-masked", "mailguard.banner-masked"),
        ("heder-line-length", "header-line-length"),
        ("218", ""),
        ("", ""),
    ],
)
def test_unknown_rules_name_the_nearest(rule: str, guess: str) -> None:
    with pytest.raises(UsageError) as error:
        page(rule, BUILT_IN)
    assert f"unknown rule {rule!r}" in str(error.value)
    assert guess in str(error.value)
    assert "`smtpinspect rules` lists all" in str(error.value)


def test_a_third_party_without_pages() -> None:
    class Plain(Inspector):
        name = "plain"
        title = "Plain"

        def rules(self, settings: Settings) -> Iterable[Rule]:
            yield Rule(
                "plain.greeting", GREETING(), Action(Strength.DROP), "inferred", "a manual", 1, "any greeting"
            )

    text = page("plain.greeting", [Plain()])
    assert "plain.greeting   any greeting" in text
    assert "drop; the flow breaks" in text
    assert "inferred" in text
    assert "a manual" in text
    assert "-i plain,off=greeting" in text
    assert "plain.greeting" in listing([Plain()])
