"""Lines of the three products, as the field and the manuals show them, are read; whatever is none is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpinspect.grammar import limits
from smtpinspect.inspectors.logline import End, LogLine
from smtpinspect.inspectors.mailguard import logs as asa
from smtpinspect.inspectors.sonicwall import logs as sonicwall
from smtpinspect.inspectors.stormshield import logs as stormshield

LOGS: dict[str, Any] = {"asa": asa, "stormshield": stormshield, "sonicwall": sonicwall}

# ---- lines of the field, and of the manuals

CLIENT, RELAY = End("outside", "75.75.75.75", 35314), End("DMZ", "10.0.25.101", 25)
FROM_TO = "from outside:75.75.75.75/35314 to DMZ:10.0.25.101/25"
OUT_IN = (End("", "192.0.2.9", 0), End("", "10.2.1.1", 0))

ASA = [
    (
        f"%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request {FROM_TO}; "
        "matched Class 4: header line length gt 998",
        ("108004", 4, "drop", "mailguard.header-line-length", CLIENT, RELAY),
        {"class": "ESMTP Classification", "number": "4", "criterion": "header line length gt 998", "what": "Request"},
    ),
    (
        "%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request from "
        "WLC-LAN_inside:10.235.61.181/49536 to outside:217.76.146.62/25; matched Class 4: header line length gt 998",
        ("108004", 4, "drop", "mailguard.header-line-length", End("WLC-LAN_inside", "10.235.61.181", 49536), None),
        {"number": "4"},
    ),
    (
        "%ASA-4-507003: tcp flow from ... terminated by inspection engine, reason - inspector disconnected, "
        "dropped packet.",
        ("507003", 4, "drop", "", None, None),
        {"reason": "inspector disconnected, dropped packet."},
    ),
    (
        "%ASA-4-507003: tcp flow from outside:75.75.75.75/35314 to PUBLIC_DMZ:10.0.25.101/25 terminated by "
        "inspection engine, reason - inspector disconnected, dropped packet.",
        ("507003", 4, "drop", "", CLIENT, End("PUBLIC_DMZ", "10.0.25.101", 25)),
        {"proto": "tcp"},
    ),
    (
        "%ASA-4-507003: tcp flow from inside:10.1.0.1/58593 to outside:10.1.2.3/21 terminated by inspection engine, "
        "reason - inspector drop reset.",
        ("507003", 4, "reset", "", End("inside", "10.1.0.1", 58593), End("outside", "10.1.2.3", 21)),
        {"reason": "inspector drop reset."},
    ),
    (
        "%ASA-6-302014: Teardown TCP connection 11 for outside:10.1.2.3/21 to inside:10.1.0.1/58593 "
        "duration 0:00:18 bytes 141 Flow closed by inspection",
        ("302014", 6, "teardown", "", End("outside", "10.1.2.3", 21), End("inside", "10.1.0.1", 58593)),
        {"connection": "11", "duration": "0:00:18", "bytes": "141", "reason": "Flow closed by inspection"},
    ),
    (
        "%ASA-6-302014: Teardown TCP connection 7 for ... duration 0:00:18 bytes 141 Flow closed by inspection",
        ("302014", 6, "teardown", "", None, None),
        {"connection": "7", "reason": "Flow closed by inspection"},
    ),
    (
        "Jul 03 2014 14:33:09: %ASA-6-302014: Teardown TCP connection 806405 for inside:10.0.0.100/50554 to "
        "identity:172.18.124.136/51358 duration 0:00:00 bytes 442 TCP Reset-I ",
        ("302014", 6, "teardown", "", End("inside", "10.0.0.100", 50554), None),
        {"reason": "TCP Reset-I"},
    ),
    (
        "%PIX-2-108001: SMTP made noop: out 192.0.2.9 in 10.2.1.1 data: EHLO mail.example.org",
        ("108001", 2, "rewrite", "mailguard.command-not-allowed", *OUT_IN),
        {"data": "EHLO mail.example.org", "tag": "PIX"},
    ),
    (
        "%PIX-2-108002: SMTP replaced |: out 192.0.2.9 in 10.2.1.1 data: RCPT TO:<...",
        ("108002", 2, "rewrite", "mailguard.address-pipe", *OUT_IN),
        {"replaced": "|", "data": "RCPT TO:<...", "out": "192.0.2.9", "in": "10.2.1.1"},
    ),
    (
        "%FWSM-2-108002: SMTP replaced >: out 192.0.2.9 in 10.2.1.1 data: RCPT TO:<a>b@c>",
        ("108002", 2, "rewrite", "mailguard.address-angle", *OUT_IN),
        {"replaced": ">", "tag": "FWSM"},
    ),
    (
        f"%ASA-2-108003: Terminating ESMTP connection; malicious pattern detected in the mail address {FROM_TO}. "
        "Mail Address:a|b@c",
        ("108003", 2, "drop", "mailguard.address-malicious", CLIENT, RELAY),
        {"data": "a|b@c"},
    ),
    (
        f"%PIX-2-108003: Terminating ESMTP/SMTP connection; malicious pattern detected in the mail address {FROM_TO}. "
        "Data:a|b@c",
        ("108003", 2, "drop", "mailguard.address-malicious", CLIENT, RELAY),
        {"data": "a|b@c", "kind": "ESMTP/SMTP"},
    ),
    (
        "%PIX-2-108003: Terminating ESMTP/SMTP connection; ... Data:a|b@c",
        ("108003", 2, "drop", "mailguard.address-malicious", None, None),
        {"data": "a|b@c"},
    ),
    (
        f"%ASA-4-108004: ESMTP Classification: Reset connection for ESMTP Request {FROM_TO}; "
        "matched Class 1234 : match body length 100",
        ("108004", 4, "reset", "mailguard.body-length", CLIENT, RELAY),
        {"number": "1234", "criterion": "body length 100"},
    ),
    (
        f"%ASA-4-108004: ESMTP Classification: Reset connection for ESMTP Request {FROM_TO}; "
        "matched Class 1234: match body length 100",
        ("108004", 4, "reset", "mailguard.body-length", CLIENT, RELAY),
        {"number": "1234", "criterion": "body length 100"},
    ),
    (
        f"%ASA-4-108004: ESMTP Parameter: Dropped connection for ESMTP Request {FROM_TO}; "
        "mail-relay: No Mail Relay allowed",
        ("108004", 4, "drop", "mailguard.mail-relay", CLIENT, RELAY),
        {"class": "ESMTP Parameter", "parameter": "mail-relay", "message": "No Mail Relay allowed"},
    ),
    (
        "%ASA-4-108004: ESMTP Classification: Masked header flags for ESMTP Response from DMZ:10.0.25.101/25 to "
        "outside:75.75.75.75/35314; matched Class 7: ehlo-reply-parameter others",
        ("108004", 4, "rewrite", "mailguard.ehlo-param-masked", RELAY, CLIENT),
        {"what": "Response"},
    ),
    (
        f"%ASA-4-108004: ESMTP Classification: Dropped ESMTP Request {FROM_TO}; matched Class 9: cmd verb EXPN",
        ("108004", 4, "drop", "mailguard.cmd-verb", CLIENT, RELAY),
        {"action": "Dropped"},
    ),
    (
        f"%ASA-6-108005: ESMTP Classification: Received ESMTP Request {FROM_TO}; "
        "matched Class 3: body line length gt 998",
        ("108005", 6, "log", "mailguard.body-line-length", CLIENT, RELAY),
        {"number": "3"},
    ),
    (
        f"%ASA-7-108006: Detected ESMTP size violation {FROM_TO}; declared size is: 100, actual size is 200",
        ("108006", 7, "log", "mailguard.size-violation", CLIENT, RELAY),
        {"declared": "100", "actual": "200"},
    ),
    (
        "%ASA-6-108007: TLS started on ESMTP session between client outside:75.75.75.75/35314 and server "
        "DMZ:10.0.25.101/25",
        ("108007", 6, "log", "mailguard.tls-started", CLIENT, RELAY),
        {},
    ),
]


@pytest.mark.parametrize(("line", "told", "fields"), ASA)
def test_lines_of_cisco(line: str, told: tuple[Any, ...], fields: dict[str, str]) -> None:
    got = asa.parse(line)
    assert got is not None and got.product == "mailguard"
    code, severity, action, rule, source, destination = told
    assert (got.id, got.severity, got.action, got.rule, got.source) == (code, severity, action, rule, source)
    assert destination is None or got.destination == destination
    assert fields.items() <= got.fields.items()
    for lead in ("", "<164>", "Jan 05 2026 10:15:02: ", "<164>Jan 05 2026 10:15:02 fw.example : ", "Jan  5 10:15:02 "):
        led = asa.parse(lead + line[line.index("%") :] + "\r\n")
        assert led is not None and (led.text, led.source) == (got.text, got.source)
        assert led.time == (datetime(2026, 1, 5, 10, 15, 2, tzinfo=UTC) if "2026" in lead else None)
        assert led.fields.get("host", "") == ("fw.example" if "fw.example" in lead else "")


def test_counters_of_cisco() -> None:
    line = "      Inspect: esmtp _default_esmtp_map, packet 96716502, lock fail 7, drop 25, reset-drop 0"
    assert asa.counters(line) == ("_default_esmtp_map", 96716502, 7, 25, 0)
    newer = line + ", 5-min-pkt-rate 0 pkts/sec, v6-fail-close 0 sctp-drop-override 0"
    assert asa.counters(newer) == asa.counters(line)
    assert asa.counters("Inspect: ftp, packet 1, lock fail 0, drop 0, reset-drop 0") is None


STORMSHIELD = [
    (
        'id=firewall time="2019-01-27 13:24:28" fw="V50XXA0G0000002" tz=+0000 startime="2011-01-27 13:24:28" pri=4 '
        'srcif="Ethernet0" srcifname="out" ipproto=tcp proto=ssh src=192.168.0.1 srcport=54937 '
        "srcportname=ephemeral_fw dst=192.168.1.1 dstport=22 dstportname=ssh dstname=Firewall_out action=pass "
        'msg="Interactive connection detected" class=protocol classification=0 alarmid=85',
        ("85", 4, "pass", "", End("out", "192.168.0.1", 54937), End("", "192.168.1.1", 22)),
        (2019, 1, 27, 13, 24, 28, 0),
    ),
    (
        'time="2023-11-23 06:49:20" fw="SN12345678912345" tz=+0100 startime="2023-11-23 06:49:20" pri=4 confid=00 '
        'srcif="Ethernet4" srcifname="wan-interface" ipproto=tcp proto=unknown src=11.22.33.44 srcport=1234 '
        "srcmac=aa:bb:cc:dd:ee:ff dst=55.66.77.88 dstport=5678 dstportname=ephemeral_fw_tcp "
        'dstname=host_55.66.77.88 ipv=4 action=block msg="Protocole TCP invalide (packet too short)" class=protocol '
        'classification=0 alarmid=98 target=dst sensible=1 logtype="alarm"',
        ("98", 4, "drop", "", End("wan-interface", "11.22.33.44", 1234), End("", "55.66.77.88", 5678)),
        (2023, 11, 23, 6, 49, 20, 1),
    ),
    (
        'id=firewall time="2026-07-06 13:45:10" fw="SN000TESTFW00000" tz=+0200 startime="2026-07-06 13:45:09" pri=1 '
        'confid=01 slotlevel=2 ruleid=93 rulename="rule_1d" srcif="Ethernet1" srcifname="lan" ipproto=tcp proto=ssl '
        "src=10.0.0.20 srcport=64127 dst=203.0.113.61 dstport=443 ipv=4 action=block "
        'msg="Invalid SSL packet (Unknown SSL protocol)" class=protocol classification=0 alarmid=118 target=dst '
        'risk=10 logtype="alarm"',
        ("118", 1, "drop", "", End("lan", "10.0.0.20", 64127), End("", "203.0.113.61", 443)),
        (2026, 7, 6, 13, 45, 10, 2),
    ),
    (
        'id=firewall time="2018-10-16 18:14:35" fw="na_carfi" tz=+0200 startime="2018-10-16 18:14:34" pri=1 '
        'confid=00 srcif="Ethernet1" srcifname="in" ipproto=udp proto=udp src=172.16.0.27 srcport=17500 '
        "srcmac=00:0c:29:09:f4:44 dst=255.255.255.255 dstport=17500 dstname=broadcast ipv=4 action=block "
        'msg="IP address spoofing (type=1)" class=protocol classification=0 alarmid=1 target=dst logtype="alarm"',
        ("1", 1, "drop", "", End("in", "172.16.0.27", 17500), End("", "255.255.255.255", 17500)),
        (2018, 10, 16, 18, 14, 35, 2),
    ),
    (
        'id=firewall time="2026-01-05 10:15:02" fw="SMTPINSPECT" tz=+0000 startime="2026-01-05 10:15:02" pri=4 '
        'confid=00 slotlevel=2 ruleid=1 srcif="Ethernet0" srcifname="out" ipproto=tcp proto=smtp src=198.51.100.7 '
        "srcport=40112 srcportname=ephemeral_fw_tcp dst=203.0.113.25 dstport=25 dstportname=smtp ipv=4 action=block "
        'msg="SMTP protocol overflow (header line)" class=protocol classification=0 alarmid=217 target=dst '
        'sensible=1 logtype="alarm"',
        ("217", 4, "drop", "stormshield.smtp-217", End("out", "198.51.100.7", 40112), End("", "203.0.113.25", 25)),
        (2026, 1, 5, 10, 15, 2, 0),
    ),
]


@pytest.mark.parametrize(("line", "told", "time"), STORMSHIELD)
@pytest.mark.parametrize("lead", ["", "<14>", "<134>", "2018-10-16T18:14:35+02:00 na_carfi asqd - - - "])
def test_lines_of_stormshield(line: str, told: tuple[Any, ...], time: tuple[int, ...], lead: str) -> None:
    got = stormshield.parse(lead + line + "\r\n")
    assert got is not None and got.product == "stormshield"
    assert (got.id, got.severity, got.action, got.rule, got.source, got.destination) == told
    assert got.time == datetime(*time[:6], tzinfo=timezone(timedelta(hours=time[6])))  # type: ignore[misc]
    assert got.text == re.search('msg="([^"]*)"', line)[1]  # type: ignore[index]


def test_other_logs_of_stormshield() -> None:
    proxy = 'id=firewall time="2020-01-01 00:00:00" fw="a" proto=smtp dstport=25 virus=clean spamlevel=0 logtype="smtp"'
    assert stormshield.parse(proxy) is None


SONICWALL = [
    (
        '<129> id=firewall sn=ZZZZZZZZZ time="2022-02-24 03:29:07" fw=192.168.33.1 pri=1 c=32 m=609 msg="IPS '
        'Prevention Alert: WEB-ATTACKS Apache Log4j2 JNDI Log Messages Remote Code Execution" sid=2307 ipscat="..." '
        "ipspri=2 n=8158 src=216.160.83.61:54192:X20-V60 dst=:8080:X20-V68 dstV6=2001:db8::8 "
        'fw_action="drop"',
        ("609", 1, "drop", "", End("X20-V60", "216.160.83.61", 54192), End("X20-V68", "2001:db8::8", 8080)),
    ),
    (
        "CEF:0|SonicWall|NSa 4700|7.0.1-5000-R3000|1460|Capture ATP File Transfer Result|5|cat=1 gcat=3 "
        "src=192.0.2.7 spt=443 deviceInboundInterface=X6-V333 dst=198.51.100.9 dpt=50222 deviceOutboundInterface=X1 "
        'proto=tcp/https in=1 msg="Gateway Anti-Virus Status: x" cnt=2 fw_action="NA" fileid="..." filetxstatus=230',
        ("1460", 5, "log", "", End("X6-V333", "192.0.2.7", 443), End("X1", "198.51.100.9", 50222)),
    ),
    (
        '<129> id=firewall sn=SMTPINSPECT time="2026-01-05 10:15:02 UTC" fw=203.0.113.1 pri=1 c=32 gcat=3 m=809 '
        'msg="Gateway Anti-Virus Alert: Password-protected ZIP file (Restricted) blocked." n=1 '
        'src=198.51.100.7:40112:X1 dst=203.0.113.25:25:X0 proto=tcp/smtp fw_action="drop"',
        ("809", 1, "drop", "sonicwall.encrypted-zip", End("X1", "198.51.100.7", 40112), End("X0", "203.0.113.25", 25)),
    ),
    (
        'id=firewall sn=A time="2026-01-05 03:09:15" fw=10.0.0.1 pri=1 c=32 m=809 msg="Gateway Anti-Virus Alert: '
        'XPACK.A_7854 (Trojan) blocked." n=1 src=136.127.92.171:80 dst=10.16.10.14:60818',
        ("809", 1, "drop", "", End("", "136.127.92.171", 80), End("", "10.16.10.14", 60818)),
    ),
]


@pytest.mark.parametrize(("line", "told"), SONICWALL)
def test_lines_of_sonicwall(line: str, told: tuple[Any, ...]) -> None:
    got = sonicwall.parse(line)
    assert got is not None and got.product == "sonicwall"
    assert (got.id, got.severity, got.action, got.rule, got.source, got.destination) == told
    if "809" in line:
        assert got.fields["signature"] in line and got.fields["class"] in ("Restricted", "Trojan")


# ---- reading never fails

SAMPLES = [line for line, *_ in [*ASA, *STORMSHIELD, *SONICWALL]]


def all_parsed(line: str) -> list[LogLine]:
    return [got for log_ in LOGS.values() if (got := log_.parse(line)) is not None]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    all_parsed(text)
    asa.counters(text)


@given(st.sampled_from(SAMPLES), st.integers(0, 400), st.text(max_size=12), st.integers(0, 20))
def test_spoiled_lines_are_read(line: str, at: int, text: str, less: int) -> None:
    all_parsed(line[:at] + text + line[at + less :])


def test_strange_lines() -> None:
    assert all_parsed("") == []
    assert all_parsed("x" * (limits.LOG_READ + 1)) == []
    assert all_parsed(SAMPLES[0] + "x" * limits.LOG_READ) == []
    feb = asa.parse("Feb 31 2026 10:00:00: " + SAMPLES[0])
    assert feb is not None and feb.time is None
    late = stormshield.parse(STORMSHIELD[0][0].replace("13:24:28", "33:24:28"))
    assert late is not None and late.time is None
    zone = stormshield.parse(STORMSHIELD[0][0].replace("+0000", "+9999"))
    assert zone is not None and zone.time is None


@pytest.mark.parametrize("form", LOGS)
def test_a_product_reads_its_own_lines_only(form: str) -> None:
    own = {"asa": ASA, "stormshield": STORMSHIELD, "sonicwall": SONICWALL}[form]
    for other in LOGS.keys() - {form}:
        assert not [line for line, *_ in own if LOGS[other].parse(line)]
