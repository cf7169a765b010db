"""`anonymise`: text is no less hidden where it is written octet by octet, letter by letter or in UTF-16."""

from __future__ import annotations

import base64
import html
import quopri
import re
import urllib.parse
from pathlib import Path
from random import Random

import pytest

from kit import wire
from kit.dialogue import DELIVERY, parse
from smtpinspect.diagnose.anonymise.writings import apart, together
from test_anonymise import ALLOWED, TEXTS, WORD, odd, through


def quoted(text: bytes) -> bytes:
    return b"".join(b"=%02X" % octet for octet in text)


def split(text: bytes) -> list[bytes]:
    return [bytes((octet,)) for octet in text]


WRITINGS = {
    "plain": lambda text: text,
    "quoted-printable": quoted,
    "quoted-printable, small": lambda text: b"".join(b"=%02x" % octet for octet in text),
    "quoted-printable, some": lambda text: b"".join(b"=%02X" % c if n % 3 else b"%c" % c for n, c in enumerate(text)),
    "folded": lambda text: b"=\r\n".join(quoted(text[n : n + 9]) for n in range(0, len(text), 9)),
    "Q": lambda text: b"Subject: =?utf-8?Q?" + b"".join(b"=%02X" % c if c != 32 else b"_" for c in text) + b"?=",
    "B": lambda text: b"Subject: =?utf-8?B?" + base64.b64encode(text) + b"?=",
    "base64": lambda text: base64.b64encode(text),
    "base64, of a file": lambda text: base64.encodebytes(text * 3).rstrip().replace(b"\n", b"\r\n"),
    "URL": lambda text: b"http://x.example/?q=" + b"".join(b"%%%02X" % octet for octet in text),
    "filename*": lambda text: b"Content-Type: x; filename*=utf-8''" + b"".join(b"%%%02x" % octet for octet in text),
    "entities": lambda text: b"".join(b"&#%d;" % octet for octet in text),
    "entities, hex": lambda text: b"".join(b"&#x%x;" % octet for octet in text),
    "UTF-16LE": lambda text: text.decode().encode("utf-16-le"),
    "UTF-16BE": lambda text: text.decode().encode("utf-16-be"),
    "UTF-16, quoted": lambda text: b"".join(b"%c=00" % octet for octet in text),
    "UTF-32": lambda text: text.decode().encode("utf-32-le"),
    **{
        f"spaced by {gap!r}": lambda text, gap=gap: b"   ".join(gap.join(split(word)) for word in text.split())
        for gap in (b" ", b".", b"-", b"_", b"=20", b"*")
    },
}  # fmt: skip
READERS = (
    lambda text: text,
    quopri.decodestring,
    lambda text: quopri.decodestring(text, header=True),
    urllib.parse.unquote_to_bytes,
    lambda text: html.unescape(text.decode("latin-1")).encode("utf-8", "replace"),
    lambda text: text.replace(b"\0", b""),
    lambda text: quopri.decodestring(text).replace(b"\0", b""),
    lambda text: re.sub(rb"(?<![A-Za-z]{2})(?<=[A-Za-z])(?:[ ._*-]|=20)(?=[A-Za-z](?![A-Za-z]))", b"", text),
    lambda text: b"".join(base64.b64decode(run[: len(run) & ~3]) for run in re.findall(rb"[A-Za-z0-9+/]{8,}", text)),
)  # fmt: skip


def words_in(octets: bytes) -> set[bytes]:
    return {word.lower() for reader in READERS for word in WORD.findall(reader(octets))}


def texts(seed: int) -> list[bytes]:
    """Words that hold a vowel: nothing put in their place does."""
    rng = Random(seed)
    made = [
        bytes(rng.choice(b"aeiou" if n % 2 else b"bcdfghklmnprstvz") for n in range(rng.randint(5, 14)))
        for _ in range(12)
    ]
    return [b" ".join(made[n : n + 3]) for n in range(0, 12, 3)] + [b"Geheimnis Schallenberg 0815"]


@pytest.mark.parametrize("writing", WRITINGS)
def test_no_writing_leaves_a_word(writing: str) -> None:
    for seed in range(8):
        for text in texts(seed):
            line = WRITINGS[writing](text) + b"\r\n"
            before = {word.lower() for word in WORD.findall(text)} - ALLOWED
            assert before & words_in(line), "the test's own decoders can read it"
            made = through(line)
            assert len(made) == len(line)
            assert not before & words_in(made)


def test_verdicts_stay_with_all_of_these_writings(tmp_path: Path) -> None:
    lines = [WRITINGS[name](text) for name in WRITINGS for text in texts(1)]
    lines = [line for line in lines if not line.startswith(b"Subject")]
    told = "".join(
        "C: " + "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in line) + "\n"
        for whole in lines
        for line in whole.split(b"\r\n")
    )
    odd(wire.build(parse(DELIVERY.replace("C: .\n", told + "C: .\n"))), tmp_path)


@pytest.mark.parametrize(
    ("line", "now"),
    [
        (b"=53challenberg", "Schallenberg"), (b"Sch=61llenberg", "Schallenberg"), (b"%53challenberg", "Schallenberg"),
        (b"S c h a l l e n b e r g", "Schallenberg"),
    ],
)  # fmt: skip
def test_one_word_stays_one_word_however_it_is_written(line: bytes, now: str) -> None:
    made = TEXTS.line(line)
    assert apart(made)[0].replace(b" ", b"") == TEXTS.line(now.encode())


def test_what_is_written_as_three_octets_stays_so() -> None:
    for text in (b"=53=63 %c3%BC =3D x=\r\n", b"caf=C3=A9"):
        plain, written = apart(text)
        assert together(plain, written) == text
    assert [kept for kept in (b"NOTIFY=FAILURE,DELAY", b"SIZE=123456", b"BODY=8BITMIME") if apart(kept)[1]] == []
    made = TEXTS.line(b"Content-Type: application/x; filename=BACKUP.exe")
    assert made.startswith(b"Content-Type: application/") and b"filename=" in made and made.endswith(b".exe")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"X-Spaced: v a b h c d i l q s t x z\r\n", b"X-"),
        (b"Received: from pc (dsl-77.x.example [203.0.113.77])\r\n", b"Received: from"),
        (b"Phone: +49 8171 2019-1999, in 1987\r\n", b"\r\n"),
        (b"IBAN DE89 3704 1252 8859 0130 16\r\n", b"\r\n"),
        (b"GPS 48.91 9.62\r\n", b"\r\n"),
    ],
)
def test_letters_and_numbers_stay_in_their_places_only(line: bytes, kept: bytes) -> None:
    made = through(line)
    assert kept in made
    numbers = re.findall(rb"\d{2,}", line)
    assert not [number for number in numbers if re.search(rb"(?<!\d)%s(?!\d)" % number, made)]
    assert re.findall(rb"\b[a-z]\b", line)[:6] != re.findall(rb"\b[a-z]\b", made)[:6] or b"Spaced" not in line


def test_tags_of_signatures_stay() -> None:
    made = through(b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example;\r\n\tbh=AbCd; b=EfGh\r\nSubject: b=c; d=e\r\n")
    first, second, third, _ = made.split(b"\r\n")
    assert re.fullmatch(rb"DKIM-Signature: v=\d; a=rsa-sha256; d=\w{4}\.\w{7};", first) and b"acme" not in first
    assert re.fullmatch(rb"\tbh=\w{4}; b=\w{4}", second)
    assert third.startswith(b"Subject: ") and b"b=" not in third and b"d=" not in third


@pytest.mark.parametrize(
    "line",
    [
        b"Date: Mon, 2 Mar 2026 10:00:02 +0100\r\n", b"From x Mon Mar  2 10:00:02 2026\r\n"[7:], b"charset=utf-8\r\n",
        b"Content-Type: text/plain; charset=utf-16le\r\n", b"charset=koi8-r\r\n", b"charset=windows-1252\r\n",
        b"250-XXXXXXXA\r\n", b"begin 644 "[:10], b"220 **0*0*2 * 0***\r\n", b"220 ____0_2__0_0__\r\n",
    ],
)  # fmt: skip
def test_what_names_nobody_stays(line: bytes) -> None:
    assert TEXTS.line(line, reply=True) == line
