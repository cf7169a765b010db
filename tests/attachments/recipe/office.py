"""Office Open XML files around one real VBA project: python office.py VBAPROJECT OUT.

The project comes from XlsxWriter's source archive (examples/vbaProject.bin, BSD-2-Clause, see ../README.md);
.xlsm and .xlsx are written by XlsxWriter itself, .docm and .pptm are the smallest packages that LibreOffice opens.
"""

from __future__ import annotations

import datetime
import pathlib
import sys
import zipfile

import xlsxwriter

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
VBA = "http://schemas.microsoft.com/office/2006/relationships/vbaProject"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
TREE = (
    '<p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
    "</p:spTree></p:cSld>"
)
SPACES = f'xmlns:p="{SLIDES}" xmlns:a="{DRAWING}" xmlns:r="{OFFICE}"'
COLOURS = " ".join(
    f'{name}="{name if name[:2] not in ("bg", "tx") else {"bg": "lt", "tx": "dk"}[name[:2]] + name[2]}"'
    for name in "bg1 tx1 bg2 tx2 accent1 accent2 accent3 accent4 accent5 accent6 hlink folHlink".split()
)


def content_types(parts: dict[str, str], macros: bool) -> str:
    kinds = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    kinds += '<Default Extension="xml" ContentType="application/xml"/>'
    if macros:
        kinds += '<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/>'
    for name, kind in parts.items():
        kinds += f'<Override PartName="/{name}" ContentType="{kind}"/>'
    return f'{HEAD}<Types xmlns="{TYPES}">{kinds}</Types>'


def relations(*targets: tuple[str, str]) -> str:
    lines = "".join(f'<Relationship Id="rId{i}" Type="{t}" Target="{to}"/>' for i, (t, to) in enumerate(targets, 1))
    return f'{HEAD}<Relationships xmlns="{RELS}">{lines}</Relationships>'


def write(path: pathlib.Path, parts: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    """A package with these parts in this order, the same octets each time."""
    with zipfile.ZipFile(path, "w", method) as z:
        for name, octets in parts.items():
            info = zipfile.ZipInfo(name, (2026, 1, 5, 10, 0, 0))
            info.compress_type = method
            z.writestr(info, octets)


def word(vba: bytes | None, name: str = "word/vbaProject.bin") -> dict[str, str | bytes]:
    macro = "application/vnd.ms-word.document.macroEnabled.main+xml"
    plain = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    links = [(VBA, name.removeprefix("word/"))] if vba else []
    body = f'{HEAD}<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>Hello</w:t></w:r></w:p></w:body></w:document>'
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": content_types({"word/document.xml": macro if vba else plain}, bool(vba)),
        "_rels/.rels": relations((f"{OFFICE}/officeDocument", "word/document.xml")),
        "word/document.xml": body,
        "word/_rels/document.xml.rels": relations(*links),
    }
    return parts | ({name: vba} if vba else {})


def slides(vba: bytes | None) -> dict[str, str | bytes]:
    base = "application/vnd.openxmlformats-officedocument.presentationml"
    main = (
        "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml" if vba else f"{base}.presentation.main+xml"
    )
    kinds = {
        "ppt/presentation.xml": main,
        "ppt/slides/slide1.xml": f"{base}.slide+xml",
        "ppt/slideMasters/slideMaster1.xml": f"{base}.slideMaster+xml",
        "ppt/slideLayouts/slideLayout1.xml": f"{base}.slideLayout+xml",
    }
    # The slide is wide and low: LibreOffice puts its picture, uncompressed, into each .ppt.
    links = [(f"{OFFICE}/slideMaster", "slideMasters/slideMaster1.xml"), (f"{OFFICE}/slide", "slides/slide1.xml")]
    links += [(VBA, "vbaProject.bin")] if vba else []
    to_layout = (f"{OFFICE}/slideLayout", "../slideLayouts/slideLayout1.xml")
    to_master = (f"{OFFICE}/slideMaster", "../slideMasters/slideMaster1.xml")
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": content_types(kinds, bool(vba)),
        "_rels/.rels": relations((f"{OFFICE}/officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f'{HEAD}<p:presentation {SPACES}><p:sldMasterIdLst><p:sldMasterId id="2147483648" '
        'r:id="rId1"/></p:sldMasterIdLst><p:sldIdLst><p:sldId id="256" r:id="rId2"/></p:sldIdLst>'
        '<p:sldSz cx="51206400" cy="914400"/><p:notesSz cx="6858000" cy="9144000"/></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations(*links),
        "ppt/slideMasters/slideMaster1.xml": f"{HEAD}<p:sldMaster {SPACES}>{TREE}<p:clrMap {COLOURS}/>"
        '<p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="rId1"/></p:sldLayoutIdLst></p:sldMaster>',
        "ppt/slideMasters/_rels/slideMaster1.xml.rels": relations(to_layout),
        "ppt/slideLayouts/slideLayout1.xml": f"{HEAD}<p:sldLayout {SPACES}>{TREE}</p:sldLayout>",
        "ppt/slideLayouts/_rels/slideLayout1.xml.rels": relations(to_master),
        "ppt/slides/slide1.xml": f"{HEAD}<p:sld {SPACES}>{TREE}</p:sld>",
        "ppt/slides/_rels/slide1.xml.rels": relations(to_layout),
    }
    return parts | ({"ppt/vbaProject.bin": vba} if vba else {})


def sheet(path: pathlib.Path, project: pathlib.Path | None) -> None:
    with xlsxwriter.Workbook(str(path)) as book:
        book.set_properties({"created": datetime.datetime(2026, 1, 5)})
        book.add_worksheet().write(0, 0, "Hello")
        if project:
            book.add_vba_project(str(project))


def main(project: str, out: str) -> None:
    to, vba = pathlib.Path(out), pathlib.Path(project).read_bytes()
    to.mkdir(parents=True, exist_ok=True)
    sheet(to / "macros.xlsm", pathlib.Path(project))
    sheet(to / "plain.xlsx", None)
    write(to / "macros.docm", word(vba))
    write(to / "renamed-part.docm", word(vba, "word/settings.dat"))
    write(to / "stored.docm", word(vba), zipfile.ZIP_STORED)
    write(to / "plain.docx", word(None))
    write(to / "macros.pptm", slides(vba))
    write(to / "plain.pptx", slides(None))


if __name__ == "__main__":
    main(*sys.argv[1:])
