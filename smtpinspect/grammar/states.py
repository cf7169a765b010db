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

ACTIONS: Final = {
    "": "nothing",
    "greet": "queue; an open mail ends",
    "mail": "queue; a mail begins unless one is open",
    "rcpt": "queue; the open mail gets a recipient",
    "ask": "queue",
    "chunk": "queue; count octets",
    "abort": "queue; an open mail ends",
    "text": "the mail's text begins",
    "refused": "the mail has no text",
    "end": "queue the end of data: its reply decides the mail",
    "last": "a chunk is whole; the last one ends the mail's octets",
    "pair": "the reply belongs to the oldest command that waits",
    "tls": "inspection ends",
    "plain": "the extensions are forgotten; inspection goes on",
    "loose": "a reply without a command: 421, or a disputed end mark",
    "resync": "the queue is forgotten",
    "empty": "a fact, and no reply is expected unless one comes",
    "ignore": "not looked at",
}

_ANY: Final = "*"

# (state, event, next state, action); "*" stands for every state not named before it, "=" for the same state.
ROWS: Final = (
    ("COMMAND", "helo", "COMMAND", "greet"),
    ("COMMAND", "mail", "COMMAND", "mail"),
    ("COMMAND", "rcpt", "COMMAND", "rcpt"),
    ("COMMAND", "data", "WAIT", "ask"),
    ("COMMAND", "bdat", "CHUNK", "chunk"),
    ("COMMAND", "rset", "COMMAND", "abort"),
    ("COMMAND", "quit", "COMMAND", "abort"),
    ("COMMAND", "auth", "WAIT", "ask"),
    ("COMMAND", "starttls", "WAIT", "ask"),
    ("COMMAND", "xexch50", "WAIT", "ask"),
    ("COMMAND", "other", "COMMAND", "ask"),
    ("COMMAND", "empty", "COMMAND", "empty"),
    ("COMMAND", "implicit-tls", "TLS", ""),
    ("LOST", "implicit-tls", "TLS", ""),
    # a line that is surely a command ends the uncertainty
    ("LOST", "helo", "COMMAND", "greet"),
    ("LOST", "mail", "COMMAND", "mail"),
    ("LOST", "rcpt", "COMMAND", "rcpt"),
    ("LOST", "data", "WAIT", "ask"),
    ("LOST", "bdat", "CHUNK", "chunk"),
    ("LOST", "rset", "COMMAND", "abort"),
    ("LOST", "quit", "COMMAND", "abort"),
    ("LOST", "auth", "WAIT", "ask"),
    ("LOST", "starttls", "WAIT", "ask"),
    ("LOST", "xexch50", "WAIT", "ask"),
    ("LOST", "other", "LOST", "ignore"),
    ("LOST", "empty", "LOST", "ignore"),
    ("AUTH", "answer", "WAIT", "ask"),
    ("TEXT", "end-of-data", "COMMAND", "end"),
    ("TEXT", "end-lost", "LOST", ""),
    ("CHUNK", "chunk-done", "COMMAND", "last"),
    ("WAIT", "data-354", "TEXT", "text"),
    ("WAIT", "data-other", "COMMAND", "refused"),
    ("WAIT", "auth-334", "AUTH", "pair"),
    ("WAIT", "auth-other", "COMMAND", "pair"),
    ("WAIT", "starttls-220", "TLS", "tls"),
    ("WAIT", "starttls-other", "COMMAND", "pair"),
    ("WAIT", "xexch50-354", "CHUNK", "pair"),
    ("WAIT", "xexch50-other", "COMMAND", "pair"),
    ("WAIT", "no-reply", "TEXT", "text"),
    ("WAIT", "no-reply-command", "COMMAND", ""),
    ("WAIT", "no-reply-tls", "TLS", ""),
    # the reply to DATA came too late: the machine has already guessed
    ("TEXT", "data-354", "TEXT", "pair"),
    ("TEXT", "data-other", "COMMAND", "refused"),
    (_ANY, "data-354", "=", "pair"),
    (_ANY, "data-other", "=", "pair"),
    (_ANY, "auth-334", "=", "pair"),
    (_ANY, "auth-other", "=", "pair"),
    (_ANY, "starttls-220", "=", "pair"),
    (_ANY, "starttls-other", "=", "pair"),
    (_ANY, "xexch50-354", "=", "pair"),
    (_ANY, "xexch50-other", "=", "pair"),
    ("TLS", "reply", "TLS", "ignore"),
    (_ANY, "reply", "=", "pair"),
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
