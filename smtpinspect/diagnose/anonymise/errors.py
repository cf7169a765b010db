"""ICMP errors about a connection, which quote its packets: addresses replaced, the quoted payload zeros.

RFC 792, RFC 4443 3; what RFC 4884 appends (MPLS labels, interfaces' names) goes as well.
"""

from __future__ import annotations

from typing import Final

from smtpinspect.diagnose.anonymise import headers
from smtpinspect.diagnose.anonymise.addresses import Addresses

_HEAD: Final = 8  # octets of ICMP before what it quotes
_ICMP6: Final = 58
_TOO_BIG: Final = 2  # of ICMPv6; it has the MTU where others may have a length


def anew(ip: bytes, body: int, addresses: Addresses, *, whole: bool) -> bytes:
    """The packet again; `body`: octets of its ICMP message, `whole` where all of it was captured."""
    four = ip[0] >> 4 == 4
    outer = (headers.four if four else headers.six)(ip[: len(ip) - body], addresses)
    message = bytearray(ip[len(ip) - body :])
    inner = bytes(message[_HEAD:])
    size = (inner[0] & 15) * 4 if four else 40
    tcp = inner[size:]
    end = min(len(tcp), max((tcp[12] >> 4) * 4, 20) if len(tcp) > 12 else 20)
    kept = bytearray(headers.tcp(tcp[:end]))
    if len(kept) >= 18:
        kept[16:18] = bytes(2)  # it would tell of the payload
    message[_HEAD:] = (headers.four if four else headers.six)(inner[:size], addresses) + kept + bytes(len(tcp) - end)
    if four:
        message[5] = 0
    elif message[0] != _TOO_BIG:
        message[4] = 0
    message[2:4] = bytes(2)
    if whole:
        pseudo = b"" if four else outer[8:40] + len(message).to_bytes(4, "big") + bytes((0, 0, 0, _ICMP6))
        message[2:4] = (0xFFFF - headers.ones_sum(pseudo + message)).to_bytes(2, "big")
    return outer + bytes(message)
