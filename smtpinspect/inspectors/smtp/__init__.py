"""Rules about SMTP itself: always on, in no verdict."""

from smtpinspect.inspectors.smtp.inspector import Smtp

__all__ = ["Smtp"]
