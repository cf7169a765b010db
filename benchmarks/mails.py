"""The mails and the servers of a corpus. Texts and attachments are slices of pools that are made at start."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass

Piece = bytes | memoryview

WORDS = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so up said
what its about than into them can only other time new some could these two may first then do any like my now
over such our me even most made after also well many must before right back through years where much your
way invoice meeting contract delivery schedule attached regards please confirm quarter budget project
department customer shipment warehouse account statement update version release server network firewall
gateway message tomorrow signature document agreement conference
""".split()
WORDS_8BIT = "Grüße façade naïve Müller señor Ångström coöperate jalapeño für über €".split()

FIRST = """
anna ben carla david emma felix grace hugo ines jonas karen leo maria nils olga paul rosa simon tina viktor
""".split()
LAST = """
adler brown costa dubois evans fischer garcia haas ito jensen keller lopez moreau novak olsen peters
""".split()
HOSTS = """
example.com example.net example.org mail.example sales.example lab.example shop.example post.example
""".split()
FILES = "Report Invoice Minutes Offer Photo Drawing Scan Plan Contract Slides".split()

# the first octets of an attachment are those of its type, the rest is random
TYPES = (
    ("pdf", "application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\n"),
    ("png", "image/png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x07\x80\x00\x00\x04\x38\x08\x06"),
    ("jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x48\x00\x48\x00\x00\xff\xdb"),
    ("bin", "application/octet-stream", b"\x00\x01\x02\x03"),
)


@dataclass(frozen=True)
class Server:
    name: str
    greeting: bytes
    ehlo: bytes
    mail: bytes
    rcpt: bytes
    data: bytes
    queued: str
    rset: bytes
    quit: bytes


def _ehlo(name: str, keywords: str) -> bytes:
    lines = [name, *keywords.split(", ")]
    return "".join(f"250-{line}\r\n" for line in lines[:-1]).encode() + f"250 {lines[-1]}\r\n".encode()


SERVERS = (
    Server(
        "mx1.example.net",
        b"220 mx1.example.net ESMTP Postfix\r\n",
        _ehlo(
            "mx1.example.net",
            "PIPELINING, SIZE 52428800, ETRN, STARTTLS, ENHANCEDSTATUSCODES, 8BITMIME, DSN, CHUNKING",
        ),
        b"250 2.1.0 Ok\r\n",
        b"250 2.1.5 Ok\r\n",
        b"354 End data with <CR><LF>.<CR><LF>\r\n",
        "250 2.0.0 Ok: queued as 4Z6{}\r\n",
        b"250 2.0.0 Ok\r\n",
        b"221 2.0.0 Bye\r\n",
    ),
    Server(
        "mx2.example.org",
        b"220 mx2.example.org ESMTP Exim 4.98 Wed, 05 Mar 2025 09:00:00 +0000\r\n",
        _ehlo(
            "mx2.example.org Hello client.example",
            "SIZE 52428800, LIMITS MAILMAX=1000, 8BITMIME, PIPELINING, CHUNKING, STARTTLS, HELP",
        ),
        b"250 OK\r\n",
        b"250 Accepted\r\n",
        b'354 Enter message, ending with "." on a line by itself\r\n',
        "250 OK id=1tpXyZ-{}-2cD3\r\n",
        b"250 Reset OK\r\n",
        b"221 mx2.example.org closing connection\r\n",
    ),
    Server(
        "EX01.corp.example",
        b"220 EX01.corp.example Microsoft ESMTP MAIL Service ready at Wed, 5 Mar 2025 09:00:00 +0000\r\n",
        _ehlo(
            "EX01.corp.example Hello",
            "SIZE 37748736, PIPELINING, DSN, ENHANCEDSTATUSCODES, STARTTLS, 8BITMIME, BINARYMIME, CHUNKING",
        ),
        b"250 2.1.0 Sender OK\r\n",
        b"250 2.1.5 Recipient OK\r\n",
        b"354 Start mail input; end with <CRLF>.<CRLF>\r\n",
        "250 2.6.0 <{}@corp.example> [InternalId=6450451] Queued mail for delivery\r\n",
        b"250 2.0.0 Resetting\r\n",
        b"221 2.0.0 Service closing transmission channel\r\n",
    ),
    Server(
        "relay.example.edu",
        b"220 relay.example.edu ESMTP Sendmail 8.18.1/8.18.1; Wed, 5 Mar 2025 09:00:00 GMT\r\n",
        _ehlo(
            "relay.example.edu Hello client.example, pleased to meet you",
            "ENHANCEDSTATUSCODES, PIPELINING, 8BITMIME, SIZE 40000000, DSN, ETRN, STARTTLS, DELIVERBY, HELP",
        ),
        b"250 2.1.0 Sender ok\r\n",
        b"250 2.1.5 Recipient ok\r\n",
        b'354 Enter mail, end with "." on a line by itself\r\n',
        "250 2.0.0 5259{} Message accepted for delivery\r\n",
        b"250 2.0.0 Reset state\r\n",
        b"221 2.0.0 relay.example.edu closing connection\r\n",
    ),
)


class Mails:
    """Writes mails as they stand on the wire: dots are stuffed, the end of data is part of the last piece."""

    def __init__(self, rnd: random.Random, largest: int) -> None:
        self.random = rnd.random
        self.randbytes = rnd.randbytes
        self.text = self._text(1 << 21)
        self.html = self._html(1 << 20)
        coded = base64.encodebytes(rnd.randbytes(57 * (largest * 5 // 4 // 78 + 16_000)))
        self.coded = memoryview(coded.replace(b"\n", b"\r\n"))
        self.tokens = coded.replace(b"\n", b"").replace(b"+", b"a").replace(b"/", b"b")[:65_536].decode()
        self.signatures = [self._signature() for _ in range(64)]
        self.starts = [base64.b64encode((start + rnd.randbytes(57))[:57]) + b"\r\n" for *_, start in TYPES]
        self.addresses = [f"{first}.{last}@{host}" for first in FIRST for last in LAST for host in HOSTS]
        self.subjects = [self._subject() for _ in range(256)]

    def token(self, length: int) -> str:
        start = int(self.random() * 65_000)
        return self.tokens[start : start + length]

    def address(self) -> str:
        return self.addresses[int(self.random() * len(self.addresses))]

    def mail(
        self, size: int, sender: str, recipient: str, relay: str, seconds: int, attached: bool, violation: str
    ) -> list[Piece]:
        """A mail of about `size` octets."""
        draw = self.random()
        headers = self._headers(sender, recipient, relay, seconds, violation)
        if attached:
            return self._mixed(headers, size, draw)
        if draw < 0.5 or size < 4_000:
            headers += "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            return [headers.encode(), self._slice(self.text, size - len(headers)), b"\r\n.\r\n"]
        mark = f"=_{self.token(24)}"
        headers += f'Content-Type: multipart/alternative;\r\n\tboundary="{mark}"\r\n\r\n'
        room = size - len(headers) - 300
        return [
            (headers + self._part(mark, "text/plain; charset=utf-8", "8bit")).encode(),
            self._slice(self.text, room // 3),
            ("\r\n" + self._part(mark, "text/html; charset=us-ascii", "quoted-printable")).encode(),
            self._slice(self.html, room * 2 // 3),
            f"\r\n--{mark}--\r\n.\r\n".encode(),
        ]

    def _mixed(self, headers: str, size: int, draw: float) -> list[Piece]:
        mark = f"----=_Part_{self.token(20)}"
        headers += f'Content-Type: multipart/mixed; boundary="{mark}"\r\n\r\nThis is a MIME message.\r\n\r\n'
        text = self._slice(self.text, min(300 + int(draw * 3_000), size // 4))
        pieces: list[Piece] = [
            (headers + self._part(mark, "text/plain; charset=utf-8", "8bit")).encode(),
            text,
            b"\r\n",
        ]
        count = 2 if draw > 0.8 else 1
        octets = (size - len(headers) - len(text)) // count
        for _ in range(count):
            pieces += self._attachment(mark, octets)
        pieces.append(f"--{mark}--\r\n.\r\n".encode())
        return pieces

    def _attachment(self, mark: str, octets: int) -> list[Piece]:
        kind = int(self.random() * len(TYPES))
        suffix, media, _ = TYPES[kind]
        name = f"{FILES[int(self.random() * len(FILES))]} {self.token(6)}.{suffix}"
        fields = f'Content-Disposition: attachment; filename="{name}"\r\n\r\n'
        head = self._part(mark, f'{media};\r\n\tname="{name}"', "base64")[:-2] + fields
        lines = max(1, (octets - len(head)) // 78)
        start = int(self.random() * (len(self.coded) // 78 - lines)) * 78
        last = base64.b64encode(self.randbytes(1 + int(self.random() * 56))) + b"\r\n"
        return [head.encode() + self.starts[kind], self.coded[start : start + lines * 78], last]

    @staticmethod
    def _part(mark: str, media: str, encoding: str) -> str:
        return f"--{mark}\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"

    def _headers(self, sender: str, recipient: str, relay: str, seconds: int, violation: str) -> str:
        name = sender[: sender.index("@")].replace(".", " ").title()
        minutes, second = divmod(seconds % 86_400, 60)
        date = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
        host = sender[sender.index("@") + 1 :]
        subject = self.subjects[int(self.random() * 256)]
        if violation == "subject-8bit":
            subject = f"{subject} für {WORDS_8BIT[0]}"
        headers = (
            f"Received: from {host} ({host} [192.0.2.{seconds % 250}])\r\n\tby {relay} (Postfix) with ESMTPS"
            f" id {self.token(12)}\r\n\tfor <{recipient}>; Wed,  5 Mar 2025 {date} +0000 (UTC)\r\n"
            f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d={host}; s=mail;\r\n"
            f"{self.signatures[int(self.random() * 64)]}"
            f"Message-ID: <{self.token(8)}-{self.token(16)}@{host}>\r\nDate: Wed, 5 Mar 2025 {date} +0000\r\n"
            f'MIME-Version: 1.0\r\nFrom: "{name}" <{sender}>\r\nTo: {recipient}\r\nSubject: {subject}\r\n'
        )
        if violation.startswith("header"):
            over = int(violation[7:]) + 1 + int(self.random() * 2_000)
            headers += "X-Thread: ".ljust(over, "x") + "\r\n"
        return headers

    def _signature(self) -> str:
        lines = "\r\n\t ".join(self.token(68) for _ in range(5))
        return (
            f"\tt=1741165{int(self.random() * 1_000):03}; bh={self.token(43)}=;\r\n"
            f"\th=Date:From:To:Subject:From;\r\n\tb={lines}==\r\n"
        )

    def _subject(self) -> str:
        words = self._words(2 + int(self.random() * 7))
        draw = self.random()
        if draw < 0.1:
            return f"=?UTF-8?B?{base64.b64encode(words.encode()).decode()}?="
        if draw < 0.2:
            return f"=?UTF-8?Q?Gr=C3=BC=C3=9Fe_{words.replace(' ', '_')[:50]}?="
        return f"Re: {words}" if draw < 0.5 else words

    def _slice(self, pool: bytes, octets: int) -> memoryview:
        """Whole lines out of a pool, about so many octets."""
        start = pool.index(b"\n", int(self.random() * (len(pool) - octets - 4_096))) + 1
        end = pool.index(b"\n", start + max(octets - 40, 1)) + 1
        return memoryview(pool)[start:end]

    def _words(self, count: int) -> str:
        return " ".join([WORDS[int(self.random() * len(WORDS))] for _ in range(count)])

    def _text(self, octets: int) -> bytes:
        lines: list[str] = []
        while octets > 0:
            draw = self.random()
            if draw < 0.12:
                line = ""
            elif draw < 0.20:
                line = "> " + self._words(8 + int(self.random() * 5))
            elif draw < 0.23:  # a paragraph nobody wrapped
                line = self._words(40 + int(self.random() * 170))[:998]
            elif draw < 0.245:
                line = ".." + self._words(1 + int(self.random() * 8))
            elif draw < 0.248:
                line = ".."
            elif draw < 0.30:
                line = self._words(1 + int(self.random() * 3)) + ","
            elif draw < 0.36:
                word = WORDS_8BIT[int(self.random() * len(WORDS_8BIT))]
                line = f"{self._words(4)} {word} {self._words(4)}"
            else:
                line = self._words(8 + int(self.random() * 6))
            lines.append(line)
            octets -= len(line) + 2
        return "\r\n".join(lines).encode() + b"\r\n"

    def _html(self, octets: int) -> bytes:
        lines: list[str] = []
        while octets > 0:
            text = self._words(10 + int(self.random() * 60))
            row = f'<p style="margin:0;font-size:.9em"><a href="https://www.example/?id={len(lines)}">{text}</a></p>'
            for start in range(0, len(row), 66):
                line = row[start : start + 66].replace("=", "=3D")
                lines.append(("." + line if line.startswith(".") else line) + "=" * (start + 66 < len(row)))
            octets -= len(row)
        return "\r\n".join(lines).encode() + b"\r\n"
