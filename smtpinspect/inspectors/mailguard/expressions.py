"""Regular expressions as an ASA's `regex NAME "..."` holds them, as expressions of Python's re.

The common part means the same in both: . ( ) | ? * + {x} {x,} [abc] [^abc] [a-c] ^, and a backslash before
a metacharacter, before r n t f, before xNN and before three octal digits. Of the rest nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from smtpinspect.errors import UsageError

_ESCAPE: Final = r"\\(?:x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[rntf]|[^A-Za-z0-9])"
_TOKEN: Final = re.compile(_ESCAPE + r"|\[\^?|\(\?|[?*+]|\{[0-9]+(?:,[0-9]*)?\}|[^\\]", re.DOTALL)
_IN_SET: Final = re.compile(_ESCAPE + r"|\[:|[^\\]", re.DOTALL)
_REPEAT: Final = re.compile(r"[?*+]|\{.+\}")
_OCTAL: Final = re.compile(r"\\([0-3][0-7]{2})")


def translated(expression: str) -> bytes:
    """The expression for `re.search` over octets, with case. Raises UsageError naming what cannot be read."""
    if len(expression) > 1 and expression[0] == expression[-1] == '"':
        expression = expression[1:-1]
    if not expression:
        raise UsageError("the regular expression is empty")
    made = "".join(_parts(expression)).encode()
    try:
        re.compile(made)
    except re.error as error:
        raise UsageError(f"the regular expression {expression}: {error}") from None
    return b"(?-i:" + made + b")"


def _parts(expression: str) -> Iterator[str]:
    at, first, inside, repeated = 0, False, False, False
    while at < len(expression):
        token = (_IN_SET if inside else _TOKEN).match(expression, at)
        word = token[0] if token else expression[at : at + 2]
        repeat = not inside and _REPEAT.fullmatch(word) is not None
        if token is None or word in ("(?", "[:") or (first and word == "]") or (repeat and repeated):
            raise UsageError(
                f"the regular expression {expression}: what an ASA makes of {word!r} at {at + 1} is not known"
            )
        at += len(word)
        if octal := _OCTAL.fullmatch(word):
            word = f"\\x{int(octal[1], 8):02x}"
        elif inside and word in "[&~|":
            word = "\\" + word  # a plain character, kept from having a meaning in Python
        first = not inside and word.startswith("[")
        inside = first or (inside and word != "]")
        repeated = repeat
        yield word
