"""The corpora are what their profiles say: read with dpkt, reassembled, followed line by line."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import json
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import dpkt
import pytest

import corpus
import floor
import native

SIZES = {"mixed": 4_000_000, "bulk": 4_000_000, "chatty": 800_000, "hostile": 2_000_000}
PROFILES = tuple(corpus.PROFILES)

# of 400 kB with seed 7: the same on every version of Python
DIGESTS = {
    "mixed": "db44c52ffd5291a1c549a61b9d7261a572fd2d4e8febe752cedf6c0221d0a19c",
    "bulk": "4ab09f5915a2a20037a3be7bd82751737da3b4e45f052c765cd4c8dd0f114646",
    "chatty": "ef2c1aa8b5dd8cc27ed3e70ec55ba837cee34f665e55283d97530909a465122a",
    "hostile": "bb45099af41b41c6df8bca5f02b62fb1f153ecdd37ba8dcc288fdff93f800c6d",
}


@dataclass
class Stream:
    """One direction: its octets, and how the segments came."""

    isn: int = -1
    octets: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    segments: int = 0
    late: int = 0
    again: int = 0
    highest: int = 0
    acknowledged: int = 0
    fin: int = -1

    def at(self, seq: int) -> int:
        return seq - self.isn - 1 & 0xFFFFFFFF

    def take(self, tcp: dpkt.tcp.TCP) -> None:
        start, data = self.at(tcp.seq), bytes(tcp.data)
        end = start + len(data)
        if tcp.flags & dpkt.tcp.TH_FIN:
            self.fin = end
        if not data:
            return
        missing = bytes(max(0, end - len(self.octets)))
        self.octets += missing
        self.seen += missing
        self.segments += 1
        if any(self.seen[start:end]):
            assert self.octets[start:end] == data and all(self.seen[start:end])
            self.again += 1
        else:
            self.late += end < self.highest
            self.highest = max(self.highest, end)
            self.octets[start:end] = data
            self.seen[start:end] = b"\x01" * len(data)


@dataclass
class Connection:
    v6: bool
    client: Stream = field(default_factory=Stream)
    server: Stream = field(default_factory=Stream)
    flags: list[int] = field(default_factory=list)
    acks: int = 0

    def whole(self) -> bool:
        return all(self.client.seen) and all(self.server.seen)


@dataclass
class Capture:
    summary: corpus.Summary
    octets: int = 0
    frames: int = 0
    turns: int = 0
    connections: dict[tuple[bytes, int], Connection] = field(default_factory=dict)

    def total(self, what: Callable[[Stream], int]) -> int:
        return sum(what(one.client) + what(one.server) for one in self.connections.values())


@dataclass
class Step:
    command: bytes
    replies: list[bytes]
    text: bytes = b""


def checksums_hold(frame: bytes) -> bool:
    if frame[12:14] == b"\x08\x00":
        segment = frame[34 : 14 + int.from_bytes(frame[16:18])]
        pseudo = frame[26:34] + b"\x00\x06" + len(segment).to_bytes(2)
        if dpkt.in_cksum(frame[14:34]) != 0:
            return False
    else:
        segment = frame[54:]
        pseudo = frame[22:54] + len(segment).to_bytes(4) + b"\x00\x00\x00\x06"
    return bool(dpkt.in_cksum(pseudo + segment) == 0)


@cache
def capture(profile: str) -> Capture:
    return read(profile, SIZES[profile])


def read(profile: str, size: int) -> Capture:
    with TemporaryDirectory() as folder:
        path = Path(folder, "corpus.pcap")
        out = Capture(corpus.write(profile, size, path))
        out.octets = path.stat().st_size
        earlier, previous = 0.0, None
        with path.open("rb") as file:
            for time, frame in dpkt.pcap.Reader(file):
                assert time >= earlier
                if out.frames % 61 == 0:
                    assert checksums_hold(frame), f"frame {out.frames + 1}"
                ip = dpkt.ethernet.Ethernet(frame).data
                tcp = ip.data
                forth = tcp.dport == 25
                key = (ip.src, tcp.sport) if forth else (ip.dst, tcp.dport)
                out.turns += key != previous
                earlier, previous = time, key
                out.frames += 1
                connection = out.connections.setdefault(key, Connection(len(ip.src) == 16))
                connection.flags.append(tcp.flags)
                one, other = connection.client, connection.server
                if not forth:
                    one, other = other, one
                if tcp.flags & dpkt.tcp.TH_SYN:
                    assert one.isn in (-1, tcp.seq)
                    one.isn = tcp.seq
                else:
                    acknowledged = other.at(tcp.ack)
                    assert one.acknowledged <= acknowledged or one.at(tcp.seq) < one.highest, "ACK goes back"
                    one.acknowledged = max(acknowledged, one.acknowledged)
                    one.take(tcp)
                    connection.acks += not forth and not tcp.data
    return out


def replies(server: bytes) -> list[bytes]:
    out, reply = [], b""
    for line in server.splitlines(keepends=True):
        assert line[:3].isdigit() and line[3:4] in b" -" and line.endswith(b"\r\n")
        reply += line
        if line[3:4] == b" ":
            out.append(reply)
            reply = b""
    assert reply == b""
    return out


def dialogue(connection: Connection) -> list[Step]:
    """Commands with their replies; a step's second reply, and its text, are those of the end of data."""
    client, answers = bytes(connection.client.octets), iter(replies(bytes(connection.server.octets)))
    assert next(answers).startswith(b"220")
    steps, at = [], 0
    while at < len(client):
        end = client.index(b"\r\n", at) + 2
        step = Step(client[at : end - 2], [next(answers)])
        at = end
        if step.command == b"DATA":
            assert step.replies[0].startswith(b"354")
            end = client.index(b"\r\n.\r\n", at) + 5
            step.text, at = client[at : end - 3], end
            step.replies.append(next(answers))
        steps.append(step)
    assert next(answers, None) is None
    return steps


@pytest.mark.parametrize("profile", PROFILES)
def test_same_seed_same_octets(profile: str) -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(b"".join(corpus.Corpus(profile, 400_000, seed).records())).hexdigest()

    assert digest(7) == DIGESTS[profile]
    assert profile != "chatty" or digest(8) != DIGESTS[profile]


def test_frames_and_file_agree() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "corpus.pcap")
        corpus.write("chatty", 300_000, path)
        with path.open("rb") as file:
            read = [(round(time * 1e6) * 1000, frame) for time, frame in dpkt.pcap.Reader(file)]
    assert read == list(corpus.frames("chatty", 300_000))


@pytest.mark.parametrize("profile", PROFILES)
def test_size_and_shares(profile: str) -> None:
    wanted, got = corpus.PROFILES[profile], capture(profile)
    segments = got.total(lambda stream: stream.segments)
    assert SIZES[profile] <= got.octets < SIZES[profile] * 1.6
    assert got.octets == got.summary.octets
    assert got.frames == got.summary.frames
    assert len(got.connections) == got.summary.connections
    assert got.total(lambda stream: stream.late) / segments == pytest.approx(wanted.reordered, rel=0.15)
    repeated = got.total(lambda stream: stream.again) / segments
    assert repeated == pytest.approx(wanted.retransmitted + wanted.duplicated, rel=0.2)
    assert got.summary.lost / got.frames == pytest.approx(wanted.lost, rel=0.3)
    assert any(not one.whole() for one in got.connections.values()) == (wanted.lost > 0)
    if profile == "chatty":
        count = len(got.connections)
        assert got.octets / count == pytest.approx(4_500, rel=0.05)
        assert sum(one.v6 for one in got.connections.values()) / count == pytest.approx(0.1, abs=0.05)
    if profile != "bulk":
        assert got.frames / got.turns < 3, "connections are interleaved"


@pytest.mark.parametrize("profile", PROFILES)
def test_connections_are_complete(profile: str) -> None:
    for connection in capture(profile).connections.values():
        assert connection.flags[0] == dpkt.tcp.TH_SYN
        assert dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK in connection.flags
        if connection.whole() and profile != "hostile":
            assert connection.client.fin == len(connection.client.octets)
            assert connection.server.fin == len(connection.server.octets)
            assert connection.client.acknowledged == connection.server.fin + 1
            assert connection.server.acknowledged == connection.client.fin + 1
            if profile in ("mixed", "bulk"):
                assert connection.client.segments / connection.acks < 3


@pytest.mark.parametrize("profile", PROFILES)
def test_dialogues_are_smtp(profile: str) -> None:
    verbs = {b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT"}
    mails = 0
    for connection in capture(profile).connections.values():
        if not connection.whole():
            continue
        steps = dialogue(connection)
        assert steps[0].command.startswith(b"EHLO ") and steps[-1].command == b"QUIT"
        strange = [step for step in steps if step.command[:4] not in verbs]
        assert profile == "hostile" or not strange
        for step in steps:
            mails += step.command == b"DATA"
            if profile != "hostile":
                assert len(step.command) <= 510
                header = step.text.partition(b"\r\n\r\n")[0]
                assert header.isascii() and max(map(len, header.split(b"\r\n"))) <= 998
    if profile != "hostile":
        assert mails == capture(profile).summary.mails


@pytest.mark.parametrize("profile", ["mixed", "bulk"])
def test_mails_are_mime(profile: str) -> None:
    wanted = corpus.PROFILES[profile]
    attached = mails = 0
    for connection in islice(capture(profile).connections.values(), 12):
        for step in dialogue(connection):
            if not step.text:
                continue
            text = step.text.replace(b"\r\n.", b"\r\n")
            message = email.message_from_bytes(text, policy=email.policy.SMTP)
            mails += 1
            assert wanted.smallest * 0.9 < len(step.text) < wanted.largest * 1.1
            assert all(message[name] for name in ("Received", "DKIM-Signature", "Message-ID", "From", "To"))
            parts = [part for part in message.walk() if part.get_content_disposition() == "attachment"]
            attached += bool(parts)
            for part in parts:
                assert part.get_filename() and not part.defects
                assert part["Content-Transfer-Encoding"] == "base64"
                assert set(map(len, str(part.get_payload()).split()[:-1])) == {76}
    assert mails
    assert 0 < attached <= mails


def violates(steps: list[Step]) -> set[str]:
    out = set()
    for step in steps:
        header = step.text.partition(b"\r\n\r\n")[0]
        longest = max(map(len, header.split(b"\r\n")))
        found = {
            "command-unknown": step.command[:4] in (b"TURN", b"EXPN", b"Some", b"XADR"),
            "command-empty": step.command == b"",
            "command-512": len(step.command) > 510,
            "address-pipe": b"|" in step.command,
            "reply-500": step.command[:4] == b"EHLO" and step.replies[0].startswith(b"500"),
            "reply-502": step.command[:4] == b"EHLO" and step.replies[0].startswith(b"502"),
            "subject-8bit": not header.isascii(),
            "header-998": 998 < longest <= 4096,
            "header-4096": longest > 4096,
        }
        out |= {name for name, fires in found.items() if fires}
    if sum(step.command[:4] == b"RCPT" for step in steps) > 100:
        out.add("recipients-101")
    return out


def test_every_violation_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loss: what a hole hides cannot be judged."""
    wanted = replace(corpus.PROFILES["hostile"], largest=3_000, lost=0.0, violating=0.7)
    monkeypatch.setitem(corpus.PROFILES, "violating", wanted)
    got = read("violating", 700_000)
    found: Counter[str] = Counter()
    for connection in got.connections.values():
        kinds = violates(dialogue(connection))
        assert len(kinds) <= 1
        found.update(kinds)
    assert found == got.summary.violations
    assert min(found[kind] for kind in corpus.VIOLATIONS) > 0
    assert found.total() < len(got.connections)


def test_floor_counts_what_dpkt_counts(tmp_path: Path) -> None:
    path = tmp_path / "corpus.pcap"
    corpus.write("mixed", 300_000, path)
    records = octets = line_ends = 0
    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            data = bytes(dpkt.ethernet.Ethernet(frame).data.data.data)
            records, octets, line_ends = records + 1, octets + len(data), line_ends + data.count(b"\n")
    done = subprocess.run([floor.build(tmp_path), path], check=True, capture_output=True)
    figures = json.loads(done.stdout)
    assert figures.pop("seconds") > 0
    assert figures == {"records": records, "payload_octets": octets, "line_ends": line_ends}


def packets(capture: bytes) -> list[tuple[float, tuple[bytes, ...], bytes]]:
    """Time, ends with their ports, and what is behind the addresses."""
    out: list[tuple[float, tuple[bytes, ...], bytes]] = []
    for time, frame in dpkt.pcap.Reader(io.BytesIO(capture)):
        ip = dpkt.ethernet.Ethernet(frame).data
        out.append((time, (ip.src, ip.dst), bytes(ip.data)))
    return out


def test_repeated_corpus_is_later_and_of_other_ends(tmp_path: Path) -> None:
    path = tmp_path / "corpus.pcap"
    corpus.write("mixed", 600_000, path)
    once, program = path.read_bytes(), native.build("repeat", tmp_path)
    done = subprocess.run([program, path, str(3 * len(once))], check=True, capture_output=True)
    assert done.stdout.startswith(once) and len(done.stdout) >= 3 * len(once)
    first = packets(once)
    size, found = len(first), packets(done.stdout)
    times = [time for time, _, _ in found]
    assert times == sorted(times) and times[size] > times[size - 1]
    passes = [found[at : at + size] for at in range(0, 3 * size, size)]
    seen = [{ends for _, ends, _ in one} for one in passes]
    assert not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]
    for one in passes:
        assert [data for _, _, data in one] == [data for _, _, data in first][: len(one)]


@pytest.mark.parametrize(("state", "frames"), [("handshake", 3), ("greeted", 6), ("text", 13)])
def test_idle_connections_are_in_order(tmp_path: Path, state: str, frames: int) -> None:
    done = subprocess.run([native.build("idle", tmp_path), state, "3"], check=True, capture_output=True)
    found = packets(done.stdout)
    assert len(found) == 3 * frames and len({frozenset(ends) for _, ends, _ in found}) == 3
    expected: dict[tuple[bytes, ...], int] = {}
    for _, ends, data in found:
        tcp = dpkt.tcp.TCP(data)
        assert expected.get(ends, tcp.seq) == tcp.seq
        assert not tcp.flags & dpkt.tcp.TH_ACK or expected[ends[::-1]] == tcp.ack
        expected[ends] = tcp.seq + len(tcp.data) + bool(tcp.flags & dpkt.tcp.TH_SYN) & 0xFFFFFFFF
