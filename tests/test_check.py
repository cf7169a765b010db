"""`check`: a stored message trips the rules that a replay of its sending does, and is told where."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import public
from kit import capture, wire
from smtpinspect._core.views import Alert, TapeSink
from smtpinspect.cli import main
from smtpinspect.diagnose.stored.check import Checked, check, on_text
from smtpinspect.engine import Engine, Run
from smtpinspect.errors import UsageError
from smtpinspect.report.check_page import CheckPage
from smtpinspect.report.terminal import Style
from smtpinspect.report.text import products
from test_transcripts import DOCUMENTS, read

PCAPS = Path(__file__).parents[1] / "pcaps"
SPECS = (
    "mailguard:asa-8",
    "mailguard:pix-6,dkim_bug=on",
    "stormshield:high,header_line_limit=1000",
    "sonicwall,block_multiple_compress_files=on",
)


class Texts:
    """The octets of each mail's text, as a listener of the core hears them."""

    def __init__(self) -> None:
        self.texts: dict[int, list[tuple[str, bytearray]]] = defaultdict(list)
        self.open: set[int] = set()

    def text(self, conn: int, octets: bytes, via: str, *_: Any) -> None:
        if conn not in self.open:
            self.open.add(conn)
            self.texts[conn].append((via, bytearray()))
        self.texts[conn][-1][1].extend(octets)

    def text_end(self, conn: int, *_: Any) -> None:
        self.open.discard(conn)

    def chunk_done(self, conn: int, _: int, last: bool, *__: Any) -> None:
        if last:
            self.open.discard(conn)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def texts(path: Path) -> list[bytes]:
    """The messages of a capture, without their dots."""
    listener = Texts()
    engine = Engine([])
    run = Run(engine, str(path), TapeSink(engine.program, mails=False), listener)
    while run.step():
        pass
    run.close()
    made = []
    for _, mails in sorted(listener.texts.items()):
        for via, text in mails:
            octets = bytes(text)
            if via == "DATA":
                octets = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n")[2:]
            made.append(octets)
    return made


def content_alerts(engine: Engine, path: Path) -> set[tuple[str, str, str, bytes]]:
    """What a replay fires by rows on the text, in any mail of the capture."""
    rows = {(row.id, row.detail) for made in engine.inspectors for row in made.table() if on_text(row)}
    return {
        (one.inspector, one.rule, one.detail, bytes(one.octets))
        for one in engine.run(str(path))
        if isinstance(one, Alert) and (one.rule, one.detail) in rows and one.tx_id is not None
    }


def found(checked: list[Checked]) -> set[tuple[str, str, str, bytes]]:
    return {
        (one.alert.inspector, one.alert.rule, one.alert.detail, bytes(one.alert.octets))
        for each in checked
        for one in each.fired
        if not one.alert.rule.startswith("smtp.")
    }


def agrees(path: Path, tmp_path: Path, specs: Sequence[str] = SPECS) -> None:
    engine = Engine(specs)
    names = []
    for number, text in enumerate(texts(path)):
        (tmp_path / f"{number}.eml").write_bytes(text)
        names.append(str(tmp_path / f"{number}.eml"))
    checked = list(check(names, engine)) if names else []
    assert found(checked) == content_alerts(engine, path)


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.pcap")), ids=lambda path: path.stem)
def test_a_message_trips_what_its_capture_trips(path: Path, tmp_path: Path) -> None:
    agrees(path, tmp_path)


PUBLIC = sorted(public.FOLDER.glob("*.pcap*")) if public.FOLDER.is_dir() else [None]


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem if path else "none")
def test_a_message_trips_what_a_public_capture_trips(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip(public.ABSENT)
    agrees(path, tmp_path)


# What a stored message cannot tell: who sends it to whom, and whether with SMTPUTF8.
OTHERWISE = {"exclusions-client", "inside-outbound", "smtp-122-edge-smtputf8"}
TOLD = [path for path in DOCUMENTS if path.stem not in OTHERWISE]


@pytest.mark.parametrize("path", TOLD, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_message_trips_what_a_document_tells(path: Path, tmp_path: Path) -> None:
    """Every rule has documents: where it fires, at the edge, and where it must not."""
    document = read(path)
    whole = tmp_path / "document.pcap"
    whole.write_bytes(capture.pcap(capture.records(wire.packets(document.segments))))
    agrees(whole, tmp_path, document.specs)


# ---- where it stands


HEAD = "From: a@example.org\nTo: b@example.net\n"


def told(text: str | bytes, tmp_path: Path, *specs: str, name: str = "m.eml") -> list[tuple[str, str, int]]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    engine = Engine(specs or ("stormshield:high",))
    return [(one.alert.rule, one.where, one.line) for each in check([str(path)], engine) for one in each.fired]


LONG = "mailguard:asa-8,limits=default-map"  # body lines of 998 octets
SUBJECT = ("stormshield.smtp-231", "header Subject")
MULTIPART = HEAD + """Content-Type: multipart/mixed; boundary="out"

preamble
--out
Content-Type: multipart/alternative; boundary=in

--in

plain
--in
Content-Type: text/html
X-Note: \u00e9

html
--in--
--out
Content-Type: application/x-thing; name="a.bin"

%s
--out--
"""


def test_the_header_field_and_its_line(tmp_path: Path) -> None:
    assert told(HEAD + "Subject: R\u00e9union\n\nx\n", tmp_path) == [(*SUBJECT, 3)]
    folded = HEAD + "Subject: one\n two\n \u00e9\n\nx\n"
    assert told(folded, tmp_path) == [(*SUBJECT, 5)]


def test_the_part_and_its_line(tmp_path: Path) -> None:
    found = told(MULTIPART % ("y" * 2_000), tmp_path, "stormshield:high,mime_headers=on", LONG)
    assert found == [
        ("stormshield.smtp-122", "part 1.2 header X-Note", 14),
        ("mailguard.body-line-length", "part 2 (application/x-thing, a.bin)", 21),
    ]


def test_a_boundary_that_is_none_ends_no_part(tmp_path: Path) -> None:
    found = told(MULTIPART % ("--outer\n" + "y" * 2_000), tmp_path, LONG)
    assert found == [("mailguard.body-line-length", "part 2 (application/x-thing, a.bin)", 22)]


def test_a_very_long_line_is_one_line(tmp_path: Path) -> None:
    text = HEAD + "\n" + "z" * 200_000 + "\nend\nx: " + "w" * 5_000 + "\n"
    found = told(text, tmp_path, "mailguard:asa-8,limits=default-map,body_line_length=4000")
    assert found == [("mailguard.body-line-length", "body", 4), ("mailguard.body-line-length", "body", 6)]


# ---- as it would be sent


def test_dots_are_stuffed(tmp_path: Path) -> None:
    """A lone dot ends no text: what stands behind it is judged."""
    long = "y" * 2_000
    found = told(HEAD + f"\n.\n.x\n{long}\n", tmp_path, LONG)
    assert found == [("mailguard.body-line-length", "body", 6)]


def test_line_ends_are_those_of_the_first_line(tmp_path: Path) -> None:
    lf = told(HEAD + "Subject: x\nbare\n\nx\n", tmp_path)
    assert lf == [("stormshield.smtp-122", "header (no field name)", 4)]
    bare = (HEAD + "X-Bare: a").replace("\n", "\r\n").encode() + b"\nb\r\n\r\nbody\n.\nmore\r\n"
    assert told(bare, tmp_path, "stormshield:high,bare_lf_is_invalid=on") == [
        ("stormshield.smtp-122", "header X-Bare", 3),
        ("stormshield.smtp-122", "header X-Bare", 4),
        ("smtp.smuggling-lf-dot-lf", "body", 7),
    ]


def test_smtputf8_is_the_senders_choice(tmp_path: Path) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes((HEAD + "Subject: R\u00e9union\n\nx\n").encode())
    engine = Engine(["stormshield:high,allow_smtputf8=on"])
    assert [len(each.fired) for utf8 in (False, True) for each in check([str(path)], engine, utf8=utf8)] == [1, 0]


def test_no_end_and_no_lines(tmp_path: Path) -> None:
    assert told("Subject: \u00e9", tmp_path) == [(*SUBJECT, 1)]
    assert told(b"x", tmp_path, "sonicwall") == []


# ---- mailboxes


def mbox(*messages: str) -> str:
    return "".join(f"From x@example.org Mon Mar  2 10:00:0{n % 10} 2026\n{each}\n" for n, each in enumerate(messages))


def test_an_mbox_is_taken_apart(tmp_path: Path) -> None:
    bad = HEAD + "Subject: \u00e9\n\n>From here on\nFrom nobody at all\n"
    path = tmp_path / "box"
    path.write_text(mbox(HEAD + "\nfine\n", bad, bad), encoding="utf-8")
    checked = list(check([str(path)], Engine(["stormshield"])))
    assert [(one.stored.number, one.octets) for one in checked] == [(1, 48), (2, 89), (3, 89)]
    assert [one.line for each in checked for one in each.fired] == [10, 18]


FORWARDED = "see below\n\nFrom y@example.org Mon Mar  2 09:00:00 2026\nSubject: no header\n"


@pytest.mark.parametrize(("off", "numbers"), [(0, [1, 2]), *((n, [1, 2, 3, 4]) for n in (-3, 7, 10**9))])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_content_length_tells_where_a_message_ends(tmp_path: Path, off: int, numbers: list[int], end: str) -> None:
    """Of mboxcl2, which quotes no From; a length that leads elsewhere than to a separator tells nothing."""
    octets = len(FORWARDED.replace("\n", end)) + off
    one = f"{HEAD}Content-Length: {octets}\n\n{FORWARDED}"
    path = tmp_path / "box"
    path.write_bytes(mbox(one, one).replace("\n", end).encode())
    checked = list(check([str(path)], Engine(["stormshield"])))
    assert [each.stored.number for each in checked] == numbers
    whole = len((HEAD + f"Content-Length: {octets}\n\n" + FORWARDED).replace("\n", "\r\n"))
    assert [each.octets for each in checked] == [whole] * 2 or off


def test_a_maildir_is_its_cur_and_new(tmp_path: Path) -> None:
    for folder, name in (("cur", "1:2,S"), ("new", "2"), ("tmp", "3"), ("new", ".hidden")):
        (tmp_path / "box" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "box" / folder / name).write_text(HEAD + "\nx\n")
    checked = list(check([str(tmp_path / "box")], Engine(["stormshield"])))
    assert [Path(one.stored.file).name for one in checked] == ["1:2,S", "2"]


def test_many_messages_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "box"
    n = 400
    texts = [HEAD + (f"Subject: \u00e9{i}\n" if i % 3 == 0 else f"Subject: {i}\n") + "\nx\n" for i in range(n)]
    path.write_text(mbox(*texts), encoding="utf-8")
    checked = list(check([str(path)], Engine(["stormshield"])))
    assert [one.stored.number for one in checked] == [*range(1, n + 1)]
    assert [one.stored.number - 1 for one in checked if one.fired] == [*range(0, n, 3)]
    assert all(str(one.stored.number - 1) in (one.subject or "") for one in checked)


def test_packed_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (HEAD + "Subject: \u00e9\n\nx\n").encode()
    assert told(gzip.compress(text), tmp_path, name="m.eml.gz") == [(*SUBJECT, 3)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    (one,) = check(["-"], Engine(["stormshield"]))
    assert (one.stored.file, len(one.fired)) == ("standard input", 1)


def test_what_is_no_message_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.eml").write_text(HEAD + "\nx\n")
    heard = []
    with pytest.raises(UsageError, match="no Maildir"):
        heard.extend(check([str(tmp_path / "m.eml"), str(tmp_path)], Engine(["stormshield"])))
    with pytest.raises(UsageError, match="No such file"):
        list(check([str(tmp_path / "absent")], Engine(["stormshield"])))
    with pytest.raises(UsageError, match="a capture"):
        list(check([str(PCAPS / "bdat.pcap")], Engine(["stormshield"])))
    (tmp_path / "m.eml").write_bytes(b"")
    with pytest.raises(UsageError, match="it is empty"):
        list(check([str(tmp_path / "m.eml")], Engine(["stormshield"])))


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_utf16_is_no_text_of_a_mail(charset: str, tmp_path: Path) -> None:
    (tmp_path / "m.eml").write_bytes((HEAD + "\nx\n").encode(charset))
    with pytest.raises(UsageError, match="iconv -f utf-16"):
        list(check([str(tmp_path / "m.eml")], Engine(["stormshield"])))


# ---- the command


def test_of_what_is_no_message_nothing_else_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in (tmp_path / "absent", tmp_path, PCAPS / "bdat.pcap"):
        for form in ("text", "json"):
            assert main(["check", "--format", form, str(what)]) == 2
            told = capsys.readouterr()
            assert told.out == "" and len(told.err.splitlines()) == 1


def test_the_record_is_that_of_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes((HEAD + "Subject: R\u00e9\n\nx\n").encode())
    assert main(["check", "--format", "json", "--fail-on", "break", str(path)]) == 1
    (message,) = json.loads(capsys.readouterr().out)["messages"]
    assert (message["file"], message["subject"]) == (str(path), "R\u00e9")
    (alert,) = message["alerts"]
    wanted = {
        "rule": "stormshield.smtp-231", "where": "header Subject", "line": 3,
        "octets": r"Subject: R\xc3\xa9", "action": "drop-flow",
    }  # fmt: skip
    assert alert.items() >= wanted.items()
    assert len(message["not_judged"]) == 3 and "borders of segments" in message["not_judged"][1]


def test_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes((HEAD + "Subject: R\u00e9\x1b[2J\n\nx\n").encode())
    assert main(["check", "-i", "stormshield", str(path)]) == 0
    page = capsys.readouterr().out
    assert "would cut: stormshield.smtp-231" in page and "line 3, header Subject" in page
    assert "NOT JUDGED" in page and "\x1b" not in page
    assert page.rstrip().endswith("rules stormshield.smtp-231")
    path.write_text(HEAD + "\nx\n")
    assert main(["check", "--fail-on", "alert", str(path)]) == 0
    page = capsys.readouterr().out
    assert "none trips a content rule" in page and "is it a whole message?" not in page


def test_what_has_no_header_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the body alone; what a sender's own server would put before it is not there."""
    for text, bare in (("hello world\nthis is text\n", True), ("\nhello world\n", False), ("x\nA: b\n\nx", False)):
        (tmp_path / "m.eml").write_text(text)
        assert main(["check", "-i", "stormshield", str(tmp_path / "m.eml")]) == 0
        assert ("is it a whole message?" in capsys.readouterr().out) is bare


def test_the_page_fits_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes((HEAD + "Subject: R\u00e9\n\nx\n").encode())
    engine = Engine(None)
    page = CheckPage(engine.inspectors, products(engine.inspectors, engine.labels, ()), 60, Style(False))
    lines = [line for one in check([str(path)], engine) for line in page.message(one)]
    assert "  Stormshield (high): would cut: stormshield.smtp-231" in lines
    assert max(len(line) for line in lines if str(path) not in line) <= 60
