"""The way of a captured flow: a box in the middle that looks at every packet, a view at each of its two sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from smtpinspect.simulate.adopt import Ends, Side, other
from smtpinspect.simulate.clock import Clock
from smtpinspect.simulate.views import View


class Fate(Protocol):
    """What a firewall says of a packet: `enforce.firewall.Fate`."""

    @property
    def kind(self) -> Literal["pass", "edit", "drop", "hold"]: ...
    @property
    def octets(self) -> bytes | None: ...
    @property
    def injected(self) -> tuple[tuple[Side, bytes], ...]: ...
    @property
    def released(self) -> tuple[Any, ...]: ...
    @property
    def alerts(self) -> tuple[Any, ...]: ...
    @property
    def why(self) -> str: ...


class Box(Protocol):
    """A firewall (`enforce.firewall.Firewall`): one packet in, its fate out."""

    def take(self, ns: int, ip: bytes) -> Any: ...


class Crossing(NamedTuple):
    """A packet at the box: from which side, its fate, and what leaves the box because of it."""

    ns: int
    side: Side
    ip: bytes
    fate: Fate
    leaving: tuple[tuple[Side, bytes], ...]


class Way:
    """Views are taken at the box, one towards each side. Captured packets cross at their time; modelled ends are
    joined by `join`, and theirs take as long as the handshake tells."""

    def __init__(self, box: Box, views: Mapping[Side, View], ends: Ends) -> None:
        self.box = box
        self.views = views
        self.ends = ends
        self._clock: Clock | None = None
        self._to: dict[Side, Callable[[bytes], object]] = {}
        self._hear: Callable[[Crossing], object] = lambda crossing: None

    def cross(self, side: Side, ns: int, ip: bytes) -> Crossing:
        """A packet from this side is at the box; nothing has left it yet."""
        self.views[side].add(ns, ip)
        fate: Fate = self.box.take(ns, ip)
        leaving: list[tuple[Side, bytes]] = []
        for packet, decided in fate.released:
            if decided.kind in ("pass", "edit"):
                leaving.append((other(side), decided.octets or packet))
        if fate.kind in ("pass", "edit"):
            leaving.append((other(side), fate.octets or ip))
        return Crossing(ns, side, ip, fate, (*leaving, *fate.injected))

    def leave(self, crossing: Crossing) -> None:
        """What leaves the box goes to its side."""
        for side, ip in crossing.leaving:
            self.views[side].add(crossing.ns, ip)
            if self._clock is None:
                self.ends.arrived(side, crossing.ns, ip)
            else:
                self._clock.at(crossing.ns + self._delay(side), self._to[side], ip)

    def join(
        self, clock: Clock, to: Mapping[Side, Callable[[bytes], object]], hear: Callable[[Crossing], object]
    ) -> None:
        """From now on modelled ends receive; `hear` is told of each of their packets at the box."""
        self._clock = clock
        self._to = dict(to)
        self._hear = hear

    def sender(self, side: Side) -> Callable[[bytes], object]:
        """What a modelled end at this side sends by."""

        def send(ip: bytes) -> None:
            assert self._clock is not None
            self._clock.after(self._delay(side), self._arrives, side, ip)

        return send

    def _arrives(self, side: Side, ip: bytes) -> None:
        assert self._clock is not None
        crossing = self.cross(side, self._clock.now, ip)
        self.leave(crossing)
        self._hear(crossing)

    def _delay(self, side: Side) -> int:
        path = self.ends.path
        return path.client if side == "client" else path.server
