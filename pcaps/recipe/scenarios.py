"""The captures, one row each, in the order of the README's table."""

import exim
import opensmtpd
import swaks
from mailguard import banner_and_keywords_masked, ehlo_overwritten
from messages import MULTIPART, Text, attached, references
from scenario import Scenario

STEP_BY_STEP = {"smtpd_discard_ehlo_keywords": "pipelining, chunking"}
NO_CHUNKING = {"smtpd_discard_ehlo_keywords": "chunking"}
# With SMTPUTF8 on both sides, Postfix asks for it when a header field is not ASCII.
NO_SMTPUTF8 = {"smtputf8_enable": "no"}
SERVER_KEY = "/etc/ssl/mx.pem"  # where the lab puts a key and its certificate

TYPED_ENVELOPE = ("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>", "DATA")
TYPED_TEXT = (
    "From: Alice Martin <alice@example.org>",
    "To: Bob <bob@example.net>",
    "Subject: Minutes of the meeting",
    "",
    "Dear Bob,",
)

SCENARIOS = (
    Scenario(
        name="clean-delivery",
        shows="One mail, EHLO, one command at a time, accepted.",
        made="server: `smtpd_discard_ehlo_keywords = pipelining, chunking`",
        server_settings=STEP_BY_STEP,
    ),
    Scenario(
        name="pipelined",
        shows="MAIL, RCPT and DATA in one segment; the text, the dot and QUIT in another, with the FIN.",
        made="server: `smtpd_discard_ehlo_keywords = chunking`, else Exim uses BDAT",
        client=exim,
        server_settings=NO_CHUNKING,
    ),
    Scenario(
        name="starttls",
        shows="STARTTLS accepted, self-signed certificate; the mail is encrypted.",
        made="client: `hosts_require_tls = *`; server: `tls_advertise_hosts = *`",
        server=exim,
        client=exim,
        certificate=True,
        server_settings={"tls_advertise_hosts": "*", "tls_certificate": SERVER_KEY},
        client_settings={"hosts_require_tls": "*", "hosts_avoid_tls": ""},
    ),
    Scenario(
        name="bdat",
        shows="The text by BDAT LAST (CHUNKING), in one segment with MAIL and QUIT. Nanosecond time stamps.",
        made="no TLS",
        server=exim,
        client=exim,
        nanoseconds=True,
    ),
    Scenario(
        name="several-mails",
        shows="Three mails in one connection, RSET between them; the client closes without QUIT.",
        made="client: `smtp_connection_cache_destinations = static:all`, one delivery at a time",
        mails=tuple(
            Text(subject=f"Minutes: {on}", name=f"minutes-{on}") for on in ("budget", "rooms", "staff")
        ),
        client_settings={
            "smtp_connection_cache_destinations": "static:all",
            "smtp_destination_concurrency_limit": "1",
            "smtp_destination_recipient_limit": "1",
        },
    ),
    Scenario(
        name="ipv6",
        shows="One mail over IPv6, pipelined. Nanosecond time stamps.",
        made="client: `relayhost = [2001:db8:2::25]`",
        server=exim,
        ipv6=True,
        nanoseconds=True,
    ),
    Scenario(
        name="opensmtpd-delivery",
        shows="One mail between two OpenSMTPD; the dot in a segment of its own.",
        made="no TLS",
        server=opensmtpd,
        client=opensmtpd,
    ),
    Scenario(
        name="smtp-122",
        shows="smtp:122: raw 8-bit octets (UTF-8) in the display name of From.",
        made="`smtputf8_enable = no` on both sides",
        mails=(Text(fields={"From": "Zoé Martin <alice@example.org>"}),),
        server_settings=NO_SMTPUTF8,
        client_settings=NO_SMTPUTF8,
    ),
    Scenario(
        name="smtp-217",
        shows="smtp:217: a References line of 4,600 octets.",
        made="client: `message_linelength_limit = 10000`",
        client=exim,
        mails=(Text(fields={"References": references(4600)}),),
        server_settings=NO_CHUNKING,
        client_settings={"message_linelength_limit": "10000"},
    ),
    Scenario(
        name="smtp-219",
        shows="smtp:219: a stray CRLF in one piece with the dot. The server accepts the mail and answers the "
        "empty command line 500, which is smtp:223 as well.",
        made="typed: `.` CRLF CRLF",
        client=None,
        typed=("EHLO mail.example.org", *TYPED_ENVELOPE, *TYPED_TEXT, ".\\n", "QUIT"),
    ),
    Scenario(
        name="smtp-223",
        shows="smtp:223: VRFY answered 502 by a server that has it switched off; the mail is accepted.",
        made="typed; server: `disable_vrfy_command = yes`",
        client=None,
        server_settings={"disable_vrfy_command": "yes"},
        typed=("HELO mail.example.org", "VRFY bob@example.net", *TYPED_ENVELOPE, *TYPED_TEXT, ".", "QUIT"),
    ),
    Scenario(
        name="subject-8bit",
        shows="smtp:231: the Subject is `Réunion` as raw UTF-8.",
        made="`smtputf8_enable = no` on both sides",
        mails=(Text(subject="Réunion"),),
        server_settings=NO_SMTPUTF8,
        client_settings=NO_SMTPUTF8,
    ),
    Scenario(
        name="subject-encoded",
        shows="The clean twin of subject-8bit: the same Subject as an encoded-word (RFC 2047).",
        made="`smtputf8_enable = no` on both sides",
        mails=(Text(subject="=?UTF-8?Q?R=C3=A9union?="),),
        server_settings=NO_SMTPUTF8,
        client_settings=NO_SMTPUTF8,
    ),
    Scenario(
        name="fake-command",
        shows="The test of Cisco's document 4733: `Some-fake-command`, answered 500 by the server itself.",
        made="typed",
        client=None,
        typed=("Some-fake-command", "QUIT"),
    ),
    Scenario(
        name="ehlo-helo-only",
        shows="A path that knows HELO only: EHLO overwritten with XXXX on its way and so answered 500; the "
        "client falls back to HELO.",
        made="filter in place: `EHLO` to `XXXX`",
        edit=ehlo_overwritten,
    ),
    Scenario(
        name="masked-banner",
        shows="As behind `inspect esmtp`: the greeting in stars; STARTTLS, SMTPUTF8 and CHUNKING as "
        "XXXXXXXA, XXXXXXXB and XXXXXXXC.",
        made="filter in place; server: `smtpd_tls_security_level = may`",
        client=exim,
        edit=banner_and_keywords_masked,
        certificate=True,
        server_settings={"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": SERVER_KEY},
    ),
    Scenario(
        name="long-header-line",
        shows="A References line of 1,337 octets: over 998, under 4,096.",
        made="swaks sends the line as it stands",
        client=swaks,
        mails=(Text(fields={"References": references(1337)}),),
    ),
    Scenario(
        name="many-recipients",
        shows="101 recipients in one mail, pipelined; RCPT lines split over segments.",
        made="client: `smtp_destination_recipient_limit = 1000`",
        mails=(
            Text(
                fields={"To": "staff@example.net"},
                recipients=tuple(f"user{number:03d}@example.net" for number in range(1, 102)),
            ),
        ),
        client_settings={"smtp_destination_recipient_limit": "1000"},
    ),
    Scenario(
        name="pipe-address",
        shows="A recipient with `|` in a quoted local part, accepted.",
        made="swaks sends the address as it stands",
        client=swaks,
        mails=(Text(recipients=('"lists|archive"@example.net',)),),
    ),
    Scenario(
        name="refused-recipient",
        shows="The only recipient answered 550; DATA, pipelined behind it, answered 503.",
        made="recipient unknown to the server",
        server=exim,
        mails=(Text(recipients=("carol@example.net",)),),
    ),
    Scenario(
        name="mime-attachment",
        shows="Multipart with a base64 attachment, its file name by RFC 2231.",
        made="no TLS",
        server=opensmtpd,
        mails=(
            Text(
                body=MULTIPART,
                fields={"MIME-Version": "1.0", "Content-Type": 'multipart/mixed; boundary="=_minutes"'},
            ),
        ),
    ),
    Scenario(
        name="encrypted-zip",
        shows="A ZIP with a password (ZipCrypto) as attachment.",
        made="the file: Info-ZIP (`infozip-encrypted.zip` of tests/attachments)",
        mails=(attached("archive/infozip-encrypted.zip", "payslip.zip", "application/zip"),),
    ),
    Scenario(
        name="office-macro",
        shows="A Word document with a VBA project (.docm) as attachment, by BDAT.",
        made="the file: `macros.docm` of tests/attachments",
        server=exim,
        client=exim,
        mails=(
            attached(
                "office/macros.docm", "timesheet.docm", "application/vnd.ms-word.document.macroEnabled.12"
            ),
        ),
    ),
    Scenario(
        name="packed-exe",
        shows="A Windows program packed by UPX as attachment; the text in many segments.",
        made="the file: MinGW and UPX (`upx-hello32.exe` of tests/attachments)",
        mails=(attached("program/upx-hello32.exe", "setup.exe", "application/octet-stream"),),
    ),
)
