"""A plain walk over the two octet streams of an SMTP connection, replies paired with commands in order."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from oracle.mime import describe

ARG_LIMIT = 400  # characters of an argument that a transcript shows
ENDS_CHUNKS = ("MAIL", "RSET", "QUIT", "EHLO", "HELO", "DATA")
END_MARK = b"\r\n.\r\n"
PLAIN_SIZE = re.compile(rb"(\d{1,19})(?:[ \t]+LAST)?[ \t\r]*\Z", re.IGNORECASE)


def lines(octets: bytes) -> list[bytes]:
    """Lines with their ends: a line ends at LF, and the last one may have none."""
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", octets)


def without_end(line: bytes) -> bytes:
    """A line without its CRLF or bare LF; any further CR stays."""
    return line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line


def replies(octets: bytes) -> list[int | None]:
    """The code of every reply; None for a line that does not begin with three digits."""
    codes: list[int | None] = []
    open_code: int | None = None
    for line in lines(octets):
        match = re.match(rb"(\d{3})([ *-]|\s*\Z)", without_end(line))
        if open_code is not None:
            if match is None or match[2] == b"-":
                continue
            open_code = None
            codes[-1] = int(match[1])  # where the codes differ the last line decides
        elif match is None:
            codes.append(None)
        else:
            codes.append(int(match[1]))
            open_code = codes[-1] if match[2] == b"-" else None
    return codes


def unstuff(wire: bytes) -> bytes:
    """Message octets from the octets between 354 and the closing dot line."""
    return b"".join(line[1:] if line.startswith(b".") else line for line in lines(wire))


@dataclass
class Walk:
    client: bytes
    codes: list[int | None]
    position: int = 0
    next_reply: int = 0
    commands: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)  # the octets of each message
    chunks: bytes | None = None
    tls_at: int | None = None

    def reply(self) -> int | None:
        """The next reply in order."""
        self.next_reply += 1
        return self.codes[self.next_reply - 1] if self.next_reply <= len(self.codes) else None

    @property
    def replies_left(self) -> bool:
        return self.next_reply < len(self.codes)

    def line(self) -> bytes:
        end = self.client.find(b"\n", self.position)
        end = len(self.client) if end < 0 else end + 1
        line, self.position = self.client[self.position : end], end
        return without_end(line)

    def run(self) -> None:
        if self.codes and greets(self.codes[0]):
            self.next_reply = 1
        while self.position < len(self.client):
            self.command(self.line())
        self.close_chunks(False, None)

    def command(self, line: bytes) -> None:
        words = [w for w in re.split(rb"[ \t]+", line.strip(b" \t\r"), maxsplit=1) if w]
        verb = words[0].upper().decode("latin-1") if words else ""
        arg = words[1].decode("latin-1") if len(words) > 1 else ""
        answered = self.replies_left
        code = self.reply()
        # Of AUTH only the mechanism is shown; what follows it is a secret.
        shown = (re.split(r"[ \t]", arg)[0] if verb in ("AUTH", "NOOP") else arg)[:ARG_LIMIT]
        self.commands.append({"verb": verb, "arg": shown, "length": len(line), "reply": code})
        if verb in ENDS_CHUNKS:
            self.close_chunks(False, None)
        if verb == "DATA" and (code == 354 or not answered):
            self.data()
        elif verb == "BDAT":
            self.bdat(arg.encode("latin-1"), code)
        elif verb == "XEXCH50" and code == 354 and arg[:1].isdigit():
            self.position += int(re.match(r"\d+", arg)[0])  # type: ignore[index]
            self.reply()
        elif verb == "AUTH" and code == 334:
            self.auth()
        elif verb == "STARTTLS" and code == 220:
            self.tls_at = self.position
            self.client = self.client[: self.position]

    def auth(self) -> None:
        code: int | None = 334
        while code == 334 and self.position < len(self.client):
            line = self.line()
            code = self.reply()
            self.commands.append({"verb": "(auth-response)", "arg": "", "length": len(line), "reply": code})

    def data(self) -> None:
        rest = self.client[self.position :]
        if rest.startswith(b".\r\n"):
            wire, used, terminated = b"", 3, True
        elif (end := rest.find(END_MARK)) >= 0:
            wire, used, terminated = rest[: end + 2], end + len(END_MARK), True
        else:
            wire, used, terminated = rest, len(rest), False
        self.position += used
        if wire or terminated:
            self.message("DATA", terminated, wire, unstuff(wire), self.reply() if terminated else None)

    def bdat(self, arg: bytes, code: int | None) -> None:
        match = PLAIN_SIZE.match(arg)
        if match is None:
            return
        size = int(match[1])
        chunk = self.client[self.position : self.position + size]
        self.position += len(chunk)
        self.chunks = (self.chunks or b"") + chunk
        if len(chunk) < size:
            self.close_chunks(False, None)
        elif b"LAST" in arg.upper():
            self.close_chunks(True, code)

    def close_chunks(self, terminated: bool, code: int | None) -> None:
        if self.chunks is not None:
            self.message("BDAT", terminated, self.chunks, self.chunks, code)
        self.chunks = None

    def message(self, via: str, terminated: bool, wire: bytes, message: bytes, code: int | None) -> None:
        self.texts.append(message)
        self.messages.append(
            {
                "via": via,
                "terminated": terminated,
                "bytes_wire": len(wire),
                "bytes_message": len(message),
                "sha256": hashlib.sha256(message).hexdigest(),
                "final_reply": code,
                **describe(message),
            }
        )


def greets(code: int | None) -> bool:
    """Whether a connection's first reply is a greeting and not the answer to a command."""
    return code in (220, 421, 554)


def path(command: dict[str, Any], keyword: str) -> str:
    """What stands behind FROM: or TO:, parameters included; all of it where that word is missing."""
    match = re.match(rf"{keyword}:[ \t]*(.*)\Z", command["arg"], re.IGNORECASE | re.DOTALL)
    return str(match[1] if match else command["arg"])


def skip_socks(client: bytes, server: bytes) -> tuple[int, int]:
    """How many octets of a SOCKS5 negotiation (RFC 1928) precede the SMTP dialogue on either side."""
    if not (client.startswith(b"\x05") and server.startswith(b"\x05\x00") and len(client) > 1):
        return 0, 0
    here, there = 2 + client[1], 2
    for side, start in ((client, here), (server, there)):
        if len(side) < start + 5 or side[start] != 5:
            return 0, 0
    sizes = {1: 4, 4: 16}
    here += 4 + sizes.get(client[here + 3], 1 + client[here + 4]) + 2
    there += 4 + sizes.get(server[there + 3], 1 + server[there + 4]) + 2
    return here, there


def texts(client: bytes, server: bytes) -> list[bytes]:
    """The octets of each message of a connection in clear text."""
    walk = Walk(client, replies(server))
    walk.run()
    return walk.texts


def transcript(client: bytes, server: bytes) -> dict[str, Any]:
    """The fields of a transcript that the two streams alone decide."""
    result: dict[str, Any] = {
        "client_bytes": len(client),
        "server_bytes": len(server),
        "client_sha256": hashlib.sha256(client).hexdigest(),
        "server_sha256": hashlib.sha256(server).hexdigest(),
    }
    here, there = skip_socks(client, server)
    implicit_tls = client[:2] == b"\x16\x03"
    walk = Walk(b"", []) if implicit_tls else Walk(client[here:], replies(server[there:]))
    walk.run()
    if walk.tls_at is not None:
        # Reply codes end with the 220 that accepted STARTTLS; what follows is TLS.
        walk.codes = walk.codes[: walk.next_reply]
    result["commands"] = walk.commands
    result["reply_codes"] = walk.codes
    result["mail_from"] = [path(c, "FROM") for c in walk.commands if c["verb"] == "MAIL"]
    result["rcpt_to"] = [path(c, "TO") for c in walk.commands if c["verb"] == "RCPT"]
    result["messages"] = walk.messages
    result["starttls"] = None
    if walk.tls_at is not None:
        result["starttls"] = {
            "accepted": True,
            "client_tls_bytes": len(client) - here - walk.tls_at,
            "server_tls_bytes": len(server) - there - octets_of_replies(server[there:], walk.next_reply),
        }
    return result


def octets_of_replies(octets: bytes, count: int) -> int:
    """Where the first `count` replies end."""
    end = 0
    for line in lines(octets):
        end += len(line)
        if len(replies(octets[:end])) == count and re.match(rb"\d{3}([ *\r\n]|\Z)", line):
            return end
    return end
