"""Text replaced: each word by one of the same length and the same classes of octets, the same word always alike.

What no vowel holds is no word of a language, so that none comes back by chance. What is written octet by octet, letter
by letter or in UTF-16 is read first. Words of SMTP and MIME stay in `line` only: where a name or a text stands, all go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from smtpinspect.diagnose.anonymise.addresses import TEXT, Addresses
from smtpinspect.diagnose.anonymise.words import FILES, KEPT
from smtpinspect.diagnose.anonymise.writings import apart, together

_LOWER: Final = b"bcdfghjklmnpqrstvwxz"
_UPPER: Final = _LOWER.upper()
_MONTH: Final = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_STAYS: Final = (
    # times, zones, days and years: only where a date stands
    rb"(?<![\w:])\d\d?:\d\d(?::\d\d)?(?![\w:])", rb"(?<=:\d\d )[+-]\d{4}\b", rb"(?<!\w)\d\d?(?= " + _MONTH + rb" )",
    rb"(?<=" + _MONTH + rb" )\d\d?(?= \d\d:)", rb"(?<=" + _MONTH + rb"  )\d(?= \d\d:)",
    rb"(?<=" + _MONTH + rb" )(?:19|20)\d\d(?!\w)", rb"(?<=:\d\d )(?:19|20)\d\d(?!\w)",
    rb"(?<=\d )" + _MONTH + rb"(?!\w)", rb"(?<!\w)" + _MONTH + rb"(?= +\d)",
    rb"(?<!\w)(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?=,? +(?:\d|" + _MONTH + rb" ))",
    # status codes, versions
    rb"(?<![\w.])[245]\.\d{1,3}\.\d{1,3}(?![\w.]*\d)", rb"(?<![\w.])1\.0(?![\w.]*\d)",
    rb"(?<=(?i:exim) )\d\.\d\d(?!\w)", rb"(?<=(?i:sendmail) )8\.\d\d?\.\d\d?(?:/8\.\d\d?\.\d\d?)?(?![\w.])",
    # what belongs to a charset, an algorithm, a MIME type, an extension of SMTP or of a header
    rb"(?<=(?i:utf)[-_])(?:7|8|16|32)(?!\w)", rb"(?<=(?i:iso)[-_])(?:8859|2022)(?!\w)", rb"(?<=8859[-_])\d\d?(?!\w)",
    rb"(?<=(?i:windows)-)(?:125\d|874)(?!\w)", rb"(?<=(?i:tis)-)620(?!\w)", rb"(?<=(?i:koi8)-)[RrUu](?!\w)",
    rb"(?<=(?i:sha)-)(?:1|256|512)(?!\w)", rb"(?<=(?i:macroenabled)\.)12(?!\w)", rb"(?<![A-Za-z0-9])[Xx](?=-)",
    rb"(?<=\*)\d\d?(?=\*?=)", rb"(?<=(?i:begin) )[0-7]{3,4}(?= )", rb"\bX{4,}[A-Z]?(?!\w)",
)  # fmt: skip
_ONE: Final = rb"(?:[A-Za-z0-9]|[\x80-\xff]{1,4})"
_ADDRESS: Final = rb"(?P<address>" + TEXT.pattern + rb")"
_ENCODED: Final = rb"(?P<encoded>=\?[^?\s]{1,40}\?[BbQq]\?)"
# what names somebody whatever words it is made of: mailboxes (RFC 5321 4.5.3.1.1: 64 octets), and the names of hosts
_MAILBOX: Final = rb"(?P<mailbox>[\w.!#$%&'*+/?^`{|}~\x80-\xff-]{0,64}@[A-Za-z0-9.\x80-\xff-]+)"
_HOST: Final = (
    rb"(?P<host>(?<=(?i:hello) )[A-Za-z0-9.-]+"
    rb"|(?<![\w.-])(?<!(?<!/)/)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9](?![\w]))"
)
_WORDS: Final = (
    rb"(?P<entities>(?:&\#[xX]?[0-9A-Fa-f]{1,6};)+)"
    # s p a c e d, and UTF-16
    rb"|(?P<spaced>(?<![A-Za-z0-9\x80-\xff])" + _ONE + rb"(?P<gap>[^A-Za-z0-9\x80-\xff\r\n]{1,3})"
    + _ONE + rb"(?:(?P=gap)" + _ONE + rb")+(?![A-Za-z0-9\x80-\xff]))"
    rb"|(?P<word>[A-Za-z0-9\x80-\xff]+)"
)  # fmt: skip
_TOKENS: Final = b"|".join((
    rb"(?P<stays>" + rb"|".join(_STAYS) + rb")", _ADDRESS,
    rb"(?P<count>\b(?i:(?:SIZE[ =]|BDAT |XEXCH50 )\d+|BODY=8BITMIME))", _ENCODED, _MAILBOX, _HOST, _WORDS,
))  # fmt: skip
_TOKEN: Final = re.compile(_TOKENS)
# The names of tags (RFC 6376 3.2), in the header fields that hold such.
_TAGGED: Final = re.compile(rb"(?P<tag>(?<=[;:\s])[A-Za-z]{1,2}(?=[ \t]*=))|" + _TOKENS)
_FREE: Final = re.compile(b"|".join((_ADDRESS, _ENCODED, _MAILBOX, _WORDS)))
_FILE: Final = re.compile(
    b"|".join((
        rb"(?P<stays>(?<=\.)(?i:" + b"|".join(sorted(word.encode() for word in FILES)) + rb")(?![A-Za-z0-9\x80-\xff])"
        rb"|\A\"?[A-Za-z0-9-]+(?='[A-Za-z-]*'))",
        _ADDRESS, _ENCODED, _MAILBOX, _WORDS,
    ))
)  # fmt: skip
_NAMES: Final = re.compile(_ADDRESS + rb"|(?P<word>[A-Za-z0-9\x80-\xff]+)")
_WORD: Final = re.compile(rb"[A-Za-z0-9\x80-\xff]+")
_DIGIT: Final = re.compile(rb"[0-9A-Fa-f]")
# What a MailGuard leaves of a greeting.
_STARRED: Final = re.compile(rb"(?:220[ -])?[*_02 ]*[*_]{3}[*_02 ]*\r?\n?")
_CODE: Final = re.compile(rb"[2-5]\d\d(?=[ \r\n-]|$)")
# Octets of 128 and more keep what UTF-8 sees in them (RFC 3629 4): leads of two, three, four octets, and what follows;
# the four leads that limit the next octet, and what is never valid, stay.
_GROUPS: Final = (
    bytes(range(0x80, 0xC0)),
    bytes(range(0xC2, 0xE0)),
    bytes([*range(0xE1, 0xED), 0xEE, 0xEF]),
    bytes(range(0xF1, 0xF4)),
)
_GROUP: Final = {octet: group for group in _GROUPS for octet in group}
_LIMITING: Final = b"\xe0\xed\xf0\xf4"


class Texts:
    """The words under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.addresses = Addresses(key)
        self._other = lru_cache(65_536)(self._made)

    def line(self, line: bytes, *, reply: bool = False, tags: bool = False) -> bytes:
        """A line, or a part of it, replaced; a reply's code stays; `tags`: so do the names of a signature's tags."""
        if reply and _STARRED.fullmatch(line):
            return line
        kept = code[0] if reply and (code := _CODE.match(line)) else b""
        return kept + _written(line[len(kept) :], _TAGGED if tags else _TOKEN, self._replaced)

    def free(self, text: bytes) -> bytes:
        """A text that somebody wrote: no word stays."""
        return _written(text, _FREE, self._freed)

    def names(self, text: bytes) -> bytes:
        """Names of hosts and mailboxes."""
        return _written(text, _NAMES, self._freed)

    def file_name(self, text: bytes) -> bytes:
        """The name of a file, in a parameter (RFC 2183 2.3, RFC 2231) or an archive: its extensions stay."""
        return _written(text, _FILE, self._freed)

    def boundary(self, text: bytes) -> bytes:
        """A boundary (RFC 2046 5.1.1), the same in its parameter and before each part."""
        return _WORD.sub(lambda found: self._another(found[0]), text)

    def random(self, about: bytes, n: int) -> bytes:
        """n octets that hang on the key and on this."""
        out = b""
        counter = 0
        while len(out) < n:
            block = hashlib.blake2b(about + b"#%d" % counter, key=self._key, digest_size=64)
            out += block.digest()
            counter += 1
        return out[:n]

    def noise(self, about: bytes, n: int) -> bytes:
        """n octets of 128 and more: neither a word nor the beginning of a file of any kind."""
        seed = int.from_bytes(self.random(about, 32), "big")
        made = hashlib.shake_256(seed.to_bytes(32, "big")).digest(n)
        return (int.from_bytes(made, "big") | int.from_bytes(b"\x80" * n, "big")).to_bytes(n, "big") if n else b""

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        kind, text = found.lastgroup, found[0]
        if kind == "address":
            return self.addresses.told(text) or self._words(text)
        if kind in ("count", "stays", "tag"):
            return text
        if kind == "encoded":
            return text[:2] + _TOKEN.sub(self._replaced, text[2:-3]) + text[-3:]
        return self._else(kind, text, self.word)

    def _freed(self, found: re.Match[bytes]) -> bytes:
        kind, text = found.lastgroup, found[0]
        if kind == "address":
            return self.addresses.told(text) or self.boundary(text)
        if kind == "stays":
            return text
        if kind == "encoded":
            return text[:2] + _TOKEN.sub(self._replaced, text[2:-3]) + text[-3:]
        return self._else(kind, text, self._another)

    def _else(self, kind: str | None, text: bytes, word: Callable[[bytes], bytes]) -> bytes:
        if kind == "entities":
            return self._entities(text)
        if kind in ("mailbox", "host"):
            return self.boundary(text)
        if kind == "spaced":
            return self._spaced(text, word)
        return word(text)

    def _words(self, text: bytes) -> bytes:
        return re.sub(rb"[A-Za-z0-9]+", lambda found: self.word(found[0]), text)

    def _spaced(self, text: bytes, word: Callable[[bytes], bytes]) -> bytes:
        """Replaced as the one word that it is."""
        made = iter(word(b"".join(_WORD.findall(text))))
        return _WORD.sub(lambda found: bytes(next(made) for _ in found[0]), text)

    def _entities(self, text: bytes) -> bytes:
        """Other digits, for all of them together (HTML's &#...; are no word, one by one)."""
        numbers = iter(self.random(text, len(text)))

        def other(found: re.Match[bytes]) -> bytes:
            number = next(numbers)
            return b"%d" % (number % 10) if found[0].isdigit() else b"%c" % (ord(found[0]) & 0x60 | 1 + number % 6)

        return _DIGIT.sub(other, text)

    def word(self, word: bytes) -> bytes:
        """Another word for this one; words that name nobody stay."""
        if word.isascii() and not word.isdigit() and word.lower().decode() in KEPT:
            return word
        return self._another(word)

    def _another(self, word: bytes) -> bytes:
        return self._other(word) if len(word) <= 256 else self._made(word)

    def _made(self, word: bytes) -> bytes:
        # Without regard to case, so that one name stays one name.
        about = word.lower()
        for attempt in range(16):
            numbers = self.random(b"w%d/" % attempt + about[:1_024], len(word))
            out = bytearray()
            before = 0
            for octet, number in zip(word, numbers, strict=True):
                out.append(_octet(octet, number, before))
                before = octet
            made = bytes(out)
            if made.lower() != about and (not made.isascii() or made.lower().decode() not in KEPT):
                break
        return made


def _written(text: bytes, tokens: re.Pattern[bytes], made: Callable[[re.Match[bytes]], bytes]) -> bytes:
    plain, written = apart(text)
    return together(tokens.sub(made, plain), written)


def _octet(octet: int, number: int, before: int) -> int:
    if 0x61 <= octet <= 0x7A:
        return _LOWER[number % len(_LOWER)]
    if 0x41 <= octet <= 0x5A:
        return _UPPER[number % len(_UPPER)]
    if 0x30 <= octet <= 0x39:
        return 0x30 + number % 10
    group = _GROUP.get(octet)
    if group is None or before in _LIMITING:
        return octet
    return group[number % len(group)]
