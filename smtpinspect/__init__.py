"""Packet-level SMTP inspection: replay a capture and see which firewall rule would break which mail.

result = smtpinspect.replay("capture.pcap", inspectors=["mailguard:pix-6", smtpinspect.Stormshield(profile="high")])
for mail in result.mails:
    print(mail.mail_from, mail.outcome, mail.verdict, [a.rule for a in mail.alerts])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from smtpinspect.errors import CaptureError, SmtpInspectError, UsageError

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert, Flow, Mail
    from smtpinspect.engine import Engine, Result, Stats, replay
    from smtpinspect.inspectors.base import Inspector, Rule
    from smtpinspect.inspectors.mailguard import Mailguard
    from smtpinspect.inspectors.sonicwall import SonicWall
    from smtpinspect.inspectors.stormshield import Stormshield
    from smtpinspect.transcripts import transcript

__version__ = "0.1.0"

# Loaded when first used: a program that only asks for the version need not load the core.
_WHERE = {
    "Alert": "smtpinspect._core.views",
    "Engine": "smtpinspect.engine",
    "Flow": "smtpinspect._core.views",
    "Inspector": "smtpinspect.inspectors.base",
    "Mail": "smtpinspect._core.views",
    "Mailguard": "smtpinspect.inspectors.mailguard",
    "Result": "smtpinspect.engine",
    "Rule": "smtpinspect.inspectors.base",
    "SonicWall": "smtpinspect.inspectors.sonicwall",
    "Stats": "smtpinspect.engine",
    "Stormshield": "smtpinspect.inspectors.stormshield",
    "replay": "smtpinspect.engine",
    "transcript": "smtpinspect.transcripts",
}

__all__ = [
    "Alert",
    "CaptureError",
    "Engine",
    "Flow",
    "Inspector",
    "Mail",
    "Mailguard",
    "Result",
    "Rule",
    "SmtpInspectError",
    "SonicWall",
    "Stats",
    "Stormshield",
    "UsageError",
    "__version__",
    "replay",
    "transcript",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'smtpinspect' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
