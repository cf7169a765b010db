"""What is to be reached: the one table of targets, and what a figure beside its target says."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR = "share of the floor"
THREADS = "2 threads, times 1"

LEAST: dict[str, dict[str, float]] = {
    FLOOR: {"mixed": 0.40, "bulk": 0.55, "chatty": 0.12, "hostile": 0.25},
    "times Suricata, MIME off": {"mixed": 5, "bulk": 6, "chatty": 8, "hostile": 4},
    "times Suricata, MIME on": {"mixed": 40, "bulk": 80, "chatty": 8, "hostile": 30},
    "times tshark": {"mixed": 60},
    "times dpkt loop": {"mixed": 25},
    "times scapy": {"mixed": 800},
    THREADS: {"mixed": 1.7, "bulk": 1.7},
}
"""by figure and profile; of a peer: how many times ours it takes"""

# Start-up, the Python API, inspectors of others and doubling: their files hold the bound.
MOST: dict[str, float] = {
    "octets per idle connection": 600,
    "peak with 1,000,000 connections, MB": 1_000,
    "memory at the stream's end, times that at half": 1.05,  # flat
}


@dataclass(frozen=True)
class Figure:
    value: float
    target: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def __str__(self) -> str:
        shown = _shown(self.value)
        if self.target is None:
            return shown
        return f"{shown} / {_shown(self.target)} {'reached' if self.reached else 'MISSED'}"

    def told(self) -> dict[str, object]:
        target = {} if self.target is None else {"target": self.target, "reached": self.reached}
        return {"value": round(self.value, 4), **target}


def of_profile(name: str, profile: str, value: float) -> Figure:
    return Figure(value, LEAST.get(name, {}).get(profile))


def at_most(name: str, value: float) -> Figure:
    return Figure(value, MOST.get(name), at_most=True)


def _shown(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"
