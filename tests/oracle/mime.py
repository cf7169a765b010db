"""What a transcript says about a message: subject by a plain scan, parts by Python's email package."""

from __future__ import annotations

import email
import email.header
import email.message
import hashlib
import re
from typing import Any

SUBJECT_LIMIT = 1000  # characters of the raw subject that a transcript shows


def fields(message: bytes) -> list[tuple[str, str]]:
    """The outer header as (name, value), folds kept as LF; a line without a name ends no header."""
    found: list[tuple[str, str]] = []
    for line in re.split(rb"\r?\n", message):
        text = line.decode("latin-1")
        if not text:
            break
        if text[0] in " \t" and found:
            found[-1] = (found[-1][0], found[-1][1] + "\n" + text)
        elif ":" in text:
            name, value = text.split(":", 1)
            found.append((name.strip().lower(), value.strip(" \t")))
    return found


def decoded(raw: str) -> str:
    """A header value unfolded, its encoded words decoded, other 8-bit octets as Latin-1."""
    unfolded = raw.replace("\n", "")
    text = ""
    for word, charset in email.header.decode_header(unfolded):
        try:
            text += word if isinstance(word, str) else word.decode(charset or "latin-1", "replace")
        except LookupError:  # a charset that nobody knows
            text += str(word, "latin-1")
    return text


def describe(message: bytes) -> dict[str, Any]:
    """The keys of a message's description that depend on its header and MIME structure."""
    raw = next((value for name, value in fields(message) if name == "subject"), None)
    result: dict[str, Any] = {"subject_raw": None, "subject_decoded": None}
    if raw is not None:
        result = {"subject_raw": raw[:SUBJECT_LIMIT], "subject_decoded": decoded(raw)}
    parsed = email.message_from_bytes(message)
    result["parts"] = [part(p) for p in parsed.walk() if not p.is_multipart()]
    return result


def part(p: email.message.Message) -> dict[str, Any]:
    payload = p.get_payload(decode=True)
    assert isinstance(payload, bytes)
    encoding = p.get("Content-Transfer-Encoding")
    return {
        "type": p.get_content_type(),
        "filename": p.get_filename(),
        "encoding": None if encoding is None else str(encoding),
        "bytes": len(payload),
        "md5": hashlib.md5(payload).hexdigest(),
    }
