"""A firewall that breaks a flow at a phase of the dialogue: to try what both sides make of it."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, get_args

from smtpinspect.enforce.craft import Segment, build, parse

Phase = Literal[
    "connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354", "databody", "datamid", "dot", "dotreply",
    "quit",
]  # fmt: skip
Kind = Literal["drop", "rst", "fin"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class _Fate(NamedTuple):
    kind: str
    octets: bytes | None = None
    injected: tuple[tuple[str, bytes], ...] = ()
    why: str = ""


class Breaker:
    """Stand-in until the firewall of `enforce` is there."""

    def __init__(self, phase: Phase, kind: Kind, octets: int) -> None:
        self.phase, self.kind, self.octets = phase, kind, octets
        self.broken = False
        self.state = "cmd"
        self.body = 0
        self.last = b""
        self.next: int | None = None
        self.greeted = False

    def take(self, ns: int, ip: bytes) -> _Fate:
        if self.broken:
            return _Fate("drop")
        s = parse(ip)
        assert s
        hit = self._client(s) if s.dport == 25 else self._server(s)
        if not hit:
            return _Fate("pass")
        self.broken = True
        client = s.dport == 25
        cn = s.seq + len(s.payload) + bool(s.flags & 2) if client else s.ack
        sn = (s.ack if not s.flags & 2 else 0) if client else s.seq
        expect = s.seq if client else s.ack
        c, v = ((s.src, s.sport), (s.dst, s.dport)) if client else ((s.dst, s.dport), (s.src, s.sport))
        out = []
        flags = {"rst": 0x14, "fin": 0x11}.get(self.kind)
        if flags:
            out.append(("client", self._make(v, c, sn, cn, flags)))
            if not s.flags & 2:
                out.append(("server", self._make(c, v, expect, sn, flags)))
        return _Fate("drop", None, tuple(out), self.phase)

    def _make(self, a: tuple[str, int], b: tuple[str, int], seq: int, ack: int, flags: int) -> bytes:
        made = Segment(a[0], b[0], a[1], b[1], seq % 2**32, ack % 2**32, flags, 500, b"", b"", 64, 0)
        return build(made)

    def _client(self, s: Segment) -> bool:
        if s.flags & 2:
            return self.phase == "connect"
        d = s.payload
        if not d or (self.next is not None and s.seq + len(d) <= self.next):
            return False
        self.next = s.seq + len(d)
        if self.state == "data":
            before = self.body
            self.body += len(d)
            self.last = self.last[-4:] + d
            if self.phase == "databody" and not before:
                return True
            if self.phase == "datamid" and self.body > self.octets:
                return True
            if b"\r\n.\r\n" in self.last:
                self.state = "after"
                return self.phase == "dot"
            return False
        words = {"ehlo": rb"^(EHLO|HELO) ", "mail": rb"^MAIL FROM", "rcpt": rb"^RCPT TO", "datacmd": rb"^DATA\r",
                 "quit": rb"^QUIT\r"}
        rx = words.get(self.phase)
        return bool(rx and re.search(rx, d.upper(), re.M))

    def _server(self, s: Segment) -> bool:
        d = s.payload
        if not d:
            return False
        first, self.greeted = not self.greeted, True
        if first and self.phase == "greeting":
            return True
        if re.search(rb"^354 ", d, re.M):
            self.state = "data"
            return self.phase == "reply354"
        return self.phase == "dotreply" and self.state == "after"


def box_at(phase: Phase, kind: Kind, octets: int = 20_000) -> Breaker:
    """A box that breaks the first flow at this phase."""
    return Breaker(phase, kind, octets)
