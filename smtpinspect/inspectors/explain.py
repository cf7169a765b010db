"""What `smtpinspect rules RULE` tells of a rule: texts as data, kept beside the tables that they explain."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from smtpinspect.actions import Basis

# Where the flow of a mail that trips the rule ends, for the peers' own log lines.
Phase = Literal[
    "", "greeting", "ehlo", "command", "rcpt", "data", "dot", "reply", "refused", "address", "starttls", "content"
]


class Page(NamedTuple):
    """A rule as a mail administrator reads it. `phase` picks the peers' log lines, `told` replaces them."""

    signature_id: int
    title: str
    fires: str
    then: str
    honest: str
    sources: tuple[str, ...]
    phase: Phase = ""
    told: str = ""
    certainty: str = ""  # which part of the rule is confirmed, inferred, our assumption
    sender_can: str = ""  # when the firewall is not yours
    rst: bool = False  # the server is told of the cut by an RST, the sender is not
    ask: str = ""  # a spec that brings it into force, where no profile does


class Remedy(NamedTuple):
    """A way to stop a rule, for the product generations (profiles) that it fits; empty: all of them."""

    title: str
    commands: tuple[str, ...] = ()
    menu: str = ""  # where to click, or the trap
    around: str = ""  # what goes before and behind the commands; told once for all that share it
    profiles: tuple[str, ...] = ()
    loses: str = ""
    check: str = ""
    undo: str = ""
    activation: str = ""  # reload needed or not, what becomes of open connections
    basis: Basis = "confirmed"
    source: str = ""


# The peers' own words, `...` for what differs from mail to mail.
# Exim: transports/smtp.c, smtp_in.c, receive.c; Postfix: smtp/smtp_proto.c, smtp_trouble.c, smtpd/smtpd.c.
SENDER: Final[dict[Phase, tuple[tuple[str, str], ...]]] = {
    "greeting": (
        ("Exim", "SMTP timeout after initial connection"),
        ("Postfix", "conversation with ... timed out while receiving the initial server greeting"),
    ),
    "ehlo": (
        ("Exim", "SMTP timeout after EHLO ..."),
        ("Postfix", "conversation with ... timed out while performing the EHLO handshake"),
    ),
    "command": (
        (
            "Exim",
            "SMTP timeout after MAIL FROM:<...>   (the command that was cut; `pipelined MAIL` if sent so)",
        ),
        (
            "Postfix",
            "conversation with ... timed out while sending MAIL FROM   (or the command that was cut)",
        ),
    ),
    "rcpt": (
        ("Exim", "SMTP timeout after RCPT TO:<...>"),
        ("Postfix", "conversation with ... timed out while sending RCPT TO"),
    ),
    "data": (
        ("Exim", "SMTP timeout after end of data (N bytes written)"),
        ("", "large mail: SMTP timeout after sending data block (...)"),
        (
            "Postfix",
            "conversation with ... timed out while sending end of data -- message may be sent more than once",
        ),
        ("", "large mail: ... timed out while sending message body"),
    ),
    "dot": (
        ("Exim", "SMTP timeout after end of data (N bytes written)"),
        (
            "Postfix",
            "conversation with ... timed out while sending end of data -- message may be sent more than once",
        ),
    ),
    "reply": (
        ("Exim", "SMTP timeout after ...   (the command whose reply was cut)"),
        ("Postfix", "conversation with ... timed out while ...   (the step whose reply was cut)"),
    ),
    "refused": (
        ("Exim", "SMTP error from remote mail server after ...: 500 ..."),
        ("Postfix", "host ... said: 500 ... (in reply to ... command)"),
    ),
    "address": (
        ("Exim", "SMTP error from remote mail server after RCPT TO:<...>: 5xx ...   (or MAIL FROM)"),
        ("Postfix", "host ... said: 5xx ... (in reply to RCPT TO command)   (or MAIL FROM)"),
    ),
    "starttls": (
        (
            "Exim",
            "no line, the mail goes in clear text; `a TLS session is required, but ...` where TLS is a must",
        ),
        ("Postfix", "no line, or `TLS is required, but was not offered by host ...` where TLS is a must"),
    ),
    "content": (
        ("Exim", "SMTP error from remote mail server after end of data: 552 ...   (bounced)"),
        ("Postfix", "host ... said: 552 ... (in reply to end of DATA command)"),
        ("", "where no 552 was read (deferred, and tried again):"),
        ("Exim", "Remote host closed connection in response to end of data"),
        ("Postfix", "lost connection with ... while sending message body"),
    ),
}
RECEIVER: Final[dict[Phase, tuple[tuple[str, str], ...]]] = {
    "greeting": (
        ("Exim", "SMTP command timeout on connection from ..."),
        ("Postfix", "timeout after CONNECT from ..."),
    ),
    "ehlo": (
        ("Exim", "SMTP command timeout on connection from ..."),
        ("Postfix", "timeout after CONNECT from ..."),
    ),
    "command": (
        ("Exim", "SMTP command timeout on connection from ..."),
        ("Postfix", "timeout after ... from ...   (the last command)"),
    ),
    "rcpt": (
        ("Exim", "SMTP command timeout on connection from ..."),
        ("Postfix", "timeout after RCPT from ..."),
    ),
    "data": (
        ("Exim", "SMTP data timeout (message abandoned) on connection from ... F=<...>"),
        ("Postfix", "timeout after DATA (N bytes) from ...   (N: where cut)"),
    ),
    "dot": (
        ("Exim", "SMTP data timeout (message abandoned) on connection from ... F=<...>"),
        ("Postfix", "timeout after DATA (N bytes) from ..."),
    ),
    "reply": (
        ("", "believes that it answered; after the final dot it may have delivered: retries make duplicates"),
        ("Postfix", "timeout after ... from ..."),
    ),
    "refused": (("", "a command of X's, or none at all, and its own 500 in the log"),),
    "address": (("", "an address with a space in the place of the character"),),
    "starttls": (("", "a connection without TLS"),),
    "content": (
        ("Exim", "SMTP connection from ... lost while reading message data"),
        ("Postfix", "lost connection after DATA (N bytes) from ...   (N: where the text was cut)"),
    ),
}
# In place of those above where the server is sent an RST: it does not wait for its time-out.
RECEIVER_RST: Final[dict[Phase, tuple[tuple[str, str], ...]]] = {
    "command": (
        (
            "Exim",
            "unexpected disconnection while reading SMTP command from ... (error: Connection reset by peer)",
        ),
        ("Postfix", "lost connection after ... from ...   (the last command)"),
    ),
    "rcpt": (
        (
            "Exim",
            "unexpected disconnection while reading SMTP command from ... (error: Connection reset by peer)",
        ),
        ("Postfix", "lost connection after RCPT from ..."),
    ),
    "data": (
        (
            "Exim",
            "SMTP connection from ... lost while reading message data   (`(header)` behind it in the header)",
        ),
        ("Postfix", "lost connection after DATA (N bytes) from ...   (N: where the text was cut)"),
    ),
}
