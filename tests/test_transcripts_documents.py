"""Documents: tests/transcripts holds a dialogue that fires each rule, one that nearly does, and an edge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inspecting import NOT_EVALUATED
from smtpinspect.inspectors import registry

DOCUMENTS = {
    f"{path.parent.name}.{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "transcripts").glob("*/*.md"))
}
PRODUCTS = [type(registry.load(name)) for name in (*registry.BUILT_IN, *registry.ALWAYS_ON)]
DOCUMENTED = [rule for cls in PRODUCTS for rule in cls.pages if rule not in NOT_EVALUATED]


def block(text: str, name: str) -> list[str]:
    found = re.findall(rf"^```{name}(?: cuts)?\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == 1, name
    return str(found[0]).splitlines()


def alerts(name: str) -> list[str]:
    return [line.split()[0] for line in block(DOCUMENTS[name], "alerts")]


@pytest.mark.parametrize("rule", DOCUMENTED)
def test_every_rule_has_three_documents(rule: str) -> None:
    own = [name for name in DOCUMENTS if name == rule or name.startswith(rule + "-")]
    kinds = {
        kind: [name for name in own if name.removeprefix(rule).startswith(f"-{kind}")]
        for kind in ("fires", "near", "edge")
    }
    assert len(own) >= 3
    assert [kind for kind, names in kinds.items() if not names] == []
    assert any(rule in alerts(name) for name in own)
    assert any(rule not in alerts(name) for name in kinds["near"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_can_be_read(name: str) -> None:
    text = DOCUMENTS[name]
    title, blank, why, *_ = text.splitlines()
    assert title.startswith("# ")
    assert blank == ""
    assert why.endswith(".")
    assert text.isascii()
    inspectors = [registry.load(spec) for spec in block(text, "spec")]
    ids = {rule for inspector in (*inspectors, *registry.always()) for rule in inspector.ids()}
    for line in block(text, "dialogue"):
        assert re.fullmatch(r"[CS]:(?: .*\S)?|--(?: [0-9]+s)?", line), line
    for line in block(text, "alerts"):
        assert re.fullmatch(r"[a-z0-9.-]+ [a-z-]+ (client|server)@[0-9]+(?: .*)?", line), line
        assert line.split()[0] in ids
