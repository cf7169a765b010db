"""Deterministic captures to measure with.

    python benchmarks/corpus.py mixed 1G mixed.pcap [--seed 1]

The same profile, size and seed give the same octets on every Python: of `random`, only random() and
randbytes() are used, whose sequences do not change between versions as those of choice() or shuffle() may.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path

from mails import SERVERS, Mails, Piece

START = 1_741_165_200  # Wed, 05 Mar 2025 09:00:00 UTC
NS_PER_OCTET = 10  # 1 Gbit/s, loaded to 80%
WIRE_OVERHEAD = 24  # preamble, frame check sequence, gap between frames

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
RECORD = 16
_record = struct.Struct("<IIII").pack
_head4 = struct.Struct(">16sHHIH12sIIHHHH").pack
_head6 = struct.Struct(">18sHH36sIIHHHH").pack
_draws = struct.Struct("<256H").unpack

CLIENT_MAC, ROUTER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("02000000fffe")
MASK = 0xFFFFFFFF
WINDOW = 64240
DIALOGUE = 12  # data segments of commands and replies that go with a mail
# data offset and flags, as they stand together in the TCP header; the SYN's options take three more words
SYN, SYN_ACK, ACK, PSH, FIN = 0x8002, 0x8012, 0x5010, 0x5018, 0x5011


@dataclass(frozen=True)
class Profile:
    interleaved: int
    smallest: int
    """octets of a mail; smaller ones are more frequent"""
    largest: int
    attached: float
    weight: float = 1.1
    """octets of the file for each octet of a mail, about"""
    more_mails: float = 0.3
    """share of the connections that carry two or three mails"""
    ipv6: float = 0.1
    tiny: bool = False
    """segments of 24 to 279 octets in mails, of at most 90 in replies; a command stays in one segment"""
    reordered: float = 0.0
    """share of the data segments seen after one of a higher sequence number (RFC 4737)"""
    retransmitted: float = 0.0
    duplicated: float = 0.0
    lost: float = 0.0
    violating: float = 0.0


PROFILES = {
    "mixed": Profile(200, 10_000, 400_000, 0.5, reordered=0.01, retransmitted=0.005),
    "bulk": Profile(64, 300_000, 8_000_000, 1.0),
    "chatty": Profile(500, 1_500, 3_000, 0.0, weight=2.0, more_mails=0.1),
    "hostile": Profile(
        200,
        2_000,
        40_000,
        0.3,
        weight=1.9,
        tiny=True,
        reordered=0.1,
        duplicated=0.02,
        lost=0.002,
        violating=0.1,
    ),
}

VIOLATIONS = (
    "subject-8bit",
    "header-998",
    "header-4096",
    "command-unknown",
    "command-empty",
    "command-512",
    "reply-500",
    "reply-502",
    "address-pipe",
    "recipients-101",
)


@dataclass
class Summary:
    """What a corpus holds, known from making it."""

    octets: int = len(PCAP_HEADER)
    frames: int = 0
    connections: int = 0
    mails: int = 0
    reordered: int = 0
    retransmitted: int = 0
    duplicated: int = 0
    lost: int = 0
    violations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VIOLATIONS, 0))


class Half:
    """One direction of a connection: what its headers have in common, and the next sequence number."""

    __slots__ = ("ends", "fixed", "ident", "ip_sum", "mss", "padded", "seq", "tcp_sum", "v6")

    def __init__(
        self, macs: bytes, source: bytes, target: bytes, ports: bytes, seq: int, padded: bool
    ) -> None:
        self.v6 = len(source) == 16
        self.fixed = macs + (b"\x86\xdd\x60\x00\x00\x00" if self.v6 else b"\x08\x00\x45\x00")
        self.ends = source + target + ports
        # 65536 is 1 modulo 65535: a big-endian number modulo 65535 is the ones' complement sum of its words
        addresses = int.from_bytes(source + target)
        self.ip_sum = (0x4500 + 0x4000 + 0x4006 + addresses) % 65535
        self.tcp_sum = (addresses + int.from_bytes(ports) + 6 + 20 + WINDOW) % 65535
        self.padded = padded
        self.seq = seq
        self.ident = seq & 0xFFFF
        self.mss = 1440 if self.v6 else 1460

    def frame(self, data: bytes, seq: int, ack: int, bits: int) -> bytes:
        size = len(data)
        total = self.tcp_sum + size + seq + ack + bits
        if size:
            value = int.from_bytes(data) % 65535
            total += value << 8 if size & 1 else value
        if self.v6:
            head = _head6(self.fixed, size + 20, 0x0640, self.ends, seq, ack, bits, WINDOW, -total % 65535, 0)
            return head + data
        self.ident = ident = self.ident + 1 & 0xFFFF
        length = size + 40
        check = -(self.ip_sum + length + ident) % 65535
        head = _head4(
            self.fixed, length, ident, 0x40004006, check, self.ends, seq, ack, bits, WINDOW, -total % 65535, 0
        )
        if self.padded and size < 6:  # what comes from the wire has at least 60 octets
            return head + data + bytes(6 - size)
        return head + data

    def options(self) -> bytes:
        return struct.pack(">HHIHH", 0x0204, self.mss, 0x01030307, 0x0101, 0x0402)


def _cut(pieces: Iterable[Piece], sizes: Iterator[int]) -> Iterator[bytes]:
    """The pieces as segments of these sizes, the last one as it comes."""
    rest = b""
    size = next(sizes)
    for piece in pieces:
        start = 0
        if rest:
            start = size - len(rest)
            rest += piece[:start]
            if len(rest) < size:
                continue
            yield rest
            size = next(sizes)
        while start + size <= len(piece):
            yield bytes(piece[start : start + size])
            start += size
            size = next(sizes)
        rest = bytes(piece[start:])
    if rest:
        yield rest


Turn = list[bytes]
"""frames of one connection that follow each other without another connection's between them"""


class Corpus:
    def __init__(self, profile: str, size: int, seed: int = 1) -> None:
        self.profile = PROFILES[profile]
        self.size = size
        self.summary = Summary()
        rnd = random.Random(f"{profile}/{seed}")
        self.random = rnd.random
        self.randbytes = rnd.randbytes
        self.mails = Mails(rnd, self.profile.largest)
        self.clock = START * 1_000_000_000
        self.promised = 0  # octets that open connections have yet to write, about
        self.late = 0.0  # segments that ought to have been reordered by now
        self.again = 0.0  # the same for retransmissions

    def turns(self) -> Iterator[Turn]:
        """All frames in file order; a turn belongs to one connection, drawn from those that are open."""
        profile = self.profile
        disturbed = profile.duplicated > 0 or profile.lost > 0
        connections: list[Iterator[Turn]] = []
        self._open(connections)
        while connections:
            for draw in _draws(self.randbytes(512)):
                index = draw * len(connections) >> 16
                turn = next(connections[index], None)
                if turn is not None:
                    yield self._disturb(turn) if disturbed else turn
                    continue
                connections[index] = connections[-1]
                connections.pop()
                self._open(connections)
                if not connections:
                    break

    def _open(self, connections: list[Iterator[Turn]]) -> None:
        while len(connections) < self.profile.interleaved and self.summary.octets + self.promised < self.size:
            connections.append(self._connection())

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Time in ns, a multiple of 1000 as the file keeps microseconds, and the frame."""
        for turn in self.turns():
            self.summary.frames += len(turn)
            for frame in turn:
                length = len(frame)
                self.summary.octets += length + RECORD
                self.clock += (length + WIRE_OVERHEAD) * NS_PER_OCTET
                yield self.clock - self.clock % 1000, frame

    def records(self) -> Iterator[bytes]:
        """The same as records of a capture file, many at a time."""
        batch: list[bytes] = []
        keep = batch.append
        summary = self.summary
        second, start = divmod(self.clock, 1_000_000_000)
        start = self.clock - start
        for turn in self.turns():
            summary.frames += len(turn)
            clock = self.clock
            for frame in turn:
                length = len(frame)
                summary.octets += length + RECORD
                clock += (length + WIRE_OVERHEAD) * NS_PER_OCTET
                if clock - start >= 1_000_000_000:
                    second += 1
                    start += 1_000_000_000
                keep(_record(second, (clock - start) // 1_000, length, length) + frame)
            self.clock = clock
            if len(batch) > 1_000:
                yield b"".join(batch)
                batch.clear()
        yield b"".join(batch)

    def _disturb(self, turn: Turn) -> Turn:
        """Duplicates of a network, and frames that the capture missed."""
        out: Turn = []
        for frame in turn:
            draw = self.random()
            if draw < self.profile.lost and not frame[67 if frame[12] == 0x86 else 47] & 2:
                self.summary.lost += 1
                continue
            out.append(frame)
            if draw > 1 - self.profile.duplicated:
                self.summary.duplicated += 1
                out.append(frame)
        return out

    # ---- a connection ----------------------------------------------------------------------------

    def _connection(self) -> Iterator[Turn]:
        profile, draw = self.profile, self.random()
        number = self.summary.connections
        self.summary.connections += 1
        count = 1 if draw > profile.more_mails else 2 if draw > profile.more_mails / 3 else 3
        sizes = [self._size() for _ in range(count)]
        violation = ""
        if self.random() < profile.violating:
            violation = VIOLATIONS[int(self.random() * len(VIOLATIONS))]
            self.summary.violations[violation] += 1
        self.promised += sum(int(size * profile.weight) for size in sizes)
        client, server = self._halves(number)
        return self._talk(client, server, sizes, violation)

    def _size(self) -> int:
        profile, draw = self.profile, self.random()
        return profile.smallest + int((profile.largest - profile.smallest) * draw * draw)

    def _halves(self, number: int) -> tuple[Half, Half]:
        # 2 * 65536 clients of 28000 ports each, so that no pair comes twice
        host = number * 40_503 & 0x1FFFF
        port = 32_768 + ((number >> 17) * 7_919 + host * 31) % 28_000
        if self.random() < self.profile.ipv6:
            client = bytes.fromhex("20010002000000000000000000") + (0x010000 + host).to_bytes(3)
            server = bytes.fromhex("20010db8000100000000000000000000")[:15] + bytes([25 + number % 8])
        else:
            client = (0xC6120000 + host).to_bytes(4)  # 198.18.0.0/15, set aside for benchmarks
            server = bytes([198, 51, 100, 25 + number % 8])
        ports = port.to_bytes(2) + b"\x00\x19"
        draw = self.randbytes(9)
        seq, back = int.from_bytes(draw[:4]), int.from_bytes(draw[4:8])
        if draw[8] < 4:
            seq |= 0xFFFF0000  # soon to wrap
        return (
            Half(ROUTER_MAC + CLIENT_MAC, client, server, ports, seq, False),
            Half(CLIENT_MAC + ROUTER_MAC, server, client, ports[2:] + ports[:2], back, True),
        )

    def _talk(self, client: Half, server: Half, sizes: list[int], violation: str) -> Iterator[Turn]:
        host = SERVERS[int(self.random() * len(SERVERS))]
        style = self.randbytes(4)
        pipelining = style[0] < 128 and violation == ""
        sender = self.mails.address()
        helo = sender[sender.index("@") + 1 :]
        piece = 90 if self.profile.tiny else server.mss

        yield [client.frame(client.options(), client.seq, 0, SYN)]
        client.seq = client.seq + 1 & MASK
        yield [server.frame(server.options(), server.seq, client.seq, SYN_ACK)]
        server.seq = server.seq + 1 & MASK
        yield [client.frame(b"", client.seq, server.seq, ACK)]

        yield [*_say(server, client, host.greeting, piece), client.frame(b"", client.seq, server.seq, ACK)]
        yield _say(client, server, b"EHLO mail.%b\r\n" % helo.encode())
        if violation.startswith("reply"):
            refusal = b"%b 5.5.1 Command not implemented\r\n" % violation[6:].encode()
            yield _say(server, client, refusal)
            yield _say(client, server, b"HELO mail.%b\r\n" % helo.encode())
            yield _say(server, client, b"250 %b\r\n" % host.name.encode())
        else:
            yield _say(server, client, host.ehlo, piece)
        for command, reply in self._intruders(violation):
            yield _say(client, server, command)
            yield _say(server, client, reply)

        last = len(sizes) - 1
        for number, size in enumerate(sizes):
            if number and style[1] & 1:
                yield _say(client, server, b"RSET\r\n")
                yield _say(server, client, host.rset)
            recipients, replies = self._recipients(host.rcpt, violation)
            commands = [
                b"MAIL FROM:<%b>%b\r\n" % (sender.encode(), b" BODY=8BITMIME" if style[1] & 2 else b""),
                *recipients,
                b"DATA\r\n",
            ]
            answers = [host.mail, *replies, host.data]
            if pipelining:
                yield _say(client, server, b"".join(commands))
                yield _say(server, client, b"".join(answers), piece)
            else:
                for command, reply in zip(commands, answers, strict=True):
                    yield _say(client, server, command)
                    yield _say(server, client, reply)

            self.summary.mails += 1
            pieces = self.mails.mail(
                size,
                sender,
                recipients[0][9:-3].decode("ascii", "replace"),
                host.name,
                self.clock // 1_000_000_000,
                self.random() < self.profile.attached,
                violation,
            )
            farewell = number == last and pipelining and style[1] & 4 > 0
            if farewell:
                pieces.append(b"QUIT\r\n")
            yield from self._send(client, server, self._segments(pieces, client.mss, style[2]))
            verdict = host.queued.format(self.mails.token(11)).encode()
            if style[3] < 3:
                verdict = b"554 5.7.1 Message rejected as spam\r\n"
            yield _say(server, client, verdict + host.quit if farewell else verdict, piece)
            self.promised -= int(size * self.profile.weight)
        if not (pipelining and style[1] & 4):
            yield _say(client, server, b"QUIT\r\n")
            yield _say(server, client, host.quit)

        first, second = (server, client) if style[1] & 8 else (client, server)
        yield [first.frame(b"", first.seq, second.seq, FIN)]
        first.seq = first.seq + 1 & MASK
        yield [second.frame(b"", second.seq, first.seq, FIN)]
        second.seq = second.seq + 1 & MASK
        yield [first.frame(b"", first.seq, second.seq, ACK)]

    def _recipients(self, accepted: bytes, violation: str) -> tuple[list[bytes], list[bytes]]:
        count = 1 if self.random() < 0.85 else 2 + int(self.random() * 4)
        if violation == "recipients-101":
            count = 101 + int(self.random() * 30)
        recipients = [b"RCPT TO:<%b>\r\n" % self.mails.address().encode() for _ in range(count)]
        replies = [accepted] * count
        if count > 1 and self.random() < 0.1:
            replies[-1] = b"550 5.1.1 User unknown\r\n"
        if violation == "address-pipe":
            recipients.append(b'RCPT TO:<"|/usr/bin/procmail"@example.net>\r\n')
            replies.append(accepted)
        return recipients, replies

    def _intruders(self, violation: str) -> Iterator[tuple[bytes, bytes]]:
        """Commands that no rule-abiding client sends, and what a server says to them."""
        draw = int(self.random() * 4)
        if violation == "command-unknown":
            yield (
                (b"TURN\r\n", b"502 5.5.1 Command not implemented\r\n"),
                (b"EXPN staff\r\n", b"502 5.7.0 Command rejected\r\n"),
                (b"Some-fake-command\r\n", b"500 5.5.1 Command unrecognized\r\n"),
                (b"XADR ops\r\n", b"500 5.5.2 Error: command not recognized\r\n"),
            )[draw]
        elif violation == "command-empty":
            yield b"\r\n", b"500 5.5.2 Error: bad syntax\r\n"
        elif violation == "command-512":
            yield b"NOOP ".ljust(513 + draw * 170, b"x") + b"\r\n", b"250 2.0.0 Ok\r\n"

    # ---- segments of a mail ----------------------------------------------------------------------

    def _segments(self, pieces: list[Piece], mss: int, style: int) -> Iterator[bytes]:
        if self.profile.tiny:
            # the end of data stays whole: cut apart, it would violate a rule in every connection
            end = pieces.pop() if pieces[-1] != b"QUIT\r\n" else bytes(pieces.pop(-2)) + bytes(pieces.pop())
            sizes = map((24).__add__, chain.from_iterable(map(self.randbytes, repeat(64))))
            return chain(_cut(pieces, sizes), (bytes(end),))
        if style < 128:  # a sender that writes 4096 octets at a time
            return _cut(pieces, _endless((mss, mss, 4096 - 2 * mss)))
        return _cut(pieces, repeat(mss))

    def _send(self, client: Half, server: Half, segments: Iterator[bytes]) -> Iterator[Turn]:
        """Two segments out, one acknowledgement in: the rhythm that acknowledgements give to a sender."""
        expected = client.seq
        early: dict[int, int] = {}
        unacknowledged = 0
        behind = 1 + int(self.random() * 8)
        acks: deque[int] = deque()
        profile = self.profile
        self.late += DIALOGUE * profile.reordered
        self.again += DIALOGUE * profile.retransmitted
        while flight := list(islice(segments, 8)):
            order = []
            for data in flight:
                order.append((client.seq, data))
                client.seq = client.seq + len(data) & MASK
            if profile.reordered or profile.retransmitted:
                self._shuffle(order)
            for start in range(0, len(order), 2):
                turn = []
                for seq, data in order[start : start + 2]:
                    bits = ACK if len(data) == client.mss else PSH
                    turn.append(client.frame(data, seq, server.seq, bits))
                    if seq == expected:
                        expected = seq + len(data) & MASK
                        while early and expected in early:
                            expected = early.pop(expected)
                        unacknowledged += 1
                        if unacknowledged == 2:
                            acks.append(expected)
                            unacknowledged = 0
                    else:
                        if seq - expected & MASK < 0x80000000:
                            early[seq] = seq + len(data) & MASK
                        acks.append(expected)
                        unacknowledged = 0
                while len(acks) > behind:
                    turn.append(server.frame(b"", server.seq, acks.popleft(), ACK))
                yield turn
        if len(acks) > 1:
            yield [server.frame(b"", server.seq, ack, ACK) for ack in acks]

    def _shuffle(self, order: list[tuple[int, bytes]]) -> None:
        """Swaps and repeats segments of one flight, as far as the profile's shares are owed."""
        profile, summary = self.profile, self.summary
        count = len(order)
        self.late += count * profile.reordered
        start = 0
        while self.late > 0 and start < count - 1:
            distance = 1 + int(self.random() * 2)
            start += int(self.random() * (4 if self.late > 3 else count))
            if start + distance >= count:
                break
            order[start], order[start + distance] = order[start + distance], order[start]
            self.late -= distance
            summary.reordered += distance
            start += distance + 1
        self.again += count * profile.retransmitted
        if self.again > 0 and self.random() < 0.5:
            place = int(self.random() * count)
            order.insert(min(place + 1 + int(self.random() * 3), count), order[place])
            self.again -= 1
            summary.retransmitted += 1


def _endless(sizes: Sequence[int]) -> Iterator[int]:
    while True:
        yield from sizes


def _say(source: Half, target: Half, data: bytes, piece: int = 1440) -> Turn:
    """A command or a reply."""
    if len(data) <= piece:
        seq = source.seq
        source.seq = seq + len(data) & MASK
        return [source.frame(data, seq, target.seq, PSH)]
    turn = []
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        turn.append(source.frame(part, source.seq, target.seq, PSH))
        source.seq = source.seq + len(part) & MASK
    return turn


# ---- faces ---------------------------------------------------------------------------------------


def frames(profile: str, size: int, seed: int = 1) -> Iterator[tuple[int, bytes]]:
    return Corpus(profile, size, seed).frames()


def write(profile: str, size: int, path: str | Path, seed: int = 1) -> Summary:
    """A capture of at least `size` octets, all its connections complete."""
    corpus = Corpus(profile, size, seed)
    with open(path, "wb") as file:
        file.write(PCAP_HEADER)
        for records in corpus.records():
            file.write(records)
    return corpus.summary


def octets(text: str) -> int:
    """1G, 270M, 50k: decimal, as file sizes are told."""
    unit = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}.get(text[-1:])
    return int(float(text[:-1]) * unit) if unit else int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes a capture of one profile and tells what it holds.")
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("size", type=octets, help="at least so many octets: 1G, 270M, 50k")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    print(json.dumps(asdict(write(given.profile, given.size, given.out, given.seed))))


if __name__ == "__main__":
    main()
