"""Stormshield: the rows of each profile, and what its settings make of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from inspecting import rows, words
from smtpinspect.errors import UsageError
from smtpinspect.facts import Given
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule
from smtpinspect.inspectors.stormshield import Stormshield

FIVE = {
    "smtp-122", "smtp-217.command", "smtp-217.reply", "smtp-217.header", "smtp-217.bdat", "smtp-217.xexch50",
    "smtp-219.command", "smtp-219.reply", "smtp-223", "smtp-231",
}  # fmt: skip


@pytest.mark.parametrize("profile", Stormshield.profiles)
def test_rows_of_each_stormshield_profile(profile: str) -> None:
    found = words(f"stormshield:{profile}")
    assert set(found) == FIVE
    assert found["smtp-231"] == ("alarm" if profile == "internet" else "drop-flow")
    assert {word for rule, word in found.items() if rule not in ("smtp-231", "smtp-122")} == {"drop-flow"}


def test_inspection_levels() -> None:
    assert rows("stormshield,level=firewall") == {}
    assert rows("stormshield,state=off") == {}
    assert {a for word in words("stormshield,level=ids").values() for a in word.split("/")} == {"alarm"}


@pytest.mark.parametrize(("word", "strength"), [("drop-flow", 6), ("drop", 5), ("rst-both", 7)])
def test_teardown(word: str, strength: int) -> None:
    assert {r.action.strength for _, r in every(f"stormshield,teardown={word}")} == {strength}


def every(spec: str) -> Iterable[tuple[str, Rule]]:
    return [(rule, row) for rule, found in rows(spec).items() for row in found]


def test_pass_and_sensitive_alarms() -> None:
    assert words("stormshield,122.action=pass")["smtp-122"] == "detach/detach"
    assert words("stormshield,231.action=pass")["smtp-231"] == "alarm"
    assert words("stormshield,231.action=pass,sensitive=231")["smtp-231"] == "detach"
    assert words("stormshield,122.action=pass,sensitive=")["smtp-122"] == "alarm/alarm"
    assert words("stormshield:internet,231.action=block")["smtp-231"] == "drop-flow"
    assert words("stormshield,level=ids,219.action=pass")["smtp-219.reply"] == "detach"


def test_line_limits_and_presets() -> None:
    def limit(spec: str, rule: str) -> Any:
        return dict(rows(spec)[rule][0].when.tests)["length"].values[0]

    names = ("smtp-217.command", "smtp-217.reply", "smtp-217.header")
    assert [limit("stormshield", rule) for rule in names] == [4096, 4096, 4096]
    assert [limit("stormshield,preset=rfc5321", rule) for rule in names] == [512, 512, 1000]
    mixed = "stormshield,preset=rfc5321,header_line_limit=64"
    assert [limit(mixed, rule) for rule in names] == [512, 512, 64]


def test_modes_of_223() -> None:
    reply = rows("stormshield,reply_codes=500+504")["smtp-223"][0]
    assert dict(reply.when.tests)["code"].values == (500, 504)
    advertised = rows("stormshield,mode=advertised")["smtp-223"][0]
    assert advertised.when.kind.name == "Command"


def test_the_template_of_the_alarms_may_differ_from_the_profile() -> None:
    assert words("stormshield:high,template_alarm=internet")["smtp-231"] == "alarm"
    assert words("stormshield:internet,template_alarm=low")["smtp-231"] == "drop-flow"
    assert rows("stormshield:high,template_alarm=internet")["smtp-231"][0].basis == "inferred"


# Ranges of the guide; what it gives no range for is on or off, or a list.
RANGES = {
    "header_line_limit": (64, 4096),
    "server_line_limit": (64, 4096),
    "command_line_limit": (64, 4096),
    "xexch50_size": (102_400, 1_073_741_824),
    "bdat_size": (102_400, 10_485_760),
    "outstanding_pipelined_request_limit": (0, 1024),
}


@pytest.mark.parametrize("key", RANGES)
def test_ranges_of_the_stormshield_settings(key: str) -> None:
    low, high = RANGES[key]
    for number in (low, high):
        assert registry.load(f"stormshield,{key}={number}").settings.values[key] == number
    for number in (low - 1, high + 1):
        with pytest.raises(
            UsageError, match=rf"{key}={number} for stormshield: a number from {low} to {high} "
        ):
            registry.load(f"stormshield,{key}={number}")


def test_stormshield_settings_without_effect_are_taken_and_named() -> None:
    made = registry.load("stormshield,probe=on,log=off,allow_tcp_urg=on")
    assert [note.split(":")[0] for note in made.notes()] == ["Probe=On", "Log=Off", "AllowTCPUrg=On"]
    assert made.table() == registry.load("stormshield").table()
    assert registry.load("stormshield").notes() == ()
    for key in ("probe", "log", "allow_tcp_urg", "state"):
        with pytest.raises(UsageError, match="on or off"):
            registry.load(f"stormshield,{key}=2")


def test_filters_drop_without_an_alarm_id() -> None:
    spec = "stormshield,filter_chunked_extension=on,filter_turning_extensions=on,deny_op=turn"
    for rule in ("filter-chunking", "filter-turning", "command-denied"):
        assert words(spec)[rule] == "drop"
        assert words(spec + ",level=ids")[rule] == "alarm"
        assert words(spec + f",{rule}.action=pass")[rule] == "pass"


def test_smtputf8() -> None:
    found = rows("stormshield,allow_smtputf8=on")["smtp-231"]
    assert [(r.when.given, r.when.not_given) for r in found] == [
        (Given(0), Given.SMTPUTF8),
        (Given.SMTPUTF8, Given(0)),
    ]
