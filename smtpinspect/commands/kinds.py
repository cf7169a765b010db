"""What a file holds, by its first octets: a capture, a message, a mail server's log."""

from __future__ import annotations

import os
import re
import shlex
from typing import Final, Literal

from smtpinspect.errors import UsageError

Kind = Literal["capture", "message", "log", "other"]

PIECE: Final = 4_096  # octets of a file that tell what it is
MAGICS: Final = tuple(bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"))
# A log line begins with its time: syslog (RFC 3164, RFC 5424), Exim, multilog's TAI64N; Exchange names its fields.
_LOG: Final = re.compile(
    rb"(<\d{1,3}>1? ?)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|@[0-9a-f]{24} )"
    rb"|(\xef\xbb\xbf)?#(Software|Fields|Log-type): "
)
# A header field (RFC 5322 2.2), or the first line of an mbox.
_MESSAGE: Final = re.compile(rb"(\xef\xbb\xbf)?([!-9;-~]+[ \t]*:[ \t\r\n]|From \S+ )")
_FIELDS: Final = re.compile(
    rb"^(From|To|Subject|Date|Received|Return-Path|Message-ID|MIME-Version|Delivered-To|X-[!-9;-~]+)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
# RFC 3462 1, and Exim's own field
_BOUNCE: Final = re.compile(rb"report-type=\"?delivery-status|^X-Failed-Recipients:", re.IGNORECASE | re.MULTILINE)


def kind_of(path: str) -> Kind:
    """What this file, or directory, holds, by its first octets; packed files are looked into."""
    if os.path.isdir(path):
        return "message" if is_maildir(path) else "other"
    head = _head(path)
    if head is None or head.startswith(MAGICS):
        return "other" if head is None else "capture"  # the reader tells why
    if _LOG.match(head):
        return "log"
    if _MESSAGE.match(head) and _BOUNCE.search(head):
        return "log"  # it quotes one
    return "message" if _MESSAGE.match(head) and (_FIELDS.search(head) or head.startswith(b"From ")) else "other"


def is_maildir(path: str) -> bool:
    """https://cr.yp.to/proto/maildir.html: `cur`, `new` and `tmp`. Without `cur` it is a folder like any other."""
    return os.path.isdir(os.path.join(path, "cur"))


def is_mail(path: str) -> bool:
    """A message, an mbox, or a bounce, which is one, too."""
    kind = kind_of(path)
    return kind == "message" or (kind == "log" and _LOG.match(_head(path) or b"") is None)


def _head(path: str) -> bytes | None:
    """Its first octets, unpacked; a capture's magic where a packed file cannot be; None: it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(PIECE)
    except OSError:
        return None
    from smtpinspect.source.unpack import packing_of

    return head if packing_of(head) is None else _unpacked(path) or MAGICS[0]


def _unpacked(path: str) -> bytes:
    from smtpinspect.source.unpack import Damaged, Octets

    try:
        with open(path, "rb") as file:
            return Octets(file).read(PIECE)
    except (Damaged, UsageError, OSError):
        return b""


def holds_capture(path: str) -> bool:
    """Does it begin as a capture does, packed or not?"""
    if is_pipe(path) or kind_of(path) != "capture":
        return False
    with open(path, "rb") as file:
        return file.read(4) in MAGICS or _unpacked(path).startswith(MAGICS)


def holds_message(path: str) -> bool:
    """A stored message, which quotes no log."""
    return not is_pipe(path) and kind_of(path) == "message" and not _read_as_log(path)


def sorted_out(captures: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Captures, mail servers' logs or lines of them, and firewalls' logs. Raises UsageError for a message."""
    kinds = {file: kind_of(file) for file in captures if os.path.exists(file) and not is_pipe(file)}
    others = [file for file, kind in kinds.items() if kind != "capture"]
    firewalls = [file for file in others if holds_firewall_log(file)]
    logs = [file for file in others if file not in firewalls and (kinds[file] == "log" or _read_as_log(file))]
    logs += [word for word in captures if is_line(word)]
    for file, kind in kinds.items():
        if kind == "message" and file not in logs:
            raise UsageError(f"{file} holds a message, no capture: smtpinspect check {shlex.quote(file)}")
    return [file for file in captures if file not in logs and file not in firewalls], logs, firewalls


def is_line(word: str) -> bool:
    """A mail server's log line itself, no file."""
    if " " not in word or os.path.exists(word):
        return False
    from smtpinspect.diagnose.reading import read_line

    return read_line(word) is not None


def holds_firewall_log(path: str) -> bool:
    """A firewall's log, and not a mail server's with some of its lines."""
    if is_pipe(path) or os.path.isdir(path) or kind_of(path) not in ("log", "other"):
        return False
    from smtpinspect.diagnose.paths.firewall_log import is_firewall_log

    return is_firewall_log(_unpacked(path)) and not _read_as_log(path)


def _read_as_log(path: str) -> bool:
    """Lines without a time in front, bounces without a report."""
    from smtpinspect.diagnose.reading import recognise

    return not os.path.isdir(path) and recognise(_unpacked(path))


def is_pipe(path: str) -> bool:
    """What can be read once only is not looked at."""
    return not (os.path.isfile(path) or os.path.isdir(path))
