"""A client for the bench, run as a program: `submit.py HOST PORT SECONDS`; steps come and replies go in JSON."""

from __future__ import annotations

import json
import socket
import sys


def main() -> None:
    """Octets and the number of replies behind them, step by step; how it ended."""
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    replies: list[str] = []
    end = "done"
    try:
        with socket.create_connection((host, port), timeout=seconds) as conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = conn.makefile("rb")
            for octets, wanted in [["", 1], *json.load(sys.stdin)]:
                if octets:
                    conn.sendall(octets.encode("latin-1"))
                for _ in range(wanted):
                    reply = b""
                    while not reply or reply.splitlines()[-1][3:4] == b"-":
                        line = reader.readline()
                        if not line:
                            raise EOFError
                        reply += line
                    replies.append(reply.decode("latin-1"))
    except TimeoutError:
        end = "timeout"
    except ConnectionResetError:
        end = "reset"
    except EOFError:
        end = "closed"
    except OSError as error:
        end = type(error).__name__
    print(json.dumps({"replies": replies, "end": end}))


if __name__ == "__main__":
    main()
