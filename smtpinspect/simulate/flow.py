"""Which connection of a capture is simulated, and its packets, as IP packets without a link header."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any, Final, Literal, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.engine import PORTS, Engine
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.inspectors.base import Inspector
from smtpinspect.source import Input
from smtpinspect.source.again import frames_again

Why = Literal["asked", "breaks", "alters", "first", "no-mail"]

TCP: Final = 6
LONGEST: Final = 65_535  # octets of an IP packet
EARLIER: Final = 256  # frames before the first one of a connection in which its first fragments may lie
LOUD: Final = ("rewrite", "answer", "drop", "drop-flow", "reset")  # actions that change what passes


class Chosen(NamedTuple):
    """A connection: its record, the mail of it that is meant (1 is its first one; None: no mail), and why this one.

    `record`: what the capture shows of that mail. `mails`, `connections`: how many the capture holds, as far as it was
    looked at; `whole`: it was to its end.
    """

    flow: Flow
    mail: int | None
    why: Why
    rule: str  # the first rule that breaks it or, where none does, that fires; "" for none
    mails: int
    connections: int
    whole: bool
    fault: CaptureError | None = None
    record: Mail | None = None


class Captured(NamedTuple):
    """A packet of the connection. `missing`: octets at its end that the capture does not hold."""

    ns: int
    ip: bytes
    by_client: bool
    number: int  # of its frame, from 1
    missing: int = 0


class _Candidate:
    """The first mail, or connection, of a kind."""

    def __init__(self) -> None:
        self.flow_id: int | None = None
        self.mail: int | None = None
        self.record: Mail | None = None
        self.rule = ""
        self.flow: Flow | None = None

    def take(self, of: Flow | Mail, rule: str) -> None:
        if self.flow_id is None:
            self.flow_id, self.rule = of.flow_id, rule
            if isinstance(of, Mail):
                self.mail, self.record = of.tx_id + 1, of


def choose(
    source: Input, inspector: str | Inspector, *, ports: Sequence[int] = PORTS, mail: int | None = None
) -> Chosen | None:
    """The connection to simulate: that of mail number `mail` of the capture, else the first that this inspector
    breaks, else the first that it alters, else the first with a mail; None when there is no SMTP.

    Raises UsageError for a mail that is not there, and for a capture that cannot be opened.
    """
    engine = Engine([inspector], ports=ports)
    (label,) = engine.labels
    found: dict[Why, _Candidate] = {"asked": _Candidate(), "breaks": _Candidate(), "alters": _Candidate()}
    found |= {"first": _Candidate(), "no-mail": _Candidate()}
    rules: dict[int, str] = {}  # of open connections: the first rule that altered something
    mails = connections = 0
    fault: CaptureError | None = None
    whole = False

    def note(of: Flow | Mail) -> None:
        broken = of.broken_by.get(label, "")
        if broken:
            found["breaks"].take(of, broken)
        elif of.verdict.get(label) in LOUD:
            found["alters"].take(of, rules.get(of.flow_id, ""))

    wanted: _Candidate | None = None
    try:
        for record in engine.run(source):
            if isinstance(record, Mail):
                mails += 1
                if mails == mail:
                    found["asked"].take(record, record.broken_by.get(label, ""))
                note(record)
                found["first"].take(record, "")
            elif isinstance(record, Alert):
                if record.inspector == label and record.action in LOUD:
                    rules.setdefault(record.flow_id, record.rule)
            elif isinstance(record, Flow):
                connections += 1
                note(record)
                found["no-mail"].take(record, "")
                for each in found.values():
                    if each.flow_id == record.flow_id:
                        each.flow = record
                rules.pop(record.flow_id, None)
                wanted = found["asked" if mail is not None else "breaks"]
                if wanted.flow is not None:
                    break
        else:
            whole = True
    except CaptureError as error:
        fault = error
    if mail is not None and found["asked"].flow is None:
        raise UsageError(f"--mail {mail}: the capture holds {mails:,} mail{'' if mails == 1 else 's'}")
    for why, each in found.items():
        if each.flow is not None and (mail is None or why == "asked"):
            return Chosen(each.flow, each.mail, why, each.rule, mails, connections, whole, fault, each.record)
    if fault is not None:
        raise fault
    return None


def ends(flow: Flow) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    """Address and port of client and server."""
    made = []
    for each in (flow.client, flow.server):
        address, _, port = each.rpartition(":")
        made.append((ip_address(address.strip("[]")).packed, int(port)))
    return made[0], made[1]


def packets(source: Input, flow: Flow) -> Iterator[Captured]:
    """The connection's packets in the order of the capture, fragments joined; a damaged capture just ends."""
    client, server = ends(flow)
    left = flow.pkts_toserver + flow.pkts_toclient
    joiner = Fragments()
    for number, (ns, link, frame, wirelen) in enumerate(frames_again(source), 1):
        if number < flow.first_packet - EARLIER:
            continue
        fields = joiner.feed(link, frame, ns, wirelen)
        if fields is None or fields["kind"] != "tcp" or number < flow.first_packet:
            continue
        sender, receiver = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
        if (sender, receiver) not in ((client, server), (server, client)):
            continue
        ip = datagram(frame, fields)
        if ip is not None:
            missing = fields["payload_len"] - len(fields["payload"])
            yield Captured(ns, ip, sender == client, number, missing)
        left -= 1
        if not left:
            return


def datagram(frame: bytes, fields: dict[str, Any]) -> bytes | None:
    """The IP packet in this frame, its header as sent; of joined fragments, with a plain header.

    A header whose length says 0 (segmentation offload) gets the right one. None: too long for one.
    """
    body: bytes = fields["body"]
    size, before = (20, 12) if fields["family"] == 4 else (40, 8)
    start = frame.find(fields["src"] + fields["dst"]) - before
    at = frame.find(body, start + size) if start >= 0 else -1
    if start < 0 or at < 0 or frame[start] >> 4 != fields["family"] or at - start > 60 + 20 * (size == 40):
        return _plain(fields, body)
    head = bytearray(frame[start:at])
    if size == 20 and head[6:8] != b"\0\0" and (head[6] & 0x3F or head[7]):
        return _plain(fields, body)
    length = len(head) + fields["body_len"] - (0 if size == 20 else 40)
    if length > LONGEST:
        return None
    told = int.from_bytes(head[2:4] if size == 20 else head[4:6], "big")
    if told == 0:
        where = 2 if size == 20 else 4
        head[where : where + 2] = length.to_bytes(2, "big")
        if size == 20:
            head[10:12] = checksum(bytes(head[:10]) + b"\0\0" + bytes(head[12:]))
    return bytes(head) + body


def _plain(fields: dict[str, Any], body: bytes) -> bytes | None:
    if len(body) + 20 > LONGEST:
        return None
    src: bytes = fields["src"]
    dst: bytes = fields["dst"]
    if fields["family"] == 6:
        return struct.pack("!IHBB", 0x60000000, len(body), TCP, fields["ttl"]) + src + dst + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, fields["ttl"], TCP, 0) + src + dst
    return head[:10] + checksum(head) + head[12:] + body


def checksum(octets: bytes) -> bytes:
    """RFC 1071, of an even number of octets."""
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
