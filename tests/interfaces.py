"""Two network namespaces and a virtual cable between them, for tests of what reads an interface."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 60
NEAR, FAR = "near0", "far0"
SEND = """
import socket, struct, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
while head := sys.stdin.buffer.read(4):
    wire.send(sys.stdin.buffer.read(struct.unpack("<I", head)[0]))
"""


def missing() -> str:
    """Why there can be no namespaces here; empty when there can."""
    if sys.platform != "linux":
        return "network namespaces: Linux only"
    if os.geteuid():
        return "network namespaces: root only"
    if shutil.which("ip") is None:
        return "network namespaces: there is no ip (iproute2)"
    name = f"live-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    entered = subprocess.run(["ip", "netns", "exec", name, "true"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=False)
    if entered.returncode:  # it mounts /sys anew, which a chroot and some containers refuse
        return f"network namespaces cannot be entered here: {entered.stderr.strip()}"
    return ""


class Cable:
    """NEAR lies in one namespace, FAR in the other: what is sent into FAR comes in at NEAR."""

    def __init__(self) -> None:
        self.near, self.far = (f"live-{os.getpid()}-{end}" for end in ("near", "far"))

    def ip(self, *words: str, inside: str = "") -> None:
        command = ["ip", *(["-n", inside] if inside else []), *words]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)

    def make(self) -> None:
        for name in (self.near, self.far):
            self.ip("netns", "add", name)
            for key in ("all", "default"):  # no neighbour discovery between what is counted
                self.inside(name, "sysctl", "-q", "-w", f"net.ipv6.conf.{key}.disable_ipv6=1")
            self.ip("link", "set", "lo", "up", inside=name)
        self.ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", self.far, inside=self.near)
        self.ip("link", "set", NEAR, "up", inside=self.near)
        self.ip("link", "set", FAR, "up", inside=self.far)

    def remove(self) -> None:
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def words(self, name: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", name, *words]

    def inside(self, name: str, *words: str) -> None:
        subprocess.run(self.words(name, *words), check=True, capture_output=True, timeout=SECONDS)

    def send(self, frames: Iterable[bytes]) -> None:
        """From the far end, one after the other."""
        octets = b"".join(len(frame).to_bytes(4, "little") + frame for frame in frames)
        command = self.words(self.far, sys.executable, "-c", SEND, FAR)
        subprocess.run(command, input=octets, check=True, timeout=SECONDS)

    def sockets(self) -> frozenset[bytes]:
        """Inodes of the packet sockets at the near end that are bound: to all protocols, and running."""
        told = subprocess.run(self.words(self.near, "cat", "/proc/net/packet"), capture_output=True, check=True)
        rows = [line.split() for line in told.stdout.splitlines()[1:]]
        return frozenset(row[8] for row in rows if row[3] == b"0003")

    @contextmanager
    def reading(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program at the near end, once it has opened its socket. It is not left behind."""
        before = self.sockets()
        process = subprocess.Popen(self.words(self.near, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + SECONDS
            opened: frozenset[bytes] = frozenset()
            while not opened and process.poll() is None:
                assert time.monotonic() < end, "it opens nothing"
                time.sleep(0.02)
                opened = self.sockets() - before
                if opened and "--filter" in words:  # libpcap opens one, too, while it compiles
                    time.sleep(0.5)
                    opened &= self.sockets()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def live(self, *words: str, interface: str = NEAR) -> Any:
        return self.reading(sys.executable, "-m", "smtpinspect", "live", interface, *words)


def line_of(process: subprocess.Popen[bytes], seconds: float = SECONDS) -> bytes:
    """The next line that it writes."""
    assert process.stdout
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        assert ready, f"nothing came in {seconds} seconds"
        octet = os.read(process.stdout.fileno(), 1)
        assert octet, "it has ended"
        line += octet
    return line


def waits(seconds: float, what: Any) -> bool:
    """Does it become true in time?"""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def records(path: Path | bytes, *, places: bool = True) -> tuple[list[str], dict[str, Any]]:
    """EVE records without what no two captures share, their times; and the last line."""
    lines = (path if isinstance(path, bytes) else path.read_bytes()).splitlines()
    *rest, stats = map(json.loads, lines)
    for record in rest:
        for name in ("timestamp", "flow_id") if places else ("timestamp", "flow_id", "pcap_cnt"):
            record.pop(name, None)
        for name in ("silence",) if places else ("silence", "packet"):
            record["smtpinspect"].pop(name, None)
        for name in ("start", "end"):
            record.get("flow", {}).pop(name, None)
    assert stats["event_type"] == "stats"
    return [json.dumps(record, sort_keys=True) for record in rest], stats["smtpinspect"]
