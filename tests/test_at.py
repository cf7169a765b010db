"""AtPhase: the core's own state machine tells where in the dialogue a packet is."""

from __future__ import annotations

import pytest

from smtpinspect.enforce.at import PHASES, AtPhase, Gate, Phase, box_at
from smtpinspect.enforce.craft import Segment, parse
from smtpinspect.enforce.firewall import Fate, Firewall
from smtpinspect.errors import UsageError
from smtpinspect.mta import registry
from smtpinspect.mta.base import submitted
from smtpinspect.simulate.attempt import attempt
from smtpinspect.simulate.client import Letter

FIN, SYN, RST = 1, 2, 4
# The beginning of the packet that a break at each phase takes away, one command per segment.
TAKEN = {
    "connect": b"",
    "greeting": b"220 ",
    "ehlo": b"EHLO ",
    "mail": b"MAIL FROM",
    "rcpt": b"RCPT TO",
    "datacmd": b"DATA\r\n",
    "reply354": b"354 ",
    "databody": b"Received: ",
    "datamid": b"xx",
    "dot": b"xx",
    "dotreply": b"250 2.0.0 Ok: queued",
    "quit": b"QUIT\r\n",
}


class Watched:
    """A box, and the packets that it has decided."""

    def __init__(self, box: Firewall | Gate) -> None:
        self.box = box
        self.seen: list[tuple[Segment, Fate]] = []

    def take(self, ns: int, ip: bytes) -> Fate:
        fate = self.box.take(ns, ip)
        segment = parse(ip)
        assert segment is not None
        self.seen.append((segment, fate))
        return fate

    @property
    def taken(self) -> tuple[Segment, Fate]:
        """The first packet that did not pass."""
        return next((segment, fate) for segment, fate in self.seen if fate.kind != "pass")


def watched(box: Firewall | Gate, *, mta: str = "exim", size: int = 4_000, pipelining: bool = False) -> Watched:
    """One mail through it."""
    made = Watched(box)
    sender = registry.sender(mta)
    mail = sender.example
    letter = Letter(mail, sender.message(mail, submitted(mail, size), 0.0))
    offers = ("PIPELINING",) if pipelining else ()
    attempt(sender, letter, registry.receiver("scripted"), made, extensions=offers)
    return made


@pytest.mark.parametrize("phase", PHASES)
def test_the_packet_of_the_phase_is_taken_away(phase: Phase) -> None:
    box = watched(box_at(phase, "drop", 1_500))
    segment, fate = box.taken
    assert segment.payload.startswith(TAKEN[phase])
    assert bool(segment.flags & SYN) == (phase == "connect")
    assert fate.kind == "drop"
    assert fate.injected == ()
    # Nothing passes any more, either way.
    at = [fate.kind for _, fate in box.seen].index("drop")
    assert {fate.kind for _, fate in box.seen[at:]} == {"drop"}


@pytest.mark.parametrize("phase", PHASES)
def test_an_rst_or_a_fin_goes_to_both_sides(phase: Phase) -> None:
    for kind, flag in (("rst", RST), ("fin", FIN)):
        _, fate = watched(box_at(phase, kind, 1_500)).taken  # type: ignore[arg-type]
        told = [to for to, ip in fate.injected if (made := parse(ip)) and made.flags & flag]
        # Before the handshake the server has not heard of the connection.
        assert told == (["client"] if phase == "connect" else ["client", "server"])


def test_the_end_mark_is_found_at_the_end() -> None:
    segment, _ = watched(box_at("dot", "drop")).taken
    assert segment.payload.endswith(b"\r\n.\r\n")


def test_the_middle_is_so_many_octets_into_the_body() -> None:
    for octets in (2_000, 20_000, 50_000):
        box = watched(box_at("datamid", "drop", octets), size=100_000)
        whole = b"".join(segment.payload for segment, fate in box.seen if segment.dport == 25 and fate.kind == "pass")
        text = whole[whole.index(b"Received:") :]
        body = text[text.index(b"\r\n\r\n") + 4 :]
        assert octets - 1_448 < len(body) <= octets


@pytest.mark.parametrize("phase", ["mail", "rcpt", "datacmd"])
def test_pipelined_commands_are_taken_with_their_segment(phase: Phase) -> None:
    segment, _ = watched(box_at(phase, "drop"), pipelining=True).taken
    assert segment.payload.startswith(b"MAIL FROM")
    assert segment.payload.endswith(b"DATA\r\n")


def test_a_quit_behind_the_end_mark_does_not_take_the_mail_with_it() -> None:
    segment, _ = watched(box_at("quit", "drop"), pipelining=True).taken
    assert segment.payload.startswith(b"221 ")


def test_what_is_not_known_is_told() -> None:
    with pytest.raises(UsageError, match="Did you mean databody"):
        AtPhase("databdy", "drop")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Did you mean rst"):
        AtPhase("dot", "rts")  # type: ignore[arg-type]
