"""What a client's octets measure, as rules with a limit or a list of the administrator's own would: how much of it came
through, and what the segments hold that did not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import getaddresses
from io import BytesIO
from typing import Final, Literal, NamedTuple

from smtpinspect.grammar import limits
from smtpinspect.simulate.script import Command, Script, Transaction

Number = Literal[
    "header-line", "header-octets", "body-line", "body-octets", "command-line", "rcpt", "sender", "to-addresses",
    "filename", "outstanding", "refused",
]  # fmt: skip
Word = Literal["verb", "encoding", "type", "sender-address", "address", "domain"]
Measure = Number | Word

_TYPE: Final = re.compile(rb"(?im)^Content-Type[ \t]*:[ \t]*([^;\s]+)")
_ENCODING: Final = re.compile(rb"(?im)^Content-Transfer-Encoding[ \t]*:[ \t]*([^;\s]+)")
_BOUNDARY: Final = re.compile(rb'(?i)\bboundary[ \t]*=[ \t]*(?:"([^"\r\n]*)"|([^;\s]+))')
_NAME: Final = re.compile(rb'(?i)[;\s](file)?name(\*[0-9*]*)?[ \t]*=[ \t]*(?:"([^"\r\n]*)"|([^;\s]+))')
_TO: Final = re.compile(rb"(?im)^To[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")


class Item(NamedTuple):
    """One thing that a rule would look at. `begin` and `end` are the client's stream offsets; `number` counts octets,
    or how many there are by then; what `grows` has one more with each octet."""

    measure: Measure
    begin: int
    end: int
    number: int = 0
    word: bytes = b""
    grows: bool = False

    def reached(self, at: int) -> int:
        """The number that a box has read when the stream stands at this offset."""
        if at >= self.end:
            return self.number
        return max(0, min(self.number, at - self.begin)) if self.grows else 0


@dataclass(slots=True)
class Seen:
    """By measure: the largest number, and the words, of which case does not tell any apart."""

    most: dict[Measure, int] = field(default_factory=dict)
    words: dict[Measure, dict[bytes, None]] = field(default_factory=dict)

    def number(self, measure: Measure, number: int) -> None:
        """What counts is the largest."""
        if number > self.most.get(measure, 0):
            self.most[measure] = number

    def word(self, measure: Measure, word: bytes) -> None:
        """One that was seen; of too many no more are kept."""
        known = self.words.setdefault(measure, {})
        if word and len(known) < limits.MEASURED_WORDS:
            known[word.upper() if measure == "verb" else word.lower()] = None

    def add(self, item: Item, at: int) -> None:
        """What of it lies before this offset."""
        self.number(item.measure, item.reached(at))
        if at >= item.end:
            self.word(item.measure, item.word)

    def merge(self, other: Seen) -> None:
        """With all that the other has seen."""
        for measure, number in other.most.items():
            self.number(measure, number)
        for measure, words in other.words.items():
            for word in words:
                self.word(measure, word)


def measured(script: Script, through: int, until: int) -> tuple[Seen, Seen]:
    """What came through, up to the first offset of the client's stream, and what lies behind it up to the second."""
    passed, cut = Seen(), Seen()
    for item in _items(script, through):
        if item.begin >= until:
            continue
        if item.begin < through:
            passed.add(item, through)
        if item.end > through:
            cut.add(item, until)
    return passed, cut


def _items(script: Script, through: int) -> Iterator[Item]:
    rcpts = 0
    for each in script.commands:
        rcpts = rcpts + 1 if each.verb == "RCPT" else 0 if each.verb in ("MAIL", "RSET") else rcpts
        yield from _of_command(each, rcpts)
    for mail in script.mails:
        # offsets of what lies behind a hole, or a second chunk, are not those of the stream
        straight = len(mail.chunks) < 2 or (mail.text_end or 0) <= through
        if mail.text_at is not None and not mail.holes and straight:
            yield from _of_text(mail, mail.text_at)


def _of_command(one: Command, rcpts: int) -> Iterator[Item]:
    at, end = one.at, one.end
    yield Item("command-line", at, end, len(one.line), grows=True)
    if one.answer or not one.verb:
        return
    yield Item("verb", at, end, word=one.verb.encode())
    yield Item("outstanding", at, end, one.behind + 1)
    if one.verb not in ("MAIL", "RCPT"):
        return
    path = one.path.removeprefix("<").removesuffix(">").encode("latin-1")
    yield Item("address", at, end, word=path)
    if one.verb == "RCPT":
        yield Item("rcpt", at, end, rcpts)
        yield Item("domain", at, end, word=path.rpartition(b"@")[2])
    else:
        yield Item("sender", at, end, len(path))
        yield Item("sender-address", at, end, word=path)


def _of_text(mail: Transaction, base: int) -> Iterator[Item]:
    """Lines of the header and of the body, their sums, and what each part's header says (RFC 2045, RFC 2046)."""
    at = 0
    heading, top = True, True  # is a header read, and is it the message's?
    block = 0
    borders: set[bytes] = set()
    text = mail.text
    for line in BytesIO(text):  # not all at once: there may be as many as octets
        whole, end = line.endswith(b"\n"), at + len(line)
        bare = line.removesuffix(b"\n").removesuffix(b"\r")
        if bare:
            place: Number = "header-line" if top else "body-line"
            yield Item(place, base + at, base + at + len(bare), len(bare), grows=True)
        if heading and whole and not bare:
            head = text[block:end] if end - block <= limits.MEASURED_HEADER else b""
            yield from _of_header(head, base + block, base + end, top)
            if top:
                yield Item("header-octets", base, base + end, end, grows=True)
                yield Item("body-octets", base + end, base + len(text), len(text) - end, grows=True)
            found = _BOUNDARY.search(head)
            if found and len(borders) < limits.MIME_DEPTH:
                borders.add(b"--" + (found[1] or found[2] or b"").rstrip())
            kind = _TYPE.search(head)
            heading, top = bool(kind and kind[1].lower() == b"message/rfc822"), False
            block = end
        elif borders and bare.startswith(b"--") and bare.rstrip() in borders:
            heading, block = True, end
        at = end
    if top:
        yield Item("header-octets", base, base + len(text), len(text), grows=True)


def _of_header(head: bytes, begin: int, end: int, top: bool) -> Iterator[Item]:
    if top:
        fields = [each[1].decode("latin-1").replace("\r", "").replace("\n", " ") for each in _TO.finditer(head)]
        yield Item("to-addresses", begin, end, len(getaddresses(fields)))
    if kind := _TYPE.search(head):
        yield Item("type", begin, end, word=kind[1])
    if (encoding := _ENCODING.search(head)) or kind:
        yield Item("encoding", begin, end, word=encoding[1] if encoding else b"7bit")
    names: dict[bool, int] = {}
    for found in _NAME.finditer(head):
        octets, own = found[3] or found[4] or b"", found[1] is not None
        # continuations are joined (RFC 2231 3)
        names[own] = names.get(own, 0) * bool(found[2]) + len(octets)
    yield Item("filename", begin, end, names.get(True, names.get(False, 0)))
