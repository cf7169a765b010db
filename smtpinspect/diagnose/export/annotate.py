"""The capture once more, with a comment on each packet that decides, so that Wireshark shows the verdict in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Final, NamedTuple

from smtpinspect.diagnose.export.blocks import blocks, commented
from smtpinspect.diagnose.model import Case, Diagnosis, Observed
from smtpinspect.diagnose.observe.ending import SAME
from smtpinspect.source import Input

CAUSES: Final = 3  # ranks of causes that are told
ENDS: Final[Mapping[str, str]] = {
    "drop": "the first packet that was never answered",
    "rst": "this RST ended the connection",
    "fin": "this FIN ended the connection",
    "reply": "the reply that decided",
}


class Written(NamedTuple):
    """`packets` in all, `comments` among them; `left_out`: packets whose kind of block takes no comment."""

    packets: int
    comments: int
    left_out: int


def comments(diagnosis: Diagnosis, point: str = "") -> dict[int, list[str]]:
    """What is said of which packet, proved things first; the degree of truth stands before each.

    `point`: where the capture was taken; what was seen elsewhere has packets of other captures.
    """
    found: dict[int, list[str]] = {}
    for case in diagnosis.cases:
        if not case.failed:
            continue
        for number, text in _of(case, ("", point)):
            if number is not None and text not in found.setdefault(number, []):
                found[number].append(text)
    return found


def _of(case: Case, points: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    seen = case.observed
    broken = seen.broken
    who = "" if case.mail is None else f" ({case.mail.mail_from or '<>'})"
    told = f"{seen.outcome} at {seen.phase}" if seen.phase else seen.outcome
    if broken.packet:
        yield broken.packet, _said("PROVED", f"{ENDS.get(broken.kind, 'here it ended')}{_by(seen)}; mail{who} {told}")
    if broken.at is not None and broken.kind != "drop":
        yield _holding(case, broken.at), _said("PROVED", f"first packet that was never acknowledged; mail{who} {told}")
    for sign in (*broken.signs, *case.proved):
        if sign.point in points:
            yield sign.packet, _said("PROVED", sign.text)
    for one in case.fingerprints:
        for sign in (sign for sign in one.signs if sign.point in points):
            yield sign.packet, _said("PROVED", f"{one.text}{f' ({one.product})' if one.product else ''}")
    for cause in case.causes:
        if cause.rank >= CAUSES:
            continue
        degree = cause.degree.upper()
        for sign in (sign for sign in cause.evidence if sign.point in points):
            yield sign.packet, _said(degree, f"{cause.cause} ({cause.confidence}): {sign.text}")
        alert = cause.alert
        if alert is not None:
            side = "sender" if alert.direction == "client" else "server"
            where = f"the {side}'s byte {alert.offset}, {alert.length} long"
            yield alert.packet, _said(degree, f"{cause.cause} ({cause.confidence}): {cause.title}, {where}")


def _holding(case: Case, at: int) -> int | None:
    """The first packet with this octet of the client's."""
    packet = case.account.client.carrier(at) if case.account is not None else None
    return packet.number if packet is not None else None


def _by(seen: Observed) -> str:
    """A box only where it sent something: what drops packets may be a line or a router, and a silence alone is not
    even on the way."""
    broken = seen.broken
    if broken.by == "unknown" or (broken.by == "middlebox" and broken.kind == "drop" and seen.phase == "connect"):
        return ""
    if broken.by == "middlebox" and broken.kind == "drop":
        return f"; {SAME}" if any(sign.text == SAME for sign in broken.signs) else ", lost on the way"
    return f", by {'a box on the way' if broken.by == 'middlebox' else broken.by}"


def _said(degree: str, text: str) -> str:
    """One line, without what could move a cursor."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return f"smtpinspect {degree}: {line}"


def annotate(source: Input, said: Mapping[int, Sequence[str]], out: BinaryIO) -> Written:
    """Write the capture as pcapng, comments by packet number; frames, times and interfaces stay as they are.

    Raises UsageError like `open_source`, OSError of the output.
    """
    packets = placed = left_out = 0
    for found in blocks(source):
        if found.number:
            packets += 1
            if texts := said.get(found.number):
                told = commented(found, texts)
                placed += told is not None
                left_out += told is None
                found = told or found
        out.write(found.octets)
    return Written(packets, placed, left_out)
