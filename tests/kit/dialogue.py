r"""SMTP dialogues as text.

    S: 220 mx.example ESMTP
    C: EHLO a.example
    S: 250-mx.example
    S: 250 PIPELINING
    C: MAIL FROM:<a@a.example>
    --
    C: RCPT TO:<b@mx.example>

Each line is one line of the dialogue, its CRLF implied; `\c` at the end of a line leaves the CRLF out.
Escapes: `\r \n \0 \t \\ \xNN`. `{A*1000}` repeats what stands before the star (escapes included).
Neighbouring lines of one side are one turn; `--` starts a new turn, `-- 600` does so after 600 seconds.
Empty lines and lines that begin with `#` say nothing. A character outside ASCII stands for its UTF-8 octets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kit.segment import Direction

REPEAT = re.compile(r"\{((?:[^{}\\*]|\\.)+)\*(\d+)\}")
ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
PLAIN = {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}


@dataclass(frozen=True)
class Turn:
    """What one side sends without waiting; `wait` seconds pass before it."""

    side: Direction
    octets: bytes
    wait: float = 0.0


class DialogueError(ValueError):
    """A line of a dialogue text that says nothing known."""


def octets_of(text: str) -> bytes:
    """The octets that the text of one dialogue line stands for, without its CRLF."""
    expanded = REPEAT.sub(lambda m: m[1] * int(m[2]), text)
    pieces = []
    position = 0
    for match in ESCAPE.finditer(expanded):
        pieces.append(expanded[position : match.start()].encode())
        name = match[1]
        if name[0] == "x" and len(name) == 3:
            pieces.append(bytes([int(name[1:], 16)]))
        elif name in PLAIN:
            pieces.append(PLAIN[name].encode())
        else:
            raise DialogueError(f"unknown escape \\{name} in {text!r}")
        position = match.end()
    return b"".join(pieces) + expanded[position:].encode()


def parse(text: str) -> list[Turn]:
    """The turns of a dialogue text."""
    turns: list[Turn] = []
    fresh, wait = True, 0.0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        if line.startswith("--"):
            fresh, wait = True, float(line[2:].strip() or 0)
            continue
        if line[:2] not in ("C:", "S:"):
            raise DialogueError(f"line {number}: neither C: nor S: nor --: {raw!r}")
        side: Direction = "C" if line[0] == "C" else "S"
        body = line[2:].removeprefix(" ")
        bare = re.search(r"(?<!\\)(?:\\\\)*\\c\Z", body) is not None
        octets = octets_of(body[:-2]) if bare else octets_of(body) + b"\r\n"
        if fresh or turns[-1].side != side:
            turns.append(Turn(side, octets, wait))
        else:
            turns[-1] = Turn(side, turns[-1].octets + octets, turns[-1].wait)
        fresh, wait = False, 0.0
    return turns


def stream(turns: Iterable[Turn], side: Direction) -> bytes:
    """All octets of one side."""
    return b"".join(t.octets for t in turns if t.side == side)


# A dialogue that most tests start from: one mail, accepted.
DELIVERY = """
S: 220 mx.example ESMTP
C: EHLO a.example
S: 250-mx.example
S: 250-PIPELINING
S: 250 8BITMIME
C: MAIL FROM:<alice@a.example>
S: 250 2.1.0 Ok
C: RCPT TO:<bob@mx.example>
S: 250 2.1.5 Ok
C: DATA
S: 354 End data with <CR><LF>.<CR><LF>
C: From: alice@a.example
C: To: bob@mx.example
C: Subject: hello
C:
C: How are you?
C: .
S: 250 2.0.0 Ok: queued as 1
C: QUIT
S: 221 2.0.0 Bye
"""
