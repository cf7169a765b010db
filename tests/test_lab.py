"""The laboratory's tables, without playing them: `make lab` does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "tests" / "lab"
RECIPE = ROOT / "pcaps" / "recipe"

pytestmark = pytest.mark.skipif(not LAB.exists(), reason="the laboratory is not in this tree")


def inside(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code among the laboratory's modules, whose names are its own affair."""
    head = f"import sys; sys.path[:0] = [{str(LAB)!r}, {str(RECIPE)!r}, {str(ROOT)!r}]\n"
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(code: str) -> Any:
    done = inside(f"import json\n{code}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_run_has_a_name_of_its_own() -> None:
    names = told("import driver; print(json.dumps([row.name for row in driver.EVERYTHING]))")
    assert len(names) == len(set(names)) > 400


def test_the_matrix_is_whole() -> None:
    cells = told(
        "import rows; print(json.dumps([[r.client, r.phase, r.kind, r.pipelining] for r in rows.MATRIX]))"
    )
    assert len({tuple(cell) for cell in cells}) == 4 * 12 * 3 * 2


def test_the_selection_waits_for_nothing_long() -> None:
    slow = told("import rows, scenes; print(json.dumps([r.name for r in rows.SELECTION + scenes.SCENES if r.slow]))")
    assert slow == []


def test_the_selection_is_two_dozen_breaks() -> None:
    count = told("import rows; print(json.dumps(sum(r.group == 'matrix' for r in rows.SELECTION)))")
    assert count == 24


def test_a_twin_is_a_run() -> None:
    code = "import scenes; names = {r.name for r in scenes.SCENES}\n"
    code += "print(json.dumps([r.twin for r in scenes.SCENES if r.judged == 'stopped' and r.twin not in names]))"
    assert told(code) == []


def test_without_root_it_says_so_and_fails() -> None:
    done = inside("import os; os.geteuid = lambda: 1000\nimport driver; sys.exit(driver.main())")
    assert done.returncode == 3
    assert "Missing:" in done.stderr
    assert "root" in done.stderr


def test_without_packages_it_names_them() -> None:
    code = "import pathlib, roots; roots.LAYERS = pathlib.Path('/nonexistent')\nimport os; os.geteuid = lambda: 0\n"
    done = inside(code + "import driver; sys.exit(driver.main())")
    assert done.returncode == 3
    for package in ("exim4-daemon-light", "opensmtpd", "postfix", "sendmail-bin"):
        assert f"package {package}" in done.stderr


def test_a_mismatch_is_listed_with_both_lines() -> None:
    code = """
import agreement, rows
from judge import Judgement
row = rows.MATRIX[0]
done = [Judgement(row, "other lines than predicted", ["real M"], ["predicted P"], ["real"]), Judgement(rows.MATRIX[1])]
print(json.dumps(agreement.text(done)))
"""
    text = told(code)
    assert "1 of 2 runs agree." in text
    assert text.index("real M") < text.index("predicted P")
    assert "1/2" in text
