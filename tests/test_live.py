"""`smtpinspect live`, on a cable between two network namespaces."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtpinspect
from interfaces import FAR, NEAR, Cable, line_of, missing, records, waits
from kit import capture, ip, link, wire
from kit.dialogue import DELIVERY, parse

PCAPS = Path(__file__).parent.parent / "pcaps"
FAKE = DELIVERY.replace("C: QUIT", "C: Some-fake-command\nS: 500 5.5.1 unknown\nC: QUIT")
OPEN = DELIVERY.partition("C: QUIT")[0]
WHY = missing()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        made.make()
        yield made
    finally:
        made.remove()


def frames(text: str = DELIVERY, port: int = 40_000, server_port: int = 25, how: str = "ethernet") -> list[bytes]:
    ends = wire.Ends(client_port=port, server_port=server_port)
    packets = wire.packets(wire.build(parse(text), close="fin" if text != OPEN else "none"), ends)
    return [frame for _, frame in capture.frames(packets, link.LINKS[how])]


def ended(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> tuple[bytes, str, int]:
    if process.poll() is None:
        process.send_signal(how)
    out, errors = process.communicate(timeout=60)
    return out, errors.decode(), process.returncode


def eve(cable: Cable, sent: list[bytes], *words: str, interface: str = NEAR) -> tuple[list[str], dict[str, object]]:
    with cable.live("--format", "eve", *words, interface=interface) as process:
        cable.send(sent)
        out, errors, status = ended(process)
    assert status == 0, errors
    return records(out)


def of_captures() -> list[bytes]:
    """All frames of the captures that come with the project, with many copies and some out of order."""
    sent = []
    for path in sorted(PCAPS.glob("*.pcap")):
        octets, at = path.read_bytes(), 24
        while at < len(octets):
            n = int.from_bytes(octets[at + 8 : at + 12], "little")
            sent.append(octets[at + 16 : at + 16 + n])
            at += 16 + n
    return [frame for n, frame in enumerate(sent) for frame in ([frame, frame] if n % 7 == 0 else [frame])]


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("interface", [NEAR, "any"])
def test_the_records_of_a_replay(cable: Cable, tmp_path: Path, interface: str, threads: str) -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("there is no tcpdump to capture the same frames")
    taken, sent = tmp_path / "taken.pcap", of_captures()
    with cable.reading("tcpdump", "-Z", "root", "-U", "-i", interface, "-w", str(taken)) as tcpdump:
        live = eve(cable, sent, "--threads", threads, interface=interface)
        assert waits(20, lambda: taken.stat().st_size > sum(map(len, sent)))
        ended(tcpdump)
    out = tmp_path / "replay.json"
    command = [sys.executable, "-m", "smtpinspect", "replay", str(taken), "--format", "eve", "-o", str(out)]
    subprocess.run(command, check=True)
    replayed = records(out)
    assert len(live[0]) > 100
    assert live[0] == replayed[0]
    assert {**live[1], "seconds": 0, "kernel": 0, "octets": 0} == {
        **replayed[1], "seconds": 0, "kernel": 0, "octets": 0
    }
    assert live[1]["kernel"] == {"received": len(sent), "dropped": 0, "freezes": 0}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("form", ["text", "eve", "stormshield"])
def test_a_signal_ends_it_and_loses_nothing(cable: Cable, how: signal.Signals, form: str) -> None:
    """Sent right behind the last frame, of a connection that is still open."""
    with cable.live("--format", form, "-i", "stormshield") as process:
        cable.send(frames(FAKE, 40_001) + frames(OPEN, 40_002))
        out, errors, status = ended(process, how)
    assert status == 0
    assert "0 dropped by the kernel" in errors
    if form == "eve":
        kinds = [json.loads(line)["event_type"] for line in out.splitlines()]
        assert [kinds.count(kind) for kind in ("smtp", "alert", "flow", "stats")] == [2, 1, 2, 1]
        assert kinds[-1] == "stats"
        assert json.loads(out.splitlines()[-1])["smtpinspect"]["truncated"] is None
    elif form == "text":
        assert b"2 connections, 2 mails" in out
    else:
        assert out.count(b"\n") == 1


def test_a_line_comes_soon(cable: Cable) -> None:
    with cable.live("--format", "eve") as process:
        for n in range(3):
            begun = time.monotonic()
            cable.send(frames(port=40_010 + n))
            while json.loads(line_of(process))["event_type"] != "flow":
                pass
            assert time.monotonic() - begun < 1.5  # of which a second is granted, and the sender begins anew


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_is_late_has_every_record(
    cable: Cable, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """The signal comes while the pipe is full."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    sent = of_captures()
    with cable.live("--format", "eve") as process:
        cable.send(sent)
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        out, _, status = ended(process)
    assert len(out) > 1 << 16 and status == 0
    assert records(out)[1]["packets"] == len(sent)


def test_count_and_seconds_end_it(cable: Cable) -> None:
    with cable.live("--format", "eve", "--count", "5") as process:
        cable.send(frames() + frames(port=40_001))
        out, _ = process.communicate(timeout=20)  # without a signal
    assert process.returncode == 0 and records(out)[1]["packets"] == 5
    begun = time.monotonic()
    with cable.live("--format", "eve", "--seconds", "1") as process:
        assert process.wait(20) == 0
    assert 0.9 < time.monotonic() - begun < 15


def test_what_is_dropped_is_told(cable: Cable) -> None:
    flood = frames()[-1:] * 20_000
    with cable.live("--format", "eve", "--buffer", "2") as process:
        process.send_signal(signal.SIGSTOP)
        cable.send(flood)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        out, errors, status = ended(process)
    kernel = records(out)[1]["kernel"]
    assert status == 0
    assert kernel["dropped"] > 1_000 and kernel["freezes"] > 0
    assert kernel["received"] == len(flood)
    assert errors.count("the kernel drops packets") == 1
    assert f"{kernel['received']:,} packets received, {kernel['dropped']:,} dropped" in errors


# ---- what is let in


def test_the_server_ports_are_let_in(cable: Cable) -> None:
    others = [*frames(server_port=8025), b"\xff" * 6 + b"\2" * 6 + b"\x08\x06" + bytes(46)]
    found, stats = eve(cable, others + frames(), "--records", "flow")
    assert len(found) == 1 and stats["packets"] == len(frames())
    assert len(eve(cable, frames(server_port=8025), "--records", "flow", "--port", "8025")[0]) == 1
    assert len(eve(cable, frames(server_port=8025), "--records", "flow", "--filter", "")[0]) == 1


@pytest.mark.parametrize("how", ["ethernet", "vlan", "qinq"])
@pytest.mark.parametrize("ends", [wire.V4, wire.V6])
@pytest.mark.parametrize("interface", [NEAR, "any"])
def test_fragments_and_tags_are_let_in(cable: Cable, how: str, ends: wire.Ends, interface: str) -> None:
    if interface == "any" and how == "qinq":
        pytest.skip("a cooked header tells one tag")
    packets = [piece for each in wire.packets(wire.build(parse(FAKE)), ends) for piece in ip.fragments(each, 64)]
    sent = [frame for _, frame in capture.frames(packets, link.LINKS[how])]
    _, stats = eve(cable, sent, "-i", "stormshield", interface=interface)
    assert stats["packets"] == len(sent)
    assert stats["alerts"] == {"stormshield.smtp-223": 1}
    assert stats["mails"] == 1


def test_ipv6_extension_headers_are_let_in(cable: Cable) -> None:
    packets = [
        ip.with_extensions(each, [ip.HOP_BY_HOP, ip.DESTINATION])
        for each in wire.packets(wire.build(parse(DELIVERY)), wire.V6)
    ]
    assert eve(cable, [frame for _, frame in capture.frames(packets)])[1]["mails"] == 1


def test_a_filter_chooses(cable: Cable) -> None:
    sent = frames(port=40_001) + frames(port=40_002) + frames(port=40_003, how="vlan")
    assert eve(cable, sent, "--filter", "tcp port 40002")[1]["packets"] == len(frames())
    assert eve(cable, sent, "--filter", "vlan and tcp port 25")[1]["packets"] == len(frames())
    assert eve(cable, sent, "--filter", "tcp port 40001", interface="any")[1]["packets"] == len(frames())


def told(cable: Cable, *words: str) -> str:
    done = subprocess.run(cable.words(cable.near, *words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    return done.stderr


def test_what_is_wrong_is_told(cable: Cable, tmp_path: Path) -> None:
    live = (sys.executable, "-m", "smtpinspect", "live")
    assert "--filter 'port 25 andd': can't parse filter expression: syntax error" in told(
        cable, *live, NEAR, "--filter", "port 25 andd"
    )
    assert f"neer0: no such interface. Did you mean {NEAR}?" in told(cable, *live, "neer0")
    assert "cannot be written: No such file" in told(cable, *live, NEAR, "--write", str(tmp_path / "no" / "x"))
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to take CAP_NET_RAW away with")
    line = told(cable, "setpriv", "--bounding-set=-net_raw", *live, NEAR)
    assert "CAP_NET_RAW" in line and "sudo setcap cap_net_raw+ep" in line


# ---- what happens to an interface, and to who reads


def test_an_interface_that_goes_down_comes_up_again(cable: Cable) -> None:
    with cable.live("--format", "eve") as process:
        cable.ip("link", "set", NEAR, "down", inside=cable.near)
        time.sleep(0.5)
        cable.ip("link", "set", NEAR, "up", inside=cable.near)
        time.sleep(0.5)
        cable.send(frames())
        out, errors, status = ended(process)
    assert status == 0 and records(out)[1]["mails"] == 1
    assert f"{NEAR} is down" in errors and f"{NEAR} is up again" in errors


def test_an_interface_that_vanishes_ends_it() -> None:
    cable = Cable()
    cable.near, cable.far = cable.near + "-v", cable.far + "-v"
    try:
        cable.make()
        with cable.live("--format", "eve") as process:
            cable.send(frames() + frames(OPEN, 40_001))
            time.sleep(0.5)
            cable.ip("link", "del", NEAR, inside=cable.near)
            assert process.wait(20) == 3
            out, errors, _ = ended(process)
    finally:
        cable.remove()
    stats = records(out)[1]
    assert stats["mails"] == 2 and stats["truncated"] == f"{NEAR}: the interface has vanished"
    assert "the interface has vanished" in errors


def test_a_reader_that_leaves_ends_it(cable: Cable) -> None:
    with cable.live("--format", "eve") as process:
        cable.send(frames())
        assert process.stdout
        line_of(process)
        process.stdout.close()
        time.sleep(0.3)
        cable.send(frames(port=40_001))
        assert process.wait(20) == 141
        process.stdout = None
        assert process.stderr and b"Traceback" not in process.stderr.read()


def test_a_terminal_sees_how_it_goes(cable: Cable) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        cable.words(cable.near, sys.executable, "-m", "smtpinspect", "live", NEAR, "--format", "eve", "-o", os.devnull),
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        assert waits(20, lambda: len(cable.sockets()) == 1)
        cable.send(frames(FAKE))
        time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        while part := os.read(master, 65_536):
            shown += part
    except OSError:
        pass  # a terminal without a writer ends so
    finally:
        process.kill()
        os.close(master)
    assert b"packets/s  1 mails" in shown and b"0 dropped\x1b[K" in shown


def test_packets_put_together_are_told(cable: Cable) -> None:
    """A real connection over the cable, whose ends leave the cutting to the card."""
    server = (
        "import socket; s = socket.create_server(('192.0.2.1', 25)); print(flush=True); c = s.accept()[0]\n"
        "while c.recv(1 << 20): pass"
    )
    client = "import socket; c = socket.create_connection(('192.0.2.1', 25)); c.sendall(bytes(4 << 20))"
    cable.ip("address", "replace", "192.0.2.1/30", "dev", NEAR, inside=cable.near)
    cable.ip("address", "replace", "192.0.2.2/30", "dev", FAR, inside=cable.far)
    with cable.live() as process:
        with subprocess.Popen(cable.words(cable.near, sys.executable, "-c", server), stdout=subprocess.PIPE) as serving:
            assert serving.stdout
            serving.stdout.readline()
            cable.inside(cable.far, sys.executable, "-c", client)
        _, errors, status = ended(process)
    assert status == 0
    assert errors.count(f"ethtool -K {NEAR} gro off") == 1


# ---- the packets of mails that would break




@pytest.mark.parametrize("how", ["ethernet", "vlan"])
def test_packets_of_breaks_are_kept(cable: Cable, tmp_path: Path, how: str) -> None:
    written = tmp_path / "written.pcap"
    pairs = [frames(FAKE if n % 3 == 0 else DELIVERY, 40_000 + n, how=how) for n in range(9)]
    sent = [frame for part in zip(*pairs, strict=False) for frame in part]
    sent += [frame for each in pairs for frame in each[min(map(len, pairs)) :]]
    chosen = ("-i", "stormshield", "-i", "mailguard:asa-8", "--write", str(written))
    with cable.live("--format", "eve", *chosen) as process:
        cable.send(sent)
        out, errors, status = ended(process)
    assert status == 0 and "3 connections that would break\n" in errors
    flows = [record for record in map(json.loads, out.splitlines()) if record["event_type"] == "flow"]
    told = [(r["src_port"], r["smtpinspect"]["verdict"], r["smtpinspect"]["broken_by"]) for r in flows]
    result = smtpinspect.replay(str(written), ["stormshield", "mailguard:asa-8"])
    again = [(int(f.client.rpartition(":")[2]), f.verdict, f.broken_by) for f in result.flows]
    assert again == [each for each in told if each[2]] and len(again) == 3
    assert {mail.outcome for mail in result.mails} == {"accepted"}
    octets = written.read_bytes()
    assert {port for port, *_ in again} == {40_000, 40_003, 40_006}
    assert all(frame in octets for n in (0, 3, 6) for frame in pairs[n])
