"""A log's line without its prefix: when, which program, what it says. Times of many forms."""

from __future__ import annotations

import json
import re
import time
from calendar import timegm
from functools import lru_cache
from typing import Final, NamedTuple

_MONTHS: Final = {name: n for n, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_DAY: Final = 86_400
AHEAD: Final = 2  # days that a log's clock, or its zone, may be ahead
_TAI: Final = 0x4000000000000000 + 10  # tai64n.h: 10 s at the epoch of UTC; leap seconds since then are not counted
_LEAPS: Final = 27  # seconds inserted between 1972 and 2017
# What a container's log (docker compose) or a kernel's clock (journalctl -o short-monotonic) sets in front.
LEAD: Final = r"(?:[\w./-]{1,64} *\| ?)?(?:<\d{1,3}>)?"
_LEAD: Final = re.compile(
    rf"{LEAD}(?:\[ *\d+\.\d{{3,9}}\] |(?P<weekday>[^\W\d_]{{2,4}}\.?,? )(?=\d{{4}}-\d\d-|[A-Z][a-z]{{2}} [ \d]\d ))?"
)
_NAMED_ZONE: Final = re.compile(r"(?:[A-Z]{3,5}|(?P<offset>[+-]\d\d)(?:00)?) ")  # journalctl -o short-full
_PREFIX: Final = re.compile(
    r"(?:1 )?"  # RFC 5424 6.2.2
    r"(?:(?P<bsd>[A-Z][a-z]{2} [ \d]\d(?: \d{4})? \d\d:\d\d:\d\d)(?:\.\d+)?(?P<behind>(?: [A-Z]{3,5})? \d{4}(?= ))?"
    r"|(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?[+-]\d\d:?\d\d|Z)?)"
    r"|(?P<tai>@[0-9a-f]{24})"
    r"|(?P<unix>\d{9,10}\.\d{3,6}))"
    r"[ ,]?"
    r"(?:std(?:out|err) [FP] )?"  # of a container's runtime
)
_OWN: Final = re.compile(r"(?:\d{4}-\d\d-\d\d[T ]|[A-Z][a-z]{2} [ \d]\d )\d\d:\d\d:\d\d")
_TAG: Final = re.compile(r"(?<![\w./-])(?P<program>[A-Za-z][\w./-]*)\[\d+\]: ")
_FAR: Final = 160  # characters in which a tag is looked for behind a prefix that is not known
# Of one line in JSON: the text (Docker, journalctl -o json, and others), the program, microseconds since 1970.
_TEXTS: Final = ("MESSAGE", "log", "message", "msg")
NO_YEAR: Final = re.compile(rf"{LEAD}[A-Z][a-z]{{2}} [ \d]\d \d\d:")
# What most lines begin with, in one go.
_USUAL: Final = re.compile(
    r"([A-Z][a-z]{2} [ \d]\d) (\d\d:\d\d:\d\d) [\w.-]+ ([A-Za-z][\w./-]*)(?:\[\d+\])?: (?!\[ID )"
)
_PROGRAM: Final = re.compile(
    r"(?:(?P<host>[\w.:-]+) )?(?:mail\.\w+ )?"
    r"(?P<program>[A-Za-z][\w./-]*?)(?:\[(?P<pid>\d+)\])?: (?:\[ID \d+ [\w.]+\] )?"
)
_PROGRAM_5424: Final = re.compile(r"(?P<host>\S+) (?P<program>[A-Za-z][\w./-]*) (?P<pid>\d+|-) \S+ (?:-|\[.*?\]) ")
# Of durations: days and a clock, seconds, numbers with their units.
_CLOCKED: Final = re.compile(r"(?:(\d{1,9})\+)?(\d\d):(\d\d):(\d\d)")
_PLAIN: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_PARTS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(w|d|h|ms|m|s)")
_UNITS: Final = {"w": 7 * _DAY, "d": _DAY, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_ZONE: Final = re.compile(r"(?:Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))$")


class Line(NamedTuple):
    """`when` in seconds since 1970 (None: not told), `program` "" where no syslog has named one."""

    whole: str
    when: float | None
    program: str
    text: str
    local: bool = False  # a time without a zone


def line_of(whole: str, now: float | None = None) -> Line:
    """A line taken apart. A time without a year is of the year before `now` (default: today), without a zone UTC."""
    if (usual := _USUAL.match(whole)) and not _OWN.match(whole, usual.end()):
        start = _bsd_day(usual[1], _today() if now is None else int(now // _DAY))
        moment = None if start is None else float(start + _clock(usual[2]))
        return Line(whole, moment, usual[3], whole[usual.end() :], moment is not None)
    made = _unpacked(whole, now) if whole.startswith('{"') else None
    made = made or _taken_apart(whole, now)
    if _OWN.match(made.text):  # of Exim, which writes its own into syslog; of a line that was handed on
        own = _taken_apart(made.text, now)
        if own.when is not None:
            own = own._replace(whole=whole, program=own.program or made.program)
            dated = made.when is not None and NO_YEAR.match(made.text) and not NO_YEAR.match(whole)
            return own._replace(when=made.when, local=made.local) if dated else own
    if made.when is None and not made.program and (tag := _TAG.search(whole, 0, _FAR)):
        return made._replace(program=tag["program"], text=whole[tag.end() :])
    return made


def _taken_apart(whole: str, now: float | None) -> Line:
    lead = _LEAD.match(whole)
    assert lead is not None  # all of it may be absent
    match = _PREFIX.match(whole, lead.end())
    when, rest, local = None, whole[lead.end() :], False
    if match:
        when, rest = _when(match, now), whole[match.end() :]
        local = when is not None and bool(match["bsd"] or (match["iso"] and not _ZONE.search(match["iso"])))
        if lead["weekday"] and match["iso"] and (zone := _NAMED_ZONE.match(rest)):
            when = iso_time(f"{match['iso']}{zone['offset']}00") if zone["offset"] else when
            local, rest = local and not zone["offset"] and zone[0] not in ("UTC ", "GMT "), rest[zone.end() :]
    named = _PROGRAM_5424.match(rest) if match and match["iso"] else None
    named = named or _PROGRAM.match(rest)
    if named and (match or named["pid"]):
        return Line(whole, when, named["program"], rest[named.end() :], local)
    return Line(whole, when, "", rest, local)


def _unpacked(whole: str, now: float | None) -> Line | None:
    """A line that is packed in JSON."""
    try:
        held = json.loads(whole)
    except (ValueError, RecursionError):
        return None
    text = next((held[name] for name in _TEXTS if isinstance(held.get(name), str)), None)
    if text is None:
        return None
    made, program = _taken_apart(text.rstrip(), now), held.get("SYSLOG_IDENTIFIER")
    if isinstance(program, str):  # else it is in the text
        made = made._replace(program=program, text=text.rstrip())
    return made._replace(whole=whole, when=_stamped(held) or made.when, local=made.local and not _stamped(held))


def _stamped(held: dict[str, object]) -> float | None:
    micros = str(held.get("__REALTIME_TIMESTAMP", ""))
    if micros.isascii() and micros.isdigit() and len(micros) <= 17:
        return int(micros) / 1e6
    stamp = _PREFIX.match(str(held.get("time", "")))
    return iso_time(stamp["iso"]) if stamp and stamp["iso"] else None


def _today() -> int:
    return int(time.time() // _DAY)


def _when(match: re.Match[str], now: float | None) -> float | None:
    if match["bsd"]:
        day, _, clock = match["bsd"].rpartition(" ")
        return bsd_time(f"{day} {match['behind'][-4:]} {clock}" if match["behind"] else match["bsd"], now)
    if match["iso"]:
        return iso_time(match["iso"])
    if match["tai"]:
        return tai_time(match["tai"])
    return float(match["unix"])


def bsd_time(text: str, now: float | None = None) -> float | None:
    """`Nov 22 11:02:05` (RFC 3164 4.1.2): of the last year in which that is not in the future."""
    whole, _, clock = text.rpartition(" ")
    start = _bsd_day(whole, _today() if now is None else int(now // _DAY))
    return None if start is None else start + _clock(clock)


@lru_cache(maxsize=512)
def _bsd_day(text: str, today: int) -> int | None:
    parts = text.split()
    month, day = _MONTHS.get(parts[0], 0), int(parts[1])
    if not month or not 1 <= day <= 31:
        return None
    if len(parts) == 3:
        return timegm((int(parts[2]), month, day, 0, 0, 0))
    year = time.gmtime(today * _DAY).tm_year
    start = timegm((year, month, day, 0, 0, 0))
    return start if start <= (today + AHEAD) * _DAY else timegm((year - 1, month, day, 0, 0, 0))


def iso_time(text: str) -> float | None:
    """RFC 3339, and Exim's with `+0100` behind a blank."""
    start = _iso_day(text[:10])
    if start is None:
        return None
    moment = start + _clock(text[11:19])
    tail = text[19:]
    if not tail:
        return moment
    zone = _ZONE.search(tail)
    if zone:
        tail = tail[: zone.start()]
        if zone["sign"]:
            offset = int(zone["hours"]) * 3600 + int(zone["minutes"]) * 60
            moment -= offset if zone["sign"] == "+" else -offset
    fraction = tail.strip().replace(",", ".")
    return moment + float(f"0{fraction}") if len(fraction) > 1 else moment


@lru_cache(maxsize=512)
def _iso_day(text: str) -> int | None:
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    return timegm((year, month, day, 0, 0, 0)) if 1 <= month <= 12 and 1 <= day <= 31 and year >= 1970 else None


def tai_time(text: str) -> float:
    """multilog's `@40000000...`: TAI64N."""
    return int(text[1:17], 16) - _TAI - _LEAPS + int(text[17:25], 16) / 1e9


def _clock(text: str) -> int:
    return int(text[:2]) * 3600 + int(text[3:5]) * 60 + int(text[6:8])


def duration(text: str) -> float | None:
    """In seconds: `5m`, `1h2m3s`, `0.123s` of Exim and OpenSMTPD; `1+02:03:04` of Sendmail; `0.02` of Postfix. None
    for what is none.
    """
    if match := _CLOCKED.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(days * _DAY + hours * 3600 + minutes * 60 + seconds)
    if _PLAIN.fullmatch(text):
        return float(text)
    parts = _PARTS.findall(text)
    if not parts or "".join(a + b for a, b in parts) != text:
        return None
    return float(sum(float(number) * _UNITS[letter] for number, letter in parts))
