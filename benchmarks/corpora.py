"""The corpora that are measured with: made once, kept in a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FILE_HEADER = 24
RECORD_HEADER = 16


@dataclass(frozen=True)
class Corpus:
    profile: str
    path: Path
    octets: int
    frames: int
    mails: int
    lost: int
    """frames that the capture misses"""


def made(folder: Path, profile: str, size: str, seed: int) -> Corpus:
    """The corpus out of the folder, or a new one.

    A process of its own writes it: the peak memory told of a child is never under that of its parent.
    """
    path = folder / f"{profile}-{size}-{seed}.pcap"
    told = path.with_suffix(".json")
    if not (path.exists() and told.exists() and json.loads(told.read_text())["octets"] == path.stat().st_size):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"writing {path.name}", file=sys.stderr)
        command = [sys.executable, str(HERE / "corpus.py"), profile, size, str(path), "--seed", str(seed)]
        told.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    held = json.loads(told.read_text())
    return Corpus(profile, path, held["octets"], held["frames"], held["mails"], held["lost"])


def excerpt(path: Path, out: Path, octets: int = 1 << 62, frames: int = 1 << 62) -> Path:
    """The first frames of a capture, as many as both limits allow."""
    with path.open("rb") as source, out.open("wb") as target:
        target.write(source.read(FILE_HEADER))
        while frames and target.tell() < octets and (header := source.read(RECORD_HEADER)):
            target.write(header + source.read(int.from_bytes(header[8:12], "little")))
            frames -= 1
    return out
