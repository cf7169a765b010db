"""`anonymise`: text is no less hidden where it is written octet by octet, letter by letter or in UTF-16."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from random import Random

import pytest

from kit import wire
from kit.dialogue import DELIVERY, parse
from leaks import ALLOWED, left, words
from smtpinspect.diagnose.anonymise import headers
from smtpinspect.diagnose.anonymise.streams import Stream
from smtpinspect.diagnose.anonymise.writings import apart, together
from test_anonymise import TEXTS, odd, through


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
            before = words(text) - ALLOWED
            assert left(line, before), "the test's own decoders can read it"
            made = through(line)
            assert len(made) == len(line)
            assert not left(made, before)


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
    made = through(b"Content-Type: application/x; filename=BACKUP.exe")
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
    if b"Spaced" in line:
        assert re.findall(rb"\b[a-z]\b", line)[:6] != re.findall(rb"\b[a-z]\b", made)[:6]


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


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"MAIL FROM:<jan.may@sales.project.host>\r\n", b"jan may sales project host"),
        (b"From: Jan May <root@user.project.example>\r\n", b"jan may root user project"),
        (b"EHLO user.project.host\r\n", b"user project host"),
        (b"Received: from root.core.host by base.post.user; x\r\n", b"root core base post user"),
    ],
)
def test_words_of_mail_are_no_excuse_for_a_name(line: bytes, names: bytes) -> None:
    made = re.split(rb"[^a-z]+", through(line).lower())
    assert not set(names.split()) & set(made)


DATA = b"EHLO x\r\nDATA\r\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"From: Jan May <x@y>\r\nSubject: Project Sheet\r\n\r\nDear Root, host and post.\r\n", b"From Subject"),
        (b"\r\nMail from: Emily Post, born Mon, 2 Mar 1998 at 10:00, room 4.96\r\n", b""),
        (b"X-Root-Status: Yes, user=project\r\nList-Id: Root <user.host>\r\n", b"X List Id"),
        (
            b"Received: from root (post [192.0.2.1]) by user (Postfix) with ESMTP id A1\r\n",
            b"Received from by Postfix with ESMTP id",
        ),
        (
            b"Content-Type: x/pdf; name=\"Root\r\n Project.exe\"; charset=utf-8\r\n",
            b"Content Type pdf name exe charset utf 8",
        ),
        (
            b"Content-Type: x/pdf; name*0*=utf-8''R%6F%6Ft%20;\r\n name*1=Host.doc\r\n",
            b"Content Type pdf name 0 utf 8 20 1 doc",
        ),
        (b"begin 644 root project.exe\r\n#0V%T\r\n`\r\nend\r\n", b"begin 644 exe end"),
        (b"<a href='http://root.project/user?text=data'>Root</a> &#x52;oot\r\n", b""),
    ],
)  # fmt: skip
def test_words_of_mail_stay_where_mail_has_them_only(text: bytes, kept: bytes) -> None:
    """However the octets are cut into segments."""
    made = through(DATA + text)[len(DATA) :]
    assert [len(line) for line in made.split(b"\n")] == [len(line) for line in text.split(b"\n")]
    words_of = re.compile(rb"[A-Za-z0-9]+")
    stay = [old[0] for old in words_of.finditer(text) if made[old.start() : old.end()] == old[0]]
    assert set(stay) - {b"192"} == set(kept.split())
    for n in (1, 5, 40):
        assert through(DATA + text, cut=n)[len(DATA) :] == made


def test_a_boundary_is_the_same_before_each_part() -> None:
    """Whatever it looks like: a mailbox, s p a c e d, octets written as =53."""
    for boundary in (b"root-host.project@mail=_1", b"=_=53_66", b"a.b.c.d", b"----=_NextPart_000_0007"):
        text = b'Content-Type: multipart/mixed;\r\n boundary="%b"\r\n\r\n--%b\r\n\r\n--%b--\r\n' % ((boundary,) * 3)
        lines = through(DATA + text).split(b"\r\n")[2:]
        told = lines[1].split(b'"')[1]
        assert told != boundary and lines[3] == b"--" + told and lines[5] == lines[3] + b"--"


def test_commands_behind_a_refused_text_or_a_gap_stay() -> None:
    assert through(b"DATA\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n").endswith(b"RSET\r\nMAIL FROM:<>\r\nQUIT\r\n")
    made = bytearray()
    stream = Stream(TEXTS, lambda _, old, new: made.extend(new), replies=False)
    stream.feed(0, b"DATA\r\nSubject: x\r\n\r\nDear Root")
    stream.feed(100, b"QUIT\r\n")
    stream.flush()
    assert made.endswith(b"QUIT\r\n") and b"Root" not in made


@pytest.mark.parametrize(
    "line",
    [
        b"-" * 30_000, b"a." * 15_000, b"&#83" * 15_000, b"\1" * 30_000, b"Received: " + b"a" * 30_000,
        b"Content-Type: " + b"a" * 30_000, b"Content-Type: x; name=\"" + b".exe" * 15_000, b"--" + b"a " * 30_000,
        b"DKIM-Signature: " + b"a = " * 15_000, b"250 " + b"a" * 30_000 + b"<", b"MAIL FROM:" + b"<" * 30_000,
    ],
)  # fmt: skip
def test_a_very_long_line_takes_no_longer_for_each_octet(line: bytes) -> None:
    for head, replies in ((b"DATA\r\n", False), (b"", False), (b"", True)):
        begin = time.process_time()
        through(head + line + b"\r\n", replies=replies)
        assert time.process_time() - begin < 2  # 0.1 s; 2 s and more where each place is tried to the end


def test_replies_name_nobody() -> None:
    made = through(b"220 root.project.host ESMTP Postfix\r\n250 Joe Root <root@x>\r\n250 2.1.0 Ok\r\n", replies=True)
    first, second, third = made.split(b"\r\n")[:3]
    assert first.endswith(b" ESMTP Postfix") and third == b"250 2.1.0 Ok" and second.startswith(b"250 ")
    assert not set(re.findall(rb"[a-z]+", made.lower())) & {b"root", b"project", b"host", b"joe"}


def test_what_begins_as_tls_is_zeros_from_its_first_octet() -> None:
    record = b"\x16\x03\x01\0\x40" + b"\nmx.acme.example".ljust(64, b"r")
    for n in (1, 2, 99):
        assert through(record, cut=n) == record[:5] + bytes(64)


# ---- headers


def test_options_of_tcp_that_name_hosts_are_emptied() -> None:
    known = bytes((2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10)) + bytes(range(8))
    head = bytes(20) + known + bytes((76, 6, 192, 0, 2, 1, 30, 4, 9, 9, 0))
    assert headers.tcp(head) == bytes(20) + known + bytes((76, 6, 0, 0, 0, 0, 30, 4, 0, 0, 0))
    assert headers.tcp(bytes(20) + b"\x4c\x01") == bytes(20) + b"\x4c\x01"  # no length is so small


def test_what_stands_between_ipv6_and_tcp_is_emptied() -> None:
    router = bytes.fromhex("20010db8" + "77" * 12)
    head = bytes((0x60, 0, 0, 0, 0, 40, 0, 64)) + bytes.fromhex("2a02" + "11" * 14 + "2a02" + "22" * 14)
    home = bytes((43, 2, 0xC9, 16)) + router + bytes(4)
    route = bytes((6, 2, 2, 1)) + bytes(4) + router
    made = headers.six(head + home + route, TEXTS.addresses)
    assert made[:8] == head[:8] and made[8:10] != b"\x2a\x02" and len(made) == len(head + home + route)
    assert made[40:44] == bytes((43, 2, 1, 20)) and not any(made[44:64])
    assert made[64:68] == route[:4] and not any(made[68:])


@pytest.mark.parametrize(
    ("preface", "at"),
    [
        (b"\x05\x01\0\x05\x01\0\x01" + bytes((77, 77, 48, 49)) + b"\0\x19", 7),
        (b"\x04\x01\0\x19" + bytes((77, 77, 48, 49)) + b"\0", 4),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((77, 77, 48, 49, 77, 77, 48, 50)) + b"\x11\x11\0\x19", 16),
    ],
)
@pytest.mark.parametrize("n", [1, 7, 99])
def test_binary_addresses_are_replaced(preface: bytes, at: int, n: int) -> None:
    """However it is cut into segments."""
    out = bytearray()
    stream = Stream(TEXTS, lambda _, old, new: out.extend(new), replies=False)
    octets = preface + b"EHLO x\r\n"
    for begin in range(0, len(octets), n):
        stream.feed(begin, octets[begin : begin + n])
    stream.flush()
    assert len(out) == len(octets) and out[:at] == octets[:at]
    assert out[at : at + 4] == TEXTS.addresses.binary(bytes((77, 77, 48, 49)))
