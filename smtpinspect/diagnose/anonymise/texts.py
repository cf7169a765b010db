"""Text replaced: each word by one of the same length and the same classes of octets, the same word always alike.

What no vowel holds is no word of a language, so that none comes back by chance.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from smtpinspect.diagnose.anonymise.addresses import TEXT, Addresses
from smtpinspect.diagnose.anonymise.words import KEPT

_LOWER: Final = b"bcdfghjklmnpqrstvwxz"
_UPPER: Final = _LOWER.upper()
_TOKEN: Final = re.compile(
    # times, zones, days of a date, versions and status codes; the digits of utf-8, filename*0, iso-8859-1
    rb"(?P<time>(?<![\w:])\d\d?:\d\d(?::\d\d)?(?![\w:])|(?<=:\d\d )[+-]\d{4}\b"
    rb"|(?<!\w)\d\d?(?= (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) )"
    rb"|(?<![\w.])\d(?:\.\d{1,3}){1,2}(?![\w.]*\d)|(?:(?<=[A-Za-z]-)|(?<=8859-)|(?<=\*))\d\d?(?!\w))"
    rb"|(?P<address>" + TEXT.pattern + rb")"
    rb"|(?P<count>\b(?i:(?:SIZE[ =]|BDAT |XEXCH50 )\d+|BODY=8BITMIME))"
    rb"|(?P<encoded>=\?[^?\s]{1,40}\?[BbQq]\?)"
    rb"|(?P<hex>(?<!(?i:boundary))(?<!(?i:charset))=[0-9A-F]{2}|%[0-9A-Fa-f]{2})"
    rb"|(?P<word>[A-Za-z0-9\x80-\xff]+)"
)
_CODE: Final = re.compile(rb"[2-5]\d\d(?=[ \r\n-]|$)")
_YEAR: Final = re.compile(rb"(?:19|20)\d\d")
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

    def line(self, line: bytes, *, reply: bool = False) -> bytes:
        """A line, or a part of it, replaced; a reply's code stays."""
        if reply and (code := _CODE.match(line)):
            return code[0] + _TOKEN.sub(self._replaced, line[3:])
        return _TOKEN.sub(self._replaced, line)

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
            told = self.addresses.told(text)
            return told if told != text or b":" not in text else self._words(text)
        if kind in ("count", "time"):
            return text
        if kind == "encoded":
            return text[:2] + self.line(text[2:-3]) + text[-3:]
        if kind == "hex":
            octet = int(text[1:], 16)
            if octet < 0x80:
                return text
            made = b"%02X" % self._other(bytes([octet]))[0]
            return text[:1] + (made if text[1:].upper() == text[1:] else made.lower())
        return self.word(text)

    def _words(self, text: bytes) -> bytes:
        return re.sub(rb"[A-Za-z0-9]+", lambda found: self.word(found[0]), text)

    def word(self, word: bytes) -> bytes:
        """Another word for this one; words that name nobody and years stay."""
        if word.isdigit():
            if _YEAR.fullmatch(word) or word.decode() in KEPT:
                return word
        elif word.isascii() and word.lower().decode() in KEPT:
            return word
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
            if not made.isascii() or made.lower().decode() not in KEPT:
                break
        return made


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
