"""The pages of output in README.md and DESIGN.md are what the program prints."""

from pathlib import Path

import pytest

from pages import Page, differs, output, pages

FILES = ("README.md", "DESIGN.md")
PAGES = [pytest.param(page, id=f"{name}-{n}") for name in FILES for n, page in enumerate(pages(name))]


@pytest.mark.parametrize("page", PAGES)
def test_page(page: Page, tmp_path: Path) -> None:
    assert differs(page, output(page, tmp_path)) == "", "tests/pages.py writes those of DESIGN.md anew"


def test_a_page_is_held_line_by_line() -> None:
    told = ["a", "b", "c", "d"]
    assert differs(Page((), "", ("a", "…", "c", "d"), ""), told) == ""
    assert differs(Page((), "", ("a", "c", "d"), ""), told) == "c"
    assert differs(Page((), "", ("a", "…", "x"), ""), told) == "x"
    assert differs(Page((), "", ("a", "b"), ""), told) == "c"
