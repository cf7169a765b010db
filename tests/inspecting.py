"""The rows of an inspector, by rule; rules that have none."""

from __future__ import annotations

from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule

# Read and named; a rate spans connections.
NOT_EVALUATED = {"mailguard.rate-limit"}


def rows(spec: str) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for row in registry.load(spec).table():
        found.setdefault(row.id.split(".", 1)[1], []).append(row)
    return found


def words(spec: str) -> dict[str, str]:
    """Rule to the words of its actions."""
    return {rule: "/".join(r.action.strength.word for r in found) for rule, found in rows(spec).items()}
