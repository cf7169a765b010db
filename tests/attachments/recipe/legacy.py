"""Compound Office files: python legacy.py OFFICE-DIRECTORY OUT (needs olefile, msoffcrypto-tool and soffice).

LibreOffice 7.4 (Debian bookworm) converts what office.py wrote. It takes the VBA project over from .xlsm to .xls, and
from .doc to .doc; so the project's streams are first put into a .doc by compound.py. It writes each .ppt with
fHasMacros 0; there the atom is patched.
"""

from __future__ import annotations

import io
import pathlib
import struct
import subprocess
import sys
import tempfile

import olefile
from compound import Writer
from msoffcrypto.format.ooxml import OOXMLFile

ATOM = bytes.fromhex("1f00ff0314000000020000040c000000")  # VbaInfo container and the head of its VbaInfoAtom
BINARY = {"doc": "MS Word 97", "xls": "MS Excel 97", "ppt": "MS PowerPoint 97", "rtf": "Rich Text Format"}


def convert(source: pathlib.Path, kind: str, to: pathlib.Path) -> None:
    """What LibreOffice makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        profile = f"-env:UserInstallation=file://{folder}/profile"
        command = ["soffice", profile, "--headless", "--convert-to", f"{kind}:{BINARY[kind]}", "--outdir", folder]
        subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=300)
        to.write_bytes((pathlib.Path(folder) / source.with_suffix("." + kind).name).read_bytes())


def streams(octets: bytes) -> list[tuple[str, bytes]]:
    with olefile.OleFileIO(io.BytesIO(octets)) as ole:
        return [("/".join(path), ole.openstream(path).read()) for path in ole.listdir()]


def under(root: str, project: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(f"{root}/{path}", data) for path, data in project]


def powerpoint(octets: bytes, has_macros: int) -> bytes:
    """The same presentation with fHasMacros of its VbaInfoAtom set."""
    at = octets.index(ATOM) + len(ATOM)
    return octets[:at] + struct.pack("<III", 1, has_macros, 2) + octets[at + 12 :]


def encrypted(source: pathlib.Path, to: pathlib.Path) -> None:
    """An encrypted package by msoffcrypto-tool; the salt is random."""
    with source.open("rb") as plain, to.open("wb") as out:
        OOXMLFile(plain).encrypt("secret", out)


def main(office: str, out: str) -> None:
    source, to = pathlib.Path(office), pathlib.Path(out)
    to.mkdir(parents=True, exist_ok=True)
    for name, kind in ("plain.docx", "doc"), ("plain.xlsx", "xls"), ("plain.pptx", "ppt"), ("macros.xlsm", "xls"):
        convert(source / name, kind, (to / name).with_suffix("." + kind))
    convert(source / "plain.docx", "rtf", to / "plain.rtf")
    project = streams((source / "vbaProject.bin").read_bytes())
    plain = streams((to / "plain.doc").read_bytes())
    slides = (to / "plain.ppt").read_bytes()
    handmade = Writer().write([*plain, *under("Macros", project)])
    made = {
        "macros-handmade.doc": handmade,
        "macros-directory-last.doc": Writer(places="streams mini minifat fat directory").write(
            [*plain, *under("Macros", project)]
        ),
        "macros-fat-last.doc": Writer(places="directory streams mini minifat fat").write(
            [*plain, *under("Macros", project)]
        ),
        "macros-4096.doc": Writer(version=4).write([*plain, *under("Macros", project)]),
        "renamed-root.doc": Writer().write([*plain, *under("Else", project)]),
        "no-dir.doc": Writer().write([*plain, *under("Macros", [p for p in project if p[0] != "VBA/dir"])]),
        "no-project-stream.doc": Writer().write([*plain, *under("Macros", [p for p in project if p[0] != "PROJECT"])]),
        "streams-apart.doc": Writer().write([*plain, *(("Macros/" + p.removeprefix("VBA/"), d) for p, d in project)]),
        "project-elsewhere.doc": Writer().write(
            [*plain, *(("Macros/" + p if p[:4] == "VBA/" else p, d) for p, d in project)]
        ),
        "vba-elsewhere.doc": Writer().write(
            [*plain, ("Macros/VBA/Module1", b"x"), *(("Macros/" + p.removeprefix("VBA/"), d) for p, d in project)]
        ),
        "name-in-text.doc": Writer().write(
            [*plain, ("Notes", b"".join(w.encode("utf-16-le").ljust(128, b"\0") for w in
             ("VBA", "_VBA_PROJECT", "dir", "PROJECT") * 9))]
        ),
        "embedded.doc": Writer().write([*plain, ("Package", handmade)]),
        "embedded-fat-last.doc": Writer(places="directory streams mini minifat fat").write(
            [*plain, ("Package", handmade)]
        ),
        "macros.ppt": powerpoint(slides, 1),
    }  # fmt: skip
    for name, octets in made.items():
        (to / name).write_bytes(octets)
    convert(to / "macros-handmade.doc", "doc", to / "macros.doc")
    encrypted(source / "plain.docx", to / "encrypted.docx")


if __name__ == "__main__":
    main(*sys.argv[1:])
