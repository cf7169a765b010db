"""SonicWall's log of attachments, from octets on the wire to lines."""

from __future__ import annotations

import base64

import pytest

from kit import handmade, wire
from kit.dialogue import Turn
from running import frames
from smtpinspect.engine import Engine
from smtpinspect.report.vendor_logs import VendorLog
from test_logs import proper

HEAD = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
PART = b"--x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"


def said(line: str) -> str:
    return line.partition("Alert: ")[2].partition('"')[0]


def log(spec: str, *mails: list[str]) -> list[str]:
    """The lines of a connection with these mails; each names the files that it carries."""
    turns = [Turn("S", b"220 mx\r\n"), Turn("C", b"EHLO a\r\n"), Turn("S", b"250 mx\r\n")]
    for names in mails:
        text = HEAD
        for name in names:
            text += PART + base64.encodebytes(getattr(handmade, name)()).replace(b"\n", b"\r\n")
        for command, reply in (
            (b"MAIL FROM:<a@a>\r\n", b"250 ok\r\n"),
            (b"RCPT TO:<b@b>\r\n", b"250 ok\r\n"),
            (b"DATA\r\n", b"354 go\r\n"),
            (text + b"--x--\r\n.\r\n", b"250 ok\r\n"),
        ):
            turns += [Turn("C", command), Turn("S", reply)]
    engine = Engine([spec])
    made = VendorLog(engine, "sonicwall")
    lines = list(made.lines(engine.run(frames(wire.build(turns)))))
    for line in lines:
        proper("sonicwall", line)
    return lines


@pytest.mark.parametrize(
    ("spec", "name", "text"),
    [
        ("sonicwall", "aes_zip", "Password-protected ZIP file"),
        ("sonicwall", "macro_doc", "MS-Office file with macros"),
        ("sonicwall", "macro_docm", "MS-Office file with macros"),
        ("sonicwall", "upx_exe", "Packed executable, UPX"),
        ("sonicwall", "fsg_exe", "Packed executable, FSG"),
        ("sonicwall,extended_packers=on", "pecompact_exe", "Packed executable, PECompact"),
        (
            "sonicwall,block_multiple_compress_files=on",
            "zip_in_zip",
            "File with multiple levels of zip/gzip compression",
        ),
    ],
)
def test_each_restriction(spec: str, name: str, text: str) -> None:
    assert [said(line) for line in log(spec, [name])] == [f"{text} (Restricted) blocked."]


@pytest.mark.parametrize("name", ["plain_zip", "plain_docx", "plain_exe", "zip_in_zip", "four_zips"])
def test_nothing_to_tell(name: str) -> None:
    assert log("sonicwall", [name]) == []


@pytest.mark.parametrize("spec", ["sonicwall", "sonicwall,smtp_responses=off", "sonicwall,on_match=drop"])
def test_a_block_is_the_last_line(spec: str) -> None:
    """A 552 ends the connection as a reset does."""
    (line,) = log(spec, ["plain_zip"], ["aes_zip"], ["macro_doc"])
    assert said(line).startswith("Password-protected")


def test_detection_only_goes_on() -> None:
    lines = log("sonicwall,detection_only=on", ["aes_zip", "upx_exe"], ["macro_doc"])
    assert [said(line).split("(")[0] for line in lines] == [
        "Password-protected ZIP file ",
        "MS-Office file with macros ",
    ]
    assert all('fw_action="NA"' in line for line in lines)
    assert [" n=1 " in line for line in lines] == [True, False]
