"""How fast captures are made, and what the floor takes: no package needed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import corpus
import floor


@pytest.mark.parametrize("profile", list(corpus.PROFILES))
def test_generator(benchmark: BenchmarkFixture, tmp_path: Path, profile: str) -> None:
    summary = benchmark(corpus.write, profile, 2_000_000, tmp_path / "corpus.pcap")
    benchmark.extra_info["octets"] = summary.octets


@pytest.mark.parametrize("profile", list(corpus.PROFILES))
def test_floor(
    benchmark: BenchmarkFixture, corpora: Callable[[str], Path], tmp_path: Path, profile: str
) -> None:
    path, program = corpora(profile), floor.build(tmp_path)
    benchmark.extra_info["octets"] = path.stat().st_size
    benchmark(subprocess.run, [program, path], check=True, stdout=subprocess.DEVNULL)
