"""The firewall between real TCP stacks: namespaces client - firewall - server, each kind of action."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.bench import V4, V6, Bench, Missing

LOCKED = (Path(__file__).parent / "attachments" / "archive" / "infozip-encrypted.zip").read_bytes()
QUIT = (b"QUIT\r\n", 1)


def mail(text: bytes = b"Subject: x\r\n\r\nhello\r\n.\r\n", helo: bytes = b"HELO me\r\n"):
    return [(helo, 1), (b"MAIL FROM:<a@b>\r\n", 1), (b"RCPT TO:<c@d>\r\n", 1), (b"DATA\r\n", 1), (text, 1), QUIT]


def attached(octets: bytes) -> bytes:
    head = b"Subject: x\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head + base64.encodebytes(octets).replace(b"\n", b"\r\n") + b".\r\n"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    try:
        made = Bench()
    except Missing as error:
        pytest.skip(f"no bench: {error}")
    try:
        made.queue(5)
        yield made
    except Missing as error:
        pytest.skip(f"no NFQUEUE: {error}")
    finally:
        made.close()


@pytest.fixture
def server(bench):
    """One for each test: what a dropped connection sends again must not come to the next."""
    made = bench.serve()
    yield made
    made.close()


def test_without_the_program_packets_pass(bench, server):
    assert bench.submit(mail())["end"] == "done"  # --queue-bypass
    assert server.session()["lines"][0] == "HELO me\r\n"


@pytest.mark.parametrize("host", [V4, V6])
def test_rewriting(bench, server, host):
    box = bench.inline("-i", "mailguard:asa-8")
    steps = [(b"EHLO me\r\n", 1), (b"WIZ x\r\n", 1), (b"MAIL FROM:<a@b>\r\nRCPT TO:<a|b@c>\r\nTURN\r\n", 3), QUIT]
    got = bench.submit(steps, host)
    session = server.session()
    status, out, told = box.stop()
    assert got["end"] == "done"
    assert got["replies"][0] == "220 " + "*" * 22 + "\r\n"
    assert got["replies"][1] == "250-mx.example\r\n250-PIPELINING\r\n250-XXXXXXXA\r\n250-XXXXXXXB\r\n250 SIZE\r\n"
    assert [line.rstrip() for line in session["lines"]] == [
        "EHLO me", "XXXXX", "MAIL FROM:<a@b>", "RCPT TO:<a b@c>", "XXXX", "QUIT",
    ]  # fmt: skip
    assert status == 0
    assert out.count("mailguard.command-not-allowed") == 2 and "changed" in told


@pytest.mark.parametrize("host", [V4, V6])
def test_answers_in_the_servers_place(bench, server, host):
    box = bench.inline("-i", "mailguard:pix-4.0")
    fake = [(b"some-fake-command\r\n", 1), (b"NOOP\r\n", 1), (b"NOOP\r\nKILL\r\nNOOP\r\n", 3)] * 20
    body = b"Subject: x\r\n\r\n" + b"text that goes on\r\n" * 5000 + b".\r\n"
    got = bench.submit([*fake, *mail(body)], host, seconds=5)
    session = server.session()
    box.stop()
    assert got["end"] == "done"
    assert got["replies"][1:6] == ["250 OK\r\n", "250 fine\r\n", "250 fine\r\n", "250 OK\r\n", "250 fine\r\n"]
    assert len(got["replies"]) == 1 + 100 + 6 and got["replies"][-1] == "221 bye\r\n"
    # the server never saw them
    assert [line[:4] for line in session["lines"]] == ["NOOP"] * 60 + ["HELO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert session["messages"] == [hashlib.sha256(body).hexdigest()]


def test_without_the_firewall_the_server_refuses_the_fake_command(bench, server):
    got = bench.submit([(b"some-fake-command\r\n", 1), QUIT])
    assert got["replies"][1] == "500 Command unrecognized\r\n"
    assert server.session()["lines"][0] == "some-fake-command\r\n"


@pytest.mark.parametrize("teardown, end", [("drop-flow", "timeout"), ("drop", "timeout"), ("rst-both", "reset")])
def test_a_block(bench, server, teardown, end):
    box = bench.inline("-i", f"stormshield,teardown={teardown}", "--format", "eve")
    got = bench.submit(mail(b"Subject: caf\xe9\r\n\r\nhello\r\n.\r\n"), seconds=1.5)
    session = server.session(0.5 if end == "timeout" else 5.0)
    server.close()
    status, out, _ = box.stop(signal.SIGINT)
    assert (got["end"], len(got["replies"]), status) == (end, 5, 0)
    # where nothing passes any more, the server does not hear of the client's end, either
    assert session is None if end == "timeout" else (session["end"], session["messages"]) == ("reset", [])
    records = [json.loads(line) for line in out.splitlines()]
    # of the connection of the test before, the kernel may still send a FIN again
    (alert,) = [record for record in records if record["event_type"] == "alert"]
    assert alert["alert"]["action"] == "blocked"
    assert alert["smtpinspect"]["rule"] == "stormshield.smtp-231"
    assert records[-1]["event_type"] == "stats"


def test_set_to_pass_the_mail_arrives(bench, server):
    box = bench.inline("-i", "stormshield,231.action=pass")
    text = b"Subject: caf\xe9\r\n\r\nhello\r\n.\r\n"
    got = bench.submit(mail(text))
    box.stop()
    assert got["end"] == "done" and server.session()["messages"] == [hashlib.sha256(text).hexdigest()]


@pytest.mark.parametrize(
    "how, end, last",
    [("reply552-fin", "closed", "552"), ("reply552-rst", "reset", ""), ("reset", "reset", ""), ("drop", "timeout", "")],
)
def test_a_restricted_attachment(bench, server, how, end, last):
    box = bench.inline("-i", f"sonicwall,on_match={how}")
    got = bench.submit(mail(attached(LOCKED * 400)), seconds=1.5)
    session = server.session(0.5 if end == "timeout" else 5.0)
    server.close()
    _, out, _ = box.stop()
    assert "sonicwall.encrypted-zip" in out
    assert got["end"] in (end, "BrokenPipeError") and (not last or got["replies"][-1].startswith(last))
    assert session is None if end == "timeout" else (session["end"], session["messages"]) == ("reset", [])


def test_its_clean_twin_arrives(bench, server):
    box = bench.inline("-i", "sonicwall", "--fail", "closed")
    text = attached(bytes(range(256)) * 8000)
    got = bench.submit(mail(text), seconds=10)
    _, out, told = box.stop()
    assert got["end"] == "done" and not out
    assert server.session()["messages"] == [hashlib.sha256(text).hexdigest()]
    assert "dropped" not in told and "error" not in told


def test_the_log_of_the_product_comes_at_once(bench, server):
    box = bench.inline("-i", "mailguard:asa-8", "--format", "asa")
    bench.submit([(b"EHLO me\r\n", 1), (b"MAIL FROM:<a@b>\r\n", 1), (b"RCPT TO:<a|b@c>\r\n", 1)])
    line = box.made.stdout.readline().decode()
    assert "%ASA-2-108002: SMTP replaced |" in line and "data: RCPT TO:<a|b@c>" in line
    box.stop()
    server.session(1.0)


def test_a_second_program_at_the_queue_is_told(bench, server):
    box = bench.inline("-i", "sonicwall")
    second = bench.start(
        1, sys.executable, "-m", "smtpinspect", "inline", "--queue", "5", "-i", "sonicwall", stderr=subprocess.PIPE
    )
    _, told = second.communicate(timeout=20)
    box.stop()
    assert second.returncode == 2 and b"queue 5 cannot be had" in told


def test_memory_and_time_of_a_long_run_are_told_by_its_counters(bench, server):
    box = bench.inline("-i", "mailguard:pix-6")
    for _ in range(3):
        bench.submit(mail())
    time.sleep(0.3)
    status, out, told = box.stop()
    assert status == 0 and out.count("banner-masked") == 3
    assert "3  mailguard.banner-masked" in told


@pytest.mark.parametrize("fail, end", [("open", "done"), ("closed", "timeout")])
def test_a_full_queue_fails_as_it_was_chosen(bench, server, fail, end):
    box = bench.inline("-i", "sonicwall", "--fail", fail, "--queue-length", "1")
    box.made.send_signal(signal.SIGSTOP)  # the first packet fills the queue
    try:
        # TCP asks again for a connection after a second
        got = bench.submit(mail(), seconds=4 if fail == "open" else 2)
    finally:
        box.made.send_signal(signal.SIGCONT)
    _, _, told = box.stop()
    assert got["end"] == end
    assert ("found the queue full" in told) == (fail == "closed")
