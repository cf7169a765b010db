"""A client that sends what it is told, piece by piece, each in a segment of its own.

    pieces.py HOST SECONDS < PIECES

PIECES is a JSON list. A piece that ends with a line end waits for the reply to it, so many SECONDS at most; a refusal
(4xx or 5xx) is the end, with QUIT, unless `?` stands before the piece. Standard output tells what was said, as a mail
program's log would.
"""

import json
import socket
import sys
import time
from typing import BinaryIO


def main() -> None:
    host, seconds = sys.argv[1], float(sys.argv[2])
    pieces: list[str] = json.loads(sys.stdin.read())
    said = "the greeting"
    try:
        with socket.create_connection((host, 25), timeout=seconds) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            replies = connection.makefile("rb")
            reply(replies)
            for piece in [*pieces, "QUIT\r\n"]:
                may_fail, piece = piece.startswith("?"), piece.removeprefix("?")
                said = piece if len(piece) < 80 else f"{piece[:60]}... ({len(piece)} octets)"
                connection.sendall(piece.encode("latin-1"))
                if not piece.endswith("\n"):
                    time.sleep(0.1)
                elif reply(replies)[:1] in (b"4", b"5") and not may_fail:
                    connection.sendall(b"QUIT\r\n")
                    reply(replies)
                    return
    except TimeoutError:
        print(f"timed out after {seconds:.0f} s, waiting for the reply to {said!r}")
    except (OSError, EOFError) as error:
        print(f"{error or 'lost connection'}, after {said!r}")


def reply(replies: BinaryIO) -> bytes:
    """Read and show one reply to its last line; its code. Raises EOFError when the server closes."""
    while line := replies.readline():
        print(line.decode(errors="replace").rstrip("\r\n"), flush=True)
        if line[3:4] != b"-":
            return line[:3]
    raise EOFError


if __name__ == "__main__":
    main()
