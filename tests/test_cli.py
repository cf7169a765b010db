"""The command line: what it prints where, how it ends, what it says when something is wrong."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

import running
import smtpinspect
from kit import capture, wire
from kit.dialogue import DELIVERY, parse
from kit.segment import ACK, FIN, Segment
from smtpinspect.actions import Strength
from smtpinspect.commands import arguments, console, fitting, replay, reporting

FAKE = DELIVERY.replace("C: QUIT", "C: Some-fake-command\nS: 500 5.5.1 unknown\nC: QUIT")
SECRETS = ("AGFsaWNlAHNlY3JldA==", "YWxpY2U=", "c2VjcmV0")
AUTH = DELIVERY.replace(
    "C: MAIL",
    f"C: AUTH PLAIN {SECRETS[0]}\nS: 535 no\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {SECRETS[1]}\n"
    f"S: 334 UGFzc3dvcmQ6\nC: {SECRETS[2]}\nS: 235 ok\nC: MAIL",
    1,
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def octets(*texts: str, first: int = 0) -> bytes:
    """A capture of these dialogues, one connection each, one after the other."""
    packets = []
    for number, text in enumerate(texts, first):
        segments = wire.build(parse(text), start=wire.START + 5 * number)
        packets += wire.packets(segments, wire.Ends(client_port=40_000 + number))
    return capture.pcap(capture.records(packets))


def written(folder: Path, *texts: str, name: str = "mail.pcap", first: int = 0) -> Path:
    file = folder / name
    file.write_bytes(octets(*texts, first=first))
    return file


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return written(tmp_path, DELIVERY)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return written(tmp_path, FAKE, name="fake.pcap", first=1)


def run(*words: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    """The program without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "smtpinspect", *map(str, words)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(*words: object, columns: int = 80, **environment: str) -> tuple[int, str]:
    """The program on a terminal of so many columns: its status, and what the person sees."""
    try:
        pid, terminal = pty.fork()
    except OSError as error:  # a bare root without /dev/pts
        pytest.skip(f"no terminals here: {error}")
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {key: text for key, text in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
        command = [sys.executable, "-m", "smtpinspect", *map(str, words)]
        # execve: readline sets COLUMNS behind the back of os.environ.
        os.execve(sys.executable, command, {**clean, "TERM": "xterm", **environment})
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux tells the end so
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), seen.decode().replace("\r\n", "\n")


# --- help


def test_help_tells_what_it_does() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("replay", "transcript", "rules", "examples", "exit status", "Only inline and probe send"):
        assert word in done.stdout
    assert run("help").stdout == run("-h").stdout == done.stdout


def test_help_of_replay_explains_its_words() -> None:
    from smtpinspect._core import views

    done = run("replay", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Reads captures and reports; sends nothing." in done.stdout
    for word in (*views.OUTCOMES, *views.DOUBTS, *(strength.word for strength in Strength)):
        assert re.search(rf"\b{word}\b", done.stdout), word
    for option in ("-i", "--format", "-o", "--records", "--each", "--threads", "--port", "--fail-on"):
        assert option in done.stdout
    assert "--show-secrets" in done.stdout
    assert run("help", "replay").stdout == done.stdout


@pytest.mark.parametrize("command", ["transcript", "rules"])
def test_help_of_the_others(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["replay", "--help"], ["transcript", "--help"]])
def test_help_fits_80_columns(command: list[str]) -> None:
    lines = run(*command, COLUMNS="80").stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_profiles_of_the_help_are_the_known_ones() -> None:
    from smtpinspect.inspectors import registry

    for inspector in registry.default():
        _, _, told = replay.REPLAY_HELP.partition(f"\n  {inspector.name} ")
        assert told.split("(")[0].split() == list(inspector.profiles)
        assert told.split("(")[1].startswith(f"{inspector.profile})")


def test_ports_are_those_of_the_engine() -> None:
    from smtpinspect import engine

    assert arguments.PORTS == engine.PORTS
    assert set(reporting.RECORDS) == engine.RECORDS


def test_version() -> None:
    assert run("--version").stdout == f"smtpinspect {smtpinspect.__version__}\n"


def test_nothing_asked() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr


# --- wrong usage


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fromat", "eve"], "Did you mean --format?"),
        (["--format", "yaml"], "eve"),
        (["--format", "cef"], "invalid choice"),
        (["--records", "mail,packets"], "no such records: packets. Known: mail alert flow"),
        (["--threads", "0"], "no number from 1"),
        (["--threads", "two"], "no number from 1"),
        (["--port", "70000"], "no number from 1 to 65,535"),
        (["--fail-on", "warning"], "invalid choice"),
        (["--each", "--format", "eve"], "--each is for --format text"),
        (["-i", "mailgard"], "Did you mean mailguard?"),
        (["-i", "mailguard:pix-7"], "Did you mean asa-7.0?"),
        (["-i", "stormshield,levl=ids"], "level"),
        (["-i", "stormshield,217.action=maybe"], "block"),
        (["-o", "no/such/folder/out.txt"], "cannot be written"),
    ],
)
def test_wrong_usage(words: list[str], told: str, clean: Path) -> None:
    done = run("replay", clean, *words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert done.stderr.startswith("smtpinspect: ")
    assert done.stderr.rstrip().endswith("(exit status 2)")
    assert done.stdout == ""


def test_no_capture_named() -> None:
    for command in ("replay", "transcript"):
        done = run(command)
        assert done.returncode == 2
        assert "CAPTURE" in done.stderr
        assert f"smtpinspect {command} --help" in done.stderr


def test_neither_command_nor_file() -> None:
    done = run("reply")
    assert done.returncode == 2
    assert "neither a command nor a file" in done.stderr
    assert "Did you mean replay?" in done.stderr


def test_missing_file_and_directory(clean: Path) -> None:
    for words in (["replay"], ["transcript"], ["replay", "--each"], []):
        done = run(*words, clean.with_name("mial.pcap"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "did you mean" in done.stderr
        done = run(*words, clean.parent)
        assert (done.returncode, done.stdout) == (2, "")
        assert "directory" in done.stderr


def test_report_does_not_overwrite_the_capture(clean: Path) -> None:
    before = clean.read_bytes()
    for words in (["replay"], ["replay", "--format", "eve"], ["transcript"]):
        done = run(*words, clean, "-o", clean)
        assert done.returncode == 2
        assert "that is what is to be read" in done.stderr
    assert clean.read_bytes() == before


def test_options_stand_anywhere(clean: Path, fake: Path) -> None:
    one = run("replay", "-i", "mailguard", clean, fake, "--format", "eve")
    other = run("replay", clean, "--format", "eve", fake, "-i", "mailguard")
    assert one.returncode == other.returncode == 0
    assert records(one)[:-1] == records(other)[:-1]


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- a file alone


def test_a_file_alone_is_replayed(clean: Path) -> None:
    alone, asked = run(clean), run("replay", clean)
    assert alone.returncode == 0
    assert alone.stdout.splitlines()[:8] == asked.stdout.splitlines()[:8]
    assert records(run(clean, "--format", "eve"))[-1]["event_type"] == "stats"
    assert run("-i", "stormshield", clean).returncode == 0


def test_what_is_no_capture_is_told(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("How are you?\n")
    done = run(note)
    assert (done.returncode, done.stdout) == (3, "")
    assert "not a capture: it begins with text" in done.stderr
    assert "messages and mail logs" in done.stderr


def test_a_message_alone_is_checked(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_text("From: alice@a.example\nSubject: h\u00e9llo\n\nHow are you?\n", encoding="utf-8")
    alone, asked = run(mail, "-i", "stormshield"), run("check", "-i", "stormshield", mail)
    assert (alone.returncode, alone.stdout) == (0, asked.stdout)
    assert "stormshield.smtp-231" in alone.stdout


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"Mar  2 10:00:02 mx postfix/smtp[7]: 4cQ8: to=<b@example.net>", "log"),
        (b"2026-03-02 10:00:02 1vN4Xk-0001 == b@example.net R=dns T=smtp defer", "log"),
        (b"@4000000065e1a0c20d3f1c2c delivery 1: deferral:", "log"),
        (b"#Software: Microsoft Exchange Server\r\n", "log"),
        (b"Return-Path: <a@example.org>\r\n", "message"),
        (b"From a@example.org Mon Mar  2 10:00:00 2026\n", "message"),
        (b"From: <>\nContent-Type: multipart/report; report-type=delivery-status\n", "log"),
        (b"policy-map: global\n", "other"),
        (b"", "other"),
        (bytes.fromhex("d4c3b2a1"), "capture"),
    ],
)
def test_what_a_file_is(head: bytes, kind: str, tmp_path: Path) -> None:
    for name, octets in (("plain", head), ("packed.gz", gzip.compress(head) if head else b"")):
        (tmp_path / name).write_bytes(octets)
        assert fitting.kind_of(str(tmp_path / name)) == kind


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


# --- terminals and pipes


def test_without_a_terminal_nothing_is_cut_wrapped_or_coloured(fake: Path) -> None:
    plain = run("replay", fake)
    narrow = run("replay", fake, COLUMNS="40", TERM="xterm")

    def settled(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("1 mail.")]

    assert settled(plain.stdout) == settled(narrow.stdout)
    assert "\x1b" not in narrow.stdout
    assert "…" not in narrow.stdout


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("words", [["replay"], ["replay", "--each"], ["transcript"]], ids=" ".join)
def test_terminal_lines_fit(words: list[str], columns: int, tmp_path: Path) -> None:
    long = FAKE.replace("alice@a.example", f"a.sender.with.a.long.name@{'long-' * 8}name.example")
    file = written(tmp_path, long, FAKE, name="a-capture-with-quite-a-long-name.pcap")
    done, seen = on_terminal(*words, file, columns=columns)
    assert done == 0
    for line in COLOUR.sub("", seen).splitlines():
        # A command to paste is never wrapped; nor is a name, which has no place for it.
        assert len(line) <= columns or "smtpinspect " in line or " " not in line.strip(), line


def test_columns_goes_before_the_terminal(fake: Path) -> None:
    _, seen = on_terminal("replay", fake, columns=200, COLUMNS="80")
    lines = [line for line in COLOUR.sub("", seen).splitlines() if "smtpinspect " not in line]
    assert max(map(len, lines)) <= 80


def test_colours_only_for_a_person(fake: Path) -> None:
    _, seen = on_terminal("replay", fake)
    assert "\x1b[" in seen
    _, seen = on_terminal("replay", fake, NO_COLOR="1")
    assert "\x1b" not in seen
    _, seen = on_terminal("replay", fake, TERM="dumb")
    assert "\x1b" not in seen


def test_octets_of_a_stranger_do_not_reach_the_terminal(tmp_path: Path) -> None:
    hostile = DELIVERY.replace("<alice@a.example>", r"<alice\x1b[2J@a.example>").replace(
        "Subject: hello", "Subject: \\x1b]0;owned\\x07 \u202e txt"
    )
    file = written(tmp_path, hostile)
    for words in (["replay"], ["transcript"]):
        done = run(*words, file)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("how", ["text", "eve"])
def test_full_disk(how: str, clean: Path) -> None:
    for words in (["-o", "/dev/full"], []):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "smtpinspect", "replay", "--format", how, str(clean), *words],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr.startswith(b"smtpinspect: cannot write: ")
        assert done.stderr.count(b"\n") == 1


def test_progress_is_for_large_captures(tmp_path: Path) -> None:
    """On a terminal: none for a small capture, a line that goes away for a large one."""
    small = written(tmp_path, DELIVERY)
    out = tmp_path / "out"
    assert on_terminal("replay", small, "-o", out) == (0, "")
    large = tmp_path / "large.pcap"
    once = octets(DELIVERY)
    large.write_bytes(once + once[24:] * (6_000_000 // len(once)))
    done, seen = on_terminal("replay", large, "--format", "eve", "-o", out)
    assert done == 0
    assert "mails" in seen
    assert run("replay", large, "-o", out).stderr == ""


def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    file = written(tmp_path, *[FAKE] * 200)
    for how in (["replay", "--format", "eve"], ["transcript"], ["replay", "--each"]):
        files = [str(file)] * (200 if "--each" in how else 1)
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpinspect", *how, *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        process.stderr.close()
        assert (process.wait(60), told) == (console.BROKEN_PIPE, b"")


@pytest.mark.parametrize("how", ["text", "eve"])
def test_ctrl_c_ends_with_what_was_read(how: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "smtpinspect", "replay", "--format", how, "-o", str(out), "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(octets(*[FAKE] * 50))
    process.stdin.flush()
    running.until_read(process.stdin)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == console.STOPPED
    assert b"stopped" in told
    assert b"Traceback" not in told
    if how == "eve":
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert found[-1]["event_type"] == "stats"
    else:
        assert out.read_text()


def test_start_up_imports_only_what_it_needs(clean: Path) -> None:
    code = (
        "import sys; from smtpinspect.cli import main; main(sys.argv[1:]); "
        "print(*sorted({'rich', 'click', 'scapy', 'dpkt', 'json', 'smtpinspect.transcripts', "
        "'smtpinspect.report.rules_page', 'shutil'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "replay", "--format", "eve", str(clean)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {"rich", "click", "scapy", "dpkt", "smtpinspect.transcripts"}
    assert "smtpinspect.report.rules_page" not in loaded
