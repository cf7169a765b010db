"""Dialogues typed by hand, as against a mail server's port by telnet."""

import sys
from collections.abc import Sequence
from pathlib import Path

from network import Host


def type_lines(host: Host, server: str, lines: Sequence[str]) -> str:
    """Type the lines; what the server said."""
    typist = Path(__file__).with_name("typist.py")
    return host.run(sys.executable, str(typist), server, "25", stdin="".join(f"{line}\n" for line in lines).encode())
