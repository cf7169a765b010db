"""The attachments that other tools made: through the scanner, and in mails through the engine to SonicWall's rules."""

from __future__ import annotations

import binascii
import io
import json
import pathlib
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attachments.recipe import compound, handzip
from kit import wire
from kit.dialogue import Turn, parse
from oracle import content
from running import replay
from smtpinspect._core.scanner import Scanner
from smtpinspect.grammar import limits

HERE = pathlib.Path(__file__).parent / "attachments"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text())
SONICWALL = "sonicwall,extended_packers=on,block_multiple_compress_files=on"
BOMB = "archive/bomb-descriptor.zip"
# A stored member without a size is read until a header that makes sense; the oracle wants its descriptor before it.
HEADERS_TRUSTED = {"archive/hand-descriptor-decoy.zip"}
# Bit 0 and method 99, without the field that tells the strength: found without a detail, and no row asks for that.
UNNAMED = {"archive/hand-aes-no-extra.zip"}
AGREED = [name for name in EXPECTED if name not in {BOMB, *HEADERS_TRUSTED, *UNNAMED}]
SLIDES = [("PowerPoint Document", bytes.fromhex("1f00ff0314000000020000040c000000 00000000 01000000"))]


def octets(name: str) -> bytes:
    return (HERE / name).read_bytes()


def scan(data: bytes, cuts: Sequence[int] = ()) -> list[content.Found]:
    """What the core finds when it gets the octets in pieces."""
    scanner, told, at = Scanner(), [], 0
    for cut in (*cuts, len(data)):
        told += scanner.feed(data[at:cut])
        at = cut
    told += scanner.end()
    return [content.Found(f.kind, f.detail, f.evidence, f.depth, f.name.decode("latin-1"), f.at) for f in told]


def three_ways(data: bytes, seed: int) -> list[Sequence[int]]:
    chance = random.Random(seed)
    some = sorted(chance.randrange(len(data) + 1) for _ in range(len(data) // 50 + 3))
    return [(), range(1, len(data)), some]


# ---- the scanner


@pytest.mark.parametrize("name", [*AGREED, *UNNAMED])
def test_scanner(name: str) -> None:
    data = octets(name)
    expected = content.judge(data)
    for cuts in three_ways(data, len(name)):
        assert scan(data, cuts) == expected


def test_a_bomb_is_given_up() -> None:
    """Told soon behind the octet that makes it one, and nothing of the part is judged any more."""
    data = octets(BOMB)
    packed = content.inflate(data[35:])
    too_much = packed.needs(limits.INFLATE_FLOOR)
    for cuts in three_ways(data, 1):
        (found,) = scan(data, cuts)
        assert (found.kind, found.detail, found.name) == ("scan-limit", "ratio", "zeros")
        assert 35 + too_much <= found.at < 35 + too_much + 512


@pytest.mark.parametrize("name", sorted(HEADERS_TRUSTED))
def test_a_header_within_a_stored_member_of_unknown_size_is_trusted(name: str) -> None:
    """Our choice: waiting for a descriptor would miss archives that have none."""
    data = octets(name)
    assert not content.judge(data)
    assert [found.kind for found in scan(data)] == ["zip-encrypted"]


def test_slides_in_a_zip() -> None:
    data = handzip.write([handzip.Member("slides.ppt", compound.Writer().write(SLIDES))])
    assert scan(data) == content.judge(data)


def test_an_archive_that_is_not_read() -> None:
    locked = handzip.write([handzip.Member("a.txt", b"", handzip.STORED, handzip.ENCRYPTED, opaque=True)])
    streamed = handzip.write([handzip.Member("inside.zip", locked, handzip.STORED, handzip.DESCRIPTOR)])
    middle = handzip.write([handzip.Member("streamed.zip", streamed, handzip.STORED)])
    data = handzip.write([handzip.Member("middle.zip", middle, handzip.STORED)])
    assert scan(data) == content.judge(data)


# ---- mails. Each way gives what is sent, and where an octet of the attachment is complete.

Way = Callable[[bytes], tuple[bytes, Callable[[int], int]]]


def base64(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """Lines of 76 digits; octets 0, 1, 2 of a group are complete with its second, third, fourth digit."""
    text = binascii.b2a_base64(data, newline=False)
    lines = [text[at : at + 76] for at in range(0, len(text), 76)]

    def place(at: int) -> int:
        digit = at // 3 * 4 + at % 3 + 1
        return digit + digit // 76 * 2

    return b"\r\n".join(lines), place


def quoted_printable(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """Each octet as =XX, 24 on a line of 72, a soft break behind."""
    lines = [b"".join(b"=%02X" % octet for octet in data[at : at + 24]) for at in range(0, len(data), 24)]
    return b"=\r\n".join(lines), lambda at: at // 24 * 75 + at % 24 * 3 + 2


def uuencode(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """Lines of a length octet and 60 digits for 45 octets."""
    begin = b"begin 644 attached\r\n"
    lines = [binascii.b2a_uu(data[at : at + 45])[:-1] for at in range(0, len(data), 45)]

    def place(at: int) -> int:
        within = at % 45
        return len(begin) + at // 45 * 63 + 1 + within // 3 * 4 + within % 3 + 1

    return begin + b"\r\n".join(lines) + b"\r\n`\r\nend", place


def as_it_is(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    return data, lambda at: at


WAYS: dict[str, Way] = {
    "base64": base64,
    "quoted-printable": quoted_printable,
    "x-uuencode": uuencode,
    "binary": as_it_is,
}
GREETING = (
    "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250-CHUNKING\nS: 250 BINARYMIME\nC: MAIL FROM:<a@a.example>\nS: 250 ok\n"
)
GREETING += "C: RCPT TO:<b@b.example>\nS: 250 ok\n"
FLAT = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nSee the attachment.\n--m\n"
NESTED = (
    "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: message/rfc822\n\nSubject: forwarded\n"
    "Content-Type: multipart/mixed; boundary=inner\n\n--inner\nContent-Type: text/plain\n\nText.\n--inner\n"
)


def mail(data: bytes, how: str, chunks: int = 0, nested: bool = False) -> tuple[list[Turn], Callable[[int], int]]:
    """A dialogue with the attachment, and the stream offset that an octet of the attachment has; `chunks`: by BDAT."""
    sent, place = WAYS[how](data)
    head = f"MIME-Version: 1.0\nSubject: a file\n{NESTED if nested else FLAT}"
    head += "Content-Type: application/octet-stream; name=attached\n"
    head += "Content-Disposition: attachment; filename=attached\n"
    head += f"Content-Transfer-Encoding: {how}\n\n"
    front = head.replace("\n", "\r\n").encode()
    text = front + sent + (b"\r\n--inner--" if nested else b"") + b"\r\n--m--\r\n"
    turns = parse(GREETING)
    before = sum(len(turn.octets) for turn in turns if turn.side == "C")
    if not chunks:
        assert how != "binary"
        turns += [
            *parse("C: DATA\nS: 354 go\n"),
            Turn("C", text + b".\r\n"),
            *parse("S: 250 ok\nC: QUIT\nS: 221 bye\n"),
        ]
        return turns, lambda at: before + len(b"DATA\r\n") + len(front) + place(at)
    size = -(-len(text) // chunks)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    ends: list[int] = []  # octets of commands up to each piece
    for number, piece in enumerate(pieces):
        command = b"BDAT %d%s\r\n" % (len(piece), b" LAST" if number == len(pieces) - 1 else b"")
        ends.append(len(command) + (ends[-1] if ends else 0))
        turns += [Turn("C", command + piece), Turn("S", b"250 ok\r\n")]
    turns += parse("C: QUIT\nS: 221 bye\n")

    def offset(at: int) -> int:
        in_text = len(front) + place(at)
        return before + ends[in_text // size] + in_text

    return turns, offset


def fired(turns: list[Turn], mss: int = 1460) -> dict[str, tuple[str, int]]:
    """Of each rule the first alert: its detail and the offset that decided."""
    found: dict[str, tuple[str, int]] = {}
    for alert in sorted(replay(wire.build(turns, mss=mss), [SONICWALL]).alerts, key=lambda a: a.offset):
        found.setdefault(alert.rule, (alert.detail, alert.offset + alert.length - 1))
    return found


def expected(name: str, offset: Callable[[int], int]) -> dict[str, tuple[str, int]]:
    rules = EXPECTED[name]["rules"].items()
    return {rule: (told["detail"] or "method not told", offset(told["at"])) for rule, told in rules}


@pytest.mark.parametrize("name", AGREED)
def test_in_base64(name: str) -> None:
    turns, offset = mail(octets(name), "base64")
    assert fired(turns) == expected(name, offset)


@pytest.mark.parametrize("name", sorted(UNNAMED))
def test_encrypted_who_knows_how(name: str) -> None:
    turns, offset = mail(octets(name), "base64")
    assert fired(turns) == expected(name, offset)


SMALL = [name for name in AGREED if EXPECTED[name]["octets"] < 6000]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("how", ["quoted-printable", "x-uuencode"])
def test_otherwise_encoded(name: str, how: str) -> None:
    turns, offset = mail(octets(name), how)
    assert fired(turns) == expected(name, offset)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("how", ["binary", "base64"])
def test_in_chunks(name: str, how: str) -> None:
    for chunks in 1, 3:
        turns, offset = mail(octets(name), how, chunks)
        assert fired(turns) == expected(name, offset)


@pytest.mark.parametrize("name", SMALL)
def test_in_a_forwarded_mail(name: str) -> None:
    turns, offset = mail(octets(name), "base64", nested=True)
    assert fired(turns, mss=61) == expected(name, offset)


@pytest.mark.parametrize("name", ["archive/7z-aes256.zip", "office/macros.xlsm", "program/upx-wiped64.exe"])
def test_octet_by_octet(name: str) -> None:
    turns, offset = mail(octets(name), "base64")
    assert fired(turns, mss=1) == expected(name, offset)


# ---- archives of chance

PLAIN = [b"", b"x", b"Some text in a line.\n" * 20, b"PK", b"PK\3", b"MZ", b"\x1f\x8b"]
PROGRAMS = [octets(f"program/{name}.exe") for name in ("fsg-1.0", "aspack-sections", "near-upx0-alone")]
STREAMS = [(path, path.encode() * 9) for path in ("A/PROJECT", "A/VBA/dir", "A/VBA/_VBA_PROJECT")]
DOCUMENTS = [compound.Writer().write(entries) for entries in (STREAMS, STREAMS[:2])]
SEEDS = [*PLAIN, *PROGRAMS, *DOCUMENTS]
NAMES = st.sampled_from(["a.txt", "b/c.bin", "[Content_Types].xml", "n" * 40, "caf\u00e9"])
FLAGS = st.sampled_from([0, 0, 0, handzip.ENCRYPTED, handzip.STRONG, handzip.MASKED])
EXTRAS = st.sampled_from([b"", b"", handzip.aes_extra(1), b"\x99\x99\3\0abc" + handzip.aes_extra(3)])


@st.composite
def members(draw: st.DrawFn, inside: st.SearchStrategy[bytes]) -> handzip.Member:
    method = draw(st.sampled_from([handzip.STORED, handzip.DEFLATED, handzip.DEFLATED, handzip.AES]))
    data, flags = draw(inside), draw(FLAGS)
    if draw(st.booleans()) and not (method == handzip.AES and not flags):
        flags |= handzip.DESCRIPTOR
    opaque = bool(flags & ~handzip.DESCRIPTOR)
    return handzip.Member(
        draw(NAMES),
        data if not opaque else bytes(7 * i % 251 for i in range(len(data))),
        method,
        flags,
        central_flags=draw(st.one_of(st.none(), FLAGS)),
        extra=draw(EXTRAS),
        zip64=draw(st.booleans()),
        opaque=opaque,
    )


def archives(inside: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(members(inside), max_size=4).map(handzip.write)


CHANCE = st.recursive(st.integers(0, len(SEEDS) - 1).map(SEEDS.__getitem__), archives, max_leaves=8)


@given(data=archives(CHANCE), seed=st.integers(0, 99))
def test_archives_of_chance(data: bytes, seed: int) -> None:
    expected = content.judge(data)
    for cuts in three_ways(data, seed):
        assert scan(data, cuts) == expected


@given(
    files=st.lists(st.tuples(NAMES, CHANCE, st.booleans(), st.integers(0, 2)), min_size=1, max_size=5),
    streamed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_zipfile_archives(files: list[tuple[str, bytes, bool, int]], streamed: bool, seed: int) -> None:
    """Written by zipfile, to a file or to a pipe; some members said to be encrypted in one or both headers."""
    out = io.BytesIO()
    target = Pipe(out) if streamed else out
    with zipfile.ZipFile(target, "w") as z:  # type: ignore[call-overload]
        for number, (name, data, deflated, _) in enumerate(files):
            info = zipfile.ZipInfo(f"{number}{name}")
            info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            z.writestr(info, data)
        infos, central = z.infolist(), z.start_dir
    made = bytearray(out.getvalue())
    for info, (_, _, _, patch) in zip(infos, files, strict=True):
        if patch == 1 and not streamed:
            made[info.header_offset + 6] |= 1
        if patch:
            made[central + 8] |= 1
        central += 46 + len(info.filename.encode())
    expected = content.judge(bytes(made))
    for cuts in three_ways(bytes(made), seed):
        assert scan(bytes(made), cuts) == expected


class Pipe:
    """A file that cannot be sought: zipfile writes data descriptors into it."""

    def __init__(self, out: io.BytesIO) -> None:
        self.write, self.flush = out.write, out.flush
