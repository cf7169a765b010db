"""What people would use instead of a library for SMTP.

    python benchmarks/scripts.py dpkt|scapy CAPTURE

reads a capture, puts the streams together and splits them into lines, as a short script would.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class Lines:
    """Octets in order of their sequence numbers, split at line ends. Naive: no cap, no gaps, no time-outs."""

    def __init__(self) -> None:
        self.expected = -1
        self.early: dict[int, bytes] = {}
        self.rest = b""
        self.count = 0
        self.mails = 0

    def take(self, seq: int, data: bytes) -> None:
        if self.expected < 0:
            self.expected = seq
        if seq != self.expected:
            if seq - self.expected & 0xFFFFFFFF < 0x80000000:
                self.early[seq] = data
            return
        while data:
            self.expected = self.expected + len(data) & 0xFFFFFFFF
            *lines, self.rest = (self.rest + data).split(b"\r\n")
            self.count += len(lines)
            self.mails += lines.count(b".")
            data = self.early.pop(self.expected, b"")


def with_dpkt(path: Path) -> list[Lines]:
    import dpkt

    streams: dict[tuple[bytes, int, bytes, int], Lines] = {}
    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            tcp = ip.data
            if isinstance(tcp, dpkt.tcp.TCP) and tcp.data:
                key = ip.src, tcp.sport, ip.dst, tcp.dport
                streams.setdefault(key, Lines()).take(tcp.seq, tcp.data)
    return list(streams.values())


def with_scapy(path: Path) -> list[Lines]:
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    streams: dict[tuple[str, int, str, int], Lines] = {}
    with PcapReader(str(path)) as reader:
        for packet in reader:
            if TCP not in packet:
                continue
            tcp = packet[TCP]
            ip = packet[IPv6] if IPv6 in packet else packet[IP]
            data = bytes(tcp.payload.original)
            if isinstance(ip, IP):  # frames are padded to 60 octets
                data = data[: ip.len - 4 * ip.ihl - 4 * tcp.dataofs]
            if data:
                streams.setdefault((ip.src, tcp.sport, ip.dst, tcp.dport), Lines()).take(tcp.seq, data)
    return list(streams.values())


READERS: dict[str, Callable[[Path], list[Lines]]] = {"dpkt": with_dpkt, "scapy": with_scapy}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Reads a capture as a plain script would.")
    parser.add_argument("peer", choices=READERS)
    parser.add_argument("capture", type=Path)
    given = parser.parse_args(arguments)
    streams = READERS[given.peer](given.capture)
    counts = {"lines": sum(one.count for one in streams), "mails": sum(one.mails for one in streams)}
    json.dump({"streams": len(streams), **counts}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
