"""One end of a TCP connection, as Linux does it: handshake, segments, time-outs, and what its program is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from smtpinspect.enforce.craft import Segment, parse
from smtpinspect.simulate.clock import SECOND, Clock, Timer
from smtpinspect.simulate.outgoing import Outgoing, Sent
from smtpinspect.simulate.pace import Pace
from smtpinspect.simulate.packets import ACK, FIN, PSH, RST, SYN, Packets, unwrap
from smtpinspect.simulate.sockets import Error, Event, Flow, Program, State
from smtpinspect.simulate.stack import LINUX, Options, Stack, read_options

SENDS: Final = frozenset({"established", "close-wait", "fin-wait-1", "closing", "last-ack"})
AFTER_FIN: Final[dict[State, State]] = {
    "established": "close-wait",
    "fin-wait-1": "closing",
    "fin-wait-2": "time-wait",
}
AHEAD: Final = 4_096  # segments that are kept out of order
QUICK: Final = 16  # segments that are acknowledged at once when a connection begins

__all__ = ["Endpoint", "Error", "Event", "Flow", "Program", "State", "unwrap"]


class Endpoint:
    """One end: `local` and `peer` are (address, port); `send` takes whole IP packets."""

    def __init__(
        self,
        clock: Clock,
        local: tuple[str, int],
        peer: tuple[str, int],
        send: Callable[[bytes], object],
        stack: Stack = LINUX,
        isn: int = 1_000_000,
        observe: Callable[[Event, int, int], object] | None = None,
    ) -> None:
        self.clock = clock
        self.stack = stack
        self.program: Program | None = None
        self.observe = observe
        self.state: State = "closed"
        self.error: Error | None = None
        self.eof = False  # the peer's FIN was read
        self.inbox = bytearray()
        self.isn = isn
        self.nodelay = False
        self.fast_open = False  # connect() did not wait
        self.out = Outgoing(stack, isn + 1)
        self.pace = Pace(stack)
        self.packets = Packets(clock, local, peer, send, stack)
        self._rcv = 0  # next octet of the peer, unwrapped
        self._ahead: list[tuple[int, bytes, bool]] = []  # what arrived out of order
        self._window = 0  # the peer's
        self._grown = stack.receive_window
        self._small_end = 0  # behind the last small segment (Minshall's variant of Nagle's rule)
        self._timer: Timer | None = None
        self._ack_timer: Timer | None = None
        self._unacked = 0  # segments received since the last acknowledgment
        self._quick = QUICK
        self._heard = -stack.delayed_ack  # when octets came last
        self._closed = False  # by the program
        self._waiting = False  # the program wants room
        self._tries = self._syn_at = 0

    # ---- what a program calls

    def connect(self, fast_open: bool = False) -> None:
        """Send a SYN; `connected` or `failed` follow. With TCP Fast Open connect() has returned already."""
        self.fast_open = fast_open
        self.state = "syn-sent"
        self._syn()

    def listen(self) -> None:
        self.state = "listen"

    def write(self, octets: bytes) -> int:
        """Octets taken; fewer than given when the send buffer is full, then `writable` follows."""
        if self.error or self._closed or self.state not in ("established", "close-wait", "syn-sent", "syn-received"):
            return 0
        taken = self.out.write(octets)
        self._waiting = taken < len(octets)
        if self.state not in ("syn-sent", "syn-received"):
            self._transmit()
        return taken

    def want_room(self) -> None:
        """`writable` is to follow, as poll() tells it."""
        self._waiting = True

    def read(self) -> bytes:
        """All that has arrived."""
        octets = bytes(self.inbox)
        self.inbox.clear()
        return octets

    def close(self) -> None:
        """A FIN behind what was written; the kernel goes on alone. Unread octets: an RST (RFC 2525 2.17)."""
        if self._closed:
            return
        self._closed = True
        self.program = None
        if self.state in ("closed", "listen", "syn-sent"):
            self._end()
        elif self.inbox:
            self.abort()
        elif self.state == "fin-wait-2":
            self._timer = self.clock.after(self.stack.fin_timeout, self._end)
        else:
            self.shutdown()

    def shutdown(self) -> None:
        """A FIN behind what was written; reading goes on."""
        if self.out.fin or self.state not in ("established", "close-wait", "syn-received"):
            return
        self.out.fin = True
        self.state = "last-ack" if self.state == "close-wait" else "fin-wait-1"
        self._transmit()

    def abort(self) -> None:
        """An RST, and nothing more."""
        if self.state not in ("closed", "listen", "syn-sent", "time-wait"):
            self._emit(RST | ACK, self.out.nxt)
        self._end()

    # ---- a connection that had begun elsewhere

    def adopt(self, flow: Flow) -> None:
        """Go on where a capture left this end. What is not acknowledged is in flight since it was sent."""
        self.state, self.eof = flow.state, flow.eof
        self.out = Outgoing(self.stack, flow.una)
        self.out.mss = flow.mss
        self.out.size_buffer(flow.cwnd)
        self._rcv = flow.receive_next
        self._window = flow.window
        packets = self.packets
        packets.peer_scale, packets.own_scale = flow.peer_scale, flow.own_scale
        packets.sack, packets.stamps = flow.sack, flow.clock is not None
        packets.stamp_base = flow.clock or (self.clock.now, 0)
        packets.recent = flow.recent
        self.pace.window = max(flow.cwnd, len(flow.unacknowledged))
        self.pace.sample(flow.srtt)
        for _, octets, ns in flow.unacknowledged:
            self.out.octets += octets
            self.out.add(ns, len(octets), False)
        self.out.fin = flow.state not in ("established", "close-wait")
        if self.out.fin and flow.state != "fin-wait-2":
            self.out.add(self.clock.now, 0, True)
        if self.out.sent:
            self._arm(since=self.out.sent[-1].ns)
        if flow.owed:
            self._ack_timer = self.clock.after(self.stack.delayed_ack, self._acknowledge)

    # ---- packets

    def receive(self, ip: bytes) -> None:
        """A packet has come in."""
        segment = parse(ip)
        if segment is None:
            return
        if self.state in ("closed", "time-wait"):
            if not segment.flags & RST and (self.state == "closed" or segment.payload):
                self.packets.stray(segment)
        elif self.state == "listen":
            self._invited(segment)
        elif self.state == "syn-sent":
            self._answered(segment)
        else:
            self._take(segment)

    def _invited(self, segment: Segment) -> None:
        if segment.flags & (RST | ACK) or not segment.flags & SYN:
            return
        self.packets.peer = (segment.src, segment.sport)
        self.out.mss = self.packets.agree(read_options(segment.options))
        self._rcv = segment.seq + 1
        self.state = "syn-received"
        self._syn()

    def _answered(self, segment: Segment) -> None:
        flags = segment.flags
        if flags & ACK and unwrap(segment.ack, self.isn + 1) != self.isn + 1:
            if not flags & RST:
                self.packets.stray(segment)
        elif flags & RST and flags & ACK:
            self._fail("refused")
        # A FIN or octets before the handshake: nobody looks at them.
        elif flags & (SYN | ACK | RST) == SYN | ACK:
            self.out.mss = self.packets.agree(read_options(segment.options))
            self._rcv = segment.seq + 1
            self._window = segment.window  # never scaled in a SYN
            self._establish()
            self._acknowledge()
            if self.program:
                self.program.connected()
            self._transmit()

    def _establish(self) -> None:
        self.state = "established"
        self._stop()
        if self._tries == 0:
            self.pace.sample(self.clock.now - self._syn_at)
        self.out.size_buffer(self.pace.window)

    def _take(self, segment: Segment) -> None:
        seq = unwrap(segment.seq, self._rcv)
        size = len(segment.payload)
        if segment.flags & RST:
            if seq == self._rcv:
                self._fail("reset")
            elif self._rcv < seq < self._rcv + self._grown:
                self._acknowledge(True)  # a challenge (RFC 5961 3)
            return
        if segment.flags & SYN or seq + size < self._rcv or seq > self._rcv + self._grown:
            if self.state == "syn-received":
                self.packets.syn(self.isn, self._rcv, False)
            else:
                self._acknowledge(True)
            return
        ack = unwrap(segment.ack, self.out.una)
        if not segment.flags & ACK or ack > self.out.nxt:
            self._acknowledge(True)
            return
        options = read_options(segment.options)
        if self.state == "syn-received":
            if ack < self.isn + 1:
                return
            self._window = segment.window << self.packets.peer_scale
            self._establish()
            if self.program:
                self.program.connected()
        if options.timestamp and seq <= self._rcv:
            self.packets.recent = options.timestamp[0]
        self._acked(ack, segment, options)
        if self.state != "closed" and (size or segment.flags & FIN):
            self._data(seq, segment.payload, bool(segment.flags & FIN))

    # ---- what the peer acknowledges

    def _acked(self, ack: int, segment: Segment, options: Options) -> None:
        out = self.out
        news = out.mark([(unwrap(low, out.una), unwrap(high, out.una)) for low, high in options.sack])
        window = segment.window << self.packets.peer_scale
        if ack > out.una:
            self._advance(ack)
        elif ack == out.una and out.sent and not segment.payload and (news or window == self._window):
            out.sent[0].lost = self.pace.duplicate(out.una, out.nxt) or out.sent[0].lost
        self._window = window
        self._transmit()
        if self._waiting and out.writable and self.program and not self._closed:
            self._waiting = False
            self.program.writable()

    def _advance(self, ack: int) -> None:
        out, pace = self.out, self.pace
        if self._waiting:
            out.size_buffer(pace.window)
        done = out.acknowledge(ack)
        if done and done[-1].times == 1:
            pace.sample(self.clock.now - done[-1].ns)
        else:
            pace.forgive()
        if not pace.advanced(ack, len(done)) and out.sent:
            out.sent[0].lost = not out.sent[0].sacked  # a partial acknowledgment (RFC 6582)
        if out.sent:
            self._arm()
        else:
            self._stop()
        if out.fin and ack > out.end:
            self._fin_acknowledged()

    def _fin_acknowledged(self) -> None:
        if self.state == "fin-wait-1":
            self.state = "fin-wait-2"
            if self._closed:
                self._timer = self.clock.after(self.stack.fin_timeout, self._end)
        elif self.state == "closing":
            self.state = "time-wait"
        elif self.state == "last-ack":
            self._end()

    # ---- what the peer sends

    def _data(self, seq: int, payload: bytes, fin: bool) -> None:
        if self._closed and payload and seq + len(payload) > self._rcv:
            self.abort()  # nobody will read it
            return
        if seq > self._rcv:
            if len(self._ahead) < AHEAD:
                self._ahead.append((seq, payload, fin))
            self._acknowledge()
            return
        waited = bool(self._ahead)
        new = self._accept(seq, payload, fin)
        while self._ahead:
            self._ahead.sort()
            if self._ahead[0][0] > self._rcv:
                break
            new = self._accept(*self._ahead.pop(0)) or new
        self._unacked += 1
        self._heard = self.clock.now
        due = self.eof or waited or not new or self._quick > 0 or self._unacked >= 2
        self._quick -= due
        if new and self.program and not self._closed:
            self.program.readable()
        # What the program writes at once carries the acknowledgment.
        if self._unacked and self.state != "closed":
            if due:
                self._acknowledge()
            elif self._ack_timer is None:
                self._ack_timer = self.clock.after(self.stack.delayed_ack, self._acknowledge)

    def _accept(self, seq: int, payload: bytes, fin: bool) -> bool:
        """The next octets; was there something new?"""
        if seq + len(payload) < self._rcv or self.eof:
            return False
        payload = payload[self._rcv - seq :]
        self.inbox += payload
        self._rcv += len(payload)
        self._grown = min(self._grown + 2 * len(payload), self.stack.receive_most)
        if fin:
            self._rcv += 1
            self.eof = True
            self.state = AFTER_FIN.get(self.state, self.state)
            if self.state == "time-wait":
                self._stop()
        return bool(payload) or fin

    # ---- sending

    def _syn(self) -> None:
        asks = self.state == "syn-sent"
        times = self.stack.syn_times if asks else self.stack.synack_times
        if self._tries == 0:
            self._syn_at = self.clock.now
        self.packets.syn(self.isn, None if asks else self._rcv, self.fast_open)
        self._timer = self.clock.at(self._syn_at + times[self._tries] * SECOND, self._syn_again, len(times))

    def _syn_again(self, times: int) -> None:
        self._tries += 1
        if self._tries < times:
            self._tell("syn", 0, self._tries)
            self._syn()
        else:
            self._tell("given-up", 0, self._tries)
            self._fail("timeout")

    def _transmit(self) -> None:
        """Send what windows and rules allow: what is lost first, then what is new."""
        out = self.out
        if self.state not in SENDS:
            return
        flying = len(out.sent)
        if self.pace.recover > out.una:
            flying = out.in_flight
            for segment in out.sent:
                if flying >= self.pace.window:
                    break
                if segment.lost:
                    self._resend(segment)
                    flying += 1
        sent = False
        while flying < self.pace.window and self._next_segment():
            flying += 1
            sent = True
        if sent:
            self._arm()
        elif not out.sent and out.unsent and self._timer is None:
            self._timer = self.clock.after(self.pace.rto, self._window_probe)

    def _next_segment(self) -> bool:
        """Send something new; False when there is nothing, or it has to wait."""
        out = self.out
        unsent = out.unsent
        size = min(out.mss, unsent)
        if not unsent and not (out.fin and out.nxt <= out.end):
            return False
        if unsent and out.nxt + size > out.una + self._window:
            return False
        small = size < out.mss
        if small and not out.fin and not self.nodelay and self._small_end > out.una:
            return False  # Nagle's rule, of small segments only
        segment = out.add(self.clock.now, size, out.fin and size == unsent)
        if small:
            self._small_end = segment.end
        self._send(segment)
        if segment.fin:
            self._tell("fin", segment.seq, size)
        return True

    def _send(self, segment: Sent) -> None:
        last = segment.end >= self.out.nxt and not self.out.unsent
        flags = ACK | (PSH if last and segment.size else 0) | (FIN if segment.fin else 0)
        self._emit(flags, segment.seq, segment.size)

    def _resend(self, segment: Sent) -> None:
        segment.times += 1
        segment.lost = False
        segment.ns = self.clock.now
        self._send(segment)
        if self.pace.first_again < 0:
            self.pace.first_again = self.clock.now
        self._tell("again", segment.seq, segment.size)

    def _window_probe(self) -> None:
        """The peer's window is closed: ask whether it still is (RFC 9293 3.8.6.1)."""
        self._timer = None
        if self.state in SENDS and self.out.unsent and not self.out.sent:
            self._emit(ACK, self.out.una - 1)
            self.pace.back_off()
            self._timer = self.clock.after(self.pace.rto, self._window_probe)

    def _arm(self, since: int | None = None) -> None:
        self._stop()
        what, wait = self.pace.next(len(self.out.sent), self.out.una, self.packets.sack)
        due = (self.clock.now if since is None else since) + wait
        self._timer = self.clock.at(due, self._probe if what == "probe" else self._timeout)

    def _probe(self) -> None:
        """Something new, if there is, else the last segment once more: its acknowledgment tells what is missing."""
        out = self.out
        self._timer = None
        if not out.sent:
            return
        if not (out.unsent and self._next_segment()):
            out.sent[-1].times += 1
            self._send(out.sent[-1])
        self.pace.probe_end = out.nxt
        self._tell("probe", out.sent[-1].seq, out.sent[-1].size)
        self._arm()

    def _timeout(self) -> None:
        out = self.out
        self._timer = None
        if not out.sent:
            return
        if self.pace.hopeless(self.clock.now, self._closed):
            self._tell("given-up", out.una, self.pace.backoffs)
            self._fail("timeout")
            return
        self.pace.expired(out.nxt)
        out.lose()
        self._resend(out.sent[0])
        self._arm()

    def _acknowledge(self, objecting: bool = False) -> None:
        if self.state != "closed" and not (objecting and self.packets.too_soon()):
            self._emit(ACK, self.out.nxt)

    def _emit(self, flags: int, seq: int, size: int = 0) -> None:
        self._no_ack()
        self._unacked = 0
        if size and self.clock.now - self._heard < self.stack.delayed_ack:
            self._quick = 0  # a dialogue: acknowledgments ride on answers (pingpong mode)
        blocks: list[tuple[int, int]] = []
        for low, payload, fin in sorted(self._ahead):
            high = low + len(payload) + fin
            if blocks and low <= blocks[-1][1]:
                blocks[-1] = (blocks[-1][0], max(high, blocks[-1][1]))
            else:
                blocks.append((low, high))
        self.packets.segment(flags, seq, self._rcv, self.out.cut(seq, size) if size else b"", self._grown, blocks)

    # ---- ends

    def _fail(self, error: Error) -> None:
        self.error = error
        if error == "reset":
            self._tell("reset", 0, 0)
        program = None if self._closed else self.program
        self._end()
        if program:
            program.failed(error)

    def _end(self) -> None:
        self._stop()
        self._no_ack()
        self.state = "closed"
        self.out.clear()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _no_ack(self) -> None:
        if self._ack_timer:
            self._ack_timer.cancel()
            self._ack_timer = None

    def _tell(self, event: Event, seq: int, n: int) -> None:
        if self.observe:
            self.observe(event, seq, n)
