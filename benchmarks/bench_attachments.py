"""One mail with a huge attachment: what looking into it costs, in time and in memory.

    python benchmarks/bench_attachments.py --size 2G --dir /var/tmp

For each variant a capture is written (and removed behind it), then read by turns with and without the sonicwall
inspector beside the two others. Times are medians; what counts is their ratio, and the peak of memory.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import resource
import statistics
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from corpus import ACK, CLIENT_MAC, FIN, MASK, PCAP_HEADER, ROUTER_MAC, START, SYN, SYN_ACK, Half, _record, octets

OTHERS = ("mailguard", "stormshield")
BLOCK = 57 * 18_000  # octets that are encoded at a time: whole lines
MEMBER = 8 << 20  # octets of an archive's member
ACK_EVERY = 32  # segments of the client


def random_octets() -> Iterator[bytes]:
    """What no scanner knows."""
    rng = random.Random(1)
    pool = rng.randbytes(MEMBER)
    while True:
        at = rng.randrange(MEMBER)
        yield pool[at:] + pool[:at]


def archive(described: bool) -> Iterator[bytes]:
    """Deflated members without end; `described`: their sizes stand behind them, not in their local headers."""
    rng = random.Random(2)
    words = [rng.randbytes(5) for _ in range(400)]
    plain = b" ".join(words[int(rng.random() ** 2 * 400)] for _ in range(MEMBER // 6))
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = deflate.compress(plain) + deflate.flush()
    crc, sizes = zlib.crc32(plain), (len(packed), len(plain))
    number = 0
    while True:
        name = b"member-%06d.bin" % number
        told = (0, 0, 0) if described else (crc, *sizes)
        head = struct.pack("<4sHHHIIIIHH", b"PK\3\4", 20, 8 * described, 8, 0x5A6E6000, *told, len(name), 0)
        yield head + name + packed + (struct.pack("<4sIII", b"PK\7\10", crc, *sizes) if described else b"")
        number += 1


VARIANTS: dict[str, Callable[[], Iterator[bytes]]] = {
    "random": random_octets,
    "zip with sizes": lambda: archive(False),
    "zip with descriptors": lambda: archive(True),
}


def encoded(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Lines of base64, `size` octets of them as sent."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= BLOCK:
            lines = base64.encodebytes(held[:BLOCK]).replace(b"\n", b"\r\n")
            del held[:BLOCK]
            yield lines[:size]
            size -= len(lines)
            if size <= 0:
                return


def text(variant: str, size: int) -> Iterator[bytes]:
    yield b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    yield b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    yield from encoded(VARIANTS[variant](), size)
    yield b"\r\n--b--\r\n.\r\n"


def frames(variant: str, size: int) -> Iterator[bytes]:
    addresses = bytes([198, 18, 0, 1]), bytes([198, 51, 100, 25])
    ports = (40_112).to_bytes(2) + (25).to_bytes(2)
    client = Half(ROUTER_MAC + CLIENT_MAC, *addresses, ports, 1_000, False)
    server = Half(CLIENT_MAC + ROUTER_MAC, *addresses[::-1], ports[2:] + ports[:2], 5_000, True)

    def sent(own: Half, other: Half, octets: bytes, bits: int = ACK) -> bytes:
        frame = own.frame(octets, own.seq, other.seq if bits != SYN else 0, bits)
        own.seq = own.seq + len(octets) + (bits in (SYN, SYN_ACK, FIN)) & MASK
        return frame

    yield sent(client, server, b"", SYN)
    yield sent(server, client, b"", SYN_ACK)
    yield sent(server, client, b"220 mx\r\n")
    for command, reply in (
        (b"EHLO x", b"250 x"),
        (b"MAIL FROM:<a@b>", b"250 x"),
        (b"RCPT TO:<c@d>", b"250 x"),
        (b"DATA", b"354 go"),
    ):
        yield sent(client, server, command + b"\r\n")
        yield sent(server, client, reply + b"\r\n")
    rest, count = b"", 0
    for piece in text(variant, size):
        rest += piece
        whole = len(rest) - len(rest) % client.mss
        for at in range(0, whole, client.mss):
            yield sent(client, server, rest[at : at + client.mss])
            count += 1
            if count % ACK_EVERY == 0:
                yield sent(server, client, b"")
        rest = rest[whole:]
    yield sent(client, server, rest)
    yield sent(server, client, b"250 ok\r\n")
    yield sent(client, server, b"", FIN)
    yield sent(server, client, b"", FIN)


def write(path: Path, variant: str, size: int) -> None:
    with path.open("wb") as out:
        out.write(PCAP_HEADER)
        for number, frame in enumerate(frames(variant, size)):
            seconds, rest = divmod(number * 12, 1_000_000)
            out.write(_record(START + seconds, rest, len(frame), len(frame)) + frame)


def child(path: str, with_rows: bool) -> None:
    from smtpinspect.engine import Engine

    with open(os.devnull, "wb") as out:
        stats = Engine([*OTHERS, *(["sonicwall"] if with_rows else [])]).write_eve(path, out)
    print(json.dumps([stats.seconds, peak(), stats.mails, sum(stats.alerts.values())]))


def peak() -> float:
    """Megabytes of this process. What getrusage tells on Linux may be its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(path: Path, with_rows: bool) -> tuple[float, float, int, int]:
    command = [sys.executable, __file__, "--child", str(path), *(["--rows"] if with_rows else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, most, mails, alerts = json.loads(done.stdout)
    return seconds, most, mails, alerts


def compare(name: str, path: Path, runs: int) -> None:
    """By turns, so that what else the machine does counts for both."""
    found: dict[bool, list[tuple[float, float, int, int]]] = {True: [], False: []}
    for _ in range(runs):
        for with_rows in found:
            found[with_rows].append(measured(path, with_rows))
    times = {key: statistics.median(each[0] for each in told) for key, told in found.items()}
    most = max(each[1] for each in found[True])
    rate = path.stat().st_size / times[False] / 1e9
    print(
        f"{name:<22} {times[False]:7.2f} s {times[True]:7.2f} s {times[True] / times[False]:7.2f} {most:9.0f} MB "
        f"{rate:7.2f} GB/s   {found[True][0][2]} mails, {found[True][0][3]} alerts",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", type=Path, help="captures to read instead")
    parser.add_argument("--size", default="200M", help="octets of the attachment as sent (200M)")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where captures are written")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="this one only")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.rows)
        return
    print(f"{'':<22} {'without':>9} {'with':>9} {'ratio':>7} {'peak with':>12}")
    for path in chosen.captures:
        compare(path.stem, path, chosen.runs)
    for variant in () if chosen.captures else chosen.variant or VARIANTS:
        path = chosen.dir / f"attachment-{os.getpid()}.pcap"
        try:
            write(path, variant, octets(chosen.size))
            compare(variant, path, chosen.runs)
        finally:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
