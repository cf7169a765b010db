"""What a look-alike's test is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.account.spoken import CLOSES
from smtpinspect.diagnose.model import Case, Confidence, Degree, Remedy, Sign
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import ACK, RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.grammar.phrases import count
from smtpinspect.grammar.phrases import seconds as seconds
from smtpinspect.simulate.clock import SECOND

plural: Final = count
END_MARK: Final = b"\r\n.\r\n"  # RFC 5321 4.1.1.4
AMID: Final = frozenset({"databody", "datamid"})  # phases
STALLED_NS: Final = limits.STALL_NS  # who closes sooner has not waited
SMALL_WINDOW: Final = 536  # octets, RFC 9293 3.7.1: the segment that everybody takes


class Found(NamedTuple):
    """It may be so. `degree`: `proved` where the packets themselves show it; `bare`: nothing but the silence tells."""

    confidence: Confidence
    signs: tuple[Sign, ...]
    degree: Degree = "fits"
    bare: bool = False


class Out(NamedTuple):
    """It is not so, and why, in a line."""

    why: str
    signs: tuple[Sign, ...] = ()


ANSWERED: Final = "the server had answered by then, as its numbers tell; its answer did not come through"
Said = Found | Out | None  # None: this capture cannot tell


@dataclass(slots=True)
class View:
    """A case with what its packets tell. `others`: those of the same path, `accounts` of these that were traced."""

    case: Case
    account: Account
    others: Sequence[Case]
    accounts: Sequence[tuple[Case, Account]]
    last_ns: int  # of the captures: the end of the connection that lasted longest
    damaged: bool = False  # the capture could not be read to its end

    @property
    def phase(self) -> str:
        mail = self.case.mail
        return self.case.observed.phase or (mail.phase if mail is not None else None) or ""

    @property
    def doubts(self) -> tuple[str, ...]:
        return self.case.observed.confidence or tuple(self.case.flow.confidence)

    def shut(self, p: Packet) -> bool:
        """Does it tell that there is no room? Of a window whose scale is not known only 0 tells anything."""
        return p.window < SMALL_WINDOW if self.account.scaled else p.window == 0

    @property
    def windows(self) -> list[Packet]:
        """The server's packets that tell of its window."""
        return [p for p in self.account.server.own if p.flags & ACK and not p.flags & (SYN | RST)]

    @property
    def text_end(self) -> int | None:
        """Stream offset behind the end mark, where the client sent one."""
        mail = self.case.transaction
        if mail is not None:
            return mail.text_end if mail.complete else None
        return self.account.client.end if self.tail(5) == END_MARK else None

    @property
    def amid_text(self) -> bool:
        """Was the text asked for, and has it not ended? No client pauses there."""
        mail = self.case.transaction
        return self.phase in AMID or (mail is not None and mail.text_at is not None and not mail.complete)

    @property
    def last_word(self) -> Packet:
        """What ended the client's wait: the first FIN or RST, or a 421; else the last packet."""
        ended = self.account.ended
        ends = [ended] if ended is not None else []
        ends += [each.packet for each in self.account.said.replies if each.code == CLOSES]
        return min(ends, key=lambda p: p.number, default=self.account.packets[-1])

    @property
    def waiting(self) -> list[Packet]:
        """What the client sent before that, with octets."""
        until = self.last_word.number
        return [p for p in self.account.client.sent if p.number <= until]

    def tail(self, octets: int) -> bytes | None:
        """The last octets that the client sent before it waited; None: not all are in the capture."""
        made, at = b"", max((p.end or 0 for p in self.waiting), default=0)
        for p in sorted(self.waiting, key=lambda p: p.at or 0, reverse=True):
            if len(made) >= octets:
                break
            if p.at is None or p.at + p.length < at or len(p.payload) < p.length:
                return None
            made = p.payload[: at - p.at] + made
            at = min(at, p.at)
        return made[-octets:] if len(made) >= octets else None

    @property
    def until_ns(self) -> int:
        """When its packets end; where a log tells how long the client waited on, that."""
        seen, last = self.case.observed, self.account.packets[-1].ns
        heard = max((p.ns for p in self.account.packets if not p.by_client), default=self.account.packets[0].ns)
        return max(last, heard + int(seen.silence * SECOND)) if seen.by_log else last

    @property
    def closed_by_client(self) -> Packet | None:
        """The FIN or RST of the client, where it was the first to close."""
        first = self.account.closed
        return first if first is not None and first.by_client else None

    @property
    def gave_up(self) -> Packet | None:
        """The same, where it had waited; some close with QUIT behind a pipelined group, and wait for replies."""
        closed = self.closed_by_client
        return closed if closed is not None and self.waited_ns >= STALLED_NS else None

    @property
    def answered(self) -> Out | None:
        """Does the server's own count tell that it had said more than came? One more may be a FIN."""
        beyond, end = self.account.server.reach, self.account.server.end
        told = beyond is not None and (beyond.at or 0) > end + 1
        return Out(ANSWERED, (Sign(beyond.number, ANSWERED),)) if told and beyond is not None else None

    def answers(self, ns: int) -> list[Packet]:
        """What the server sent later than that."""
        return self.account.after(ns, by_client=False)

    @property
    def waited_ns(self) -> int:
        """How long the client had got nothing when it closed, or when its packets end."""
        closed = self.closed_by_client
        packets = self.account.packets
        until = (closed or packets[-1]).ns
        heard = [p.ns for p in packets if not p.by_client and p.ns <= until and (p.length or p.flags & SYN)]
        return until - (heard[-1] if heard else packets[0].ns)


Test = Callable[[View], Said]


class LookAlike(NamedTuple):
    """A row: what else breaks a mail so. `clears`: what rules it out. `source`: where that is told."""

    name: str
    title: str
    test: Test
    remedies: tuple[Remedy, ...]
    clears: str
    source: str


def listed(packets: Iterable[Packet], most: int = 4) -> str:
    """`packets 4, 7, 9 and 3 more`."""
    numbers = [p.number for p in packets]
    text = ", ".join(f"{number:,}" for number in numbers[:most])
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"packet{'s' if len(numbers) > 1 else ''} {text}{more}"
