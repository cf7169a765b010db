"""Through the Python API: `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import corpus

smtpinspect = pytest.importorskip("smtpinspect")

INSPECTORS = ["mailguard", "stormshield"]
every_profile = pytest.mark.parametrize("profile", list(corpus.PROFILES))

Corpora = Callable[[str], Path]


def run(benchmark: BenchmarkFixture, work: Callable[[Path], object], path: Path) -> object:
    benchmark.extra_info["octets"] = path.stat().st_size
    result = benchmark(work, path)
    if benchmark.stats:
        benchmark.extra_info["gigabytes_per_second"] = path.stat().st_size / benchmark.stats["median"] / 1e9
    return result


@every_profile
def test_replay(benchmark: BenchmarkFixture, corpora: Corpora, profile: str) -> None:
    def work(path: Path) -> int:
        return len(smtpinspect.replay(path, inspectors=INSPECTORS).mails)

    assert run(benchmark, work, corpora(profile))


@every_profile
def test_replay_without_inspectors(benchmark: BenchmarkFixture, corpora: Corpora, profile: str) -> None:
    def work(path: Path) -> int:
        return len(smtpinspect.replay(path, inspectors=[]).mails)

    assert run(benchmark, work, corpora(profile))


@every_profile
def test_stream_of_records(benchmark: BenchmarkFixture, corpora: Corpora, profile: str) -> None:
    def work(path: Path) -> int:
        return sum(1 for _ in smtpinspect.Engine(INSPECTORS).run(path))

    assert run(benchmark, work, corpora(profile))


@every_profile
def test_fields_of_mails(benchmark: BenchmarkFixture, corpora: Corpora, profile: str) -> None:
    def work(path: Path) -> int:
        seen = 0
        for mail in smtpinspect.replay(path, inspectors=INSPECTORS).mails:
            seen += mail.mail_from is not None and mail.outcome is not None and mail.verdict is not None
        return seen

    assert run(benchmark, work, corpora(profile))
