"""Zip archives: python zips.py PROGRAM-DIRECTORY OFFICE-DIRECTORY OUT (needs zip, 7z and pyzipper).

Encryption draws random octets, so what the tools encrypt differs each time; everything else is the same.
"""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
import zlib

import pyzipper
from handzip import AES, DEFLATED, DESCRIPTOR, ENCRYPTED, MASKED, STORED, STRONG, Member, aes_extra, write

SECRET = "secret"
STAMP = 1767607200  # 5 January 2026, 10:00 UTC
TEXTS = {
    "one.txt": b"The first text, in one line of its own.\n" * 8,
    "two.txt": b"The second text, like the first.\n" * 8,
}
WHEN = (2026, 1, 5, 10, 0, 0)
BLIND = bytes(range(7, 247, 3))  # cipher text that no key opens


def files(folder: pathlib.Path) -> None:
    for name, octets in TEXTS.items():
        (folder / name).write_bytes(octets)
        os.utime(folder / name, (STAMP, STAMP))


def tool(out: pathlib.Path, *command: str) -> None:
    """Runs a tool in a folder with the texts; `OUT` stands for its archive, or its standard output is taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files(folder)
        ran = subprocess.run(
            [*(word.replace("OUT", out.name) for word in command)],
            cwd=folder, check=True, stdout=subprocess.PIPE, env=os.environ | {"TZ": "UTC"},
        )  # fmt: skip
        made = folder / out.name
        out.write_bytes(made.read_bytes() if made.exists() else ran.stdout)


def aes(bits: int, encrypted: tuple[str, ...]) -> bytes:
    """An archive by pyzipper; the members that are not named stay in clear."""
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=pyzipper.ZIP_DEFLATED) as z:
        for name, octets in TEXTS.items():
            info = pyzipper.zipfile_aes.AESZipInfo(name, WHEN)
            info.compress_type = pyzipper.ZIP_DEFLATED
            z.pwd = SECRET.encode() if name in encrypted else None
            z.encryption = pyzipper.WZ_AES if name in encrypted else None
            z.encryption_kwargs = {"nbits": bits} if name in encrypted else {}
            z.writestr(info, octets)
    return out.getvalue()


def holding(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive by Python's zipfile."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, octets in members:
            info = zipfile.ZipInfo(name, WHEN)
            info.compress_type = method
            z.writestr(info, octets)
    return out.getvalue()


def by_tools(to: pathlib.Path) -> None:
    seven, info = ("7z", "a", "-tzip", "-bso0", "-bsp0", "-mtc=off"), ("zip", "-q", "-X")
    both = tuple(TEXTS)
    tool(to / "7z-plain.zip", *seven, "OUT", *both)
    tool(to / "7z-zipcrypto.zip", *seven, f"-p{SECRET}", "-mem=ZipCrypto", "OUT", *both)
    for bits in 128, 192, 256:
        tool(to / f"7z-aes{bits}.zip", *seven, f"-p{SECRET}", f"-mem=AES{bits}", "OUT", *both)
    tool(to / "7z-native.7z", "7z", "a", "-bso0", "-bsp0", f"-p{SECRET}", "OUT", *both)
    tool(to / "infozip-plain.zip", *info, "OUT", *both)
    tool(to / "infozip-encrypted.zip", *info, "-P", SECRET, "OUT", *both)
    tool(to / "infozip-encrypted-stored.zip", *info, "-0", "-P", SECRET, "OUT", *both)
    tool(to / "infozip-pipe-plain.zip", "sh", "-c", "zip -q -X - one.txt two.txt | cat")
    tool(to / "infozip-pipe-encrypted.zip", "sh", "-c", f"zip -q -X -P {SECRET} - one.txt two.txt | cat")
    tool(to / "infozip-pipe-stored.zip", "sh", "-c", "zip -q -X -0 - one.txt two.txt | cat")
    inner = "zip -q -X inner.zip two.txt && zip -q -X - inner.zip one.txt | cat"
    tool(to / "infozip-pipe-nested.zip", "sh", "-c", inner)
    tool(to / "infozip-stdin-encrypted.zip", "sh", "-c", f"cat one.txt | zip -q -X -P {SECRET} - - | cat")
    tool(to / "infozip-zip64-plain.zip", *info, "-fz", "OUT", *both)
    tool(to / "infozip-zip64-encrypted.zip", *info, "-fz", "-P", SECRET, "OUT", *both)
    tool(to / "infozip-zip64-pipe.zip", "sh", "-c", "cat one.txt | zip -q -X -fz - - | cat")
    for bits in 128, 192, 256:
        (to / f"pyzipper-aes{bits}.zip").write_bytes(aes(bits, both))
    (to / "pyzipper-second-encrypted.zip").write_bytes(aes(256, ("two.txt",)))


def by_hand() -> dict[str, bytes]:
    one, two = (Member(name, octets) for name, octets in TEXTS.items())
    first, second = TEXTS
    late = Member(second, BLIND, STORED, ENCRYPTED)
    decoy = write([Member("inside.txt", BLIND, STORED, ENCRYPTED)])
    streamed, unsigned = DEFLATED, False
    text = TEXTS[first]
    return {
        "hand-local-only.zip": write([Member(first, text, flags=ENCRYPTED, central_flags=0), two]),
        "hand-central-only.zip": write([one, Member(second, TEXTS[second], central_flags=ENCRYPTED)]),
        "hand-central-aes.zip": write(
            [Member(first, text, central_method=AES, central_flags=ENCRYPTED, central_extra=aes_extra(2))]
        ),
        "hand-descriptor-deflated.zip": write([Member(first, text, streamed, DESCRIPTOR), late]),
        "hand-descriptor-unsigned.zip": write([Member(first, text, streamed, DESCRIPTOR, signed=unsigned), late]),
        "hand-descriptor-stored.zip": write([Member(first, text, STORED, DESCRIPTOR), late]),
        "hand-descriptor-stored-plain.zip": write([Member(first, text, STORED, DESCRIPTOR), two]),
        "hand-descriptor-decoy.zip": write([Member("inside.zip.txt", b"text\n" + decoy, STORED, DESCRIPTOR), two]),
        "hand-descriptor-zip64.zip": write([Member(first, text, streamed, DESCRIPTOR, zip64=True), late]),
        "hand-zip64-local.zip": write([Member(first, text, zip64=True), late]),
        "hand-strong.zip": write([Member(first, BLIND, flags=ENCRYPTED | STRONG, opaque=True)]),
        "hand-strong-alone.zip": write([Member(first, BLIND, flags=STRONG, opaque=True)]),
        "hand-central-encrypted.zip": write(
            [Member("1", BLIND, flags=ENCRYPTED | STRONG | MASKED, opaque=True)],
            before=b"PK\6\x08\x04\0\0\0keys",
            blind=True,
        ),
        "hand-central-record.zip": write([one], before=b"PK\6\x08\x04\0\0\0keys", blind=True),
        "hand-aes-without-bit0.zip": write([Member(first, BLIND, AES, 0, extra=aes_extra(1), opaque=True)]),
        "hand-aes-no-extra.zip": write([Member(first, BLIND, AES, ENCRYPTED, opaque=True)]),
        "hand-aes-second-extra.zip": write(
            [Member(first, BLIND, AES, ENCRYPTED, extra=b"\x99\x99\3\0abc" + aes_extra(3), opaque=True)]
        ),
        "near-method99-no-extra.zip": write([Member(first, BLIND, AES, 0, opaque=True)]),
        "near-extra-no-method99.zip": write([Member(first, text, extra=aes_extra(1))]),
        "near-directory.zip": write([Member("folder/", b"", STORED, ENCRYPTED), one]),
        "near-decoy-stored.zip": write([Member("inside.txt", b"text\n" + decoy, STORED), two]),
        "near-decoy-comment.zip": write([one], comment=decoy[:60]),
        "near-empty.zip": write([]),
        "near-cut-header.zip": write([Member(first, BLIND, STORED, ENCRYPTED)])[:29],
        "near-text-in-front.zip": b"text\n" + decoy,
    }


def nested(to: pathlib.Path, programs: pathlib.Path, office: pathlib.Path) -> dict[str, bytes]:
    locked = (to / "infozip-encrypted.zip").read_bytes()
    packed = (programs / "upx-hello64.exe").read_bytes()
    stub = (programs / "near-entry-early.exe").read_bytes()
    late = Member("late.txt", BLIND, STORED, ENCRYPTED)
    document = (office / "macros.xls").read_bytes()
    plain = holding(("one.txt", TEXTS["one.txt"]))
    deep = [locked]
    for level in range(1, 5):
        deep.append(holding((f"level{level}.zip", deep[-1])))
    tree = holding(("zeros", bytes(1 << 20)))
    for level in range(5):
        tree = holding(*((f"{level}-{i}.zip", tree) for i in range(4)))
    return {
        "deep1.zip": deep[1],
        "deep2.zip": deep[2],
        "deep3.zip": deep[3],
        "deep4.zip": deep[4],
        "deep1-stored.zip": holding(("inside.zip", locked), method=zipfile.ZIP_STORED),
        "deep-plain.zip": holding(("inside.zip", plain)),
        "behind-text.zip": holding(("one.txt", TEXTS["one.txt"]), ("inside.dat", locked), ("two.txt", b"x")),
        "program.zip": holding(("tool.exe", packed)),
        "program-stored.zip": holding(("tool.exe", packed), method=zipfile.ZIP_STORED),
        "program-plain.zip": holding(("tool.exe", (programs / "hello64.exe").read_bytes())),
        "program-descriptor.zip": write([Member("tool.exe", packed, DEFLATED, DESCRIPTOR)]),
        "program-wiped.zip": holding(("a.txt", b"a"), ("tool.exe", (programs / "upx-wiped32.exe").read_bytes())),
        "document.zip": holding(("sheet.xls", document)),
        "document-ooxml.zip": holding(("sheet.xlsm", (office / "macros.xlsm").read_bytes())),
        "sfx.exe": stub + locked,
        "near-bomb-10m.zip": holding(("zeros", bytes(10_000_000))),
        "near-bomb-skipped.zip": holding(("zeros", bytes(40_000_000)), ("inside.zip", locked)),
        "bomb-descriptor.zip": write([Member("zeros", bytes(40_000_000), DEFLATED, DESCRIPTOR), late]),
        "bomb-tree.zip": tree,
        "program.exe.gz": gzip.compress(packed, mtime=STAMP),
        "locked.zip.gz": gzip.compress(locked, mtime=STAMP),
        "plain.txt.gz": gzip.compress(TEXTS["one.txt"], mtime=STAMP),
        "named.gz": b"\x1f\x8b\x08\x1e\0\0\0\0\0\3" + b"\4\0ab\0\0" + b"tool.exe\0a comment\0" + header_crc()
        + gzip.compress(packed, mtime=0)[10:],
        "near-two-members.gz": gzip.compress(b"text", mtime=STAMP) + gzip.compress(packed, mtime=STAMP),
        "split-members.gz": gzip.compress(packed[:300], mtime=STAMP) + gzip.compress(packed[300:], mtime=STAMP),
        "program.gz.gz": gzip.compress(gzip.compress(packed, mtime=STAMP), mtime=STAMP),
        "gzip.zip": holding(("tool.gz", gzip.compress(packed, mtime=STAMP))),
    }  # fmt: skip


def header_crc() -> bytes:
    head = b"\x1f\x8b\x08\x1e\0\0\0\0\0\3" + b"\4\0ab\0\0" + b"tool.exe\0a comment\0"
    return (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")


def main(programs: str, office: str, out: str) -> None:
    to = pathlib.Path(out)
    to.mkdir(parents=True, exist_ok=True)
    by_tools(to)
    for name, octets in by_hand().items():
        (to / name).write_bytes(octets)
    for name, octets in nested(to, pathlib.Path(programs), pathlib.Path(office)).items():
        (to / name).write_bytes(octets)


if __name__ == "__main__":
    main(*sys.argv[1:])
