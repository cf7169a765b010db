"""tcpdump on the client's side, and what a capture must be before it is kept."""

import re
import subprocess
import time
from pathlib import Path
from types import TracebackType

import roots
from network import Host, wait_until

MOST_OCTETS = 100_000
MOST_FRAME = 1514  # an Ethernet frame without its check sequence; a longer one is no segment of a real wire


class Capture:
    """Records the client's TCP until its connections are closed from both sides."""

    def __init__(self, host: Host, file: Path, *, nanoseconds: bool) -> None:
        self._file = file
        precision = "nano" if nanoseconds else "micro"
        options = f"-i eth0 -s 0 -U --immediate-mode -Z root --time-stamp-precision={precision}".split()
        self._command = host.tool("tcpdump", *options, "-w", str(file), "tcp")

    def __enter__(self) -> "Capture":
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, env=roots.ENVIRONMENT)
        assert self._process.stderr is not None
        while b"listening on" not in (line := self._process.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                wait_until(lambda: _is_closed(_lines(self._file)), "the connections end")
                time.sleep(0.3)  # the last acknowledgement
        finally:
            self._process.terminate()
            self._process.wait()


def packets(file: Path) -> int:
    return len(_lines(file))


def faults(file: Path) -> list[str]:
    """What is wrong with a capture; nothing when it may be kept."""
    lines = _lines(file)
    found = []
    if not _is_closed(lines):
        found.append("not every connection has its handshake and a FIN from both sides")
    if any("(incorrect" in line or "bad cksum" in line for line in lines):
        found.append("bad checksum")
    lengths = (int(length) for line in lines for length in re.findall(r"ethertype .*?, length (\d+):", line))
    if any(length > MOST_FRAME for length in lengths):
        found.append("a frame longer than the wire carries")
    if any(re.search(r"Flags \[R", line) for line in lines):
        found.append("RST")
    if file.stat().st_size > MOST_OCTETS:
        found.append(f"{file.stat().st_size} octets")
    return found


def _is_closed(lines: list[str]) -> bool:
    opened = sum("Flags [S]" in line for line in lines)
    answered = sum("Flags [S.]" in line for line in lines)
    finished = sum("Flags [F" in line for line in lines)
    return 0 < opened == answered and finished == 2 * opened


def _lines(file: Path) -> list[str]:
    """The capture as tcpdump tells it, one line a packet, checksums verified, without the dialogue's text."""
    command = ["tcpdump", "-nn", "-e", "-v", "-r", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    return re.sub(r"\n {4}", " ", re.sub(r"\n\t.*", "", told)).splitlines()
