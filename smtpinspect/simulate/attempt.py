"""One attempt to deliver a mail: a client, a box and a server on one clock, until nothing more happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from smtpinspect.enforce.craft import FIN, RST, SYN, Segment, parse
from smtpinspect.mta.base import Ending, Loss, Receiver, Sender
from smtpinspect.simulate.client import Client, Letter
from smtpinspect.simulate.clock import MILLISECOND, SECOND, Clock
from smtpinspect.simulate.result import Happened
from smtpinspect.simulate.server import Server
from smtpinspect.simulate.stack import LINUX, Stack
from smtpinspect.simulate.tcp import Endpoint, Event
from smtpinspect.simulate.wire import Box, Crossing, Tap, Wire

HOST: Final = "mx.example.net"  # the server's own name
PORT: Final = 40_112  # the client's
LONGEST: Final = 3 * 3_600 * SECOND  # longer than any time-out of any MTA
DELAY: Final = MILLISECOND // 4  # each of the two links, one way


class Attempt(NamedTuple):
    """What happened: how it ended for each side, the timeline, and what each side's network card saw."""

    ending: Ending
    loss: Loss | None
    timeline: tuple[Happened, ...]
    client_tap: Tap
    server_tap: Tap
    seconds: float  # until the last packet


class _Log:
    """The timeline as it comes."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start = clock.now
        self.lines: list[Happened] = []
        self.blocked = 0  # packets that the box has dropped

    def say(self, actor: str, event: str) -> None:
        self.lines.append(Happened((self.clock.now - self.start) / SECOND, actor, event))

    def stack(self, actor: str, event: Event, seq: int, n: int) -> None:
        what = f"{n:,} bytes" if n else "its FIN"
        words = {
            "syn": f"kernel sends its SYN again (number {n + 1})",
            "probe": f"kernel sends {what} again (tail loss probe)",
            "again": f"kernel sends {what} again",
            "given-up": "kernel gives up: Connection timed out",
            "reset": "gets an RST",
        }
        if event in words:
            self.say(actor, words[event])

    def crossing(self, crossed: Crossing) -> None:
        fate = crossed.fate
        if fate.kind in ("pass", "edit") and not fate.injected and not fate.alerts:
            return
        segment = parse(crossed.ip)
        if segment is None:
            return
        n = len(segment.payload)
        what = f"{n:,} bytes" if n else "the SYN" if segment.flags & SYN else "a packet without bytes"
        if fate.kind == "drop":
            self.blocked += 1
            if self.blocked == 1:
                self.say("firewall", f"drops {what} of the {crossed.side}, and all that follows")
        for alert in fate.alerts:
            if alert.action in ("rewrite", "answer"):
                self.say("firewall", f"{alert.rule}: {alert.action}")
        for to, ip in fate.injected:
            made = parse(ip)
            if made is not None:
                self.say("firewall", _sent(made, to))


def _sent(made: Segment, to: str) -> str:
    if made.payload:
        text = made.payload.decode("latin-1").strip().encode("unicode_escape").decode("ascii")
        behind = ", with a FIN" if made.flags & FIN else ""
        return f"answers the {to} itself: {text}{behind}"
    word = "an RST" if made.flags & RST else "a FIN" if made.flags & FIN else "an acknowledgment"
    return f"sends {word} to the {to}"


def attempt(
    sender: Sender,
    letter: Letter,
    receiver: Receiver,
    box: Box | None = None,
    *,
    extensions: Iterable[str] | None = None,
    overrides: Mapping[str, str] | None = None,
    timeouts: Mapping[str, float] | None = None,
    stack: Stack = LINUX,
    start: int = 0,
    host: str = HOST,
    port: int = PORT,
    client_kind: Callable[..., Client] = Client,
    server_kind: Callable[..., Server] = Server,
) -> Attempt:
    """Send the letter once. `overrides`: replies by step in place of the receiver's own. `timeouts` by the words of
    `--timeouts`. `start`: the clock then, in ns. `host`: what the server calls itself. `port`: the client's."""
    clock = Clock(start)
    log = _Log(clock)
    wire = Wire(clock, box, DELAY, log.crossing)
    envelope = letter.envelope
    near, far = (envelope.source, port), (envelope.ip, envelope.port)
    ends = {
        "client": Endpoint(clock, near, far, wire.from_client, stack, 1_000_000),
        "server": Endpoint(clock, far, near, wire.from_server, stack, 5_000_000),
    }
    for side, end in ends.items():
        end.observe = lambda event, seq, n, side=side: log.stack(side, event, seq, n)
    wire.attach("client", ends["client"].receive)
    wire.attach("server", ends["server"].receive)

    def ended(ending: Ending) -> None:
        log.say("client", _ended(ending))

    def lost(loss: Loss) -> None:
        words = {"timeout": "times out", "closed": "reads the end of the connection", "reset": "is reset"}
        if loss.cause in words:
            log.say("server", words[loss.cause])

    server = server_kind(
        clock,
        ends["server"],
        receiver,
        envelope._replace(host=host),
        extensions=extensions,
        overrides=overrides,
        started=letter.started,
        tell=lambda event: log.say("server", event),
        done=lost,
    )
    client = client_kind(
        clock, ends["client"], sender, letter, timeouts, tell=lambda event: log.say("client", event), done=ended
    )
    client.start()
    clock.run(until=start + LONGEST)
    assert client.ending is not None, "an attempt ends by a time-out at the latest"
    taps = wire.client_tap.packets, wire.server_tap.packets
    last = max((tap[-1][0] for tap in taps if tap), default=start)
    return Attempt(
        client.ending, server.loss, tuple(log.lines), wire.client_tap, wire.server_tap, (last - start) / SECOND
    )


def _ended(ending: Ending) -> str:
    words = {
        "timeout": "gives up: the kernel's time-out" if ending.kernel else "gives up: its own time-out",
        "closed": "reads the end of the connection",
        "reset": "is told: Connection reset by peer",
        "refused": "is told: Connection refused",
        "unreachable": "is told: No route to host",
        "reply": "takes the reply for a refusal",
        "malformed": "gets what is no reply",
        "lacking": "is told never to go on without it: gives up",
        "sent": "has its mail delivered",
    }
    waited = f" after {ending.seconds:,.1f} s" if ending.seconds >= 1 else ""
    return words[ending.cause] + waited
