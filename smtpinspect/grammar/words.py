"""The words of the records, in the order of the numbers that the core has for them.

`ext/smtpinspect/_core/state.pxd` names the numbers; a record's reader sees the words only.
"""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import Strength

# The exact place in the dialogue; None where there is none (an accepted mail).
PHASES: Final = (
    "connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354", "databody", "datamid", "dot",
    "dotreply", "quit", None,
)  # fmt: skip
# Where the text of a mail, or the reply to it, is under way.
IN_TEXT: Final = frozenset({"databody", "datamid", "dot", "dotreply"})
# Where a flow breaks, in the words of a sender's log.
STAGES: Final = (None, "after-initial-connection", "after-sending-data-block", "after-end-of-data")
# What the capture itself shows happened to a mail.
OUTCOMES: Final = ("unknown", "accepted", "refused", "aborted", "stalled", "reset", "closed", "encrypted")
# Of these, how a flow ends without an SMTP code.
BROKEN: Final = frozenset({"stalled", "reset", "closed"})
# Who ended a connection.
CLOSERS: Final = ("none", "client", "server", "middlebox", "unknown")
# `confidence`: what the capture cannot show, a bit each.
DOUBTS: Final = (
    "one-direction", "gap", "snaplen", "super-segments", "mid-stream", "cut-off", "encrypted", "overlap", "cap",
    "end-mark-disputed",
)  # fmt: skip
# Of a connection.
STATE_WORDS: Final = ("new", "established", "closed")
ACTIONS: Final = tuple(strength.word for strength in Strength)
