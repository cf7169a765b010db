"""Which inspectors there are, what they are called, and packages of third parties."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from smtpinspect.actions import Action, Strength
from smtpinspect.errors import UsageError
from smtpinspect.facts import FIELD, GREETING, in_
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule, Settings
from smtpinspect.inspectors.mailguard import Mailguard
from smtpinspect.inspectors.settings import Knob


def test_names_and_labels() -> None:
    assert registry.names()[:3] == ("mailguard", "stormshield", "sonicwall")
    assert [i.name for i in registry.default()] == ["mailguard", "stormshield", "sonicwall"]
    assert registry.label_all(registry.default()) == ["mailguard", "stormshield", "sonicwall"]
    specs = ["mailguard", "stormshield", "mailguard:asa-8", "mailguard:asa-8,limits=none"]
    assert registry.label_all([registry.load(s) for s in specs]) == [
        "mailguard:pix-6",
        "stormshield",
        "mailguard:asa-8",
        "mailguard:asa-8#2",
    ]


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[importlib.metadata.EntryPoint]:
    """Entry points as an installed package would have them."""
    entries: list[importlib.metadata.EntryPoint] = []

    def fake(*, group: str) -> importlib.metadata.EntryPoints:
        return importlib.metadata.EntryPoints(entries).select(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", fake)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "example_inspector"))
    monkeypatch.delitem(sys.modules, "smtpinspect_example", raising=False)
    return entries


def entry(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, registry.GROUP)


def test_the_example_of_a_third_party(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points.append(entry("example", "smtpinspect_example:Example"))
    assert registry.names() == ("mailguard", "stormshield", "sonicwall", "example")
    registry.load("mailguard")
    assert "smtpinspect_example" not in sys.modules  # only when it is asked for
    example = registry.load("example,most_recipients=2,trusted=a.example+b.example,no-newsletter.level=major")
    assert [row.id for row in example.table()] == ["example.many-recipients", "example.no-newsletter"]
    assert example.table()[1].level == "major"
    assert example.table()[1].method == "on_list_unsubscribe"
    assert example.gid == 2000
    assert "example" in [i.name for i in registry.every()]
    with pytest.raises(UsageError, match="Did you mean most_recipients"):
        registry.load("example,most_recipient=2")


def test_the_method_of_the_example_decides(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points.append(entry("example", "smtpinspect_example:Example"))
    example = registry.load("example")
    decide = getattr(example, example.table()[1].method)

    class Fact:
        value = b"<https://spam.example/u>"

    assert isinstance(decide(Fact), Action)
    Fact.value = b"<https://lists.example.org/u>"
    assert decide(Fact) is None


def test_packages_that_cannot_be_used(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points += [
        entry("gone", "no_such_module:Thing"),
        entry("wrong", "json:dumps"),
        entry("mailguard", "no_such_module:Thing"),
    ]
    with pytest.raises(UsageError, match=r"'gone'.*cannot be loaded"):
        registry.load("gone")
    with pytest.raises(UsageError, match="no subclass"):
        registry.load("wrong")
    # Nobody takes a built-in name away, and a broken package does not hide the rest.
    assert isinstance(registry.load("mailguard"), Mailguard)
    with pytest.warns(UserWarning, match=r"cannot be loaded|no subclass") as caught:
        assert len(registry.every()) == 4
    assert len(caught) == 2


def test_a_row_with_a_foreign_id_is_the_authors_mistake() -> None:
    class Stray(Inspector):
        name = "stray"

        def rules(self, settings: Settings) -> Iterable[Rule]:
            yield Rule("mailguard.mine", GREETING(), Action(Strength.ALARM), "project", "x", 1, "x")

    with pytest.raises(TypeError, match="starts with stray"):
        Stray()


def test_knobs_of_a_third_party() -> None:
    class Own(Inspector):
        name = "own"
        knobs = {"names": Knob("list", (), "field names")}

        def rules(self, settings: Settings) -> Iterable[Rule]:
            if settings.names:
                names = [name.encode() for name in settings.names]
                yield Rule(
                    "own.field", FIELD(name=in_(*names)), Action(Strength.ALARM), "project", "x", 1, "x"
                )

    assert Own().table() == ()
    assert Own(names="X-A+X-B").ids() == ("own.field",)
    assert Own(names=["X-A"], off=["own.field"]).table() == ()
