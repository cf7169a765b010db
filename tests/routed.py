"""A capture taken on a router: each packet as it came in, and as it went out, in every form such a capture has."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kit import capture
from kit.broken import Connection, message
from kit.wire import Ends, Packet
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Diagnosis
from smtpinspect.enforce import craft

OUTSIDE, INSIDE = 2, 3  # interfaces: the client's side, the server's
CLIENT, SERVER = bytes.fromhex("020000000a01"), bytes.fromhex("020000000b01")
OWN = {OUTSIDE: bytes.fromhex("020000000a99"), INSIDE: bytes.fromhex("020000000b99")}
Number = int  # of a packet of a connection, from 0


class Seen(NamedTuple):
    """An IP packet at one interface of the router."""

    time: float
    ip: bytes
    incoming: bool
    interface: int

    def later(self, seconds: float) -> Seen:
        return self._replace(time=self.time + seconds)


def came(packet: Packet) -> Seen:
    return Seen(packet.time, packet.octets, True, OUTSIDE if packet.direction == "C" else INSIDE)


def went(packet: Packet, after: float = 0.00002, hops: int = 1) -> Seen:
    """As it leaves by the other interface."""
    octets = bytearray(packet.octets)
    octets[8] -= hops
    return Seen(packet.time + after, craft.filled(bytes(octets)), False, INSIDE if packet.direction == "C" else OUTSIDE)


def routed(
    packets: Iterable[Packet], *, gone: Collection[Number] = (), made: Collection[Number] = (),
    changed: Mapping[Number, Callable[[bytes], bytes]] | None = None, hops: int = 1, after: float = 0.00002,
) -> list[Seen]:
    """All that the router saw. `gone`: came in only; `made`: went out only; `changed`: what it made of these."""
    found = []
    for number, packet in enumerate(packets):
        if number not in made:
            found.append(came(packet))
        if number not in gone:
            out = went(packet, after, hops)
            changes = (changed or {}).get(number)
            found.append(out if changes is None else out._replace(ip=changes(out.ip)))
    return sorted(found, key=lambda seen: seen.time)


def _sll2(seen: Seen) -> bytes:
    kind = 0 if seen.incoming else 4
    return struct.pack(">HHIHBB8s", _type(seen), 0, seen.interface, 1, kind, 6, CLIENT + b"\0\0") + seen.ip


def _sll(seen: Seen) -> bytes:
    return struct.pack(">HHH8sH", 0 if seen.incoming else 4, 1, 6, CLIENT + b"\0\0", _type(seen)) + seen.ip


def _ethernet(seen: Seen) -> bytes:
    other = CLIENT if seen.interface == OUTSIDE else SERVER
    ends = OWN[seen.interface] + other if seen.incoming else other + OWN[seen.interface]
    return ends + struct.pack(">H", _type(seen)) + seen.ip


def _bridged(seen: Seen) -> bytes:
    ends = SERVER + CLIENT if seen.incoming == (seen.interface == OUTSIDE) else CLIENT + SERVER
    return ends + struct.pack(">H", _type(seen)) + seen.ip


def _type(seen: Seen) -> int:
    return 0x86DD if seen.ip[0] >> 4 == 6 else 0x0800


# sll2: tcpdump -i any; sll: the same with -y LINUX_SLL; ethernet: a mirror of both links; raw: without link headers
FORMS: Mapping[str, tuple[int, Callable[[Seen], bytes]]] = {
    "sll2": (276, _sll2),
    "sll": (113, _sll),
    "ethernet": (1, _ethernet),
    "bridged": (1, _bridged),
    "raw": (101, lambda seen: seen.ip),
}


def records(seen: Iterable[Seen], form: str = "sll2") -> list[capture.Record]:
    _, encode = FORMS[form]
    frames = [(each.time, encode(each)) for each in seen]
    return [capture.Record(time, frame, len(frame)) for time, frame in frames]


def written(path: Path, seen: Iterable[Seen], form: str = "sll2") -> str:
    path.write_bytes(capture.pcap(records(seen, form), link=FORMS[form][0]))
    return str(path)


# --- connections through it, and what is told of them


def told(path: str, inspectors: Sequence[str] = ()) -> Diagnosis:
    return diagnose(Asked(path, inspectors=tuple(inspectors))).diagnosis


def case_of(path: str) -> Case:
    (case,) = told(path).cases
    return case


def text_of(made: Connection, at: int) -> list[int]:
    """The packets of the client from this stream offset on that carry octets."""
    first = made.isn["C"] + 1 + at
    return [
        n for n, packet in enumerate(made.packets)
        if (segment := craft.parse(packet.octets)) and packet.direction == "C" and segment.payload
        and segment.seq >= first
    ]  # fmt: skip


def cut(octets: int = 600) -> tuple[Connection, list[int]]:
    """A mail whose text comes in and never goes out, nor does what is sent of it again."""
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(octets), arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, min(octets, made.mss))
    made.wait(3)
    return made, text_of(made, at)


def octets(packet: bytes, before: bytes, after: bytes) -> bytes:
    assert before in packet and len(before) == len(after)
    return craft.filled(packet.replace(before, after))


def later(made: Connection) -> list[Seen]:
    """Another connection, so that the capture goes on."""
    other = Connection(Ends(client_port=40999), start=made.now + 5).delivered()
    return routed(other.packets)
