"""SMTP verbs. A verb's number is its place here; 0 is a verb in no registry."""

from __future__ import annotations

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """A verb, where it is defined, and the EHLO keywords of which one must be offered (none: always allowed)."""

    name: bytes
    source: str
    keywords: tuple[bytes, ...] = ()


VERBS: Final = (
    Verb(b"", "no registry"),
    Verb(b"HELO", "RFC 5321 4.1.1.1"),
    Verb(b"EHLO", "RFC 5321 4.1.1.1"),
    Verb(b"MAIL", "RFC 5321 4.1.1.2"),
    Verb(b"RCPT", "RFC 5321 4.1.1.3"),
    Verb(b"DATA", "RFC 5321 4.1.1.4"),
    Verb(b"RSET", "RFC 5321 4.1.1.5"),
    Verb(b"VRFY", "RFC 5321 4.1.1.6"),
    Verb(b"EXPN", "RFC 5321 4.1.1.7"),
    Verb(b"HELP", "RFC 5321 4.1.1.8"),
    Verb(b"NOOP", "RFC 5321 4.1.1.9"),
    Verb(b"QUIT", "RFC 5321 4.1.1.10"),
    Verb(b"BDAT", "RFC 3030 2", (b"CHUNKING",)),
    Verb(b"AUTH", "RFC 4954 4", (b"AUTH", b"AUTH=")),
    Verb(b"STARTTLS", "RFC 3207 4", (b"STARTTLS",)),
    Verb(b"ETRN", "RFC 1985 3", (b"ETRN",)),
    Verb(b"ATRN", "RFC 2645 5.2.1", (b"ATRN",)),
    Verb(b"TURN", "RFC 821 3.8"),
    Verb(b"SEND", "RFC 821 3.4"),
    Verb(b"SOML", "RFC 821 3.4"),
    Verb(b"SAML", "RFC 821 3.4"),
    Verb(b"BURL", "RFC 4468 3.2", (b"BURL",)),
    Verb(b"XEXCH50", "MS-XEXCH50", (b"XEXCH50",)),
    Verb(b"X-EXPS", "MS-SMTPNTLM", (b"X-EXPS",)),
    Verb(b"X-LINK2STATE", "Exchange 2000 link state", (b"X-LINK2STATE",)),
    Verb(b"X-ANONYMOUSTLS", "Exchange 2007", (b"X-ANONYMOUSTLS",)),
    Verb(b"XCLIENT", "Postfix XCLIENT_README", (b"XCLIENT",)),
    Verb(b"XFORWARD", "Postfix XFORWARD_README", (b"XFORWARD",)),
    Verb(b"LHLO", "RFC 2033 4.1"),
    Verb(b"VERB", "Sendmail"),
    Verb(b"ONEX", "Sendmail"),
    Verb(b"EMAL", "RFC 821 successor draft"),
    Verb(b"ESND", "RFC 821 successor draft"),
    Verb(b"ESOM", "RFC 821 successor draft"),
    Verb(b"ESAM", "RFC 821 successor draft"),
    Verb(b"EVFY", "RFC 821 successor draft"),
    Verb(b"CMDS", "Sendmail"),
)

NUMBER: Final = {verb.name: number for number, verb in enumerate(VERBS)}


def hides(verb: str) -> bool:
    """Does a secret stand behind this verb and a word more? AUTH's (RFC 4954 4), whatever a box made of its verb.

    Cisco's MailGuard overwrites it with XXXX or NOOP, and leaves the argument.
    """
    return verb in ("AUTH", "X-EXPS", "NOOP") or verb.startswith("XXXX")


# Parameters of MAIL and RCPT and the keyword that the server must have offered (RFC 1870, 6152, 6531, 3461, 3030,
# 4954).
PARAMETERS: Final = {
    b"SIZE": b"SIZE",
    b"BODY": b"8BITMIME",
    b"SMTPUTF8": b"SMTPUTF8",
    b"RET": b"DSN",
    b"ENVID": b"DSN",
    b"NOTIFY": b"DSN",
    b"ORCPT": b"DSN",
    b"AUTH": b"AUTH",
}
