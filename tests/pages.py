"""Pages of real output in README.md and DESIGN.md: blocks whose lines with `$` are commands.

`…` alone on a line stands for lines that are left out. As a script it writes the output of whole pages (those of
DESIGN.md) anew: python tests/pages.py
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

COLUMNS = 120
ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```\n(\$ smtpinspect .*?)^```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    """`before` makes what the last command needs; `shown` are the lines of its output."""

    before: tuple[str, ...]
    command: str
    shown: tuple[str, ...]
    text: str


def pages(name: str) -> Iterator[Page]:
    """The pages of a file, in order."""
    for found in _BLOCK.finditer((ROOT / name).read_text(encoding="utf-8")):
        lines = found[1].splitlines()
        commands = [line[2:] for line in lines if line.startswith("$ ")]
        shown = [line for line in lines if not line.startswith("$ ")]
        yield Page(tuple(commands[:-1]), commands[-1], tuple(shown), found[1])


def output(page: Page, folder: Path) -> list[str]:
    """The lines that its last command prints, run where `pcaps/` is."""
    if not (folder / "pcaps").exists():
        (folder / "pcaps").symlink_to(ROOT / "pcaps")
    told = ""
    for command in (*page.before, page.command):
        program, *words = shlex.split(command)
        assert program == "smtpinspect"
        told = on_a_terminal([sys.executable, "-m", "smtpinspect", *words], folder)
    return [line.rstrip() for line in told.splitlines()]


def on_a_terminal(words: list[str], folder: Path) -> str:
    """What a command prints on a terminal without colours."""
    ours, theirs = pty.openpty()
    env = dict(os.environ, PYTHONPATH=str(ROOT), COLUMNS=str(COLUMNS), NO_COLOR="1", TERM="dumb")
    with subprocess.Popen(words, cwd=folder, stdout=theirs, stderr=subprocess.PIPE, env=env) as process:
        os.close(theirs)
        told = b""
        with suppress(OSError):  # a terminal whose other end is closed
            while piece := os.read(ours, 65_536):
                told += piece
        os.close(ours)
        complaint = process.stderr.read() if process.stderr else b""
    assert process.returncode == 0, complaint.decode()
    return told.decode().replace("\r\n", "\n")


def differs(page: Page, told: list[str]) -> str:
    """The first line of the page that the output does not have in its place; "" for none."""
    at, anywhere = 0, False
    for line in page.shown:
        if line == "…":
            anywhere = True
            continue
        found = next((n for n in range(at, len(told)) if told[n] == line), None) if anywhere else at
        if found is None or found >= len(told) or told[found] != line:
            return line
        at, anywhere = found + 1, False
    return "" if anywhere or at == len(told) else told[at]


def write(name: str) -> None:
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    for page in pages(name):
        if "…" in page.shown:
            continue
        with TemporaryDirectory() as folder:
            told = "\n".join(output(page, Path(folder)))
        head = "".join(f"$ {command}\n" for command in (*page.before, page.command))
        text = text.replace(page.text, f"{head}{told}\n")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["DESIGN.md"]:
        write(name)
