"""Where a flow broke, as a rule would have to explain it: what came through, what did not, what each end was told."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.account import Account, Stream
from smtpinspect.diagnose.account.spoken import CLOSES, REFUSES
from smtpinspect.diagnose.model import BreakKind, Case
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST
from smtpinspect.grammar import limits
from smtpinspect.grammar.words import IN_TEXT

Side = Literal["sender", "receiver", "unknown"]
Direction = Literal["client", "server"]
PATIENT: Final = limits.STALL_NS  # servers wait minutes (RFC 5321 4.5.3.2.7: at least 5), a busy one says so at once
SPAN: Final = 1_000_000_000  # ns before an RST in which its cause was sent: longer than a round trip


class Half(NamedTuple):
    """One direction. Stream offsets: `through` the other end has acknowledged, or shown by its answer that it had it;
    `sent` the last octet that was seen; `first` the end of the first segment that did not come through."""

    through: int
    sent: int
    first: int
    again: int  # how often the octet at `through` was sent again
    hole: tuple[int, int] | None = None  # octets that others came behind and the capture does not hold
    kept: bool = False  # a box acknowledged what lies behind `through`, and kept it back

    @property
    def lost(self) -> bool:
        """Were octets sent that nobody acknowledged?"""
        return self.sent > self.through


class Scene(NamedTuple):
    """`side`: of the box, on which the capture was taken. `kind`: how it ended for that side's end. `packet`: the
    first that did not come through. `goes_on`: behind it other packets still pass; None where that cannot be told."""

    client: Half
    server: Half
    side: Side = "unknown"
    kind: BreakKind = "none"
    packet: int | None = None
    goes_on: bool | None = None

    def half(self, direction: str) -> Half:
        return self.client if direction == "client" else self.server


def scene_of(case: Case) -> Scene | None:
    """None without packets: nobody looked closer."""
    account = case.account
    if account is None:
        return None
    reset = account.reset
    client, server = _half(account.client), _half(account.server)
    side = _side(case, client, server, reset)
    # what is in the capture on the far side of the box has come through it, acknowledged or not
    client, server = (_passed(client), server) if side == "receiver" else (client, _passed(server, side))
    if case.kept_back is not None and case.observed.broken.at is not None:
        client = client._replace(through=case.observed.broken.at, first=client.sent, hole=None, kept=True)
    lost = [p.number for p in account.client.sent if (p.end or 0) > client.through]
    lost += [p.number for p in account.server.sent if (p.end or 0) > server.through]
    kind = _kind(case, account, client)
    if kind == "reply" and (side == "receiver" or server.again) and _undelivered(account, server):
        kind = "drop" if reset is None else "rst"
    client = _passed(client) if case.reply_lost else client
    return Scene(client, server, side, kind, next(iter(lost), None), _goes_on(account, client, kind))


def _goes_on(account: Account, client: Half, kind: BreakKind) -> bool | None:
    """Does the server still get something behind what was lost? It would acknowledge again what it has."""
    if not client.lost or client.kept or client.hole is not None or kind not in ("drop", "fin"):
        return None
    lost = [p for p in account.client.sent if (p.end or 0) > client.through]
    behind = [p for p in account.packets if not p.by_client and p.number > lost[0].number]
    if any(p.length or p.flags & FIN for p in behind):
        return True
    flight = {p.at for p in lost}
    if len(flight) < 2 and lost[0].length <= limits.WIRE_SEGMENT:
        return None
    return sum(1 for p in behind if p.acks == client.through and not p.flags & RST) > 1


def _half(stream: Stream) -> Half:
    through = stream.acknowledged
    copies = stream.holding(through)
    first = min((p.end or 0 for p in copies), default=through)
    return Half(through, stream.end, first, max(0, len(copies) - 1), stream.hole)


def _passed(half: Half, side: Side = "sender") -> Half:
    if side != "sender" or half.hole is not None:
        return half
    return half._replace(through=half.sent, first=half.sent)


def _side(case: Case, client: Half, server: Half, reset: Packet | None) -> Side:
    told = case.observed.vantage.where
    if told in ("sender", "receiver"):
        return told
    if reset is not None and reset.by_client and not client.again:
        return "receiver"
    if client.lost and client.hole is None and (client.again or not server.lost):
        return "sender"
    if client.hole is not None or (server.lost and server.again):
        return "receiver"
    if reset is not None:
        return "receiver" if reset.by_client else "sender"
    return "unknown"


def _undelivered(account: Account, server: Half) -> bool:
    """Did the client never acknowledge the server's last refusal?"""
    said = [each for each in account.said.replies if (each.code or 0) >= REFUSES]
    return bool(said) and said[-1].at >= server.through


def _refuses(account: Account) -> bool:
    """Are the server's last octets a refusal, amid a text too?"""
    codes = (each.code or 0 for each in reversed(account.said.replies))
    last = next((code for code in codes if not 200 <= code < 300), 0)
    return last >= REFUSES and last != CLOSES


def _spoken(account: Account) -> bool:
    """Did the client say more behind the server's last octets?"""
    last = [*account.client.sent[-1:], *account.server.sent[-1:]]
    return bool(last) and max(last, key=lambda p: p.number).by_client


def _waited(account: Account) -> bool:
    """Did the server's last octets come behind a long silence of the client?"""
    last = next(iter(account.server.sent[-1:]), None)
    heard = [p.ns for p in account.client.sent if last is not None and p.number < last.number]
    return last is not None and bool(heard) and last.ns - heard[-1] > PATIENT


def _kind(case: Case, account: Account, client: Half) -> BreakKind:
    reset = account.reset
    if case.mail is not None and case.mail.reply == CLOSES and (client.lost or _waited(account)):
        return "drop"  # the server waited for what was lost, and told so
    text = case.mail is not None and case.mail.phase in IN_TEXT
    if not (client.lost and client.again) and _refuses(account) and (reset is None or text or not _spoken(account)):
        return "reply"
    told = case.observed.broken.kind
    if told != "none":
        return told
    if case.mail is not None and case.mail.outcome == "refused":
        return "reply"
    if reset is not None:
        before = [p for p in account.packets if p.number < reset.number]
        if before and reset.ns - before[-1].ns < SPAN:
            return "rst"
    return "drop"
