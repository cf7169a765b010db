"""The account of a connection: what its ends sent, acknowledged and said, worked out once for all who ask."""

from smtpinspect.diagnose.account.connection import Account, accounts
from smtpinspect.diagnose.account.stream import Stream, size_of

__all__ = ["Account", "Stream", "accounts", "size_of"]
