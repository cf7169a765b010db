"""Stormshield (SNS, Netasq): the five SMTP alarms and the filters of the SMTP plugin."""

from smtpinspect.inspectors.stormshield.inspector import Stormshield

__all__ = ["Stormshield"]
