"""The account of a connection: what its ends sent, acknowledged and said, worked out once for all who ask."""

from smtpinspect.diagnose.account.connection import NAMES, Account, accounts
from smtpinspect.diagnose.account.stream import AGAIN, Owed, Stream, half_closes, size_of

__all__ = ["AGAIN", "NAMES", "Account", "Owed", "Stream", "accounts", "half_closes", "size_of"]
