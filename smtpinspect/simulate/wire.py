"""The way between two ends: a link with a delay, taps that keep what each side saw, and a box in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from smtpinspect._core.views import Alert
from smtpinspect.simulate.clock import MILLISECOND, Clock
from smtpinspect.simulate.views import View

Side = Literal["client", "server"]
Kind = Literal["pass", "edit", "drop", "hold"]


class Decided(Protocol):
    """What a box says of a packet; `enforce.firewall.Fate` is one. `injected` are (to, packet)."""

    @property
    def kind(self) -> Kind: ...
    @property
    def octets(self) -> bytes | None: ...
    @property
    def injected(self) -> tuple[tuple[Side, bytes], ...]: ...
    @property
    def alerts(self) -> tuple[Alert, ...]: ...
    @property
    def why(self) -> str: ...


class Box(Protocol):
    """A firewall: one packet in, its fate out."""

    def take(self, ns: int, ip: bytes) -> Decided: ...


class Tap:
    """What passed one place, in order: (time in ns, IP packet)."""

    def __init__(self) -> None:
        self.packets: list[tuple[int, bytes]] = []

    def keep(self, ns: int, ip: bytes) -> None:
        self.packets.append((ns, ip))

    def write(self, path: str | Path) -> None:
        """As a capture. Raises UsageError where it cannot be written."""
        with View(path) as view:
            for ns, ip in self.packets:
                view.add(ns, ip)


class Crossing(NamedTuple):
    """A packet at the box: when, from which side, what became of it."""

    ns: int
    side: Side
    ip: bytes
    fate: Decided


class Wire:
    """Client, box and server in a row. Each half takes `delay` nanoseconds, and packets keep their order.

    `attach` tells who receives at each end; the ends send by `from_client` and `from_server`.
    """

    def __init__(
        self,
        clock: Clock,
        box: Box | None = None,
        delay: int = MILLISECOND // 4,
        watch: Callable[[Crossing], object] | None = None,
    ) -> None:
        self.clock = clock
        self.box = box
        self.delay = delay
        self.client_tap = Tap()
        self.server_tap = Tap()
        self._watch = watch
        self._to: dict[Side, Callable[[bytes], object]] = {}

    def attach(self, side: Side, receive: Callable[[bytes], object]) -> None:
        self._to[side] = receive

    def from_client(self, ip: bytes) -> None:
        self.client_tap.keep(self.clock.now, ip)
        self.clock.after(self.delay, self._cross, "client", ip)

    def from_server(self, ip: bytes) -> None:
        self.server_tap.keep(self.clock.now, ip)
        self.clock.after(self.delay, self._cross, "server", ip)

    def _cross(self, side: Side, ip: bytes) -> None:
        other: Side = "server" if side == "client" else "client"
        if self.box is None:
            self.deliver(other, ip)
            return
        fate = self.box.take(self.clock.now, ip)
        for packet, decided in getattr(fate, "released", ()):
            if decided.kind in ("pass", "edit"):
                self.deliver(other, decided.octets or packet)
        if fate.kind in ("pass", "edit"):
            self.deliver(other, fate.octets or ip)
        for to, packet in fate.injected:
            self.deliver(to, packet)
        if self._watch:
            self._watch(Crossing(self.clock.now, side, ip, fate))

    def deliver(self, side: Side, ip: bytes) -> None:
        """Send a packet from the box to this end."""
        self.clock.after(self.delay, self._arrive, side, ip)

    def _arrive(self, side: Side, ip: bytes) -> None:
        (self.client_tap if side == "client" else self.server_tap).keep(self.clock.now, ip)
        if side in self._to:
            self._to[side](ip)
