"""The core for one packet at a time: which rules a packet fires, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smtpinspect._core.records import Sink
from smtpinspect._core.views import Alert, ObjectSink
from smtpinspect._core.watcher import Watcher
from smtpinspect.engine import PORTS, compile_rows
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector


class Watch:
    """An inspector that looks at IP packets as they come, and tells of each what fired by it.

    All alerts come, as often as a rule fires, with the packet that decides them; mails are not told. What is kept is
    bounded as in a replay: idle connections are forgotten by the time of the packets. `units` says of which units
    (commands, greeting, replies) `push` tells that a packet ends inside one. `also` is a sink that writes the same
    records (of the same `program`). What AUTH carries is masked in evidence unless `secrets`.
    """

    def __init__(
        self,
        inspector: str | Inspector,
        *,
        ports: Sequence[int] = PORTS,
        units: int = 0,
        secrets: bool = False,
    ) -> None:
        self.inspector = registry.load(inspector)
        self.ports = tuple(dict.fromkeys([*ports, *self.inspector.ports]))
        self.program = compile_rows([self.inspector])
        self._sink = ObjectSink(self.program, alerts=True, mails=False, flows=False)
        self._sink.instant = True
        self._watcher = Watcher(self.program, self._sink, self.ports, units, secrets)
        self.step = self._watcher.push  # (ns, packet) -> watcher.FIRED, UNREAD, OPEN; `fired` has the alerts
        self.standing = self._watcher.standing

    def push(self, ns: int, packet: bytes) -> tuple[Alert, ...]:
        """Look at one IP packet (v4 or v6, no link header), which came at this time; the alerts that it fires.

        Raises what a rule in Python raised.
        """
        self.step(ns, packet)
        return self.fired()

    def fired(self) -> tuple[Alert, ...]:
        """The alerts since the last call."""
        out = self._sink.out
        if not out:
            return ()
        self._sink.out = []
        return tuple(each for each in out if isinstance(each, Alert))

    def tell(self, also: Sink) -> None:
        """Write the records to another sink, too, alerts at once; it must be of `program`."""
        self._sink.tell(also)

    def finish(self) -> None:
        """Nothing more comes: what is open ends."""
        self._watcher.finish()

    @property
    def counts(self) -> dict[str, int]:
        """How often each rule fired."""
        return self._sink.alert_counts()

    @property
    def packets(self) -> int:
        """How many packets were pushed."""
        return self._watcher.packets

    @property
    def octets(self) -> int:
        """Their octets."""
        return self._watcher.octets

    @property
    def mails(self) -> int:
        """How many mails are over."""
        return self._sink.mails

    @property
    def connections(self) -> int:
        """How many SMTP connections are over."""
        return self._watcher.connections

    def __repr__(self) -> str:
        return f"<Watch {self.inspector!r}, {self.packets} packets>"

    def __getstate__(self) -> Any:
        raise TypeError("a Watch cannot be pickled")
