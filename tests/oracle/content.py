"""What an attachment holds, from the definitions, with the octet that decides: slow, whole, and obvious.

The octet that decides is the last one that is needed. For programs it ends the shortest prefix that proves the finding,
found by bisection, since more octets never prove less. Inside a deflated member it is the compressed octet with which
the deciding octet could first be produced: found by giving zlib one octet at a time.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from oracle import compound, executable

GZIP, LOCAL, CENTRAL, DESCRIPTOR, RECORD = b"\x1f\x8b\x08", b"PK\3\4", b"PK\1\2", b"PK\7\x08", b"PK\6\x08"
END = b"PK\5\6"
STRENGTHS = {1: "aes-128", 2: "aes-192", 3: "aes-256"}
FINDINGS = 16  # of one kind in one part
PACKERS = (*executable.DOCUMENTED, "PECompact", "MPRESS", "NsPack")


@dataclass(frozen=True)
class Caps:
    """When a scan stops looking. How much may be inflated is not modelled."""

    depth: int = 3


@dataclass(frozen=True)
class Found:
    kind: str
    detail: str
    evidence: str
    depth: int
    name: str
    at: int  # index of the octet that decides, in the octets that were given

    def outside(self, at: int) -> Found:
        return replace(self, at=at)


def first_proof(data: bytes, proves: Callable[[bytes], bool]) -> int | None:
    """Index of the last octet of the shortest prefix that proves it; None: not even all of it does."""
    if not proves(data):
        return None
    return bisect.bisect_left(range(len(data) + 1), True, key=lambda n: proves(data[:n])) - 1


@dataclass
class Inflated:
    """A raw deflate stream; produced[i] is the number of octets known after compressed octet i."""

    data: bytes
    produced: list[int]
    used: int  # compressed octets, up to the stream's end
    whole: bool

    def needs(self, index: int) -> int:
        """The compressed octet with which output octet `index` could first be produced."""
        return bisect.bisect_right(self.produced, index)


def inflate(packed: bytes) -> Inflated:
    """Whatever can be inflated; broken data end it."""
    stream, data, produced = zlib.decompressobj(-15), [], []
    total = 0
    for index in range(len(packed)):
        try:
            piece = stream.decompress(packed[index : index + 1])
        except zlib.error:
            return Inflated(b"".join(data), produced, index, False)
        data.append(piece)
        total += len(piece)
        produced.append(total)
        if stream.eof:
            return Inflated(b"".join(data), produced, index + 1, True)
    return Inflated(b"".join(data), produced, len(packed), False)


def extras(octets: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Extra fields: id, content, where the content begins."""
    at = 0
    while at + 4 <= len(octets):
        number, n = struct.unpack_from("<HH", octets, at)
        yield number, octets[at + 4 : at + 4 + n], at + 4
        at += 4 + n


def method_of(flags: int, method: int, name: bytes, extra: bytes) -> tuple[str, int] | None:
    """How a member is encrypted, and how many octets of its extra fields tell so."""
    strength = 0
    told = 0
    if method == 99:
        for number, content, at in extras(extra):
            if number == 0x9901 and len(content) == 7 and content[2:4] == b"AE":
                strength, told = content[4], at + 5
                break
    if name.endswith(b"/"):
        return None
    if flags & 1 << 6:
        return "strong", 0
    if strength in STRENGTHS:
        return STRENGTHS[strength], told
    if flags & 1:
        return ("", len(extra)) if method == 99 else ("zipcrypto", 0)
    return None


@dataclass(frozen=True)
class Member:
    name: bytes
    flags: int
    method: int
    data_at: int
    packed: int | None  # octets, where the header tells them

    @property
    def blind(self) -> bool:
        """Encrypted, in whatever way: its octets tell nothing."""
        return bool(self.flags & (1 | 1 << 6 | 1 << 13)) or self.method == 99


def descriptor(data: bytes, at: int, packed: int, unpacked: int | None, crc: int | None) -> int | None:
    """Octets of the data descriptor at `at`, which must say these sizes; a header follows."""
    for sign in DESCRIPTOR, b"":
        for sizes in "<III", "<IQQ":
            n = len(sign) + struct.calcsize(sizes)
            if data[at : at + len(sign)] != sign or at + n > len(data):
                continue
            told = struct.unpack_from(sizes, data, at + len(sign))
            follows = data[at + n : at + n + 2] in (b"PK", b"")
            if follows and told[1] == packed and unpacked in (None, told[2]) and crc in (None, told[0]):
                return n
    return None


def local(data: bytes, at: int) -> Member | None:
    if len(data) < at + 30:
        return None
    _, _, flags, method, _, _, _, packed, size, name_n, extra_n = struct.unpack_from("<4sHHHHHIIIHH", data, at)
    begin = at + 30 + name_n + extra_n
    for number, content, _ in extras(data[at + 30 + name_n : begin]):
        if number == 1 and packed == 0xFFFFFFFF:
            places = struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8])
            packed = places[1 if size == 0xFFFFFFFF else 0] if places else 0
    known = None if flags & 8 and not packed else packed
    return Member(data[at + 30 : at + 30 + name_n], flags, method, begin, known)


def end_of(data: bytes, member: Member, inside: Inflated | None) -> int | None:
    """Where the next header stands; None: nobody can tell."""
    if member.packed is not None:
        at = member.data_at + member.packed
        return at + (descriptor(data, at, member.packed, None, None) or 0 if member.flags & 8 else 0)
    if inside is not None:
        if not inside.whole:
            return None
        at = member.data_at + inside.used
        n = descriptor(data, at, inside.used, len(inside.data), zlib.crc32(inside.data))
        return None if n is None else at + n
    at = data.find(DESCRIPTOR, member.data_at)
    while at >= 0:
        packed = at - member.data_at
        crc = None if member.blind else zlib.crc32(data[member.data_at : at])
        n = descriptor(data, at, packed, None if member.blind else packed, crc)
        if n is not None:
            return at + n
        at = data.find(DESCRIPTOR, at + 1)
    return None


class Judge:
    def __init__(self, caps: Caps) -> None:
        self.caps = caps

    def part(self, data: bytes, depth: int, name: str, zipped: bool = False) -> list[Found]:
        """All that one file holds; `depth` archives are around it, the next one a zip or not; `name` is its own."""
        if data[:4] in (LOCAL, RECORD, END) or data[:3] == GZIP:
            detail = "gzip" if data[:3] == GZIP else "zip"
            known_at = 3 if detail == "zip" else 2
            found = [Found("archive-nested", detail, "marker", depth, name, known_at)] if depth else []
            if depth >= self.caps.depth:
                return [*found, Found("scan-limit", "depth", "marker", depth, name, known_at)]
            return found + (self.zip(data, depth, name) if detail == "zip" else self.gzip(data, depth, name))
        if data[:8] == compound.MAGIC:
            first = compound.decides(data)
            if first is None:
                return []
            kind, detail = ("ooxml-vba", "vbaProject") if zipped else ("ole-vba", "compound")
            if first[0] == "atom":
                kind, detail = "ole-vba", "powerpoint"
            return [Found(kind, detail, first[0], depth, name, first[1])]
        if data[:2] == b"MZ":
            found = []
            for packer in PACKERS:
                for evidence in executable.EVIDENCE:
                    what = Found("pe-packed", packer, evidence, depth, name, 0)
                    found += self.proof(data, lambda d, w=what: executable.packed_by(d, w.detail, w.evidence), what)
            return sorted(found, key=lambda f: f.at)[:1]
        return []

    def proof(self, data: bytes, proves: Callable[[bytes], bool], found: Found) -> list[Found]:
        at = first_proof(data, proves)
        return [] if at is None else [found.outside(at)]

    def layer(self, at: int, inside: Inflated, depth: int, name: str, zipped: bool) -> list[Found]:
        """What a deflated stream at `at` holds, told by the compressed octets."""
        found = self.part(inside.data, depth + 1, name, zipped)
        return [f.outside(at + inside.needs(f.at)) for f in found]

    def zip(self, data: bytes, depth: int, name: str) -> list[Found]:
        """An archive is told to be encrypted once."""
        found: list[Found] = []
        told: list[Found] = []
        at = 0
        while True:
            if data[at : at + 4] == RECORD:
                told.append(Found("zip-encrypted", "cd-encrypted", "central directory", depth, name, at + 3))
                break
            if data[at : at + 4] == CENTRAL and len(data) >= at + 46:
                told += self.header(data, at, 46, depth, name, "central directory")
                at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
                continue
            if data[at : at + 4] != LOCAL:
                break
            told += self.header(data, at, 30, depth, name, "local header")
            member = local(data, at)
            if member is None:
                break
            inside = None
            if not member.blind:
                inside, more = self.member(data, member, depth)
                found += more
            after = end_of(data, member, inside)
            if after is None:
                break
            at = after
        return found + told[:1]

    def member(self, data: bytes, member: Member, depth: int) -> tuple[Inflated | None, list[Found]]:
        title = member.name.decode("latin-1")
        stop = len(data) if member.packed is None else member.data_at + member.packed
        if member.method == 8:
            inside = inflate(data[member.data_at : stop])
            return inside, self.layer(member.data_at, inside, depth, title, True)
        if member.method:
            return None, []
        end = end_of(data, member, None)
        if member.packed is None and end is not None:
            stop = end
        inner = self.part(data[member.data_at : stop], depth + 1, title, True)
        return None, [f.outside(member.data_at + f.at) for f in inner]

    def header(self, data: bytes, at: int, fixed: int, depth: int, around: str, evidence: str) -> list[Found]:
        """An encrypted member, by its local or central header. A masked one tells no more than its flags,
        and has no name: that of the archive itself stands for it."""
        flags_at = at + (6 if fixed == 30 else 8)
        if len(data) >= flags_at + 2 and struct.unpack_from("<H", data, flags_at)[0] & 1 << 13:
            return [Found("zip-encrypted", "cd-encrypted", evidence, depth, around, flags_at + 1)]
        if len(data) < at + fixed:
            return []
        flags, method = struct.unpack_from("<HH", data, flags_at)
        name_n, extra_n = struct.unpack_from("<HH", data, at + (26 if fixed == 30 else 28))
        name = data[at + fixed : at + fixed + name_n]
        extra = data[at + fixed + name_n : at + fixed + name_n + extra_n]
        how = method_of(flags, method, name, extra)
        if how is None or len(name) < name_n:
            return []
        decides = at + fixed + name_n + how[1] - 1
        return [Found("zip-encrypted", how[0], evidence, depth, name.decode("latin-1"), decides)]

    def gzip(self, data: bytes, depth: int, name: str) -> list[Found]:
        """All members make one file (RFC 1952 2.2), which has the name of the first."""
        whole, produced, title = b"", list[int](), name
        at = 0
        while data[at : at + 3] == GZIP and len(data) >= at + 10:
            flags, begin = data[at + 3], at + 10
            if flags & 4:
                begin += 2 + int.from_bytes(data[begin : begin + 2], "little")
            for bit in 8, 16:
                if flags & bit:
                    end = data.find(b"\0", begin)
                    if end < 0:
                        return []
                    title = data[begin:end].decode("latin-1") if bit == 8 and not at else title
                    begin = end + 1
            begin += 2 if flags & 2 else 0
            inside = inflate(data[begin:])
            produced += [len(whole)] * (begin - len(produced)) + [len(whole) + n for n in inside.produced]
            whole += inside.data
            if not inside.whole:
                break
            at = begin + inside.used + 8
        return self.layer(0, Inflated(whole, produced, 0, True), depth, title, False)


def judge(data: bytes, caps: Caps | None = None) -> list[Found]:
    """All findings of one attachment, by the octet that decides; a part is told once that it is too deep."""
    found = sorted(Judge(caps or Caps()).part(data, 0, ""), key=lambda f: f.at)
    kept: list[Found] = []
    for f in found:
        same = sum(k.kind == f.kind for k in kept)
        if same < (1 if f.kind == "scan-limit" else FINDINGS):
            kept.append(f)
    return kept
