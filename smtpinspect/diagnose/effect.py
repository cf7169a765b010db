"""What an alert does to its mail: it cuts it, refuses it in the server's place, alters what is said, or lets it be."""

from __future__ import annotations

from smtpinspect._core.views import Alert
from smtpinspect.actions import Strength


def cuts(alert: Alert) -> bool:
    """Does it end the flow without an SMTP code?"""
    return alert.row.kind != "seen" and alert.breaks


def refuses(alert: Alert) -> bool:
    """Does the box refuse with a 4xx or 5xx of its own? A command that it answers with 250 goes on."""
    reply = alert.row.action.params.get("reply", b"")
    answers = alert.row.kind != "seen" and alert.row.action.strength == Strength.ANSWER
    return answers and isinstance(reply, bytes) and reply[:1] in (b"4", b"5")


def ends(alert: Alert) -> bool:
    """Does the mail not arrive?"""
    return cuts(alert) or refuses(alert)


def alters(alert: Alert) -> bool:
    """Is something else said in its place, while the dialogue goes on?"""
    changes = alert.row.kind != "seen" and alert.row.action.strength in (Strength.REWRITE, Strength.ANSWER)
    return changes and not ends(alert)
