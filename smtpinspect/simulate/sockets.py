"""Between a program and its socket: states, errors and events, and the state of a captured flow."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from smtpinspect.simulate.clock import MILLISECOND

State = Literal[
    "closed", "listen", "syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2", "close-wait",
    "closing", "last-ack", "time-wait",
]  # fmt: skip
# refused: ECONNREFUSED; reset: ECONNRESET, or EPIPE of a write; timeout: ETIMEDOUT of the kernel.
Error = Literal["refused", "reset", "timeout"]
# What `observe` is told of, with a sequence number and octets. syn: a SYN again (its number, not octets); probe: tail
# loss probe; again: retransmission; given-up: by time-outs.
Event = Literal["syn", "probe", "again", "given-up", "reset", "fin"]


class Program(Protocol):
    """Whoever owns the socket. Called from within the stack; may call back into it."""

    def connected(self) -> None: ...
    def readable(self) -> None: ...
    def writable(self) -> None: ...
    def failed(self, error: Error) -> None: ...


class Flow(NamedTuple):
    """The state of one end in the middle of a captured connection; sequence numbers as on the wire.

    `unacknowledged`: (sequence number, octets, when sent) in order, from `una` on. `clock`: (time, its timestamp
    value then), None without timestamps. `window` is the peer's, in octets.
    """

    una: int
    receive_next: int
    unacknowledged: tuple[tuple[int, bytes, int], ...] = ()
    mss: int = 1448
    srtt: int = MILLISECOND
    window: int = 65_160
    peer_scale: int = 0
    own_scale: int = 0
    sack: bool = True
    clock: tuple[int, int] | None = None
    recent: int = 0  # the peer's last timestamp value
    cwnd: int = 10
    owed: bool = False  # the last octets that came are not acknowledged yet
    state: State = "established"
    eof: bool = False  # the peer's FIN has come
