"""The inspector that a case's spec stands for, and its rules: made once, for many mails ask."""

from __future__ import annotations

from functools import lru_cache

from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule


def inspector_of(spec: str | Inspector) -> Inspector:
    """Raises UsageError for a spec that is none."""
    return spec if isinstance(spec, Inspector) else _loaded(spec)


def rules_of(spec: str | Inspector) -> tuple[Rule, ...]:
    """Its rows, alternatives too. Raises UsageError for a spec that is none."""
    return inspector_of(spec).table()


@lru_cache(maxsize=64)
def _loaded(spec: str) -> Inspector:
    return registry.load(spec)
