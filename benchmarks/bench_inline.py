"""What the firewall inline costs: throughput and latency through it, and whether mails arrive as they were sent.

    python benchmarks/bench_inline.py [--size 200M] [--mails 1000] [--rounds 3] [-i INSPECTOR]...

Namespaces client - firewall - server on this machine, joined by veth pairs; root. In turn, in one run: without a queue,
with a program at the queue that accepts everything (the least that any program in Python costs there), and with
`smtpinspect inline`. Compare the ratios; the figures themselves are this machine's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve()
TESTS: Final = HERE.parent.parent / "tests"
QUEUE: Final = 7
PINGS: Final = 3_000
LINE: Final = b"All work and no play makes a line of seventy-eight octets, its line end too.\r\n"
HEADER: Final = b"Subject: a benchmark\r\n\r\n"
ACCEPT: Final = f"""
import netfilterqueue
queue = netfilterqueue.NetfilterQueue()
queue.bind({QUEUE}, lambda packet: packet.accept(), max_len=8192, sock_len=8 << 20)
print("up", flush=True)
queue.run()
"""


class Client:
    """Speaks SMTP; runs in the client's namespace."""

    def __init__(self, host: str) -> None:
        self.conn = socket.create_connection((host, 25), timeout=120)
        self.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.conn.makefile("rb")
        self.lines.readline()

    def ask(self, octets: bytes) -> bytes:
        """A command, or a text, and its reply of one line."""
        self.conn.sendall(octets)
        return self.lines.readline()

    def mail(self, text: bytes, times: int = 1) -> None:
        """A mail whose text is repeated behind the header."""
        for command in (b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.org>\r\n", b"DATA\r\n"):
            self.ask(command)
        self.conn.sendall(HEADER)
        for _ in range(times):
            self.conn.sendall(text)
        reply = self.ask(b".\r\n")
        assert reply.startswith(b"250"), reply


def bulk(host: str, size: int) -> float:
    """Seconds for one mail of so many octets."""
    client = Client(host)
    client.ask(b"HELO a.example\r\n")
    client.ask(b"NOOP\r\n")
    chunk = LINE * ((1 << 18) // len(LINE))
    begun = time.perf_counter()
    client.mail(chunk, size // len(chunk))
    seconds = time.perf_counter() - begun
    client.ask(b"QUIT\r\n")
    return seconds


def pings(host: str, n: int) -> list[float]:
    """Microseconds from a command to its reply, many times: one packet there, one back."""
    client = Client(host)
    client.ask(b"HELO a.example\r\n")
    out = []
    for _ in range(n):
        begun = time.perf_counter()
        client.ask(b"NOOP\r\n")
        out.append((time.perf_counter() - begun) * 1e6)
    client.ask(b"QUIT\r\n")
    return out


def mails(host: str, n: int) -> list[str]:
    """The SHA-256 of each text, end mark included, as sent: of 100 octets to 400 kB, five to a connection."""
    rng = random.Random(n)
    out = []
    client = None
    for i in range(n):
        if i % 5 == 0:
            if client:
                client.ask(b"QUIT\r\n")
            client = Client(host)
            client.ask(b"HELO a.example\r\n")
        assert client
        size = int(100 * 4000 ** rng.random())
        text = b"".join(b"%064x\r\n" % rng.getrandbits(256) for _ in range(size // 66 + 1))
        client.mail(text)
        out.append(hashlib.sha256(HEADER + text + b".\r\n").hexdigest())
    if client:
        client.ask(b"QUIT\r\n")
    return out


class Setup:
    """One way through the middle."""

    def __init__(self, bench: Any, name: str, words: list[str] | None) -> None:
        self.bench, self.name = bench, name
        self.told = ""
        self.inline: Any = None
        self.accept: subprocess.Popen[bytes] | None = None
        if name == "accept all":
            self.accept = bench.start(1, sys.executable, "-c", ACCEPT, stdout=subprocess.PIPE)
            assert self.accept and self.accept.stdout
            self.accept.stdout.readline()
        elif words is not None:
            self.inline = bench.inline(*words, "-o", "/dev/null", number=QUEUE)

    def ask(self, what: str, n: int) -> Any:
        """Run one of the functions above in the client's namespace."""
        made = self.bench.start(0, sys.executable, str(HERE), "--client", what, str(n), stdout=subprocess.PIPE)
        out, _ = made.communicate(timeout=600)
        return json.loads(out)

    def end(self) -> str:
        """End the program; its counters."""
        if self.accept:
            self.accept.kill()
            self.accept.wait()
        if self.inline:
            self.told = self.inline.stop()[2]
        return self.told


def octets(text: str) -> int:
    """`200M` as a number."""
    return int(float(text.rstrip("kMG")) * {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=octets, default=octets("200M"))
    parser.add_argument("--mails", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-i", dest="inspectors", action="append")
    given = parser.parse_args()
    if given.client:
        what, n = given.client
        print(json.dumps({"bulk": bulk, "pings": pings, "mails": mails}[what]("10.77.2.2", int(n))))
        return
    sys.path.insert(0, str(TESTS))
    kit: Any = importlib.import_module("kit.bench")
    try:
        bench = kit.Bench("benchinline")
    except kit.Missing as error:
        raise SystemExit(f"cannot be measured here: {error}") from None
    inspectors = given.inspectors or ["sonicwall", "stormshield", "mailguard:pix-6"]
    ways: dict[str, list[str] | None] = {"no queue": None, "accept all": None}
    ways |= {each: ["-i", each] for each in inspectors}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    delays: dict[str, list[float]] = {name: [] for name in ways}
    try:
        server = bench.serve()
        queued = False
        for _ in range(given.rounds):
            for name, words in ways.items():
                if (name != "no queue") != queued:
                    bench.queue(QUEUE) if not queued else bench.unqueue(QUEUE)
                    queued = not queued
                setup = Setup(bench, name, words)
                speeds[name].append(given.size / setup.ask("bulk", given.size) / 1e6)
                delays[name] += setup.ask("pings", PINGS)
                setup.end()
        print(f"one mail of {given.size / 1e6:,.0f} MB, {PINGS:,} NOOPs, median of {given.rounds} rounds")
        print(f"{'':24} {'MB/s':>8} {'of no queue':>12} {'of accept all':>14}", end="")
        print(f"   {'µs there and back':>18} {'added':>8} {'99%':>8}")
        speed = {name: statistics.median(found) for name, found in speeds.items()}
        delay = {name: statistics.median(found) for name, found in delays.items()}
        for name in ways:
            late = statistics.quantiles(delays[name], n=100)[98]
            print(
                f"{name:24} {speed[name]:8.1f} {speed[name] / speed['no queue']:12.1%}"
                f" {speed[name] / speed['accept all']:14.1%}   {delay[name]:18.1f}"
                f" {delay[name] - delay['no queue']:8.1f} {late:8.1f}"
            )
        if not queued:
            bench.queue(QUEUE)
        while server.session(0.2):
            pass
        for name in inspectors:
            setup = Setup(bench, name, ["-i", name])
            sent = setup.ask("mails", given.mails)
            told = setup.end()
            got: list[str] = []
            while (session := server.session(1.0)) is not None:
                got += session["messages"]
            same = sent == got
            print(f"\n{name}: {len(sent):,} mails sent, {len(got):,} received, ", end="")
            print(f"SHA-256 {'all equal' if same else 'DIFFER'}")
            print("\n".join(line for line in told.splitlines() if line.startswith("   ")))
    finally:
        bench.close()


if __name__ == "__main__":
    main()
