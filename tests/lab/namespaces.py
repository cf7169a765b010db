"""Programs of the laboratory in namespaces of their own, above the roots of the MTAs, which are mounted once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import needs
import roots

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECIPE = ROOT / "pcaps" / "recipe"
BUILD = ROOT / "build" / "lab"
_OWN = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def lacking(hint: str = "") -> bool:
    """Can the laboratory not be built here? Says on standard error what is missing."""
    if missing := needs.missing():
        lines = ["The laboratory cannot be built here. Missing:", *(f"  {what}" for what in missing)]
        print("\n".join([*lines, *([hint] if hint else [])]), file=sys.stderr)
    return bool(missing)


def inside() -> bool:
    """Is this the mount namespace that `enter` makes?"""
    return "LAB_BASES" in os.environ


def enter() -> None:
    """Go on in a mount namespace of our own, where the roots of the MTAs can be mounted once for all runs."""
    if not inside():
        bases = BUILD / "bases"
        bases.mkdir(parents=True, exist_ok=True)
        own = os.environ | {"LAB_BASES": str(bases)}
        os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], own)
    bases = Path(os.environ["LAB_BASES"])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(bases)], check=True)
    for package in needs.MTAS:
        roots.base(package, bases)


def alone(folder: Path, program: Path, words: Sequence[str], seconds: float) -> None:
    """Run a program of the laboratory in fresh namespaces, until its end or for so long; what it says goes to
    FOLDER/play.log, and the folder is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = os.pathsep.join([str(HERE), str(RECIPE), str(ROOT)])
    own = os.environ | {"PYTHONPATH": paths, "LAB_IPTABLES": str(needs.iptables())}
    with (folder / "play.log").open("wb") as log:
        try:
            command = [*_OWN, sys.executable, str(program), *words]
            subprocess.run(command, env=own, stdout=log, stderr=log, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            log.write(b"took too long\n")
