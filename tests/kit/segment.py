"""The intermediate form between a dialogue and its frames: what a mutator works on."""

from __future__ import annotations

from typing import Literal, NamedTuple

Direction = Literal["C", "S"]

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


class Segment(NamedTuple):
    """One TCP segment. `seq` and `ack` are the 32-bit numbers on the wire; `time` is in seconds."""

    direction: Direction
    seq: int
    ack: int
    flags: int
    payload: bytes = b""
    time: float = 0.0
    bad_checksum: bool = False  # the TCP checksum is written wrong
    ttl: int | None = None  # None: the usual value of that side
    window: int = 65535
    options: bytes = b""  # TCP options, padded to a multiple of four when written
    urgent: int = 0
    cut: int = 0  # octets at the payload's end that a capture length cut off

    @property
    def syn(self) -> bool:
        return bool(self.flags & SYN)

    @property
    def fin(self) -> bool:
        return bool(self.flags & FIN)

    @property
    def rst(self) -> bool:
        return bool(self.flags & RST)

    @property
    def data(self) -> bool:
        """Carries stream octets (a SYN and a RST never do, whatever their payload)."""
        return bool(self.payload) and not self.flags & (SYN | RST)

    def but(self, **changes: object) -> Segment:
        """A copy with some fields changed."""
        return self._replace(**changes)  # type: ignore[arg-type]
