"""Causes that share a rank, as a line: names, and titles where they are few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpinspect.diagnose.model import Cause


class Place(NamedTuple):
    """Causes that share a rank."""

    causes: tuple[Cause, ...]

    def names(self, most: int = 3) -> str:
        """What they are called; "" for the filter that nobody knows, where it stands alone. Of more than so many rules
        each product's are counted."""
        rules = list(dict.fromkeys(cause.cause for cause in self.causes if cause.kind != "unknown-filter"))
        nobody = [cause.title for cause in self.causes if cause.kind == "unknown-filter"][:1] if rules else []
        if len(rules) <= most:
            return " or ".join([*nobody, *rules])
        told = f"one of {len(rules)} rules: {'; '.join(_families(self.causes, most))}"
        return ", or ".join([*nobody, told])


def _families(causes: Sequence[Cause], most: int) -> Iterator[str]:
    """The rules of each product, what they are about behind those of one topic."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for cause in causes:
        if cause.kind != "unknown-filter":
            product, _, short = cause.cause.partition(".")
            found.setdefault(product, {}).setdefault(cause.unseen, {})[short or product] = None
    for product, topics in found.items():
        told = []
        for about, names in topics.items():
            more = " ..." if len(names) > most else ""
            told.append(", ".join(list(names)[:most]) + more + (f" ({about})" if about else ""))
        yield f"{product} {', '.join(told)}"


def places(causes: Sequence[Cause], degree: str) -> list[Place]:
    """The causes of a degree by their rank, best first."""
    found: dict[int, list[Cause]] = {}
    for cause in causes:
        if cause.degree == degree:
            found.setdefault(cause.rank, []).append(cause)
    return [Place(tuple(found[rank])) for rank in sorted(found)]


def fits(place: Place, most: int = 3) -> str:
    """What stands behind the names of the causes of a place; nothing where there are too many."""
    first = place.causes[0].alert
    names = len({cause.cause for cause in place.causes})
    one = first is not None and all(c.alert is not None and c.alert.offset == first.offset for c in place.causes)
    same = f"; the same byte fits {'both' if names == 2 else f'all {names}'}" if one and names > 1 else ""
    alone = names == 1
    titles = list(dict.fromkeys(each.title for each in place.causes if alone or each.kind != "unknown-filter"))
    return " / ".join(titles if len(titles) <= most and names <= most else []) + same


def heading(place: Place) -> str:
    """Names and titles of a place."""
    return ": ".join(text for text in (place.names(), fits(place).removeprefix("; ")) if text)
