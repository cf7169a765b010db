"""`replay` as a person calls it: text, EVE, exit status, secrets; beside it `transcript` and `rules`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import smtpinspect
from called import AUTH, FAKE, SECRETS, on_terminal, records, run, written
from kit import capture, wire
from kit.dialogue import DELIVERY, parse
from kit.segment import ACK, FIN, Segment


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return written(tmp_path, DELIVERY)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return written(tmp_path, FAKE, name="fake.pcap", first=1)


# --- replay, text


def test_text_says_what_happened_and_what_would(fake: Path) -> None:
    done = run("replay", fake)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    for told in (
        "1 connection, 1 mail",
        "PIX 6 (assumed: you did not say which)",
        "OBSERVED",
        "WOULD HAPPEN behind",
        "alice@a.example",
        "accepted",
        "mailguard.command-not-allowed",
        '"Some-fake-command"',
        "client's byte",
        "stormshield.smtp-223",
        "Next: smtpinspect transcript",
    ):
        assert told in text, told
    assert "assumed" not in run("replay", fake, "-i", "mailguard:asa-8").stdout


def test_each_names_its_captures(clean: Path, fake: Path) -> None:
    done = run("replay", "--each", clean, fake)
    assert (done.returncode, done.stderr) == (0, "")
    first = [line.split()[0] for line in done.stdout.splitlines() if "alice@a.example" in line]
    assert first == ["mail", "fake"]
    assert "2 captures, 2 mails" in done.stdout


def test_each_goes_on_behind_a_bad_capture(clean: Path, tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.pcap", tmp_path / "text.pcap"
    cut.write_bytes(clean.read_bytes()[:-5])
    text.write_text("nothing like a capture")
    last = written(tmp_path, DELIVERY, name="last.pcap")
    bare = written(tmp_path, name="bare.pcap")
    done = run("replay", "--each", clean, cut, text, bare, last)
    assert done.returncode == 3
    assert done.stderr.count("(exit status 3)") == 2
    for name in ("mail ", "cut ", "text ", "last "):
        assert re.search(rf"^{name}", done.stdout, re.MULTILINE), name
    assert re.search(r"^bare +no SMTP$", done.stdout, re.MULTILINE)
    assert "5 captures, 3 mails" in done.stdout


def test_report_into_a_file(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.txt"
    done = run("replay", clean, "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "alice@a.example" in out.read_text()
    code, seen = on_terminal("replay", clean, "-o", out)
    assert (code, seen) == (0, "")
    assert "\x1b" not in out.read_text()


def test_unreadable_rest(clean: Path) -> None:
    cut = clean.with_name("cut.pcap")
    cut.write_bytes(clean.read_bytes()[:-5])
    done = run("replay", cut)
    assert done.returncode == 3
    assert "alice@a.example" in done.stdout
    told = done.stderr.splitlines()
    assert told[0].startswith(f"smtpinspect: {cut}: cut off inside")
    assert re.fullmatch(r" {13}The \d+ records before it were processed\. {3}\(exit status 3\)", told[1])


def test_stalled_behind_the_dot_comes_first(tmp_path: Path) -> None:
    text = DELIVERY.split("S: 250 2.0.0 Ok: queued")[0]
    segments = wire.build(parse(text + "-- 600\n"), close="none")
    file = tmp_path / "stalled.pcap"
    dot = segments[-1]
    end = dot.seq + len(dot.payload)
    taken = Segment("S", dot.ack, end, ACK, b"", dot.time + 0.01)
    fin = Segment("C", end, dot.ack, ACK | FIN, b"", dot.time + 600)
    file.write_bytes(capture.pcap(capture.records(wire.packets([*segments, taken, fin]))))
    done = run("replay", file)
    assert done.returncode == 0
    assert done.stdout.startswith("1 mail MAY HAVE BEEN DELIVERED; retries make duplicates.")
    assert "stalled at final dot, 600 s" in done.stdout


# --- replay, EVE


def test_eve_is_one_object_a_line(clean: Path, fake: Path) -> None:
    done = run("replay", "--format", "eve", clean, fake)
    assert (done.returncode, done.stderr) == (0, "")
    kinds = [record["event_type"] for record in records(done)]
    assert set(kinds) == {"alert", "smtp", "flow", "stats"}
    assert kinds[-1] == "stats"
    assert kinds.count("smtp") == 2


def test_records_are_chosen(fake: Path) -> None:
    for chosen in ("mail", "alert", "flow", "mail,flow"):
        kinds = {
            r["event_type"] for r in records(run("replay", "--format", "eve", "--records", chosen, fake))
        }
        assert kinds == {{"mail": "smtp"}.get(word, word) for word in chosen.split(",")} | {"stats"}


def test_threads_change_nothing(fake: Path) -> None:
    one, four = (records(run("replay", "--format", "eve", "--threads", n, fake)) for n in (1, 4))
    assert one[:-1] == four[:-1]


def test_standard_input(clean: Path) -> None:
    octets = clean.read_bytes()
    for words in (["replay"], [], ["transcript"], ["replay", "--format", "eve"], ["replay", "--each"]):
        done = run(*words, "-", stdin=octets)
        assert done.returncode == 0, done.stderr
        assert "alice@a.example" in done.stdout


def test_port(tmp_path: Path) -> None:
    """The client's side alone, on a port of its own: found when the port is named."""
    file = tmp_path / "port.pcap"
    segments = [s for s in wire.build(parse(DELIVERY)) if s.direction == "C"]
    file.write_bytes(capture.pcap(capture.records(wire.packets(segments, wire.Ends(server_port=10_025)))))
    assert "no SMTP in this capture" in run("replay", file).stdout
    assert "--port N" in run("replay", file).stdout
    assert "alice@a.example" in run("replay", file, "--port", "25", "--port", "10025").stdout


# --- --fail-on


@pytest.mark.parametrize("how", ["text", "eve"])
@pytest.mark.parametrize(
    ("inspector", "on", "status"),
    [
        ("mailguard", "alert", 1),
        ("mailguard", "break", 0),
        ("stormshield", "alert", 1),
        ("stormshield", "break", 1),
        ("stormshield:internet,level=firewall", "alert", 0),
        ("stormshield,level=ids", "break", 0),
        ("stormshield,level=ids", "alert", 1),
    ],
)
def test_fail_on(how: str, inspector: str, on: str, status: int, fake: Path) -> None:
    done = run("replay", "--format", how, "-i", inspector, "--fail-on", on, fake)
    assert done.returncode == status
    assert done.stderr == ""
    assert done.stdout


def test_unreadable_beats_fail_on(fake: Path) -> None:
    fake.write_bytes(fake.read_bytes()[:-5])
    for how in ("text", "eve"):
        assert run("replay", "--format", how, "--fail-on", "alert", fake).returncode == 3


# --- secrets


@pytest.mark.parametrize(
    "words", [["replay"], ["replay", "--format", "eve"], ["transcript"], ["transcript", "--format", "json"]]
)
def test_secrets_are_masked(words: list[str], tmp_path: Path) -> None:
    file = written(tmp_path, AUTH)
    done = run(*words, file)
    assert done.returncode == 0
    assert not [secret for secret in SECRETS if secret in done.stdout]
    assert SECRETS[0] in run(*words, "--show-secrets", file).stdout


# --- transcript


def test_transcript_for_people(clean: Path) -> None:
    done = run("transcript", clean)
    assert (done.returncode, done.stderr) == (0, "")
    for told in ("C: EHLO a.example", "MAIL FROM:<alice@a.example>", "354", "text by DATA", "Subject: hello"):
        assert told in done.stdout


def test_transcript_as_json(clean: Path) -> None:
    done = run("transcript", "--format", "json", clean)
    assert json.loads(done.stdout) == smtpinspect.transcript(clean)


# --- rules


def test_rules() -> None:
    done = run("rules")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stormshield.smtp-231" in done.stdout
    assert "mailguard" not in run("rules", "-i", "stormshield:low").stdout
    for name in ("stormshield.smtp-217", "smtp:217", "217"):
        assert run("rules", name).stdout.startswith("stormshield.smtp-217")


def test_unknown_rule() -> None:
    done = run("rules", "stormshield.smtp-231", "stormshield.smtp-999")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown rule 'stormshield.smtp-999'" in done.stderr
