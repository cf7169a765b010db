"""Reads the gateway anti-virus of SonicOS from its REST JSON; of a settings export it says why it cannot.

The names are those of GET /gateway-antivirus/base (SonicOS 7 API).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_plus

from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors.configuration import Configuration, Reading, Row

_TREE: Final = re.compile(r'"gateway[_-]anti-?virus"\s*:', re.IGNORECASE)
_PART: Final = re.compile(r'"(?:password[_-]protected[_-]zip|ms[_-]office[_-]macros|packed[_-]executables)"\s*:')
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_EXPORT: Final = re.compile(r"[A-Za-z0-9+/=\s&]+")
_PAIR: Final = re.compile(r"[\w.%-]{1,80}=")
_LISTED: Final = 40  # names of an export that are told

Path = tuple[str, ...]
RESTRICTIONS: Final = ("password_protected_zip", "ms_office_macros", "packed_executables")
# Where a switch stands, its key, what it is called on the screen.
SWITCHES: Final[tuple[tuple[Path, str, str], ...]] = (
    (("restrict", "password_protected_zip", "smtp"), "password_protected_zip", "restrict password-protected ZIP"),
    (("restrict", "ms_office_macros", "smtp"), "ms_office_macros", "restrict MS-Office files with macros"),
    (("restrict", "packed_executables", "smtp"), "packed_executables", "restrict packed executables"),
    (("smtp_responses",), "smtp_responses", "SMTP responses"),
    (("inbound_inspection", "smtp"), "inbound_inspection", "inbound inspection of SMTP"),
    (("outbound_inspection", "smtp"), "outbound_inspection", "outbound inspection of SMTP"),
    (("detection_only",), "detection_only", "detection only"),
    (("scan_high_compression",), "scan_high_compression", "scan parts with high compression ratios"),
    (
        ("block_multiple_compress_files",),
        "block_multiple_compress_files",
        "block files with several levels of compression",
    ),
)
_DEEPEST: Final = 3  # names of the longest path above
# Branches of the tree that say nothing about SMTP.
_OTHER: Final = frozenset(
    "enable restrict smtp_responses inbound_inspection outbound_inspection detection_only scan_high_compression "
    "block_multiple_compress_files eicar_detection http_byte_range ftp_rest http_clientless_notification "
    "exclusion_object exclusion_list cloud signatures status".split()
)


def read(text: str) -> Configuration | None:
    """What gateway anti-virus does with mail; None when the text is no configuration of SonicOS.

    Raises UsageError when it is one and is not whole JSON.
    """
    if text.lstrip()[:1] in ("{", "["):
        return _json(text) if _TREE.search(text) or _PART.search(text) else None
    return _export(text)


def _json(text: str) -> Configuration | None:
    try:
        tree, named = _found(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"SonicWall JSON that is not whole: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (RecursionError, ValueError):
        raise UsageError("SonicWall JSON: deeper, or with longer numbers, than a configuration is") from None
    if tree is None:
        return None
    return _configuration(tree, _Places(text, named))


class _Places:
    """The line of each name below the settings in a JSON text."""

    def __init__(self, text: str, named: bool) -> None:
        self._lines: dict[Path, Row] = {}
        start = made.end() if named and (made := _TREE.search(text)) else 0
        for path, number, at in _walked(text, start):
            first = text.rfind("\n", 0, at) + 1
            line = text[first : at + limits.CONFIG_QUOTED].partition("\n")[0]
            self._lines.setdefault(path, Row(number, 0, line.strip()))

    def __call__(self, path: Path) -> Row:
        return self._lines.get(path, Row(1, 0, " ".join(path)))


def _walked(text: str, start: int) -> Iterator[tuple[Path, int, int]]:
    """Names of the value that begins here with the names above them, their lines, and where they stand."""
    stack: list[list[Any]] = []  # [is it an object, the name or place, is a name due]
    number, last = text.count("\n", 0, start) + 1, start
    for token in islice(_TOKEN.finditer(text, start), limits.CONFIG_TOKENS):
        number += text.count("\n", last, token.start())
        last = token.start()
        match word := token[0]:
            case "{":
                stack.append([True, "", True])
            case "[":
                stack.append([False, 0, False])
            case "}" | "]":
                stack[-1:] = []
                if not stack:
                    return
            case ",":
                if stack and stack[-1][0]:
                    stack[-1][2] = True
                elif stack:
                    stack[-1][1] += 1
            case ":":
                pass
            case _ if stack and stack[-1][2]:
                stack[-1][1:] = [_name(json.loads(word)), False]
                if len(stack) <= _DEEPEST:
                    yield tuple(str(level[1]) for level in stack), number, token.start()
            case _:
                pass


def _name(word: object) -> str:
    return str(word).replace("-", "_").lower()


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    return {_name(key): value for key, value in tree.items()}


def _found(tree: Any) -> tuple[dict[str, Any] | None, bool]:
    """The settings in a JSON tree, as an answer of the API has them or in a larger dump; do they have a name?"""
    waiting: list[Any] = [tree]
    for one in waiting:
        if isinstance(one, dict):
            own = _plain(one)
            inner = own.get("gateway_antivirus", own.get("gateway_anti_virus"))
            if isinstance(inner, dict):
                return _plain(inner), True
            if isinstance(own.get("restrict"), dict) and set(_plain(own["restrict"])) & {*RESTRICTIONS}:
                return own, False
            waiting += own.values()
        elif isinstance(one, list):
            waiting += one
    return None, False


def _configuration(tree: dict[str, Any], places: _Places) -> Configuration:
    reading, keys = Reading(), dict[str, Any]()
    for path, key, called in SWITCHES:
        given = _at(tree, path)
        if given is None:
            continue
        if isinstance(given, bool):
            keys[key] = given
            reading.find(places(path), f"{called}: {'on' if given else 'off'}")
        else:
            reading.miss(places(path), f"{'.'.join(path)}: true or false is wanted")
    for name in tree:
        if name not in _OTHER:
            reading.miss(places((name,)), f"{name} is not known here")
    for name in _plain(restrict) if isinstance(restrict := tree.get("restrict"), dict) else ():
        if name not in RESTRICTIONS:
            reading.miss(places(("restrict", name)), f"restrict.{name} is not known here")
    _exclusions(tree, places, keys, reading)
    missing = [called for path, key, called in SWITCHES[:3] if key not in keys]
    if missing:
        reading.note(f"not in this text, so as the inspector has it: {', '.join(missing)}")
    active = True
    if tree.get("enable") is False:
        reading.find(places(("enable",)), "gateway anti-virus is off")
        active = False
    if keys.get("inbound_inspection") is False:
        if not keys.get("outbound_inspection"):
            reading.note("neither inbound nor outbound SMTP is inspected: the restrictions have no effect")
            active = False
        else:
            reading.note("only outbound SMTP is inspected: inside=NETWORK tells replay which side that is")
    if active and not any(keys.get(key, True) for key in RESTRICTIONS):
        reading.note("none of the three restrictions is on for SMTP")
    title = "SonicWall SonicOS, gateway anti-virus"
    return Configuration("sonicwall", title, "", keys, active, (), **reading.lines())


def _exclusions(tree: dict[str, Any], places: _Places, keys: dict[str, Any], reading: Reading) -> None:
    chosen = _at(tree, ("exclusion_object", "smtp"))
    if not chosen:
        return
    row = places(("exclusion_object", "smtp"))
    names = [str(name) for name in (chosen.values() if isinstance(chosen, dict) else [chosen]) if name]
    networks = [name for name in names if _network(name)]
    if networks:
        keys["exclusions"] = tuple(networks)
        reading.find(row, f"not inspected: {', '.join(networks)}")
    if named := [name for name in names if name not in networks]:
        reading.find(row, f"not inspected: {', '.join(named)}")
        reading.note(
            f"line {row.number}: the addresses of the object {', '.join(named)} are not in this text: "
            "exclusions=NETWORK+NETWORK tells them"
        )


def _network(name: str) -> bool:
    try:
        ipaddress.ip_network(name.strip(), strict=False)
    except ValueError:
        return False
    return True


def _at(tree: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(tree, dict):
            return None
        tree = _plain(tree).get(name)
    return tree


def _export(text: str) -> Configuration | None:
    """A settings export is base64 of key=value&key=value; the names of its keys are in no source."""
    body = "".join(text.split()).rstrip("&")
    if len(body) < 64 or not _EXPORT.fullmatch(body[:4_096]):
        return None
    try:
        plain = base64.b64decode(body[: len(body) // 4 * 4], validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return None
    pairs = plain.split("&")
    if len(pairs) < 8 or not all(_PAIR.match(pair) for pair in pairs[:8]):
        return None
    reading = Reading()
    names = [(number, unquote_plus(pair.partition("=")[0])) for number, pair in enumerate(pairs, 1)]
    close = [(n, name) for n, name in names if re.search(r"(?i)smtp|gav|antivirus|anti_virus", name)]
    for number, name in close[:_LISTED]:
        # Values of an export may be passwords.
        reading.miss(Row(number, 0, name), "a key of the export; what it means is in no source")
    reading.note(
        f"a settings export with {len(pairs):,} keys, {len(close):,} of them with smtp, gav or antivirus in the "
        "name: their meaning is in no source, so none is read"
    )
    return Configuration(
        "sonicwall",
        "SonicWall SonicOS, settings export",
        active=False,
        beyond="the keys of a settings export are not documented. What can be read is the REST JSON: "
        "GET /api/sonicos/gateway-antivirus/base",
        **reading.lines(),
    )
