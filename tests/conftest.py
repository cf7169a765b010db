"""Options and profiles of the whole suite."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# The fast suite says the same on every machine; --deep looks further, and anew each time.
settings.register_profile(
    "fast", max_examples=150, derandomize=True, deadline=None, suppress_health_check=SLOW
)
settings.register_profile(
    "deep", max_examples=5_000, deadline=None, suppress_health_check=SLOW, print_blob=True
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deep", action="store_true", help="many more examples of the property tests, not seeded"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it does not wait for with SIGINT ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile(
        "deep" if config.getoption("--deep") else os.environ.get("HYPOTHESIS_PROFILE", "fast")
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Eleven thousand tests stay until the end: who looks for garbage need not look at them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
