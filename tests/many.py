"""Captures of many mails, each on a connection of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kit import capture, wire
from kit.dialogue import parse

START = 1_772_445_600.0  # 2026-03-02 10:00 UTC


class Sent(NamedTuple):
    """A mail and what became of it; `reply` "" is silence after the text."""

    subject: str = "hello"
    sender: str = "alice@example.org"
    server: str = "198.51.100.25"
    reply: str = "250 2.0.0 queued"
    greeting: str = "220 mx.example.net ESMTP"
    keywords: tuple[str, ...] = ("SIZE 1000", "STARTTLS")
    received: str = "from x by y (Postfix) id 1"
    tls: bool = False


def dialogue(mail: Sent) -> str:
    lines = [f"S: {mail.greeting}", "C: EHLO mail.example.org", "S: 250-mx.example.net"]
    lines += [f"S: 250{' ' if word == mail.keywords[-1] else '-'}{word}" for word in mail.keywords]
    if mail.tls:
        return "\n".join([*lines, "C: STARTTLS", "S: 220 go ahead"])
    lines += [f"C: MAIL FROM:<{mail.sender}>", "S: 250 Ok", "C: RCPT TO:<bob@example.net>", "S: 250 Ok"]
    lines += ["C: DATA", "S: 354 go on", f"C: Received: {mail.received}", f"C: Subject: {mail.subject}"]
    lines += ["C:", "C: text", "C: ."]
    return "\n".join([*lines, f"S: {mail.reply}", "C: QUIT", "S: 221 Bye"] if mail.reply else lines)


def write(path: Path, mails: Iterable[Sent], gap: float = 60.0) -> str:
    """A capture with these, `gap` seconds apart."""
    found: list[capture.Record] = []
    for number, mail in enumerate(mails):
        ends = wire.Ends(server=mail.server, client_port=20_000 + number)
        close: wire.Close = "fin" if mail.reply else "none"
        segments = wire.build(parse(dialogue(mail)), start=START + number * gap, close=close)
        found += capture.records(wire.packets(segments, ends))
    path.write_bytes(capture.pcap(found))
    return str(path)
