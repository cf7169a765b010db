"""The packets of SMTP connections, and ICMP errors about them, written anew: addresses and payloads replaced,
everything else as it was."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.views import Flow
from smtpinspect.diagnose.anonymise import errors, headers
from smtpinspect.diagnose.anonymise.streams import Laid
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.notices import PROTOCOLS, quoted
from smtpinspect.enforce.craft import SYN
from smtpinspect.simulate.flow import datagram, ends
from smtpinspect.source import Input
from smtpinspect.source.again import frames_again

WRAP: Final = 1 << 32
_MAGIC: Final = 0xA1B23C4D  # pcap with nanoseconds
_RAW: Final = 101  # LINKTYPE_RAW
_SNAPLEN: Final = 262_144
_TRIED: Final = 8  # segments of a stream without SYN among which its first octet is looked for

End = tuple[bytes, int]


class Written(NamedTuple):
    """Packets that were written, and those that belong to no SMTP connection."""

    packets: int
    left_out: int


class _Packet(NamedTuple):
    ns: int
    ip: bytes  # as far as it was captured
    conn: int
    side: int
    fields: dict[str, Any]


class _Reader:
    """The packets of these connections, in the order of the capture."""

    def __init__(self, flows: list[Flow]) -> None:
        self.left_out = 0
        self._known: dict[tuple[End, End], list[tuple[int, int, int]]] = {}
        for flow in sorted(flows, key=lambda flow: flow.first_packet):
            client, server = ends(flow)
            for side, pair in enumerate(((client, server), (server, client))):
                self._known.setdefault(pair, []).append((flow.first_packet, side, flow.start_ns))

    def packets(self, source: Input) -> Iterator[_Packet]:
        self.left_out = 0
        joiner = Fragments()
        for number, (ns, link, frame, wirelen) in enumerate(frames_again(source), 1):
            fields = joiner.feed(link, frame, ns, wirelen)
            found = self._of(fields, number, ns) if fields is not None else None
            ip = datagram(frame, fields) if found and fields else None
            if ip is None or found is None or fields is None:
                self.left_out += 1
                continue
            yield _Packet(ns, ip, found[0], found[1], fields)

    def _of(self, fields: dict[str, Any], number: int, ns: int) -> tuple[int, int] | None:
        if fields["kind"] == "tcp":
            pair = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
        else:
            about = quoted(fields) if fields["proto"] in PROTOCOLS else None
            if about is None:
                return None
            pair = about
        known = self._known.get(pair)
        if known is None:
            return None
        best = known[0]
        for each in known[1:]:
            if each[0] <= number:
                best = each
        # What came before the first one of its connection is none of it.
        return best[:2] if number >= best[0] or ns >= best[2] else None


def write(source: Input, out: BinaryIO, laid: Laid, texts: Texts) -> Written:
    """Write the capture anew: classic pcap with nanoseconds, IP packets without link header; fragments are joined."""
    reader = _Reader(laid.flows)
    origins = _origins(reader, source, laid)
    out.write(struct.pack("<IHHiIII", _MAGIC, 2, 4, 0, 0, _SNAPLEN, _RAW))
    n = 0
    for packet in reader.packets(source):
        seconds, rest = divmod(packet.ns, 1_000_000_000)
        fields = packet.fields
        if fields["kind"] == "tcp":
            missing = fields["payload_len"] - len(fields["payload"])
            ip = _anew(packet, origins, laid, texts)
        else:
            missing = fields["body_len"] - len(fields["body"])
            ip = errors.anew(packet.ip, len(fields["body"]), texts.addresses, whole=missing <= 0)
        out.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, rest, len(ip), len(ip) + max(missing, 0)) + ip)
        n += 1
    return Written(n, reader.left_out)


class _Origin:
    """Sequence numbers of a stream as offsets; the number of offset 0."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.near = 0

    def offset(self, seq: int) -> int:
        delta = (seq - self.first - self.near) % WRAP
        at = self.near + (delta - WRAP if delta >= WRAP // 2 else delta)
        self.near = max(self.near, at)
        return at


def _origins(reader: _Reader, source: Input, laid: Laid) -> dict[tuple[int, int], _Origin]:
    """Of each stream: behind its SYN, or where the segments fit what was laid aside."""
    found: dict[tuple[int, int], _Origin] = {}
    heads: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
    for packet in reader.packets(source):
        if packet.fields["kind"] != "tcp":
            continue
        stream = packet.conn, packet.side
        seq: int = packet.fields["seq"]
        if packet.fields["flags"] & SYN:
            found.setdefault(stream, _Origin((seq + 1) % WRAP))
        elif stream not in found and packet.fields["payload"]:
            tried = heads.setdefault(stream, [])
            if len(tried) < _TRIED:
                tried.append((seq, packet.fields["payload"][:64]))
    for stream, tried in heads.items():
        if stream in found:
            continue
        first = tried[0][0]
        for seq, payload in tried:
            head = b"".join(old for _, old, _ in laid.spool.pieces(*stream, 0, len(payload)))
            if head and payload.startswith(head[: len(payload)]):
                first = seq
                break
        found[stream] = _Origin(first)
    return found


def _anew(packet: _Packet, origins: dict[tuple[int, int], _Origin], laid: Laid, texts: Texts) -> bytes:
    ip, fields = packet.ip, packet.fields
    four = ip[0] >> 4 == 4
    head = (ip[0] & 15) * 4 if four else len(ip) - len(fields["body"])
    tcp = ip[head:]
    size = max((tcp[12] >> 4) * 4, 20) if len(tcp) > 12 else 20
    payload = tcp[size : size + fields["payload_len"]]
    origin = origins.get((packet.conn, packet.side))
    made = b""
    if payload:
        syn = fields["flags"] & SYN
        at = origin.offset((fields["seq"] + bool(syn)) % WRAP) if origin else -1
        made = _payload(payload, at, packet, laid, texts)
    before = headers.four(ip[:head], texts.addresses) if four else headers.six(ip[:head], texts.addresses)
    segment = bytearray(headers.tcp(tcp[:size]) + made)
    whole = len(payload) == fields["payload_len"] and len(tcp) >= size
    if len(segment) >= 18 and whole:
        segment[16:18] = _checksum(ip, tcp[: size + len(payload)], before, bytes(segment), four)
    elif len(segment) >= 18:
        segment[16:18] = b"\0\0"
    return before + bytes(segment)


def _payload(payload: bytes, at: int, packet: _Packet, laid: Laid, texts: Texts) -> bytes:
    """By stream offset, so that a repetition holds the same; where it held other octets, by these."""
    unknown = bytes(len(payload)) if packet.conn in laid.encrypted else texts.free(payload)
    out = bytearray(unknown)
    if at < 0:
        return bytes(out)
    for offset, old, new in laid.spool.pieces(packet.conn, packet.side, at, len(payload)):
        begin = offset - at
        now = payload[begin : begin + len(old)]
        if now == old:
            out[begin : begin + len(old)] = new
            continue
        for n, (octet, was) in enumerate(zip(now, old, strict=True)):
            if octet == was:
                out[begin + n] = new[n]
    return bytes(out)


def _checksum(ip: bytes, tcp: bytes, head: bytes, segment: bytes, four: bool) -> bytes:
    """Right where it was right; else as wrong as it was."""
    zeroed = tcp[:16] + b"\0\0" + tcp[18:]
    right = 0xFFFF - headers.ones_sum(_pseudo(ip, len(tcp), four) + zeroed)
    told = int.from_bytes(tcp[16:18], "big")
    wrong = (told - right) % 0xFFFF
    now = 0xFFFF - headers.ones_sum(_pseudo(head, len(segment), four) + segment[:16] + b"\0\0" + segment[18:])
    return ((now + wrong) % 0xFFFF if wrong else now).to_bytes(2, "big")


def _pseudo(ip: bytes, n: int, four: bool) -> bytes:
    return (ip[12:20] if four else ip[8:40]) + n.to_bytes(4, "big") + b"\0\0\0\x06"
