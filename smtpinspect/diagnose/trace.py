"""The packets of chosen connections, as one end of a diagnosis wants them: numbers relative, who sent what when."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice, repeat
from typing import Any, Final, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.sources import Source
from smtpinspect._core.views import Flow
from smtpinspect.diagnose.copies import Copies, Look
from smtpinspect.diagnose.notices import LATE_NS, PROTOCOLS, End, Notice, notice, quoted
from smtpinspect.diagnose.taps import ENOUGH, Sides, Tap, Taps, tap
from smtpinspect.enforce.craft import ACK, RST, SYN, parse
from smtpinspect.grammar import limits
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.flow import LONGEST, datagram, ends
from smtpinspect.source import Input, open_source
from smtpinspect.source.again import frames_again

WRAP: Final = 1 << 32
BEHIND_NS: Final = 900 * SECOND  # a reply to the text takes 600 s at most (RFC 5321 4.5.3.2.6)
MSS: Final = 2  # kinds of TCP options
TIMESTAMPS: Final = 8
RAW: Final = 101  # LINKTYPE_RAW: a trace holds whole IP packets


class Packet(NamedTuple):
    """A TCP packet. `number`: its frame in the capture, from 1. `at` and `acks` are stream offsets: of its first octet
    in its sender's stream, and of the octet that it waits for in the other's (0 = ISN + 1; None before that is known).
    `payload` may be shorter than `length` (snap length, or a limit). `window` is scaled where the handshake was seen,
    `field` is that of the header.
    """

    number: int
    ns: int
    by_client: bool
    flags: int
    at: int | None
    acks: int | None
    length: int
    payload: bytes
    window: int
    ttl: int
    ip_id: int | None  # None of IPv6
    options: bytes
    ip: bytes  # the IP packet, as much of it as there is
    field: int = 0

    @property
    def end(self) -> int | None:
        """Stream offset behind its last octet."""
        return None if self.at is None else self.at + self.length


class Trace(NamedTuple):
    """A connection's packets in the order of the capture. `left_out`: those of its middle that are too many to keep.
    `notices`: ICMP errors about them. `copies`: packets that the capture holds once more, as it saw them on several
    interfaces; they are not among these. `taps`: where its packets were seen. `sides`: what the two sides of the
    machine are called on which this was captured, where both were told apart; the packets are those of the first."""

    flow: Flow
    packets: tuple[Packet, ...]
    point: str = ""
    left_out: int = 0
    notices: tuple[Notice, ...] = ()
    copies: int = 0
    taps: Taps | None = None
    sides: tuple[str, ...] = ()

    @property
    def both(self) -> Sides | None:
        """How the two sides of a machine can be told apart where it holds both; of a bridge with no more than frames by
        the order of copies."""
        if self.taps is None:
            return None
        known = self.taps.sides()
        ordered = known is None and self.copies >= 2 * ENOUGH and self.taps.plain
        return Sides(order=True) if ordered else known


class Sign(NamedTuple):
    """Something that was seen: in which packet (1-based, None: in none or in many), at which point of capture."""

    packet: int | None
    text: str
    point: str = ""


class _Row(NamedTuple):
    number: int
    ns: int
    by_client: bool
    flags: int
    seq: int
    ack: int
    length: int
    payload: bytes
    window: int
    ttl: int
    ip_id: int | None
    options: bytes
    ip: bytes


class _Kept:
    """The first and the last rows of a connection."""

    def __init__(self) -> None:
        self.head: list[_Row] = []
        self.tail: deque[_Row] = deque(maxlen=limits.TRACE_TAIL)
        self.notices: list[Notice] = []
        self.copies = Copies()
        self.taps = Taps()
        self.seen = 0
        self.octets = 0

    def take(self, row: _Row, crowded: bool) -> int:
        """Octets that are kept of it. `crowded`: there are too many of all connections to keep more than a few."""
        if self.copies.holds(_look(row), row.ns, row.ttl):
            return 0
        self.seen += 1
        if crowded or self.octets > limits.TRACE_OCTETS:
            row = _shortened(row)
        self.octets += len(row.ip)
        if len(self.head) < (limits.TRACE_FEW if crowded else limits.TRACE_HEAD) and not self.tail:
            self.head.append(row)
        else:
            if crowded and len(self.tail) >= limits.TRACE_FEW:
                self.tail.popleft()
            self.tail.append(row)
        return len(row.ip)

    def trace(self, flow: Flow) -> Trace:
        rows = [*self.head, *self.tail]
        left_out = self.seen - len(rows)
        made = tuple(_packets(rows))
        return Trace(flow, made, "", left_out, tuple(self.notices), self.copies.count, self.taps)


def _shortened(row: _Row) -> _Row:
    excess = len(row.payload) - limits.TRACE_EXCERPT
    if excess <= 0:
        return row
    return row._replace(payload=row.payload[: limits.TRACE_EXCERPT], ip=row.ip[: len(row.ip) - excess])


def traces(source: Input, flows: Iterable[Flow]) -> dict[int, Trace]:
    """The traces of these connections by flow_id, in one pass; a damaged capture just ends.

    Bounded: of the first TRACES connections, of each the first TRACE_HEAD and the last TRACE_TAIL packets, TRACE_FEW
    once there are many, of each packet then TRACE_EXCERPT octets of payload (`grammar/limits`).
    """
    flows = list(islice({flow.flow_id: flow for flow in flows}.values(), limits.TRACES))
    found = {flow.flow_id: _Kept() for flow in flows}
    budget = _Budget()
    for each in _seen(source, flows):
        kept = found[each.flow.flow_id]
        if isinstance(each.what, Notice):
            if len(kept.notices) < limits.TRACE_NOTICES:
                kept.notices.append(each.what)
            continue
        kept.taps.add(each.tap, each.what.by_client, each.what.ttl, each.what.number)
        budget.take(kept, each.what)
    return {flow.flow_id: found.pop(flow.flow_id).trace(flow) for flow in flows}


def parted(source: Input, flows: Mapping[int, tuple[Flow, Sides]]) -> dict[int, tuple[Trace, Trace]]:
    """By flow_id what passed on the client's side of a machine, and on the server's; as bounded as `traces`. A packet
    of which that cannot be told is on both."""
    found = {number: (_Kept(), _Kept()) for number in flows}
    orders = {number: Copies() for number in flows}
    budget = _Budget()
    for each in _seen(source, [flow for flow, _ in flows.values()]):
        if not isinstance(each.what, Notice):
            row = each.what
            sides = flows[each.flow.flow_id][1]
            client = sides.of(each.tap, row.by_client, row.ttl)
            if sides.order:
                client = orders[each.flow.flow_id].holds(_look(row), row.ns, row.ttl) != row.by_client
            for kept, mine in zip(found[each.flow.flow_id], (True, False), strict=True):
                if client is None or client == mine:
                    budget.take(kept, row)
    return {number: (found[number][0].trace(flow), found[number][1].trace(flow)) for number, (flow, _) in flows.items()}


class _Budget:
    """What may still be kept of all connections."""

    def __init__(self) -> None:
        self.octets = self.packets = 0

    def take(self, kept: _Kept, row: _Row) -> None:
        crowded = self.octets >= limits.TRACES_OCTETS or self.packets >= limits.TRACES_PACKETS
        self.octets += kept.take(row, crowded)
        self.packets += 1


class _Seen(NamedTuple):
    """A packet of a connection, or an ICMP error about one, and where it was seen."""

    flow: Flow
    what: _Row | Notice
    tap: Tap


def _seen(source: Input, flows: Iterable[Flow]) -> Iterator[_Seen]:
    """All of these connections, in the order of the capture."""
    wanted: dict[tuple[End, End], list[tuple[Flow, bool]]] = {}
    for flow in flows:
        client, server = ends(flow)
        wanted.setdefault((client, server), []).append((flow, True))
        wanted.setdefault((server, client), []).append((flow, False))
    joiner = Fragments()
    for number, (ns, link, frame, wirelen) in enumerate(frames_again(source), 1):
        fields = joiner.feed(link, frame, ns, wirelen)
        if fields is None:
            continue
        if fields["kind"] != "tcp":
            about = quoted(fields) if fields["proto"] in PROTOCOLS else None
            for flow, by_client in wanted.get(about, ()) if about is not None else ():
                if flow.start_ns <= ns <= flow.end_ns + LATE_NS:
                    yield _Seen(flow, notice(number, ns, fields, by_client), tap(link, frame))
                    break
            continue
        pair = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
        mine = _whose(wanted.get(pair, ()), number, ns, opens=fields["flags"] & (SYN | ACK) == SYN)
        if mine is not None:
            flow, by_client = mine
            yield _Seen(flow, _row(number, ns, by_client, fields, datagram(frame, fields) or b""), tap(link, frame))


def _whose(flows: Sequence[tuple[Flow, bool]], number: int, ns: int, *, opens: bool) -> tuple[Flow, bool] | None:
    """The connection that a packet belongs to: the one that lasts, else the one that ended last; behind an RST that its
    server never sent it goes on. A SYN belongs to none that has ended."""
    before = None
    for flow, by_client in flows:
        if number < flow.first_packet or ns + limits.COPY_NS < flow.start_ns:  # of two copies the later may come first
            continue
        if ns <= flow.end_ns:
            return flow, by_client
        if not opens and ns - flow.end_ns <= BEHIND_NS and (before is None or before[0].end_ns < flow.end_ns):
            before = flow, by_client
    return before


def sequence(ip: bytes, *, acknowledged: bool) -> int | None:
    """The sequence number as it stands in an IP packet, or the acknowledgement number."""
    at = ((ip[0] & 15) * 4 if ip[:1] and ip[0] >> 4 == 4 else 40) + (8 if acknowledged else 4)
    return int.from_bytes(ip[at : at + 4], "big") if len(ip) >= at + 4 else None


def source_at(trace: Trace) -> Source:
    """The packets of a trace as a source by itself, which can be read once; each has its number in the capture, and
    where that has others there are empty frames."""
    return open_source(_numbered(trace), linktype=RAW)


def _numbered(trace: Trace) -> Iterator[tuple[Decimal, bytes]]:
    number = 0
    for packet in sorted(trace.packets, key=lambda each: each.number):
        when = Decimal(packet.ns) / SECOND
        yield from repeat((when, b""), packet.number - number - 1)
        yield when, packet.ip
        number = packet.number


def source_of(trace: Trace) -> Source:
    """The packets of a trace as a source by itself; its frames count from 1."""
    return open_source([(Decimal(packet.ns) / SECOND, packet.ip) for packet in trace.packets], linktype=RAW)


def _row(number: int, ns: int, by_client: bool, fields: dict[str, Any], ip: bytes) -> _Row:
    ip_id, offered = _head(ip)
    return _Row(
        number, ns, by_client, fields["flags"], fields["seq"], fields["ack"], fields["payload_len"],
        fields["payload"], fields["window"], fields["ttl"], ip_id, offered, ip,
    )  # fmt: skip


def _look(row: _Row) -> Look:
    opens = bool(row.flags & SYN)
    kinds = tuple(options(row.options))
    known = tuple(each for each in kinds if each[0] != MSS) if opens else kinds  # a router may lower the MSS
    octets = hash((row.by_client, row.flags, row.seq, row.ack, row.window, row.length, row.payload, known))
    stamped = bool(row.length) and any(kind == TIMESTAMPS for kind, _ in kinds)
    return Look(row.ip_id or 0, octets, sure=bool(row.ip_id) or opens or stamped)


class _Stream:
    """Sequence numbers of one side as stream offsets."""

    def __init__(self) -> None:
        self.first: int | None = None  # the sequence number of offset 0
        self.near = 0  # an offset that was seen last

    def begin(self, seq: int) -> None:
        self.first = seq % WRAP

    def offset(self, seq: int) -> int | None:
        if self.first is None:
            return None
        delta = (seq - self.first - self.near) % WRAP
        return self.near + (delta - WRAP if delta >= WRAP // 2 else delta)


def _packets(rows: Sequence[_Row]) -> Iterator[Packet]:
    streams = (_Stream(), _Stream())  # by `by_client`
    scales: dict[bool, int | None] = {}
    for row in rows:
        mine, theirs, flags = streams[row.by_client], streams[not row.by_client], row.flags
        if flags & SYN:
            mine.begin(row.seq + 1)
            scales[row.by_client] = _scale(row.options)
        elif mine.first is None and not flags & RST:
            mine.begin(row.seq)
        at = mine.offset(row.seq + (1 if flags & SYN else 0))
        if theirs.first is None and flags & ACK:
            theirs.begin(row.ack)
        acks = theirs.offset(row.ack) if flags & ACK else None
        if at is not None and row.length:
            mine.near = max(mine.near, at)
        both = scales.get(True) is not None and scales.get(False) is not None
        shift = 0 if flags & SYN or not both else scales[row.by_client] or 0
        yield Packet(
            number=row.number, ns=row.ns, by_client=row.by_client, flags=flags, at=at, acks=acks, length=row.length,
            payload=row.payload, window=row.window << shift, ttl=row.ttl, ip_id=row.ip_id, options=row.options,
            ip=row.ip,
            field=row.window,
        )  # fmt: skip


def _head(ip: bytes) -> tuple[int | None, bytes]:
    """The IP id (None of IPv6) and TCP's options, of a packet that may be cut behind its headers."""
    if len(ip) < 40:
        return None, b""
    whole = ip
    if ip[0] >> 4 == 4:
        whole = ip[:2] + min(len(ip), LONGEST).to_bytes(2, "big") + ip[4:]
    elif len(ip) >= 60:
        whole = ip[:4] + min(len(ip) - 40, LONGEST).to_bytes(2, "big") + ip[6:]
    segment = parse(whole)
    if segment is None:
        return None, b""
    return segment.ip_id if ip[0] >> 4 == 4 else None, segment.options


def options(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """TCP options as (kind, value), up to the first malformed one (RFC 9293 3.1)."""
    at = 0
    while at < len(octets) and octets[at] != 0:
        if octets[at] == 1:
            at += 1
            continue
        size = octets[at + 1] if at + 1 < len(octets) else 0
        if size < 2 or at + size > len(octets):
            return
        yield octets[at], octets[at + 2 : at + size]
        at += size


def _scale(octets: bytes) -> int | None:
    """The window scale (RFC 7323 2.2), 14 at most; None where it is not offered."""
    return next((min(value[0], 14) for kind, value in options(octets) if kind == 3 and len(value) == 1), None)
