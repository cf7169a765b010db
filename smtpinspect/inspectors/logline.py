"""What the log modules of the products share: an event to write, a line that was read, and clean text.

A line is one line: no octet from the wire reaches it but as printable ASCII or `\\xNN`, and no line is longer than
`limits.LOG_LINE`. Reading never raises: what is no line of the product gives None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpinspect._core.views import excerpt
from smtpinspect.grammar import limits

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert, Mail
    from smtpinspect.inspectors.base import Inspector

_SECOND: Final = 1_000_000_000
_ENDPOINT: Final = re.compile(r"\[?([^\]]*?)\]?:(\d{1,5})")
_PRI: Final = re.compile(r"<\d{1,3}>")
_PAIR: Final = re.compile(r"""(?:^|\s)(\w{1,40})=(?:"([^"]*)"|'([^']*)'|(\S*))""")
_STAMP: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE: Final = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True, slots=True)
class Event:
    """An alert that its product would log. `number` counts the lines of a run from 1."""

    alert: Alert
    mail: Mail | None
    inspector: Inspector
    number: int = 1


class End(NamedTuple):
    """One end of a connection as a log names it; what the line leaves out is empty or 0."""

    interface: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a firewall's log that was understood.

    `id` is the product's number of the message (108004, 217, 809); `rule` ours, a family where the line does not tell
    more, empty where none is meant. `action` is one of pass, log, rewrite, drop, reset, teardown, or empty. `time` is
    UTC where the line names no zone, None where it has no date. `fields` are the line's own, by their names.
    """

    product: str
    id: str
    text: str
    severity: int | None = None
    time: datetime | None = None
    action: str = ""
    rule: str = ""
    source: End | None = None
    destination: End | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


def when(ns: int) -> datetime:
    """Capture time, in UTC, to the second: no product logs more."""
    return datetime.fromtimestamp(ns // _SECOND, UTC)


def endpoint(text: str) -> tuple[str, int]:
    """`192.0.2.1:25` or `[2001:db8::1]:25` taken apart."""
    found = _ENDPOINT.fullmatch(text)
    return (found[1], int(found[2])) if found else (text, 0)


def outbound(event: Event) -> bool:
    """Does the client stand behind the firewall and the server before it, as far as `inside` tells?"""
    networks = [ip_network(text, strict=False) for text in getattr(event.inspector.settings, "inside", ())]
    client, server = (
        any(address in network for network in networks)
        for address in (ip_address(endpoint(end)[0]) for end in (event.alert.client, event.alert.server))
    )
    return client and not server


def quote(octets: bytes) -> str:
    """Octets of the wire as printable ASCII, at most an excerpt of them."""
    return excerpt(octets[: limits.EXCERPT])


def clean(text: str, most: int = 256) -> str:
    """Text of a setting as printable ASCII without double quotes, at most so long."""
    made = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text.replace('"', "'"))
    return made[:most]


def bounded(line: str) -> str:
    """The line, cut where a syslog packet would end."""
    return line[: limits.LOG_LINE]


def pairs(line: str) -> dict[str, str]:
    """`name=value` and `name="a value"` of a WELF line, behind `<PRI>` or not; the first of a name counts."""
    found: dict[str, str] = {}
    pri = _PRI.match(line)
    for name, *value in _PAIR.findall(line[pri.end() :] if pri else line):
        found.setdefault(name, "".join(value))
    return found


def stamp(text: str, zone: str = "") -> datetime | None:
    """`2026-01-05 10:15:02` in the zone `+0100`; None when it is no such time."""
    found = _STAMP.search(text)
    if not found:
        return None
    offset = _ZONE.fullmatch(zone)
    delta = timedelta(hours=int(offset[2]), minutes=int(offset[3])) if offset else timedelta()
    try:
        known = timezone(-delta if offset and offset[1] == "-" else delta)
        year, month, day, hour, minute, second = (int(part) for part in found.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=known)
    except ValueError:
        return None


def number(text: str | None) -> int | None:
    """A decimal number of the line; None when there is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
