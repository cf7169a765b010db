"""One end of a TCP connection, as Linux does it: handshake, segments, time-outs, and what its program is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

from smtpinspect.enforce.craft import Segment, build, parse
from smtpinspect.simulate.clock import MILLISECOND, SECOND, Clock, Timer
from smtpinspect.simulate.outgoing import Outgoing, Sent
from smtpinspect.simulate.stack import Options, Stack, data_options, read_options, syn_options

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
WRAP: Final = 0xFFFFFFFF

State = Literal[
    "closed", "listen", "syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2", "close-wait",
    "closing", "last-ack", "time-wait",
]  # fmt: skip
# refused: ECONNREFUSED; reset: ECONNRESET, or EPIPE of a write; timeout: ETIMEDOUT of the kernel.
Error = Literal["refused", "reset", "timeout"]
# What `observe` is told of. syn: sent again; probe: tail loss probe; again: retransmission; given-up: by time-outs.
Event = Literal["syn", "probe", "again", "given-up", "reset", "fin"]
SENDS: Final = frozenset({"established", "close-wait", "fin-wait-1", "closing", "last-ack"})


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


def unwrap(number: int, near: int) -> int:
    """The 32-bit sequence number as the one that is nearest to this."""
    return near + ((number - near + 0x80000000) & WRAP) - 0x80000000


class Endpoint:
    """One end: `local` and `peer` are (address, port); `send` takes whole IP packets."""

    def __init__(
        self,
        clock: Clock,
        local: tuple[str, int],
        peer: tuple[str, int],
        send: Callable[[bytes], object],
        stack: Stack = Stack(),
        isn: int = 1_000_000,
        observe: Callable[[Event, int, int], object] | None = None,
    ) -> None:
        self.clock = clock
        self.local = local
        self.peer = peer
        self.stack = stack
        self.program: Program | None = None
        self.state: State = "closed"
        self.error: Error | None = None
        self.eof = False  # the peer's FIN was read
        self.inbox = bytearray()
        self.out = Outgoing(stack, isn + 1)
        self.isn = isn
        self.nodelay = False
        self.fast_open = False  # connect() did not wait
        self.backoffs = 0  # time-outs in a row
        self._send = send
        self.observe: Callable[[Event, int, int], object] | None = observe
        self._ip_id = 1
        self._rcv = 0  # next octet of the peer, unwrapped
        self._ahead: list[tuple[int, bytes, bool]] = []  # what arrived out of order
        self._window = 0
        self._peer_scale = self._own_scale = 0
        self._sack = stack.sack
        self._stamps = stack.timestamps
        self._stamp_base = (clock.now, 1_000)
        self._recent = 0
        self._grown = stack.receive_window
        self._srtt = self._var = 0
        self._rto = stack.first_rto
        self._cwnd = stack.first_window
        self._dupacks = 0
        self._recover = 0
        self._probe_end = 0  # a tail loss probe is out until this is acknowledged
        self._first_again = -1  # when the first retransmission was sent
        self._small_end = 0  # behind the last small segment (Minshall's variant of Nagle's rule)
        self._timer: Timer | None = None
        self._ack_timer: Timer | None = None
        self._unacked = 0  # segments received since the last acknowledgment
        self._quick = 16
        self._closed = False  # by the program
        self._waiting = False  # the program wants room
        self._tries = 0

    # ---- what a program calls

    def connect(self, fast_open: bool = False) -> None:
        """Send a SYN; `connected` or `failed` follow. With TCP Fast Open connect() has returned already."""
        self.fast_open = fast_open
        self.state = "syn-sent"
        self._tries = 0
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
        else:
            self._finish()

    def shutdown(self) -> None:
        """A FIN behind what was written; reading goes on."""
        self._finish()

    def abort(self) -> None:
        if self.state not in ("closed", "listen", "syn-sent", "time-wait"):
            self._emit(RST | ACK, self.out.nxt)
        self._end()

    # ---- a connection that had begun elsewhere

    def adopt(self, flow: Flow) -> None:
        """Go on where a capture left this end. What is not acknowledged is in flight since it was sent."""
        self.state = "established"
        self.out = Outgoing(self.stack, flow.una)
        self.out.mss = flow.mss
        self.out.size_buffer(flow.cwnd)
        self._rcv = flow.receive_next
        self._window, self._peer_scale, self._own_scale = flow.window, flow.peer_scale, flow.own_scale
        self._sack, self._stamps = flow.sack, flow.clock is not None
        self._stamp_base = flow.clock or (self.clock.now, 0)
        self._recent = flow.recent
        self._cwnd = max(flow.cwnd, len(flow.unacknowledged))
        self._sample(max(flow.srtt, 1))
        for _, octets, ns in flow.unacknowledged:
            self.out.octets += octets
            self.out.add(ns, len(octets), False)
        if self.out.sent:
            self._arm(since=self.out.sent[-1].ns)

    # ---- packets

    def receive(self, ip: bytes) -> None:
        """A packet has come in."""
        segment = parse(ip)
        if segment is None:
            return
        if self.state in ("closed", "time-wait"):
            self._stray(segment)
        elif self.state == "listen":
            self._invited(segment)
        elif self.state == "syn-sent":
            self._answered(segment)
        else:
            self._take(segment)

    def _stray(self, segment: Segment) -> None:
        if segment.flags & RST or (self.state == "time-wait" and not segment.payload):
            return
        seq = segment.ack if segment.flags & ACK else 0
        end = segment.seq + len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        self._build(RST | (0 if segment.flags & ACK else ACK), seq, 0 if segment.flags & ACK else end, b"", b"", 0)

    def _invited(self, segment: Segment) -> None:
        if segment.flags & (RST | ACK) or not segment.flags & SYN:
            return
        self.peer = (segment.src, segment.sport)
        self._agree(segment)
        self._rcv = segment.seq + 1
        self.state = "syn-received"
        self._tries = 0
        self._syn()

    def _answered(self, segment: Segment) -> None:
        if segment.flags & ACK and unwrap(segment.ack, self.isn + 1) != self.isn + 1:
            if not segment.flags & RST:
                self._build(RST, segment.ack, 0, b"", b"", 0)
            return
        if segment.flags & RST:
            if segment.flags & ACK:
                self._fail("refused")
            return
        if not (segment.flags & SYN and segment.flags & ACK):
            return  # a FIN or data before the handshake: nobody looks at it
        self._agree(segment)
        self._rcv = segment.seq + 1
        self._window = segment.window  # never scaled in a SYN
        self._establish()
        self._acknowledge()
        if self.program:
            self.program.connected()
        self._transmit()

    def _agree(self, segment: Segment) -> None:
        """What both sides offer is used."""
        options = read_options(segment.options)
        self._stamps = self.stack.timestamps and options.timestamp is not None
        self._sack = self.stack.sack and options.sack_permitted
        self._peer_scale = max(options.scale, 0)
        self._own_scale = self.stack.scale if options.scale >= 0 else 0
        self._recent = options.timestamp[0] if options.timestamp else 0
        self.out.mss = min(self.stack.mss, options.mss or 536) - (12 if self._stamps else 0)

    def _establish(self) -> None:
        self.state = "established"
        self._stop()
        if self._tries == 0:
            self._sample(self.clock.now - self._syn_at)
        self.out.size_buffer(self._cwnd)

    def _take(self, segment: Segment) -> None:
        options = read_options(segment.options)
        seq = unwrap(segment.seq, self._rcv)
        size = len(segment.payload)
        if segment.flags & RST:
            if seq == self._rcv:
                self._fail("reset")
            elif self._rcv < seq < self._rcv + self._grown:
                self._acknowledge()  # a challenge (RFC 5961)
            return
        if segment.flags & SYN or seq + size < self._rcv or seq > self._rcv + self._grown:
            if self.state == "syn-received":
                self._syn_packet()
            else:
                self._acknowledge()
            return
        if not segment.flags & ACK:
            return
        ack = unwrap(segment.ack, self.out.una)
        if ack > self.out.nxt:
            self._acknowledge()
            return
        if self.state == "syn-received":
            if ack < self.isn + 1:
                return
            self._window = segment.window << self._peer_scale
            self._establish()
            if self.program:
                self.program.connected()
        if options.timestamp and seq <= self._rcv:
            self._recent = options.timestamp[0]
        self._acked(ack, segment, options)
        if self.state == "closed":
            return
        if size or segment.flags & FIN:
            self._data(seq, segment.payload, bool(segment.flags & FIN))

    # ---- what the peer acknowledges

    def _acked(self, ack: int, segment: Segment, options: Options) -> None:
        out = self.out
        news = out.mark([(unwrap(low, out.una), unwrap(high, out.una)) for low, high in options.sack])
        window = segment.window << self._peer_scale
        if ack > out.una:
            self._advance(ack)
        elif ack == out.una and out.sent and not segment.payload and (news or window == self._window):
            self._dupacks += 1
            if self._dupacks == 3 and out.una >= self._recover:
                self._recover = out.nxt
                self._cwnd = max(self._cwnd // 2, 2)
                out.sent[0].lost = True
        self._window = window
        self._transmit()
        if self._waiting and out.writable and self.program and not self._closed:
            self._waiting = False
            self.program.writable()

    def _advance(self, ack: int) -> None:
        out = self.out
        if self._waiting:
            out.size_buffer(self._cwnd)
        done = out.acknowledge(ack)
        if done and done[-1].times == 1:
            self._sample(self.clock.now - done[-1].ns)
        else:
            self._rto = self._measured()
        self._dupacks = 0
        self.backoffs = 0
        if ack >= self._probe_end:
            self._probe_end = 0
        if ack >= self._recover:
            self._first_again = -1
            if 2 * (len(out.sent) + len(done)) >= self._cwnd:
                self._cwnd += len(done)
        elif out.sent:
            out.sent[0].lost = not out.sent[0].sacked  # a partial acknowledgment (RFC 6582)
            self._cwnd += len(done)
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

    def _measured(self) -> int:
        if not self._srtt:
            return self.stack.first_rto
        return min(self._srtt + max(self.stack.min_rto, 4 * self._var), self.stack.max_rto)

    def _sample(self, took: int) -> None:
        """RFC 6298 2.2 and 2.3."""
        if self._srtt:
            self._var += (abs(self._srtt - took) - self._var) // 4
            self._srtt += (took - self._srtt) // 8
        else:
            self._srtt, self._var = took, took // 2
        self._rto = self._measured()

    # ---- what the peer sends

    def _data(self, seq: int, payload: bytes, fin: bool) -> None:
        if self._closed and payload and seq + len(payload) > self._rcv:
            self._emit(RST | ACK, self.out.nxt)  # nobody will read it
            self._end()
            return
        if seq > self._rcv:
            if len(self._ahead) < 4096:
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
        if self.eof or waited or not new or self._quick > 0 or self._unacked >= 2:
            self._quick -= 1
            due = True
        else:
            due = False
        if new and self.program and not self._closed:
            self.program.readable()
        # What the program writes at once carries the acknowledgment.
        if self._unacked and self.state != "closed":
            if due:
                self._acknowledge()
            elif self._ack_timer is None:
                self._ack_timer = self.clock.after(self.stack.delayed_ack, self._acknowledge)

    def _accept(self, seq: int, payload: bytes, fin: bool) -> bool:
        payload = payload[self._rcv - seq :]
        if seq + len(payload) < self._rcv or self.eof:
            return False
        self.inbox += payload
        self._rcv += len(payload)
        self._grown = min(self._grown + 2 * len(payload), self.stack.receive_most)
        if fin:
            self._rcv += 1
            self.eof = True
            after: dict[State, State] = {
                "established": "close-wait", "fin-wait-1": "closing", "fin-wait-2": "time-wait",
            }  # fmt: skip
            self.state = after.get(self.state, self.state)
            if self.state == "time-wait":
                self._stop()
        return bool(payload) or fin

    # ---- sending

    def _syn(self) -> None:
        times = self.stack.syn_times if self.state == "syn-sent" else self.stack.synack_times
        if self._tries == 0:
            self._syn_at = self.clock.now
        self._syn_packet()
        due = self._syn_at + times[self._tries] * SECOND
        self._timer = self.clock.at(due, self._syn_again)

    def _syn_again(self) -> None:
        times = self.stack.syn_times if self.state == "syn-sent" else self.stack.synack_times
        self._tries += 1
        if self._tries < len(times):
            self._tell("syn", 0, self._tries)
            self._syn()
        else:
            self._tell("given-up", 0, self._tries)
            self._fail("timeout")

    def _syn_packet(self) -> None:
        asks = self.state == "syn-sent"
        stamp = (self._stamp(), self._recent) if self._stamps else None
        stack = self.stack._replace(fast_open=asks and self.fast_open)
        options = syn_options(stack, stamp, asks or self._own_scale > 0, self._sack)
        self._build(SYN if asks else SYN | ACK, self.isn, 0 if asks else self._rcv, b"", options, 64_240)

    def _finish(self) -> None:
        if self.out.fin or self.state not in ("established", "close-wait", "syn-received"):
            return
        self.out.fin = True
        self.state = "last-ack" if self.state == "close-wait" else "fin-wait-1"
        self._transmit()

    def _transmit(self) -> None:
        """Send what windows and rules allow: what is lost first, then what is new."""
        out = self.out
        if self.state not in SENDS:
            return
        flying = out.in_flight if self._recover > out.una else len(out.sent)
        for segment in out.sent if self._recover > out.una else ():
            if flying >= self._cwnd:
                break
            if segment.lost:
                self._resend(segment)
                flying += 1
        sent = False
        while flying < self._cwnd:
            unsent = out.unsent
            fin = out.fin and out.nxt <= out.end
            if not unsent and not fin:
                break
            size = min(out.mss, unsent)
            if unsent and out.nxt + size > out.una + self._window:
                break
            last = size == unsent
            if size < out.mss and not out.fin and not self.nodelay and self._small_end > out.una:
                break  # Nagle's rule, of small segments only
            segment = out.add(self.clock.now, size, fin and last)
            if size < out.mss:
                self._small_end = segment.end
            self._emit(ACK | (PSH if last and size else 0) | (FIN if segment.fin else 0), segment.seq, size)
            if segment.fin:
                self._tell("fin", segment.seq, size)
            flying += 1
            sent = True
        if sent:
            self._arm()
        elif not out.sent and out.unsent and self._timer is None:
            self._timer = self.clock.after(self._rto, self._window_probe)

    def _window_probe(self) -> None:
        """The peer's window is closed: ask whether it still is (RFC 9293 3.8.6.1)."""
        self._timer = None
        if self.state in SENDS and self.out.unsent and not self.out.sent:
            self._emit(ACK, self.out.una - 1)
            self._rto = min(2 * self._rto, self.stack.max_rto)
            self._timer = self.clock.after(self._rto, self._window_probe)

    def _resend(self, segment: Sent) -> None:
        segment.times += 1
        segment.lost = False
        segment.ns = self.clock.now
        last = segment.end >= self.out.nxt
        flags = ACK | (PSH if last and segment.size else 0) | (FIN if segment.fin else 0)
        self._emit(flags, segment.seq, segment.size)
        if self._first_again < 0:
            self._first_again = self.clock.now
        self._tell("again", segment.seq, segment.size)

    def _arm(self, since: int | None = None) -> None:
        """A tail loss probe first (RFC 8985 7.2), when nothing is amiss and SACK is used; else the time-out."""
        self._stop()
        now = self.clock.now if since is None else since
        usual = self._sack and not self.backoffs and not self._probe_end and self.out.una >= self._recover
        if usual and self._srtt:
            wait = 2 * self._srtt + (self.stack.min_rto if len(self.out.sent) == 1 else 2 * MILLISECOND)
            self._timer = self.clock.at(now + min(wait, self._rto), self._probe)
        else:
            self._timer = self.clock.at(now + self._rto, self._timeout)

    def _probe(self) -> None:
        out = self.out
        self._timer = None
        if not out.sent:
            return
        self._probe_end = out.nxt
        size = min(out.mss, out.unsent)
        if size and out.nxt + size <= out.una + self._window:
            segment = out.add(self.clock.now, size, out.fin and size == out.unsent)
            self._emit(ACK | PSH | (FIN if segment.fin else 0), segment.seq, size)
        else:
            segment = out.sent[-1]
            segment.times += 1
            flags = ACK | (PSH if segment.size else 0) | (FIN if segment.fin else 0)
            self._emit(flags, segment.seq, segment.size)
        self._probe_end = out.nxt
        self._tell("probe", segment.seq, segment.size)
        self._timer = self.clock.after(self._rto, self._timeout)

    def _timeout(self) -> None:
        out = self.out
        self._timer = None
        if not out.sent:
            return
        retries = self.stack.orphan_retries if self._closed else self.stack.retries
        if self._first_again >= 0 and self.clock.now - self._first_again >= self.stack.death(retries):
            self._tell("given-up", out.una, self.backoffs)
            self._fail("timeout")
            return
        self.backoffs += 1
        self._recover = out.nxt
        self._cwnd = 1
        out.lose()
        self._resend(out.sent[0])
        self._rto = min(2 * self._rto, self.stack.max_rto)
        self._arm()

    def _acknowledge(self) -> None:
        if self.state != "closed":
            self._emit(ACK, self.out.nxt)

    def _emit(self, flags: int, seq: int, size: int = 0) -> None:
        if self._ack_timer:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._unacked = 0
        blocks: list[tuple[int, int]] = []
        if self._ahead and self._sack:
            for low, payload, fin in sorted(self._ahead):
                high = low + len(payload) + fin
                if blocks and low <= blocks[-1][1]:
                    blocks[-1] = (blocks[-1][0], max(high, blocks[-1][1]))
                else:
                    blocks.append((low, high))
        stamp = (self._stamp(), self._recent) if self._stamps else None
        options = data_options(stamp, blocks) if stamp or blocks else b""
        payload = self.out.cut(seq, size) if size else b""
        self._build(flags, seq, self._rcv, payload, options, min(self._grown >> self._own_scale, 65_535))

    def _build(self, flags: int, seq: int, ack: int, payload: bytes, options: bytes, window: int) -> None:
        (src, sport), (dst, dport) = self.local, self.peer
        seq, ack = seq & WRAP, ack & WRAP
        made = Segment(src, dst, sport, dport, seq, ack, flags, window, options, payload, 64, self._ip_id)
        self._ip_id = self._ip_id % 65_535 + 1
        self._send(build(made))

    def _stamp(self) -> int:
        ns, value = self._stamp_base
        return (value + (self.clock.now - ns) // MILLISECOND) & WRAP

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
        if self._ack_timer:
            self._ack_timer.cancel()
            self._ack_timer = None
        self.state = "closed"
        self.out.clear()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _tell(self, event: Event, seq: int, n: int) -> None:
        if self.observe:
            self.observe(event, seq, n)
