"""What expected.json tells of the attachments agrees with other people's readers of the same formats."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import zipfile
from typing import Any

import pytest

from oracle import compound, content
from oracle.content import Found

HERE = pathlib.Path(__file__).parent / "attachments"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text())
ZIP_RULE, MACRO_RULE, PACKED = "sonicwall.encrypted-zip", "sonicwall.office-macro", "sonicwall.packed-exe"

# zipfile and zipinfo read the central directory only.
CENTRAL_BLIND = {
    "archive/hand-local-only.zip",
    "archive/hand-central-encrypted.zip",
    "archive/hand-central-record.zip",
}
# They find a zip behind other octets; the first octets make a zip of it or not.
BEHIND = {"archive/near-text-in-front.zip", "archive/sfx.exe"}
# olevba looks for source code in every stream, whether there is a project or not; it needs the project's octets.
OLEVBA_SAYS_MORE = {
    "office/no-dir.doc",
    "office/no-project-stream.doc",
    "office/streams-apart.doc",
    "office/embedded.doc",
}
OLEVBA_SAYS_LESS = {"office/macros.ppt"}
# The directory's tree says that this is no project. While a file passes only names are looked for, and what nothing
# contradicts yet counts (oracle/compound.py).
READ_AS_IT_PASSES = {"office/project-elsewhere.doc", "office/vba-elsewhere.doc", "office/embedded-fat-last.doc"}


def octets(name: str) -> bytes:
    return (HERE / name).read_bytes()


def of(folder: str) -> list[str]:
    return [name for name in EXPECTED if name.startswith(folder)]


def first(name: str, rule: str) -> Found | None:
    told = EXPECTED[name]["rules"].get(rule)
    return None if told is None else Found(**told)


def test_every_file_is_told() -> None:
    files = {p.relative_to(HERE).as_posix() for f in ("archive", "office", "program") for p in (HERE / f).iterdir()}
    assert files - {"office/vbaProject-LICENSE.txt"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_oracle(name: str) -> None:
    """The committed numbers are the oracle's; a file that was made again needs them written again."""
    data, told = octets(name), EXPECTED[name]
    assert hashlib.sha256(data).hexdigest() == told["sha256"]
    found = content.judge(data)
    for rule, kinds in (
        (ZIP_RULE, {"zip-encrypted"}),
        (MACRO_RULE, {"ole-vba", "ooxml-vba"}),
        ("sonicwall.nested-archive", {"archive-nested"}),
        ("sonicwall.scan-limit", {"scan-limit"}),
    ):
        assert first(name, rule) == next((f for f in found if f.kind in kinds), None)


def says_encrypted(info: zipfile.ZipInfo) -> bool:
    aes = info.compress_type == 99 and b"\x01\x99\x07\x00" in info.extra
    return not info.is_dir() and (bool(info.flag_bits & (1 | 1 << 6 | 1 << 13)) or aes)


@pytest.mark.parametrize("name", of("archive/"))
def test_zipfile(name: str) -> None:
    data = octets(name)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        assert name.endswith(
            (".gz", ".7z", "near-cut-header.zip", "hand-central-encrypted.zip", "hand-central-record.zip")
        )
        return
    found = first(name, ZIP_RULE)
    try:
        infos = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except zipfile.BadZipFile:
        assert name in CENTRAL_BLIND
        return
    encrypted = any(says_encrypted(info) for info in infos)
    if name in CENTRAL_BLIND | BEHIND:
        assert encrypted is (name in BEHIND)
        return
    assert encrypted is (found is not None and found.depth == 0)
    if found is not None and found.depth == 0:  # zipfile tells in which header the octet lies
        info = next(i for i in infos if i.filename == found.name)
        begin = info.header_offset + 30 + len(info.filename)
        if found.evidence == "local header":
            assert begin - 1 <= found.at < begin + 64
        else:
            assert found.at > max(i.header_offset for i in infos) + 30


@pytest.mark.parametrize("name", [n for n in of("archive/") if n.endswith(".zip")])
def test_zipinfo(name: str) -> None:
    if shutil.which("zipinfo") is None:
        pytest.skip("zipinfo (Debian: unzip) is not installed")
    ran = subprocess.run(["zipinfo", "-l", str(HERE / name)], capture_output=True, text=True, errors="replace")
    rows = [line.split() for line in ran.stdout.splitlines() if line[:1] in "-dp?" and len(line.split()) >= 9]
    found = first(name, ZIP_RULE)
    if not rows or name in CENTRAL_BLIND | BEHIND:
        assert name in CENTRAL_BLIND | BEHIND | {"archive/near-empty.zip", "archive/near-cut-header.zip"}
        return
    # Of the fifth column the first letter is a capital for an encrypted member, by bit 0 alone.
    encrypted = any(row[4][0] in "BT" for row in rows if not row[-1].endswith("/"))
    bit0 = "strong-alone" not in name and "without-bit0" not in name
    assert encrypted is (bit0 and found is not None and found.depth == 0)


@pytest.mark.parametrize("name", [*of("office/"), "archive/document.zip"])
def test_olevba(name: str) -> None:
    olevba = pytest.importorskip("oletools.olevba", reason="oletools is not installed")
    try:
        says = bool(olevba.VBA_Parser(name, data=octets(name)).detect_vba_macros())
    except olevba.FileOpenError:
        says = False
    fires = first(name, MACRO_RULE) is not None
    assert says is ((fires or name in OLEVBA_SAYS_MORE) and name not in OLEVBA_SAYS_LESS)


@pytest.mark.parametrize("name", [n for n in of("office/") if octets(n).startswith(compound.MAGIC)])
def test_olefile(name: str) -> None:
    olefile = pytest.importorskip("olefile", reason="olefile is not installed")
    with olefile.OleFileIO(io.BytesIO(octets(name))) as ole:
        paths = {"/".join(path).upper() for path in ole.listdir(storages=True)}
        roots = {path.rpartition("VBA")[0] for path in paths if path == "VBA" or path.endswith("/VBA")}
        needed = ("VBA", "PROJECT", "VBA/_VBA_PROJECT", "VBA/DIR")
        project = any({root + path for path in needed} <= paths for root in roots)
        found = first(name, MACRO_RULE)
        assert project is compound.has_project(octets(name))
        fires = found is not None and found.evidence == "storage"
        assert fires is (project or name in READ_AS_IT_PASSES)
        if found is None or not fires or name == "office/embedded-fat-last.doc":
            return
        # The octet that decides is in one of the four entries: the one that stands last in the file.
        sectors, sector = [], ole.first_dir_sector
        while sector < 0xFFFFFFFA:
            sectors.append(sector)
            sector = int(ole.fat[sector])
        per = ole.sector_size // 128
        places = []
        for entry in ole.direntries:
            if entry is not None and entry.name.upper() in ("VBA", "PROJECT", "_VBA_PROJECT", "DIR"):
                places.append((sectors[entry.sid // per] + 1) * ole.sector_size + 128 * (entry.sid % per))
        assert found.at == max(places) + compound.HEAD - 1


@pytest.mark.parametrize("name", of("program/"))
def test_pefile(name: str) -> None:
    pefile = pytest.importorskip("pefile", reason="pefile is not installed")
    data = octets(name)
    found = first(name, PACKED) or first(name, PACKED + "-extended")
    try:
        pe = pefile.PE(data=data)
    except pefile.PEFormatError:
        assert found is None
        return
    names = [section.Name.rstrip(b"\0") for section in pe.sections]
    pairs = ({b"UPX0", b"UPX1"}, {b".aspack", b".adata"}, {b".MPRESS1", b".MPRESS2"})
    assert any(pair <= set(names) for pair in pairs) is (found is not None and found.evidence == "section")
    if found is None:
        return
    if found.evidence == "section":
        assert found.at in [s.get_file_offset() + min(len(n), 7) for s, n in zip(pe.sections, names, strict=True)]
    elif found.evidence == "entry point":
        entry = pe.get_offset_from_rva(pe.OPTIONAL_HEADER.AddressOfEntryPoint)
        assert entry < found.at < entry + 64
    elif found.evidence == "imports":
        taken = {i.name.decode() for i in pe.DIRECTORY_ENTRY_IMPORT[0].imports}
        assert {"LoadLibraryA", "GetProcAddress", "ExitProcess"} <= taken
        assert found.at >= max(i.name_offset for i in pe.DIRECTORY_ENTRY_IMPORT[0].imports)
