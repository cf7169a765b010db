"""Small files that trip a restriction of a gateway's anti-virus, or nearly so. None holds anything harmful.

Each maker takes no argument and gives the same octets every time: the documents in transcripts/sonicwall name them.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence

WHEN = (1980, 1, 1, 0, 0, 0)
TEXT = b"salary 1234\r\n"
SECTOR = 512


def archive(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED, extra: bytes = b"") -> bytes:
    """A zip of these members by the standard library."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, octets in members:
            info = zipfile.ZipInfo(name, WHEN)
            info.compress_type = how
            info.extra = extra
            made.writestr(info, octets)
    return out.getvalue()


def marked(octets: bytes, bits: int, which: Sequence[int] = (0,), method: int = 0, places: str = "LC") -> bytes:
    """The zip with these bits of the general purpose flag set in some of its members' headers (L local, C central)."""
    made = bytearray(octets)
    for letter, sign, at in (("L", b"PK\x03\x04", 6), ("C", b"PK\x01\x02", 8)):
        start = -1
        for number in range(max(which) + 1):
            start = octets.index(sign, start + 1)
            if letter in places and number in which:
                made[start + at] |= bits & 0xFF
                made[start + at + 1] |= bits >> 8
                if method:
                    made[start + at + 2 : start + at + 4] = struct.pack("<H", method)
    return bytes(made)


# ---- zip


def plain_zip() -> bytes:
    """One member in clear."""
    return archive(("pay.txt", TEXT))


def zipcrypto_zip() -> bytes:
    """One member, bit 0 set in both of its headers."""
    return marked(plain_zip(), 1)


def aes_zip() -> bytes:
    """One member, method 99 with extra field 0x9901: AE-2, 256 bits, stored below."""
    extra = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, 0)
    return marked(archive(("pay.txt", TEXT), extra=extra), 1, method=99)


def strong_zip() -> bytes:
    """One member, bits 0 and 6: PKWARE's strong encryption."""
    return marked(plain_zip(), 0x41)


def second_encrypted_zip() -> bytes:
    """The first member is in clear, the second is not."""
    return marked(archive(("read.me", TEXT), ("pay.txt", TEXT)), 1, which=(1,))


def central_only_zip() -> bytes:
    """Bit 0 in the central directory only."""
    return marked(plain_zip(), 1, places="C")


def encrypted_folder_zip() -> bytes:
    """A folder with bit 0, and a member in clear."""
    return marked(archive(("pay/", b""), ("pay/pay.txt", TEXT)), 1)


def zipcrypto_in_zip() -> bytes:
    """A zip with an encrypted member, deflated inside a zip."""
    return archive(("inner.zip", zipcrypto_zip()), how=zipfile.ZIP_DEFLATED)


def zip_in_zip() -> bytes:
    """A zip stored inside a zip."""
    return archive(("inner.zip", plain_zip()))


def zip_in_gzip() -> bytes:
    """A zip inside a gzip file."""
    return gzipped(plain_zip())


def gzip_file() -> bytes:
    """A text inside a gzip file."""
    return gzipped(TEXT * 4)


def three_zips() -> bytes:
    """A text in a zip in a zip in a zip, all stored."""
    return archive(("outer.zip", zip_in_zip()))


def four_zips() -> bytes:
    """One level more."""
    return archive(("outer.zip", three_zips()))


def deep_zipcrypto() -> bytes:
    """An encrypted zip in three zips in each other."""
    return archive(("3.zip", archive(("2.zip", archive(("1.zip", zipcrypto_zip()))))))


def docx_in_zip() -> bytes:
    """An Office file without macros, stored in a zip."""
    return archive(("text.docx", plain_docx()))


def gzipped(octets: bytes) -> bytes:
    """A gzip file without a name and a time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(octets) + packer.flush()
    tail = struct.pack("<LL", zlib.crc32(octets), len(octets))
    made = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + packed + tail
    assert gzip.decompress(made) == octets
    return made


# ---- compound files (MS-CFB)


def compound(*entries: tuple[str, int, int, int, int], body: bytes = b"") -> bytes:
    """A compound file: header, one FAT sector, directory, then `body` as the sectors of the last stream.

    An entry is name, type (5 root, 1 storage, 2 stream), and the numbers of left, right and child entry (-1 none).
    """
    slots = list(entries) + [("", 0, -1, -1, -1)] * (-len(entries) % 4)
    sectors = len(slots) // 4
    tail = -(-len(body) // SECTOR)
    header = struct.pack(
        "<8s16xHHHHH6xLLLLLLLLL",
        bytes.fromhex("d0cf11e0a1b11ae1"),
        0x3E, 3, 0xFFFE, 9, 6,
        0, 1, 1, 0,
        4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0,
    )  # fmt: skip
    header += struct.pack("<L", 0) + b"\xff" * 4 * 108
    fat = [0xFFFFFFFD, *range(2, sectors + 1), 0xFFFFFFFE]
    if tail:
        fat += [*range(sectors + 2, sectors + 1 + tail), 0xFFFFFFFE]
    fat += [0xFFFFFFFF] * (128 - len(fat))
    made = header + struct.pack("<128L", *fat)
    for number, (name, kind, left, right, child) in enumerate(slots):
        last = kind == 2 and number == len(entries) - 1
        start, size = (sectors + 1, len(body)) if last and body else (0xFFFFFFFE, 0)
        raw = name.encode("utf-16-le")
        made += struct.pack(
            "<64sHBBlll36xLQ", raw, len(raw) + 2 if name else 0, kind, 1, left, right, child, start, size
        )
    made += body + bytes(-len(body) % SECTOR)
    assert len(header) == SECTOR and len(made) % SECTOR == 0
    return made


def macro_doc() -> bytes:
    """A VBA project without code, as Word 97-2003 keeps it: Macros, with PROJECT and VBA, with dir and _VBA_PROJECT."""
    return compound(
        ("Root Entry", 5, -1, -1, 1),
        ("Macros", 1, -1, -1, 2),
        ("VBA", 1, -1, 5, 3),
        ("dir", 2, -1, 4, -1),
        ("_VBA_PROJECT", 2, -1, -1, -1),
        ("PROJECT", 2, -1, -1, -1),
    )


def no_dir_doc() -> bytes:
    """The same names, but `dir` is called `dri`: no VBA project."""
    return compound(
        ("Root Entry", 5, -1, -1, 1),
        ("Macros", 1, -1, -1, 2),
        ("VBA", 1, -1, 5, 3),
        ("dri", 2, -1, 4, -1),
        ("_VBA_PROJECT", 2, -1, -1, -1),
        ("PROJECT", 2, -1, -1, -1),
    )


def macro_ppt(macros: int = 1) -> bytes:
    """PowerPoint 97-2003: VbaInfo with VbaInfoAtom in the stream `PowerPoint Document`."""
    atom = struct.pack("<HHL", 2, 0x400, 12) + struct.pack("<LLL", 1, macros, 2)
    info = struct.pack("<HHL", 0x1F, 0x3FF, len(atom)) + atom
    body = info + bytes(4096 - len(info))
    return compound(("Root Entry", 5, -1, -1, 1), ("PowerPoint Document", 2, -1, -1, -1), body=body)


def plain_ppt() -> bytes:
    """The same with fHasMacros 0."""
    return macro_ppt(0)


def macro_docm() -> bytes:
    """The VBA project deflated in a zip, as .docm, .xlsm and .pptm have it."""
    parts = (("[Content_Types].xml", b"<Types/>"), ("word/vbaProject.bin", macro_doc()))
    return archive(*parts, how=zipfile.ZIP_DEFLATED)


def plain_docx() -> bytes:
    """No project; a text is called vbaProject.bin, which proves nothing."""
    parts = (("[Content_Types].xml", b"<Types/>"), ("word/vbaProject.bin", TEXT))
    return archive(*parts, how=zipfile.ZIP_DEFLATED)


# ---- Windows programs


def program(*sections: str, entry: bytes = b"\xc3", optional: int = 224, machine: int = 0x14C) -> bytes:
    """The head of a 32-bit PE file: as many sections of 512 octets, the entry point at the start of the last one."""
    head = b"MZ" + bytes(58) + struct.pack("<L", 64)
    count = len(sections)
    coff = b"PE\0\0" + struct.pack("<HHLLLHH", machine, count, 0, 0, 0, optional, 0x102)
    rva = 0x1000 * count
    opt = struct.pack("<HBBLLLL", 0x10B, 9, 0, SECTOR, SECTOR, 0, rva)
    opt += bytes(optional - len(opt))
    table = b"".join(
        struct.pack("<8sLLLL12xL", name.encode(), 0x1000, 0x1000 * n, SECTOR, SECTOR * n, 0x60000020)
        for n, name in enumerate(sections, 1)
    )
    made = head + coff + opt + table
    assert len(made) <= SECTOR
    made += bytes(SECTOR - len(made))
    return made + bytes(SECTOR * (count - 1)) + entry + bytes(SECTOR - len(entry))


def plain_exe() -> bytes:
    """Sections as a compiler names them."""
    return program(".text", ".data")


def upx_exe() -> bytes:
    """Sections UPX0 and UPX1, and nothing else of UPX."""
    return program("UPX0", "UPX1")


def one_upx_exe() -> bytes:
    """A section UPX0 alone."""
    return program("UPX0", ".data")


def aspack_exe() -> bytes:
    """Sections .aspack and .adata."""
    return program(".text", ".aspack", ".adata")


def fsg_exe() -> bytes:
    """FSG 1.33: what the program begins with, nothing else."""
    return program(".a", ".b", entry=bytes.fromhex("be11223344ad93ad97ad5696b280a4b680ff1373"))


def pecompact_exe() -> bytes:
    """PECompact 2: what the program begins with."""
    start = bytes.fromhex("b8112233445064ff35000000006489250000000033c08908") + b"PECompact2\0"
    return program(".text", ".rsrc", entry=start)


def upx_in_zip() -> bytes:
    """The program deflated in a zip."""
    return archive(("setup.exe", upx_exe()), how=zipfile.ZIP_DEFLATED)
