"""The smallest change at the sender that does not trip a rule, by rule and mail server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Case, Remedy
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.simulate.guess import sender_of


class Change(NamedTuple):
    """`by`: lines to paste by mail server, named as `--mta` does: commands of a shell, and what stands in no command
    as its comments; `loses` what it costs.

    PEER is the server's address. An inline table of Postfix (3.0 or later) takes the place of one that is there.
    """

    title: str
    by: Mapping[str, tuple[str, ...]] = {}
    loses: str = "nothing"
    check: str = "send the mail again"
    undo: str = "nothing to undo"


_OLD: Final = "the value that was there before"


def _postfix(**settings: str) -> tuple[str, ...]:
    """A line that prints what undo sets again, and one that sets."""
    said = " ".join(f"'{name}={value}'" for name, value in settings.items())
    return (f"postconf {' '.join(settings)}  # what undo sets again", f"postconf -e {said}")


def _exim(*options: str) -> tuple[str, ...]:
    return tuple(f"# Exim, transport smtp: {each}" for each in options)


def _discard(keywords: str) -> tuple[str, ...]:
    return _postfix(smtp_discard_ehlo_keyword_address_maps=f"inline:{{{{PEER = {keywords}}}}}")


_ENCODE: Final = Change(
    "encode the field: =?UTF-8?Q?...?= (RFC 2047)",
    loses="nothing: every mail program shows the encoded words as text",
    check="no byte above 127 in the headers of the message as sent",
)
_FOLD: Final = Change(
    "fold the header line: at most 998 bytes, better 78 (RFC 5322 2.1.1)",
    check="awk 'length > 998' message.eml prints nothing",
)
_HEADER_CHECKS: Final = "/etc/postfix/smtp_header_checks"
# Of a field that is longer than its use: {field}.
_DROP: Final = Change(
    "fold {field}: at most 998 bytes a line, better 78 (RFC 5322 2.1.1); or leave it out",
    {
        "postfix": (
            f"echo '/^{{field}}:/ IGNORE' >>{_HEADER_CHECKS}",
            *_postfix(smtp_header_checks=f"regexp:{_HEADER_CHECKS}"),
        ),
        "exim": _exim("headers_remove = {field}"),
    },
    loses="what {field} tells, where it is left out",
    check="awk 'length > 998' message.eml prints nothing",
    undo=_OLD,
)
_THREADS: Final = _DROP._replace(
    title="keep fewer entries in {field}, or fold it: at most 998 bytes a line, better 78 (RFC 5322 2.1.1)",
    loses="without {field}, threads fall apart at the receiver",
)
_NO_BDAT: Final = Change(
    "send with DATA in place of BDAT",
    {
        # Postfix never sends BDAT
        "exim": _exim("hosts_try_chunking = <; !PEER ; *"),
        "exchange": ("# Exchange: Set-SendConnector NAME -ForceHELO $true",),
    },
    loses="messages with binary parts are encoded",
    check="the next capture shows DATA and no BDAT",
    undo=_OLD,
)
_NO_PIPELINING: Final = Change(
    "send one command at a time",
    {
        "postfix": _discard("pipelining"),
        "exim": _exim("hosts_avoid_pipelining = <; PEER"),
        "sendmail": ("# Sendmail, mailertable: the mailer smtp (HELO, or EHLO only where offered) for this domain",),
    },
    loses="one round trip for each command",
    check="the next capture shows each command behind the reply to the one before it",
    undo=_OLD,
)
_NO_ESMTP: Final = Change(
    "greet with HELO",
    {
        "postfix": ("# Postfix, main.cf, for a transport of this domain alone: smtp_never_send_ehlo = yes",),
        "exim": _exim("hosts_avoid_esmtp = <; PEER"),
    },
    loses="TLS, SIZE and delivery notifications on request, to this peer",
    check="the next capture shows HELO",
    undo=_OLD,
)
_SAY_EHLO: Final = Change(
    "say EHLO behind a greeting of stars, too (a PIX refuses it, an ASA does not)",
    {"postfix": _postfix(smtp_pix_workarounds="delay_dotcrlf")},
    loses="nothing; behind a PIX one round trip, EHLO is refused and HELO comes behind it",
    check="the next capture shows EHLO",
    undo=_OLD,
)
_NO_AUTH: Final = Change(
    "a shorter AUTH mechanism (PLAIN or LOGIN over TLS in place of GSSAPI, NTLM or OAuth)",
    loses="what the longer one keeps secret, where there is no TLS",
    check="the next capture shows no command line above 512 bytes",
    undo="the old mechanism",
)
_SLOW_DOT: Final = Change(
    "let the end of data travel in a segment of its own",
    {
        "postfix": _postfix(smtp_pix_workarounds="delay_dotcrlf", smtp_pix_workaround_threshold_time="0s"),
    },
    loses="10 s for each mail to a server whose greeting is starred",
    check="the next capture shows a pause of 10 s before the dot",
    undo=_OLD,
)
_NO_ZIP: Final = Change(
    "the archive without a password, as 7z, or behind a link; or TLS on the way, where the box cannot read it",
    loses="without a password, the secrecy of the attachment",
    check="unzip -v of the archive marks no file as encrypted",
)
_NO_MACRO: Final = Change(
    "the document without macros (.docx, .xlsx, .pptx), as PDF, or behind a link", loses="what its macros do"
)
_UNPACKED: Final = Change("the program unpacked (upx -d), or behind a link", loses="the smaller size")
_ONE_ARCHIVE: Final = Change("all files in one archive, not archives in an archive")
_FEWER: Final = Change(
    "fewer recipients in a mail",
    {
        "postfix": _postfix(smtp_destination_recipient_limit="50"),
        "exim": _exim("max_rcpt = 50"),
        "sendmail": ("# Sendmail, sendmail.cf: r=50 in the line of the mailer Mesmtp",),
    },
    loses="a copy of the mail for each group of recipients",
    check="the next capture shows at most 50 RCPT in a mail",
    undo=_OLD,
)
_CRLF: Final = Change("end every line with CR LF (RFC 5321 2.3.8), and put no empty line between commands")
_KNOWN: Final = Change(
    "send no command that the server does not offer in its reply to EHLO", loses="what that command does"
)
_NAME: Final = Change("a shorter name for the attachment")
_ADDRESS: Final = Change("an address without | and without stray brackets")
_TLS: Final = Change(
    "let the mail go in the clear to this peer, or wait until the firewall lets STARTTLS through",
    {
        "postfix": ("# Postfix, smtp_tls_policy_maps, for the next hop: may",),
        "exim": _exim("hosts_require_tls = <; !PEER ; *"),
    },
    loses="secrecy on the way",
    check="the mail arrives; the next capture shows it in the clear",
    undo=_OLD,
)
_DKIM: Final = Change(
    "leave Content-Type out of the fields that DKIM signs (h=)", loses="that field's protection",
    check="the signature of the next mail has no content-type in h=", undo="the old list of fields",
)
_WRITES: Final = Change("send each command in one write, TCP_NODELAY or not; in telnet: line mode")

CHANGES: Final[Mapping[str, Change]] = {
    "stormshield.smtp-122": _ENCODE._replace(
        title="encode the field (RFC 2047), no control characters, no line without a colon in the headers",
        check="the header has no byte above 127, no control character, no line without a colon",
    ),
    "stormshield.smtp-231": _ENCODE._replace(title="encode the Subject: =?UTF-8?Q?...?= (RFC 2047)"),
    "stormshield.smtp-217.header": _FOLD,
    "mailguard.header-line-length": _FOLD,
    "mailguard.body-line-length": Change("send the body as quoted-printable (RFC 2045 6.7): lines of 76 bytes"),
    "stormshield.smtp-217.command": _NO_AUTH,
    "stormshield.smtp-217.bdat": _NO_BDAT,
    "stormshield.filter-chunking": _NO_BDAT,
    "stormshield.filter-pipelining": _NO_PIPELINING,
    "stormshield.pipelined-limit": _NO_PIPELINING,
    "stormshield.smtp-219.command": _CRLF,
    "stormshield.smtp-223": _KNOWN,
    "mailguard.command-termination": _CRLF,
    "mailguard.command-split": _WRITES,
    "mailguard.command-not-allowed": _NO_ESMTP,
    "mailguard.ehlo-blocked": _NO_ESMTP,
    "mailguard.cmd-verb": _NO_ESMTP,
    "mailguard.banner-masked": _SAY_EHLO,
    "mailguard.starttls-blocked": _TLS,
    "mailguard.ehlo-param-masked": _TLS,
    "mailguard.rcpt-count": _FEWER,
    "mailguard.mime-filename-length": _NAME,
    "mailguard.address-pipe": _ADDRESS,
    "mailguard.address-angle": _ADDRESS,
    "mailguard.special-character": _ADDRESS,
    "mailguard.eod-split": _SLOW_DOT,
    "mailguard.dkim-content-type": _DKIM,
    "sonicwall.encrypted-zip": _NO_ZIP,
    "sonicwall.office-macro": _NO_MACRO,
    "sonicwall.packed-exe": _UNPACKED,
    "sonicwall.packed-exe-extended": _UNPACKED,
    "sonicwall.nested-archive": _ONE_ARCHIVE,
}
# What the words of a rule's page to the sender cost; a rule that is not named: nothing.
COSTS: Final[Mapping[str, str]] = {
    "mailguard.body-length": "the attachment in the mail itself",
    "mailguard.header-length": "the addresses and the references that are left out",
    "mailguard.to-fields-count": "readers do not see who else got it",
    "mailguard.mime-filetype": "a step more for who opens it",
    "mailguard.mime-encoding": "a larger text",
    "mailguard.sender-regex": "bounces go to the other address",
    "mailguard.rate-limit": "mails arrive later",
}
_FIELD: Final = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,60}):")
_THREADED: Final = ("references", "in-reply-to", "thread-index")
_GREETS: Final = frozenset({"mailguard.ehlo-blocked", "mailguard.banner-masked"})
_ORDER: Final = ("postfix", "exim", "sendmail", "opensmtpd", "exchange", "qmail")


def changes(case: Case, rule: str) -> tuple[Remedy, ...]:
    """What the sender can do by itself: the mail server that sent it first; nothing where only the firewall can."""
    change = _TLS if rule in _GREETS and _wants_tls(case) else CHANGES.get(rule)
    field = ""
    if change is _FOLD and (field := _long_field(case)):
        change = _THREADS if field.lower() in _THREADED else _DROP if field.lower().startswith("x-") else _FOLD
    if change is None:
        said = _page(rule)
        told = Remedy("sender", said, (), COSTS.get(rule, "nothing"), "send the mail again", "nothing to undo")
        return (told,) if said else ()
    mta = sender_of(case.transaction)
    peer = case.path[1].strip("[]")
    named = [mta] if mta in change.by else [name for name in _ORDER if name in change.by]
    lines = [line.replace("PEER", peer).replace("{field}", field) for name in named if name for line in change.by[name]]
    title, loses = change.title.replace("{field}", field), change.loses.replace("{field}", field)
    return (Remedy("sender", title, tuple(lines), loses, change.check, change.undo),)


def _long_field(case: Case) -> str:
    """Which field of the header that was sent has the longest line; "" where the capture does not tell."""
    text = case.transaction.text if case.transaction is not None else b""
    name, longest = "", (0, "")
    for line in text.partition(b"\r\n\r\n")[0].split(b"\n"):
        found = _FIELD.match(line)
        if found is not None or line[:1] not in b" \t":
            name = found[1].decode() if found is not None else ""  # a folded line is of the field before it
        longest = max(longest, (len(line), name), key=lambda each: each[0])
    return longest[1]


def _wants_tls(case: Case) -> bool:
    """Is the client greeted, and leaves without a mail?"""
    if case.script is None or case.mail is not None:
        return False
    said = [each for each in case.script.commands if each.verb in ("EHLO", "HELO") and each.reply is not None]
    return bool(said) and said[-1].reply is not None and said[-1].reply.code == 250


@cache
def _page(rule: str) -> str:
    """What the rule's page says to the sender."""
    try:
        return registry.find(rule.partition(".")[0]).pages[rule].sender_can
    except (UsageError, KeyError):
        return ""
