"""The program called as a person calls it, without a terminal and on one, and captures for it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from kit import capture, wire
from kit.dialogue import DELIVERY, parse

FAKE = DELIVERY.replace("C: QUIT", "C: Some-fake-command\nS: 500 5.5.1 unknown\nC: QUIT")
SECRETS = ("AGFsaWNlAHNlY3JldA==", "YWxpY2U=", "c2VjcmV0")
AUTH = DELIVERY.replace(
    "C: MAIL",
    f"C: AUTH PLAIN {SECRETS[0]}\nS: 535 no\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {SECRETS[1]}\n"
    f"S: 334 UGFzc3dvcmQ6\nC: {SECRETS[2]}\nS: 235 ok\nC: MAIL",
    1,
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def octets(*texts: str, first: int = 0) -> bytes:
    """A capture of these dialogues, one connection each, one after the other."""
    packets = []
    for number, text in enumerate(texts, first):
        segments = wire.build(parse(text), start=wire.START + 5 * number)
        packets += wire.packets(segments, wire.Ends(client_port=40_000 + number))
    return capture.pcap(capture.records(packets))


def written(folder: Path, *texts: str, name: str = "mail.pcap", first: int = 0) -> Path:
    file = folder / name
    file.write_bytes(octets(*texts, first=first))
    return file


def run(*words: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    """The program without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "smtpinspect", *map(str, words)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(*words: object, columns: int = 80, **environment: str) -> tuple[int, str]:
    """The program on a terminal of so many columns: its status, and what the person sees."""
    try:
        pid, terminal = pty.fork()
    except OSError as error:  # a bare root without /dev/pts
        pytest.skip(f"no terminals here: {error}")
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {key: text for key, text in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
        command = [sys.executable, "-m", "smtpinspect", *map(str, words)]
        # execve: readline sets COLUMNS behind the back of os.environ.
        os.execve(sys.executable, command, {**clean, "TERM": "xterm", **environment})
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux tells the end so
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), seen.decode().replace("\r\n", "\n")


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]
