"""Cisco PIX MailGuard and the ESMTP inspection of FWSM, ASA and FTD."""

from smtpinspect.inspectors.mailguard.inspector import Mailguard

__all__ = ["Mailguard"]
