"""`smtpinspect FILE...`: looks at what each file is, and runs the command that fits."""

from __future__ import annotations

import os
from typing import Final

from smtpinspect.commands import folders
from smtpinspect.commands.console import PROG
from smtpinspect.commands.kinds import is_line, is_pipe, kind_of

VALUED: Final = frozenset("-i -o --port --format --records --threads --fail-on --taken --log".split())


def run(words: list[str]) -> int:
    """Run the command that fits the files among these words: replay where nothing else does; its exit status."""
    files = [word for n, word in enumerate(words) if _is_file(word, words[n - 1] if n else "")]
    kinds = {file: kind_of(file) for file in files}
    found = set(kinds.values())
    folders.refuse([file for file, kind in kinds.items() if kind == "other"])
    lines = [word for n, word in enumerate(words) if not _names(word, words[n - 1] if n else "") and is_line(word)]
    if found == {"message"}:
        from smtpinspect.commands.check import run as check

        return check(words)
    if lines:
        from smtpinspect.commands.diagnose import run as diagnose

        return diagnose(words)
    if "log" in found and found <= {"log", "capture"}:
        from smtpinspect.commands.diagnose import run as diagnose

        return diagnose([part for word in words for part in (("--log", word) if kinds.get(word) == "log" else (word,))])
    from smtpinspect.commands.replay import run as replay

    return replay(words, PROG)


def _is_file(word: str, before: str) -> bool:
    return not _names(word, before) and os.path.exists(word) and not is_pipe(word)


def _names(word: str, before: str) -> bool:
    """Is it an option, or its value?"""
    return word.startswith("-") or before in VALUED
