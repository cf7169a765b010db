"""The words of a diagnosis, as `diagnose --help` explains them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

HEADLINES: Final[Mapping[str, str]] = {
    "DELIVERED": "the server took it, for all recipients or for so many",
    "NOT DELIVERED": "the end of the text never reached the server",
    "MAY HAVE BEEN DELIVERED": "it broke behind the end of the text; the server may have it: retries make duplicates",
    "ACCEPTED, TOO LATE": "the server took it when the sender had given up: it is sent again, and comes twice",
    "REJECTED, DEFERRED": "a 5xx, or a 4xx, came back: from the server or from a box in its name",
    "NOT KNOWN": "the capture does not show what became of it",
    "NO MAIL SEEN": "a connection in which no mail can be seen (TLS), or that ended before one",
    "NOT RECEIVED": "a receiver's log: before the text had come; BROKEN OFF: later, or not known where",
}
BYTES: Final = (
    "the first and the last one, counted from 0: in all that this side sent, or in the message, final dot and all"
)
SENDER: Final = "who opened the connection and sends the mail; the server is to take it"
LABELS: Final[Mapping[str, str]] = {
    "TIMELINE": "each phase, or command: when it began, how long it took, which packet",
    "ITS LOG, MAIL LOG": "lines of the firewall's log, of a mail server's log, about this very mail",
    "sender, client": SENDER,
    "bytes 125-465": BYTES,
    "CONTRAST": "mails that were accepted are the control group: a property crossed with what became of the mails",
    "REFUTED": "a rule that an accepted mail on the same path trips, too",
    "RULED OUT": "a look-alike that the packets exclude, and why (names below)",
    "WHAT IF": "replayed with these rules off: does the mail go through? the smallest set that does it",
    "DO": "remedies, the smallest step first: what you lose, how to check, how to undo",
    "ASK THEM": "questions to the other side, ready to send",
    "POSSIBLE": "of a log line: what fits it; a line alone tells no product",
    "CANNOT TELL": "of a log line: what its text leaves open",
}
PHASES: Final[Mapping[str, str]] = {
    "connect": "TCP's handshake",
    "greeting": "the server's 220",
    "ehlo": "EHLO or HELO, STARTTLS and AUTH",
    "mail, rcpt": "MAIL, RCPT and the replies to them",
    "datacmd": "DATA",
    "reply354": "the server's go-ahead to it",
    "databody": "the first segment of the text",
    "datamid": "the text behind it",
    "dot": "the end of the text",
    "dotreply": "the reply to that",
    "quit": "QUIT",
}
MONTH: Final[Mapping[str, str]] = {
    "CONTENT": "what failed never passed, at no size and however often it was tried",
    "SIZE OR CONTENT": "those above a size fail, those below pass",
    "PATH MTU": "so, and that size is the one of a packet",
    "PATH OR HOST": "not one mail got through",
    "ONE SERVER": "one address or host of several fails, the others take the mail",
    "PASSES LATER": "the same mail passes when sent again: segments' borders, loss, load, greylisting",
    "OUTAGE?": "all that failed did so while nothing passed",
    "BEGAN": "a day before which all passed, more than chance allows",
    "ANSWERED": "a code came back",
    "TOO FEW": "the numbers part nothing",
    "TRIED ONCE": "hardly any was sent again: their content, or something that was over by then",
}


def lines(width: int = 79) -> Iterator[str]:
    """Every table with its head."""
    from smtpinspect.diagnose.lookalikes.table import TABLE

    alike = {row.name: row.title for row in TABLE}
    for head, table in (
        ("what became of the mail:", HEADLINES),
        ("what stands on the page:", LABELS),
        ("phases of a dialogue:", PHASES),
        ("look-alikes, which break a mail as a rule does and are none:", alike),
        ("a month of a log, by destination:", MONTH),
    ):
        yield head
        column = max(map(len, table))
        for word, means in table.items():
            lead = f"  {word:<{column}}  "
            yield from textwrap.wrap(means, width, initial_indent=lead, subsequent_indent=" " * (column + 4))
        yield ""
