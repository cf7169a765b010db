"""Configurations as settings of an inspector, and the command that tells of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import running
from configurations import CONFIGS, EXPECTED, INSTALLED, text_of
from kit import capture, wire
from kit.dialogue import parse
from smtpinspect import Engine, UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry


def run(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "smtpinspect", *map(str, words)],
        input=stdin,
        capture_output=True,
        env={**os.environ, "COLUMNS": "100"},
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


# --- as settings


@pytest.mark.parametrize("name", INSTALLED)
def test_the_same_as_its_keys(name: str) -> None:
    product, profile, active, _, keys = EXPECTED[name]
    made = registry.load(f"{product},config={CONFIGS / name}")
    same = registry.find(product)(profile or None, **keys)
    assert made.profile == same.profile
    assert made.table() == (same.table() if active else ())
    assert registry.find(product)(config=CONFIGS / name).table() == made.table()


def test_the_same_as_a_spec() -> None:
    """The keys as they are typed: `+` joins a list, a comma and a plus are escaped."""
    product, profile, _, _, keys = EXPECTED["asa-own-map.txt"]
    parts = [f"{product}:{profile}"]
    for key, value in keys.items():
        words = value if isinstance(value, tuple) else (str(value).lower(),)
        parts.append(f"{key}={'+'.join(word.replace('+', chr(92) + '+') for word in words)}".replace(",", "\\,"))
    made = registry.load(f"mailguard,config={CONFIGS / 'asa-own-map.txt'}")
    assert registry.load(",".join(parts)).table() == made.table()


def test_later_keys_override() -> None:
    path = CONFIGS / "asa-own-map.txt"
    made = registry.load(f"mailguard,limits=default-map,config={path},mask_banner=on,off=cmd-verb")
    ids = {row.id for row in made.table()}
    assert "mailguard.banner-masked" in ids and "mailguard.cmd-verb" not in ids
    assert registry.load(f"mailguard:asa-9-tls,config={path}").profile == "asa-9-tls"
    show = CONFIGS / "stormshield-show.txt"
    made = registry.load(f"stormshield,config={show},smtp-217.action=block")
    assert {row.action.strength.word for row in made.table() if row.family == "stormshield.smtp-217"} == {"drop-flow"}


def test_configured_ports_are_looked_at() -> None:
    engine = Engine([f"mailguard,config={CONFIGS / 'pix-6.3-ports.txt'}"])
    assert {25, 587, 465, 2525, 2527} <= set(engine.ports)


@pytest.mark.parametrize(("port", "verdict"), [(25, "rewrite"), (2527, "rewrite"), (2526, "pass")])
def test_other_ports_are_not_inspected(port: int, verdict: str, tmp_path: Path) -> None:
    turns = parse("S: 220 mx\nC: HELO a\nS: 250 mx\nC: MAIL FROM:<a@b.example>\nS: 250 ok\nC: QUIT\nS: 221 bye\n")
    segments, ends = wire.build(turns), wire.Ends(server_port=port)
    spec = f"mailguard,config={CONFIGS / 'pix-6.3-ports.txt'}"
    assert [mail.verdict for mail in running.replay(segments, [spec], ends).mails] == [{"mailguard": verdict}]
    path = tmp_path / "mail.pcap"
    path.write_bytes(capture.pcap(capture.records(wire.packets(segments, ends))))
    assert ("not inspected" in run("replay", path, "-i", spec).stdout) is (verdict == "pass")


def test_a_map_of_ones_own_is_not_replaced() -> None:
    told = run("rules", "-i", f"mailguard,config={CONFIGS / 'asa-own-map.txt'}", "header-line-length").stdout
    assert "no match header line length gt 4096" in told
    assert "ESMTP_HEADER" not in told


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("mailguard,config=nowhere.txt", "no such file"),
        ("mailguard,config=", "an empty name"),
        (f"mailguard,config={CONFIGS}", "is a directory"),
        (f"mailguard,config={CONFIGS / 'stormshield-show.txt'}", "no configuration of mailguard"),
        (f"stormshield,config={CONFIGS / 'asa-all.txt'}", "no configuration of stormshield"),
        (f"smtp,config={CONFIGS / 'asa-all.txt'}", "no configuration of smtp"),
        (f"mailguard,config={CONFIGS / 'asa-all.txt'},matsch=x", "Did you mean match"),
    ],
)
def test_errors(spec: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        registry.load(spec)
    done = run("replay", "-", "-i", spec)
    assert (done.returncode, done.stdout) == (2, "")


# --- the command


@pytest.mark.parametrize("name", INSTALLED)
def test_the_report(name: str) -> None:
    done = run("config", CONFIGS / name)
    assert (done.returncode, done.stderr) == (0, "")
    product = EXPECTED[name][0]
    assert f"replay CAPTURE -i {product},config={CONFIGS / name}" in done.stdout
    made = json.loads(run("config", "--format", "json", CONFIGS / name).stdout)
    assert (made["product"], made["active"], tuple(made["ports"])) == (product, *EXPECTED[name][2:4])
    assert made["keys"] == {k: list(v) if isinstance(v, tuple) else v for k, v in EXPECTED[name][4].items()}
    for line in (*made["found"], *made["unknown"]):
        assert re.search(rf"line +{line['line']}  ", done.stdout)


def test_standard_input() -> None:
    done = run("config", "-", stdin=(CONFIGS / "asa-default.txt").read_bytes())
    assert done.returncode == 0
    assert "-i mailguard,config=FILE" in done.stdout


def test_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my fire,wall.txt"
    path.write_text(text_of("asa-own-map.txt"))
    done = run("config", path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Next: ")]
    words = shlex.split(line.removeprefix("Next: "))
    assert registry.load(words[-1]).table() == registry.load(f"mailguard,config={CONFIGS / 'asa-own-map.txt'}").table()


@pytest.mark.parametrize(
    ("octets", "status", "why"),
    [
        (b"", 2, "is empty"),
        (b" \r\n\n", 2, "is empty"),
        (b"\x7fELF\0\0\0", 2, "binary"),
        (b"hello\n", 2, "no configuration that this version knows"),
        (b"x" * (limits.CONFIG_OCTETS + 1), 2, "larger than"),
        (b"hostname caf\xe9\n" + text_of("asa-default.txt").encode(), 0, ""),
        (b"\xef\xbb\xbf" + text_of("asa-default.txt").encode(), 0, ""),
        (b"\xff\xfe" + text_of("asa-default.txt").encode("utf-16-le"), 0, ""),
        (b"\xfe\xff" + text_of("asa-default.txt").encode("utf-16-be") + b"\0", 0, ""),
    ],
)
def test_odd_files(octets: bytes, status: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "config.txt"
    path.write_bytes(octets)
    for done in (run("config", path), run("config", "-", stdin=octets)):
        assert done.returncode == status, done.stderr
        assert why in done.stderr


def test_wrong_usage(tmp_path: Path) -> None:
    for words in ([], [tmp_path], [tmp_path / "none.txt"], ["--format", "yaml", "x"], ["a", "b"]):
        done = run("config", *words)
        assert (done.returncode, done.stdout) == (2, "")
    assert "examples" in run("config", "--help").stdout
    assert max(map(len, run("config", "--help").stdout.splitlines())) <= 98


def test_switched_off_is_told() -> None:
    delivery = Path(__file__).parents[1] / "pcaps" / "clean-delivery.pcap"
    done = run("replay", delivery, "-i", f"mailguard,config={CONFIGS / 'pix-6.3-off.txt'}")
    assert done.returncode == 0
    assert "inactive by configuration" in done.stdout
    assert "assumed" not in done.stdout


def test_a_configuration_alone_is_told() -> None:
    done = run(CONFIGS / "asa-default.txt")
    assert done.returncode == 3
    assert "smtpinspect config" in done.stderr


def test_the_commands_keep_the_configuration() -> None:
    """From the report to the rule, from the rule to the replay without it."""
    spec = f"mailguard,config={CONFIGS / 'asa-own-map.txt'}"
    done = run("replay", CONFIGS.parents[1] / "pcaps" / "clean-delivery.pcap", "-i", spec)
    words = shlex.split(done.stdout.splitlines()[-1].rpartition("smtpinspect ")[2])
    assert words[:3] == ["rules", "-i", spec]
    last = shlex.split(run(*words).stdout.splitlines()[-1])
    assert last[-1] == f"{spec},off={words[3].partition('.')[2]}"
    assert words[3] not in {row.id for row in registry.load(last[-1]).table()}
    again = run("rules", "-i", last[-1], "mailguard.command-not-allowed").stdout.splitlines()[-1]
    assert shlex.split(again)[-1] == f"{last[-1]}+command-not-allowed"


def test_each_capture_is_replayed_with_the_same_inspectors() -> None:
    delivery = Path(__file__).parents[1] / "pcaps" / "clean-delivery.pcap"
    specs = ["mailguard:asa-8,match=cmd verb NOOP -> log", "stormshield:low"]
    done = run("replay", "--each", delivery, "-i", specs[0], "-i", specs[1])
    words = shlex.split(done.stdout.splitlines()[-1].split("smtpinspect ")[1])
    assert words[:6] == ["replay", str(delivery), "-i", specs[0], "-i", specs[1]]


def test_a_restriction_in_another_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gav.json"
    path.write_text('{"gateway_antivirus": {"restrict": {"smtp": {"packed_executables": false}}}}')
    assert "restrict.smtp is not known here" in run("config", path).stdout
