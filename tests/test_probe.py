"""`smtpinspect probe`: the right answer behind every box, and an end with every stranger."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kit.ends import Network
from kit.speaking import Server
from smtpinspect.cli import main
from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.probe import steps
from smtpinspect.diagnose.probe.judge import Judged, judge
from smtpinspect.diagnose.probe.steps import COMMANDS, Asked, Heard, Talked
from smtpinspect.diagnose.probe.talk import LONGEST, Answer, NoServerError
from smtpinspect.inspectors.mailguard.profiles import PROFILES
from smtpinspect.report import probe_page
from test_enforce_firewall import Box

SECOND = 1_000_000_000
GREETING = b"220 mx20.example.net ESMTP ready since 2002\r\n"
EHLO = b"250-mx20.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-STARTTLS\r\n250 SIZE 1000\r\n"
VERBS = {
    b"EHLO": EHLO,
    b"HELO": b"250 mx20.example.net\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"QUIT": b"221 bye\r\n",
}
ASKED = Asked("mx20.example.net", "198.51.100.25", helo="client.example.org")


class Over(Exception):
    """So much time has gone by."""


class Wire:
    """A connection through an emulated firewall to a server, in virtual time."""

    def __init__(self, spec: str, verbs: Mapping[bytes, bytes], greeting: bytes) -> None:
        self.box = Box(spec) if spec else (lambda ns, ip: [(int(ip[22:24] == b"\0\x19"), ip)])
        self.net = Network(self.box, random.Random(1))
        self.client, serving = self.net.ends
        self.server = Server(serving, greeting, verbs)
        self.net.shake()
        self.read = 0

    def _until(self, when: int) -> None:
        def apps() -> bool:
            if self.net.now > when:
                raise Over
            return self.server.go()

        with suppress(Over):
            self.net.run(apps)
        self.net.now = max(self.net.now, when)

    def send(self, octets: bytes) -> None:
        self.client.sent += octets
        self._until(self.net.now + SECOND // 20)

    def receive(self, seconds: float) -> bytes | None:
        begin = self.net.now
        while self.net.now - begin < seconds * SECOND:
            got = bytes(self.client.got[self.read :])
            self.read += len(got)
            if got:
                return got
            if self.client.ended:
                return b""
            if self.client.state == "reset":
                raise ConnectionResetError
            self._until(self.net.now + SECOND)
        return None

    def again(self) -> int:
        return self.client.tries

    def pause(self, seconds: float) -> None:
        self._until(self.net.now + int(seconds * SECOND))

    def close(self) -> None:
        self.client.close()


def probed(spec: str, verbs: Mapping[bytes, bytes] = VERBS, greeting: bytes = GREETING) -> tuple[Talked, Judged]:
    talked = steps.talk(ASKED, lambda: Wire(spec, verbs, greeting))
    return talked, judge(talked)


def test_no_box() -> None:
    talked, judged = probed("")
    assert (judged.mailguard, judged.profiles, talked.connections) == ("no", (), 1)
    assert [each.step.name for each in talked.heard] == ["ehlo", "fake", "noop", "pipelined", "split", "quit"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_generation_is_in_the_group_that_is_named(profile: str) -> None:
    _, judged = probed(f"mailguard:{profile}")
    assert judged.mailguard == "yes"
    assert profile in judged.profiles[: judged.exact]


@pytest.mark.parametrize(
    ("spec", "profiles"),
    [
        ("mailguard:pix-4.0", {"pix-4.0"}),
        ("mailguard:pix-5", {"pix-5", "pix-6"}),
        ("mailguard:fwsm-3", {"fwsm-3"}),
        ("mailguard:asa-8", {"asa-7.0", "asa-8"}),
        ("mailguard:asa-9-tls", {"asa-9-tls"}),
        (r"mailguard:pix-4.0,deny_reply=OK\r\n", {"pix-4.0"}),
        ("mailguard:pix-6,deny_style=noop", {"pix-5", "pix-6"}),
        ("mailguard:pix-4.4,deny_style=xxxx-verb", {"pix-4.4", "pix-5", "pix-6"}),
    ],
)
def test_the_group_is_no_larger_than_the_tables_make_it(spec: str, profiles: set[str]) -> None:
    """The greeting has a 2 and a 0, and STARTTLS is offered: all that can show does."""
    _, judged = probed(spec)
    told = set(judged.profiles)
    if spec.startswith("mailguard:asa-8"):
        told -= {"asa-9-tls"}  # whether the server offers STARTTLS cannot be known where it is masked
    assert told == profiles


@pytest.mark.parametrize("spec", ["stormshield:high", "sonicwall"])
def test_other_firewalls_are_no_mailguard(spec: str) -> None:
    assert probed(spec)[1].mailguard != "yes"


def test_an_old_server_without_ehlo_is_no_mailguard() -> None:
    verbs = VERBS | {b"EHLO": b"500 Command unrecognized\r\n"}
    assert probed("", verbs, b"220 old.example.net Sendmail 8.6\r\n")[1].mailguard == "no"


def test_a_server_that_says_ok_to_everything_is_not_taken_for_one() -> None:
    _, judged = probed("", VERBS | {steps.FAKE.upper(): b"250 Sure\r\n"})
    assert judged.mailguard == "unclear"


def test_a_greeting_that_lost_its_second_code_still_counts() -> None:
    _, judged = probed("mailguard:pix-4.4", VERBS, b"220-mx.example.net ESMTP\r\n220 ready\r\n")
    assert judged.mailguard == "yes" and "pix-4.4" in judged.profiles


def test_the_plan_is_polite() -> None:
    plan = steps.plan("client.example.org")
    assert sum(step.replies for step in plan) + 1 <= COMMANDS
    assert not any(verb in piece for step in plan for piece in step.pieces for verb in (b"MAIL", b"RCPT", b"DATA"))


def test_the_groups_are_made_from_the_tables() -> None:
    assert [each.profile for each in generations.traits()] == list(PROFILES)


def test_the_page_tells_signs_and_what_it_cannot_see() -> None:
    talked, judged = probed("mailguard:pix-6")
    page = "\n".join(probe_page.page(talked, judged, 80, probe_page.Style(False)))
    for part in ("A MailGuard is on the way: PIX 5.1 to 5.3, or PIX 6.0", "a sign", "Next: "):
        assert part in page
    talked, judged = probed("")
    page = "\n".join(probe_page.page(talked, judged, None, probe_page.Style(False)))
    assert "this test cannot see one" in page
    assert "Next: tcpdump -i any -U -s0 -w mail.pcap 'host 198.51.100.25 and port 25'" in page
    assert json.loads(json.dumps(probe_page.record(talked, judged)))["mailguard"] == "no"


# ---- strangers, on loopback


@contextmanager
def stranger(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            with peer:
                peer.settimeout(5)
                with suppress(OSError):
                    serve(peer)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join(5)
        listener.close()


def silent(peer: socket.socket) -> None:
    peer.recv(1)


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        for part in parts:
            peer.sendall(part)
        while peer.recv(4_096):
            pass

    return serve


def endless(peer: socket.socket) -> None:
    peer.sendall(b"220 mx.example.net\r\n")
    while True:
        peer.recv(4_096)
        for _ in range(4_000):
            peer.sendall(b"250-" + b"x" * 100 + b"\r\n")


def hangs_up(peer: socket.socket) -> None:
    return


@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (silent, "no greeting within 1 s"),
        (hangs_up, "closed the connection without a greeting"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "speaks no SMTP"),
        (says(b"\x15\x03\x03\x00\x02\x02\x28"), "speaks TLS from the start"),
        (says(b"554 5.7.1 go away\r\n"), "does not want us: 554 5.7.1"),
        (says(b"220-x\r\n" * 2_000), "greeting has no end"),
        (says(b"220 mx.example.n"), "no whole greeting within 1 s, only b'220 mx.example.n'"),
        (says(b"220-mx.example.net\r\n"), "no whole greeting within 1 s"),
        (says(b"220-****************\r\n220-**"), "no whole greeting within 1 s"),
        (says(b"2" * (LONGEST + 4_096)), "speaks no SMTP|has no end|does not want"),
    ],
)
def test_what_is_no_mail_server_is_told(
    serve: Callable[[socket.socket], None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with stranger(serve) as port:
        assert main(["probe", f"127.0.0.1:{port}", "--wait", "1"]) == 3
    err = capsys.readouterr().err
    assert any(part in err for part in text.split("|"))
    assert "Traceback" not in err


def test_a_reply_without_an_end_is_not_read_to_it() -> None:
    with stranger(endless) as port:
        talked = steps.talk(Asked("x", "127.0.0.1", port, helo="a.example", wait=2))
    assert talked.heard[0].answer.ended == "too long"
    assert len(talked.heard[0].answer.octets) <= LONGEST
    assert judge(talked).mailguard in ("no", "unclear")


def trickling(heard: list[bytes]) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        peer.settimeout(0.05)
        for octet in b"220 mx.example.net ESMTP spamd IP-based SPAM blocker\r\n":
            peer.sendall(bytes([octet]))
            with suppress(TimeoutError):
                heard.append(peer.recv(4_096))

    return serve


def test_a_tarpit_is_sent_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No command before the greeting is whole (RFC 5321 4.3.1)."""
    heard: list[bytes] = []
    with stranger(trickling(heard)) as port:
        assert main(["probe", f"127.0.0.1:{port}", "--wait", "1"]) == 3
    told = capsys.readouterr()
    assert "a slow server or a tarpit. Nothing was sent" in told.err and "MailGuard is on the way" not in told.out
    assert not b"".join(heard)


def closes_at(word: bytes) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        peer.sendall(GREETING)
        while (line := peer.recv(4_096)) and word not in line:
            peer.sendall(EHLO if line.startswith(b"EHLO") else b"250 2.0.0 Ok\r\n" * line.count(b"\n"))

    return serve


@pytest.mark.parametrize("word", [b"some-fake", b"EHLO", b"\n"])
def test_a_test_that_got_no_answer_is_no_no(word: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with stranger(closes_at(word)) as port:
        assert main(["probe", f"127.0.0.1:{port}", "--wait", "1"]) == 0
    out = capsys.readouterr().out
    assert "Unclear: the command that does not exist, which is the test, got no answer" in out
    assert "No MailGuard" not in out


def test_the_announcement_says_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[bytes] = []

    def serve(peer: socket.socket) -> None:
        peer.sendall(GREETING)
        heard.append(peer.recv(4_096))

    with stranger(serve) as port:
        main(["probe", f"127.0.0.1:{port}", "--wait", "1"])
    assert f"  {heard[0].decode().strip()}  " in capsys.readouterr().out


def test_an_object_is_announced_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--format", "json"], ["-o", str(tmp_path / "report")]):
        with stranger(lambda peer: peer.sendall(b"554 no\r\n")) as port:
            main(["probe", f"127.0.0.1:{port}", "--wait", "1", *more])
        told = capsys.readouterr()
        assert told.out == "" and "cannot see a filter" in told.err and "EHLO [127.0.0.1]" in told.err


def test_the_page_fits_a_narrow_terminal() -> None:
    talked, judged = probed("mailguard:asa-8,deny_style=noop,split_verb=discard")
    name = "a-rather-long-name.of-a-host.example.org"
    asked = talked.asked._replace(helo=name)
    lines = [*probe_page.announcement(asked, name, 60), *probe_page.page(talked, judged, 60, probe_page.Style(False))]
    assert max(len(line) for line in lines if not line.startswith("Next:")) <= 60
    assert f"  EHLO {name}" in lines and not [line for line in lines if line.startswith(("EHLO", "NOOP", "some"))]
    assert judged.off and "what a command that does not exist gets" in " ".join(" ".join(lines).split())


def test_what_the_server_was_sent_is_told_without_its_quotes() -> None:
    talked, _ = probed("")
    fake = Answer(b'500 5.5.1 Command unrecognized: "XXXXXXXXXXXXXXXXX"\r\n')
    heard = tuple(Heard(each.step, (fake,)) if each.step.name == "fake" else each for each in talked.heard)
    texts = [each.text for each in judge(talked._replace(heard=heard)).shows]
    assert "the server was sent XXXXXXXXXXXXXXXXX in place of a command that does not exist" in texts


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["probe", f"127.0.0.1:{port}"]) == 3
    assert "connection refused" in capsys.readouterr().err


def test_no_server_is_told_by_its_own_error() -> None:
    with pytest.raises(NoServerError):
        steps.talk(Asked("x", "127.0.0.1", 1, helo="a.example"))


def test_control_characters_of_a_stranger_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with stranger(says(b"220 \x1b[2Jmx\r\n", b"250 \x1b]0;x\x07\r\n" * 8)) as port:
        assert main(["probe", f"127.0.0.1:{port}", "--wait", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


# ---- the command line


def test_dry_run_sends_nothing_and_says_what_it_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "192.0.2.1", "--dry-run", "--helo", "a.example"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("This test sees what a box does") and "cannot see a filter" in out
    for part in ("EHLO a.example", "some-fake-command", "NO | OP", "12 at most", "no mail"):
        assert part in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a:b:c]"], "no address"),
        (["[::1"], "is wanted"),
        (["127.0.0.1:0"], "a port from 1"),
        (["nobody.invalid"], "no address of this name"),
        (["127.0.0.1", "--source", "here"], "an address of this machine"),
        (["127.0.0.1", "--source", "::1"], "no address of that family"),
        (["127.0.0.1", "--helo", "a\r\nMAIL FROM:<>"], "a host's name"),
        (["127.0.0.1", "--wait", "0"], "no number from 1"),
        (["127.0.0.1", "--port", "2525"], "the port goes with the host: 127.0.0.1:2525"),
    ],
)
def test_wrong_usage(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["probe", *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert text in capsys.readouterr().err


def test_fail_on_masked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "SPLIT_PAUSE", 0.05)
    def masked(peer: socket.socket) -> None:
        peer.sendall(b"220 " + b"*" * 30 + b"2***0\r\n")
        while line := peer.recv(4_096):
            peer.sendall(b"250 mx.example.net\r\n" if line.startswith((b"HELO", b"NOOP")) else b"500 what?\r\n")

    with stranger(masked) as port:
        words = ["probe", f"127.0.0.1:{port}", "--wait", "1", "--format", "json"]
        assert main([*words, "--fail-on", "masked"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["mailguard"] == "yes" and {"pix-5", "pix-6"} <= set(told["profiles"])


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_stranger_says_is_judged(seed: int) -> None:
    rng = random.Random(seed)
    parts = b"220 |250-|250 |*********|XXXXXXXA|\r\n|\n|OK|\xff\0|5|XXXX|2.0.0 |\r".split(b"|")

    class Noise:
        def __init__(self) -> None:
            self.left = 60

        def send(self, octets: bytes) -> None:
            if rng.random() < 0.02:
                raise BrokenPipeError

        def receive(self, seconds: float) -> bytes | None:
            self.left -= 1
            if self.left % 60 == 59:
                return b"220 x\r\n"
            if self.left < 0 or rng.random() < 0.05:
                return rng.choice([b"", None])
            return b"".join(rng.choices(parts, k=rng.randint(1, 8)))

        def again(self) -> int:
            return 0

        def pause(self, seconds: float) -> None:
            pass

        def close(self) -> None:
            pass

    talked = steps.talk(ASKED._replace(wait=0.2), Noise)
    judged = judge(talked)
    page = "\n".join(probe_page.page(talked, judged, 80, probe_page.Style(False)))
    assert "\0" not in page and json.dumps(probe_page.record(talked, judged))
    assert talked.connections <= 2 and sum(len(each.answers) for each in talked.heard) <= COMMANDS
