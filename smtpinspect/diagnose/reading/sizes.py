"""Sizes of mails counted in classes: does a size part those that failed from those that passed?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log2
from typing import Final, NamedTuple

_STEPS: Final = 4  # classes to each doubling


def size_class(size: int) -> int:
    """Classes grow by a fifth."""
    return int(log2(max(size, 1)) * _STEPS)


@dataclass(slots=True)
class Sizes:
    """Per class: how many, the smallest, the largest (octets)."""

    classes: dict[int, list[int]] = field(default_factory=dict)

    def add(self, size: int) -> None:
        """Count one."""
        known = self.classes.setdefault(size_class(size), [0, size, size])
        known[0] += 1
        known[1] = min(known[1], size)
        known[2] = max(known[2], size)

    @property
    def number(self) -> int:
        """How many were counted."""
        return sum(count for count, _, _ in self.classes.values())

    @property
    def smallest(self) -> int | None:
        """In octets; None of none."""
        return min((least for _, least, _ in self.classes.values()), default=None)

    @property
    def largest(self) -> int | None:
        """In octets; None of none."""
        return max((most for _, _, most in self.classes.values()), default=None)

    def next_to(self, size: int) -> int | None:
        """The smallest one above, as far as the classes tell."""
        return min((least for _, least, _ in self.classes.values() if least > size), default=None)

    def above(self, size: int) -> int | None:
        """How many are larger; None where a class holds both."""
        if any(least <= size < most for _, least, most in self.classes.values()):
            return None
        return sum(count for count, least, _ in self.classes.values() if least > size)


class Split(NamedTuple):
    """Of the mails above `size` octets so many failed and passed, and of the others."""

    size: int
    failed_above: int
    fine_above: int
    failed_below: int
    fine_below: int

    @property
    def parts(self) -> bool:
        """Four of five above it failed and hold four of five of the failures, nine of ten below it passed."""
        above, below = self.failed_above + self.fine_above, self.failed_below + self.fine_below
        return (
            self.failed_above * 5 >= above * 4
            and self.failed_above * 5 >= (self.failed_above + self.failed_below) * 4
            and self.fine_below * 10 >= below * 9
        )

    def __str__(self) -> str:
        above, below = self.failed_above + self.fine_above, self.failed_below + self.fine_below
        return (
            f"of {above:,} above {self.size:,} bytes {self.failed_above:,} failed, of {below:,} others "
            f"{self.failed_below:,}"
        )


def split(failed: Sizes, fine: Sizes) -> Split | None:
    """Where the shares of failures differ most; None where nothing is on one of the sides."""
    best: tuple[float, Split] | None = None
    for made in _splits(failed, fine):
        above, below = made.failed_above + made.fine_above, made.failed_below + made.fine_below
        if above and below:
            gain = made.failed_above / failed.number - made.fine_above / fine.number
            if best is None or gain > best[0]:
                best = gain, made
    return best[1] if best else None


def _splits(failed: Sizes, fine: Sizes) -> Iterator[Split]:
    if not failed.classes or not fine.classes:
        return
    ends = {most for each in (failed, fine) for _, _, most in each.classes.values()}
    for size in sorted(ends):
        bad, good = failed.above(size), fine.above(size)
        if bad is not None and good is not None:
            yield Split(size, bad, good, failed.number - bad, fine.number - good)
