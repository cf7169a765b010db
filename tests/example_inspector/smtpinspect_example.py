"""A filter of one's own, in two rules: one is a row, one decides in Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smtpinspect.actions import ALARM, DROP_FLOW, PROJECT, Action
from smtpinspect.facts import COUNT, FIELD, gt, in_
from smtpinspect.inspectors.base import Inspector, Knob, Rule, Settings


class Example(Inspector):
    """Keeps newsletters out and counts recipients."""

    name = "example"
    title = "An example of a third party's inspector"
    knobs = {
        "most_recipients": Knob("int", 10, "RCPT commands of a mail", low=1),
        "trusted": Knob("list", ("lists.example.org",), "hosts whose newsletters pass"),
    }

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """Two rows."""
        # A row: the core compares, no Python runs.
        yield Rule(
            "example.many-recipients",
            COUNT(what="rcpt", value=gt(settings.most_recipients)),
            ALARM,
            PROJECT,
            "house rule 1",
            1,
            "many recipients",
        )
        # A row with a method: the core compares the name, Python sees only the fields that fit.
        yield Rule(
            "example.no-newsletter",
            FIELD(level=0, name=in_(b"List-Unsubscribe")),
            DROP_FLOW,
            PROJECT,
            "house rule 2",
            2,
            "newsletter from a host that is not trusted",
            method="on_list_unsubscribe",
        )

    def on_list_unsubscribe(self, fact: Any) -> Action | None:
        """Let the newsletters of trusted hosts pass."""
        value: bytes = fact.value
        trusted = any(host.encode() in value for host in self.settings.trusted)
        return None if trusted else DROP_FLOW
