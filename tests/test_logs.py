"""The logs that are written: the documented forms, one line an event, and the command that writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit import wire
from kit.dialogue import parse
from running import frames
from smtpinspect.engine import Engine
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.logline import End, Event
from smtpinspect.inspectors.mailguard import logs as asa
from smtpinspect.inspectors.sonicwall import logs as sonicwall
from smtpinspect.inspectors.stormshield import logs as stormshield
from smtpinspect.report.vendor_logs import VendorLog

PCAPS = Path(__file__).resolve().parents[1] / "pcaps"
LOGS: dict[str, Any] = {"asa": asa, "stormshield": stormshield, "sonicwall": sonicwall}

# ---- what is written: the forms stand in the references, and are spelled out here once more

STAMP = r"(?P<time>[A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d)"
PLACE = r"(?:outside|inside):[0-9a-f.:]+/\d+"
BETWEEN = rf"from {PLACE} to {PLACE}"
CRITERION = r"matched Class \d+: [a-zA-Z][\x20-\x7e]*"
DOCUMENTED = {
    "108001": r"SMTP made noop: out \S+ in \S+ data: [\x20-\x7e]*",
    "108002": r"SMTP replaced [|<>]+: out \S+ in \S+ data: [\x20-\x7e]*",
    "108003": rf"Terminating (ESMTP connection; .* {BETWEEN}\. Mail Address|ESMTP/SMTP connection; .* {BETWEEN}\. Data)"
    r":[\x20-\x7e]*",
    "108004": r"(ESMTP Classification|ESMTP Parameter): "
    r"(Dropped|Dropped connection for|Reset connection for|Masked header flags for) ESMTP (Request|Response) "
    rf"{BETWEEN}; ({CRITERION}|mail-relay: No Mail Relay allowed|special-character: [a-z ]+)",
    "108005": rf"ESMTP (Classification|Parameter): Received ESMTP (Request|Response) {BETWEEN}; "
    rf"({CRITERION}|mail-relay: No Mail Relay allowed|special-character: [a-z ]+)",
    "108006": rf"Detected ESMTP size violation {BETWEEN}; declared size is: \d+, actual size is \d+",
    "108007": rf"TLS started on ESMTP session between client {PLACE} and server {PLACE}",
    "507003": rf"tcp flow {BETWEEN} terminated by inspection engine, reason - "
    r"(inspector disconnected, dropped packet|inspector drop reset)\.",
    "302014": rf"Teardown TCP connection \d+ for {PLACE} to {PLACE} duration \d+:\d\d:\d\d bytes \d+ "
    "Flow closed by inspection",
}
SEVERITIES = {
    "108001": 2, "108002": 2, "108003": 2, "108004": 4, "108005": 6, "108006": 7, "108007": 6, "507003": 4,
    "302014": 6,
}  # fmt: skip
# The messages by number, and the head as Logstash reads it (both its forms).
REFERENCE = re.compile(r"%(?:PIX|ASA|FWSM)-(\d)-(10800[1-7]|507003|302014): (.*)")
TAGGED = re.compile(rf"<(?P<pri>\d+)>{STAMP}: %[A-Z]+-(?P<severity>\d)-(?P<id>\d+): (?P<text>.*)")
# Fields in the order of the audit log, quoted as there.
ALARM = re.compile(
    r'id=firewall time="(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)" fw="SMTPINSPECT" tz=\+0000 startime="\1" pri=[14] '
    r'confid=0[01] slotlevel=2 ruleid=1 srcif="Ethernet[01]" srcifname="(out|in)" ipproto=tcp proto=smtp src=\S+ '
    r"srcport=\d+(?: srcportname=\w+)? dst=\S+ dstport=\d+(?: dstportname=\w+)? ipv=[46] action=(block|pass) "
    r'msg="[^"]+" class=protocol classification=0 alarmid=(122|217|219|223|231) target=dst(?: sensible=1)? '
    r'logtype="alarm"'
)
# Fields in the order of event 809.
AV_ALERT = re.compile(
    r'<129> id=firewall sn=SMTPINSPECT time="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC" fw=203\.0\.113\.1 pri=1 c=32 gcat=3 '
    r'm=809 msg="Gateway Anti-Virus Alert: [^"()]+ \(Restricted\) (blocked|detected)\." n=\d+ '
    r"src=[\d.]*:\d+:X[01](?: srcV6=\S+)? dst=[\d.]*:\d+:X[01](?: dstV6=\S+)? proto=tcp/smtp "
    r'fw_action="(drop|NA)"'
)


def proper(form: str, line: str) -> None:
    """One line of printable ASCII, not too long, of the documented form; read, it tells the same."""
    assert line.endswith(LOGS[form].END)
    text = line.removesuffix(LOGS[form].END)
    assert re.fullmatch(r"[\x20-\x7e]+", text) and len(text) <= limits.LOG_LINE
    got = LOGS[form].parse(line)
    assert got is not None and got.time is not None and got.source is not None and got.destination is not None
    if form == "asa":
        head = TAGGED.fullmatch(text)
        assert head and REFERENCE.search(text)
        assert re.fullmatch(DOCUMENTED[head["id"]], head["text"]), text
        assert int(head["severity"]) == SEVERITIES[head["id"]] == int(head["pri"]) - 160 == got.severity
        assert (got.id, got.text) == (head["id"], head["text"])
        assert f"{got.time:%b %d %Y %H:%M:%S}" == head["time"]
    elif form == "stormshield":
        assert ALARM.fullmatch(text), text
        assert " ".join(rebuilt(got.fields, text)) == text
    else:
        assert AV_ALERT.fullmatch(text), text
        assert (got.fields["done"] == "blocked") == (got.action == "drop") == ('"drop"' in text)


def rebuilt(fields: Any, text: str) -> list[str]:
    """The line from its fields: nothing was lost or added."""
    return [f'{k}="{v}"' if f'{k}="{v}"' in text else f"{k}={v}" for k, v in fields.items()]


def log(form: str, source: Any, specs: Sequence[str], **options: Any) -> list[str]:
    """The lines of a run, each held against its form."""
    if isinstance(source, str) and not source.endswith(".pcap"):
        source = frames(wire.build(parse(source), **options))
    engine = Engine(specs)
    made = VendorLog(engine, form)
    lines = list(made.lines(engine.run(source)))
    assert not made._written and not made._waiting
    for line in lines:
        proper(form, line)
    return lines


def ids(lines: Sequence[str]) -> list[str]:
    return [match[1] for line in lines if (match := re.search(r"%[A-Z]+-\d-(\d+)|alarmid=(\d+)", line))]


HELLO = "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250-SIZE 1000000\nS: 250-STARTTLS\nS: 250 CHUNKING\n"
MAIL = "C: MAIL FROM:<a@a>\nS: 250 ok\nC: RCPT TO:<b@b>\nS: 250 ok\n"
DATA = "C: DATA\nS: 354 go\n"
BYE = "S: 250 ok\nC: QUIT\nS: 221 bye\n"
OVER = "507003 302014".split()


def mail(text: str) -> str:
    return HELLO + MAIL + DATA + text + "C: .\n" + BYE


CISCO = {
    "greeting, EHLO keywords: no log": ("asa-8", mail("C: x\n"), []),
    "X: no log": ("asa-8", HELLO + "C: EXPN a\nS: 500 no\n", []),
    "discarded pieces: no log": ("pix-6", "S: 220 mx\nC: HE\\c\n--\nC: LO a\nS: 250 mx\n", []),
    "bare LF: no log": ("pix-6", "S: 220 mx\nC: HELO a\\n\\c\nS: 250 mx\n", []),
    "fault at the end of data: no log": ("pix-5", mail("C: x\nC: .\\r\\c\n--\nC: \\n\\c\n"), []),
    "wrong reply: no log": ("pix-6", "S: 220 mx\nC: HELO a\nS: 250 mx\nS: 250 again\nC: NOOP\nS: 250 ok\n", []),
    "noop": ("pix-6,deny_style=noop", "S: 220 mx\nC: EXPN a\nS: 250 ok\n", ["108001"]),
    "noop of 4.4": ("pix-4.4", "S: 220 mx\nC: EHLO a\nS: 250 ok\n", ["108001"]),
    "starttls, noop": ("pix-6,deny_style=noop", "S: 220 mx\nC: STARTTLS\nS: 250 ok\n", ["108001"]),
    "pipe": ("asa-8", HELLO + "C: MAIL FROM:<a|b@a>\nS: 250 ok\n", ["108002"]),
    "bracket": ("pix-6", "S: 220 mx\nC: MAIL FROM:<a>b@a>\nS: 250 ok\n", ["108002"]),
    "malicious": ("asa-8,address_malicious=evil", HELLO + "C: MAIL FROM:<evil@a>\nS: 250 ok\n", ["108003", *OVER]),
    "malicious, PIX": ("pix-6,address_malicious=evil", HELLO + "C: MAIL FROM:<evil@a>\nS: 250 ok\n", ["108003"]),
    "command line": ("asa-8", HELLO + "C: NOOP {x*510}\nS: 250 ok\n", ["108004", *OVER]),
    "recipients": ("asa-8,rcpt_count=1", HELLO + MAIL + "C: RCPT TO:<c@c>\nS: 250 ok\n", ["108004", *OVER]),
    "body line": ("asa-8", mail("C: a: b\nC:\nC: {x*999}\n"), ["108005"]),
    "header line": ("asa-8", mail("C: a: {x*999}\n"), ["108004", *OVER]),
    "sender": ("asa-8", HELLO + "C: MAIL FROM:<{x*330}@a>\nS: 250 ok\n", ["108004", *OVER]),
    "file name": (
        "asa-8",
        mail('C: Content-Type: text/plain;\nC:  name="{x*300}"\nC:\nC: x\n'),
        ["108004", *OVER],
    ),
    "size": ("asa-8", HELLO + MAIL.replace("<a@a>", "<a@a> SIZE=5") + DATA + "C: 12345678\nC: .\n" + BYE, ["108006"]),
    "special": (
        "asa-8,special_character=on,special_character_action=drop-connection log",
        HELLO + "C: MAIL FROM:<a`b@a>\nS: 250 ok\n",
        ["108004", *OVER],
    ),
    "special, no log": ("asa-8,special_character=on", HELLO + "C: MAIL FROM:<a`b@a>\nS: 250 ok\n", OVER),
    "relay, log": ("asa-8,mail_relay=c,mail_relay_action=log", HELLO + MAIL, ["108005"]),
    "own map, mask": ("asa-8,match=cmd verb EXPN -> mask", HELLO + "C: EXPN a\nS: 500 no\n", []),
    "own map, mask log": ("asa-8,match=cmd verb EXPN -> mask log", HELLO + "C: EXPN a\nS: 500 no\n", ["108004"]),
    "own map, reply": ("asa-8,match=ehlo-reply-parameter others -> mask log", HELLO, ["108004"]),
    "own map, not": ("asa-8,match=not cmd verb EHLO -> log", HELLO + "C: NOOP\nS: 250 ok\n", ["108005"]),
    "own map, reset": (
        "asa-8,match=sender-address regex evil.* -> reset log",
        HELLO + "C: MAIL FROM:<evil@a>\nS: 250 ok\n",
        ["108004", *OVER],
    ),
    "own map, drop": ("asa-8,match=body length gt 3 -> drop-connection", mail("C: a: b\nC:\nC: xxxx\n"), OVER),
    "relay": ("asa-8,mail_relay=c", HELLO + MAIL, ["108004", *OVER]),
    "tls, log": ("asa-9-tls,allow_tls=log", HELLO + "C: STARTTLS\nS: 220 go\nC: \\x16\\x03\\x01\\c\n", ["108007"]),
    "tls": ("asa-9-tls", HELLO + "C: STARTTLS\nS: 220 go\nC: \\x16\\x03\\x01\\c\n", []),
    "dkim": ("asa-7.0", mail("C: DKIM-Signature: v=1; h=from:content-type; b=x\nC: a: b\n"), OVER),
    "reset": ("asa-8,header-line-length.action=reset", mail("C: a: {x*999}\n"), ["108004", *OVER]),
    "log in place of a drop": ("asa-8,header-line-length.action=log", mail("C: a: {x*999}\n"), ["108005"]),
    "packet dropped": ("asa-8,header-line-length.action=drop", mail("C: a: {x*999}\n"), ["108004"]),
    "FWSM": ("fwsm-3,limits=on", mail("C: a: {x*999}\n"), ["108004", *OVER]),
    "nothing behind a break": (
        "asa-8",
        HELLO + "C: NOOP {x*510}\nS: 250 ok\n" + MAIL + DATA + "C: a: {x*999}\nC: .\n" + BYE,
        ["108004", *OVER],
    ),
}


@pytest.mark.parametrize("name", CISCO)
def test_what_cisco_writes(name: str) -> None:
    spec, text, want = CISCO[name]
    lines = log("asa", text, [f"mailguard:{spec}"])
    assert ids(lines) == want
    tag = spec.partition("-")[0].upper()
    assert all(f": %{tag}-" in line for line in lines)


def test_every_rule_is_decided() -> None:
    """Each has its messages, or is told to have none; what the capture only shows has none."""
    made = registry.find("mailguard")
    rules = {rule.partition(".")[2] for rule in made.pages}
    assert rules <= asa.LOGGED.keys() | set(asa.SILENT)
    assert not asa.LOGGED.keys() & set(asa.SILENT)
    for profile in made.profiles:
        rows = [row.id.partition(".")[2] for row in made(profile).table() if row.kind == "seen"]
        assert not asa.LOGGED.keys() & set(rows)


def test_every_documented_text_is_written() -> None:
    """Of the ids of the manual none is left out, of the actions neither."""
    lines = [line for spec, text, _ in CISCO.values() for line in log("asa", text, [f"mailguard:{spec}"])]
    assert set(ids(lines)) == set(DOCUMENTED)
    for words in (
        "Dropped connection for",
        "Reset connection for",
        "Dropped ESMTP",
        "Masked header flags for",
        "Response",
    ):
        assert any(words in line for line in lines)


def test_words_of_cisco() -> None:
    def one(name: str) -> str:
        spec, text, _ = CISCO[name]
        return log("asa", text, [f"mailguard:{spec}"])[0]

    ends = "from outside:192.0.2.10/40112 to inside:198.51.100.25/25"
    assert one("noop").endswith("SMTP made noop: out 192.0.2.10 in 198.51.100.25 data: EXPN a\n")
    assert one("bracket").endswith("SMTP replaced >: out 192.0.2.10 in 198.51.100.25 data: MAIL FROM:<a>b@a>\n")
    assert one("pipe").endswith("SMTP replaced |: out 192.0.2.10 in 198.51.100.25 data: MAIL FROM:<a|b@a>\n")
    assert one("relay").endswith(f"ESMTP Request {ends}; mail-relay: No Mail Relay allowed\n")
    assert one("header line").endswith(
        f"ESMTP Classification: Dropped connection for ESMTP Request {ends}; "
        "matched Class 4: header line length gt 998\n"
    )
    assert one("size").endswith("declared size is: 5, actual size is 10\n")


@pytest.mark.parametrize("form", ["MAIL FROM:<a<b@a>", "MAIL FROM:a<b@a", "MAIL FROM:<<a@a>", "MAIL FROM:<a@a> <"])
def test_which_bracket(form: str) -> None:
    (line,) = log("asa", f"S: 220 mx\nC: {form}\nS: 250 ok\n", ["mailguard:pix-6"])
    assert "SMTP replaced <: " in line


def test_duration_and_octets_are_those_of_the_moment() -> None:
    """Duration from the first frame; octets of both sides up to the deciding frame, retransmissions too."""
    text = HELLO + "-- 3725\nC: NOOP {x*510}\nS: 250 ok\n-- 60\nC: QUIT\nS: 221 bye\n"
    line = log("asa", text, ["mailguard:asa-8"])[2]
    sent = len("220 mx\r\nEHLO a\r\n250-mx\r\n250-SIZE 1000000\r\n250-STARTTLS\r\n250 CHUNKING\r\n") + 517
    assert f"duration 1:02:05 bytes {sent} Flow" in line


def test_golden_asa() -> None:
    lines = log("asa", str(PCAPS / "long-header-line.pcap"), ["mailguard:asa-8"])
    ends = "from outside:198.51.100.7/39966 to inside:203.0.113.25/25"
    stamp = "Nov 22 2026 20:42:31"
    assert lines == [
        f"<164>{stamp}: %ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request {ends}; "
        "matched Class 4: header line length gt 998\n",
        f"<164>{stamp}: %ASA-4-507003: tcp flow {ends} terminated by inspection engine, "
        "reason - inspector disconnected, dropped packet.\n",
        f"<166>{stamp}: %ASA-6-302014: Teardown TCP connection 1589085332 for{ends[4:]} duration 0:00:00 "
        "bytes 1785 Flow closed by inspection\n",
    ]


def test_golden_pix() -> None:
    (line,) = log("asa", str(PCAPS / "pipe-address.pcap"), ["mailguard:pix-6"])
    assert line == (
        "<162>Nov 22 2026 20:42:39: %PIX-2-108002: SMTP replaced |: out 198.51.100.7 in 203.0.113.25 "
        'data: RCPT TO:<"lists|archive"@example.net>\n'
    )


# ---- Stormshield

ALARMS = {
    "217 command": ("high", HELLO + "C: NOOP {x*4100}\nS: 250 ok\n", ["217"]),
    "217 reply": ("high", HELLO + "C: NOOP\nS: 250 {x*4100}\n", ["217"]),
    "217 header": ("high", mail("C: a: {x*4100}\n"), ["217"]),
    "217 bdat": ("high,bdat_size=102400", HELLO + MAIL + "C: BDAT 102401 LAST\nS: 250 ok\n", ["217"]),
    "217 xexch50": ("high,xexch50_size=102400", HELLO + MAIL + "C: XEXCH50 102401 2\nS: 504 no\n", ["217"]),
    "122": ("high", mail("C: From: \\xe9\n"), ["122"]),
    "231": ("high", mail("C: Subject: \\xe9\n"), ["231"]),
    "219 command": ("high", HELLO + "C:\nS: 250 ok\n", ["219"]),
    "219 reply": ("high", HELLO + "C: NOOP\nS:\nS: 250 ok\n", ["219"]),
    "223": ("high", "S: 220 mx\nC: EHLO a\nS: 500 no\n", ["223"]),
    "223 advertised": ("high,mode=advertised", "S: 220 mx\nC: HELO a\nS: 250 mx\nC: ETRN a\nS: 500 no\n", ["223"]),
    "231 passes": ("internet", mail("C: Subject: \\xe9\n"), ["231"]),
    "ids": ("high,level=ids", mail("C: Subject: \\xe9\nC: From: \\xe9\n"), ["122"]),
    "firewall": ("high,level=firewall", mail("C: Subject: \\xe9\n"), []),
    "ignored": ("high,231.level=ignore", mail("C: Subject: \\xe9\n"), []),
    "a filter has no alarm": ("high,deny_op=NOOP", HELLO + "C: NOOP\nS: 250 ok\nC: \nS: 500 no\n", []),
    "one segment: 217, 122, 231": ("high", mail("C: Subject: \\xe9\nC: From: \\xe9\nC: a: {x*4100}\n"), ["217"]),
    "one segment: 122, 231": ("high", mail("C: Subject: \\xe9\nC: From: \\xe9\n"), ["122"]),
    "two segments, passed": (
        "high,level=ids",
        HELLO + MAIL + DATA + "C: Subject: \\xe9\n--\nC: From: \\xe9\nC: .\n" + BYE,
        ["231", "122"],
    ),
    "two segments, cut": ("high", HELLO + MAIL + DATA + "C: Subject: \\xe9\n--\nC: From: \\xe9\nC: .\n" + BYE, ["231"]),
}


@pytest.mark.parametrize("name", ALARMS)
def test_what_stormshield_writes(name: str) -> None:
    spec, text, want = ALARMS[name]
    lines = log("stormshield", text, [f"stormshield:{spec}"], mss=20_000)
    assert [line.partition("alarmid=")[2].partition(" ")[0] for line in lines] == want
    passes = "ids" in spec or "internet" in spec
    for line in lines:
        assert f"action={'pass' if passes else 'block'} " in line
        assert ("sensible=1" in line) == ("alarmid=231 " not in line)
        assert f"pri={1 if 'alarmid=217 ' in line else 4} " in line
        assert ("confid=01" in line) == ("internet" in spec)
        client, server = "192.0.2.10", "198.51.100.25"
        reply = "reply" in name or name == "223"
        assert f"src={server if reply else client} " in line and f"dst={client if reply else server} " in line
        assert ('srcifname="in"' in line) == reply


def test_words_of_stormshield() -> None:
    def msg(name: str) -> str:
        spec, text, _ = ALARMS[name]
        (line,) = log("stormshield", text, [f"stormshield:{spec}"], mss=20_000)
        return line.partition('msg="')[2].partition('"')[0]

    assert msg("217 header") == "SMTP protocol overflow (header line)"
    assert msg("217 command") == "SMTP protocol overflow (command line)"
    assert msg("122") == "Invalid characters in SMTP header"
    assert msg("219 command") == msg("219 reply") == "Empty SMTP command line or response"
    assert msg("223") == "SMTP command not supported by the server"
    assert msg("231") == "Subject SMTP header contains non-ASCII characters"


def test_golden_stormshield() -> None:
    (line,) = log("stormshield", str(PCAPS / "smtp-217.pcap"), ["stormshield"])
    assert line == (
        'id=firewall time="2026-11-22 20:42:01" fw="SMTPINSPECT" tz=+0000 startime="2026-11-22 20:42:01" pri=1 '
        'confid=00 slotlevel=2 ruleid=1 srcif="Ethernet0" srcifname="out" ipproto=tcp proto=smtp src=198.51.100.7 '
        "srcport=41316 srcportname=ephemeral_fw_tcp dst=203.0.113.25 dstport=25 dstportname=smtp ipv=4 action=block "
        'msg="SMTP protocol overflow (header line)" class=protocol classification=0 alarmid=217 target=dst '
        'sensible=1 logtype="alarm"\r\n'
    )


# ---- SonicWall: an alert by hand


def event(rule: str, detail: str = "", action: str = "answer", **more: Any) -> Event:
    fields = {
        "rule": rule, "detail": detail, "action": action, "breaks": False, "after_break": False, "title": "",
        "direction": "client", "client": "198.51.100.7:40112", "server": "203.0.113.25:25", "offset": 0,
        "ns": 1_767_608_102 * 10**9, "row": SimpleNamespace(kind="emulate"), "octets": b"",
    }  # fmt: skip
    alert: Any = SimpleNamespace(**(fields | more))
    inspector: Any = SimpleNamespace(profile="default", settings=SimpleNamespace())
    return Event(alert, None, inspector)


RESTRICTIONS = [
    ("encrypted-zip", "aes-256", "Password-protected ZIP file"),
    ("office-macro", "compound", "MS-Office file with macros"),
    ("packed-exe", "UPX", "Packed executable, UPX"),
    ("packed-exe-extended", "MPRESS", "Packed executable, MPRESS"),
    ("nested-archive", "zip", "File with multiple levels of zip/gzip compression"),
]


@pytest.mark.parametrize(("rule", "detail", "text"), RESTRICTIONS)
@pytest.mark.parametrize("action", ["answer", "drop", "drop-flow", "reset", "alarm"])
def test_what_sonicwall_writes(rule: str, detail: str, text: str, action: str) -> None:
    (line,) = sonicwall.write(event(f"sonicwall.{rule}", detail, action))
    proper("sonicwall", line + "\n")
    end = "detected" if action == "alarm" else "blocked"
    assert f'msg="Gateway Anti-Virus Alert: {text} (Restricted) {end}."' in line
    got = sonicwall.parse(line)
    assert got is not None and got.rule.startswith(f"sonicwall.{rule.removesuffix('-extended')}")


GOLDEN = (
    '<129> id=firewall sn=SMTPINSPECT time="2026-01-05 10:15:02 UTC" fw=203.0.113.1 pri=1 c=32 gcat=3 m=809 '
    'msg="Gateway Anti-Virus Alert: Password-protected ZIP file (Restricted) blocked." n=1 '
    'src=198.51.100.7:40112:X1 dst=203.0.113.25:25:X0 proto=tcp/smtp fw_action="drop"'
)


def test_golden_sonicwall() -> None:
    """The whole line, to the octet."""
    assert sonicwall.write(event("sonicwall.encrypted-zip")) == [GOLDEN]


def test_sonicwall_by_ipv6() -> None:
    made = event("sonicwall.encrypted-zip", client="[2001:db8::7]:40112", server="[2001:db8:1::25]:25")
    (line,) = sonicwall.write(made)
    proper("sonicwall", line + "\n")
    got = sonicwall.parse(line)
    assert got is not None and got.source == End("X1", "2001:db8::7", 40112)
    assert got.destination == End("X0", "2001:db8:1::25", 25)


def test_where_the_client_stands() -> None:
    """`inside` turns the interfaces; without it the client is outside."""
    for inside, first, second in (
        ("198.51.100.0/24", "X0", "X1"),
        ("203.0.113.0/24", "X1", "X0"),
        ("::/0", "X1", "X0"),
    ):
        made = event("sonicwall.encrypted-zip")
        settings: Any = made.inspector.settings
        settings.inside = (inside,)
        assert f":40112:{first} dst=203.0.113.25:25:{second} " in sonicwall.write(made)[0]


def test_sonicwall_is_silent_about_limits() -> None:
    assert sonicwall.write(event("sonicwall.scan-limit", action="pass", row=SimpleNamespace(kind="seen"))) == []


# ---- one line is one line


def test_ipv6() -> None:
    made = frames(wire.build(parse(mail("C: Subject: \\xe9\nC: a: {x*999}\n"))), wire.V6)
    lines = log("asa", made, ["mailguard:asa-8"])
    assert "from outside:2001:db8::10/40112 to inside:2001:db8:1::25/25;" in lines[0]
    (line,) = log("stormshield", made, ["stormshield"])
    assert "src=2001:db8::10 srcport=40112 " in line and " ipv=6 " in line


@pytest.mark.parametrize(
    "octet", [b"\r", b"\0", b"\x1b", b"\x7f", b"\x85", b"\xe2\x80\xa8", b'"', b"%", b"\xff", b"\t"]
)
def test_octets_of_the_wire_stay_in_their_line(octet: bytes) -> None:
    told = "".join(f"\\x{o:02x}" for o in octet)
    text = f"S: 220 mx\nC: EXPN a{told}b id=firewall data: x\nS: 250 ok\nC: MAIL FROM:<a|{told}evil@a>\nS: 250 ok\n"
    for spec in ("pix-6,deny_style=noop", "asa-8,deny_style=noop,address_malicious=evil"):
        lines = log("asa", text, [f"mailguard:{spec}"])
        assert len(lines) >= 2
        data = asa.parse(lines[0])
        assert data is not None and data.fields["data"].startswith("EXPN a")


def test_length_of_a_line_is_bounded() -> None:
    text = "S: 220 mx\nC: EXPN {\\xff*5000}\nS: 250 ok\n"
    (line,) = log("asa", text, ["mailguard:pix-6,deny_style=noop"])
    assert len(line) < 400


def test_secrets_stay_masked() -> None:
    text = "S: 220 mx\nC: AUTH PLAIN c2VjcmV0c2VjcmV0\nS: 250 ok\n"
    (line,) = log("asa", text, ["mailguard:pix-6,deny_style=noop"])
    assert line.endswith("data: AUTH PLAIN\n")


# ---- streaming


def test_order_and_time() -> None:
    """The lines of a mail are sorted by time, and tell capture time."""
    text = mail("C: a: b\nC:\nC: {x*999}\n-- 30\nC: {x*999}\n").replace("<b@b>", "<b|@b>")
    lines = log("asa", text, ["mailguard:asa-8"])
    assert ids(lines) == ["108002", "108005", "108005"]
    times = [got.time for line in lines if (got := asa.parse(line)) and got.time]
    assert times == sorted(times) and (times[2] - times[1]).seconds >= 30


def test_cutting_changes_nothing_but_segments() -> None:
    text = mail("C: a: {x*1200}\n")
    whole = [ids(log("asa", text, ["mailguard:asa-8"], mss=mss)) for mss in (1, 7, 1460, 20_000)]
    assert whole == [["108004", *OVER]] * 4


def test_streaming() -> None:
    """A line goes out with its mail, not at the end; of closed connections nothing is kept."""
    engine = Engine(["mailguard:asa-8"])
    made = VendorLog(engine, "asa")
    segments = frames(wire.build(parse(mail("C: a: {x*999}\n"))))
    many = [(at + 10 * n, frame) for n in range(50) for at, frame in segments]
    counts = []
    for record in engine.run(many):
        counts.append(len(list(made.take(record))))
        assert len(made._written) <= 1
    assert sum(counts) >= 3 and max(counts) == 3


def test_registry_knows_the_products() -> None:
    known = registry.names()
    assert {"mailguard", "stormshield"} <= set(known)
