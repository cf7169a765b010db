"""What speaks SMTP at the ends of `kit.ends`: a client with a script, a server that answers line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kit.ends import End

Step = tuple[bytes, int]  # octets, and how many replies are awaited behind them


class Speaker:
    """A client: what it sends, each part when the replies to the one before are there."""

    def __init__(self, end: End, steps: Sequence[Step]) -> None:
        self.end, self.steps = end, list(steps)
        self.wanted = 1  # the greeting
        self.read = 0
        self.replies: list[bytes] = []

    def go(self) -> bool:
        lines = bytes(self.end.got[self.read :])
        while (at := lines.find(b"\n")) >= 0:
            line, lines = lines[: at + 1], lines[at + 1 :]
            self.read += at + 1
            if line[3:4] != b"-":
                self.replies.append(line)
                self.wanted -= 1
        if self.wanted > 0:
            if self.end.ended and self.end.fin is None:
                self.end.close()
                return True
            return False
        if self.steps:
            octets, self.wanted = self.steps.pop(0)
            self.end.sent += octets
            return True
        if self.end.fin is None:
            self.end.close()
            return True
        return False


class Server:
    """Answers each line; `verbs` gives replies that are not 250, `greeting` its first words."""

    def __init__(self, end: End, greeting: bytes = b"220 mx ESMTP\r\n", verbs: Mapping[bytes, bytes] = {}) -> None:
        self.end, self.verbs = end, dict(verbs)
        self.read = 0
        self.text = False
        self.lines: list[bytes] = []
        self.greeting = greeting

    def go(self) -> bool:
        if self.greeting:
            self.end.sent += self.greeting
            self.greeting = b""
            return True
        moved = False
        while True:
            rest = bytes(self.end.got[self.read :])
            if self.text:
                at = rest.find(b"\r\n.\r\n")
                if at < 0:
                    break
                self.lines.append(rest[: at + 5])
                self.read += at + 5
                self.text = False
                self.end.sent += b"250 2.0.0 taken\r\n"
            else:
                at = rest.find(b"\n")
                if at < 0:
                    break
                line = rest[: at + 1]
                self.read += at + 1
                self.lines.append(line)
                self.end.sent += self.answer(line)
            moved = True
        if self.end.ended and self.end.fin is None:
            self.end.close()
            moved = True
        return moved

    def answer(self, line: bytes) -> bytes:
        verb = re.split(rb"[ \t\r\n]", line)[0].upper()
        if verb in self.verbs:
            return self.verbs[verb]
        if verb == b"DATA":
            self.text = True
            return b"354 go on\r\n"
        if verb == b"EHLO":
            return b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250-SIZE 1000\r\n250 XFOO\r\n"
        if verb == b"QUIT":
            return b"221 bye\r\n"
        if verb in (b"HELO", b"MAIL", b"RCPT", b"NOOP", b"RSET"):
            return b"250 " + verb.lower() + b" fine\r\n"
        return b"500 Command unrecognized\r\n"
