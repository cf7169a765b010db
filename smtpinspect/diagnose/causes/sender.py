"""The smallest change at the sender that does not trip a rule, by rule and mail server."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Case, Remedy
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.simulate.guess import sender_of


class Change(NamedTuple):
    """`by`: settings by mail server, named as `--mta` does; `loses` what it costs."""

    title: str
    by: Mapping[str, tuple[str, ...]] = {}
    loses: str = ""
    check: str = "send the mail again"
    undo: str = "the old setting"


_ENCODE: Final = Change(
    "encode the field: =?UTF-8?Q?...?= (RFC 2047)",
    loses="nothing: every mail program shows the encoded words as text",
    check="no byte above 127 in the headers of the message as sent",
    undo="nothing to undo",
)
_FOLD: Final = Change(
    "fold the header line: at most 998 bytes, better 78 (RFC 5322 2.1.1); drop old entries of References",
    {"postfix": ("header_checks: /^References:/ IGNORE",), "exim": ("headers_remove = References",)},
    loses="without References, threads fall apart at the receiver",
    check="awk 'length > 998' message.eml prints nothing",
)
_NO_BDAT: Final = Change(
    "send with DATA in place of BDAT",
    {
        "postfix": ("smtp_discard_ehlo_keyword_address_maps: PEER chunking",),
        "exim": ("hosts_try_chunking = !PEER : *",),
        "exchange": ("Set-SendConnector CONNECTOR -ForceHELO $true",),
    },
    loses="messages with binary parts are encoded",
    check="the next capture shows DATA and no BDAT",
)
_NO_PIPELINING: Final = Change(
    "send one command at a time",
    {
        "postfix": ("smtp_discard_ehlo_keyword_address_maps: PEER pipelining",),
        "exim": ("hosts_avoid_pipelining = PEER",),
        "sendmail": ("ESMTP keywords are followed as offered: use the relay mailer (HELO) for PEER in mailertable",),
    },
    loses="one round trip for each command",
    check="the next capture shows each command behind the reply to the one before it",
)
_NO_ESMTP: Final = Change(
    "greet with HELO",
    {
        "postfix": ("smtp_discard_ehlo_keyword_address_maps: PEER pipelining, starttls, chunking, dsn, size, auth",),
        "exim": ("hosts_avoid_esmtp = PEER",),
    },
    loses="TLS, SIZE and delivery notifications on request, to this peer",
    check="the next capture shows HELO",
)
_SAY_EHLO: Final = Change(
    "say EHLO behind a greeting of stars, too (a PIX refuses it, an ASA does not)",
    {"postfix": ("smtp_pix_workarounds = delay_dotcrlf",)},
    loses="nothing; behind a PIX one round trip, EHLO is refused and HELO comes behind it",
    check="the next capture shows EHLO",
    undo="postconf -# smtp_pix_workarounds",
)
_NO_AUTH: Final = Change("a shorter AUTH mechanism (PLAIN or LOGIN over TLS in place of GSSAPI, NTLM or OAuth)")
_SLOW_DOT: Final = Change(
    "let the end of data travel in a segment of its own",
    {
        "postfix": (
            "smtp_pix_workarounds = delay_dotcrlf",
            "smtp_pix_workaround_threshold_time = 0s",
        ),
    },
    loses="10 s for each mail to this peer",
    check="the next capture shows a pause of 10 s before the dot",
    undo="postconf -# smtp_pix_workarounds smtp_pix_workaround_threshold_time",
)
_NO_ZIP: Final = Change(
    "the archive without a password, as 7z, or behind a link; or TLS on the way, where the box cannot read it",
    loses="without a password, the secrecy of the attachment",
)
_NO_MACRO: Final = Change("the document without macros (.docx, .xlsx, .pptx), as PDF, or behind a link")
_UNPACKED: Final = Change("the program unpacked (upx -d), or behind a link")
_ONE_ARCHIVE: Final = Change("all files in one archive, not archives in an archive")
_FEWER: Final = Change(
    "fewer recipients in a mail",
    {
        "postfix": ("smtp_destination_recipient_limit = 50",),
        "exim": ("max_rcpt = 50 (of the smtp transport)",),
        "sendmail": ("r=50 in the mailer's definition",),
    },
    loses="a copy of the mail for each group of recipients",
)
_CRLF: Final = Change("end every line with CR LF (RFC 5321 2.3.8), and put no empty line between commands")
_KNOWN: Final = Change("send no command that the server does not offer in its reply to EHLO")
_NAME: Final = Change("a shorter name for the attachment")
_ADDRESS: Final = Change("an address without | and without stray brackets")
_TLS: Final = Change(
    "let the mail go in the clear to this peer, or wait until the firewall lets STARTTLS through",
    {
        "postfix": ("smtp_tls_policy_maps: PEER may",),
        "exim": ("hosts_require_tls without PEER",),
    },
    loses="secrecy on the way",
)
_DKIM: Final = Change("leave Content-Type out of the fields that DKIM signs (h=)", loses="that field's protection")
_WRITES: Final = Change("send each command in one write, TCP_NODELAY or not; in telnet: line mode")

CHANGES: Final[Mapping[str, Change]] = {
    "stormshield.smtp-122": _ENCODE._replace(
        title="encode the field (RFC 2047), no control characters, no line without a colon in the headers"
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
_GREETS: Final = frozenset({"mailguard.ehlo-blocked", "mailguard.banner-masked"})
_ORDER: Final = ("postfix", "exim", "sendmail", "opensmtpd", "exchange", "qmail")


def changes(case: Case, rule: str) -> tuple[Remedy, ...]:
    """What the sender can do by itself: the mail server that sent it first; nothing where only the firewall can."""
    change = _TLS if rule in _GREETS and _wants_tls(case) else CHANGES.get(rule)
    if change is None:
        said = _page(rule)
        return (Remedy("sender", said),) if said else ()
    mta = sender_of(case.transaction)
    peer = case.path[1]
    named = [mta] if mta in change.by else [name for name in _ORDER if name in change.by]
    lines = tuple(f"{name}: {line.replace('PEER', peer)}" for name in named if name for line in change.by[name])
    return (Remedy("sender", change.title, lines, change.loses, change.check, change.undo),)


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
