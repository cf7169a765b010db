"""Connections through the firewall: what both ends get, over any cut, loss, repetition and order."""

from __future__ import annotations

import random

import pytest

from kit.ends import Network
from kit.speaking import Server, Speaker, Step
from smtpinspect.enforce.firewall import PASSED, Fate, Firewall

TEXT = b"Subject: x\r\n\r\n" + b"".join(b"line %d of the text\r\n" % i for i in range(200)) + b".\r\n"
PLAIN: list[Step] = [
    (b"HELO a.example\r\n", 1), (b"MAIL FROM:<a@example.org>\r\n", 1), (b"RCPT TO:<b@example.org>\r\n", 1),
    (b"DATA\r\n", 1), (TEXT, 1), (b"QUIT\r\n", 1),
]  # fmt: skip
SHAPES = [
    pytest.param({}, id="plain"),
    pytest.param({"mss": 37}, id="small"),
    pytest.param({"mss": 536, "lost": 0.08, "twice": 0.05, "late": 0.2}, id="bad"),
    pytest.param({"mss": 100, "lost": 0.15, "late": 0.3, "isn": (2**32 - 300, 2**32 - 20)}, id="worse"),
    pytest.param({"v6": True, "mss": 300, "lost": 0.1, "twice": 0.2, "stamps": False}, id="v6"),
]


class Box:
    """A firewall with what it did."""

    def __init__(self, spec: str, firewall: Firewall | None = None) -> None:
        self.firewall = firewall or Firewall(spec)
        self.fates: list[Fate] = []
        self.rules: list[str] = []

    def __call__(self, ns: int, ip: bytes) -> list[tuple[int, bytes]]:
        fate = self.firewall.take(ns, ip)
        self.fates.append(fate)
        self.rules += [alert.rule for alert in fate.alerts if alert.row.kind != "seen"]
        to_server = int.from_bytes(ip[20:22] if ip[0] >> 4 == 4 else ip[40:42], "big") != 25
        out = [(int(to_server), octets) for _, done in fate.released if (octets := done.octets)]
        if fate.kind == "pass":
            out.append((int(to_server), ip))
        elif fate.kind == "edit":
            assert fate.octets
            out.append((int(to_server), fate.octets))
        return out + [(int(to == "server"), octets) for to, octets in fate.injected]


class Run:
    """A dialogue through a box."""

    def __init__(self, spec: str, steps: list[Step], shape: dict, seed: int, *, firewall=None, **server) -> None:
        self.box = Box(spec, firewall)
        self.net = Network(self.box, random.Random(seed), **shape)
        client, serving = self.net.ends
        self.speaker, self.server = Speaker(client, steps), Server(serving, **server)
        self.net.shake()
        self.net.run(lambda: bool(self.speaker.go() | self.server.go()))
        self.at_client, self.at_server = bytes(client.got), bytes(serving.got)
        self.sent, self.said = bytes(client.sent), bytes(serving.sent)
        self.states = client.state, serving.state
        self.whole = client.ended and serving.ended and not self.speaker.steps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "spec",
    ["stormshield", "sonicwall", "mailguard:pix-4.0,split_verb=off", "mailguard:asa-8,banner=none,split_verb=off"],
)
def test_nothing_is_touched_where_no_rule_fires(spec, shape):
    for seed in range(6):
        run = Run(spec, PLAIN, shape, seed, verbs={b"HELO": b"250 hello\r\n"})
        assert run.whole and run.states == ("open", "open")
        assert (run.at_client, run.at_server) == (run.said, run.sent)
        if not shape:
            assert all(fate is PASSED for fate in run.box.fates)
        assert not run.box.rules


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_rewritten_has_the_same_length_everywhere(shape):
    steps = [(b"EHLO a\r\n", 1), (b"MAIL FROM:<a@example.org>\r\n", 1), (b"WIZ now\r\n", 1),
             (b"RCPT TO:<a|b@c|d>\r\nEXPN x\r\nRCPT TO:<e@f>\r\nDATA\r\n", 4), (TEXT, 1), (b"QUIT\r\n", 1)]  # fmt: skip
    for seed in range(10):
        run = Run(
            "mailguard:asa-8,split_verb=off", steps, shape, seed, greeting=b"220-first line\r\n220 second 200\r\n"
        )
        assert run.whole and run.states == ("open", "open")
        masked = run.sent.replace(b"WIZ now", b"XXXXXXX").replace(b"EXPN x", b"XXXXXX").replace(b"|", b" ")
        assert run.at_server == masked
        said = run.said.replace(b"220-first line\r\n220 second 200", b"220-**********\r\n220 **********")
        said = said.replace(b"CHUNKING", b"XXXXXXXA").replace(b"STARTTLS", b"XXXXXXXB").replace(b"XFOO", b"XXXC")
        assert run.at_client == said


LOCAL = [(b"HELO a\r\n", 1), (b"WIZ\r\n", 1), (b"MAIL FROM:<a@example.org>\r\n", 1),
         (b"RCPT TO:<a@b>\r\nKILL me\r\nRCPT TO:<c@d>\r\nTURN\r\nVRFY x\r\nDATA\r\n", 6), (TEXT, 1),
         (b"DEBUG\r\n", 1), (b"NOOP\r\nEXPN y\r\n", 2), (b"QUIT\r\n", 1)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_in_the_servers_place_keeps_both_streams_in_step(shape):
    for seed in range(20):
        run = Run("mailguard:pix-4.0,split_verb=off", LOCAL, shape, seed)
        assert run.whole and run.states == ("open", "open"), seed
        rest = run.sent
        for denied in (b"WIZ\r\n", b"KILL me\r\n", b"TURN\r\n", b"VRFY x\r\n", b"DEBUG\r\n", b"EXPN y\r\n"):
            rest = rest.replace(denied, b"", 1)
        assert run.at_server == rest
        codes = [reply.strip() for reply in run.speaker.replies]
        assert codes == [
            b"220 mx ESMTP", b"250 helo fine", b"250 OK", b"250 mail fine", b"250 rcpt fine", b"250 OK",
            b"250 rcpt fine", b"250 OK", b"250 OK", b"354 go on", b"250 2.0.0 taken", b"250 OK", b"250 noop fine",
            b"250 OK", b"221 bye",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "spec, sent, got",
    [
        ("mailguard:pix-4.4,banner=none", b"EHLO me.example\r\n", b"NOOP me.example\r\n"),
        ("mailguard:pix-4.4,banner=none", b"STARTTLS\r\n", b"NOOP    \r\n"),
        ("mailguard:pix-6,banner=none", b"EHLO me.example\r\n", b"XXXX me.example\r\n"),
        ("mailguard:asa-8,banner=none", b"TURN it\r\n", b"XXXXXXX\r\n"),
        ("mailguard:asa-8,banner=none", b"RCPT TO:<a|b@c>\r\n", b"RCPT TO:<a b@c>\r\n"),
        ("mailguard:asa-8,banner=none", b"RCPT TO:<<a>b@c> X=<y>\r\n", b"RCPT TO:< a>b@c  X= y \r\n"),
        ("mailguard:asa-8,banner=none", b'RCPT TO:<"|/bin/sh"@v.example>\r\n', b'RCPT TO:<" /bin/sh"@v.example>\r\n'),
        ("mailguard:pix-6,banner=none,termination=mask", b"NOOP\n", b"XXXX\n"),
    ],
)
def test_each_rewrite_writes_what_the_product_writes(spec, sent, got):
    run = Run(spec, [(sent, 1), (b"QUIT\r\n", 1)], {}, 0)
    assert run.at_server == got + b"QUIT\r\n"


@pytest.mark.parametrize(
    "banner, got",
    [
        ("first4", b"220-**********\r\n**************\r\n"),
        ("keep20", b"220-**********\r\n220 *******200\r\n"),
        ("per-line", b"220-**********\r\n220 **********\r\n"),
    ],
)
@pytest.mark.parametrize("mss", [1448, 9])
def test_each_mask_of_the_greeting(banner, got, mss):
    greeting = b"220-first line\r\n220 second 200\r\n"
    run = Run(f"mailguard:pix-6,banner={banner}", [], {"mss": mss}, 0, greeting=greeting)
    assert run.at_client == got


def test_what_may_wait_is_bounded():
    firewall = Firewall("mailguard:asa-8", held=100)
    run = Run("", [(b"EHLO a\r\n", 1), (b"VRFY " + b"x" * 400 + b"\r\n", 1)], {"mss": 50}, 0, firewall=firewall)
    held = [fate for fate in run.box.fates if fate.kind == "hold"]
    assert held and run.whole  # the rest is refused as by a full window, and comes again
    assert run.at_server == b"EHLO a\r\nVRFY " + b"x" * 400 + b"\r\n"
