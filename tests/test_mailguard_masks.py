"""What MailGuard writes, against what people have seen behind such boxes; length and line ends always stay."""

from __future__ import annotations

import re

import pytest

from smtpinspect.inspectors.mailguard import Mailguard, masks

NAMED = Mailguard("asa-8").settings.ehlo_named

# Fingerprints of others: nmap for PIX and ASA, Postfix's test for a PIX, the look of a very early one.
NMAP_PIX = re.compile(rb"^220 [*\d ]{2,300}\r\n\Z")
NMAP_ASA = re.compile(rb"(?:220[- ]\*+\r\n)+\Z")
POSTFIX_PIX = re.compile(rb"[20 *\t\r\n]+\Z")
CMAP = re.compile(rb"220 SMTP/cmap_+read\r\n\Z")
KEYWORD = re.compile(rb"250[- ]X{2,}[A-Z]")

GREETINGS = [
    b"220 mail.foobar.com Sendmail 8.6.11 ready at Tue, 17 Jun 1997 1:23:20\r\n",
    b"220 mx.example.net ESMTP\r\n",
    b"220 xy\r\n",
    b"220-Welcome to mail2.example.com\r\n220 ready 2002 10:20:30\r\n",
]


@pytest.mark.parametrize("mask", ["none", "cmap", "first4", "keep20", "per-line"])
@pytest.mark.parametrize("greeting", GREETINGS)
def test_lengths_and_line_ends_stay(mask: str, greeting: bytes) -> None:
    for keep_sep in (True, False):
        masked = masks.banner(greeting, mask, keep_sep=keep_sep)
        assert len(masked) == len(greeting)
        assert [i for i, c in enumerate(masked) if c in b"\r\n"] == [
            i for i, c in enumerate(greeting) if c in b"\r\n"
        ]
        assert masks.banner(masked, mask, keep_sep=keep_sep) == masked or mask == "cmap"


@pytest.mark.parametrize(
    ("seen", "mask", "keep_sep"),
    [
        # Microsoft, 2001
        (b"220 " + b"*" * 9 + b"0" + b"*" * 77 + b"2" + b"*" * 13 + b"\r\n", "keep20", True),
        # Exchange help, 2008: no space behind the code, year and clock show
        (
            b"220" + b"*" * 31 + b"0*2" + b"*" * 6 + b"0" + b"*" * 11 + b"2002*******2***0*00\r\n",
            "keep20",
            False,
        ),
        # Gordano: a second line without its code
        (b"220-***\r\n*******\r\n", "first4", True),
        # FWSM
        (b"220 " + b"*" * 37 + b"\r\n", "per-line", True),
        # nmap: an ASA with a greeting of two lines
        (b"220-" + b"*" * 89 + b"\r\n220 " + b"*" * 32 + b"\r\n", "per-line", True),
    ],
)
def test_greetings_that_were_seen(seen: bytes, mask: str, keep_sep: bool) -> None:
    """A greeting of letters and digits in the stars' places comes out as it was seen."""
    letters = seen.replace(b"*", b"x")
    assert masks.banner(letters, mask, keep_sep=keep_sep) == seen
    # where the mask hides all digits, other digits give the same
    if mask != "keep20":
        assert masks.banner(seen.replace(b"*", b"2"), mask) == seen


def test_fingerprints_fit_what_is_written() -> None:
    for greeting in GREETINGS:
        one_line = greeting.count(b"\n") == 1
        assert bool(NMAP_PIX.match(masks.keep20(greeting))) == one_line
        assert NMAP_ASA.match(masks.per_line(greeting))
        assert bool(POSTFIX_PIX.match(masks.keep20(greeting))) == one_line  # `220-` is outside Postfix's set
    assert not POSTFIX_PIX.match(masks.per_line(GREETINGS[3]))


def test_very_early_pix() -> None:
    masked = masks.cmap(GREETINGS[0])
    assert CMAP.match(masked)
    assert masked == b"220 SMTP/cmap" + b"_" * 52 + b"read\r\n"
    assert masks.cmap(b"220 short\r\n") == masks.first4(b"220 short\r\n")


def test_a_postfix_behind_a_masking_box() -> None:
    words = [
        "PIPELINING",
        "SIZE 10240000",
        "VRFY",
        "ETRN",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
    ]
    sent = [b"mx.example", *(word.encode() for word in words)]
    lines = [b"250" + (b" " if i == len(sent) - 1 else b"-") + word + b"\r\n" for i, word in enumerate(sent)]
    masked = masks.ehlo(b"".join(lines), NAMED).splitlines()
    assert [line[4:].decode() for line in masked] == [
        *("mx.example", "PIPELINING", "SIZE 10240000", "VRFY", "ETRN", "XXXXXXXA", "ENHANCEDSTATUSCODES"),
        *("8BITMIME", "DSN"),
    ]


def test_masked_keywords_count_up() -> None:
    reply = b"250-mx\r\n250-STARTTLS\r\n250-SIZE\r\n250-CHUNKING\r\n250 HELP\r\n"
    lines = [line for line in masks.ehlo(reply, NAMED).splitlines() if KEYWORD.fullmatch(line)]
    assert [line[-1:] for line in lines] == [b"A", b"B", b"C"]
    assert masks.keyword_line(b"250 HELP\r\n", 2) == b"250 XXXC\r\n"


def test_a_verb_letter_by_letter() -> None:
    """Telnet in character mode: an ASA judges each segment for itself, and the server sees XXXX."""
    pieces = [b"H", b"E", b"L", b"O", b"\r\n"]
    assert [masks.xxxx_all(piece) for piece in pieces] == [b"X", b"X", b"X", b"X", b"\r\n"]
    assert b"".join(map(masks.xxxx_verb, pieces)) == b"XXXX\r\n"


def test_what_a_server_sees_of_a_denied_command() -> None:
    assert re.match(rb"X{4,}\r\n", masks.xxxx_all(b"EXPN staff\r\n"))
    assert re.match(rb"XXXX ", masks.xxxx_verb(b"EXPN staff\r\n"))
    assert masks.noop(b"EHLO a.example\r\n") == b"NOOP a.example\r\n"


@pytest.mark.parametrize(
    ("text", "reply"), [("OK", b"OK\r\n"), (r"OK\r\n", b"OK\r\n"), ("250 OK", b"250 OK\r\n")]
)
def test_the_reply_of_pix_4_0(text: str, reply: bytes) -> None:
    """The literal two letters of the transcript, or what a client can parse (the default)."""
    made = Mailguard("pix-4.0", deny_reply=text)
    (row,) = [row for row in made.table() if row.id == "mailguard.command-not-allowed"]
    assert row.action.params == {"reply": reply}
    assert Mailguard("pix-4.0").settings.deny_reply == b"250 OK\r\n"


def test_every_style_can_be_asked_for() -> None:
    for style in ("local-ok", "noop", "xxxx-verb", "xxxx-all"):
        rows = [row for row in Mailguard("pix-6", deny_style=style).table() if row.id.endswith("not-allowed")]
        assert [row.detail for row in rows] == [style]
    for mask in ("none", "cmap", "first4", "keep20", "per-line"):
        rows = [row for row in Mailguard("pix-6", banner=mask).table() if row.id.endswith("banner-masked")]
        assert [row.action.params["mask"] for row in rows] == [mask] * (mask != "none")


# ---- each mask by itself

ONE_LINE = b"220 mail.foobar.com Sendmail 8.6.11 ready at Tue, 17 Jun 1997 1:23:20\r\n"
TWO_LINES = b"220-Welcome to mail2.example.com\r\n220 ready 2002 10:20:30\r\n"


@pytest.mark.parametrize(
    ("greeting", "mask", "keep_sep", "masked"),
    [
        (ONE_LINE, "keep20", True, b"220 " + b"*" * 60 + b"2**20\r\n"),
        (ONE_LINE, "keep20", False, b"220" + b"*" * 61 + b"2**20\r\n"),
        (ONE_LINE, "first4", True, b"220 " + b"*" * 65 + b"\r\n"),
        (ONE_LINE, "per-line", True, b"220 " + b"*" * 65 + b"\r\n"),
        (ONE_LINE, "none", True, ONE_LINE),
        (TWO_LINES, "first4", True, b"220-" + b"*" * 28 + b"\r\n" + b"*" * 23 + b"\r\n"),
        (TWO_LINES, "per-line", True, b"220-" + b"*" * 28 + b"\r\n220 " + b"*" * 19 + b"\r\n"),
        (
            TWO_LINES,
            "keep20",
            True,
            b"220-***************2************\r\n220 ******2002**0*20**0\r\n",
        ),
    ],
)
def test_banner_masks(greeting: bytes, mask: str, keep_sep: bool, masked: bytes) -> None:
    assert masks.banner(greeting, mask, keep_sep=keep_sep) == masked
    assert len(masked) == len(greeting)


def test_asa_greeting_of_two_lines() -> None:
    """The look of the nmap fingerprint: 220- and 89 asterisks, 220 and 32."""
    greeting = b"220-" + b"x" * 89 + b"\r\n220 " + b"2" * 32 + b"\r\n"
    assert masks.per_line(greeting) == b"220-" + b"*" * 89 + b"\r\n220 " + b"*" * 32 + b"\r\n"


@pytest.mark.parametrize(
    ("reply", "masked"),
    [
        (
            b"250-mx.example\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250-CHUNKING\r\n250 HELP\r\n",
            b"250-mx.example\r\n250-SIZE 10240000\r\n250-XXXXXXXA\r\n250-XXXXXXXB\r\n250 XXXC\r\n",
        ),
        (
            b"250-mx\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n",
            b"250-mx\r\n250-PIPELINING\r\n250-XXXXXXXA\r\n250 XXXB\r\n",
        ),
        (
            b"250-mx\r\n250-AUTH=LOGIN\r\n250-AUTH LOGIN\r\n250-SIZE\r\n250-DSN\r\n250-ETRN\r\n250 HELP\r\n",
            b"250-mx\r\n250-AUTH=LOGIN\r\n250-AUTH LOGIN\r\n250-SIZE\r\n250-DSN\r\n250-ETRN\r\n250 XXXA\r\n",
        ),
        (b"250-mx\r\n250 X-EXPS GSSAPI NTLM\r\n", b"250-mx\r\n250 XXXXXXXXXXXXXXXXXA\r\n"),
        (b"250 mx\r\n", b"250 mx\r\n"),
        (b"250-mx\r\n250-\r\n250 X\r\n", b"250-mx\r\n250-\r\n250 A\r\n"),
        (b"500 no\r\n", b"500 no\r\n"),
    ],
)
def test_ehlo_masks(reply: bytes, masked: bytes) -> None:
    assert masks.ehlo(reply, NAMED) == masked
    assert len(masked) == len(reply)


def test_letters_start_again_behind_z() -> None:
    reply = b"250-mx\r\n" + b"".join(b"250-X%d\r\n" % i for i in range(10, 37)) + b"250 HELP\r\n"
    lines = masks.ehlo(reply, NAMED).splitlines()
    assert lines[1] == b"250-XXA"
    assert lines[26] == b"250-XXZ"
    assert lines[27] == b"250-XXA"


@pytest.mark.parametrize(
    ("line", "noop", "verb", "all_"),
    [
        (b"EHLO a.example\r\n", b"NOOP a.example\r\n", b"XXXX a.example\r\n", b"XXXXXXXXXXXXXX\r\n"),
        (b"TURN\r\n", b"NOOP\r\n", b"XXXX\r\n", b"XXXX\r\n"),
        (b"EXPN staff\r\n", b"NOOP staff\r\n", b"XXXX staff\r\n", b"XXXXXXXXXX\r\n"),
        (b"STARTTLS\r\n", b"NOOP    \r\n", b"XXXXTTLS\r\n", b"XXXXXXXX\r\n"),
        (b"WIZ\r\n", b"XXX\r\n", b"XXX\r\n", b"XXX\r\n"),
        (b"\r\n", b"\r\n", b"\r\n", b"\r\n"),
    ],
)
def test_command_masks(line: bytes, noop: bytes, verb: bytes, all_: bytes) -> None:
    assert masks.noop(line) == noop
    assert masks.xxxx_verb(line) == verb
    assert masks.xxxx_all(line) == all_


def test_space() -> None:
    line = b'RCPT TO:<"|/bin/sh"@v.example>\r\n'
    assert masks.space(line, [line.index(b"|")]) == b'RCPT TO:<" /bin/sh"@v.example>\r\n'
