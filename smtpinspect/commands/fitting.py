"""`smtpinspect FILE...`: looks at what each file is, and runs the command that fits."""

from __future__ import annotations

import os
from typing import Final

from smtpinspect.commands import folders
from smtpinspect.commands.console import PROG
from smtpinspect.commands.kinds import is_line, is_pipe, kind_of

VALUED: Final = frozenset("-i -o --port --format --records --threads --fail-on --taken --log".split())
LOGS: Final = frozenset(("log", "firewall-log"))


def run(words: list[str]) -> int:
    """Run the command that fits the files among these words: replay where nothing else does; its exit status."""
    named = [word for n, word in enumerate(words) if not _is_option(word, words[n - 1] if n else "")]
    kinds = {word: kind_of(word) for word in named if os.path.exists(word) and not is_pipe(word)}
    found = set(kinds.values())
    folders.refuse([file for file, kind in kinds.items() if kind == "other"])
    if found == {"message"}:
        from smtpinspect.commands.check import run as check

        return check(words)
    if (found & LOGS and found <= LOGS | {"capture"}) or any(map(is_line, named)):
        from smtpinspect.commands.diagnose import run as diagnose

        return diagnose(words)
    from smtpinspect.commands.replay import run as replay

    return replay(words, PROG)


def _is_option(word: str, before: str) -> bool:
    """Is it an option, or its value?"""
    return word.startswith("-") or before in VALUED
