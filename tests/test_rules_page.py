"""`rules`: every page can be made, is readable at 80 columns, and leads on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import get_args

import pytest

from smtpinspect.actions import Action, Strength
from smtpinspect.cli import main
from smtpinspect.errors import UsageError
from smtpinspect.facts import GREETING
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Page, Rule, Settings
from smtpinspect.inspectors.explain import Phase
from smtpinspect.report import peers
from smtpinspect.report.rules_page import WIDEST, listing, page

WIDTH = 80

BUILT_IN = (*registry.default(), *registry.always())
IDS = [rule for inspector in BUILT_IN for rule in inspector.ids()]
FAMILIES = ["stormshield.smtp-217", "stormshield.smtp-219"]


@cache
def commands() -> set[str]:
    """What is pasted, and so never wrapped."""
    names = [(inspector, rule) for inspector in BUILT_IN for rule in (*inspector.ids(), *FAMILIES)]
    return {c.strip() for inspector, rule in names for r in inspector.remedies(rule) for c in r.commands}


def test_listing_names_every_rule_once() -> None:
    text = listing(BUILT_IN, WIDTH)
    found = [line.split()[0] for line in text.splitlines() if line.startswith(" ") and "." in line.split()[0]]
    assert found == IDS
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "mailguard:pix-6" in text
    assert "stormshield:high" in text
    assert "\nsonicwall   SonicWall" in text
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
    text = page(rule, BUILT_IN, WIDTH)
    lines = text.splitlines()
    assert lines[0].startswith(rule)
    for label in ("fires when", "the box then", "honest mail", "certainty", "sources", "next"):
        assert f"\n  {label}" in text, label
    pasted = commands()
    for line in lines:
        command = line.strip() in pasted or line.startswith("  next ")
        assert len(line) <= WIDTH or command, line
        assert line == line.rstrip()
    assert len(lines) <= 67


@pytest.mark.parametrize("rule", IDS)
def test_certainty_has_the_word_of_every_row(rule: str) -> None:
    inspector = next(i for i in BUILT_IN if rule in i.ids())
    everywhere = [type(inspector)(profile) for profile in inspector.profiles] or [inspector]
    bases = {row.basis for made in everywhere for row in made.table() if row.id == rule}
    for basis in bases:
        assert {"project": "our assumption"}.get(basis, basis) in inspector.pages[rule].certainty


def test_what_remedies_share_is_told_once() -> None:
    lines = page("command-split", BUILT_IN, WIDTH).splitlines()
    assert "  switch off    1-5: between `configure terminal` and `write memory`" in lines
    text = page("command-split", BUILT_IN)
    assert "\n  you lose      1-4, 6: all checks of SMTP on this port" in text
    assert text.count("telnet SERVER 25 from outside") == 1
    assert "\n  undo          the old tick, or" in page("office-macro", BUILT_IN)


@pytest.mark.parametrize("rule", [*IDS, *FAMILIES])
def test_a_page_says_the_same_at_any_width(rule: str) -> None:
    words = page(rule, BUILT_IN).split()
    for width in (40, WIDTH, 120, 300):
        text = page(rule, BUILT_IN, width)
        assert text.split() == words
        lines = [
            line for line in text.splitlines() if "  next " not in line and line.strip() not in commands()
        ]
        # a word without a place to part it may stand out on a narrow screen
        assert width < WIDTH or max(map(len, lines)) <= min(width, WIDEST)
    # without a terminal nothing is wrapped: a label's text is one line
    lines = page(rule, BUILT_IN).splitlines()
    for label in ("certainty", "fires when", "the box then", "honest mail", "sources"):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {label}"))
        assert not lines[at + 1].startswith(" " * 16), lines[at + 1]


def test_the_wide_list_tells_how_sure_a_rule_is() -> None:
    for width in (None, 120):
        line = next(x for x in listing(BUILT_IN, width).splitlines() if "smtp-231" in x)
        assert line.split()[1:4] == ["drop-flow*", "our", "assumption"]
    assert "our assumption" not in listing(BUILT_IN, WIDTH)
    assert max(map(len, listing(BUILT_IN, 300).splitlines())) <= WIDEST


def test_what_is_not_evaluated_is_named() -> None:
    made = [
        registry.load("mailguard:asa-8,match=cmd verb mail -> rate-limit 20"),
        registry.load("stormshield,log=on"),
    ]
    text = listing(made, None)
    assert " not evaluated: Class 1: cmd verb mail -> rate-limit 20: spans connections" in text
    assert " not evaluated: Log=On: in no verdict" in text
    assert "rate-limit 20" in page("mailguard.rate-limit", made)
    assert "rate-limit 20" not in page("mailguard.cmd-verb", BUILT_IN)


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_that_no_profile_has_tells_how_to_get_it(rule: str) -> None:
    inspector = next(i for i in BUILT_IN if rule in i.ids())
    everywhere = [type(inspector)(profile) for profile in inspector.profiles]
    if any(row.id == rule for made in everywhere for row in made.table()):
        assert not inspector.pages[rule].ask
        return
    last = page(rule, BUILT_IN).splitlines()[-1]
    if rule == "mailguard.rate-limit":
        return
    ask = last.removeprefix("  next          smtpinspect replay CAPTURE -i '").removesuffix("'")
    assert rule in {row.id for row in registry.load(ask).table()}


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


def _of(phase: Phase, rst: bool = False) -> Page:
    return Page(1, "", "", "", "", (), phase, rst=rst)


@pytest.mark.parametrize("phase", get_args(Phase))
def test_both_logs_of_every_phase_are_quoted(phase: Phase) -> None:
    silent = [line for _, line in peers.receiver(_of(phase))]
    for quotes in (peers.sender(_of(phase)), peers.receiver(_of(phase)), peers.receiver(_of(phase, True))):
        # each has a phrase, and nothing is left in it of the mail that stands in for any
        assert not [line for _, line in quotes if re.search(r"^ |^$|``|[\[{]|\bexample\b|\b0\b", line)]
    assert bool(peers.sender(_of(phase))) == bool(silent) == bool(phase)


def test_an_rst_is_quoted_where_a_page_has_one() -> None:
    pages = [told for inspector in BUILT_IN for told in inspector.pages.values() if told.rst]
    assert pages
    for told in pages:
        cut = peers.receiver(told)
        assert cut and cut != peers.receiver(_of(told.phase))
        assert not any("timeout" in line for _, line in cut)


@pytest.mark.parametrize(
    ("phase", "rst", "sent", "received"),
    [
        (
            "command",
            True,
            [
                (
                    "Exim",
                    "SMTP timeout after MAIL FROM:<...>   (the command that was cut; `pipelined MAIL` if sent so)",
                ),
                ("Postfix", "conversation with ... timed out while sending MAIL FROM   (or the command that was cut)"),
            ],
            [
                (
                    "Exim",
                    "unexpected disconnection while reading SMTP command from ... (error: Connection reset by peer) "
                    "D=...   (before MAIL: nothing by default)",
                ),
                ("Postfix", "lost connection after ... from ...   (the last command)"),
            ],
        ),
        (
            "data",
            False,
            [
                ("Exim", "SMTP timeout after end of data (N bytes written)"),
                ("", "large mail: SMTP timeout after sending data block (N bytes written)"),
                (
                    "Postfix",
                    "conversation with ... timed out while sending end of data -- message may be sent more than once",
                ),
                ("", "large mail: conversation with ... timed out while sending message body"),
            ],
            [
                ("Exim", "SMTP data timeout (message abandoned) on connection from ... F=<...>"),
                ("Postfix", "timeout after DATA (N bytes) from ...   (N: where cut)"),
            ],
        ),
        (
            "content",
            False,
            [
                ("Exim", "SMTP error from remote mail server after end of data: 552 ...   (bounced)"),
                ("Postfix", "host ... said: 552 ... (in reply to end of DATA command)"),
                ("", "where no 552 was read (deferred, and tried again):"),
                ("Exim", "Remote host closed connection in response to end of data"),
                ("Postfix", "lost connection with ... while sending message body"),
            ],
            [
                ("Exim", "SMTP connection from ... lost while reading message data"),
                ("Postfix", "lost connection after DATA (N bytes) from ...   (N: where the text was cut)"),
            ],
        ),
    ],
)  # fmt: skip
def test_what_both_logs_hold(
    phase: Phase, rst: bool, sent: list[tuple[str, str]], received: list[tuple[str, str]]
) -> None:
    assert peers.sender(_of(phase, rst)) == sent
    assert peers.receiver(_of(phase, rst)) == received


def test_a_rule_that_a_key_switches_on() -> None:
    key = "block_multiple_compress_files=on"
    text = page("nested-archive", BUILT_IN)
    assert "not in force; a setting brings it into force" in " ".join(text.split())
    assert text.endswith(f"  next          smtpinspect replay CAPTURE -i 'sonicwall,{key}'\n")
    text = page("nested-archive", [registry.load(f"sonicwall,{key}")])
    assert text.endswith("  next          smtpinspect replay CAPTURE -i sonicwall,off=nested-archive\n")
    for inspector in BUILT_IN:
        for rule, told in inspector.pages.items():
            if told.ask:
                assert inspector.matching(rule)[0] not in {row.id for row in inspector.table()}
                made = registry.load(told.ask)
                assert rule in {row.id for row in made.table()}


def test_remedies_print_the_port() -> None:
    """`no fixup protocol smtp` without the port would put port 25 back."""
    text = page("banner-masked", BUILT_IN, WIDTH)
    assert "no fixup protocol smtp 25\n" in text
    assert "no fixup protocol smtp\n" not in text
    assert "no fixup protocol" not in " ".join(page("header-line-length", BUILT_IN).split())


@pytest.mark.parametrize("rule", IDS)
def test_every_rule_that_harms_has_a_remedy(rule: str) -> None:
    inspector = next(i for i in BUILT_IN if rule in i.ids())
    if rule in ("mailguard.tls-started", "sonicwall.scan-limit"):
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


def test_a_products_name_lists_its_rules_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "stormshield"]) == 0
    told = capsys.readouterr().out
    assert "stormshield.smtp-231" in told
    assert "mailguard." not in told
