"""Copies of packets that a capture of several interfaces holds: as they came to a router or a bridge, and left it."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from smtpinspect.grammar import limits


class Look(NamedTuple):
    """What a packet and its copy have in common. `octets`: a hash of direction, TCP header without checksum, payload;
    `ip_id` 0 where its sender counts none. `sure`: nobody sends such a packet twice within so short a time.
    """

    ip_id: int
    octets: int
    sure: bool


class Copies:
    """The packets of a connection that came last, and how many more were copies of these.

    What is sent again has another IP id, or another time stamp. Where a sender uses neither, a packet is a copy if it
    has passed a router meanwhile (TTL), or if the capture was found to hold copies that have not.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()  # when it came, its TTL
        self._bridged = False

    def holds(self, look: Look, ns: int, ttl: int) -> bool:
        """Is this packet a copy of an earlier one? It is remembered where it is not."""
        key = look.ip_id, look.octets
        before = self._last.get(key)
        if before is not None and ns - before[0] <= limits.COPY_NS and ttl <= before[1]:
            if look.sure and ttl == before[1]:
                self._bridged = True
            if look.sure or ttl < before[1] or self._bridged:
                self.count += 1
                return True
        self._last[key] = ns, ttl
        self._last.move_to_end(key)
        if len(self._last) > limits.COPY_PACKETS:
            self._last.popitem(last=False)
        return False


def told(count: int, packets: int, *, both: bool = False) -> str:
    """A sentence about so many copies, beside so many packets. `both`: what came in was compared with what went out."""
    each = "each packet is" if count >= packets * 0.9 else "packets are"
    why = "several interfaces, as with tcpdump -i any"
    then = "were compared with what came in" if both else "are not looked at"
    return f"{each} in the capture twice ({why}): the copies ({count:,}) {then}"
