"""An SMTP server that says what it is told to say, and keeps the mails.

    scripted.py ADDRESS FOLDER [KEYWORD | VERB=REPLY ...]

The KEYWORDs are what it offers in reply to EHLO, the REPLYs what it says instead of its own; `\\r\\n` in one is a line
end. For VERB the beginning of a line may stand, in capitals (the longest counts), GREETING, or TEXT, a mail's end.
Each accepted text goes to FOLDER/NUMBER.eml as it came, dots doubled.
"""

import itertools
import socketserver
import sys
from pathlib import Path

REPLIES = {
    b"HELO": "250 mx.example.net",
    b"MAIL": "250 2.1.0 Ok",
    b"RCPT": "250 2.1.5 Ok",
    b"DATA": "354 End data with <CR><LF>.<CR><LF>",
    b"RSET": "250 2.0.0 Ok",
    b"NOOP": "250 2.0.0 Ok",
    b"QUIT": "221 2.0.0 Bye",
    b"XEXCH50": "354 Send binary data",
    b"GREETING": "220 mx.example.net ESMTP",
    b"TEXT": "250 2.0.0 Ok: queued as ABC123",
}
UNKNOWN = "502 5.5.2 Error: command not recognized"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, folder: Path, words: list[str]) -> None:
        self.folder = folder
        self.keywords = [word for word in words if "=" not in word]
        own = (word.replace(r"\r\n", "\r\n").split("=", 1) for word in words if "=" in word)
        self.replies = REPLIES | {verb.encode(): reply for verb, reply in own}
        self.numbers = itertools.count(1)
        super().__init__((address, 25), Dialogue)


class Dialogue(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True  # each reply in a segment of its own
    server: Server

    def handle(self) -> None:
        try:
            self.say(self.server.replies[b"GREETING"])
            while line := self.rfile.readline(65536):
                verb = line[:4].upper().rstrip()
                if verb == b"BDAT":
                    self.chunk(line.split())
                    continue
                self.say(*self.extensions() if verb == b"EHLO" else [self.reply(line)])
                if verb == b"XEXC":
                    self.rfile.read(int(line.split()[1]))
                    self.say("250 2.0.0 Ok")
                if verb == b"QUIT" or (verb == b"DATA" and not self.text()):
                    return
        except OSError:
            return

    def reply(self, line: bytes) -> str:
        fitting = [key for key in self.server.replies if line.upper().startswith(key)]
        return self.server.replies[max(fitting, key=len)] if fitting else UNKNOWN

    def extensions(self) -> list[str]:
        if b"EHLO" in self.server.replies:
            return [self.server.replies[b"EHLO"]]
        lines = ["mx.example.net", *self.server.keywords]
        return [f"250{'-' if number < len(lines) else ' '}{line}" for number, line in enumerate(lines, 1)]

    def text(self) -> bool:
        """Take a mail's text to its end; whether the end came."""
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        if line:
            self.take(b"".join(lines))
        return bool(line)

    def chunk(self, words: list[bytes]) -> None:
        """The mail is what its last chunk holds."""
        octets = self.rfile.read(int(words[1]))
        if words[-1].upper() == b"LAST":
            self.take(octets)
        else:
            self.say("250 2.0.0 Ok")

    def take(self, text: bytes) -> None:
        (self.server.folder / f"{next(self.server.numbers)}.eml").write_bytes(text)
        self.say(self.server.replies[b"TEXT"])

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


if __name__ == "__main__":
    Server(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]).serve_forever()
