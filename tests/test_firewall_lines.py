"""Which lines of a firewall's log confirm a break: an inspection's, of this connection, that the capture bears out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit import capture as captured
from kit.broken import Connection, message
from kit.wire import START, V4
from smtpinspect.cli import main
from smtpinspect.diagnose.causes.remedies import logged
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Cause
from smtpinspect.diagnose.paths import firewall_log
from smtpinspect.report.headline import headline

CLIENT, PORT = V4.client, V4.client_port
SERVER, INSIDE = V4.server, "10.0.0.25"
LONG = b"X-Long: " + b"x" * 1_200 + b"\r\n"


def stormshield(what: str) -> str:
    when = f"{datetime.fromtimestamp(START, UTC):%Y-%m-%d %H:%M:%S}"
    ends = f"src={CLIENT} dst={SERVER}"
    return f'id=firewall time="{when}" fw="SN210" tz=+0000 {ends} action=block {what} logtype="alarm"'


def sonicwall(code: int, text: str, proto: str = "tcp/smtp", ports: tuple[object, object] = (PORT, 25)) -> str:
    when = f"{datetime.fromtimestamp(START, UTC):%Y-%m-%d %H:%M:%S} UTC"
    ends = f"src={CLIENT}:{ports[0]}:X1 dst={SERVER}:{ports[1]}:X0 proto={proto}"
    return f'id=firewall sn=0017C5 time="{when}" fw=192.0.2.1 pri=5 m={code} msg="{text}" {ends} fw_action="drop"'


def asa(text: str, after: float = 0) -> str:
    return f"{datetime.fromtimestamp(START + after, UTC):%b %d %Y %H:%M:%S} fw : %ASA-4-{text}"


def dropped(server: str = SERVER, after: float = 0) -> str:
    return asa(
        "108004: ESMTP Classification: Dropped connection for ESMTP Request from "
        f"outside:{CLIENT}/{PORT} to inside:{server}/25; matched Class 4: header line length gt 998", after,
    )  # fmt: skip


def teardown(connection: int, server: str) -> str:
    text = f"302014: Teardown TCP connection {connection} for outside:{CLIENT}/{PORT} to inside:{server}/25"
    return asa(f"{text} duration 0:00:01 bytes 5 Flow closed by inspection")


BUILT = asa(
    f"302013: Built inbound TCP connection 77 for outside:{CLIENT}/{PORT} ({CLIENT}/{PORT}) "
    f"to inside:{INSIDE}/25 ({SERVER}/25)"
)


def told(folder: Path, made: Connection, *lines: str) -> tuple[Case, list[Cause], list[str]]:
    capture, log = folder / "made.pcap", folder / "fw.log"
    capture.write_bytes(captured.pcap(captured.records(made.packets)))
    log.write_text("".join(f"{line}\n" for line in lines))
    found = diagnose(Asked(str(capture), firewall_logs=(str(log),))).diagnosis
    (case,) = found.cases
    return case, [cause for cause in case.causes if cause.degree == "confirmed"], [*found.notes, *found.unmatched]


@pytest.mark.parametrize(("tag", "command"), [
    ("ASA", "  no inspect esmtp"), ("PIX", "no fixup protocol smtp 25"), ("FWSM", "  no inspect smtp"),
])  # fmt: skip
def test_what_to_type_is_for_the_generation_that_wrote_the_line(tmp_path: Path, tag: str, command: str) -> None:
    line = asa(
        f"507003: tcp flow from outside:{CLIENT}/{PORT} to inside:{SERVER}/25 terminated by inspection engine, "
        "reason - inspector disconnected, dropped packet.",
    ).replace("%ASA", f"%{tag}")  # fmt: skip
    case, (cause,), _ = told(tmp_path, cut(), line)
    for specs in ((), ("stormshield",), ("mailguard:pix-5",)):  # whatever was asked for
        case.specs = {each: each for each in specs}
        assert str(logged(case, cause)).startswith(f"mailguard:{tag.lower()}")
    typed = [each.commands for each in cause.remedies if each.where == "firewall" and each.commands]
    assert any(command in lines for lines in typed)
    assert all(("no fixup protocol smtp 25" in lines) == (tag == "PIX") for lines in typed)
    assert not any("SERVER" in f"{each}" or "PEER" in f"{each}" for each in cause.remedies)


def cut() -> Connection:
    return Connection().cut(LONG + message(600))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (stormshield('ipproto=icmp proto=icmp msg="Possible ICMP flood" class=protocol alarmid=67'), 0),
        (sonicwall(38, "ICMP packet dropped due to Policy", "icmp", ("", "")), 0),
        (stormshield(f'ipproto=udp proto=dns srcport={PORT} dstport=25 msg="DNS" alarmid=88'), 0),
        (stormshield(f'ipproto=tcp proto=smtp srcport={PORT} dstport=25 msg="TCP data queue overflow" alarmid=84'), 1),
        (sonicwall(181, "TCP FIN packet dropped"), 1),
        (sonicwall(708, "TCP packet received on a closed connection; TCP packet dropped"), 1),
    ],
)
def test_what_is_no_inspection_s_of_this_connection_confirms_nothing(tmp_path: Path, line: str, found: int) -> None:
    case, causes, notes = told(tmp_path, cut(), line)
    assert causes == []
    assert any(f"about this capture: {found}" in note for note in notes)
    assert [sign.text for sign in case.logged[1:]] == found * [
        "the log has this connection, but no alarm of an inspection that stopped anything"
    ]


@pytest.mark.parametrize(
    "line",
    [
        stormshield(f'ipproto=tcp proto=smtp srcport={PORT} dstport=25 msg="SMTP: overflow" alarmid=217'),
        sonicwall(809, "Gateway Anti-Virus Alert: EICAR (Trojan) blocked."),
        sonicwall(609, "IPS Prevention Alert: SMTP something"),
        dropped(),
        teardown(77, SERVER),
        stormshield(
            f'ipproto=tcp proto=smtp srcport={PORT} dstport=25 origdst={SERVER} msg="SMTP: overflow" alarmid=217'
        ).replace(f"dst={SERVER} action", f"dst={INSIDE} action"),
    ],
)
def test_an_inspection_s_does(tmp_path: Path, line: str) -> None:
    _, (cause,), _ = told(tmp_path, cut(), line)
    assert cause.confidence == "certain"


def test_built_joins_the_real_and_the_mapped_address(tmp_path: Path) -> None:
    case, (cause,), notes = told(tmp_path, cut(), BUILT, dropped(INSIDE), teardown(77, INSIDE), teardown(78, INSIDE))
    assert (cause.cause, cause.confidence) == ("mailguard.header-line-length", "certain")
    assert any("about this capture: 3" in note for note in notes)
    assert "line 4" not in str(case.logged)


def test_a_server_behind_another_address_is_not_certain_without_it(tmp_path: Path) -> None:
    case, (cause,), _ = told(tmp_path, cut(), dropped(INSIDE))
    assert cause.confidence == "likely"
    assert f"it names {INSIDE} instead of {SERVER}" in cause.evidence[1].text
    assert "CONFIRMED" not in str(headline(case))


def test_a_line_without_ports_is_not_certain(tmp_path: Path) -> None:
    line = asa(f"108001: SMTP made noop: out {CLIENT} in {SERVER} data: EHLO")
    _, (cause,), _ = told(tmp_path, cut(), line)
    assert cause.confidence == "possible" and firewall_log.NO_PORTS in cause.evidence[1].text


def test_what_was_altered_is_not_how_it_ended(tmp_path: Path) -> None:
    line = dropped().replace("Dropped connection", "Masked header flags")
    _, (cause,), _ = told(tmp_path, cut(), line)
    assert cause.confidence == "possible" and "altered what it saw" in cause.evidence[1].text
    _, (cause,), _ = told(tmp_path, answered(0.1, LONG), line)
    assert cause.confidence == "likely"
    assert len(told(tmp_path, Connection().delivered(), line)[2]) == 1


def test_a_connection_that_went_on_is_not_certain(tmp_path: Path) -> None:
    made = Connection().envelope().wait(90).say("C", LONG, acked=True).wait(5).reset("S")
    _, (cause,), _ = told(tmp_path, made, dropped())
    assert cause.confidence == "likely" and "by its clock both sides went on for 90 s" in cause.evidence[1].text
    assert told(tmp_path, made, dropped(after=90))[1][0].confidence == "certain"


def test_a_server_that_was_left_without_the_text_answers_late(tmp_path: Path) -> None:
    made = Connection().envelope().say("C", LONG, arrives=False)
    for n in range(8):
        made.wait(0.4 * 2**n).again("C", made.sent["C"] - len(LONG), len(LONG))
    made.wait(200).say("S", b"421 4.4.2 timeout\r\n", acked=True).close("S")
    line = stormshield(f'ipproto=tcp proto=smtp srcport={PORT} dstport=25 msg="SMTP: overflow" alarmid=217')
    assert told(tmp_path, made, line)[1][0].confidence == "certain"


def test_a_line_of_another_server_sets_no_clock(tmp_path: Path) -> None:
    case, causes, _ = told(tmp_path, cut(), dropped(INSIDE, 7_200))
    assert causes == [] and not case.logged


def answered(wait: float, text: bytes) -> Connection:
    made = Connection().envelope().say("C", text, acked=True).wait(wait)
    return made.say("S", b"421 4.4.2 Error\r\n", acked=True).close("S").close("C")


@pytest.mark.parametrize(
    ("wait", "text", "why"),
    [
        (300, LONG, "is contradicted by the capture: both sides went on for 300 s behind it, until"),
        (0.1, b"Subject: x\r\n", "is contradicted by the capture: header line length is 10 at most"),
    ],
)
def test_a_reply_of_the_server_contradicts_a_dropped_connection(
    tmp_path: Path, wait: float, text: bytes, why: str
) -> None:
    case, causes, _ = told(tmp_path, answered(wait, text), dropped())
    assert causes == [] and str(headline(case)).startswith("DEFERRED: the server answered 421")
    assert why in case.logged[1].text


def test_what_may_be_true_is_not_certain_where_a_reply_ended_it(tmp_path: Path) -> None:
    case, (cause,), _ = told(tmp_path, answered(0.1, LONG), dropped())
    assert cause.confidence == "likely" and "a reply ended it here" in cause.evidence[1].text
    assert "box" not in str(headline(case)) and "CONFIRMED" not in str(headline(case))


def test_an_accepted_mail_whose_connection_was_dropped_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, notes = told(tmp_path, Connection().delivered(), dropped())
    ends = f"{CLIENT}:{PORT} to {SERVER}:25"
    assert f"line 1 says that an inspection stopped {ends}, whose mail was accepted" in notes[-1]
    assert main(["diagnose", str(tmp_path / "made.pcap"), "--firewall-log", str(tmp_path / "fw.log")]) == 0
    assert "whose mail was accepted here" in " ".join(capsys.readouterr().out.split())
