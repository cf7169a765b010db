"""What a replay of a few packets imports: what is not needed is not waited for. No clock is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import smtpinspect

ROOT = Path(smtpinspect.__file__).parent.parent
CAPTURE = Path(__file__).parent.parent / "pcaps" / "bdat.pcap"

# Without the site's own modules (-S), and without what these few bring in this version of Python.
CODE = f"""
import argparse, contextlib, enum, json, locale, re, sys, typing
before = set(sys.modules)
sys.path.insert(0, {str(ROOT)!r})
from smtpinspect.cli import main
status = main(sys.argv[1:])
print(status, *sorted(set(sys.modules) - before), file=sys.stderr)
"""

# Each takes a millisecond or more, or brings others that do.
UNWANTED = {
    "ast", "asyncio", "bz2", "calendar", "concurrent", "copy", "ctypes", "dataclasses", "decimal", "difflib", "dis",
    "dpkt", "email", "fractions", "hashlib", "heapq", "html", "http", "inspect", "ipaddress", "linecache", "logging",
    "lzma", "multiprocessing", "numbers", "pathlib", "pickle", "platform", "pprint", "random", "rich", "scapy",
    "shutil", "socket", "ssl", "statistics", "string", "struct", "subprocess", "tempfile", "textwrap",
    "threading", "tokenize", "traceback", "unittest", "urllib", "uuid", "weakref", "xml", "zipfile", "zlib",
    "importlib.metadata", "importlib.resources", "importlib.util",
    "smtpinspect.grammar.drawing", "smtpinspect.grammar.linktypes", "smtpinspect.mta", "smtpinspect.report.config_page",
    "smtpinspect.report.peers", "smtpinspect.report.progress", "smtpinspect.report.rules_page",
    "smtpinspect.report.transcript_text",
    "smtpinspect.report.vendor_logs", "smtpinspect.transcripts", "smtpinspect.inspectors.logline",
    "smtpinspect.inspectors.mailguard.config", "smtpinspect.inspectors.mailguard.expressions",
    "smtpinspect.inspectors.mailguard.logs", "smtpinspect.inspectors.mailguard.policy",
    "smtpinspect.inspectors.sonicwall.config", "smtpinspect.inspectors.sonicwall.logs",
    "smtpinspect.inspectors.stormshield.config", "smtpinspect.inspectors.stormshield.logs",
}  # fmt: skip
# What only the text for people wants.
TEXT = {"datetime", "shlex", "unicodedata", "smtpinspect.report"}


def loaded_by(*words: str) -> set[str]:
    """The modules, and the packages that they lie in."""
    command = [sys.executable, "-I", "-S", "-c", CODE, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    status, *found = done.stderr.split()
    assert status == "0"
    return {".".join(name.split(".")[:n]) for name in found for n in range(1, name.count(".") + 2)}


@pytest.mark.parametrize("form", ["text", "eve"])
def test_a_replay_imports_only_what_it_needs(form: str, tmp_path: Path) -> None:
    loaded = loaded_by("replay", str(CAPTURE), "--format", form, "-o", str(tmp_path / "out"))
    assert "smtpinspect.engine" in loaded
    assert not loaded & (UNWANTED if form == "text" else UNWANTED | TEXT)


def test_the_version_needs_no_core() -> None:
    assert not {name for name in loaded_by("--version") if name.startswith(("smtpinspect._core", "smtpinspect.engine"))}
