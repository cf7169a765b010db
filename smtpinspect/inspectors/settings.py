"""Inspector specs as text, `NAME[:PROFILE][,key=value]...`, read against an inspector's knobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, NoReturn

from smtpinspect.actions import Basis
from smtpinspect.errors import UsageError

_NONE: Final[Mapping[str, Any]] = {}
KnobType = Literal["int", "bool", "word", "list", "octets", "regex", "networks"]

_TRUE: Final = frozenset({"on", "true", "yes", "1"})
_FALSE: Final = frozenset({"off", "false", "no", "0"})
_ESCAPES: Final = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_ESCAPE: Final = rb"\\(x[0-9A-Fa-f]{2}|[rnt0\\])"


class Knob(NamedTuple):
    """A setting: its type, default, range or words, and where it comes from.

    A default of None means that another knob decides (`header_line_length` follows `limits`).
    """

    type: KnobType
    default: Any
    meaning: str
    words: tuple[str, ...] = ()
    low: int = 0
    high: int = 2**31 - 1
    basis: Basis = "project"
    source: str = ""
    aliases: Mapping[str, str] = _NONE  # other spellings of a word
    off: bool = False  # 0 switches off, whatever `low` says


class Settings:
    """A profile's knobs with the user's values over them; `settings.deny_style` reads one."""

    # No tuple, whose methods would hide knobs of the same names.
    __slots__ = ("profile", "values")

    profile: str
    values: Mapping[str, Any]

    def __init__(self, profile: str, values: Mapping[str, Any] = _NONE) -> None:
        object.__setattr__(self, "profile", profile)
        object.__setattr__(self, "values", values)

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling ask for dunder names before `values` is there.
        if name == "values" or name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name}: settings are not changed")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return self.profile == other.profile and self.values == other.values

    def __reduce__(self) -> tuple[type[Settings], tuple[str, dict[str, Any]]]:
        return Settings, (self.profile, dict(self.values))

    def __repr__(self) -> str:
        return f"Settings(profile={self.profile!r}, values={self.values!r})"


class Spec(NamedTuple):
    """A spec string taken apart; the values are still text."""

    name: str
    profile: str | None
    keys: dict[str, str]


def split(text: str, separator: str) -> list[str]:
    """Split where the separator is not escaped by a backslash; `\\,` becomes `,`, other escapes stay.

    >>> split(r"a,b\\,c", ",")
    ['a', 'b,c']
    """
    parts = [""]
    i = 0
    while i < len(text):
        octet = text[i]
        if octet == "\\" and text[i + 1 : i + 2] == separator:
            parts[-1] += separator
            i += 2
        elif octet == "\\":
            parts[-1] += text[i : i + 2]
            i += 2
        elif octet == separator:
            parts.append("")
            i += 1
        else:
            parts[-1] += octet
            i += 1
    return parts


def parse(text: str) -> Spec:
    """Take a spec string apart. Raises UsageError when an item is not `key=value`."""
    head, *items = split(text, ",")
    name, colon, profile = head.partition(":")
    if not name:
        raise UsageError(f"no inspector named in {text!r}. The form is NAME[:PROFILE][,key=value]...")
    keys: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{item!r} in {text!r} is not key=value")
        # `off` may be given again and again; of every other key the last one counts.
        keys[key] = f"{keys[key]}+{value}" if key == "off" and key in keys else value
    return Spec(name, profile if colon else None, keys)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one, or an empty string."""
    import difflib  # wanted only for what somebody misspelt

    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return found[0] if found else ""


def unknown(what: str, word: str, known: Sequence[str], owner: str = "", hint: str = "") -> UsageError:
    """The error for a word that is none of the known ones: names them, and the nearest."""
    text = f"unknown {what} {word!r}" + (f" for {owner}" if owner else "") + f". Known: {' '.join(known)}."
    guess = hint or nearest(word, known)
    return UsageError(text + (f" Did you mean {guess}?" if guess else ""))


def octets(text: str) -> bytes:
    r"""Text to octets; knows \r \n \t \0 \\ and \xNN. Raises ValueError at any other backslash."""
    raw = text.encode()
    if b"\\" in re.sub(_ESCAPE, b"", raw):
        raise ValueError(r"a backslash starts one of \r \n \t \0 \\ \xNN")
    return re.sub(
        _ESCAPE,
        lambda m: bytes.fromhex(m[1][1:].decode()) if len(m[1]) > 1 else _ESCAPES[m[1]],
        raw,
    )


def value(knob: Knob, key: str, given: object, owner: str) -> Any:
    """The knob's value from text (a spec) or from a Python object. Raises UsageError when it does not fit."""
    match knob.type:
        case "int":
            return _int(knob, key, given, owner)
        case "bool":
            return _bool(key, given, owner)
        case "word":
            return _word(knob, key, given, owner)
        case "list":
            return _list(knob, key, given, owner)
        case "octets":
            return _octets(key, given, owner)
        case "regex":
            return _regex(key, given, owner)
        case "networks":
            return _networks(knob, key, given, owner)


def _int(knob: Knob, key: str, given: object, owner: str) -> int:
    number: int | None = None
    if isinstance(given, int) and not isinstance(given, bool):
        number = given
    elif isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given):
        number = int(given)
    elif given == "off" and (knob.off or knob.low == 0):
        number = 0
    if number == 0 and knob.off:
        return 0
    if number is None or not knob.low <= number <= knob.high:
        allowed = f"a number from {knob.low} to {knob.high}" + (", or 0 (off)" if knob.off else "")
        raise UsageError(f"{key}={given} for {owner}: {allowed} is wanted")
    return number


def _bool(key: str, given: object, owner: str) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise UsageError(f"{key}={given} for {owner}: on or off is wanted")


def _word(knob: Knob, key: str, given: object, owner: str) -> str:
    word = {True: "on", False: "off"}[given] if isinstance(given, bool) else str(given).lower()
    word = knob.aliases.get(word, word)
    if word not in knob.words:
        raise unknown(f"value of {key}", word, knob.words, owner)
    return word


def _list(knob: Knob, key: str, given: object, owner: str) -> tuple[str, ...]:
    if isinstance(given, str):
        given = split(given, "+") if given else ()
    if isinstance(given, (bytes, int)) or not isinstance(given, Iterable):
        given = (given,)
    items = tuple(i.decode("latin-1") if isinstance(i, bytes) else str(i) for i in given)
    items = tuple(knob.aliases.get(i.lower(), i) for i in items if i)
    for item in items:
        if knob.words and item not in knob.words:
            raise unknown(f"item of {key}", item, knob.words, owner)
    return items


def _octets(key: str, given: object, owner: str) -> bytes:
    if isinstance(given, (bytes, bytearray)):
        return bytes(given)
    try:
        return octets(str(given))
    except ValueError as error:
        raise UsageError(f"{key}={given} for {owner}: {error}") from None


def _regex(key: str, given: object, owner: str) -> bytes:
    # Backslashes belong to the expression here.
    expression = bytes(given) if isinstance(given, (bytes, bytearray)) else str(given).encode()
    try:
        re.compile(expression)
    except re.error as error:
        raise UsageError(f"{key}={given} for {owner}: not a regular expression: {error}") from None
    return expression


def _networks(knob: Knob, key: str, given: object, owner: str) -> tuple[str, ...]:
    import ipaddress

    found = []
    for item in _list(knob, key, given, owner):
        try:
            found.append(str(ipaddress.ip_network(item.strip(), strict=False)))
        except ValueError:
            raise UsageError(f"{key}={item} for {owner}: an address or a network is wanted, 192.0.2.0/24") from None
    return tuple(found)
