"""Where a capture was taken: by the TTLs and by the timing of the handshake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.account.habits import INITIAL
from smtpinspect.diagnose.model import Sign, Vantage, Where
from smtpinspect.enforce.craft import SYN

_BY_TTL: Final[Mapping[tuple[bool, bool], Where]] = {
    (True, False): "sender", (False, True): "receiver", (False, False): "between",
}  # fmt: skip
CLOSER: Final = 4  # times as long on one side: the capture was taken on the other


def vantage(account: Account, told: Where | None = None) -> Vantage:
    """`told`: what the user says, which counts."""
    (by_ttl, first), (by_time, second) = _ttls(account), _timing(account)
    signs = tuple(sign for sign in (first, second) if sign is not None)
    if told is not None:
        return Vantage(told, True, signs)
    if {by_ttl, by_time} == {"sender", "receiver"}:
        return Vantage("unknown", False, signs)
    return Vantage(by_time if by_ttl == "unknown" else by_ttl, False, signs)


def _ttls(account: Account) -> tuple[Where, Sign | None]:
    if not account.syns or not account.greeted:
        return "unknown", None
    client, server = account.syns[0], account.greeted[0]
    text = f"TTL {client.ttl} of the client, {server.ttl} of the server"
    near = client.ttl in INITIAL, server.ttl in INITIAL
    return _BY_TTL.get(near, "unknown"), Sign(server.number, text)


def _timing(account: Account) -> tuple[Where, Sign | None]:
    """Who answers at once is near: the server its SYN/ACK, the client its ACK of that."""
    if not account.syns or not account.greeted:
        return "unknown", None
    reply = account.greeted[0]
    syn = next((p for p in reversed(account.syns) if p.ns <= reply.ns), account.syns[0])
    ack = next((p for p in account.packets if p.by_client and p.number > reply.number and not p.flags & SYN), None)
    if ack is None:
        return "unknown", None
    far, near = (reply.ns - syn.ns) / 1e6, (ack.ns - reply.ns) / 1e6
    sign = Sign(ack.number, f"the server answered the SYN in {far:.1f} ms, the client that in {near:.1f} ms")
    if max(far, near) < 1:
        return "unknown", sign  # too near to tell
    if far > CLOSER * near:
        return "sender", sign
    return ("receiver" if near > CLOSER * far else "between"), sign
