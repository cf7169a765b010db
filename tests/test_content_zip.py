"""Zip archives: which member is encrypted, by which header, at which octet; what members hold; what ends a scan."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from kit.archives import AES, DEFLATED, ENCRYPTED, MASKED, STORED, STRONG, Member, aes, deflated, field, gzip_of, zip_of
from kit.files import DOCUMENT, PROGRAM
from kit.scanning import ALL, scan
from smtpinspect._core.scanner import Found, Scanner, held
from smtpinspect.grammar import limits

LOCAL, CENTRAL = "local header", "central directory"
SECRET = Member(b"secret.txt", b"x" * 60, flags=ENCRYPTED)
CLEAR = Member(b"clear.txt", b"a word and a word " * 30)


def encrypted(octets: bytes) -> list[tuple[str, str, int]]:
    return [(f.detail, f.evidence, f.at) for f in scan(octets, ("zip-encrypted",)) if f.kind == "zip-encrypted"]


def end_of_name(octets: bytes, name: bytes, nth: int = 0) -> int:
    """The index of the last octet of this name where it stands for the nth time."""
    at = -1
    for _ in range(nth + 1):
        at = octets.index(name, at + 1)
    return at + len(name) - 1


# --- headers


def test_a_clear_archive_is_silent() -> None:
    octets = zip_of(CLEAR, Member(b"dir/", method=STORED), Member(b"empty", method=STORED), comment=b"PK\3\4")
    assert scan(octets) == []
    assert zipfile.ZipFile(io.BytesIO(octets)).testzip() is None


def test_zipcrypto_is_told_with_the_name() -> None:
    """Before the name's last octet it could be a directory."""
    octets = zip_of(SECRET)
    assert encrypted(octets) == [("zipcrypto", LOCAL, 30 + len(SECRET.name) - 1)]


@pytest.mark.parametrize(("strength", "detail"), [(1, "aes-128"), (2, "aes-192"), (3, "aes-256")])
@pytest.mark.parametrize("version", [1, 2])
def test_aes_is_told_with_its_strength(strength: int, detail: str, version: int) -> None:
    other = field(0x5455, b"\1abcd")
    member = Member(b"a.txt", bytes(40), AES, ENCRYPTED, extra=other + aes(strength, version))
    assert encrypted(zip_of(member)) == [(detail, LOCAL, 30 + 5 + len(other) + 4 + 4)]


def test_aes_without_the_flag() -> None:
    assert encrypted(zip_of(Member(b"a", bytes(40), AES, 0, extra=aes(3)))) == [("aes-256", LOCAL, 30 + 1 + 8)]


@pytest.mark.parametrize("extra", [b"", aes(0), aes(4), aes(3)[:8], field(0x9901, b"\2\0AX\3\x08\0")])
def test_aes_of_unknown_strength(extra: bytes) -> None:
    octets = zip_of(Member(b"a", bytes(40), AES, ENCRYPTED, extra=extra))
    assert encrypted(octets) == [("", LOCAL, 30 + len(extra))]


@pytest.mark.parametrize("flags", [STRONG, STRONG | ENCRYPTED])
def test_strong_encryption(flags: int) -> None:
    assert encrypted(zip_of(Member(b"a", bytes(40), flags=flags))) == [("strong", LOCAL, 30)]


def test_the_field_of_strong_encryption() -> None:
    octets = zip_of(Member(b"a", bytes(40), extra=field(0x17, bytes(8))))
    assert encrypted(octets) == [("strong", LOCAL, 30 + 4)]


def test_a_field_that_does_not_fit_is_none() -> None:
    assert encrypted(zip_of(Member(b"a", bytes(40), extra=b"\x17\0\xff\0"))) == []


def test_masked_headers() -> None:
    assert encrypted(zip_of(Member(b"", bytes(40), flags=MASKED | STRONG | ENCRYPTED))) == [("cd-encrypted", LOCAL, 7)]


def test_a_record_in_front_of_an_encrypted_directory() -> None:
    """Made by hand: there is no tool for it here."""
    front = zip_of(CLEAR, before_central=b"PK\6\x08\4\0\0\0abcd" + bytes(40))
    assert encrypted(front) == [("cd-encrypted", CENTRAL, front.index(b"PK\6\x08") + 3)]
    assert encrypted(b"PK\6\x08\0\0\0\0") == [("cd-encrypted", CENTRAL, 3)]


@pytest.mark.parametrize("flags", [ENCRYPTED, STRONG, ENCRYPTED | STRONG])
def test_directories_do_not_count(flags: int) -> None:
    assert encrypted(zip_of(Member(b"dir/", b"", STORED, flags, extra=field(0x17, b"")))) == []


def test_a_flag_in_the_local_header_only() -> None:
    """zipfile, which reads the directory, does not see it."""
    octets = zip_of(CLEAR, Member(b"b", b"x", flags=ENCRYPTED, central_flags=0))
    assert not any(info.flag_bits & 1 for info in zipfile.ZipFile(io.BytesIO(octets)).infolist())
    assert encrypted(octets) == [("zipcrypto", LOCAL, len(CLEAR.local() + CLEAR.packed) + 30)]


def test_a_flag_in_the_central_directory_only() -> None:
    octets = zip_of(CLEAR, Member(b"b.txt", b"x", central_flags=ENCRYPTED))
    assert encrypted(octets) == [("zipcrypto", CENTRAL, end_of_name(octets, b"b.txt", 1))]
    octets = zip_of(Member(b"b.txt", bytes(9), AES, 0, ENCRYPTED, central_extra=aes(2)))
    assert encrypted(octets) == [("aes-192", CENTRAL, octets.rindex(b"AE") + 2)]
    octets = zip_of(Member(b"b.txt", bytes(9), central_flags=MASKED))
    assert encrypted(octets) == [("cd-encrypted", CENTRAL, octets.index(b"PK\1\2") + 9)]


def test_one_finding_for_an_archive() -> None:
    (found,) = scan(zip_of(CLEAR, SECRET, SECRET, Member(b"x", b"", AES, ENCRYPTED, extra=aes(3))), ("zip-encrypted",))
    assert found == Found("zip-encrypted", "zipcrypto", LOCAL, 0, b"secret.txt", found.at)


# --- where members end


FORMS = ["", "32", "64", "bare32", "bare64", "none"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("level", [0, 9])
def test_behind_a_deflated_member(form: str, large: bool, level: int) -> None:
    first = Member(b"a", bytes(range(256)) * 30, described=form, large=large, level=level)  # type: ignore[arg-type]
    octets = zip_of(first, CLEAR, SECRET)
    assert encrypted(octets) == [("zipcrypto", LOCAL, end_of_name(octets, SECRET.name))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("inside", [b"", b"PK", b"text PK\3\4 PK\1\2 PK\7\x08" * 9, PROGRAM, zip_of(CLEAR)])
def test_behind_a_stored_member(form: str, large: bool, inside: bytes) -> None:
    """Its end is not told when a descriptor follows: the next record tells, from its signature."""
    first = Member(b"a", inside, STORED, described=form, large=large)  # type: ignore[arg-type]
    octets = zip_of(first, CLEAR, SECRET)
    assert encrypted(octets) == [("zipcrypto", LOCAL, end_of_name(octets, SECRET.name))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "flags"), [(12, 0), (93, 0), (DEFLATED, ENCRYPTED), (AES, ENCRYPTED)])
def test_behind_a_member_that_cannot_be_read(form: str, method: int, flags: int) -> None:
    octets = zip_of(Member(b"a", bytes(700), method, flags, described=form), Member(b"p", PROGRAM))  # type: ignore[arg-type]
    (found,) = scan(octets, ("pe-packed",))
    assert found.name == b"p"


def test_a_size_that_only_the_extra_field_tells() -> None:
    octets = zip_of(Member(b"a", b"PK\3\4" * 50, STORED, large=True), SECRET)
    assert encrypted(octets) == [("zipcrypto", LOCAL, end_of_name(octets, SECRET.name))]


def test_a_size_that_nothing_tells() -> None:
    octets = zip_of(Member(b"a", b"PK\3\4" * 50, STORED, told=0xFFFFFFFF), SECRET)
    assert encrypted(octets) == [("zipcrypto", LOCAL, end_of_name(octets, SECRET.name))]


@pytest.mark.parametrize("between", [b"\0", b"PK", b"PK\3", b"PK\3\4" + bytes(26), b"PKPK\7\x08" * 3])
def test_octets_between_members(between: bytes) -> None:
    octets = zip_of(CLEAR, CLEAR, SECRET, between=between)
    assert [detail for detail, *_ in encrypted(octets)] == ["zipcrypto"]


def test_a_member_that_does_not_inflate() -> None:
    broken = bytearray(zip_of(Member(b"a", bytes(999), described="32"), SECRET))
    at = broken.index(b"a") + 1
    broken[at] = 0xFF  # a block type that there is not
    assert encrypted(bytes(broken)) == [("zipcrypto", LOCAL, end_of_name(bytes(broken), SECRET.name))]


def test_what_is_cut_short_is_silent() -> None:
    octets = zip_of(CLEAR, SECRET)
    ((_, _, at),) = encrypted(octets)
    assert all(encrypted(octets[:n]) == [] for n in range(at + 1))


# --- what members hold


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_programs_and_projects(form: str, method: int) -> None:
    members = [
        Member(b"p.exe", PROGRAM, method, described=form),  # type: ignore[arg-type]
        CLEAR,
        Member(b"word/vbaProject.bin", DOCUMENT, method, described=form),  # type: ignore[arg-type]
    ]
    found = scan(zip_of(*members))
    assert [(f.kind, f.detail, f.depth, f.name) for f in found] == [
        ("pe-packed", "UPX", 1, b"p.exe"),
        ("ooxml-vba", "vbaProject", 1, b"word/vbaProject.bin"),
    ]


def test_kinds_that_nobody_wants() -> None:
    octets = zip_of(Member(b"p", PROGRAM), Member(b"i", zip_of(SECRET)), Member(b"v", DOCUMENT))
    for kind in ALL[:5]:
        assert {f.kind for f in scan(octets, (kind,))} == {kind} - {"ole-vba"}
    assert Scanner(()).done
    scanner = Scanner(("zip-encrypted",))
    scanner.feed(b"M")
    assert scanner.done


@pytest.mark.parametrize("octets", [b"\0", b"%PDF", b"PX", b"PK\1\2", b"\xd0\xcf\x12", b"\x1f\x8b\x07"])
def test_other_files_are_done_with_the_octet_that_tells(octets: bytes) -> None:
    scanner = Scanner()
    scanner.feed(octets[:-1] if len(octets) < 4 else b"")
    assert not scanner.done
    scanner.feed(octets)
    assert scanner.done


def test_names_are_not_looked_at() -> None:
    assert scan(zip_of(Member(b"vbaProject.bin", b"text"), Member(b"a.exe", b"text"), Member(b"a.zip", b"text"))) == []


def nested(depth: int, innermost: bytes) -> bytes:
    for level in range(depth):
        innermost = zip_of(Member(b"%d.zip" % level, innermost))
    return innermost


def test_archives_in_archives() -> None:
    found = scan(nested(2, zip_of(Member(b"p.exe", PROGRAM))))
    assert [(f.kind, f.detail, f.depth, f.name) for f in found] == [
        ("archive-nested", "zip", 1, b"1.zip"),
        ("archive-nested", "zip", 2, b"0.zip"),
        ("pe-packed", "UPX", 3, b"p.exe"),
    ]


def test_the_limit_of_depth() -> None:
    """Three archives in each other are opened, a fourth is not, and the others go on."""
    deep = nested(limits.ARCHIVE_DEPTH, zip_of(Member(b"p.exe", PROGRAM)))
    octets = zip_of(*zip_members(deep), *zip_members(deep), Member(b"q.exe", PROGRAM))
    scanner = Scanner(("pe-packed", "scan-limit"))
    found = scanner.feed(octets)
    assert [(f.kind, f.detail, f.depth, f.name) for f in found] == [
        ("scan-limit", "depth", limits.ARCHIVE_DEPTH, b"0.zip"),
        ("pe-packed", "UPX", 1, b"q.exe"),
    ]
    assert scanner.limited


def zip_members(octets: bytes) -> list[Member]:
    with zipfile.ZipFile(io.BytesIO(octets)) as file:
        return [Member(info.filename.encode(), file.read(info)) for info in file.infolist()]


@pytest.mark.parametrize("how", [{}, {"extra": b"abc", "name": b"p.exe", "comment": b"c", "summed": True}])
def test_gzip(how: dict[str, bytes]) -> None:
    octets = gzip_of(PROGRAM[:300], **how) + gzip_of(PROGRAM[300:], level=0)  # type: ignore[arg-type]
    (found,) = scan(octets)
    assert (found.kind, found.depth, found.name) == ("pe-packed", 1, b"p.exe" if how and found.at < 200 else b"")
    kinds = [(f.kind, f.detail, f.depth) for f in scan(gzip_of(zip_of(Member(b"a", gzip_of(DOCUMENT)))))]
    assert kinds == [("archive-nested", "zip", 1), ("archive-nested", "gzip", 2), ("ole-vba", "compound", 3)]


@pytest.mark.parametrize("octets", [b"\x1f\x8b\x08\xe0", b"\x1f\x8b\x08\0" + bytes(6) + b"\xff"])
def test_gzip_that_is_none(octets: bytes) -> None:
    scanner = Scanner()
    assert scanner.feed(octets) == []
    assert scanner.done


# --- limits


def bomb(n: int) -> Member:
    return Member(b"bomb", b"PK\3\4" + bytes(n), described="32", level=9)


def test_a_bomb_is_told_and_ends_the_scan() -> None:
    member = bomb(limits.INFLATE_FLOOR + (8 << 20))
    scanner = Scanner()
    found = scanner.feed(zip_of(Member(b"p.exe", PROGRAM), member, Member(b"q.exe", PROGRAM)))
    assert [(f.kind, f.detail, f.name) for f in found] == [
        ("pe-packed", "UPX", b"p.exe"),
        ("archive-nested", "zip", b"bomb"),
        ("scan-limit", "ratio", b"bomb"),
    ]
    assert scanner.limited and scanner.done


def test_below_the_floor_the_ratio_does_not_count() -> None:
    assert [f.kind for f in scan(zip_of(bomb(limits.INFLATE_FLOOR - (8 << 20)), SECRET))][-1] == "zip-encrypted"


def test_a_bomb_that_need_not_be_opened() -> None:
    """Its size is told, and its first octets are of no kind: nothing of it is inflated."""
    octets = zip_of(Member(b"zeros", bytes(80 << 20), level=9), SECRET)
    scanner = Scanner()
    assert [f.kind for f in scanner.feed(octets)] == ["zip-encrypted"]
    assert not scanner.limited


def test_a_kind_is_told_so_often() -> None:
    octets = zip_of(*[Member(b"p", PROGRAM)] * (limits.CONTENT_FINDINGS + 5), SECRET)
    kinds = [f.kind for f in scan(octets)]
    assert kinds == ["pe-packed"] * limits.CONTENT_FINDINGS + ["zip-encrypted"]


def test_memory_is_counted_and_bounded() -> None:
    before = held()
    octets = zip_of(Member(b"a", DOCUMENT, level=0))[:600]
    scanners = []
    with pytest.raises(MemoryError):
        while True:
            scanners.append(Scanner())
            scanners[-1].feed(octets)
    assert limits.CONTENT_TOTAL - (1 << 20) < held() <= limits.CONTENT_TOTAL
    assert any(scanner.limited for scanner in scanners) and not scanners[0].limited
    del scanners
    assert held() == before


def test_a_hole_ends_it() -> None:
    scanner = Scanner()
    scanner.gap()
    assert scanner.done and scanner.feed(zip_of(SECRET)) == [] == scanner.end()


# --- what need not be fed


def test_a_member_of_no_kind_is_skipped() -> None:
    n = 1 << 20
    octets = zip_of(Member(b"a", bytes(n), STORED), Member(b"b", bytes(n), level=0), SECRET)
    scanner, fed, found, at = Scanner(), 0, [], 0
    while at < len(octets):
        if scanner.skips:
            at += (k := min(scanner.skips, len(octets) - at))
            scanner.skip(k)
        else:
            found += scanner.feed(octets[at : at + 256])
            at += 256
            fed += 256
    assert [f.at for f in found] == [end_of_name(octets, SECRET.name)]
    assert fed < 2048


def test_what_is_wanted_cannot_be_skipped() -> None:
    with pytest.raises(ValueError):
        Scanner().skip(1)


# --- archives that other tools made


def test_zipfile_with_and_without_sizes(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """Cannot go back: zipfile writes data descriptors."""

        def __init__(self) -> None:
            self.octets = b""

        def writable(self) -> bool:
            return True

        def write(self, octets: object) -> int:
            self.octets += bytes(octets)  # type: ignore[call-overload]
            return len(octets)  # type: ignore[arg-type]

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        for large in (False, True):
            pipe, plain = Pipe(), io.BytesIO()
            for target in (pipe, plain):
                with zipfile.ZipFile(target, "w", method) as file:  # type: ignore[call-overload]
                    for name in ("a.txt", "p.exe", "b.txt", "q.exe"):
                        with file.open(name, "w", force_zip64=large) as member:
                            member.write(PROGRAM if name.endswith("exe") else b"some words " * 99)
            told = ["p.exe", "q.exe"] if method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else []
            for octets in (pipe.octets, plain.getvalue()):
                assert [f.name.decode() for f in scan(octets)] == told
                patched = bytearray(octets)
                at = octets.index(b"q.exe") - 30
                patched[at + 6] |= ENCRYPTED
                assert encrypted(bytes(patched)) == [("zipcrypto", LOCAL, at + 34)]


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_pyzipper(bits: int) -> None:
    pyzipper = pytest.importorskip("pyzipper")
    made = io.BytesIO()
    with pyzipper.AESZipFile(made, "w", compression=pyzipper.ZIP_DEFLATED) as file:
        file.writestr("clear.txt", b"words " * 50)
        file.setpassword(b"secret")
        file.setencryption(pyzipper.WZ_AES, nbits=bits)
        file.writestr("secret.txt", b"words " * 50)
    (found,) = scan(made.getvalue())
    assert (found.detail, found.evidence, found.name) == (f"aes-{bits}", LOCAL, b"secret.txt")
    assert made.getvalue()[found.at - 2 : found.at + 1] == b"AE" + struct.pack("B", bits // 64 - 1)


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        ("zip -q -P secret OUT clear.txt secret.txt", "zipcrypto"),
        ("zip -q -P secret - clear.txt secret.txt", "zipcrypto"),
        ("zip -q -0 -fd -P secret OUT clear.txt", "zipcrypto"),
        ("zip -q -fz OUT clear.txt", ""),
        ("zip -q - clear.txt secret.txt", ""),
        ("7z a -tzip -psecret OUT clear.txt secret.txt", "zipcrypto"),
        ("7z a -tzip -psecret -mem=AES256 OUT clear.txt", "aes-256"),
        ("7z a -tzip -psecret -mem=AES128 OUT clear.txt", "aes-128"),
        ("7z a -tzip OUT clear.txt secret.txt", ""),
    ],
)
def test_other_tools(command: str, detail: str, tmp_path: Path) -> None:
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    (tmp_path / "clear.txt").write_bytes(b"words " * 500)
    (tmp_path / "secret.txt").write_bytes(b"other words " * 500)
    words = ["out.zip" if word == "OUT" else word for word in words]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    octets = done.stdout if "-" in words else (tmp_path / "out.zip").read_bytes()
    assert octets[:2] == b"PK"
    assert [found.detail for found in scan(octets)] == ([detail] if detail else [])


def test_the_compressed_octet_that_decided() -> None:
    """With a static block: the offset is that of the octet with which the symbol is whole."""
    member = Member(b"p", PROGRAM, level=0)
    (bare,) = scan(PROGRAM)
    (found,) = scan(zip_of(member))
    head = len(member.local())
    assert found.at == head + 5 + bare.at  # a stored block: its header takes 5 octets
    assert deflated(PROGRAM, 0)[5:] == PROGRAM
