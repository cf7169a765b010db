"""What a run found: ratios beside their targets, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ours
import peers
import tables
import targets
from corpora import Corpus
from process import Taken
from targets import Figure


def figures(profile: str, taken: Mapping[str, Taken]) -> dict[str, Figure]:
    """Ratios; of a peer how many times ours it takes."""
    times = {name: one.seconds / taken["ours"].seconds for name, one in taken.items() if one.fit}
    if "ours" not in times or "floor" not in times:
        return {}
    ratios = {targets.FLOOR: times["floor"]}
    ratios |= {f"{name}, times": times[name] for name in (ours.ALL, ours.WITHOUT) if name in times}
    if ours.THREADS in times and not taken[ours.THREADS].processor:  # threads save none of those seconds
        ratios[targets.THREADS] = 1 / times[ours.THREADS]
    ratios |= {f"times {name}": times[name] for name in peers.NAMES if name in times}
    return {name: targets.of_profile(name, profile, value) for name, value in ratios.items()}


class Report:
    """What was found so far, written anew behind each corpus."""

    def __init__(
        self, paths: tuple[Path, Path], processor: bool, versions: dict[str, str], told: dict[str, object]
    ) -> None:
        self.paths = paths
        self.told: dict[str, Any] = {"machine": tables.machine(), "peers": versions, **told}
        self.told |= {"processor_seconds": processor, "profiles": {}}
        self.found: dict[str, dict[str, Figure]] = {}
        self.rest: dict[str, Figure] = {}
        self.texts: list[str] = []

    def add(self, held: Corpus, taken: Mapping[str, Taken]) -> None:
        found = self.found[held.profile] = figures(held.profile, taken)
        self.texts.append(tables.programs(held, taken))
        self.told["profiles"][held.profile] = {
            "octets": held.octets,
            "frames": held.frames,
            "mails": held.mails,
            "programs": {name: one.told(held.octets) for name, one in taken.items()},
            "figures": {name: figure.told() for name, figure in found.items()},
        }

    def text(self) -> str:
        head = ", ".join(f"{name} {value}" for key in ("machine", "peers") for name, value in self.told[key].items())
        unit = "processor seconds" if self.told["processor_seconds"] else "seconds"
        parts = [f"{head}; {unit}", tables.by_profile(self.found), *self.texts]
        parts[2:2] = [tables.others(self.rest)] if self.rest else []
        return "\n\n".join(parts) + "\n"

    def write(self) -> None:
        self.told["figures"] = {name: figure.told() for name, figure in self.rest.items()}
        for path, content in zip(self.paths, (self.text(), json.dumps(self.told, indent=1) + "\n"), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
