"""Which test covers which hazard of the catalogue of SMTP over TCP."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CATALOGUE = Path(__file__).resolve().parents[1].parent / "shared" / "reference" / "tcp-smtp-hazards.md"
COVERED: dict[str, list[str]] = {}

Test = TypeVar("Test", bound=Callable[..., None])


def hazard(*ids: str) -> Callable[[Test], Test]:
    """Marks a test as the one that shows what happens with these hazards."""

    def mark(test: Test) -> Test:
        for name in ids:
            COVERED.setdefault(name, []).append(f"{test.__module__}.{test.__name__}")
        return test

    return mark


def catalogue() -> set[str]:
    """Every hazard id: the first cell of a row."""
    return set(re.findall(r"^\| ([A-Z]-\d+) \|", CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE))
