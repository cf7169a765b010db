"""THE table: what the machine does with each event in each state of a connection.

Client states tell how the next client octets are read. The server's replies pair with the commands in
order, so a reply is an event named after the command that it answers. RFC 5321 4.1.4, 4.2, 4.3;
RFC 3030 (BDAT), RFC 4954 (AUTH), RFC 3207 (STARTTLS), RFC 2920 (pipelining).
"""

from __future__ import annotations

from typing import Final

STATES: Final = {
    "COMMAND": "each line is a command",
    "WAIT": "octets are held until the reply tells what they are",
    "AUTH": "the next line answers a 334",
    "TEXT": "mail text up to CRLF.CRLF",
    "CHUNK": "a counted number of octets",
    "TLS": "nothing is read any more",
    "LOST": "octets are missing: lines count only when they are surely commands",
}

EVENTS: Final = {
    # the client's
    "helo": "HELO, EHLO or LHLO",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "bdat": "BDAT with a size",
    "rset": "RSET",
    "quit": "QUIT",
    "auth": "AUTH",
    "starttls": "STARTTLS or X-ANONYMOUSTLS",
    "xexch50": "XEXCH50 with a size",
    "other": "any other command, known or not, BDAT without a size too",
    "empty": "a line without octets",
    "answer": "a line in the AUTH dialogue",
    "end-of-data": "CRLF.CRLF",
    "chunk-done": "the last octet of a chunk",
    "client-gap": "client octets that are not in the capture",
    # the server's, by the command that is answered
    "data-354": "354 to DATA",
    "data-other": "any other reply to DATA",
    "auth-334": "334 to AUTH or to an answer",
    "auth-other": "any other reply to AUTH or to an answer",
    "starttls-220": "220 to STARTTLS",
    "starttls-other": "any other reply to STARTTLS",
    "xexch50-354": "354 to XEXCH50",
    "xexch50-other": "any other reply to XEXCH50",
    "reply": "a reply to any other command",
    "unsolicited": "a reply while no command waits for one",
    "server-gap": "server octets that are not in the capture",
    "no-reply": "held octets cannot wait longer, and look like mail text",
    "no-reply-command": "held octets cannot wait longer, and look like a command",
    "no-reply-tls": "held octets cannot wait longer, and look like TLS",
    "plain-after-tls": "plain SMTP behind a 220 to STARTTLS (decrypted in place)",
    "implicit-tls": "the connection begins with a TLS record",
    "end-lost": "a reply in a text of which octets are missing: its end mark was among them",
}

# What is done besides the step to the next state. Whatever the action, a command is queued and a reply belongs to the
# oldest command that waits, but where it says "ignore".
ACTIONS: Final = {
    "": "nothing",
    "greet": "an open mail ends; the client's name is kept",
    "mail": "a mail begins unless one is open; where the server takes it all the same, that one ends",
    "rcpt": "the open mail gets a recipient",
    "chunk": "octets are counted, and are mail text",
    "count": "octets are counted, and are no mail text",
    "abort": "an open mail ends",
    "text": "the mail's text begins",
    "refused": "the mail has no text",
    "tls": "what the client sent behind STARTTLS is told; an open mail ends",
    "plain": "the extensions are forgotten; inspection goes on",
    "loose": "a reply without a command: 421, or the reply to a text that goes on",
    "resync": "the queue is forgotten",
    "empty": "a fact; a reply may come",
    "ignore": "not looked at",
}

_ANY: Final = "*"

# (state, event, next state, action); "*" stands for every state not named before it, "=" for the same state.
ROWS: Final = (
    ("COMMAND", "helo", "COMMAND", "greet"),
    ("COMMAND", "mail", "COMMAND", "mail"),
    ("COMMAND", "rcpt", "COMMAND", "rcpt"),
    ("COMMAND", "data", "WAIT", ""),
    ("COMMAND", "bdat", "CHUNK", "chunk"),
    ("COMMAND", "rset", "COMMAND", "abort"),
    ("COMMAND", "quit", "COMMAND", "abort"),
    ("COMMAND", "auth", "WAIT", ""),
    ("COMMAND", "starttls", "WAIT", ""),
    ("COMMAND", "xexch50", "WAIT", "count"),
    ("COMMAND", "other", "COMMAND", ""),
    ("COMMAND", "empty", "COMMAND", "empty"),
    ("COMMAND", "implicit-tls", "TLS", ""),
    ("LOST", "implicit-tls", "TLS", ""),
    # a line that is surely a command ends the uncertainty
    ("LOST", "helo", "COMMAND", "greet"),
    ("LOST", "mail", "COMMAND", "mail"),
    ("LOST", "rcpt", "COMMAND", "rcpt"),
    ("LOST", "data", "WAIT", ""),
    ("LOST", "bdat", "CHUNK", "chunk"),
    ("LOST", "rset", "COMMAND", "abort"),
    ("LOST", "quit", "COMMAND", "abort"),
    ("LOST", "auth", "WAIT", ""),
    ("LOST", "starttls", "WAIT", ""),
    ("LOST", "xexch50", "WAIT", "count"),
    ("LOST", "other", "LOST", "ignore"),
    ("LOST", "empty", "LOST", "ignore"),
    ("AUTH", "answer", "WAIT", ""),
    ("TEXT", "end-of-data", "COMMAND", ""),
    ("TEXT", "end-lost", "LOST", ""),
    ("CHUNK", "chunk-done", "COMMAND", ""),
    ("WAIT", "data-354", "TEXT", "text"),
    ("WAIT", "data-other", "COMMAND", "refused"),
    ("WAIT", "auth-334", "AUTH", ""),
    ("WAIT", "auth-other", "COMMAND", ""),
    ("WAIT", "starttls-220", "TLS", "tls"),
    ("WAIT", "starttls-other", "COMMAND", ""),
    ("WAIT", "xexch50-354", "CHUNK", ""),
    ("WAIT", "xexch50-other", "COMMAND", ""),
    ("WAIT", "no-reply", "TEXT", "text"),
    ("WAIT", "no-reply-command", "COMMAND", ""),
    ("WAIT", "no-reply-tls", "TLS", ""),
    # the reply to DATA came too late: the machine has already guessed
    ("TEXT", "data-354", "TEXT", ""),
    ("TEXT", "data-other", "COMMAND", "refused"),
    (_ANY, "data-354", "=", ""),
    (_ANY, "data-other", "=", ""),
    (_ANY, "auth-334", "=", ""),
    (_ANY, "auth-other", "=", ""),
    (_ANY, "starttls-220", "=", "tls"),
    (_ANY, "starttls-other", "=", ""),
    (_ANY, "xexch50-354", "=", ""),
    (_ANY, "xexch50-other", "=", ""),
    ("TLS", "reply", "TLS", "ignore"),
    (_ANY, "reply", "=", ""),
    ("TLS", "unsolicited", "TLS", "ignore"),
    (_ANY, "unsolicited", "=", "loose"),
    ("TLS", "plain-after-tls", "COMMAND", "plain"),
    # a hole in the client's octets: text and chunks go on, commands are lost with their replies
    ("TEXT", "client-gap", "TEXT", ""),
    ("CHUNK", "client-gap", "CHUNK", ""),
    ("TLS", "client-gap", "TLS", ""),
    ("WAIT", "client-gap", "LOST", "resync"),
    (_ANY, "client-gap", "LOST", "resync"),
    ("TLS", "server-gap", "TLS", ""),
    (_ANY, "server-gap", "=", "resync"),
    # the rest cannot happen: the reader of that state never makes such an event
    (_ANY, "helo", "=", "ignore"),
    (_ANY, "mail", "=", "ignore"),
    (_ANY, "rcpt", "=", "ignore"),
    (_ANY, "data", "=", "ignore"),
    (_ANY, "bdat", "=", "ignore"),
    (_ANY, "rset", "=", "ignore"),
    (_ANY, "quit", "=", "ignore"),
    (_ANY, "auth", "=", "ignore"),
    (_ANY, "starttls", "=", "ignore"),
    (_ANY, "xexch50", "=", "ignore"),
    (_ANY, "other", "=", "ignore"),
    (_ANY, "empty", "=", "ignore"),
    (_ANY, "answer", "=", "ignore"),
    (_ANY, "end-of-data", "=", "ignore"),
    (_ANY, "chunk-done", "=", "ignore"),
    (_ANY, "no-reply", "=", "ignore"),
    (_ANY, "no-reply-command", "=", "ignore"),
    (_ANY, "no-reply-tls", "=", "ignore"),
    (_ANY, "plain-after-tls", "=", "ignore"),
    (_ANY, "implicit-tls", "=", "ignore"),
    (_ANY, "end-lost", "=", "ignore"),
)


def table() -> dict[tuple[str, str], tuple[str, str]]:
    """Every (state, event) with its (next state, action), wildcards resolved; the first row that fits counts."""
    cells: dict[tuple[str, str], tuple[str, str]] = {}
    for state, event, after, action in ROWS:
        for each in STATES if state == _ANY else (state,):
            cells.setdefault((each, event), (each if after == "=" else after, action))
    return cells
