"""`smtpinspect replay --format asa | stormshield | sonicwall`: options, statuses, what is implied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smtpinspect import cli
from smtpinspect.commands.replay import LOGS
from smtpinspect.report.vendor_logs import PRODUCTS

PCAPS = Path(__file__).resolve().parents[1] / "pcaps"
DROPPED = ["108004", "507003", "302014"]


def ids(text: str) -> list[str]:
    return re.findall(r"%ASA-\d-(\d+):", text)


def run(capsysbinary: pytest.CaptureFixture[bytes], *words: str) -> tuple[int, str, str]:
    try:
        status = cli.main(["replay", *words])
    except SystemExit as stop:
        status = int(str(stop.code))
    out, err = capsysbinary.readouterr()
    return status, out.decode("ascii"), err.decode()


LONG = str(PCAPS / "long-header-line.pcap")


def test_command(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    status, out, err = run(capsysbinary, "--format", "asa", "-i", "mailguard:asa-8", LONG)
    assert (status, ids(out), err) == (0, DROPPED, "")
    file = tmp_path / "asa.log"
    assert run(capsysbinary, "--format", "asa", "-i", "mailguard:asa-8", "-o", str(file), LONG) == (0, "", "")
    assert file.read_text() == out


def test_other_products_write_nothing(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    overflow = str(PCAPS / "smtp-217.pcap")
    both = ("-i", "mailguard:asa-8", "-i", "stormshield")
    assert ids(run(capsysbinary, "--format", "asa", *both, overflow)[1]) == DROPPED
    assert run(capsysbinary, "--format", "stormshield", *both, overflow)[1].count("alarmid=217") == 1


def test_without_inspectors_the_product_is_implied(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    status, out, _ = run(capsysbinary, "--format", "stormshield", str(PCAPS / "subject-8bit.pcap"))
    assert status == 0 and out.count("alarmid=231") == 1
    status, out, err = run(capsysbinary, "--format", "asa", str(PCAPS / "pipe-address.pcap"))
    assert status == 0 and "%PIX-2-108002" in out and "An ASA: -i mailguard:asa-8" in err


def test_inspectors_of_others_only(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    status, out, err = run(capsysbinary, "--format", "asa", "-i", "stormshield", LONG)
    assert (status, out) == (2, "") and "Add -i mailguard" in err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--fail-on", "break"), 1),
        (("--fail-on", "alert"), 1),
        (("--fail-on", "break", "-i", "mailguard:asa-8,off=header-line-length"), 0),
        (("--records", "mail"), 0),
    ],
)
def test_other_options(capsysbinary: pytest.CaptureFixture[bytes], words: tuple[str, ...], status: int) -> None:
    given_ = () if "-i" in words else ("-i", "mailguard:asa-8")
    got, out, _ = run(capsysbinary, "--format", "asa", *given_, *words, LONG)
    assert got == status
    assert bool(out) == ("mail" not in words and "-i" not in words)


def test_a_torn_capture(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    torn = tmp_path / "torn.pcap"
    torn.write_bytes(Path(LONG).read_bytes()[:-7])
    status, out, err = run(capsysbinary, "--format", "asa", "-i", "mailguard:asa-8", str(torn))
    assert status == 3 and ids(out) == DROPPED and "torn.pcap" in err


def test_formats_are_those_of_the_products() -> None:
    assert list(LOGS) == list(PRODUCTS)
