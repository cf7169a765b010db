"""What a file holds, by its first octets: a capture, a message, the log of a mail server or of a firewall."""

from __future__ import annotations

import os
import re
import shlex
from typing import Final, Literal

from smtpinspect.errors import UsageError
from smtpinspect.grammar.magics import CAPTURES

Kind = Literal["capture", "message", "log", "firewall-log", "other"]

PIECE: Final = 4_096  # octets of a file that tell what it is
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
    if head.startswith(CAPTURES) or _is_damaged(path, head):
        return "capture"  # the reader tells why
    if _LOG.match(head):
        return _log(head) or "log"
    if _MESSAGE.match(head) and _BOUNCE.search(head):
        return "log"  # it quotes one
    if _MESSAGE.match(head) and (_FIELDS.search(head) or head.startswith(b"From ")):
        return "message"
    return _log(head) or "other"


def is_maildir(path: str) -> bool:
    """https://cr.yp.to/proto/maildir.html: `cur`, `new` and `tmp`. Without `cur` it is a folder like any other."""
    return os.path.isdir(os.path.join(path, "cur"))


def is_mail(path: str) -> bool:
    """A message, an mbox, or a bounce, which is one, too."""
    kind = kind_of(path)
    return kind == "message" or (kind == "log" and _BOUNCE.search(_head(path)) is not None)


def _log(head: bytes) -> Kind | None:
    """Whose log it is, by what its lines say: a mail server's may hold some of a firewall's."""
    from smtpinspect.diagnose.paths.firewall_log import is_firewall_log
    from smtpinspect.diagnose.reading import recognise

    if not head.strip():
        return None
    return "log" if recognise(head) else "firewall-log" if is_firewall_log(head) else None


def _head(path: str) -> bytes:
    """The first octets, unpacked; none where they cannot be read."""
    from smtpinspect.source.unpack import Damaged, Octets

    try:
        with open(path, "rb") as file:
            return Octets(file).read(PIECE)
    except (Damaged, UsageError, OSError):
        return b""


def _is_damaged(path: str, head: bytes) -> bool:
    """Is it packed, so that nobody can tell what is in it?"""
    from smtpinspect.source.unpack import LONGEST_MAGIC, packing_of

    if head:
        return False
    try:
        with open(path, "rb") as file:
            return packing_of(file.read(LONGEST_MAGIC)) is not None
    except OSError:
        return False


def holds_capture(path: str) -> bool:
    """Does it begin as a capture does, packed or not?"""
    return not is_pipe(path) and _head(path).startswith(CAPTURES)


def holds_firewall_log(path: str) -> bool:
    """A firewall's log, and not a mail server's with some of its lines."""
    return not is_pipe(path) and kind_of(path) == "firewall-log"


def holds_message(path: str) -> bool:
    """A stored message, which quotes no log."""
    return not is_pipe(path) and kind_of(path) == "message" and not _quotes_log(path)


def sorted_out(captures: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Captures, mail servers' logs or lines of them, and firewalls' logs. Raises UsageError for a message."""
    kinds = {file: kind_of(file) for file in captures if os.path.exists(file) and not is_pipe(file)}
    firewalls = [file for file, kind in kinds.items() if kind == "firewall-log"]
    logs = [file for file, kind in kinds.items() if kind == "log" or (kind == "message" and _quotes_log(file))]
    logs += [word for word in captures if is_line(word)]
    for file, kind in kinds.items():
        if kind == "message" and file not in logs:
            raise UsageError(f"{file} holds a message, no capture: smtpinspect check {shlex.quote(file)}")
    return [file for file in captures if file not in logs and file not in firewalls], logs, firewalls


def _quotes_log(path: str) -> bool:
    """A bounce without a report (RFC 3462) has the look of a message."""
    from smtpinspect.diagnose.reading import recognise

    return not os.path.isdir(path) and recognise(_head(path))


def is_line(word: str) -> bool:
    """A mail server's log line itself, no file."""
    if " " not in word or os.path.exists(word):
        return False
    from smtpinspect.diagnose.reading import read_line

    return read_line(word) is not None


def is_pipe(path: str) -> bool:
    """What can be read once only is not looked at."""
    return not (os.path.isfile(path) or os.path.isdir(path))
