"""The facts that the protocol machine can state, and the predicates with which a rule asks for them.

A fact kind is called like a constructor to make a pattern: `COMMAND(verb=not_in(b"HELO", b"MAIL"))`.
Conditions in one pattern are ANDed. The core evaluates patterns where the fact is born.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Final, Literal, NamedTuple

Op = Literal["eq", "ne", "gt", "lt", "in", "not_in", "flags", "contains", "matches"]
Value = int | bytes | str


class Test(NamedTuple):
    """One predicate: an operator and what it compares with."""

    op: Op
    values: tuple[Value, ...]


def in_(*values: Value) -> Test:
    """The field is one of these (octet strings compare without case)."""
    return Test("in", values)


def not_in(*values: Value) -> Test:
    """The field is none of these (octet strings compare without case)."""
    return Test("not_in", values)


def ne(value: Value) -> Test:
    """The field is anything but this."""
    return Test("ne", (value,))


def gt(limit: int) -> Test:
    """The number is greater than the limit; for lengths and counts the fact is born at limit + 1."""
    return Test("gt", (limit,))


def lt(limit: int) -> Test:
    """The number is less than the limit."""
    return Test("lt", (limit,))


def flags(mask: int) -> Test:
    """Any of these bits is set; the first octet that set one of them decides the offset."""
    return Test("flags", (int(mask),))


def contains(token: bytes) -> Test:
    """The octets contain this token (without case)."""
    return Test("contains", (token,))


def matches(expression: bytes) -> Test:
    """The octets match this regular expression: Python, asked only when all other tests hold."""
    return Test("matches", (expression,))


class Given(IntFlag):
    """Bits of a connection, for `given` and `not_given`."""

    ESMTP = 1  # the last greeting command that was accepted is EHLO
    HELO = 2  # the last greeting command that was accepted is HELO
    SMTPUTF8 = 4  # the open mail's MAIL carried SMTPUTF8
    TLS = 8
    STARRED = 16  # the greeting holds * and else only 2, 0 and blanks, in all its lines (Postfix's test for a PIX)
    REFUSED_DATA = 32  # the last DATA was refused and no mail text has followed


class Octets(IntFlag):
    """Classes of octets that a field or a path may hold; each remembers its first offset."""

    EIGHT_BIT = 1
    BAD_UTF8 = 2
    CONTROL = 4
    BARE_CR = 8
    BARE_LF = 16
    BAD_NAME = 32
    NO_COLON = 64
    PIPE = 128
    ANGLE = 256  # a stray < or >
    BACKQUOTE = 512
    NUL = 1024


FieldType = Literal["int", "text", "enum", "flags"]

# What a test of a field of this type can ask; any other would compile and never fire.
ASKS: Final[Mapping[FieldType, frozenset[Op]]] = {
    "int": frozenset({"eq", "ne", "gt", "lt", "in", "not_in"}),
    "enum": frozenset({"eq", "ne", "in", "not_in"}),
    "flags": frozenset({"eq", "ne", "flags"}),
    "text": frozenset({"eq", "ne", "in", "not_in", "contains", "matches"}),
}


class Field(NamedTuple):
    """One field of a fact: its type, its slot in the core's record, the words of an enumeration."""

    type: FieldType
    slot: int
    words: tuple[str, ...] = ()
    meaning: str = ""


class Pattern(NamedTuple):
    """What a rule waits for: a fact kind and its conditions."""

    kind: FactKind
    tests: tuple[tuple[str, Test], ...]
    given: Given = Given(0)
    not_given: Given = Given(0)


class FactKind:
    """A kind of fact; calling it makes a pattern. Each is equal to itself only."""

    __slots__ = ("fields", "name", "number")

    def __init__(self, name: str, number: int, fields: Mapping[str, Field]) -> None:
        self.name: Final = name
        self.number: Final = number
        self.fields: Final = fields

    def __repr__(self) -> str:
        return f"FactKind({self.name})"

    def __call__(self, *, given: int = 0, not_given: int = 0, **tests: Test | Value) -> Pattern:
        """Make a pattern. Raises TypeError for a field or a word that this fact does not have, and for a test
        that its field's type cannot pass."""
        made = []
        for name, test in tests.items():
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise TypeError(f"{self.name} has no field {name!r}; it has {known}")
            test = test if isinstance(test, Test) else Test("eq", (test,))
            if test.op not in ASKS[self.fields[name].type]:
                asked = ", ".join(sorted(ASKS[self.fields[name].type]))
                raise TypeError(f"{self.name}.{name} takes {asked}, not {test.op}")
            made.append((name, Test(test.op, tuple(self._value(name, v) for v in test.values))))
        return Pattern(self, tuple(made), Given(given), Given(not_given))

    def _value(self, name: str, value: Value) -> Value:
        """The value as the core compares it: octets for a text, else a number."""
        kind = self.fields[name]
        if kind.type == "enum" and isinstance(value, str):
            if value not in kind.words:
                raise TypeError(f"{self.name}.{name} is one of {', '.join(kind.words)}, not {value!r}")
            return kind.words.index(value)
        if kind.type == "text":
            value = value.encode() if isinstance(value, str) else value
            if not isinstance(value, bytes):
                raise TypeError(f"{self.name}.{name} is octets, not {value!r}")
            return value
        if not isinstance(value, int) or (kind.type == "enum" and not 0 <= value < len(kind.words)):
            raise TypeError(f"{self.name}.{name} is a number, not {value!r}")
        return int(value)


def _kind(name: str, number: int, /, **fields: Field) -> FactKind:
    return FactKind(name, number, fields)


def _int(slot: int, meaning: str = "") -> Field:
    return Field("int", slot, (), meaning)


def _text(slot: int, meaning: str = "") -> Field:
    return Field("text", slot, (), meaning)


def _enum(slot: int, *words: str) -> Field:
    return Field("enum", slot, words)


# Slots: numbers (int, enum, flags) are the core's v[slot], texts its t[slot].
GREETING: Final = _kind(
    "Greeting", 0,
    code=_int(0), lines=_int(1), starred=_int(2, "1 when only * and what a mask keeps follow the code"),
    text=_text(0, "the whole greeting, at most one kept line"),
)  # fmt: skip
COMMAND: Final = _kind(
    "Command", 1,
    verb=_text(0, "upper case"), arg=_text(1), line=_text(2),
    known=_int(1, "1 when the verb is in a registry"),
    advertised=_int(2, "0 when the verb or a parameter needs an extension that the last EHLO reply lacks"),
    number=_int(3, "1-based in the connection"),
    line_end=_enum(4, "crlf", "lf", "none"),
    split=_int(5, "1 when the verb's octets lay in more than one segment"),
    nth=_int(6, "1-based among the commands that began in this segment"),
    outstanding=_int(7, "commands before it that still wait for their reply"),
    length=_int(8, "octets without the line end"),
    super_segment=_int(9, "1 when the segment is larger than any on the wire (offload)"),
    chunk=_int(10, "the octets that BDAT or XEXCH50 announces, -1 else"),
)  # fmt: skip
LINE: Final = _kind(
    "Line", 2,
    where=_enum(0, "command", "auth", "reply", "header", "part-header", "body"),
    length=_int(1, "octets before the line end"), wire_length=_int(2, "octets, line end included"),
    text=_text(0, "the head of the line"),
)  # fmt: skip
PATH: Final = _kind(
    "Path", 3,
    role=_enum(0, "sender", "recipient"), length=_int(1, "octets without the angle brackets"),
    octets=Field("flags", 2), address=_text(0), domain=_text(1),
)  # fmt: skip
KEYWORD: Final = _kind(
    "Keyword", 4,
    name=_text(0, "upper case"), text=_text(1, "the whole line behind the code"), index=_int(1, "1-based"),
)  # fmt: skip
REPLY: Final = _kind(
    "Reply", 5,
    code=_int(0, "0 when there is none"), verb=_text(0, "of the command that it answers, empty when none"),
    known=_int(1, "1 when that verb is in a registry"),
    fits=_enum(2, "expected", "unsolicited", "wrong-state"),
    bare_ok=_int(3, "1 for the two letters OK without a code"), text=_text(1),
)  # fmt: skip
REPLY_LINE: Final = _kind(
    "ReplyLine", 6,
    form=_enum(0, "empty", "short", "not-numeric"), text=_text(0),
)  # fmt: skip
EMPTY_LINE: Final = _kind("EmptyLine", 7, blank=_int(0, "1 when it holds SP or HTAB only"))
FIELD: Final = _kind(
    "Field", 8,
    level=_int(1, "0 the message's header, 1 and up a part's"), octets=Field("flags", 2),
    name=_text(0, "as sent"), value=_text(1, "its head, folding included"),
)  # fmt: skip
PART: Final = _kind(
    "Part", 9,
    type=_text(0), encoding=_text(1), filename=_text(2, "as sent, parameter continuations joined"),
    filename_length=_int(1), depth=_int(2), index=_int(3),
)  # fmt: skip
COUNT: Final = _kind(
    "Count", 10,
    what=_enum(0, "rcpt", "rcpt-refused", "header-octets", "body-octets", "over-size", "to-addresses"), value=_int(1),
)  # fmt: skip
END_OF_DATA: Final = _kind(
    "EndOfData", 11,
    variant=_int(0, "the nn of D-nn in the hazard list: 1 is CR LF . CR LF"),
    cuts=Field("flags", 1), alone=_int(2, "1 when .CRLF is a segment of its own"),
    pause=_int(3, "milliseconds between it and the segment before"),
)  # fmt: skip
TLS: Final = _kind(
    "Tls", 12,
    how=_enum(0, "starttls", "implicit"), behind=_int(1, "octets sent behind STARTTLS before its reply"),
)  # fmt: skip
CONTENT: Final = _kind(
    "Content", 13,
    kind=_enum(0, "zip-encrypted", "ole-vba", "ooxml-vba", "pe-packed", "archive-nested", "scan-limit"),
    depth=_int(1, "archives around it"),
    detail=_text(0, "the method, the packer, the storage, the limit"), evidence=_text(1, "where it shows"),
    name=_text(2, "of the archive's member, or of the attachment"),
)  # fmt: skip

KINDS: Final = (
    GREETING, COMMAND, LINE, PATH, KEYWORD, REPLY, REPLY_LINE, EMPTY_LINE, FIELD, PART, COUNT, END_OF_DATA, TLS,
    CONTENT,
)  # fmt: skip
