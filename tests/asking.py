"""An inspector that asks for every kind of content: for what must hold of any that asks for some."""

from __future__ import annotations

from collections.abc import Iterable

from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.facts import CONTENT
from smtpinspect.inspectors.base import Inspector, Rule, Settings

KINDS = CONTENT.fields["kind"].words


class Asking(Inspector):
    """One row for each kind."""

    name = "asking"
    title = "Asks for all contents"

    def rules(self, settings: Settings) -> Iterable[Rule]:
        for number, kind in enumerate(KINDS, 1):
            yield Rule(f"asking.{kind}", CONTENT(kind=kind), ALARM, PROJECT, "test", number, kind)
