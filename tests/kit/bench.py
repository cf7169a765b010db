"""Namespaces client - firewall - server on this machine, and what runs in them. Linux, root."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from smtpinspect.enforce.inline import Fail, rules

KIT: Final = Path(__file__).parent
ROOT: Final = KIT.parents[1]
V4: Final = "10.77.2.2"
V6: Final = "fd77:2::2"


class Missing(Exception):
    """What this machine lacks, in words."""


def call(*words: str) -> str:
    """Run a command; its output. Raises Missing with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{words[0]}: {error}") from None
    if done.returncode:
        raise Missing(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Bench:
    """Three namespaces in a row. `close` takes all away; raises Missing where something cannot be had."""

    def __init__(self, name: str = "enforce") -> None:
        if os.geteuid() != 0:
            raise Missing("root is wanted for network namespaces")
        try:
            import netfilterqueue  # noqa: F401
        except ImportError as error:
            raise Missing(f"NetfilterQueue is not installed: {error}") from None
        self.spaces = [f"{name}{os.getpid()}{letter}" for letter in "cfs"]
        self.running: list[subprocess.Popen[bytes]] = []
        self.iptables: list[str] = []
        try:
            self._build()
        except Missing:
            self.close()
            raise

    def _build(self) -> None:
        client, box, server = self.spaces
        for space in self.spaces:
            call("ip", "netns", "add", space)
            call("ip", "-n", space, "link", "set", "lo", "up")
        for space, end, net in ((client, "c", 1), (server, "s", 2)):
            call(
                "ip",
                "link",
                "add",
                "name",
                f"v{end}",
                "netns",
                space,
                "type",
                "veth",
                "peer",
                "name",
                f"f{end}",
                "netns",
                box,
            )
            for at, link, host in ((space, f"v{end}", 2), (box, f"f{end}", 1)):
                call("ip", "-n", at, "addr", "add", f"10.77.{net}.{host}/24", "dev", link)
                call("ip", "-n", at, "addr", "add", f"fd77:{net}::{host}/64", "dev", link, "nodad")
                call("ip", "-n", at, "link", "set", link, "up")
            call("ip", "-n", space, "route", "add", "default", "via", f"10.77.{net}.1")
            call("ip", "-n", space, "-6", "route", "add", "default", "via", f"fd77:{net}::1")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            call("ip", "netns", "exec", box, "sysctl", "-qw", f"{key}=1")

    def queue(self, number: int, port: int = 25, fail: Fail = "open") -> None:
        """Send the packets of a port into a queue, by the commands that `inline --print-rules` prints."""
        self._tables(" -A ", number, port, fail)

    def unqueue(self, number: int, port: int = 25, fail: Fail = "open") -> None:
        """And no more."""
        self._tables(" -D ", number, port, fail)

    def _tables(self, what: str, number: int, port: int, fail: Fail) -> None:
        lines = [line.split() for line in rules(number, (port,), fail).splitlines() if what in line]
        for suffix in ("-legacy", ""):
            try:
                for words in lines:
                    call("ip", "netns", "exec", self.spaces[1], words[0] + suffix, *words[1:])
            except Missing as error:
                missing = error
                continue
            return
        raise missing

    def start(self, place: int, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """A program in a namespace: 0 client, 1 firewall, 2 server."""
        path = f"{ROOT}:{KIT.parent}"
        made = subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[place], *words], env={**os.environ, "PYTHONPATH": path}, **more
        )
        self.running.append(made)
        return made

    def serve(self, port: int = 25) -> Server:
        """A server."""
        return Server(self.start(2, sys.executable, str(KIT / "mx.py"), str(port), stdout=subprocess.PIPE))

    def submit(
        self, steps: Iterable[tuple[bytes, int]], host: str = V4, port: int = 25, seconds: float = 3.0
    ) -> dict[str, Any]:
        """Speak to the server: the replies and the end."""
        made = self.start(
            0, sys.executable, str(KIT / "submit.py"), host, str(port), str(seconds),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = made.communicate(
            json.dumps([(octets.decode("latin-1"), n) for octets, n in steps]).encode(), timeout=120
        )
        self.running.remove(made)
        found: dict[str, Any] = json.loads(out)
        return found

    def inline(self, *words: str, number: int = 5) -> Inline:
        """The firewall."""
        return Inline(
            self.start(
                1, sys.executable, "-m", "smtpinspect", "inline", "--queue", str(number), *words,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ),
            number,
        )  # fmt: skip

    def close(self) -> None:
        """End and remove everything."""
        for each in self.running:
            with suppress(ProcessLookupError):
                each.kill()
            each.wait()
        for space in self.spaces:
            with suppress(Missing):
                call("ip", "netns", "del", space)


class Server:
    """The program mx.py."""

    def __init__(self, made: subprocess.Popen[bytes]) -> None:
        self.made = made
        assert made.stdout
        assert made.stdout.readline() == b"up\n"
        self._told: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, args=(made.stdout,), daemon=True).start()

    def _read(self, told: IO[bytes]) -> None:
        for line in told:
            self._told.put(line)

    def session(self, seconds: float = 5.0) -> dict[str, Any] | None:
        """The next connection that is over; None: none is."""
        try:
            found: dict[str, Any] = json.loads(self._told.get(timeout=seconds))
        except queue.Empty:
            return None
        return found

    def close(self) -> None:
        """End it, and its connections."""
        self.made.kill()
        self.made.wait()


class Inline:
    """The program `smtpinspect inline`, ready."""

    def __init__(self, made: subprocess.Popen[bytes], number: int) -> None:
        self.made = made
        self.told = b""
        assert made.stderr
        # it prints the rules when the queue is bound
        while b"nft delete" not in (line := made.stderr.readline()):
            self.told += line
            if not line:
                raise AssertionError(self.told.decode())

    def stop(self, how: int = signal.SIGTERM) -> tuple[int, str, str]:
        """End it: exit status, standard output, the counters."""
        self.made.send_signal(how)
        out, errors = self.made.communicate(timeout=20)
        return self.made.returncode, out.decode(), errors.decode()
