"""What routers and hosts tell of a connection's packets: ICMP errors that quote them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, Literal, NamedTuple

from smtpinspect.simulate.flow import TCP

What = Literal["too-big", "unreachable", "port unreachable", "prohibited", "expired"]
End = tuple[bytes, int]  # address and port

_ICMP6: Final = 58
PROTOCOLS: Final = (1, _ICMP6)
LATE_NS: Final = 5_000_000_000  # an error comes back at most so long behind the packet that it quotes
# Protocol, type and code (RFC 792; RFC 1812 5.2.7.1 for 9, 10 and 13; RFC 4443 3).
_ERRORS: Final[Mapping[tuple[int, int, int], What]] = {
    (1, 3, 4): "too-big", (1, 11, 0): "expired", (_ICMP6, 2, 0): "too-big", (_ICMP6, 3, 0): "expired",
    **{(1, 3, code): "unreachable" for code in (0, 1, 2, 5, 6, 7)},
    (1, 3, 3): "port unreachable", (_ICMP6, 1, 4): "port unreachable",
    **{(1, 3, code): "prohibited" for code in (9, 10, 13)},
    **{(_ICMP6, 1, code): "unreachable" for code in (0, 2, 3)},
    **{(_ICMP6, 1, code): "prohibited" for code in (1, 5, 6)},
}  # fmt: skip


class Notice(NamedTuple):
    """An ICMP error that quotes a packet of the connection. `mtu`: of the next hop, 0 where it tells none.

    RFC 792, RFC 1191 4, RFC 4443 3.
    """

    number: int
    ns: int
    about_client: bool  # it quotes what the client sent
    what: What
    mtu: int = 0
    source: str = ""


def quoted(fields: Mapping[str, Any]) -> tuple[End, End] | None:
    """Sender and receiver of the TCP packet that this ICMP error quotes; None where it quotes none."""
    body: bytes = fields["body"]
    v6 = fields["proto"] == _ICMP6
    inner = body[8:]
    if fields["proto"] not in PROTOCOLS or _what(fields) is None or len(inner) < 28:
        return None
    at = 40 if v6 else (inner[0] & 15) * 4
    if len(inner) < at + 4 or inner[6 if v6 else 9] != TCP:
        return None
    src, dst = (inner[8:24], inner[24:40]) if v6 else (inner[12:16], inner[16:20])
    sport, dport = int.from_bytes(inner[at : at + 2], "big"), int.from_bytes(inner[at + 2 : at + 4], "big")
    return (src, sport), (dst, dport)


def notice(number: int, ns: int, fields: Mapping[str, Any], about_client: bool) -> Notice:
    """Of a frame that `quoted` takes."""
    body: bytes = fields["body"]
    what = _what(fields)
    assert what is not None
    mtu = 0
    if what == "too-big":
        mtu = int.from_bytes(body[4:8] if fields["proto"] == _ICMP6 else body[6:8], "big")
    return Notice(number, ns, about_client, what, mtu, str(ip_address(fields["src"])))


def _what(fields: Mapping[str, Any]) -> What | None:
    body: bytes = fields["body"]
    return _ERRORS.get((fields["proto"], body[0], body[1])) if len(body) >= 8 else None
