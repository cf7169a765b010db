"""What a mail administrator reads about each rule. Signature ids are never given to another rule."""

from __future__ import annotations

from typing import Final

from smtpinspect.inspectors.explain import Page
from smtpinspect.inspectors.stormshield.profiles import ALARMS

_CUT: Final = "drops packet and retransmissions; nobody gets an SMTP code"
_NAMED: Final = "name: confirmed; that it blocks: inferred; trigger: our assumption"
_LIMITED: Final = "name and range: confirmed; that it blocks: inferred; trigger and limit: our assumption"
_FILTER: Final = "the switch: confirmed; that it drops the command: our assumption"

PAGES: Final = {
    "stormshield.smtp-122": Page(
        2002000,
        ALARMS[122].title,
        "the message header holds a control character, a field name outside printable ASCII, a line "
        "without a colon, "
        "or an 8-bit byte outside the Subject",
        _CUT,
        "display names in raw Latin-1 or UTF-8 (RFC 5322 2.2; RFC 6532 allows UTF-8 with SMTPUTF8 only)",
        ("Altospam", "RFC 5322", "RFC 6532", "project"),
        phase="data",
        certainty=_NAMED,
        sender_can="encode the field (RFC 2047); no control characters in display names",
    ),
    "stormshield.smtp-217.command": Page(
        2002001,
        ALARMS[217].title,
        "a command or AUTH line is longer than CommandLineLimit (we use 4,096; the product allows 64 to "
        "4,096)",
        _CUT,
        "AUTH with a large GSSAPI or OAUTH token (RFC 4954 allows 12,288 bytes)",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "RFC 5321", "project"),
        phase="command",
        certainty=_LIMITED,
        sender_can="a shorter AUTH mechanism",
    ),
    "stormshield.smtp-217.reply": Page(
        2002002,
        ALARMS[217].title,
        "a line of the server's reply is longer than ServerLineLimit (we use 4,096; the product allows 64 "
        "to 4,096)",
        "drops the reply; after the final dot the mail has arrived and is sent again",
        "refusals that quote a long explanation, EHLO lines with many AUTH mechanisms (RFC 5321 "
        "4.5.3.1.5: 512)",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "RFC 5321", "project"),
        phase="reply",
        certainty=_LIMITED,
    ),
    "stormshield.smtp-217.header": Page(
        2002003,
        ALARMS[217].title,
        "a header line is longer than HeaderLineLimit (we use 4,096; the product allows 64 to 4,096)",
        _CUT,
        "long References, To, DKIM-Signature or DMARC lines that are not folded (RFC 5322 2.1.1)",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "RFC 5322", "project"),
        phase="data",
        certainty=_LIMITED,
        sender_can="fold the line; keep References short",
    ),
    "stormshield.smtp-217.bdat": Page(
        2002004,
        ALARMS[217].title,
        "BDAT announces more bytes than BdatSize (we use 10,485,760; the product allows 102,400 to "
        "10,485,760)",
        _CUT,
        "large mails that are sent as one chunk (RFC 3030)",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="command",
        certainty=_LIMITED,
        sender_can="DATA in place of BDAT (Exim: hosts_try_chunking empty), or smaller chunks",
    ),
    "stormshield.smtp-217.xexch50": Page(
        2002005,
        ALARMS[217].title,
        "XEXCH50 announces more bytes than Xexch50Size (we use 1,073,741,824; the product allows 102,400 "
        "and up)",
        _CUT,
        "none: a block of this size does not occur",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="command",
        certainty=_LIMITED,
    ),
    "stormshield.smtp-219.command": Page(
        2002006,
        ALARMS[219].title,
        "the client sends an empty line where a command is due",
        _CUT + "; a pipelined command in the same segment is lost with it",
        "a stray CR LF behind a BDAT chunk or the final dot; keep-alives; probes of a monitoring system",
        ("Altospam", "project"),
        phase="command",
        certainty=_NAMED,
        sender_can="no line end behind the chunk or the dot",
    ),
    "stormshield.smtp-219.reply": Page(
        2002007,
        ALARMS[219].title,
        "the server sends an empty line, or one too short for a code",
        "drops the reply; the client waits for it",
        "home-made servers; a PIX that answers the two letters OK",
        ("Altospam", "project"),
        phase="reply",
        certainty=_NAMED,
    ),
    "stormshield.smtp-223": Page(
        2002008,
        ALARMS[223].title,
        "the server answers 500 or 502 to a command (mode reply), or the client uses what the server did not "
        "advertise (mode advertised)",
        "drops that reply, or that command; a fall-back from EHLO to HELO never happens",
        "EHLO to a server that knows HELO only (RFC 5321 3.2); AUTH, STARTTLS or VRFY tried on the "
        "off-chance",
        ("Altospam", "RFC 5321", "project"),
        phase="reply",
        certainty="name: confirmed; that it blocks: inferred; both readings of the trigger: our assumption",
        sender_can="send HELO and the plain commands to this host (Exim: hosts_avoid_esmtp; Postfix: "
        "smtp_never_send_ehlo)",
    ),
    "stormshield.smtp-231": Page(
        2002009,
        ALARMS[231].title,
        "a byte of 128 or more in the Subject field, folded lines included",
        _CUT,
        "Subject in raw Latin-1 or UTF-8 from scripts and old mailers (RFC 5322 2.2); SMTPUTF8 mail (RFC "
        "6532)",
        ("Altospam", "SNS manual, applications", "RFC 6532", "project"),
        phase="data",
        certainty="name: confirmed; that it blocks, and passes under template internet: inferred; "
        "the bytes that trip it: our assumption",
        sender_can="encode the Subject (RFC 2047)",
    ),
    "stormshield.filter-chunking": Page(
        2002010,
        "Filter the CHUNKING extension",
        "the client sends BDAT and FilterChunkedExtension is on",
        _CUT,
        "every mail from a sender that prefers BDAT (RFC 3030)",
        ("SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        sender_can="DATA in place of BDAT (Exim: hosts_try_chunking empty)",
        ask="stormshield:high,filter_chunked_extension=on",
    ),
    "stormshield.filter-exchange": Page(
        2002011,
        "Filter Microsoft Exchange Server extensions",
        "the client sends XEXCH50 or an X- verb of Exchange and FilterExchangeExtensions is on",
        _CUT,
        "mail between Exchange 2000 and 2003 servers, which authenticate by X-EXPS and send XEXCH50 before DATA",
        ("SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        ask="stormshield:high,filter_exchange_extensions=on",
    ),
    "stormshield.filter-turning": Page(
        2002012,
        "Filter ATRN and ETRN",
        "the client sends ATRN or ETRN and FilterTurningExtensions is on",
        _CUT,
        "sites that fetch their queue by ETRN (RFC 1985)",
        ("SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        ask="stormshield:high,filter_turning_extensions=on",
    ),
    "stormshield.filter-pipelining": Page(
        2002013,
        "Filter the PIPELINING extension",
        "the client sends a command before the last one is answered and FilterPipeliningExtension is on",
        _CUT,
        "every mail over PIPELINING (RFC 2920)",
        ("SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        sender_can="no pipelining to this host (Exim: hosts_avoid_pipelining)",
        ask="stormshield:high,filter_pipelining_extension=on",
    ),
    "stormshield.pipelined-limit": Page(
        2002014,
        "Too many pipelined commands",
        "more commands wait for their reply than OutstandingPipelinedRequestLimit (0 is unlimited, and our "
        "assumption; the product allows 0 to 1,024)",
        _CUT,
        "mails to many recipients over PIPELINING (RFC 2920)",
        ("SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        ask="stormshield:high,outstanding_pipelined_request_limit=10",
    ),
    "stormshield.command-denied": Page(
        2002015,
        "Prohibited SMTP command",
        "the verb is in DenyOp, or AllowOp is not empty and does not hold it",
        _CUT,
        "an AllowOp that forgets RSET, NOOP or VRFY, which every server takes (RFC 5321 4.5.1), or AUTH, "
        "STARTTLS or BDAT, which senders use where they are offered",
        ("SNS manual, SMTP commands", "SNS CLI", "project"),
        phase="command",
        certainty=_FILTER,
        ask="stormshield:high,deny_op=VRFY+EXPN",
    ),
}

FAMILIES: Final = {
    "stormshield.smtp-217": Page(
        2002001,
        ALARMS[217].title,
        "a command, reply or header line is longer than its limit (we use 4,096; the product allows 64 to "
        "4,096), or "
        "BDAT or XEXCH50 announces more than theirs",
        _CUT,
        "long References, DKIM-Signature or DMARC lines (RFC 5322 2.1.1); AUTH with a large token (RFC 4954)",
        ("Altospam", "SNS manual, SMTP IPS tab", "SNS CLI", "project"),
        phase="data",
        certainty=_LIMITED,
        sender_can="fold the line; keep References short; smaller BDAT chunks, or DATA",
    ),
    "stormshield.smtp-219": Page(
        2002006,
        ALARMS[219].title,
        "the client sends an empty line where a command is due, or the server a line that is empty or too "
        "short for a code",
        _CUT,
        "a stray CR LF behind a BDAT chunk or the final dot; keep-alives; probes of a monitoring system",
        ("Altospam", "project"),
        phase="command",
        certainty=_NAMED,
        sender_can="no line end behind the chunk or the dot",
    ),
}
