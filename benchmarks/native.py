"""The small C programs beside this file, compiled when first wanted."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def build(name: str, folder: Path) -> Path:
    """The program, compiled unless the folder holds it already."""
    source, program = HERE / f"{name}.c", folder / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, "-std=c99", "-O3", "-o", str(program), str(source)], check=True)
    return program
