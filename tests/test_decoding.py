"""Transfer encodings: the same octets as Python's own decoders, each at its place, however the octets are cut."""

from __future__ import annotations

import base64
import binascii
import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpinspect._core.decoding import Decoder

ENCODINGS = ("8bit", "base64", "quoted-printable", "uuencode")
SHORT = ("8bit", "base64")  # that can be passed without being decoded
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def uuencoded(octets: bytes) -> bytes:
    return b"".join(binascii.b2a_uu(octets[i : i + 45]) for i in range(0, len(octets), 45)) + b"`\nend\n"


def encoded(name: str, octets: bytes) -> bytes:
    if name == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if name == "quoted-printable":
        return binascii.b2a_qp(octets, istext=False).replace(b"\n", b"\r\n")
    return uuencoded(octets).replace(b"\n", b"\r\n") if name == "uuencode" else octets


def stuffed(octets: bytes) -> bytes:
    return re.sub(rb"(\A|\n)\.", rb"\1..", octets)


def unstuffed(octets: bytes) -> bytes:
    return re.sub(rb"(\A|\n)\.", rb"\1", octets)


def whole(name: str, wire: bytes, unstuff: bool = False, room: int = 4096) -> tuple[bytes, list[int]]:
    decoder = Decoder(name, unstuff)
    return decoder.feed(wire, room), decoder.positions


def in_pieces(name: str, wire: bytes, cuts: list[int], unstuff: bool = False) -> tuple[bytes, list[int]]:
    decoder, octets, positions = Decoder(name, unstuff), b"", []
    ends = [0, *sorted({cut % (len(wire) + 1) for cut in cuts}), len(wire)]
    for begin, end in pairwise(ends):
        octets += decoder.feed(wire[begin:end])
        positions += decoder.positions
    return octets, positions


def first_seen(name: str, wire: bytes, unstuff: bool = False) -> list[int]:
    """Where each octet is there for the first time, found by feeding ever more of it."""
    counts = [len(whole(name, wire[:n], unstuff)[0]) for n in range(len(wire) + 1)]
    return [next(n for n, count in enumerate(counts) if count > k) - 1 for k in range(counts[-1])]


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 44, 45, 46, 57, 58, 4095, 4096, 4097, 10_000])
def test_gives_back_what_was_encoded(name: str, size: int) -> None:
    octets = Random(size).randbytes(size)
    wire = encoded(name, octets)
    assert whole(name, wire)[0] == octets
    assert whole(name, stuffed(wire), unstuff=True) == whole(name, stuffed(wire), unstuff=True, room=64)
    assert whole(name, stuffed(wire), unstuff=True)[0] == whole(name, wire)[0]


SOUP = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"=", b"==", b"=4", b"=4a", b"=\r", b"=\r\n", b"=\n", b"\r\n", b"\n", b".", b"..", b" ", b"#",
                         b"M" + b"A" * 60, b"QUJD" * 30, b"QUI=", b"e", b"b", b"`", b"A", b"B", b"\x80", b"\0"]),
        max_size=60,
    ).map(b"".join),
)  # fmt: skip


@given(st.sampled_from(ENCODINGS), SOUP, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_cut_gives_the_same(name: str, wire: bytes, cuts: list[int], unstuff: bool) -> None:
    told = whole(name, wire, unstuff)
    assert in_pieces(name, wire, cuts, unstuff) == told
    assert whole(name, wire, unstuff, room=64) == told
    assert in_pieces(name, wire, [*range(len(wire))], unstuff) == told


@given(st.sampled_from(ENCODINGS), SOUP, st.booleans())
def test_an_octet_is_there_as_soon_as_its_bits_are(name: str, wire: bytes, unstuff: bool) -> None:
    assert whole(name, wire, unstuff)[1] == first_seen(name, wire, unstuff)


@given(st.binary(max_size=300), st.booleans())
def test_base64_ignores_what_is_not_its_alphabet(wire: bytes, unstuff: bool) -> None:
    made = b""
    for group in wire.split(b"="):
        digits = bytes(c for c in group if c in ALPHABET)
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        made += base64.b64decode(digits + b"=" * (-len(digits) % 4))
    assert whole("base64", wire, unstuff)[0] == made


@given(SOUP)
def test_quoted_printable_is_what_binascii_makes_of_it(wire: bytes) -> None:
    wire = re.sub(rb"=(?==)|=\r(?!\n)|=[0-9A-Fa-f]?\Z|=\r\Z", b"", wire)  # there it is of its own mind
    if not re.search(rb"=(?==)|=\r(?!\n)|=[0-9A-Fa-f]?\Z|=\r\Z", wire):
        assert whole("quoted-printable", wire)[0] == binascii.a2b_qp(wire)


@pytest.mark.parametrize(
    ("wire", "octets"),
    [
        (b"==41", b"=A"),
        (b"=4G", b"=4G"),
        (b"=\rA", b"=\rA"),
        (b"=4=41", b"=4A"),
        (b"=\r=41", b"=\rA"),
        (b"a=\r\n.b", b"a.b"),
        (b"=e9=E9", b"\xe9\xe9"),
        (b"a \r\n", b"a \r\n"),
    ],
)
def test_bad_escapes_are_passed_as_they_are(wire: bytes, octets: bytes) -> None:
    assert whole("quoted-printable", wire)[0] == octets


@given(st.binary(max_size=300), st.booleans())
def test_dots_of_stuffing(wire: bytes, unstuff: bool) -> None:
    assert whole("8bit", wire, unstuff)[0] == (unstuffed(wire) if unstuff else wire)


def test_uuencode_ends_and_is_padded() -> None:
    decoder = Decoder("uuencode")
    line = binascii.b2a_uu(b"abc\0\0")
    assert decoder.feed(line.rstrip(b" `\n") + b"\nend\nM") == b"abc\0\0"
    assert decoder.over and decoder.feed(b"more") == b""
    assert whole("uuencode", b"#86)C junk behind it\n")[0] == b"abc"


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("unstuff", [False, True])
def test_passing_counts_what_decoding_makes(name: str, unstuff: bool) -> None:
    rng = Random(4)
    for _ in range(300):
        kind = rng.randrange(3)
        wire = rng.randbytes(rng.randrange(3000)) if kind == 0 else encoded(name, rng.randbytes(rng.randrange(9000)))
        if kind == 2:
            wire = wire.replace(b"\n", rng.choice([b"\n.", b"\n..", b"\n--", b"=\n", b"\n"]))
        octets, positions = whole(name, wire, unstuff, room=64)  # where an octet is from costs the square of the room
        decoder = Decoder(name, unstuff)
        made, places, i, passed = b"", [], 0, 0
        while i < len(wire):
            piece = wire[i : i + rng.choice([1, 7, 63, 64, 65, 200, 1460, 9000])]
            if rng.random() < 0.5:
                most = rng.choice([1, 63, 64, 65, 300, 1 << 40])
                took, count = decoder.skip(piece, most)
                assert count <= most and took <= len(piece)
                passed += count
                made += octets[len(made) : len(made) + count]
                places += [-1] * count
                i += took
                continue
            made += decoder.feed(piece, rng.choice([64, 500]))
            places += decoder.positions
            i += len(piece)
        assert made == octets
        assert all(a in (-1, b) for a, b in zip(places, positions, strict=True))
        assert len(places) == len(positions)


@pytest.mark.parametrize("name", ["quoted-printable", "uuencode"])
def test_what_cannot_be_counted_is_not_passed(name: str) -> None:
    assert Decoder(name).skip(b"A" * 1000, 1000) == (0, 0)
