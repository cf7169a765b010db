"""The state of both ends of a captured connection, so that modelled ends can go on where the capture stops to tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from smtpinspect.enforce.craft import ACK, FIN, RST, SYN, Segment, parse
from smtpinspect.simulate.clock import MILLISECOND
from smtpinspect.simulate.sockets import State
from smtpinspect.simulate.stack import Options, Stack, read_options
from smtpinspect.simulate.tcp import Flow, unwrap

Side = Literal["client", "server"]
SIDES: Final[tuple[Side, Side]] = ("client", "server")
AHEAD: Final = 4_096  # segments out of order that an end keeps
UNKNOWN_SCALE: Final = 7  # of windows whose SYN is not in the capture: Linux's own since 2.6.17
DEFAULT: Final = Stack()


def other(side: Side) -> Side:
    """The side that this one talks to."""
    return "server" if side == "client" else "client"


class Path(NamedTuple):
    """One-way delays in nanoseconds: client to box, box to server."""

    client: int
    server: int

    @property
    def round_trip(self) -> int:
        return 2 * (self.client + self.server)


class End:
    """One end, by what it sent and what reached it. Sequence numbers are unwrapped, in the numbers that it uses."""

    def __init__(self) -> None:
        self.first: int | None = None  # of its stream's offset 0
        self.peer_first: int | None = None  # of its peer's
        self.una = 0
        self.nxt = 0
        self.rcv = 0
        self.acked = 0  # the last acknowledgment that it sent
        self.unacknowledged: deque[tuple[int, bytes, int]] = deque()
        self.largest = 0  # payload that it sent
        self.most = 0  # segments in flight
        self.done = 0  # segments that were acknowledged
        self.window = 0  # it has offered, not scaled
        self.peer_window = 0  # it has heard of, not scaled
        self.clock: tuple[int, int] | None = None
        self.recent = 0
        self.syn: Options | None = None
        self.fin_sent = self.fin_read = False
        self.gone = False  # it has sent or got an RST
        self.last_sent = 0  # when it sent octets, ns
        self.last_got = 0  # when octets reached it, ns
        self._ahead: dict[int, tuple[bytes, bool]] = {}

    @property
    def sent_octets(self) -> int:
        """Its stream offset behind the last octet that it sent."""
        return self.nxt - self.first - self.fin_sent if self.first is not None else 0

    @property
    def got_octets(self) -> int:
        """Its peer's stream offset behind the last octet that reached it in order."""
        return self.rcv - self.peer_first - self.fin_read if self.peer_first is not None else 0

    @property
    def state(self) -> State:
        """By the FINs that it sent and got."""
        if not self.fin_sent:
            return "close-wait" if self.fin_read else "established"
        if self.una >= self.nxt:
            return "fin-wait-2"
        return "last-ack" if self.fin_read else "fin-wait-1"

    def sends(self, ns: int, segment: Segment) -> None:
        options = read_options(segment.options)
        if self.first is None:
            self.first = segment.seq + bool(segment.flags & SYN)
            self.una = self.nxt = self.first
        seq = unwrap(segment.seq, self.nxt)
        if segment.flags & SYN:
            self.syn = options
            return
        if segment.flags & RST:
            self.gone = True
        self.window = segment.window
        if segment.flags & ACK:
            self.acked = unwrap(segment.ack, self.acked or segment.ack)
            if self.peer_first is None:
                self.peer_first = self.rcv = segment.ack
            self.rcv = max(self.rcv, unwrap(segment.ack, self.rcv))
        if options.timestamp:
            self.clock = (ns, options.timestamp[0])
        payload, fin = segment.payload, bool(segment.flags & FIN)
        self.largest = max(self.largest, len(payload))
        end = seq + len(payload) + fin
        if end > self.nxt:
            if payload:
                fresh = payload[max(0, self.nxt - seq) :]
                self.unacknowledged.append((max(seq, self.nxt), fresh, ns))
                self.most = max(self.most, len(self.unacknowledged))
            self.nxt = end
            self.fin_sent = self.fin_sent or fin
        if payload:
            self.last_sent = ns

    def gets(self, ns: int, segment: Segment) -> None:
        options = read_options(segment.options)
        if segment.flags & RST:
            self.gone = True
            return
        if segment.flags & SYN:
            if self.peer_first is None:
                self.peer_first = self.rcv = segment.seq + 1
            self.peer_window = segment.window
            return
        if self.peer_first is None:
            self.peer_first = self.rcv = segment.seq
        self.peer_window = segment.window
        if options.timestamp:
            self.recent = options.timestamp[0]
        if segment.flags & ACK and self.first is not None:
            self._acknowledged(unwrap(segment.ack, self.una))
        if segment.payload or segment.flags & FIN:
            self.last_got = ns
            self._accept(unwrap(segment.seq, self.rcv), segment.payload, bool(segment.flags & FIN))

    def lacks(self, seq: int) -> None:
        """Nothing from this sequence number of its peer on has reached it."""
        first = unwrap(seq, self.rcv)
        self.rcv, self.acked = min(self.rcv, first), min(self.acked, first)

    def _acknowledged(self, ack: int) -> None:
        if not self.una < ack <= self.nxt:
            return
        self.una = ack
        waiting = self.unacknowledged
        while waiting and waiting[0][0] + len(waiting[0][1]) <= ack:
            waiting.popleft()
            self.done += 1
        if waiting and waiting[0][0] < ack:
            seq, octets, ns = waiting[0]
            waiting[0] = (ack, octets[ack - seq :], ns)

    def _accept(self, seq: int, payload: bytes, fin: bool) -> None:
        if seq > self.rcv:
            if len(self._ahead) < AHEAD:
                self._ahead[seq] = (payload, fin)
            return
        end = seq + len(payload) + fin
        if end > self.rcv:
            self.rcv = end
            self.fin_read = self.fin_read or fin
        for at in sorted(self._ahead):
            if at > self.rcv:
                break
            self._accept(at, *self._ahead.pop(at))


class Ends:
    """Both ends, and the path between them, from the packets at the box."""

    def __init__(self) -> None:
        self.of: dict[Side, End] = {"client": End(), "server": End()}
        self._syn_ns = self._answer_ns = 0
        self._path: Path | None = None

    def sent(self, side: Side, ns: int, ip: bytes) -> Segment | None:
        """A packet from this side has come to the box."""
        segment = parse(ip)
        if segment is None:
            return None
        self._time(side, ns, segment)
        self.of[side].sends(ns, segment)
        return segment

    def arrived(self, side: Side, ns: int, ip: bytes) -> None:
        """A packet has left the box for this side."""
        segment = parse(ip)
        if segment is not None:
            self.of[side].gets(ns, segment)

    def _time(self, side: Side, ns: int, segment: Segment) -> None:
        if self._path is not None:
            return
        if segment.flags & SYN and side == "client":
            self._syn_ns = ns
        elif segment.flags & SYN:
            self._answer_ns = ns
        elif side == "client" and self._syn_ns and self._answer_ns:
            near, far = max(ns - self._answer_ns, 0), max(self._answer_ns - self._syn_ns, 0)
            self._path = Path(near // 2, far // 2)

    @property
    def path(self) -> Path:
        """By the handshake; half a millisecond in all where there is none."""
        return self._path or Path(MILLISECOND // 8, MILLISECOND // 8)

    @property
    def handshake(self) -> bool:
        return self.of["client"].syn is not None and self.of["server"].syn is not None

    def stack(self, side: Side) -> Stack:
        """The settings of this side's TCP as far as the capture shows them."""
        mine, peer = self.of[side], self.of[other(side)]
        if mine.syn is None:
            return DEFAULT._replace(timestamps=mine.clock is not None, sack=False)
        stamps = mine.syn.timestamp is not None and (peer.syn is None or peer.syn.timestamp is not None)
        return DEFAULT._replace(
            mss=mine.syn.mss or 536, timestamps=stamps, sack=mine.syn.sack_permitted, scale=max(mine.syn.scale, 0)
        )

    def flow(self, side: Side) -> Flow:
        """What a modelled end is to go on with."""
        mine, peer = self.of[side], self.of[other(side)]
        stamps = mine.clock if self._both(lambda syn: syn.timestamp is not None, mine.clock is not None) else None
        scaled = self._both(lambda syn: syn.scale >= 0, True)
        mss = min((each.syn.mss or 536 for each in (mine, peer) if each.syn), default=mine.largest or 1_460)
        scales = [max(each.syn.scale, 0) if each.syn else UNKNOWN_SCALE for each in (mine, peer)]
        own_scale, peer_scale = scales if scaled else (0, 0)
        return Flow(
            una=mine.una,
            receive_next=mine.rcv,
            unacknowledged=tuple(mine.unacknowledged),
            mss=max(mss - (12 if stamps else 0), 1),
            srtt=max(self.path.round_trip, MILLISECOND),  # time-outs are whole jiffies
            window=max(mine.peer_window << peer_scale, 1),
            peer_scale=peer_scale,
            own_scale=own_scale,
            sack=self._both(lambda syn: syn.sack_permitted, False),
            clock=stamps,
            recent=mine.recent,
            # slow start: as much again as was acknowledged, up to twice of what was ever in flight (tcp_cong.c)
            cwnd=max(DEFAULT.first_window, min(DEFAULT.first_window + mine.done, 2 * mine.most)),
            state=mine.state,
            eof=mine.fin_read,
            owed=mine.rcv > mine.acked > 0 and not mine.gone,
        )

    def _both(self, asks: object, unknown: bool) -> bool:
        """Have both SYNs agreed on it? `unknown` where one is not in the capture."""
        syns: Iterable[Options | None] = (each.syn for each in self.of.values())
        return all(unknown if syn is None else asks(syn) for syn in syns)  # type: ignore[operator]
