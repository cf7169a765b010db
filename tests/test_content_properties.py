"""An attachment's findings and where they were decided do not depend on how its octets arrive."""

from __future__ import annotations

import zlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kit.archives import DEFLATED, DESCRIPTORS, STORED, Member, aes, deflated, executable, gzip_of, zip_of
from kit.scanning import ALL, scan, scan_cut, scan_skipping

FILES = (b"", b"x", b"hello " * 40, executable(), b"MZ" + bytes(70), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1200))


def file_of(rng: Random, depth: int) -> bytes:
    """A file, an archive or something that was one."""
    kind = rng.random()
    if kind < 0.45 or depth > 4:
        made = rng.choice([*FILES, rng.randbytes(rng.choice([1, 30, 3000])), b"PK\3\4" + rng.randbytes(90)])
    elif kind < 0.6:
        made = b"".join(
            gzip_of(
                file_of(rng, depth + 1),
                name=rng.choice([b"", b"n"]),
                summed=rng.random() < 0.3,
                level=rng.choice([0, 6]),
            )
            for _ in range(rng.choice([1, 1, 2]))
        )
    else:
        made = zip_of(
            *(member_of(rng, depth) for _ in range(rng.choice([0, 1, 2, 3]))),
            between=rng.choice([b"", b"", b"", b"PK", b"PK\3\4" + bytes(20)]),
            before_central=rng.choice([b"", b"", b"", b"", b"PK\6\x08" + bytes(8), rng.randbytes(50)]),
            comment=rng.choice([b"", b"a comment"]),
        )
    if rng.random() < 0.15 and made:
        changed = bytearray(made)
        for _ in range(rng.choice([1, 1, 3, 10])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 1, 0x50, 0xFF, rng.randrange(256)])
        made = bytes(changed)
    return made[: rng.randrange(len(made))] if rng.random() < 0.05 and made else made


def member_of(rng: Random, depth: int) -> Member:
    extra = rng.choice([b"", b"", b"", aes(3), b"\x17\0\2\0ab", b"UT\5\0abcde", b"\1\x99\7", b"\1\0\x10\0"])
    return Member(
        name=rng.choice([b"a.txt", b"a.txt", b"dir/", b"", b"n" * 300]),
        octets=file_of(rng, depth + 1),
        method=rng.choice([STORED, STORED, DEFLATED, DEFLATED, DEFLATED, 12, 99]),
        flags=rng.choice([0] * 8 + [1, 64, 0x2000, 0x800]),
        central_flags=rng.choice([None, None, 1]),
        extra=extra,
        described=rng.choice(["", "", "", *DESCRIPTORS]),  # type: ignore[arg-type]
        large=rng.random() < 0.15,
        level=rng.choice([0, 1, 9]),
        told=rng.choice([None] * 8 + [0, 5, 0xFFFFFFFF]),
    )


@given(seed=st.integers(0, 2**48))
def test_the_cut_changes_nothing(seed: int) -> None:
    rng = Random(seed)
    octets = file_of(rng, 0)
    wants = rng.choice([ALL, ALL, ALL, ("zip-encrypted",), ("ooxml-vba", "pe-packed"), ("archive-nested",)])
    whole = scan(octets, wants)
    assert scan_cut(octets, range(1, len(octets)), wants) == whole
    cuts = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.choice([1, 3, 20])))
    assert scan_cut(octets, cuts, wants) == whole
    assert scan_skipping(octets, rng, wants) == whole


@given(seed=st.integers(0, 2**48))
def test_what_decided_is_the_first_octet_that_could(seed: int) -> None:
    """Cut behind that octet it is found; cut before, it is not."""
    rng = Random(seed)
    octets = file_of(rng, 0)
    whole = scan(octets)
    for at in {found.at for found in whole}:
        upto = [found for found in whole if found.at <= at]
        assert scan(octets[: at + 1]) == upto
        assert scan(octets[:at]) == [found for found in whole if found.at < at]


def first_that_gives(packed: bytes, index: int) -> int:
    """The octet of `packed` with which that inflated octet can be told first, by another way."""
    inflater, n = zlib.decompressobj(-15), 0
    for i in range(len(packed)):
        n += len(inflater.decompress(packed[i : i + 1]))
        if n > index:
            return i
    raise AssertionError("it never comes")


@given(
    lead=st.integers(0, 400),
    seed=st.integers(0, 2**32),
    noise=st.sampled_from([2, 16, 256]),
    level=st.sampled_from([0, 1, 9]),
)
def test_offsets_go_through_deflate(lead: int, seed: int, noise: int, level: int) -> None:
    """Of an executable in a member, and of one in a stored member of a deflated archive."""
    rng = Random(seed)
    filler = bytes(rng.randrange(noise) for _ in range(lead))
    program = executable() + filler
    (bare,) = scan(program)
    inner = zip_of(Member(b"f", filler), Member(b"a.exe", program, method=STORED))
    for octets, index in ((program, bare.at), (inner, inner.index(program) + bare.at)):
        outer = Member(b"outer", octets, level=level)
        found = scan(zip_of(outer), ("pe-packed",))
        assert [f.at for f in found] == [len(outer.local()) + first_that_gives(deflated(octets, level), index)]
