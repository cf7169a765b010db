"""What people would use instead, each with the work of its own that comes nearest to a record per mail."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import suricata
from chroot import Root
from corpora import Corpus, excerpt
from process import Failed, Program, Run

SCRIPTS = Path(__file__).with_name("scripts.py")
NAMES = ("Suricata, MIME off", "Suricata, MIME on", "tshark", "dpkt loop", "scapy")
VERSIONS = {"suricata": "-V", "tshark": "--version"}


def present(root: Root, held: Corpus, scratch: Path, scapy_octets: int) -> Iterator[Program]:
    if root.has("suricata"):
        yield from suricata.programs(root, held, scratch)
    if root.has("tshark"):
        yield tshark(root, held)
    if importlib.util.find_spec("dpkt"):
        yield script("dpkt loop", "dpkt", held)
    if importlib.util.find_spec("scapy"):
        short, scale = None, 1.0
        if held.octets > scapy_octets:
            short = excerpt(held.path, scratch / "excerpt.pcap", octets=scapy_octets)
            scale = held.octets / short.stat().st_size
        yield script("scapy", "scapy", held, short, scale)


def tshark(root: Root, held: Corpus) -> Program:
    """The sender of each mail, one pass. Counting its frames (`-z io,stat,0,smtp`) takes as long."""
    fields = ["-Y", 'smtp.req.command == "MAIL"', "-T", "fields", "-e", "frame.number", "-e", "smtp.req.parameter"]

    def notes(done: Run) -> dict[str, object]:
        found: dict[str, object] = {"senders": done.lines, "mails": held.mails}
        if done.lines < held.mails * 0.9:
            raise Failed(f"did other work: {found}")
        return found

    return Program("tshark", lambda capture: root.words(["tshark", "-n", "-r", capture, *fields]), notes=notes)


def script(name: str, which: str, held: Corpus, short: Path | None = None, scale: float = 1.0) -> Program:
    def notes(done: Run) -> dict[str, object]:
        return {"mails seen": json.loads(done.output)["mails"], **({} if short else {"mails": held.mails})}

    return Program(
        name,
        lambda capture: [sys.executable, str(SCRIPTS), which, str(capture)],
        capture=short,
        scale=scale,
        notes=notes,
    )


def versions(root: Root) -> dict[str, str]:
    out = dict.fromkeys(VERSIONS, "missing")
    for program, option in VERSIONS.items():
        if root.has(program):
            done = subprocess.run(root.words([program, option]), capture_output=True, text=True)
            found = re.search(r"\d+(\.\d+)+", done.stdout or done.stderr)
            out[program] = found[0] if found else "of unknown version"
    return out
