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
        return " or ".join([*nobody, *(rules if len(rules) <= most else _families(self.causes, most))])


def _families(causes: Sequence[Cause], most: int) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for cause in causes:
        if cause.kind != "unknown-filter":
            found.setdefault((cause.cause.partition(".")[0], cause.unseen), []).append(cause.cause)
    for (product, about), names in found.items():
        once = list(dict.fromkeys(names))
        if len(once) == 1:
            yield once[0]
            continue
        short = [name.removeprefix(f"{product}.") for name in once]
        more = " ..." if len(short) > most else ""
        topic = f" about {about}" if about else ""
        yield f"one of {len(once)} rules of {product}{topic} ({', '.join(short[:most])}{more})"


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
