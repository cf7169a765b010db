"""Hazards of header and MIME (E), and firewall-shaped ones (F) as far as a replay shows them."""

from __future__ import annotations

from typing import Any

import pytest

import running
from hazards import hazard
from kit import mutate, wire
from kit.dialogue import Turn, parse, stream
from oracle.mime import describe

HEAD = parse(
    "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 SMTPUTF8\nC: MAIL FROM:<a@a>\nS: 250 ok\n"
    "C: RCPT TO:<b@b>\nS: 250 ok\nC: DATA\nS: 354 go on\n"
)
TAIL = parse("S: 250 queued\nC: QUIT\nS: 221 bye\n")


def turns(text: bytes) -> list[Turn]:
    """One mail with this text (CRLF lines, none of them a lone dot)."""
    return [*HEAD, Turn("C", text + b".\r\n"), *TAIL]


def message(text: bytes) -> dict[str, Any]:
    """What the transcript says of the text; the same however it is cut."""
    segments = wire.build(turns(text))
    (whole,) = running.transcript(segments)["messages"]
    (cut,) = running.transcript(mutate.octetwise(segments))["messages"]
    assert whole == cut
    return dict(whole)


def fired(text: bytes, inspector: str = "stormshield:high") -> list[tuple[str, int]]:
    """Rules with their offsets in the text."""
    start = len(stream(HEAD, "C"))
    result = running.replay(wire.build(turns(text)), [inspector])
    return [(a.rule, a.offset - start) for a in result.alerts if a.tx_id is not None]


@hazard("E-01")
@pytest.mark.parametrize(
    ("line", "at"),
    [
        (b"X: a\x01b", 4),
        (b"X: a\x7fb", 4),
        (b"X: a\rb", 4),
        (b"X\xe9: a", 1),
        (b"X: \xe9", 3),
        (b"no colon here", 0),
        (b"X Y: a", 1),
    ],
)
def test_octets_that_a_header_must_not_hold(line: bytes, at: int) -> None:
    """The alert's offset lies in the offending line, up to the octet that decides."""
    text = b"Subject: x\r\n" + line + b"\r\n\r\nbody\r\n"
    rules = [(r, o) for r, o in fired(text) if r.startswith("stormshield.smtp-122")]
    assert rules
    assert 12 <= rules[0][1] <= 12 + max(at, len(line))
    near = b"Subject: x\r\nX: a\tb\r\n\r\n\x01 body \xe9\r\n"
    assert not [r for r, _ in fired(near) if r.startswith("stormshield.smtp-122")]


@hazard("E-01", "E-20", "F-06")
@pytest.mark.parametrize("size", [4095, 4096, 4097])
def test_long_header_lines(size: int) -> None:
    text = b"References: " + b"x" * (size - 12) + b"\r\n\r\nbody\r\n"
    found = [r for r, _ in fired(text) if r.startswith("stormshield.smtp-217")]
    assert bool(found) == (size > 4096)
    assert message(text)["bytes_wire"] == len(text)


@hazard("E-02", "E-21")
@pytest.mark.parametrize("subject", [b"\xe9", "é".encode(), b"\xc0\xaf", b"a\r\n \xff"])
def test_eight_bit_subject(subject: bytes) -> None:
    text = b"From: a@a\r\nSubject: " + subject + b"\r\n\r\nbody\r\n"
    rules = [(r, o) for r, o in fired(text) if r.startswith("stormshield.smtp-231")]
    assert rules
    assert 11 <= rules[0][1] <= text.index(b"\r\n\r\n")
    assert message(text)["subject_raw"] == describe(text)["subject_raw"]
    nested = b"Subject: x\r\nContent-Type: message/rfc822\r\n\r\n" + text
    assert not [r for r, _ in fired(nested) if r.startswith("stormshield.smtp-231")]


SUBJECTS = [
    b"=?utf-8?q?a=20b?= =?utf-8?q?c?=",
    b"=?utf-8?b?w6k=?=",
    b"=?utf-8?b?w6k?=",
    b"=?iso-8859-1?q?=E9_x?= y",
    b"=?iso-8859-1?b??=",
    b"=?utf-8?q?never closed",
    b"x=?utf-8?q?a?=",
    b"=?utf-8?q?a?=\r\n =?utf-8?q?b?=",
    b"a\r\n b\r\n\tc",
    b"a \r\n",
    b"",
    b"   x   ",
]


@hazard("E-03", "E-04")
@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects(subject: bytes) -> None:
    """Folds and encoded words, as Python's email package decodes them."""
    text = b"Subject: " + subject + b"\r\n\r\nbody\r\n"
    expected = describe(text)
    got = message(text)
    assert got["subject_raw"] == expected["subject_raw"]
    assert got["subject_decoded"] == expected["subject_decoded"]


@hazard("E-05")
def test_first_of_two_subjects() -> None:
    assert message(b"Subject: one\r\nsubject: two\r\n\r\nbody\r\n")["subject_raw"] == "one"


MULTI = b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n'


def multipart(boundary: bytes, *parts: bytes, end: bytes = b"--") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return MULTI % boundary + body + b"--" + boundary + end + b"\r\n"


FILE = b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; "
BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"
QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
TEXTS: dict[str, bytes] = {
    "E-06 no body": b"Subject: x\r\n",
    "E-06 body at once": b"\r\nbody\r\n",
    "E-06 bare LF": b"Subject: x\nX: y\n\nbody\n\r\n",
    "E-06 no header": b"hello world\r\nmore\r\n",
    "E-06 nameless line": b"Subject: x\r\nhello world\r\nX: y\r\n\r\nbody\r\n",
    "E-07 two parts": multipart(b"b", b"\r\none", b"\r\ntwo\r\n"),
    "E-07 long boundary": multipart(b"b" * 70, b"\r\none"),
    "E-07 characters": multipart(b"a.b+c(d)?*=_x", b"\r\none"),
    "E-07 unclosed": multipart(b"b", b"\r\none", end=b"")[:-5],
    "E-07 never begun": MULTI % b"b" + b"text\r\n",
    "E-07 before and after": MULTI % b"b" + b"before\r\n--b\r\n\r\none\r\n--b--\r\nafter\r\n",
    "E-07 prefix of another": multipart(b"b", multipart(b"bb", b"\r\none"), b"\r\ntwo"),
    "E-07 blanks behind it": MULTI % b"b" + b"--b  \r\n\r\none\r\n--b-- \r\n",
    "E-08 nested": multipart(b"a", multipart(b"b", multipart(b"c", b"\r\none"), b"\r\ntwo"), b"\r\nthree"),
    "E-08 message inside": b"Subject: a\r\nContent-Type: message/rfc822\r\n\r\nSubject: b\r\n\r\nbody\r\n",
    "E-09 junk": multipart(b"b", BASE64 + b"QU*JD\r\n  RA==\r\n"),
    "E-09 no padding": multipart(b"b", BASE64 + b"QUJDRA"),
    "E-09 padding inside": multipart(b"b", BASE64 + b"NA==Mg=="),
    "E-09 one octet a line": multipart(b"b", BASE64 + b"Q\r\nU\r\nJ\r\nD"),
    "E-09 odd length": multipart(b"b", BASE64 + b"QUJDR"),
    "E-10 line end before the boundary": multipart(b"b", FILE + b"filename=e.com\r\n\r\nEICAR"),
    "E-11 soft breaks": multipart(b"b", QUOTED + b"a=\r\nb=3D=3d\r\n\r\nc \r\nd="),
    "E-11 bad hex": multipart(b"b", QUOTED + b"a=ZZ=4\r\n"),
    "E-13 quoted": multipart(b"b", FILE + b'filename="a b.exe"\r\n\r\nx'),
    "E-13 continued": multipart(b"b", FILE + b'filename*0="a";\r\n filename*1=b.exe\r\n\r\nx'),
    "E-13 RFC 2231": multipart(b"b", FILE + b"filename*=UTF-8''r%C3%A9.exe\r\n\r\nx"),
    "E-13 RFC 2231 continued": multipart(
        b"b", FILE + b"filename*0*=UTF-8''r%C3;filename*1*=%A9.exe\r\n\r\nx"
    ),
    "E-13 name of the type": multipart(b"b", b"Content-Type: image/png; NAME=a.png\r\n\r\nx"),
    "E-13 long": multipart(b"b", FILE + b"filename=" + b"n" * 1000 + b"\r\n\r\nx"),
    "E-13 path": multipart(b"b", FILE + b'filename="../a\\\\b"\r\n\r\nx'),
    "E-18 upper case": multipart(b"b", BASE64.replace(b"base64", b"BASE64") + b"QUJD"),
    "E-18 unknown": multipart(b"b", BASE64.replace(b"base64", b"x-rot13") + b"QUJD"),
    "E-18 binary": multipart(b"b", BASE64.replace(b"base64", b"binary") + b"QU\0JD"),
    "E-22 many fields": b"Received: x\r\n" * 100 + b"\r\nbody\r\n",
}


@hazard(*{name[:4] for name in TEXTS})
@pytest.mark.parametrize("name", TEXTS)
def test_parts_are_what_python_reads(name: str) -> None:
    text = TEXTS[name]
    got, expected = message(text), describe(text)
    assert got["parts"] == expected["parts"]
    assert got["subject_raw"] == expected["subject_raw"]


@hazard("E-13")
def test_encoded_word_as_a_file_name() -> None:
    """Not what RFC 2047 allows, and what everybody sends."""
    got = message(multipart(b"b", FILE + b'filename="=?utf-8?b?csOp?=.exe"\r\n\r\nx'))
    assert got["parts"][0]["filename"] in ("ré.exe", "=?utf-8?b?csOp?=.exe")
    whole = message(multipart(b"b", FILE + b'filename="=?utf-8?b?csOpLmV4ZQ==?="\r\n\r\nx'))
    assert whole["parts"][0]["filename"] == "ré.exe"


@hazard("E-17")
def test_attachment_with_a_hole() -> None:
    text = multipart(b"b", FILE + b"filename=a.bin\r\n" + BASE64 + b"QUJD\r\n" * 50)
    segments = wire.build(turns(text))
    at = len(stream(HEAD, "C")) + text.index(b"QUJD") + 60
    got = running.transcript(mutate.without(segments, "C", at, at + 24))
    assert got["gaps"]
    assert got["messages"][0]["bytes_wire"] == len(text)
    assert got["messages"][0]["parts"][0]["filename"] == "a.bin"


@hazard("E-19")
def test_comments_and_quotes_without_end() -> None:
    text = b"To: " + b"(" * 5000 + b'"\r\nContent-Type: text/plain; x="' + b"\\" * 3001 + b"\r\n\r\nbody\r\n"
    assert message(text)["bytes_wire"] == len(text)


# --- firewall-shaped


def verdict_of(text: str, inspector: str, mss: int = 1460) -> list[str]:
    result = running.replay_text(text, [inspector], mss=mss)
    return [a.rule for a in result.alerts if a.inspector == "mailguard"]


@hazard("F-01")
def test_verb_split_over_segments() -> None:
    """A client that types: the verb is never whole in a segment."""
    text = "S: 220 mx\nC: HELO a\nS: 250 mx\nC: QUIT\nS: 221 bye\n"
    assert "mailguard.command-split" not in verdict_of(text, "mailguard:pix-6")
    assert "mailguard.command-split" in verdict_of(text, "mailguard:pix-6", mss=1)


@hazard("F-05")
def test_the_seven_verbs_of_fixup() -> None:
    allowed = "HELO a|MAIL FROM:<a@a>|RCPT TO:<b@b>|NOOP|RSET|QUIT"
    denied = "VRFY root|EXPN staff|HELP|Some-fake-command|TURN|SEND FROM:<a@a>"
    for lines, expected in ((allowed, False), (denied, True)):
        for line in lines.split("|"):
            rules = verdict_of(f"S: 220 mx\nC: {line}\nS: 250 ok\n", "mailguard:pix-4.0")
            assert ("mailguard.command-not-allowed" in rules) == expected, line


@hazard("F-04", "X-04")
def test_denied_verb_is_told_with_its_octets() -> None:
    text = "S: 220 mx\nC: HELO a\nS: 250 ok\nC: Some-fake-command\nS: 500 what\n"
    result = running.replay_text(text, ["mailguard:pix-6"])
    (alert,) = [a for a in result.alerts if a.rule == "mailguard.command-not-allowed"]
    assert (alert.direction, alert.packet) == ("client", 7)
    assert len("HELO a\r\n") <= alert.offset < len("HELO a\r\nSome-fake-command\r\n")
    assert b"Some-fake-command" in alert.octets


@hazard("F-09")
@pytest.mark.parametrize("close", ["rst", "fin", "none"])
def test_break_in_the_text(close: wire.Close) -> None:
    """The connection ends inside the text: where it ended, and that no reply decided it."""
    sent = [*HEAD, Turn("C", b"Subject: x\r\n\r\n" + b"line\r\n" * 40)]
    (mail,) = running.replay(wire.build(sent, close=close)).mails
    assert mail.outcome in {"rst": ("reset",), "fin": ("closed",), "none": ("unknown", "stalled")}[close]
    assert mail.reply is None
    assert mail.phase in ("databody", "datamid")
