"""A mail server for the bench, run as a program: `mx.py PORT`; tells of each connection that is over in JSON."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Iterator

TAKEN = 1 << 16
PRINTING = threading.Lock()


class Session:
    """One connection: its lines, the messages' SHA-256, how it ended."""

    def __init__(self, conn: socket.socket) -> None:
        self.conn = conn
        self.lines: list[str] = []
        self.messages: list[str] = []
        self.end = "closed"

    def octets(self) -> Iterator[bytes]:
        while octets := self.conn.recv(TAKEN):
            yield octets

    def say(self, text: bytes) -> None:
        self.conn.sendall(text)

    def run(self) -> None:
        try:
            self.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.say(b"220 mx.example ESMTP ready\r\n")
            self.talk()
        except ConnectionResetError:
            self.end = "reset"
        except OSError as error:
            self.end = type(error).__name__
        self.conn.close()
        told = json.dumps({"lines": self.lines, "messages": self.messages, "end": self.end})
        with PRINTING:
            print(told, flush=True)

    def talk(self) -> None:
        text = None
        tail = rest = b""
        for octets in self.octets():
            rest += octets
            while rest:
                if text is not None:
                    joined = tail + rest
                    at = joined.find(b"\r\n.\r\n")
                    if at < 0:
                        text.update(rest)
                        tail, rest = joined[-4:], b""
                        continue
                    end = at + 5 - len(tail)
                    text.update(rest[:end])
                    rest = rest[end:]
                    self.messages.append(text.hexdigest())
                    text = None
                    self.say(b"250 2.0.0 taken\r\n")
                    continue
                line, found, more = rest.partition(b"\n")
                if not found:
                    break
                rest = more
                self.lines.append(line.decode("latin-1") + "\n")
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"DATA":
                    text, tail = hashlib.sha256(), b"\r\n"
                    self.say(b"354 go on\r\n")
                elif verb == b"QUIT":
                    self.say(b"221 bye\r\n")
                    return
                else:
                    self.say(_answer(verb))


def _answer(verb: bytes) -> bytes:
    if verb == b"EHLO":
        return b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 SIZE\r\n"
    known = (b"HELO", b"MAIL", b"RCPT", b"NOOP", b"RSET")
    return b"250 fine\r\n" if verb in known else b"500 Command unrecognized\r\n"


def main() -> None:
    """Serve until somebody ends the program."""
    listening = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    print("up", flush=True)
    while True:
        conn, _ = listening.accept()
        threading.Thread(target=Session(conn).run, daemon=True).start()


if __name__ == "__main__":
    main()
