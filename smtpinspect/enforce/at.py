"""A firewall that breaks a flow at a phase of the dialogue: to try what both sides make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from smtpinspect.actions import DROP_FLOW, PROJECT, RESET, Action
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN, Segment, build, parse
from smtpinspect.enforce.firewall import Fate, Firewall
from smtpinspect.errors import UsageError
from smtpinspect.facts import COMMAND, COUNT, END_OF_DATA, GREETING, REPLY, Pattern, gt, in_, not_in
from smtpinspect.grammar.verbs import VERBS
from smtpinspect.inspectors.base import Inspector, Rule, Settings
from smtpinspect.inspectors.settings import unknown

Phase = Literal[
    "connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354", "databody", "datamid", "dot", "dotreply",
    "quit",
]  # fmt: skip
Kind = Literal["drop", "rst", "fin"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
MIDDLE: Final = 20_000  # octets of the body before `datamid`

# What happens to the flow; whoever is told nothing hears nothing any more.
ACTIONS: Final[Mapping[Kind, Action]] = {
    "drop": DROP_FLOW,
    "rst": RESET,
    "fin": RESET._replace(params={"client": "fin", "server": "fin"}),
}
# An end mark waits for its reply like a command that is known and has no name; so does an answer of AUTH, which gets
# codes of its own (RFC 4954 6).
NAMES: Final = tuple(verb.name for verb in VERBS if verb.name)
AUTH: Final = (235, 334, 432, 454, 500, 534, 535, 538)
_SOURCE: Final = "none: a laboratory's own rule"
_SIGNATURE: Final = 2_000_900


def patterns(phase: Phase, octets: int = MIDDLE) -> tuple[Pattern, ...]:
    """The facts at which this phase begins; none for `connect`, before which there is no dialogue."""
    rows: Mapping[Phase, tuple[Pattern, ...]] = {
        "greeting": (GREETING(),),
        "ehlo": (COMMAND(verb=in_(b"EHLO", b"HELO", b"LHLO")),),
        "mail": (COMMAND(verb=b"MAIL"),),
        "rcpt": (COMMAND(verb=b"RCPT"),),
        "datacmd": (COMMAND(verb=in_(b"DATA", b"BDAT")),),
        "reply354": (REPLY(code=354, verb=b"DATA"),),
        "databody": (COUNT(what="header-octets", value=gt(0)), COUNT(what="body-octets", value=gt(0))),
        "datamid": (COUNT(what="body-octets", value=gt(octets)),),
        "dot": (END_OF_DATA(variant=1),),
        "dotreply": (REPLY(known=1, verb=not_in(*NAMES), code=not_in(*AUTH)), REPLY(verb=b"BDAT")),
        # A QUIT that rides behind the end mark is not told apart from it; then the reply to QUIT is taken.
        "quit": (COMMAND(verb=b"QUIT", outstanding=0), REPLY(verb=b"QUIT")),
    }
    return rows.get(phase, ())


class AtPhase(Inspector):
    """Breaks each flow at one phase. `octets`: of the body before `datamid`. Raises UsageError."""

    name = "at"
    title = "a break at a phase"
    sources = {"none": _SOURCE}

    def __init__(self, phase: Phase, kind: Kind, octets: int = MIDDLE) -> None:
        if phase not in PHASES:
            raise unknown("phase", phase, PHASES)
        if kind not in KINDS:
            raise unknown("break", kind, KINDS)
        if octets < 0:
            raise UsageError(f"{octets} bytes before the break: 0 or more")
        self.phase: Final = phase
        self.kind: Final = kind
        self.octets: Final = octets
        super().__init__()

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """One row, or two for what has a header or none."""
        number = _SIGNATURE + PHASES.index(self.phase)
        for pattern in patterns(self.phase, self.octets):
            yield Rule(
                f"at.{self.phase}", pattern, ACTIONS[self.kind], PROJECT, _SOURCE, number, f"a break at {self.phase}"
            )


class Gate:
    """The same at `connect`: the first SYN of a flow is taken away, and all of it that follows."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._shut: set[tuple[str, int, str, int]] = set()

    def take(self, ns: int, ip: bytes) -> Fate:
        """The fate of a packet: of every one that belongs to a flow, drop."""
        segment = parse(ip)
        if segment is None:
            return Fate("pass")
        ends = (segment.src, segment.sport, segment.dst, segment.dport)
        if ends in self._shut or ends[2:] + ends[:2] in self._shut:
            return Fate("drop", why="the flow has ended")
        if segment.flags & (SYN | ACK) != SYN:
            return Fate("pass")
        self._shut.add(ends)
        return Fate("drop", injected=self._told(segment), why="at.connect")

    def _told(self, syn: Segment) -> tuple[tuple[Literal["client"], bytes], ...]:
        flags = {"rst": RST | ACK, "fin": FIN | ACK}.get(self.kind)
        if flags is None:
            return ()
        made = syn._replace(
            src=syn.dst,
            dst=syn.src,
            sport=syn.dport,
            dport=syn.sport,
            seq=0,
            ack=(syn.seq + len(syn.payload) + 1) % 2**32,
            flags=flags,
            options=b"",
            payload=b"",
            ip_id=0,
        )
        return (("client", build(made)),)


def box_at(phase: Phase, kind: Kind, octets: int = MIDDLE) -> Firewall | Gate:
    """A box that breaks a flow at this phase. Raises UsageError."""
    inspector = AtPhase(phase, kind, octets)
    return Gate(kind) if phase == "connect" else Firewall(inspector)
