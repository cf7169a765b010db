"""A folder for the other side's network team: what the packets show, the packets, digests, and one question.

It is neutral: nothing of what we think of it is in there, only what anybody can look up in the packets.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from smtpinspect.diagnose.export.cut import SUFFIX, Cut, Wanted, cut, empty_folder
from smtpinspect.diagnose.model import Case
from smtpinspect.enforce.craft import SYN, parse
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.grammar.phrases import count
from smtpinspect.source import Input

SUMS: Final = "SHA256SUMS"
LINES: Final = 20  # of a log
LAST: Final = 3  # steps of a dialogue of which nothing else is to be told
_NUMBER: Final = re.compile(r"\bpacket (\d[\d,]*)(?=\))")
PIECE: Final = 1 << 20  # octets of a file that are read at once


class Exhibit(NamedTuple):
    """A connection in the folder: the fields of its page, what the packets show, the exact question, and lines of logs
    about it as they stand, by whose they are."""

    name: str
    fields: Mapping[str, str]
    facts: tuple[str, ...]
    question: str
    logs: Mapping[str, tuple[str, ...]] = MappingProxyType({})


Facts = Callable[[Case], Sequence[str]]
Pages = Callable[[Sequence[Exhibit]], Mapping[str, str]]


def evidence(source: Input, cases: Sequence[Case], folder: str, facts: Facts, pages: Pages) -> list[Exhibit]:
    """Fill the folder with captures, the pages that `pages` makes (name to text), and SHA256SUMS of all of them.

    `facts` tells what is proved of a case. Raises UsageError where the folder is not empty or cannot be written.
    """
    once = {case.flow.flow_id: case for case in reversed(cases)}
    chosen = sorted(once.values(), key=lambda case: case.flow.first_packet)[: limits.EXPORT_CASES]
    empty_folder(folder, "--evidence")
    shown = [tuple(_facts(case, facts)) for case in chosen]
    wanted = [
        Wanted(case.flow, f"connection-{number:03}{SUFFIX}", numbers=frozenset(_told(shown[number - 1])))
        for number, case in enumerate(chosen, 1)
    ]
    behind = [
        Wanted(case.other, f"connection-{number:03}-behind{SUFFIX}")
        for number, case in enumerate(chosen, 1) if case.other is not None
    ]  # fmt: skip
    made = cut(source, [*wanted, *behind], folder)
    whole = "capture" if isinstance(source, str) else "captures, read as one in order of time,"
    told = [_exhibit(case, one, each, whole) for case, one, each in zip(chosen, made, shown, strict=False)]
    names = [one.wanted.name for one in made if one.packets]
    for name, text in pages(told).items():
        _write(os.path.join(folder, name), text)
        names.append(name)
    lines = [f"{digest(os.path.join(folder, name))}  {name}\n" for name in sorted(names)]
    _write(os.path.join(folder, SUMS), "".join(lines))
    return told


def _write(path: str, text: str) -> None:
    try:
        with open(path, "x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def digest(path: str) -> str:
    """SHA-256 (FIPS 180-4) of a file, in hexadecimal digits."""
    made = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            made.update(piece)
    return made.hexdigest()


def _facts(case: Case, facts: Facts) -> Iterator[str]:
    """What the packets show, ICMP errors about them too; where that is nothing, how far it came."""
    found = [*facts(case), *_errors(case)]
    yield from found or (f"{moment.told} (packet {moment.packet:,})" for moment in case.observed.timeline[-LAST:])


def _errors(case: Case) -> Iterator[str]:
    found: dict[tuple[str, str], list[int]] = {}
    for each in case.trace.notices if case.trace is not None else ():
        whose = "the client's" if each.about_client else "the server's"
        mtu = f", the next hop takes {each.mtu:,} bytes" if each.mtu else ""
        found.setdefault((f"{each.source} answers {whose} packets with", f"{each.what}{mtu}"), []).append(each.number)
    for (who, what), numbers in found.items():
        yield f"{who} {count(len(numbers), 'ICMP error')}: {what} (first in packet {numbers[0]:,})"


def _told(facts: Sequence[str]) -> Iterator[int]:
    """Numbers of packets in these; those of other points' captures are not meant."""
    for fact in facts:
        yield from (int(found[1].replace(",", "")) for found in _NUMBER.finditer(fact))


def _exhibit(case: Case, made: Cut, facts: Sequence[str], whole: str) -> Exhibit:
    flow = case.flow
    fields = {
        "protocol": "TCP",
        "client (sender)": flow.client,
        "server": flow.server,
        "first packet": utc(flow.start_ns),
        "last packet": utc(flow.end_ns),
        "packets": f"{made.packets:,}, in the original {whole} between packet {made.first:,} and {made.last:,}",
        **dict(_numbers(case)),
        **dict(_places(made)),
    }
    if case.other is not None:
        name = made.wanted.name.replace(SUFFIX, f"-behind{SUFFIX}")
        fields["behind the machine"] = f"{case.other.client} to {case.other.server}, in {name}"
    if case.mail is not None:
        fields |= {"mail from": case.mail.mail_from or "<>", "to": ", ".join(case.mail.rcpt_to[:10])}
        if case.mail.message_id:
            fields["message-id"] = case.mail.message_id
    question = "\n".join(case.questions) or _question(case)
    return Exhibit(made.wanted.name, fields, tuple(facts), question, dict(_logs(case)))


def _logs(case: Case) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What was joined with this connection."""
    for whose, side in (("the sender", "sender"), ("the receiver", "receiver")):
        lines = [line for each in case.log_lines if each.side == side for line in each.line.splitlines()[:1]]
        if lines:
            yield f"What the log of {whose}'s mail server says, by its own clock", tuple(lines[:LINES])
    if case.logged:
        yield "What the firewall's log says, by its own clock", tuple(sign.text for sign in case.logged[:LINES])


def utc(ns: int) -> str:
    """RFC 3339, microseconds."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9 // 1000:06}Z"


def _numbers(case: Case) -> Iterator[tuple[str, str]]:
    """Sequence numbers as they are on the wire: of both SYNs, and of the first octet that was lost."""
    if case.account is None:
        return
    first: dict[bool, int] = {}
    for packet in case.account.packets:
        if packet.flags & SYN and packet.by_client not in first and (segment := parse(packet.ip)):
            first[packet.by_client] = segment.seq
            yield f"initial sequence number of the {'client' if packet.by_client else 'server'}", f"{segment.seq}"
    broken = case.observed.broken
    if broken.at is None:
        return
    lost = case.account.client.carrier(broken.at)
    if lost is not None and (segment := parse(lost.ip)):
        number = (segment.seq + broken.at - (lost.at or 0)) % (1 << 32)
        yield "first sequence number that was never acknowledged", f"{number} (the client's byte {broken.at})"


def _places(made: Cut) -> Iterator[tuple[str, str]]:
    """Where to find in this capture what is told by its number in the original."""
    moved = [f"{number:,} is {own:,} here" for number, own in sorted(made.own.items()) if number != own]
    if moved:
        yield "packets named below", f"are numbered as in the original: {', '.join(moved)}"


def _question(case: Case) -> str:
    """Where nobody has a better one."""
    flow = case.flow
    return (
        f"Please search the log of every firewall and mail gateway between {utc(flow.start_ns)} and "
        f"{utc(flow.end_ns)} for src {flow.client} dst {flow.server}: which rule or alarm stopped this connection?"
    )
