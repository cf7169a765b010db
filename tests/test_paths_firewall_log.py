"""A firewall's own log beside a capture: joined by 5-tuple and time, whatever its clock says."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smtpinspect.cli import main
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Cause
from smtpinspect.diagnose.paths import firewall_log
from smtpinspect.diagnose.survey import survey
from smtpinspect.report.headline import headline
from smtpinspect.simulate.captures import Asked as Simulated
from smtpinspect.simulate.captures import simulate

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
# A capture, whose log, the box, and the rule that its log names.
LOGGED = [
    ("subject-8bit", "stormshield", "stormshield:high", "stormshield.smtp-231"),
    ("smtp-217", "stormshield", "stormshield:high", "stormshield.smtp-217.header"),
    ("long-header-line", "asa", "mailguard:asa-8", "mailguard.header-line-length"),
    ("encrypted-zip", "sonicwall", "sonicwall", "sonicwall.encrypted-zip"),
]


def made(name: str, form: str, spec: str, folder: Path) -> tuple[Path, Path]:
    """What the client's side captures behind such a box, and the log that the box writes."""
    whole, client, log = PCAPS / f"{name}.pcap", folder / "client.pcap", folder / "firewall.log"
    simulate(Simulated(str(whole), spec, write_client=str(client)))
    assert main(["replay", str(whole), "-i", spec, "--format", form, "-o", str(log)]) == 0
    return client, log


def shifted(log: Path, seconds: float) -> None:
    """The log of a box with another clock."""

    def welf(found: re.Match[str]) -> str:
        return str(datetime.fromisoformat(found[0]) + timedelta(seconds=seconds))

    def cisco(found: re.Match[str]) -> str:
        when = datetime.strptime(found[0], "%b %d %Y %H:%M:%S").replace(tzinfo=UTC) + timedelta(seconds=seconds)
        return f"{when:%b %d %Y %H:%M:%S}"

    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", welf, log.read_text())
    log.write_text(re.sub(r"[A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d", cisco, text))


def confirmed(client: Path, log: Path, spec: str) -> tuple[list[Cause], list[str], list[Case]]:
    told = diagnose(Asked(str(client), inspectors=(spec,), firewall_logs=(str(log),))).diagnosis
    causes = [cause for case in told.cases for cause in case.causes if cause.degree == "confirmed"]
    return causes, told.notes, told.cases


@pytest.mark.parametrize(("name", "form", "spec", "rule"), LOGGED)
@pytest.mark.parametrize("seconds", [0, 3_600, -18_000, -37])
def test_the_log_confirms_the_rule(name: str, form: str, spec: str, rule: str, seconds: int, tmp_path: Path) -> None:
    client, log = made(name, form, spec, tmp_path)
    shifted(log, seconds)
    causes, notes, _ = confirmed(client, log, spec)
    assert [cause.cause for cause in causes] == [rule]
    (cause,) = causes
    assert (cause.confidence, cause.rank, cause.kind) == ("certain", 0, "rule")
    assert "line 1" in cause.evidence[0].text
    assert ("another zone" in notes[0]) == (abs(seconds) >= 3_600)
    assert ("seconds behind" in notes[0]) == (seconds == -37)


def test_a_packed_log_is_read(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    packed = tmp_path / "firewall.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert [cause.cause for cause in confirmed(client, packed, LOGGED[0][2])[0]] == [LOGGED[0][3]]


def test_the_same_ports_on_another_day_are_another_connection(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    shifted(log, 9 * 86_400)
    causes, _, cases = confirmed(client, log, LOGGED[0][2])
    assert causes == [] and all(not case.logged for case in cases)


def test_another_port_is_another_connection(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    log.write_text(re.sub(r"srcport=\d+", "srcport=1", log.read_text()))
    assert confirmed(client, log, LOGGED[0][2])[0] == []


def test_an_alarm_that_passed_confirms_nothing(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    log.write_text(log.read_text().replace("action=block", "action=pass"))
    causes, _, (case,) = confirmed(client, log, LOGGED[0][2])
    assert causes == []
    assert case.logged[-1].text == "the log has this connection, but no alarm of an inspection that stopped anything"


def test_a_log_without_the_connection_says_so(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    line = re.sub(r"srcport=\d+", "srcport=1", log.read_text())
    early, late = tmp_path / "early", tmp_path / "late"
    for path, seconds in ((early, -60), (late, 60)):
        path.write_text(line)
        shifted(path, seconds)
    log.write_text(early.read_text() + late.read_text())
    _, _, (case,) = confirmed(client, log, LOGGED[0][2])
    assert "no line of this connection" in case.logged[0].text


def test_a_built_connection_is_no_alarm(tmp_path: Path) -> None:
    client, _ = made(*LOGGED[0][:3], tmp_path)
    (case,) = survey(str(client), []).cases
    (one, a), (two, b) = (end.rsplit(":", 1) for end in (case.flow.client, case.flow.server))
    when = datetime.fromtimestamp(case.flow.start_ns / 1e9, UTC)
    log = tmp_path / "asa.log"
    ends = f"for outside:{one}/{a} ({one}/{a}) to inside:{two}/{b} ({two}/{b})"
    text = f"%ASA-6-302013: Built inbound TCP connection 7 {ends}"
    log.write_text(f"{when:%b %d %Y %H:%M:%S}: {text}\n{when:%b %d %H:%M:%S} fw %ASA-6-305011: {one}/99 {two}/{b}\n")
    firewall_log.join([case], [str(log)])
    assert [sign.text.split(":")[0] for sign in case.logged[:-1]] == ["line 1"]
    assert "no alarm" in case.logged[-1].text


def test_that_inspection_ended_it_is_less_than_why(tmp_path: Path) -> None:
    client, log = made(*LOGGED[2][:3], tmp_path)
    assert "507003" in log.read_text()
    assert [cause.cause for cause in confirmed(client, log, LOGGED[2][2])[0]] == [LOGGED[2][3]]
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "507003" in line))
    (cause,) = confirmed(client, log, LOGGED[2][2])[0]
    assert cause.cause == "mailguard" and "507003" in cause.evidence[0].text
    assert cause.title == firewall_log.UNNAMED


DAMAGED = bytearray(gzip.compress(b"".join(b"%d " % (n * 7_919) for n in range(20_000))))
DAMAGED[300:320] = b"\xff" * 20
NO_LOGS = [b"", b"\x1f\x8bnot gzip", bytes(DAMAGED), b"\0\xff\n" * 9, b"x" * 100_000, b"%ASA-4-108004: \xff\n"]


@pytest.mark.parametrize("octets", NO_LOGS, ids=lambda octets: f"{len(octets)}-{octets[:4].hex()}")
def test_a_log_that_is_none(octets: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_bytes(octets)
    status = main(["diagnose", str(PCAPS / "subject-8bit.pcap"), "-i", "sonicwall", "--firewall-log", str(log)])
    assert status == (3 if octets == DAMAGED else 0)
    assert "Traceback" not in capsys.readouterr().err


def told_of(log: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["diagnose", str(PCAPS / "subject-8bit.pcap"), "-i", "sonicwall", "--firewall-log", str(log)]) == 0
    return capsys.readouterr().out


def test_what_is_no_firewall_s_log_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "some.log"
    log.write_text("hello\nworld\n")
    assert "some.log: no line of a firewall's log that is known (Cisco ASA, Stormshield, SonicWall)\n" in told_of(
        log, capsys
    )
    log.write_text("2026-11-22 10:00:00 1xVQHr-000001-2A Completed\n")
    assert "it is a mail server's: give it with --log some.log" in told_of(log, capsys)
    log.write_text("")
    assert "some.log: it is empty" in told_of(log, capsys)
    log.write_bytes((PCAPS / "subject-8bit.pcap").read_bytes())
    assert main(["diagnose", str(PCAPS / "subject-8bit.pcap"), "--firewall-log", str(log)]) == 2
    assert "this is a capture; give it without --firewall-log" in capsys.readouterr().err


def test_a_damaged_log_counts_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "fw.log.gz"
    log.write_bytes(gzip.compress(b"".join(b"line %d\n" % n for n in range(50_000)))[:-40_000])
    assert main(["diagnose", str(PCAPS / "subject-8bit.pcap"), "--firewall-log", str(log)]) == 3
    assert re.search(r"The [\d,]+ lines before it were processed", capsys.readouterr().err)


@pytest.mark.parametrize("form", ["stormshield", "sonicwall"])
def test_a_line_is_quoted_word_for_word(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, form, spec, _ = next(each for each in LOGGED if each[1] == form)
    client, log = made(name, form, spec, tmp_path)
    capsys.readouterr()
    (line,) = log.read_text().splitlines()
    assert '"' in line
    log.write_text(f"{line}\n")
    assert main(["diagnose", str(client), "-i", spec, "--firewall-log", str(log)]) == 0
    out = capsys.readouterr().out
    assert f"line 1: {line}\n" in out and ": 1 line, alarms among them: 1; about this capture: 1\n" in out
    log.write_text(f"{line}{' pad=yes' * 200}\n")
    assert main(["diagnose", str(client), "-i", spec, "--firewall-log", str(log)]) == 0
    assert re.search(r" pad=yes ?p?a?d?=?y?e?s?\.\.\.\n", capsys.readouterr().out)


def test_a_log_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(PCAPS / "subject-8bit.pcap"), "--firewall-log", "nowhere.log"]) == 2
    assert "nowhere.log: No such file" in capsys.readouterr().err


def test_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    capsys.readouterr()
    assert main(["diagnose", str(client), "-i", "stormshield:high", "--firewall-log", str(log)]) == 0
    out = capsys.readouterr().out
    assert "CONFIRMED" in out and "alarmid=231" in out


def test_around_new_year_a_line_is_of_the_year_that_is_near() -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert firewall_log._when("<14>Dec 31 23:59:58 fw1: x", None, new_year) == new_year - 2
    assert firewall_log._when("<14>Jan  1 00:00:02 fw1: x", None, new_year - 5) == new_year + 2
    assert firewall_log._when("<14>Feb 30 00:00:02 fw1: x", None, new_year) is None


@pytest.mark.parametrize("seconds", [-11_820, -2_820])
def test_no_zone_is_that_far_off(seconds: float, tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    shifted(log, seconds)
    causes, notes, (case,) = confirmed(client, log, LOGGED[0][2])
    assert causes == [] and not case.logged
    assert "line 1 has the same ports at another time" in notes[-1] and "it was not joined" in notes[-1]


def test_a_quarter_of_an_hour_that_one_connection_tells_is_not_certain(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    shifted(log, 9_900)
    (cause,), _, (case,) = confirmed(client, log, LOGGED[0][2])
    assert cause.confidence == "likely"
    assert "may be of another connection" in cause.evidence[1].text
    assert "CONFIRMED" not in str(headline(case))


def test_two_lines_of_the_same_ports_leave_open_which_is_its_own(tmp_path: Path) -> None:
    client, log = made(*LOGGED[0][:3], tmp_path)
    other = tmp_path / "other.log"
    other.write_bytes(log.read_bytes())
    shifted(log, 3_600)
    shifted(other, 18_000)
    log.write_text(log.read_text() + other.read_text())
    (cause,), notes, _ = confirmed(client, log, LOGGED[0][2])
    assert cause.confidence == "likely"
    assert "same ports at another time" in notes[-1]


def test_a_line_that_the_capture_contradicts_confirms_nothing(tmp_path: Path) -> None:
    client, log = made(*LOGGED[2][:3], tmp_path)
    line = next(line for line in log.read_text().splitlines() if "header line length gt" in line)
    log.write_text(re.sub(r"line length gt \d+", "line length gt 90000", line) + "\n")
    causes, _, (case,) = confirmed(client, log, LOGGED[2][2])
    assert causes == []
    assert any("contradicted by the capture: header line length is" in sign.text for sign in case.logged)


def test_what_only_ended_by_inspection_relaxes_no_rule_of_that_name(tmp_path: Path) -> None:
    client, log = made(*LOGGED[2][:3], tmp_path)
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "507003" in line))
    _, _, (case,) = confirmed(client, log, LOGGED[2][2])
    assert "mailguard" not in case.what_if.relax
    assert [cause.confidence for cause in case.causes if cause.cause == LOGGED[2][3]] == ["likely"]
