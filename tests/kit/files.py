"""Small files that a content scanner finds, and files of chance: archives in archives, whole and damaged."""

from __future__ import annotations

from random import Random

from kit.archives import DEFLATED, DESCRIPTORS, STORED, Member, aes, gzip_of, zip_of
from kit.compound import WORD, compound
from kit.executable import Section, executable

PROGRAM = executable((Section(b"UPX0", size=0x1000), Section(b"UPX1", bytes(0x200)), Section(b".rsrc", b"x")))
DOCUMENT = compound(WORD)
FILES = (b"", b"x", b"hello " * 40, PROGRAM, DOCUMENT, b"MZ" + bytes(70), DOCUMENT[:1500])


def file_of(rng: Random, depth: int = 0) -> bytes:
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
