"""Parts of log lines that several servers share: times, delays, masks."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

DSN: Final = re.compile(r"^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")

Masks = Sequence[tuple[re.Pattern[str], str]]


def masks(*pairs: tuple[str, str]) -> Masks:
    """Patterns and what takes their place, in order."""
    return tuple((re.compile(pattern), text) for pattern, text in pairs)


def masked(rules: Masks, line: str) -> str:
    """The line with every pattern's matches replaced."""
    for pattern, text in rules:
        line = pattern.sub(text, line)
    return line


def iso(moment: float) -> str:
    """`2026-11-22 11:03:14`, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def syslog(moment: float) -> str:
    """`Nov  2 11:03:14` (RFC 3164, 4.1.2), UTC."""
    parts = time.gmtime(moment)
    return f"{time.strftime('%b', parts)} {parts.tm_mday:2d} {time.strftime('%H:%M:%S', parts)}"


def mail_date(moment: float, zone: str = "+0000") -> str:
    """`Sun, 22 Nov 2026 11:03:14 +0000`."""
    return time.strftime(f"%a, %d %b %Y %H:%M:%S {zone}", time.gmtime(moment))


def enhanced(reply: str) -> str:
    """The enhanced status code in a reply's text (RFC 2034), or ""."""
    match = DSN.match(reply)
    return match[1] if match and match[1][0] == reply[0] else ""


def one_line(reply: str, between: str) -> str:
    """A reply's lines joined as a log does it."""
    return between.join(line.rstrip("\r") for line in reply.split("\n"))


def span(seconds: float) -> str:
    """Whole seconds in units: `0s`, `5m`, `1h2m3s`, `2d`."""
    left, text = int(seconds), ""
    for unit, letter in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        if left >= unit:
            text += f"{left // unit}{letter}"
            left %= unit
    return text or "0s"
