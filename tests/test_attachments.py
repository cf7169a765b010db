"""Attachments: what lies in them is told at the octet that decides, whatever the encoding, the nesting, the cut."""

from __future__ import annotations

import base64
import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

import running
from asking import KINDS, Asking
from kit import mutate, wire
from kit.archives import Member, zip_of
from kit.dialogue import Turn, parse
from kit.segment import Segment
from smtpinspect._core.scanner import Scanner, held
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.engine import compile_rows
from smtpinspect.facts import CONTENT, FIELD, gt, in_, ne, not_in
from smtpinspect.inspectors.base import Inspector, Rule, Settings

HERE = Path(__file__).resolve().parent
ENVELOPE = "S: 220 mx\nC: EHLO x\nS: 250 CHUNKING\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\n"


def zipped(encrypted: bool = True, names: Sequence[str] = ("a.txt",), size: int = 300, stored: bool = True) -> bytes:
    """An archive whose last member says that it is encrypted."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), Random(name).randbytes(size))
    octets = bytearray(out.getvalue())
    octets[octets.rindex(b"PK\3\4") + 6] |= encrypted
    octets[octets.rindex(b"PK\1\2") + 8] |= encrypted
    return bytes(octets)


def deciding(octets: bytes) -> list[tuple[str, int]]:
    """What the scanner finds, and the octet with which it knows."""
    return [(found.kind, found.at) for found in Scanner().feed(octets)]


# ---- encodings: the octets as sent, and where each octet that was encoded is complete


def in_base64(octets: bytes) -> tuple[bytes, list[int]]:
    digits = [4 * (k // 3) + k % 3 + 1 for k in range(len(octets))]
    return base64.encodebytes(octets).replace(b"\n", b"\r\n"), [d + 2 * (d // 76) for d in digits]


def in_quoted(octets: bytes) -> tuple[bytes, list[int]]:
    sent, places, column = b"", [], 0
    for k, octet in enumerate(octets):
        if column > 72:
            sent, column = sent + b"=\r\n", 0
        plain = 33 <= octet < 127 and octet != 61 and k % 5
        piece = bytes([octet]) if plain else b"=%02X" % octet
        sent, column = sent + piece, column + len(piece)
        places.append(len(sent) - 1)
    return sent + b"\r\n", places


def in_uu(octets: bytes, name: bytes = b"x.bin") -> tuple[bytes, list[int]]:
    sent, places = b"begin 644 " + name + b"\r\n", []
    for at in range(0, len(octets), 45):
        line = octets[at : at + 45]
        places += [len(sent) + 1 + 4 * (k // 3) + k % 3 + 1 for k in range(len(line))]
        bits = int.from_bytes(line.ljust(45, b"\0"), "big")
        groups = -(-len(line) // 3) * 4
        digits = [(bits >> (6 * (59 - i))) & 63 for i in range(groups)]
        sent += bytes([32 + len(line)]) + bytes(d + 32 if d else 96 for d in digits) + b"\r\n"
    return sent + b"`\r\nend\r\n", places


def as_it_is(octets: bytes) -> tuple[bytes, list[int]]:
    return octets + b"\r\n", [*range(len(octets))]


ENCODED = {"base64": in_base64, "quoted-printable": in_quoted, "x-uuencode": in_uu, "8bit": as_it_is}


class Text:
    """A mail's text in the making: what was sent so far, and the octets where alerts belong."""

    def __init__(self) -> None:
        self.octets = b""
        self.begins: list[int] = []  # of the octets that may be evidence
        self.ends: list[int] = []  # the octets that decide
        self.kinds: list[str] = []

    def line(self, *lines: str) -> Text:
        self.octets += b"".join(line.encode() + b"\r\n" for line in lines)
        return self

    def attach(self, octets: bytes, how: str, finds: bool = True) -> Text:
        sent, places = ENCODED[how](octets)
        start = len(self.octets)
        self.octets += sent
        found = deciding(octets)
        assert bool(found) == finds
        for kind, place in found:
            self.kinds.append(f"asking.{kind}")
            self.begins.append(start + (sent.index(b"\n") + 1 if how == "x-uuencode" else 0))
            self.ends.append(start + places[place])
        return self

    def part(self, octets: bytes, how: str, finds: bool = True, kind: str = "application/zip", name: str = "") -> Text:
        named = f'; name="{name}"' if name else ""
        header = [f"Content-Type: {kind}{named}", f"Content-Transfer-Encoding: {how}", ""]
        return self.line(*header).attach(octets, how, finds)

    def turns(self, via: str) -> tuple[list[Turn], list[tuple[int, bytes]]]:
        """The whole dialogue; for each alert its offset and evidence."""
        turns = parse(ENVELOPE)
        at = sum(len(turn.octets) for turn in turns if turn.side == "C")
        if via == "DATA":
            octets, where = self.stuffed()
            turns += [*parse("C: DATA\nS: 354 go\n"), Turn("C", octets + b".\r\n"), Turn("S", b"250 ok\r\n")]
            offsets = [*range(at + 6, at + 6 + len(octets))]
        else:
            octets, where, offsets = self.octets, [*range(len(self.octets))], []
            size = max(1, len(octets) // 3)
            for i in range(0, len(octets), size):
                piece = octets[i : i + size]
                command = b"BDAT %d%s\r\n" % (len(piece), b" LAST" if i + size >= len(octets) else b"")
                turns += [Turn("C", command + piece), Turn("S", b"250 ok\r\n")]
                at += len(command)
                offsets += [*range(at, at + len(piece))]
                at += len(piece)
        expected = []
        for begin, end in zip(self.begins, self.ends, strict=True):
            first = where[begin - 1] + 1
            expected.append((offsets[where[end]], octets[max(first, where[end] - 63) : where[end] + 1]))
        return turns, expected

    def stuffed(self) -> tuple[bytes, list[int]]:
        made, where = bytearray(), []
        for k, octet in enumerate(self.octets):
            if octet == 46 and self.octets[k - 1 : k] in (b"\n", b""):
                made.append(46)
            where.append(len(made))
            made.append(octet)
        return bytes(made), where


def multipart(mark: str = "b") -> list[str]:
    return [f"Content-Type: multipart/mixed; boundary={mark}", ""]


def told(segments: Iterable[Segment], inspectors: Sequence[Inspector] | None = None) -> list[Any]:
    result = running.replay(segments, [Asking()] if inspectors is None else inspectors)  # type: ignore[list-item]
    return sorted(result.alerts, key=lambda alert: alert.offset)


def check(text: Text, via: str = "DATA", cuts: Sequence[int] = (1460, 1, 61, 7, 100)) -> None:
    turns, expected = text.turns(via)
    for mss in cuts:
        segments = wire.build(turns, mss=mss)
        alerts = told(segments)
        assert [(alert.offset, alert.octets, alert.length) for alert in alerts] == [(*each, 1) for each in expected]
        assert [alert.rule for alert in alerts] == text.kinds
        reach = spans(segments)
        for alert in alerts:
            begin, end = reach[alert.packet]
            assert begin <= alert.offset < end


def spans(segments: Sequence[Segment]) -> dict[int, tuple[int, int]]:
    """Frame number to the client's octets in it."""
    bases = mutate.bases(segments)
    return {
        number: (at := mutate.offset(segment, bases), at + len(segment.payload))
        for number, segment in enumerate(segments, 1)
        if segment.direction == "C" and segment.payload
    }


# ---- where attachments are

VIAS = ("DATA", "BDAT")


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("how", ENCODED)
def test_one_part(via: str, how: str) -> None:
    check(Text().line("Subject: x").part(zipped(), how), via)


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("how", ENCODED)
def test_late_in_a_part(via: str, how: str) -> None:
    octets = zipped(names=[f"member-{i}" for i in range(9)], size=997)
    check(Text().line("Subject: x").part(octets, how), via, cuts=(1460, 7, 100, 5000))


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("how", ENCODED)
def test_parts_of_a_multipart(via: str, how: str) -> None:
    text = Text().line("Subject: x", *multipart(), "preamble", "--b", "", "Hello", "--b")
    text.part(zipped(names=["a", "b"]), how).line("--b")
    text.part(zipped(encrypted=False), how, finds=False).line("--b")
    text.part(zipped(names=["c"]), how, kind="text/plain").line("--b--", "epilogue")
    check(text, via)


@pytest.mark.parametrize("how", ENCODED)
def test_nested(how: str) -> None:
    text = Text().line(*multipart("outer"), "--outer", *multipart("inner"), "--inner", "", "text", "--inner")
    text.part(zipped(), how).line("--inner--", "--outer", "Content-Type: message/rfc822", "", "Subject: in it")
    text.line(*multipart("in"), "--in").part(zipped(), how).line("--in--", "--outer")
    text.line("Content-Type: message/rfc822", "", "Subject: another").part(zipped(), how)
    check(text.line("--outer--"))


def test_an_outer_boundary_ends_inner_parts() -> None:
    text = Text().line(*multipart("outer"), "--outer", *multipart("inner"), "--inner")
    text.line("Content-Transfer-Encoding: base64", "").line(base64.b64encode(zipped()[:5] + b"\0").decode())
    text.line("--outer").part(zipped(), "base64")
    check(text.line("--outer--"))


@pytest.mark.parametrize("comment", ["(c)", "( a ((b) \\) c) ) (d)", "(c)\t"])
def test_comments_before_and_behind_the_values(comment: str) -> None:
    for before, behind in ((comment, ""), ("", comment), (f"{comment} ", f" {comment}")):
        text = Text().line(f"Content-Type: {before}multipart/mixed{behind}; boundary=b", "", "--b")
        text.line(f"Content-Transfer-Encoding: {before}base64{behind}", "").attach(zipped(), "base64")
        check(text.line("--b--"), cuts=(1460, 7))


@pytest.mark.parametrize("how", ["8bit", "quoted-printable"])
@pytest.mark.parametrize("via", VIAS)
def test_dashes_that_are_no_boundary(how: str, via: str) -> None:
    """The archive's first member holds lines that begin like boundaries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        likes = [b"-", b"--", b"--c", b"--boun", b"--boundd", b"--bound x", b"--bound-", b"--bound \t-", b"-" * 300]
        archive.writestr("a", b"\r\n".join([b"", *likes, b"--boun" * 200, b"\r--bound\r", b"--bound-", b""]))
        archive.writestr("b", b"x")
    octets = bytearray(out.getvalue())
    octets[octets.rindex(b"PK\3\4") + 6] |= 1
    text = Text().line(*multipart("bound"), "--bound").part(bytes(octets), how).line("--bound--")
    check(text, via)
    assert len(text.ends) == 1


def test_the_deciding_octet_stands_in_a_line_with_dashes() -> None:
    """Held until it is no boundary any more, it keeps its place and its packet."""
    name = b"\n--bound-" + bytes(40)
    for length in range(1, 10):
        head = struct.pack("<4sHHHIIIIHH", b"PK\3\4", 20, 1, 0, 0, 0, 5, 5, length, 0)
        text = Text().line(*multipart("bound"), "--bound")
        check(text.part(head + name, "8bit").line("--bound--"), "BDAT", cuts=(1, 2, 3, 5, 7))


def test_uuencode_in_a_text() -> None:
    """Several of them, in a mail without any MIME."""
    text = Text().line("Subject: x", "", "begin with", "begin 644", "begin 999 x", "", "bbegin 644 x", "b")
    text.attach(zipped(), "x-uuencode").line("and", "").attach(zipped(False), "x-uuencode", finds=False)
    text.attach(zipped(), "x-uuencode").line("the end", "begin 644 never-mind")
    check(text)


def test_uuencode_at_once_and_not_ended() -> None:
    text = Text().line("Subject: x", "").attach(zipped(), "x-uuencode")
    text.octets = text.octets[:-8]
    check(text.attach(zipped(), "x-uuencode"))


def test_stuffed_dots() -> None:
    """Octets of an archive that look like lines with dots."""
    for how in ("8bit", "quoted-printable", "x-uuencode"):
        for seed in range(10):
            rng = Random(seed)
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                dots = [b"\n.", b"\r\n.", b"..", b".\n", b"\r\n..", b"x"]
                archive.writestr("a", b"".join(rng.choice(dots) for _ in range(99)))
                archive.writestr("b", b"x")
            octets = bytearray(out.getvalue())
            octets[octets.rindex(b"PK\3\4") + 6] |= 1
            check(Text().line("Subject: x").part(bytes(octets), how), cuts=(1460, 1, 7))


# ---- what rows ask


def asked(*tests: Any) -> int:
    class Some(Asking):
        def rules(self, settings: Settings) -> Iterable[Rule]:
            for number, test in enumerate(tests, 1):
                yield Rule(f"asking.{number}", test, ALARM, PROJECT, "test", number, "x")

    return compile_rows([Some()]).wants_content


def test_kinds_that_rows_ask_for() -> None:
    everything = (1 << len(KINDS)) - 1
    assert asked(FIELD(level=0)) == 0
    assert asked(CONTENT()) == asked(CONTENT(depth=gt(1))) == everything
    assert asked(CONTENT(kind="ole-vba")) == 2
    assert asked(CONTENT(kind="ole-vba"), CONTENT(kind="scan-limit", depth=0)) == 2 | 32
    assert asked(CONTENT(kind=in_("zip-encrypted", "pe-packed"))) == 1 | 8
    assert asked(CONTENT(kind=ne("zip-encrypted"))) == everything - 1
    assert asked(CONTENT(kind=not_in("zip-encrypted", "ole-vba"))) == everything - 3


def test_fields_of_the_fact() -> None:
    seen: list[Any] = []

    class Looking(Asking):
        def rules(self, settings: Settings) -> Iterable[Rule]:
            yield Rule("asking.all", CONTENT(), ALARM, PROJECT, "test", 1, "x", method="look")

        def look(self, fact: Any) -> Any:
            seen.append((fact.kind, fact.depth, fact.detail, fact.evidence, fact.name))

    text = Text().line(*multipart(), "--b").part(zipped(names=["in-it"]), "base64", name="out.zip").line("--b", "")
    text.attach(zipped(), "x-uuencode").line("--b--")
    check(text)
    told(wire.build(text.turns("DATA")[0]), [Looking()])
    assert [each[:4] for each in seen] == [("zip-encrypted", 0, b"zipcrypto", b"local header")] * 2
    assert [each[4] for each in seen] == [b"in-it", b"a.txt"]


def test_a_hole_ends_the_part_and_nothing_else() -> None:
    """Octets that are not in the capture: what comes behind them in this part is not judged, the next part is."""
    octets = zipped(names=["a", "b"], size=4000)
    text = Text().line(*multipart(), "--b").part(octets, "base64").line("--b").part(octets, "base64").line("--b--")
    turns, expected = text.turns("DATA")
    segments = wire.build(turns)
    at = expected[0][0] - 3000
    result = running.replay(mutate.without(segments, "C", at, at + 100), [Asking()])  # type: ignore[list-item]
    assert [(alert.offset, alert.octets) for alert in result.alerts] == expected[1:]
    assert [mail.confidence for mail in result.mails] == [["gap"]]


def test_archives_in_each_other() -> None:
    inner = zipped(names=["a", "deepest"])
    for depth in range(5):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"level-{depth}", inner)
        inner = out.getvalue() if depth % 2 else gzip.compress(out.getvalue(), mtime=0)
        text = Text().line("Subject: x").part(inner, "base64")
        check(text, cuts=(1460, 1, 33))
        result = running.replay(wire.build(text.turns("DATA")[0]), [Asking()])  # type: ignore[list-item]
        assert [mail.confidence for mail in result.mails] == [["cap"] if "asking.scan-limit" in text.kinds else []]
        assert ("asking.scan-limit" in text.kinds) == (depth > 0)
        assert held() == 0


FEW = """
from smtpinspect.grammar import limits
limits.INFLATED_OCTETS = 10 << 20
import test_attachments
print(*test_attachments.inflated_three_times())
"""


def inflated_three_times() -> list[str]:
    """What three parts of 600 octets tell, each of which asks for 6 MB."""
    one = Member(b"zeros", bytes(280 << 10), described="32", level=9)
    whole = zip_of(one)
    record = whole[: whole.index(b"PK\1\2")]
    octets = zip_of(Member(b"inner", record * 21, level=9))
    assert len(octets) < 1024
    text = Text().line(*multipart())
    for _ in range(3):
        text.line("--b").part(octets, "base64").line("")
    turns, _ = text.turns("DATA")
    return [alert.rule for alert in told(wire.build(turns))]


def test_what_is_inflated_counts_for_the_whole_mail() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    done = subprocess.run([sys.executable, "-c", FEW], env=env, capture_output=True, text=True, check=True)
    nested, limit = "asking.archive-nested", "asking.scan-limit"
    assert done.stdout.split() == [nested, nested, limit, nested, limit]
    assert inflated_three_times() == [nested] * 3


def test_nothing_is_held_behind_the_connection() -> None:
    """Whatever ends a part: a reset, the capture's end, RSET between chunks, memory that is used up."""
    text = Text().line(*multipart(), "--b").part(zipped(names=[*"abcdefgh"], size=3000, stored=False), "base64")
    turns, _ = text.turns("BDAT")
    for count in range(len(turns)):
        for close in ("fin", "rst", "none"):
            told(wire.build([*turns[:count], Turn("C", b"RSET\r\n"), Turn("S", b"250 ok\r\n")], close=close))
            told(wire.build(turns[: count + 1], close=close))
            assert held() == 0


def test_no_memory_is_a_doubt() -> None:
    turns, _ = Text().line("Subject: x").part(zipped(), "base64").turns("DATA")
    waiting = []
    begun = zipped(encrypted=False, names=["a", "b"], stored=False)[:200]
    with pytest.raises(MemoryError):
        while True:
            waiting.append(Scanner())
            waiting[-1].feed(begun)
    result = running.replay(wire.build(turns), [Asking()])  # type: ignore[list-item]
    assert [mail.confidence for mail in result.mails] == [["cap"]]
    assert result.alerts == []
    del waiting
    assert len(told(wire.build(turns))) == 1


@pytest.mark.parametrize("first", [b"P", b"PK", b"PK\3", b"MZ", b"M", b"My", b"\x1f", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a"])
def test_a_text_that_begins_almost_like_a_file(first: bytes) -> None:
    text = Text().line("Subject: x", "")
    text.octets += first + b"x\r\n"
    check(text.attach(zipped(), "x-uuencode"), cuts=(1460, 1, 3))
