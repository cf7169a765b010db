"""The packets of chosen connections, as one end of a diagnosis wants them: numbers relative, who sent what when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.sources import Source, records
from smtpinspect._core.views import Flow
from smtpinspect.enforce.craft import ACK, SYN, parse
from smtpinspect.errors import CaptureError
from smtpinspect.simulate.flow import datagram, ends
from smtpinspect.source import Input, open_source

WRAP: Final = 1 << 32

End = tuple[bytes, int]  # address and port


class Packet(NamedTuple):
    """A TCP packet. `number`: its frame in the capture, from 1. `at` and `acks` are stream offsets: of its first octet
    in its sender's stream, and of the octet that it waits for in the other's (0 = ISN + 1; None before that is known).
    `payload` may be shorter than `length` (snap length). `window` is scaled where the handshake was seen.
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
    ip: bytes  # the whole IP packet

    @property
    def end(self) -> int | None:
        """Stream offset behind its last octet."""
        return None if self.at is None else self.at + self.length


class Trace(NamedTuple):
    """A connection's packets in the order of the capture."""

    flow: Flow
    packets: tuple[Packet, ...]
    point: str = ""


class _Row(NamedTuple):
    number: int
    ns: int
    by_client: bool
    fields: dict[str, Any]
    ip: bytes


def traces(source: Input, flows: Iterable[Flow]) -> dict[int, Trace]:
    """The traces of these connections by flow_id, in one pass; a damaged capture just ends."""
    flows = list(flows)
    wanted: dict[tuple[End, End], list[tuple[Flow, bool]]] = {}
    for flow in flows:
        client, server = ends(flow)
        wanted.setdefault((client, server), []).append((flow, True))
        wanted.setdefault((server, client), []).append((flow, False))
    found: dict[int, list[_Row]] = {flow.flow_id: [] for flow in flows}
    joiner = Fragments()
    opened = open_source(source)
    try:
        for number, (ns, link, frame, wirelen) in enumerate(_records(opened), 1):
            fields = joiner.feed(link, frame, ns, wirelen)
            if fields is None or fields["kind"] != "tcp":
                continue
            pair = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
            for flow, by_client in wanted.get(pair, ()):
                if number >= flow.first_packet and flow.start_ns <= ns <= flow.end_ns:
                    ip = datagram(frame, fields) or b""
                    found[flow.flow_id].append(_Row(number, ns, by_client, fields, ip))
                    break
    finally:
        opened.close()
    return {flow.flow_id: Trace(flow, tuple(_packets(found[flow.flow_id]))) for flow in flows}


def _records(opened: Source) -> Iterator[tuple[int, int, bytes, int]]:
    try:
        yield from records(opened)
    except CaptureError:
        return  # whoever chose the connections has told


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
        fields, mine, theirs = row.fields, streams[row.by_client], streams[not row.by_client]
        flags: int = fields["flags"]
        segment = parse(row.ip)
        options = segment.options if segment else b""
        if flags & SYN:
            mine.begin(fields["seq"] + 1)
            scales[row.by_client] = _scale(options)
        elif mine.first is None:
            mine.begin(fields["seq"])
        at = mine.offset(fields["seq"] + (1 if flags & SYN else 0))
        if theirs.first is None and flags & ACK:
            theirs.begin(fields["ack"])
        acks = theirs.offset(fields["ack"]) if flags & ACK else None
        if at is not None and fields["payload_len"]:
            mine.near = max(mine.near, at)
        both = scales.get(True) is not None and scales.get(False) is not None
        shift = 0 if flags & SYN or not both else scales[row.by_client] or 0
        yield Packet(
            number=row.number, ns=row.ns, by_client=row.by_client, flags=flags, at=at, acks=acks,
            length=fields["payload_len"], payload=fields["payload"], window=fields["window"] << shift,
            ttl=fields["ttl"], ip_id=segment.ip_id if segment and fields["family"] == 4 else None,
            options=options, ip=row.ip,
        )  # fmt: skip


def _scale(options: bytes) -> int | None:
    """The window scale (RFC 7323 2.2), 14 at most; None where it is not offered."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2:
            break
        if kind == 3 and size == 3 and at + 2 < len(options):
            return min(options[at + 2], 14)
        at += size
    return None
