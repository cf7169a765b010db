"""Where the sources are, and what a module defines, for the rules of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "smtpinspect"
CORE = ROOT / "ext" / "smtpinspect" / "_core"


def public(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or a class defines: classes, functions, annotated names."""
    named = {
        str(getattr(node, "name", getattr(getattr(node, "target", None), "id", "_"))): node for node in body
    }
    return {name: node for name, node in named.items() if name[0] != "_"}
