"""Which rule of which firewall broke a mail, how sure, and what to change.

told = diagnose(Asked("mail.pcap"))
for case in told.diagnosis.cases:
    print(case.observed.outcome, [(cause.confidence, cause.cause) for cause in case.causes])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpinspect.diagnose.face import Asked, Told, diagnose
    from smtpinspect.diagnose.reading import read_bounce, read_file, read_line
    from smtpinspect.diagnose.stored.check import check

# Loaded when first used: the steps know each other by their modules, not by this face.
_WHERE = {
    "Asked": "smtpinspect.diagnose.face",
    "Told": "smtpinspect.diagnose.face",
    "check": "smtpinspect.diagnose.stored.check",
    "diagnose": "smtpinspect.diagnose.face",
    "read_bounce": "smtpinspect.diagnose.reading",
    "read_file": "smtpinspect.diagnose.reading",
    "read_line": "smtpinspect.diagnose.reading",
}

__all__ = ["Asked", "Told", "check", "diagnose", "read_bounce", "read_file", "read_line"]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'smtpinspect.diagnose' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
