"""Writes expected.json: python recipe/expect.py, in tests/attachments. Nothing of smtpinspect is asked.

The findings come from tests/oracle/content.py; who made a file, and why it fires, from reasons.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import sys
from typing import Any

from reasons import FILES

HERE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE.parent))
from oracle import content, executable  # noqa: E402

RULES = {
    "sonicwall.encrypted-zip": ("zip-encrypted",),
    "sonicwall.office-macro": ("ole-vba", "ooxml-vba"),
    "sonicwall.packed-exe": ("pe-packed",),
    "sonicwall.packed-exe-extended": ("pe-packed",),
    "sonicwall.nested-archive": ("archive-nested",),
    "sonicwall.scan-limit": ("scan-limit",),
}


def fires(rule: str, found: content.Found) -> bool:
    documented = found.detail in executable.DOCUMENTED
    if rule.startswith("sonicwall.packed-exe") and documented is rule.endswith("extended"):
        return False
    return found.kind in RULES[rule]


def expect(name: str) -> dict[str, Any]:
    """What one file gives: of each rule that fires the first finding; a rule that is not named does not fire."""
    octets = (HERE / name).read_bytes()
    found, rules = content.judge(octets), {}
    for rule in RULES:
        first = next((f for f in found if fires(rule, f)), None)
        if first is not None:
            rules[rule] = dataclasses.asdict(first)
    made, why = FILES[name]
    return {
        "octets": len(octets),
        "sha256": hashlib.sha256(octets).hexdigest(),
        "made": made,
        "why": why,
        "rules": rules,
    }


def main() -> None:
    there = {str(p.relative_to(HERE)) for folder in ("archive", "office", "program") for p in (HERE / folder).iterdir()}
    missing = (there - {"office/vbaProject-LICENSE.txt"}) ^ FILES.keys()
    if missing:
        raise SystemExit(f"reasons.py and the folders differ: {sorted(missing)}")
    text = json.dumps({name: expect(name) for name in sorted(FILES)}, indent=1)
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
