"""What the ends of a connection sent themselves, and so what each of them acknowledged: asked here by everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Sign
from smtpinspect.diagnose.observe.habits import anyones, forged, genuine, habits
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN
from smtpinspect.grammar import limits

NAMES: Final = {True: "client", False: "server"}


class Parted(NamedTuple):
    """The packets of a connection: `own` its ends sent; `forged` is the first RST or FIN that no end did, and why."""

    own: list[Packet]
    forged: tuple[Packet, tuple[Sign, ...]] | None = None

    def acknowledged(self, by_client: bool) -> int:
        """The highest acknowledgment of this side's octets by the other one, its FIN counted. An RST that any kernel
        may have sent acknowledges nothing."""
        told = [p.acks for p in self.own if p.by_client != by_client and acknowledges(p) and p.acks is not None]
        return max([0, *told])


def acknowledges(packet: Packet) -> bool:
    """Does what it acknowledges count, where its end sent it?"""
    return bool(packet.flags & ACK) and not anyones(packet)


def parted(packets: Sequence[Packet]) -> Parted:
    """In one pass; of many RSTs and FINs the first `limits.CLOSERS` are looked at."""
    found: tuple[Packet, tuple[Sign, ...]] | None = None
    own: list[Packet] = []
    closers = 0
    for n, packet in enumerate(packets):
        if packet.flags & (RST | FIN) and found is None and closers < limits.CLOSERS:
            closers += 1
            signs = _signs(packets, n)
            if signs:
                found = packet, signs
        if found is None or not _again(packet, found[0]):
            own.append(packet)
    return Parted(own if found is None else genuine(own, found[0]), found)


def _again(packet: Packet, made: Packet) -> bool:
    """Is it the forged one, or an RST in the same name behind it?"""
    return packet.number == made.number or (packet.by_client == made.by_client and bool(packet.flags & RST))


def _signs(packets: Sequence[Packet], n: int) -> tuple[Sign, ...]:
    packet = packets[n]
    before = [other for other in packets[:n] if other.by_client == packet.by_client]
    opens = bool(n) and all(other.flags & SYN and other.by_client != packet.by_client for other in packets[:n])
    signs = forged(packet, habits(before), opens)
    later = [other for other in packets[n + 1 :] if other.by_client == packet.by_client and not other.flags & RST]
    name = NAMES[packet.by_client]
    if packet.flags & RST and before and any(other.flags & ACK and not other.flags & SYN for other in later[:3]):
        return (*signs, Sign(later[0].number, f"the {name} goes on behind it"))
    if packet.flags & FIN and packet.end is not None:
        beyond = [other for other in later if other.length and (other.end or 0) > packet.end]
        if beyond:
            return (*signs, Sign(beyond[0].number, f"the {name} goes on behind it"))
    return signs
