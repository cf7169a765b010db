"""The dialogue of a connection as rungs of a ladder: who said what when, what came through and what did not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.account import Account, spoken
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import FIN, RST, SYN
from smtpinspect.grammar.verbs import unsaid
from smtpinspect.simulate.spoken import in_message

Side = Literal["client", "server", "note"]
Fate = Literal["through", "cut", "ends", "forged"]  # forged: sent by a box in this side's name

RUNGS: Final = 90  # of one ladder; what is left out is told
OPENING: Final = 12  # of them before the mail that is meant
LINES: Final = 6  # of a segment of the message, and some around octets that are marked
SPOKEN: Final = 14  # lines of a command or a reply
LINE: Final = 160  # characters of a line
AGAIN: Final = 5  # times that are told of a retransmission
TLS_RECORD: Final = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")


class Mark(NamedTuple):
    """Octets of the client's (or the server's) stream that decided. `name`: of the rule."""

    by_client: bool
    at: int
    end: int
    name: str


class Span(NamedTuple):
    """Text of a line; `mark`: the rule whose octets these are; `raw`: octets that are no text."""

    text: str
    mark: str = ""
    raw: bool = False


class Line(NamedTuple):
    """`at`: stream offset of its first octet, None for a line of ours (`… 12 more lines`)."""

    at: int | None
    spans: tuple[Span, ...]


class Rung(NamedTuple):
    """`packets`: the first and the last one; `seconds` since the connection began."""

    side: Side
    seconds: float
    packets: tuple[int, int]
    label: str
    lines: tuple[Line, ...] = ()
    fate: Fate = "through"


def marks(case: Case, deciding: int = 3) -> list[Mark]:
    """The octets for which the best causes blame a rule, each place once."""
    found: dict[tuple[bool, int], Mark] = {}
    for cause in case.causes:
        alert = cause.alert
        if alert is not None and len(found) < deciding:
            by_client = alert.direction == "client"
            end = alert.offset + max(1, min(alert.length, len(alert.octets) or 1))
            found.setdefault((by_client, alert.offset), Mark(by_client, alert.offset, end, cause.cause))
    return list(found.values())


def rungs(case: Case, *, secrets: bool = False) -> list[Rung]:
    """The rungs, in the order of the capture; none where there are no packets."""
    if case.account is None:
        return []
    return _limited(list(_Ladder(case, case.account, secrets).rungs()), case)


def _limited(found: list[Rung], case: Case) -> list[Rung]:
    """The opening, then this mail; the middle of a long one is left out."""
    begin = case.flow.start_ns if case.mail is None else case.mail.start_ns
    since = (begin - case.flow.start_ns) / 1e9
    own = next((n for n, rung in enumerate(found) if rung.seconds >= since), len(found))
    if own > OPENING:
        found = [*found[:OPENING], _left_out(found[OPENING:own], "earlier mails"), *found[own:]]
    if len(found) > RUNGS:
        head, tail = RUNGS * 2 // 3, RUNGS // 3
        found = [*found[:head], _left_out(found[head:-tail], "more of the same dialogue"), *found[-tail:]]
    return found


def _left_out(rungs: Sequence[Rung], what: str) -> Rung:
    first, last = rungs[0], rungs[-1]
    return Rung("note", first.seconds, (first.packets[0], last.packets[1]), f"left out here: {what}")


class _Ladder:
    def __init__(self, case: Case, account: Account, secrets: bool) -> None:
        self.case = case
        self.packets = account.packets
        self.masked = () if secrets else spoken.secrets(account.said)
        self.words = [] if secrets else spoken.secret_words(account.said.steps)
        self.marks = marks(case)
        self.begin = self.packets[0].ns
        self.reach = {True: 0, False: 0}  # stream offset up to which a side's octets were shown
        self.tls = False
        self.again: list[Packet] = []
        self.lost = case.observed.broken.at
        self.sealed: list[Packet] = []

    def rungs(self) -> Iterator[Rung]:
        text: list[Packet] = []
        for packet in self.packets:
            data = packet.length and not packet.flags & (SYN | RST)
            if not data and not packet.flags & (SYN | RST | FIN):
                continue
            if data and packet.at is not None and packet.at + packet.length <= self.reach[packet.by_client]:
                self.again.append(packet)
                continue
            if data and self._sealed(packet):
                self.sealed.append(packet)
            elif data and self._plain_text(packet) and not packet.flags & FIN:
                if self.again or (text and self._cut(text[-1]) != self._cut(packet)):
                    yield from self._run(text)
                    text = []
                    yield from self._repeated()
                text.append(packet)
            else:
                yield from self._run(text)
                text = []
                yield from self._repeated()
                yield from self._tls()
                yield from self._one(packet)
            self._seen(packet)
        yield from self._run(text)
        yield from self._repeated()
        yield from self._tls()

    def _sealed(self, packet: Packet) -> bool:
        """Is it TLS, or behind its beginning?"""
        tls_at = self.case.script.tls_at if self.case.script is not None else None
        begun = tls_at is not None and packet.by_client and packet.at is not None and packet.at >= tls_at
        self.tls = self.tls or begun or TLS_RECORD.match(packet.payload) is not None
        return self.tls

    def _tls(self) -> Iterator[Rung]:
        if not self.sealed:
            return
        first, last = self.sealed[0], self.sealed[-1]
        client, server = (sum(p.length for p in self.sealed if p.by_client == side) for side in (True, False))
        told = f"TLS: {client:,} bytes from the sender, {server:,} from the server"
        self.sealed = []
        yield Rung("note", self._since(first), (first.number, last.number), told)

    def _plain_text(self, packet: Packet) -> bool:
        """A client's segment of the message in which nothing is marked, and not the first one that was lost."""
        mail = self.case.transaction
        if not packet.by_client or packet.at is None or mail is None or mail.text_at is None:
            return False
        end = mail.text_end if mail.complete and mail.text_end is not None else None
        inside = packet.at > mail.text_at and (end is None or packet.at + packet.length < end)
        first_lost = self.lost is not None and packet.at <= self.lost < packet.at + packet.length
        return inside and not first_lost and not self._marked(packet)

    def _marked(self, packet: Packet) -> bool:
        at = packet.at or 0
        return any(m.by_client == packet.by_client and m.at < at + packet.length and m.end > at for m in self.marks)

    def _cut(self, packet: Packet) -> bool:
        end = packet.end
        return self.lost is not None and packet.by_client and end is not None and end > self.lost

    def _run(self, packets: Sequence[Packet]) -> Iterator[Rung]:
        """Segments of the message of which there is nothing else to tell."""
        if not packets:
            return
        first, last = packets[0], packets[-1]
        told = self._of_message(first.at or 0, (last.end or 0) - (first.at or 0))
        many = f", {len(packets):,} segments" if len(packets) > 1 else ""
        fate: Fate = "cut" if self._cut(first) else "through"
        yield Rung("client", self._since(first), (first.number, last.number), told + many, (), fate)

    def _repeated(self) -> Iterator[Rung]:
        """Retransmissions since the last rung, by side."""
        for by_client in (True, False):
            mine = [packet for packet in self.again if packet.by_client == by_client]
            if not mine:
                continue
            first, last = mine[0], mine[-1]
            times = [f"{self._since(packet):,.1f}" for packet in mine]
            if len(times) > AGAIN:
                times = [*times[: AGAIN - 1], "…", times[-1]]
            often = f"{len(mine):,} times" if len(mine) > 1 else "once"
            told = f"the same bytes again, {often}: at {' '.join(times)} s"
            fate: Fate = "cut" if any(self._cut(packet) for packet in mine) else "through"
            side: Side = "client" if by_client else "server"
            yield Rung(side, self._since(first), (first.number, last.number), told, (), fate)
        self.again = []

    def _one(self, packet: Packet) -> Iterator[Rung]:
        side: Side = "client" if packet.by_client else "server"
        place = (packet.number, packet.number)
        if packet.flags & SYN:
            told = "SYN: opens the connection" if packet.by_client else "SYN ACK"
            yield Rung(side, self._since(packet), place, told)
        elif packet.flags & RST:
            yield self._end(packet, "RST: the connection is gone")
        if packet.length and not packet.flags & (SYN | RST):
            label, lines = self._said(packet)
            fate: Fate = "cut" if self._cut(packet) else "through"
            yield Rung(side, self._since(packet), place, label, lines, fate)
        if packet.flags & FIN:
            yield self._end(packet, "FIN: closes its side")

    def _end(self, packet: Packet, told: str) -> Rung:
        broken = self.case.observed.broken
        forged = broken.by == "middlebox" and broken.packet == packet.number
        name = "sender" if packet.by_client else "server"
        label = f"{told[:3]}: sent by a box in the {name}'s name" if forged else told
        side: Side = "client" if packet.by_client else "server"
        fate: Fate = "forged" if forged else "ends"
        return Rung(side, self._since(packet), (packet.number, packet.number), label, (), fate)

    def _seen(self, packet: Packet) -> None:
        if packet.at is not None:
            side = packet.by_client
            self.reach[side] = max(self.reach[side], packet.at + packet.length)

    def _since(self, packet: Packet) -> float:
        return (packet.ns - self.begin) / 1e9

    def _of_message(self, at: int, n: int) -> str:
        """Which bytes of the message these are; "" for none."""
        mail = self.case.transaction
        inside = mail is not None and mail.holds(at)
        return f"message, {in_message(self.case.script, mail, at, n)}" if mail is not None and inside else ""

    def _said(self, packet: Packet) -> tuple[str, tuple[Line, ...]]:
        payload, at = packet.payload, packet.at or 0
        label = self._of_message(at, packet.length) if packet.by_client else ""
        in_text = bool(label)
        shows = payload
        if not in_text:
            shows = self._masked(payload, at) if packet.by_client else unsaid(payload, self.words)
        mine = [mark for mark in self.marks if mark.by_client == packet.by_client]
        lines = list(_lines(shows, at, mine))
        shown = tuple(_chosen(lines, mine, LINES if in_text else SPOKEN))
        if len(payload) < packet.length:
            short = f"… {packet.length - len(payload):,} bytes that the capture does not hold"
            shown = (*shown, Line(None, (Span(short),)))
        return label, shown

    def _masked(self, payload: bytes, at: int) -> bytes:
        """As many octets as before, what AUTH carries as asterisks."""
        made = bytearray(payload)
        for begin, end in self.masked:
            for n in range(max(begin - at, 0), min(end - at, len(made))):
                made[n] = made[n] if made[n] in b"\r\n" else 0x2A
        return bytes(made)


def _lines(octets: bytes, at: int, marked: Iterable[Mark]) -> Iterator[tuple[int, int, tuple[Span, ...]]]:
    """(begin, end, spans) of each line; a line that is too long is shown around what is marked in it."""
    begin = 0
    marked = sorted(marked, key=lambda mark: mark.at)
    while begin < len(octets):
        newline = octets.find(b"\n", begin)
        end = newline + 1 if newline >= 0 else len(octets)
        here = [mark for mark in marked if mark.at < at + end and mark.end > at + begin]
        first, last = begin, end
        if end - begin > LINE:
            middle = max(begin, here[0].at - at - LINE // 4) if here else begin
            first, last = middle, min(end, middle + LINE)
        spans = list(_spans(octets, first, last, at, here))
        if first > begin:
            spans.insert(0, Span(f"… {first - begin:,} bytes … "))
        if last < end:
            spans.append(Span(f" … {end - last:,} bytes …"))
        yield at + begin, at + end, tuple(spans)
        begin = end


def _spans(octets: bytes, first: int, last: int, at: int, marked: Sequence[Mark]) -> Iterator[Span]:
    def kind(n: int) -> tuple[str, bool]:
        name = next((mark.name for mark in marked if mark.at <= at + n < mark.end), "")
        return name, not 0x20 <= octets[n] < 0x7F

    n = first
    while n < last:
        name, raw = kind(n)
        end = n + 1
        while end < last and kind(end) == (name, raw):
            end += 1
        yield Span(_text(octets[n:end], raw), name, raw)
        n = end


def _text(octets: bytes, raw: bool) -> str:
    if not raw:
        return octets.decode("ascii")
    names = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t"}
    return "".join(names.get(octet) or f"\\x{octet:02x}" for octet in octets)


def _chosen(lines: Sequence[tuple[int, int, tuple[Span, ...]]], marked: Sequence[Mark], most: int) -> Iterator[Line]:
    """The first lines, and those around the marked ones."""
    wanted = set(range(min(most, len(lines))))
    for number, (begin, end, _) in enumerate(lines):
        if any(mark.at < end and mark.end > begin for mark in marked):
            wanted.update(range(max(0, number - 2), min(len(lines), number + 3)))
    if len(wanted) == len(lines) - 1:
        wanted = set(range(len(lines)))
    skipped = 0
    for number, (begin, _, spans) in enumerate(lines):
        if number not in wanted:
            skipped += 1
            continue
        if skipped:
            yield Line(None, (Span(f"… {skipped:,} lines …"),))
            skipped = 0
        yield Line(begin, spans)
    if skipped:
        yield Line(None, (Span(f"… {skipped:,} more lines …"),))
