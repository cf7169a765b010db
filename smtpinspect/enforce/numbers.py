"""One direction of a connection as its sender numbers it, and as its receiver does behind the box.

Offsets count octets of the stream from 0 (the octet behind the SYN); what the receiver sees has offsets of its own,
which differ once the box has withheld octets or said some itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

_HALF: Final = 1 << 31
_WHOLE: Final = 1 << 32
KEPT_EDITS: Final = 512  # a dialogue of commands that are all denied comes to as many; older ones are folded


class Edit(NamedTuple):
    """The octets from `at` to `end` go on as `octets`: as many others, none, or some that nobody sent."""

    at: int
    end: int
    octets: bytes

    @property
    def growth(self) -> int:
        """What the receiver's offsets gain."""
        return len(self.octets) - (self.end - self.at)


class Piece(NamedTuple):
    """Octets for the receiver, at its own offset."""

    at: int
    octets: bytes
    end: int  # the sender's offset behind them


class Stream:
    """The numbers of one direction. `base` is the sequence number of offset 0, for both ends."""

    __slots__ = ("_ends", "_folded", "_starts", "acked", "base", "edits", "fin", "lost", "top")

    def __init__(self, base: int, top: int = 0) -> None:
        self.base = base
        self.top = top  # behind the last octet that the sender has sent in order
        self.acked = 0  # by the receiver, as the sender counts
        self.fin: int | None = None  # the sender's offset of its FIN
        self.edits: list[Edit] = []  # in order, none upon another
        self.lost: list[tuple[int, int]] = []  # what never goes on
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._folded = 0  # growth of the edits that are forgotten

    @property
    def shift(self) -> int:
        """How far the receiver's numbers are ahead of the sender's by now."""
        return self._folded + sum(edit.growth for edit in self.edits)

    @property
    def shifted(self) -> bool:
        """Do numbers differ anywhere?"""
        return bool(self._folded) or any(edit.growth for edit in self.edits)

    def offset(self, number: int) -> int:
        """The sender's offset of one of the sender's sequence numbers."""
        return self._near(number, self.top)

    def received(self, number: int) -> int:
        """The receiver's offset of a sequence number that the receiver wrote."""
        return self._near(number, self.forward(self.top, True))

    def sender_number(self, number: int) -> int:
        """The sender's own number for one that the receiver wrote."""
        return self.number(self.back(self.received(number)))

    def number(self, offset: int) -> int:
        """The sequence number of an offset (of the same end)."""
        return (self.base + offset) % _WHOLE

    def _near(self, number: int, place: int) -> int:
        away = (number - self.base - place) % _WHOLE
        return place + (away - _WHOLE if away >= _HALF else away)

    def replace(self, at: int, end: int, octets: bytes) -> bool:
        """From now on these octets stand for those from `at` to `end`. False: an earlier edit does for some."""
        i = bisect_right(self._starts, at)
        if i and (self.edits[i - 1].end > at or (end > at and self.edits[i - 1][:2] == (at, end))):
            return False
        if i < len(self.edits) and self.edits[i].at < end:
            return False
        self.edits.insert(i, Edit(at, end, octets))
        self._starts.insert(i, at)
        self._ends.insert(i, end)
        self._fold()
        return True

    def rewrite(self, at: int, octets: bytes, change: Callable[[bytes], bytes]) -> None:
        """These octets, which begin at `at`, go on changed, whatever changed them before; as many as they are."""
        end = at + len(octets)
        for i, edit in enumerate(self.edits):
            if edit[:2] == (at, end) and edit.octets:
                self.edits[i] = edit._replace(octets=change(edit.octets))
                return
        made = change(octets)
        if made != octets:
            self.replace(at, end, made)

    def remember(self, known: Stream) -> None:
        """The edits of the same stream as it was known before; none of them changes a length."""
        self.edits, self._starts, self._ends = known.edits, known._starts, known._ends
        self.fin, self.acked = known.fin, max(self.acked, known.acked)

    def lose(self, at: int, end: int) -> None:
        """The octets from `at` to `end` never go on; numbers stay."""
        if end > at:
            self.lost = [*self.lost[-63:], (at, end)]

    def _fold(self) -> None:
        """Edits that the receiver acknowledged long ago: only what they add is of interest."""
        while len(self.edits) > KEPT_EDITS and self.edits[0].end <= self.acked:
            self._folded += self.edits.pop(0).growth
            del self._starts[0], self._ends[0]

    def forward(self, offset: int, behind: bool = False) -> int:
        """The receiver's offset of the sender's; `behind` what the box said there, or before it."""
        out = offset + self._folded
        for edit in self.edits:
            if edit.at > offset or (edit.at == offset and not (behind and edit.end == offset)):
                break
            if edit.end <= offset:
                out += edit.growth
            else:
                out += min(0, len(edit.octets) - (offset - edit.at))
        return out

    def back(self, offset: int) -> int:
        """The sender's offset that the receiver means: behind whatever was withheld there."""
        out = offset - self._folded
        for edit in self.edits:
            if out < edit.at:
                break
            new_end = edit.at + len(edit.octets)
            if out >= new_end:
                if edit.at == edit.end and out == edit.at:
                    break
                out -= edit.growth
            elif edit.at == edit.end:
                return edit.at
            else:
                break
        return out

    def withheld(self, at: int, end: int) -> bool:
        """Are octets among these that the box keeps from the receiver, and answers for?"""
        return any(edit.end > edit.at and not edit.octets and edit.at < end and at < edit.end for edit in self.edits)

    def pieces(self, at: int, octets: bytes) -> list[Piece]:
        """What goes on of these octets, which begin at the sender's offset; each piece is a segment of its own."""
        spans = [(at, at + len(octets))]
        for low, high in self.lost:
            parts = [((a, min(b, low)), (max(a, high), b)) for a, b in spans]
            spans = [(a, b) for pair in parts for a, b in pair if a < b]
        return [piece for a, b in spans for piece in self._mapped(a, octets[a - at : b - at]) if piece.octets]

    def _mapped(self, at: int, octets: bytes) -> list[Piece]:
        end = at + len(octets)
        found: list[Piece] = []
        start = self.forward(at, True)
        out = b""
        place = at
        for edit in self.edits[bisect_right(self._ends, at) :]:
            if edit.at >= end:
                break
            out += octets[place - at : max(edit.at - at, 0)]
            if edit.at == edit.end:
                # what the box said stands between two segments
                found += [Piece(start, out, edit.at), Piece(start + len(out), edit.octets, edit.at)]
                start += len(out) + len(edit.octets)
                out = b""
            elif edit.octets:
                out += edit.octets[max(0, at - edit.at) : end - edit.at]
            place = min(edit.end, end)
        out += octets[place - at :]
        found.append(Piece(start, out, end))
        return found

    def is_lost(self, offset: int) -> bool:
        """Is the octet at this offset among the lost ones?"""
        return any(low <= offset < high for low, high in self.lost)
