"""Runs the engine over what the kit builds, and makes its answers comparable."""

from __future__ import annotations

import fcntl
import termios
import time
from collections.abc import Iterable, Sequence
from typing import IO, Any

import smtpinspect
from kit import capture, link, wire
from kit.dialogue import parse
from kit.segment import Segment

# Rules about segments by nature: the same octets cut otherwise may fire them or not.
ABOUT_SEGMENTS = ("command-split", "pipelining", "eod-split", "postfix-workaround-seen")
OFF = "off=" + "+".join(f"mailguard.{name}" for name in ABOUT_SEGMENTS)

ALERT_FIELDS = (
    "inspector",
    "profile",
    "rule",
    "detail",
    "action",
    "breaks",
    "after_break",
    "phase",
    "stage",
    "direction",
    "offset",
    "length",
    "octets",
    "tx_id",
)
MAIL_FIELDS = (
    "helo",
    "mail_from",
    "rcpt_to",
    "rcpt_replies",
    "subject",
    "message_id",
    "outcome",
    "reply",
    "phase",
    "stage",
    "octets",
    "verdict",
    "broken_by",
)


def frames(
    segments: Iterable[Segment], ends: wire.Ends = wire.V4, how: link.Link = link.LINKS["ethernet"]
) -> list[tuple[float, bytes]]:
    return capture.frames(wire.packets(segments, ends), how)


def transcript(segments: Iterable[Segment], ends: wire.Ends = wire.V4) -> dict[str, Any]:
    """The transcript of the one connection that these segments make."""
    (only,) = smtpinspect.transcript(frames(segments, ends))
    return dict(only)


def replay(segments: Iterable[Segment], inspectors: Sequence[str] = (), ends: wire.Ends = wire.V4) -> Any:
    return smtpinspect.replay(frames(segments, ends), inspectors=list(inspectors))


def replay_text(text: str, inspectors: Sequence[str] = (), **options: Any) -> Any:
    """A dialogue text, replayed; `options` go to kit.wire.build."""
    return replay(wire.build(parse(text), **options), inspectors)


def transcript_text(text: str, **options: Any) -> dict[str, Any]:
    return transcript(wire.build(parse(text), **options))


def fields(record: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def alerts(result: Any, *, less: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The alerts that do not depend on how the octets were cut, in an order of their own."""
    kept = [fields(a, ALERT_FIELDS) for a in result.alerts if a.rule.rsplit(".", 1)[-1] not in ABOUT_SEGMENTS]
    found = [{k: v for k, v in a.items() if k not in less} for a in kept]
    return sorted(found, key=repr)


def mails(result: Any, *, less: Sequence[str] = ()) -> list[dict[str, Any]]:
    return [fields(m, [n for n in MAIL_FIELDS if n not in less]) for m in result.mails]


def rules(result: Any) -> list[str]:
    """The ids of the rules that fired, in the order of the report."""
    return [a.rule for a in result.alerts]


def doubts(result: Any) -> set[str]:
    """All words of confidence, of mails and connections."""
    return {word for record in (*result.mails, *result.flows) for word in record.confidence}


def until_read(pipe: IO[bytes], seconds: float = 30) -> None:
    """Waits until whoever reads this pipe has taken all that was written into it, and has had time to look at it."""
    end = time.monotonic() + seconds
    while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
        assert time.monotonic() < end, "it reads nothing"
        time.sleep(0.02)
    time.sleep(0.5)
