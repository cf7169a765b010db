from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import corpus

SIZE = 8_000_000


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """bench_*.py are collected here without a pattern in the project's settings; pytest takes named files itself."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small corpus of a profile, written when first asked for."""
    folder = tmp_path_factory.mktemp("corpora")

    def held(profile: str) -> Path:
        path = folder / f"{profile}.pcap"
        if not path.exists():
            corpus.write(profile, SIZE, path)
        return path

    return held
