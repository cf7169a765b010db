"""When a deferred mail is tried again: one function per way of reckoning, seconds since the first attempt."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isqrt

# Age of the mail and the last two attempts (seconds) to the wait behind the last one.
Wait = Callable[[float, float], float]


def attempts(wait: Wait, life: float, seconds: float = 0.0, every: int = 0) -> list[int]:
    """Starts of all attempts: `wait(age, gap)` seconds behind the end of the last one, until the age is over `life`.

    `gap` is the time between the last two attempts; `every`: a queue runner looks only that often.
    """
    starts, gap, at = [0], 0.0, 0.0
    while True:
        end = at + seconds
        if end > life:
            return starts
        after = end + wait(end, gap)
        # a queue runner counts whole seconds, and the start is as good as any
        following = ceil(int(after) / every) * every if every else after
        if following <= at:
            following += every
        gap, at = following - at, following
        starts.append(round(at))


def quadratic(life: float, seconds: float = 0.0) -> list[int]:
    """(isqrt(age) + 20) squared: qmail-send.c nextretry, remote channel."""
    starts, at = [0], 0
    while at + seconds <= life:
        at = (isqrt(int(at)) + 20) ** 2
        while at < starts[-1] + seconds:
            at = (isqrt(at) + 20) ** 2
        starts.append(at)
    return starts


def steps(plan: tuple[tuple[int, int], ...], last: int, life: float, seconds: float = 0.0) -> list[int]:
    """`plan`: (how often, interval) one after the other, then `last` for ever."""
    intervals = [interval for times, interval in plan for _ in range(times)]
    starts, at = [0], 0.0
    while at + seconds <= life:
        at += seconds + (intervals.pop(0) if intervals else last)
        starts.append(round(at))
    return starts
