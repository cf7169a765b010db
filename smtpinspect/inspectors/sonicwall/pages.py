"""What a mail administrator reads about each rule. Signature ids are never given to another rule."""

from __future__ import annotations

from typing import Final

from smtpinspect.grammar.limits import ARCHIVE_DEPTH, INFLATE_RATIO, INFLATED_OCTETS
from smtpinspect.inspectors.explain import Page

_THEN: Final = (
    "answers 552 in the middle of the text and ends the connection on both sides: the mail bounces. With "
    "`Disable SMTP Responses` it ends the connection without a word, and the sender tries again for days"
)
_CERTAIN: Final = (
    "confirmed: the switch, 552 for viruses, that base64, ZIP and gzip are undone{confirmed}; inferred: 552 for "
    "restrictions{inferred}; our assumption: quoted-printable, uuencode and BDAT, FIN or RST, the text behind "
    "552{assumed}"
)
_ON: Final = ", that it is on (look at your box)"
_LINK: Final = "send a link to the file, or "

PAGES: Final = {
    "sonicwall.encrypted-zip": Page(
        2003000,
        "password-protected ZIP file",
        "a member of an attached ZIP is encrypted (ZipCrypto, AES, strong encryption), or the list of members "
        "is. Not by encrypted 7z, RAR, PDF and Office files, nor by a self-extracting archive",
        _THEN,
        "payslips, reports and scans that are sent as ZIP with a password because a rule of the house or "
        "of data protection asks for it",
        ("SonicOS 5.8 guide", "GAV guide", "AE-2", "APPNOTE", "SonicOS 7 tests", "Altospam"),
        phase="content",
        certainty=_CERTAIN.format(confirmed="", inferred=", which bits tell it", assumed=_ON),
        sender_can=_LINK + "the file as 7z; S/MIME or PGP, or TLS on the way (the box cannot look into it)",
    ),
    "sonicwall.office-macro": Page(
        2003001,
        "MS-Office file with VBA macros",
        "an attachment holds a VBA project, empty or not: .doc, .xls, .ppt of Office 97 and later, .docm, "
        ".xlsm, .pptm, whatever the file's name. WordBasic, Excel 4 sheets, RTF and Word's XML without ZIP do "
        "not fire it",
        _THEN,
        "forms, price lists and time sheets with a button; files made by old templates that carry an "
        "empty project",
        ("SonicOS 5.8 guide", "GAV guide", "MS-OVBA", "MS-PPT", "SonicOS 7 tests", "Altospam"),
        phase="content",
        certainty=_CERTAIN.format(confirmed="", inferred=", what counts as a macro", assumed=_ON),
        sender_can=_LINK + "the file without its macros (.docx, .xlsx, .pptx), or as PDF",
    ),
    "sonicwall.packed-exe": Page(
        2003002,
        "packed executable file",
        "an attached Windows program is packed by UPX, FSG, PKLite32, Petite or ASPack: names of sections, "
        "a packer's mark, or the first instructions. In a ZIP or gzip file as well",
        _THEN,
        "small tools, drivers and installers of vendors: UPX is a plain compressor of programs",
        ("SonicOS 5.8 guide", "GAV guide", "UPX", "Detect It Easy", "SonicOS 7 tests", "Altospam"),
        phase="content",
        certainty=_CERTAIN.format(confirmed="", inferred=", the signatures", assumed=_ON),
        sender_can=_LINK + "the program unpacked (upx -d)",
    ),
    "sonicwall.packed-exe-extended": Page(
        2003003,
        "executable file of another packer",
        "an attached Windows program is packed by PECompact, MPRESS or NsPack",
        _THEN,
        "tools and games of small vendors",
        ("SonicOS 5.8 guide", "GAV guide", "Detect It Easy"),
        phase="content",
        certainty=_CERTAIN.format(
            confirmed=", that updates bring more packers", inferred="", assumed=", which ones"
        ),
        sender_can=_LINK + "the program unpacked",
        ask="sonicwall,extended_packers=on",
    ),
    "sonicwall.nested-archive": Page(
        2003004,
        "archive inside an archive",
        "a ZIP or gzip file lies inside another one. Not by a .tar.gz, nor by an Office file as such, which is "
        "one ZIP",
        _THEN,
        "folders that hold ZIP files and are sent as one; log files rotated as .gz in a ZIP; Office files in a "
        "ZIP (.docx is one itself)",
        ("SonicOS 7 API", "SonicOS 7 tests", "GAV guide"),
        phase="content",
        certainty=_CERTAIN.format(
            confirmed="", inferred=", that it is off, what counts as a level", assumed=""
        ),
        sender_can=_LINK + "the files in one archive",
        ask="sonicwall,block_multiple_compress_files=on",
    ),
    "sonicwall.scan-limit": Page(
        2003005,
        "scan of an attachment ended early",
        f"an attachment has more in it than smtpinspect unpacks ({ARCHIVE_DEPTH} archives in each other, "
        f"{INFLATED_OCTETS >> 30} GiB in one mail, {INFLATE_RATIO} times its compressed size): the rest was not judged",
        "nothing: this is told about our own look into the attachment, not about the box. The product's "
        "limits are not published",
        "large archives, disk images, archives in archives",
        ("SonicOS 7.1 guide", "project"),
        told="nothing",
        certainty="the limits are ours: our assumption",
    ),
}
