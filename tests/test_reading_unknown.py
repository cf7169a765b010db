"""Failed mails whose text is not known, or means more than it says: none of them vanishes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Final

import pytest

from smtpinspect import cli
from smtpinspect.diagnose import reading
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import month
from smtpinspect.report import readings_page
from smtpinspect.report.terminal import Style

EXIM: Final = "2026-11-22 10:00:00 1rAbCd-0001Ab-Cd "
PEER: Final = "H=mx.y.example [203.0.113.9]"
ROUTE: Final = "b@y.example R=dnslookup T=remote_smtp"
POSTFIX: Final = (
    "Nov 22 10:00:00 h postfix/smtp[1]: 3F2A00B{}: to=<u@y.example>, relay={}, delay=5, delays=0/0/5/0, dsn=4.7.5, "
    "status={} ({})"
)
RELAY: Final = "mx.y.example[203.0.113.9]:25"
SENDMAIL: Final = (
    "Nov 22 10:00:00 h sm-mta[12]: 2AMA0x1b001234: to={}, delay=00:10:00, xdelay=00:05:00, mailer=esmtp, pri=1234, "
    "relay={}, dsn={}, stat={}"
)
QMAIL: Final = "@400000005f3a2b1c12345678 delivery 12: "
STRANGE: Final = "the moon was full"


def told_of(text: str) -> Reading:
    told = reading.read_line(text)
    assert told is not None
    return told


UNKNOWN: Final = {
    "postfix": (POSTFIX.format("", RELAY, "deferred", STRANGE), "deferred", "u@y.example", "mx.y.example"),
    "postfix bounced": (POSTFIX.format("", RELAY, "bounced", STRANGE), "bounced", "u@y.example", "mx.y.example"),
    "postfix no relay": (POSTFIX.format("", "none", "deferred", STRANGE), "deferred", "u@y.example", ""),
    "exim": (f"{EXIM}== {ROUTE} defer (-1) {PEER}: {STRANGE}", "deferred", "b@y.example", "mx.y.example"),
    "exim layout": (f"{EXIM}== {ROUTE} defer (-37) {PEER} {STRANGE}", "deferred", "b@y.example", "mx.y.example"),
    "exim no host": (f"{EXIM}== b@y.example R=dnslookup defer (-1): {STRANGE}", "deferred", "b@y.example", ""),
    "exim returned": (f"{EXIM}** {ROUTE} {PEER}: {STRANGE}", "bounced", "b@y.example", "mx.y.example"),
    "sendmail": (SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "4.0.0", STRANGE), "deferred",
                 "u@y.example", "mx.y.example"),
    "sendmail bounced": (SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "5.0.0", STRANGE), "bounced",
                         "u@y.example", "mx.y.example"),
    "opensmtpd": (
        "Nov 22 10:00:00 h smtpd[12]: 9a3f2b1c00112233 mta delivery evpid=0123456789abcdef from=<a@x.example> "
        'to=<u@y.example> rcpt=<-> source="198.51.100.7" relay="203.0.113.9 (mx.y.example)" delay=5s '
        f'result="TempFail" stat="{STRANGE}"', "deferred", "u@y.example", "mx.y.example"),
    "qmail": (f"{QMAIL}deferral: {STRANGE.replace(' ', '_')}/", "deferred", "", ""),
    "qmail failed": (f"{QMAIL}failure: {STRANGE.replace(' ', '_')}/", "bounced", "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("line", "fate", "recipient", "host"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_failure_by_an_unknown_text_is_a_failure(line: str, fate: str, recipient: str, host: str) -> None:
    told = told_of(line)
    assert (told.fate, told.phases, told.recipient, told.host) == (fate, (), recipient, host)
    assert told.unplaced and told.text == STRANGE and "known here" in told.means
    counted = month.of(reading.read_file(io.BytesIO(f"{line}\n".encode())))
    assert [(group.never, group.attempts, group.unplaced) for group in counted.groups] == [(1, 1, 1)]
    page = "\n".join(readings_page.page([told], counted, 100, Style(False)))
    assert "NOT DELIVERED: where it broke is not known" in page and STRANGE in page


@pytest.mark.parametrize("line", [
    SENDMAIL.format("<u@y.example>", "mx.y.example.", "4.4.3", "queued"),
    "Nov 22 10:00:00 h smtpd[12]: 9a3f2b1c00112233 mta disconnected reason=quit messages=1",
    f"{QMAIL}success: did_1+0+0/",
])  # fmt: skip
def test_what_has_not_failed_is_no_failure(line: str) -> None:
    assert told_of(line).fate == "none"


def test_a_month_of_them_counts_and_tells_no_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    failed = [POSTFIX.format(f"0{n:02}", RELAY, "deferred", STRANGE) for n in range(40)]
    sent = [POSTFIX.format(f"1{n:02}", RELAY, "sent", "250 ok") for n in range(40)]
    log.write_text("\n".join(line for pair in zip(failed, sent, strict=True) for line in pair) + "\n")
    assert cli.main(["diagnose", "--log", str(log)]) == 0
    page = capsys.readouterr().out
    assert "40 mails never delivered, 40 delivered" in page and "NOT KNOWN" in page
    assert "before the text" not in page and "none failed" not in page
    cli.main(["diagnose", "--log", str(log), "--format", "json"])
    logs = json.loads(capsys.readouterr().out)["logs"]
    assert sum(each["fate"] == "deferred" and each["phases"] == [] for each in logs) == 40


LATER: Final = f"{EXIM}== {ROUTE} defer (-53): retry time not reached for any host for 'y.example'"
SENT: Final = f"2026-11-22 10:05:00 1rAbCe-0001Ab-Cd => c@y.example R=dnslookup T=remote_smtp {PEER} C=\"250 ok\""


@pytest.mark.parametrize(("lines", "said"), [
    ([LATER], "1 mail waits for the next attempt: the host's retry time has not come."),
    ([LATER, SENT], "1 mail delivered, 1 mail waits for the next attempt"),
    ([POSTFIX.format("", "none", "deferred", "delivery temporarily suspended: connect to mx.y.example[203.0.113.9]:25: "
                     "Connection timed out")], "NOT DELIVERED: the connection was not set up"),
    ([POSTFIX.format("", "none", "deferred", f"delivery temporarily suspended: {STRANGE}")],
     "NOT DELIVERED: where it broke is not known"),
])  # fmt: skip
def test_a_mail_that_waits_is_told_of(lines: list[str], said: str) -> None:
    told = list(reading.read_file(io.BytesIO("\n".join(lines).encode())))
    assert said in "\n".join(readings_page.page(told, month.of(told), None, Style(False)))


def test_a_mail_that_had_failed_before_the_log_began_is_counted_when_it_is_given_up() -> None:
    late = f"{EXIM}** {ROUTE}: retry timeout exceeded"
    counted = month.of(reading.read_file(io.BytesIO(f"{late}\n{SENT}\n".encode())))
    assert [(group.never, group.returned) for group in counted.groups] == [(1, 1)]
    before = f"{EXIM}== {ROUTE} defer (110): Connection timed out {PEER}"
    counted = month.of(reading.read_file(io.BytesIO(f"{before}\n{late}\n{SENT}\n".encode())))
    assert sum(group.never for group in counted.groups) == 1


KNOWN: Final = [
    # with CHUNKING pipelining is still on behind the text
    (f"{EXIM}** {ROUTE} {PEER} X=TLS1.3:E:256 CV=no DN=\"CN=mx\": SMTP error from remote mail server after pipelined "
     "end of data: 550-5.7.1 no", "dot dotreply", "reply"),
    (f"{EXIM}{PEER}: SMTP timeout after pipelined end of data (2350 bytes written): Connection timed out",
     "mail rcpt datacmd databody datamid dot dotreply", "drop"),
    (f"{EXIM}{PEER}: Remote host closed connection in response to pipelined end of data",
     "mail rcpt datacmd databody datamid dot dotreply", "rst fin"),
    (f"{EXIM}{PEER}: SMTP timeout after pipelined sending data block (81890 bytes written): Connection timed out",
     "mail rcpt datacmd databody datamid", "drop fin"),
    (f"{EXIM}** {ROUTE} {PEER}: SMTP error from remote mail server after pipelined sending data block: 421 x",
     "databody datamid", "reply"),
    # and the text is gone before the replies to MAIL and RCPT are read
    (f"{EXIM}{PEER}: Remote host closed connection in response to pipelined MAIL FROM:<a@x.example> SIZE=2350",
     "mail rcpt datacmd databody datamid dot dotreply", "rst fin"),
    (f"{EXIM}== {ROUTE} defer (110): Connection timed out {PEER}: SMTP timeout after RCPT TO:<b@y.example>",
     "rcpt datacmd databody datamid dot dotreply", "drop"),
    (f"{EXIM}{PEER}: SMTP timeout after MAIL FROM:<a@x.example>: Connection timed out", "mail", "drop"),
    (f"{EXIM}{PEER}: SMTP error from remote mail server after RCPT TO:<b@y.example>: 550 no", "rcpt", "reply"),
    (f"{EXIM}** {ROUTE} {PEER}: LMTP error after end of data: 550 no", "dot dotreply", "reply"),
    (f"{EXIM}== {ROUTE} defer (-37) {PEER} TLS session: (gnutls_handshake): timed out", "ehlo", "drop"),
    (f"{EXIM}== {ROUTE} defer (32): Broken pipe {PEER}: failed to write a data block", "databody datamid", "rst fin"),
    (f"{EXIM}== {ROUTE} defer (104): Connection reset by peer {PEER}: smtp send to mx.y.example [203.0.113.9] failed: "
     "Connection reset by peer", "ehlo mail rcpt datacmd reply354 databody datamid", "rst fin"),
    (f"{EXIM}== {ROUTE} defer (110): Die Wartezeit ist abgelaufen {PEER}", "connect", "drop"),
    (POSTFIX.format("", "none", "deferred", "connect to mx.y.example[203.0.113.9]:25: Connection reset by peer"),
     "connect", "rst"),
    (POSTFIX.format("", "none", "deferred", "connect to mx.y.example[203.0.113.9]:25: Die Wartezeit ist abgelaufen"),
     "connect", ""),
    (POSTFIX.format("", RELAY, "deferred", "Cannot start TLS: handshake failure"), "ehlo", ""),
    (POSTFIX.format("", RELAY, "deferred", "SASL authentication failed; server mx.y.example[203.0.113.9] said: 535 no"),
     "ehlo", "reply"),
    (POSTFIX.format("", RELAY, "deferred", "conversation with mx.y.example[203.0.113.9] timed out while performing the "
                    "initial protocol handshake"), "greeting ehlo", "drop"),
    (POSTFIX.format("", RELAY, "bounced", "host mx.y.example[203.0.113.9] said: 550 conversation with a.b[192.0.2.3] "
                    "timed out while sending MAIL FROM (in reply to RCPT TO command)"), "rcpt", "reply"),
    (SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "4.0.0",
                     "Deferred: 403 4.7.0 TLS handshake failed."), "ehlo", ""),
    (SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "4.0.0", "Deferred: mx.y.example.: No route to "
                     "host"), "connect", ""),
    (f"{QMAIL}deferral: TLS_connect_failed:_timed_out;_connected_to_203.0.113.9./", "ehlo", "drop"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "phases", "broken"), KNOWN)
def test_a_text_stands_for_all_that_it_may_mean_and_is_quoted_as_it_stands(line: str, phases: str, broken: str) -> None:
    told = told_of(line)
    assert (told.phases, told.broken) == (tuple(phases.split()), tuple(broken.split()))
    assert told.text.replace("_", " ") in line.replace("_", " ")
    assert told.ip == "203.0.113.9"


def test_a_text_that_may_have_gone_out_may_have_arrived() -> None:
    told = told_of(f"{EXIM}{PEER}: SMTP timeout after pipelined MAIL FROM:<a@x.example>: Connection timed out")
    assert told.duplicate_risk and told.stage is None
    assert {"stormshield.smtp-231", "stormshield.smtp-223"} <= {cause.cause for cause in told.causes}


def test_a_failed_starttls_is_no_refusal_by_the_server() -> None:
    stat = "Deferred: 403 4.7.0 TLS handshake failed."
    told = told_of(SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "4.0.0", stat))
    assert told.reply == "" and "refused" not in {cause.cause for cause in told.causes}
    bare = told_of(SENDMAIL.format("<u@y.example>", "mx.y.example. [203.0.113.9]", "4.0.0", "Deferred"))
    assert "ehlo" in bare.phases


def test_sendmail_s_recipients_and_relay_are_read() -> None:
    stat = "Deferred: Connection reset by mx.y.example."
    told = told_of(SENDMAIL.format("<u@y.example>,<v@y.example>", "mx.y.example. [IPv6:2001:db8::9]", "4.0.0", stat))
    assert (told.recipient, told.host, told.ip) == ("u@y.example,v@y.example", "mx.y.example", "2001:db8::9")


def bounce(diagnostic: str) -> Reading:
    text = (
        "From: MAILER-DAEMON@mx.example.org\nTo: a@x.example\nSubject: failed\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nIt failed.\n\n--b\nContent-Type: message/delivery-status\n\n"
        "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; b@y.example\nAction: failed\nStatus: 5.7.1\n"
        f"Diagnostic-Code: smtp; {diagnostic}\n\n--b--\n"
    )
    (told,) = reading.read_bounce(text)
    return told


def test_what_a_reply_quotes_is_not_how_it_broke() -> None:
    quoted = '554 5.7.1 rejected: your message said "conversation with x[192.0.2.3] timed out while sending MAIL FROM"'
    told = bounce(quoted)
    assert (told.broken, told.reply, told.host, told.mta) == (("reply",), quoted, "", "")


def test_sendmail_s_own_code_for_starttls_is_no_reply_in_a_bounce() -> None:
    told = bounce("403 4.7.0 TLS handshake failed.")
    assert (told.mta, told.phases, told.reply) == ("sendmail", ("ehlo",), "")


def test_a_server_that_waits_for_the_text_tells_of_it() -> None:
    text = "timeout waiting for input from mail.x.example during message collect"
    told = told_of(f"Nov 22 10:00:00 mx sm-mta[12]: 2AMA0x1b001234: {text}")
    assert (told.side, told.broken) == ("receiver", ("drop",)) and {"databody", "datamid", "dot"} <= set(told.phases)


@pytest.mark.parametrize("line", [
    "Nov 22 11:02:50 out postfix/smtp[123]: 4F2A1: to=<b@example.net>, relay=mx.example.net[203.0.113.25]:25, "
    "delay=0.3, delays=0.1/0/0.1/0, dsn=4.7.4, status=deferred (TLS is required, but was not offered by host "
    "mx.example.net[203.0.113.25])",
    "2026-11-22 11:02:50 1vxK2b-0000iU-1g == b@example.net R=dnslookup T=remote_smtp defer (-38) H=mx.example.net "
    "[203.0.113.25]: a TLS session is required, but the server did not offer TLS support",
])  # fmt: skip
def test_a_server_that_offers_no_tls_may_be_masked(line: str) -> None:
    told = reading.read_line(line)
    assert told is not None and told.phases == ("ehlo",)
    assert "mailguard.starttls-blocked" in [cause.cause for cause in told.causes]


OF_HOST: Final = "2026-03-03 10:10:02 1w0abc-0001Bc-2x == bob@example.net R=r T=remote_smtp"
PEER: Final = "mx.example.net [203.0.113.9]"


@pytest.mark.parametrize(
    ("said", "phases", "host", "risk"),
    [
        (f" defer (110): Connection timed out: SMTP timeout while connected to {PEER} after initial connection",
         "connect greeting", "mx.example.net", False),
        (f" defer (110): Connection timed out: SMTP timeout while connected to {PEER} after end of data",
         "databody datamid dot dotreply", "mx.example.net", True),
        (" defer (110): Verbindung abgelaufen: SMTP timeout after sending data block",
         "databody datamid", "", False),
        (f" H={PEER}:25 defer (110): Connection timed out DT=10m: SMTP timeout after EHLO a.example.org", "ehlo",
         "mx.example.net", False),
        (f" defer (-18): Remote host {PEER} closed connection in response to initial connection", "greeting",
         "mx.example.net", False),
        (" defer (110): Connection timed out: some text that nobody knows", "", "", False),
        (" defer (110): Connection timed out", "connect", "", False),
        (" defer (110): Verbindung abgelaufen", "connect", "", False),
    ],
)  # fmt: skip
def test_what_exim_writes_behind_the_error_of_the_system_counts(
    said: str, phases: str, host: str, risk: bool
) -> None:
    told = reading.read_line(OF_HOST + said)
    assert told is not None and told.fate == "deferred"
    assert (" ".join(told.phases), told.host, told.duplicate_risk) == (phases, host, risk)
