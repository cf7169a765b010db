"""A person at a line-mode telnet: types the next line when the reply to the last one is there.

    typist.py HOST PORT < LINES

What the server says goes to standard output. A mail's text, from the line after DATA to the dot, goes out in one piece.
`\\n` in a line is a line end, typed without waiting for a reply.
"""

import socket
import sys
from collections.abc import Iterator
from typing import BinaryIO


def main() -> None:
    host, port = sys.argv[1:]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        replies = connection.makefile("rb")
        code = reply(replies)
        for piece in pieces(sys.stdin.read().splitlines()):
            connection.sendall(piece)
            code = reply(replies)
        while code:  # until the server closes
            code = reply(replies)


def pieces(lines: list[str]) -> Iterator[bytes]:
    text: list[str] | None = None
    for line in lines:
        typed = line.replace("\\n", "\r\n") + "\r\n"
        if text is None:
            yield typed.encode()
            text = [] if line == "DATA" else None
        else:
            text.append(typed)
            if typed.startswith(".\r\n"):
                yield "".join(text).encode()
                text = None


def reply(replies: BinaryIO) -> bytes:
    """Read and show one reply to its last line; its code, empty at the end of the connection."""
    while line := replies.readline():
        print(line.decode(errors="replace").rstrip("\r\n"), flush=True)
        if line[3:4] != b"-":
            return line[:3]
    return b""


if __name__ == "__main__":
    main()
