"""What the two mail servers log of a rule: the phrases of `mta/`, with `...` for what differs from mail to mail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from smtpinspect.inspectors.explain import Page, Phase
from smtpinspect.mta.base import Cause, Ending, Envelope, Loss, Step
from smtpinspect.mta.registry import RECEIVERS, SENDERS

_ANY: Final = Envelope("...", ("...",), "...", "...", "...", "...")
_PEER: Final = re.compile(r"\(\.{3}\) \[\.{3}\]|(?:\.{3})?\[\.{3}\]")  # as Exim and Postfix write it


class Quote(NamedTuple):
    """A server's phrase for an end, between the page's own words. `varies`: its part that differs with the command."""

    mta: str
    end: Ending | Loss
    before: str = ""
    behind: str = ""
    varies: str = ""


# A page's own words are a line without a server.
Quotes = tuple[Quote | str, ...]


def _sent(step: Step, cause: Cause = "timeout", command: str = "", reply: str = "") -> Ending:
    return Ending(step, cause, _ANY, command=command, reply=reply, written=0)


def _both(end: Ending | Loss, exim: str = "", postfix: str = "") -> Quotes:
    return Quote("exim", end, behind=exim), Quote("postfix", end, behind=postfix)


_MAIL: Final = _sent("mail", command="MAIL FROM:<...>")
_RCPT: Final = _sent("rcpt", command="RCPT TO:<...>")
_DOT, _BODY = _sent("dot"), _sent("body")
_REFUSED: Final = _sent("mail", "reply", "...", "500 ...")
_ADDRESS: Final = _RCPT._replace(cause="reply", reply="5xx ...")
_NO_TLS: Final = _sent("starttls", "lacking")
_SENDER: Final[Mapping[Phase, Quotes]] = {
    "greeting": _both(_sent("greeting")),
    "ehlo": _both(_sent("ehlo", command="EHLO ...")),
    "command": _both(
        _MAIL,
        "   (the command that was cut; `pipelined MAIL` if sent so)",
        "   (or the command that was cut)",
    ),
    "rcpt": _both(_RCPT),
    "data": (
        Quote("exim", _DOT),
        Quote("exim", _BODY, "large mail: "),
        Quote("postfix", _DOT),
        Quote("postfix", _BODY, "large mail: "),
    ),
    "dot": _both(_DOT),
    "reply": (
        Quote("exim", _sent("mail", command="..."), behind="   (the command whose reply was cut)"),
        Quote("postfix", _MAIL, behind="   (the step whose reply was cut)", varies="sending MAIL FROM"),
    ),
    "refused": (Quote("exim", _REFUSED), Quote("postfix", _REFUSED, varies="MAIL FROM")),
    "address": _both(_ADDRESS, "   (or MAIL FROM)", "   (or MAIL FROM)"),
    "starttls": (
        Quote("exim", _NO_TLS, "no line, the mail goes in clear text; `", "` where TLS is a must"),
        Quote("postfix", _NO_TLS, "no line, or `", "` where TLS is a must"),
    ),
    "content": (
        Quote("exim", _sent("dot", "reply", reply="552 ..."), behind="   (bounced)"),
        Quote("postfix", _sent("dot", "reply", reply="552 ...")),
        "where no 552 was read (deferred, and tried again):",
        Quote("exim", _sent("dot", "reset")),
        Quote("postfix", _sent("body", "reset")),
    ),
}

_SILENT: Final = Loss("ehlo", "timeout", _ANY, peer="...")
_GREETED: Final = _SILENT._replace(step="greeting")
_IN_TEXT: Final = _SILENT._replace(step="body", header_done=True)
_CUT: Final = "   (N: where the text was cut)"
_RECEIVER: Final[Mapping[Phase, Quotes]] = {
    "greeting": _both(_GREETED),
    "ehlo": _both(_GREETED),
    "command": (
        Quote("exim", _SILENT),
        Quote("postfix", _SILENT, behind="   (the last command)", varies="EHLO"),
    ),
    "rcpt": _both(_SILENT._replace(step="rcpt")),
    "data": _both(_IN_TEXT, postfix="   (N: where cut)"),
    "dot": _both(_IN_TEXT),
    "reply": (
        "believes that it answered; after the final dot it may have delivered: retries make duplicates",
        Quote("postfix", _SILENT, varies="EHLO"),
    ),
    "refused": ("a command of X's, or none at all, and its own 500 in the log",),
    "address": ("an address with a space in the place of the character",),
    "starttls": ("a connection without TLS",),
    "content": _both(_IN_TEXT._replace(cause="reset"), postfix=_CUT),
}
# In place of those above where the server is sent an RST: it does not wait for its time-out.
_RECEIVER_RST: Final[Mapping[Phase, Quotes]] = {
    "command": (
        Quote("exim", _SILENT._replace(step="mail", cause="reset"), behind="   (before MAIL: nothing by default)"),
        Quote("postfix", _SILENT._replace(cause="reset"), behind="   (the last command)", varies="EHLO"),
    ),
    "rcpt": _both(_SILENT._replace(step="rcpt", cause="reset")),
    "data": _both(_IN_TEXT._replace(cause="reset"), "   (`(header)` behind it in the header)", _CUT),
}


def sender(page: Page) -> list[tuple[str, str]]:
    """What the client's log holds: pairs of a server's name and a line; "" where the name is that above."""
    return _named(_SENDER.get(page.phase, ()))


def receiver(page: Page) -> list[tuple[str, str]]:
    """What the server's log holds, in the same form."""
    return _named((_RECEIVER_RST if page.rst else _RECEIVER).get(page.phase, ()))


def _named(quotes: Quotes) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    above = ""
    for quote in quotes:
        if isinstance(quote, str):
            above = ""
            told.append(("", quote))
            continue
        title = SENDERS[quote.mta].title.partition(" ")[0]
        told.append((title if title != above else "", f"{quote.before}{_phrase(quote)}{quote.behind}"))
        above = title
    return told


def _phrase(quote: Quote) -> str:
    end = quote.end
    text = SENDERS[quote.mta].text(end) if isinstance(end, Ending) else RECEIVERS[quote.mta].text(end)
    text = _PEER.sub("...", text).replace("(0 bytes", "(N bytes").replace(" D=0s", " D=...")
    return text.replace(quote.varies, "...") if quote.varies else text
