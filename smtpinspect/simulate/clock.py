"""Virtual time: a heap of what is to happen, in nanoseconds. Nothing sleeps, and the same run gives the same order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000


class Timer:
    """Something that is to happen; `cancel` makes that it does not."""

    __slots__ = ("act", "args", "live", "ns")

    def __init__(self, ns: int, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.ns = ns
        self.act = act
        self.args = args
        self.live = True

    def cancel(self) -> None:
        self.live = False


class Clock:
    """The only time in a simulation. `now` is in nanoseconds, from whatever start is given."""

    def __init__(self, start: int = 0) -> None:
        self.now = start
        self._heap: list[tuple[int, int, Timer]] = []
        self._made = 0

    def at(self, ns: int, act: Callable[..., object], *args: Any) -> Timer:
        """Call `act(*args)` at this time, behind what was planned for it before; a time that is over means now."""
        timer = Timer(max(ns, self.now), act, args)
        self._made += 1
        heapq.heappush(self._heap, (timer.ns, self._made, timer))
        return timer

    def after(self, ns: int, act: Callable[..., object], *args: Any) -> Timer:
        """Call `act(*args)` so many nanoseconds from now."""
        return self.at(self.now + ns, act, *args)

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left."""
        heap = self._heap
        while heap:
            ns, _, timer = heapq.heappop(heap)
            if timer.live:
                timer.live = False
                self.now = ns
                timer.act(*timer.args)
                return True
        return False

    def run(self, until: int | None = None, enough: Callable[[], bool] | None = None) -> None:
        """Until nothing is left, or this time (which it then is), or `enough` says so."""
        while enough is None or not enough():
            if until is not None and not self._due(until):
                self.now = max(self.now, until)
                return
            if not self.step():
                return

    def _due(self, until: int) -> bool:
        heap = self._heap
        while heap and not heap[0][2].live:
            heapq.heappop(heap)
        return bool(heap) and heap[0][0] <= until
