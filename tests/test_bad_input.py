"""Input that is no whole capture: what was readable is reported, and a clear message says where it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import smtpinspect
from kit import capture, wire
from kit.dialogue import DELIVERY, parse

# Two connections, so that one is whole in every later cut.
SEGMENTS = wire.build(parse(DELIVERY), start=wire.START) + wire.build(parse(DELIVERY), start=wire.START + 5)
PACKETS = [
    *wire.packets(SEGMENTS[: len(SEGMENTS) // 2]),
    *wire.packets(SEGMENTS[len(SEGMENTS) // 2 :], wire.Ends(client_port=40113)),
]
RECORDS = capture.records(PACKETS)


def classic(items: list[capture.Record]) -> bytes:
    return capture.pcap(items)


def modern(items: list[capture.Record]) -> bytes:
    section = capture.Pcapng().interface(1, resolution=9)
    for r in items:
        section.packet(r)
    return section.octets()


KINDS = {"pcap": classic, "pcapng": modern}
# Where a file with so many of the records ends.
EDGES = {kind: [len(write(RECORDS[:n])) for n in range(len(RECORDS) + 1)] for kind, write in KINDS.items()}


def is_whole(kind: str, end: int) -> bool:
    """Whether a file may end here; a pcapng file also behind its section header."""
    return end in EDGES[kind] or (kind == "pcapng" and end == 28)


@cache
def engine() -> Any:
    """One for all runs, as whoever reads many captures has it."""
    return smtpinspect.Engine(["mailguard", "stormshield"])


def drained(source: Any) -> tuple[list[Any], Any]:
    """Everything an engine yields, and the error it ends with: what came before it stays in the list."""
    records: list[Any] = []
    try:
        records.extend(engine().run(source))
    except smtpinspect.CaptureError as error:
        return records, error
    return records, None


def told(records: list[Any]) -> dict[str, list[Any]]:
    """What the records say of mails, alerts and connections."""
    result: dict[str, list[Any]] = {"alerts": [], "mails": [], "connections": []}
    for r in records:
        if hasattr(r, "rule"):
            result["alerts"].append((r.rule, r.direction, r.offset, r.tx_id))
        elif hasattr(r, "rcpt_to"):
            result["mails"].append((r.mail_from, r.rcpt_to, r.outcome, r.reply, r.phase, r.octets))
        elif hasattr(r, "commands"):
            result["connections"].append((r.client, r.server, r.mails, r.commands, r.gaps))
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut(kind: str, tmp_path: Path) -> None:
    """What is told of a file cut anywhere is what is told of a whole file of its complete records."""
    octets = KINDS[kind](RECORDS)
    assert len(octets) <= 8192
    file = tmp_path / f"cut.{kind}"
    expected: dict[int, dict[str, list[Any]]] = {}
    file.write_bytes(octets)
    for end in range(len(octets), -1, -1):
        os.truncate(file, end)
        records, error = drained(file)
        complete = sum(edge <= end for edge in EDGES[kind][1:])
        if complete not in expected:
            # A file that holds nothing of the record behind: the reading of a whole file.
            again, none = drained(BytesIO(KINDS[kind](RECORDS[:complete])))
            assert none is None
            expected[complete] = told(again)
        assert told(records) == expected[complete], f"cut at octet {end}"
        assert (error is None) == is_whole(kind, end), f"cut at octet {end}"
        if error is not None:
            assert str(error.path) == str(file)
            assert 0 <= error.offset <= end
            assert str(file) in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_of_a_stream(kind: str) -> None:
    """As a file object, which cannot be mapped."""
    octets = KINDS[kind](RECORDS)
    for end in range(0, len(octets), 7):
        records, error = drained(BytesIO(octets[:end]))
        complete = sum(edge <= end for edge in EDGES[kind][1:])
        again, _ = drained(BytesIO(KINDS[kind](RECORDS[:complete])))
        assert told(records) == told(again)
        assert (error is None) == is_whole(kind, end)


@pytest.mark.parametrize("kind", KINDS)
def test_replay_and_transcript_raise_too(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes(KINDS[kind](RECORDS)[:-3])
    for call in (smtpinspect.replay, smtpinspect.transcript):
        with pytest.raises(smtpinspect.CaptureError):
            call(file)


def test_absurd_records(tmp_path: Path) -> None:
    """A record longer than any frame ends the reading; what went before is used."""
    good = RECORDS[:20]
    for captured, length in ((0xFFFFFFFF, 60), (0x7FFFFFFF, 0x7FFFFFFF), (300_000, 300_000)):
        bad = captured.to_bytes(4, "little") + length.to_bytes(4, "little")
        file = tmp_path / "absurd.pcap"
        file.write_bytes(capture.pcap(good) + bytes(8) + bad + bytes(100))
        records, error = drained(file)
        assert error is not None
        assert told(records) == told(drained(BytesIO(classic(good)))[0])
    empty = capture.Record(wire.START, b"", 0)
    file = tmp_path / "empty-records.pcap"
    file.write_bytes(capture.pcap([empty, *RECORDS, empty]))
    records, error = drained(file)
    assert error is None
    assert told(records) == told(drained(BytesIO(classic(RECORDS)))[0])


# --- the command line (design: 0 done, 2 usage, 3 not readable to its end)


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "smtpinspect", *arguments]
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60, check=False)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    file = tmp_path / "whole.pcap"
    file.write_bytes(classic(RECORDS))
    return file


COMMANDS = (("replay", "--format", "eve"), ("replay",), ("transcript", "--format", "json"), ("transcript",))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_exit_codes(command: tuple[str, ...], whole: Path, tmp_path: Path) -> None:
    cut, text, empty, folder = (tmp_path / name for name in ("cut.pcap", "mail.txt", "empty.pcap", "folder"))
    cut.write_bytes(whole.read_bytes()[:-5])
    text.write_text("SMTP timeout after end of data\n")
    empty.write_bytes(b"")
    folder.mkdir()
    cases = ((whole, 0), (cut, 3), (text, 3), (empty, 3), (folder, 2), (tmp_path / "missing.pcap", 2))
    for source, expected in cases:
        done = run(*command, str(source))
        assert done.returncode == expected, f"{source.name}: {done.stderr.decode()}"
        assert b"Traceback" not in done.stderr
        if expected:
            assert source.name.encode() in done.stderr
        else:
            assert done.stderr == b""
        if source in (whole, cut):
            assert b"alice@a.example" in done.stdout


def test_what_was_read_before_the_cut_is_reported(whole: Path) -> None:
    cut = whole.with_name("cut.pcap")
    cut.write_bytes(whole.read_bytes()[:-5])
    done = run("replay", "--format", "eve", str(whole), str(cut))
    assert done.returncode == 3
    assert done.stdout.count(b'"event_type":"smtp"') + done.stdout.count(b'"event_type": "smtp"') >= 2


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_capture_without_smtp(command: tuple[str, ...], tmp_path: Path) -> None:
    """Whole, and holds none: done, and it says so."""
    web = tmp_path / "web.pcap"
    turns = parse("C: GET / HTTP/1.0\nC:\nS: HTTP/1.0 200 Ok\n")
    packets = wire.packets(wire.build(turns), wire.Ends(server_port=80))
    web.write_bytes(classic(capture.records(packets)))
    bare = tmp_path / "no-packets.pcap"
    bare.write_bytes(capture.pcap([]))
    for file in (web, bare):
        done = run(*command, str(file))
        assert done.returncode == 0, done.stderr.decode()
        if "--format" not in command:
            assert b"no SMTP" in done.stdout + done.stderr


def test_standard_input(whole: Path) -> None:
    done = run("replay", "--format", "eve", "-", stdin=whole.read_bytes())
    assert done.returncode == 0, done.stderr.decode()
    assert b"alice@a.example" in done.stdout
    cut = run("replay", "--format", "eve", "-", stdin=whole.read_bytes()[:-5])
    assert cut.returncode == 3
    assert b"alice@a.example" in cut.stdout


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("-i", "mailgard"), b"mailguard"),
        (("-i", "mailguard:pix-7"), b"pix-6"),
        (("-i", "stormshield,levl=ids"), b"level"),
        (("--format", "yaml"), b"eve"),
        (("--no-such-option",), b"--no-such-option"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], nearest: bytes, whole: Path) -> None:
    done = run("replay", *arguments, str(whole))
    assert done.returncode == 2
    assert nearest in done.stderr
    assert b"Traceback" not in done.stderr


def test_fail_on_and_which_status_wins(whole: Path) -> None:
    alerts = whole.with_name("alerts.pcap")
    turns = parse(DELIVERY.replace("C: QUIT", "C: Some-fake-command\nS: 500 5.5.1 unknown\nC: QUIT"))
    octets = capture.pcap(capture.records(wire.packets(wire.build(turns))))
    alerts.write_bytes(octets)
    assert run("replay", "-i", "mailguard", "--fail-on", "alert", str(alerts)).returncode == 1
    alerts.write_bytes(octets[:-5])
    assert run("replay", "-i", "mailguard", "--fail-on", "alert", str(alerts)).returncode == 3
