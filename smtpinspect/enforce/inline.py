"""The firewall for real: packets from the kernel's NFQUEUE, their fate back to it. Linux, root; for the bench."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from smtpinspect.enforce.firewall import PASSED, Fate
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    from netfilterqueue import NetfilterQueue, Packet

Fail = Literal["open", "closed"]
MARK: Final = 0x534D5450  # of what the box sends itself, so that it does not come into the queue
QUEUE: Final = 8_192  # packets that the kernel keeps while the program is busy
COPIED: Final = 4_016  # octets of a packet that the binding is given; longer ones are not seen whole
SOCKET: Final = 8 << 20  # octets of the netlink socket
TURN: Final = 0.2  # seconds at most until a signal, or the status line, is looked at
TABLE: Final = "smtpinspect"

# linux/netfilter/nfnetlink_queue.h
_CONFIG: Final = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
_CFG_MASK, _CFG_FLAGS = 4, 5
_FAIL_OPEN: Final = 1
_REQUEST: Final = 1  # NLM_F_REQUEST

LACKING: Final = (
    "inline needs the Python package NetfilterQueue, which is built from source. On Debian and Ubuntu: apt-get install "
    "build-essential python3-dev libnetfilter-queue-dev libnfnetlink-dev, then"
)


class Box(Protocol):
    """A `firewall.Firewall`, or what has the same face."""

    def take(self, ns: int, ip: bytes) -> Fate: ...


def rules(queue: int, ports: Sequence[int], fail: Fail, chains: Sequence[str] = ("FORWARD",), mark: int = MARK) -> str:
    """The commands that send packets of these server ports into the queue, and those that end it: iptables and nft."""
    listed = ",".join(str(port) for port in ports)
    bypass = " --queue-bypass" if fail == "open" else ""
    spoken = " bypass" if fail == "open" else ""
    up, down = [], []
    for program in ("iptables", "ip6tables"):
        for chain in chains:
            for way in ("dports", "sports"):
                rule = (
                    f"{chain} -p tcp -m multiport --{way} {listed} -m mark ! --mark {mark:#x}"
                    f" -j NFQUEUE --queue-num {queue}{bypass}"
                )
                up.append(f"{program} -t mangle -A {rule}")
                down.append(f"{program} -t mangle -D {rule}")
    nft = [f"nft add table inet {TABLE}"]
    for chain in chains:
        name = chain.lower()
        nft.append(f"nft 'add chain inet {TABLE} {name} {{ type filter hook {name} priority mangle; policy accept; }}'")
        nft += [
            f"nft 'add rule inet {TABLE} {name} meta mark != {mark:#x} tcp {way} {{ {listed} }}"
            f" queue num {queue}{spoken}'"
            for way in ("dport", "sport")
        ]
    return "\n".join(
        [
            "# with iptables, to begin:", *up, "# and to end:", *down,
            "# or with nft, to begin:", *nft, "# and to end:", f"nft delete table inet {TABLE}",
        ]
    )  # fmt: skip


class Counts:
    """What was done, in packets."""

    __slots__ = ("dropped", "edited", "errors", "held", "injected", "passed", "released", "seen", "unsent")

    def __init__(self) -> None:
        self.seen = self.passed = self.edited = self.dropped = self.held = 0
        self.injected = self.released = self.unsent = self.errors = 0


class Inline:
    """A box at an NFQUEUE.

    `fail` tells what happens where it cannot decide: open lets packets pass as they are (an error in a rule, the
    kernel's queue full), closed drops them. `told` gets each fate that is not a plain pass. Raises UsageError where
    the binding, the permission or the queue is missing.
    """

    def __init__(
        self,
        box: Box,
        queue: int,
        *,
        fail: Fail = "open",
        length: int = QUEUE,
        mark: int = MARK,
        told: Callable[[Fate], object] | None = None,
    ) -> None:
        try:
            from netfilterqueue import NetfilterQueue
        except ImportError as error:
            raise UsageError(f"{LACKING}: {sys.executable} -m pip install NetfilterQueue ({error})") from None
        self.box = box
        self.queue = queue
        self.fail: Final = fail
        self.counts = Counts()
        self.error: BaseException | None = None  # the first that happened
        self._told = told
        self._stopped = False
        self._lost = 0
        self._fatal: BaseException | None = None
        self._sockets = _Sockets(mark)
        try:
            self._netfilter: NetfilterQueue = NetfilterQueue()
            self._netfilter.bind(queue, self._one(), max_len=length, sock_len=SOCKET)
        except OSError as error:
            self._sockets.close()
            raise UsageError(
                f"queue {queue} cannot be had: {error}. It needs root (CAP_NET_ADMIN), and one program for each queue"
            ) from None
        self.fails_open = fail == "open" and _fail_open(self._netfilter.get_fd(), queue)

    def run(self, tick: Callable[[Inline], object] | None = None) -> None:
        """Until `stop`; `tick` is called between packets, some times a second. Raises what `told` raised."""
        fd = self._netfilter.get_fd()
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        until = time.monotonic() + TURN
        while not self._stopped:
            if waiting.poll(TURN * 1000):
                self._netfilter.run(block=False)
            if self._fatal is not None:
                raise self._fatal
            now = time.monotonic()
            if tick and now >= until:
                tick(self)
                until = now + TURN

    def stop(self) -> None:
        """End `run` soon; may be called from a signal's handler."""
        self._stopped = True

    def close(self) -> None:
        """Leave the queue: the kernel then does with packets as the rules say."""
        self._lost = self.lost
        with suppress(Exception):
            self._netfilter.unbind()
        self._sockets.close()

    @property
    def lost(self) -> int:
        """Packets that the kernel could not put into the queue, since it was full."""
        with suppress(OSError, ValueError, IndexError), open("/proc/net/netfilter/nfnetlink_queue") as table:
            for line in table:
                fields = [int(word) for word in line.split()]
                if fields[0] == self.queue:
                    return fields[5] + fields[6]
        return self._lost

    def _one(self) -> Callable[[Packet], None]:
        """What is done with each packet. (A closure: what nearly all packets need is then one dictionary nearer.)"""
        take, counts, now, rest = self.box.take, self.counts, time.time_ns, self._rest

        def one(packet: Packet) -> None:
            octets = packet.get_payload()
            counts.seen += 1
            try:
                fate = take(now(), octets)
            except Exception as error:
                rest(packet, octets, None, error)
                return
            if fate is PASSED:
                packet.accept()
            else:
                rest(packet, octets, fate, None)

        return one

    def _rest(self, packet: Packet, octets: bytes, fate: Fate | None, error: Exception | None) -> None:
        counts = self.counts
        if fate is None:
            counts.errors += 1
            self.error = self.error or error
            if self.fail == "open":
                packet.accept()
            else:
                counts.dropped += 1
                packet.drop()
            return
        for _, done in fate.released:
            counts.released += 1
            if done.octets:
                self._send(done.octets)
        if fate.kind == "pass":
            packet.accept()
        elif fate.kind == "edit" and fate.octets is not None:
            counts.edited += 1
            packet.set_payload(fate.octets)
            packet.accept()
        else:
            counts.held += fate.kind == "hold"
            counts.dropped += fate.kind == "drop"
            packet.drop()
        for _, made in fate.injected:
            counts.injected += 1
            self._send(made)
        if self._told is not None:
            try:
                self._told(fate)
            except BaseException as failure:
                # (the binding's loop must not lose it)
                self._fatal, self._stopped = failure, True

    def _send(self, octets: bytes) -> None:
        try:
            self._sockets.send(octets)
        except OSError as error:
            self.counts.unsent += 1
            self.error = self.error or error


class _Sockets:
    """Where the box's own packets leave, marked."""

    def __init__(self, mark: int) -> None:
        self._mark = mark
        self._open: dict[int, socket.socket] = {}

    def send(self, octets: bytes) -> None:
        version = octets[0] >> 4
        made = self._open.get(version)
        if made is None:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._mark)
            self._open[version] = made
        if version == 4:
            made.sendto(octets, (socket.inet_ntop(socket.AF_INET, octets[16:20]), 0))
        else:
            made.sendto(octets, (socket.inet_ntop(socket.AF_INET6, octets[24:40]), 0))

    def close(self) -> None:
        for each in self._open.values():
            each.close()
        self._open.clear()


def _fail_open(fd: int, queue: int) -> bool:
    """Ask the kernel to let packets pass that find the queue full (NFQA_CFG_F_FAIL_OPEN); False: it does not."""
    flag = _FAIL_OPEN.to_bytes(4, "big")
    attributes = b"".join(struct.pack("=HH", 8, kind) + flag for kind in (_CFG_MASK, _CFG_FLAGS))
    family = struct.pack("!BBH", socket.AF_UNSPEC, 0, queue)
    head = struct.pack("=IHHII", 16 + len(family) + len(attributes), _CONFIG, _REQUEST, 0, 0)
    try:
        with socket.socket(fileno=os.dup(fd)) as netlink:
            netlink.send(head + family + attributes)
    except OSError:
        return False
    return True


def described(inline: Inline) -> dict[str, Any]:
    """The counters by name."""
    counts = inline.counts
    passed = counts.seen - counts.edited - counts.dropped - counts.held
    return {
        "packets": counts.seen, "passed": passed, "edited": counts.edited, "dropped": counts.dropped,
        "held": counts.held, "released": counts.released, "injected": counts.injected, "unsent": counts.unsent,
        "errors": counts.errors, "queue_full": inline.lost,
    }  # fmt: skip
