"""How connections end behind the firewall: what each side is told, with numbers that it takes; what never arrives."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from smtpinspect.enforce import craft
from smtpinspect.enforce.firewall import Firewall
from smtpinspect.enforce.flow import NEWER
from test_enforce_firewall import PLAIN, TEXT, Run

ZIP = (Path(__file__).parent / "attachments" / "archive" / "infozip-encrypted.zip").read_bytes()
LOCKED = (
    b'Subject: x\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    + base64.encodebytes(ZIP * 40).replace(b"\n", b"\r\n") + b".\r\n"
)  # fmt: skip
LONG = b"Subject: x\r\n" + b"X-Long: " + b"a" * 2000 + b"\r\n\r\ntext\r\n.\r\n"


def mail(text=TEXT, helo=b"HELO a\r\n"):
    return [
        (helo, 1),
        (b"MAIL FROM:<a@b>\r\n", 1),
        (b"RCPT TO:<c@d>\r\n", 1),
        (b"DATA\r\n", 1),
        (text, 1),
        (b"QUIT\r\n", 1),
    ]


SHAPES = [
    pytest.param({"mss": 700}, id="plain"),
    pytest.param({"mss": 300, "v6": True, "stamps": False}, id="v6"),
    pytest.param({"mss": 500, "lost": 0.1, "twice": 0.1, "late": 0.2}, id="bad"),
]


def challenged(run):
    return [end.challenged for end in run.net.ends]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "spec, client, server",
    [
        ("stormshield,teardown=drop-flow", "timeout", "open"),
        ("stormshield,teardown=drop", "timeout", "open"),
        ("stormshield,teardown=rst-both", "reset", "reset"),
    ],
)
def test_stormshield_tears_down_as_it_is_told(spec, client, server, shape):
    text = b"Subject: caf\xe9\r\n\r\n" + TEXT[14:]
    run = Run(spec, mail(text), shape, 3)
    assert run.states == (client, server)
    assert run.box.rules[0] == "stormshield.smtp-231"
    assert b"caf" not in run.at_server and run.at_server.endswith(b"DATA\r\n")
    assert run.at_client == run.said
    if "lost" not in shape:
        assert challenged(run) == [0, 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "who, client, server",
    [("server", "timeout", "reset"), ("client+server", "reset", "reset"), ("client", "reset", "open")],
)
def test_mailguard_drop_connection_tells_whom_it_is_told_to(who, client, server, shape):
    run = Run(f"mailguard:asa-8,drop_rst={who},split_verb=off", mail(LONG), shape, 1)
    assert run.states == (client, server)
    assert run.box.rules[-1] == "mailguard.header-line-length"
    assert b"a" * 999 not in run.at_server
    if "lost" not in shape:
        assert challenged(run) == [0, 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["reply552-fin", "reply552-rst", "reset", "drop"])
def test_sonicwall_ends_a_mail_as_it_is_told(how, shape):
    run = Run(f"sonicwall,on_match={how}", mail(LOCKED), shape, 2)
    assert set(run.box.rules) == {"sonicwall.encrypted-zip"}
    assert not run.at_server.endswith(b".\r\n") and len(run.at_server) < len(run.sent) - 1000
    reply = b"552 5.7.0 Message blocked by gateway anti-virus\r\n"
    if how == "reply552-fin":
        assert run.at_client == run.said + reply
        # the client has said all it had to say, and is acknowledged: it reads the reply, not a time-out
        assert run.states == ("open", "reset")
        client = run.net.ends[0]
        assert client.una == len(client.sent) + 1 and client.ended
    elif how == "reply552-rst":
        assert run.states == ("reset", "reset")
        assert run.at_client in (run.said + reply, run.said) and ("lost" in shape or run.at_client.endswith(reply))
    else:
        assert run.states == (("reset", "reset") if how == "reset" else ("timeout", "open"))
        assert run.at_client == run.said
    if "lost" not in shape:
        assert challenged(run) == [0, 0]


def test_the_clean_twin_passes():
    run = Run(
        "sonicwall",
        mail(b"Subject: x\r\n\r\n" + base64.encodebytes(bytes(9000)).replace(b"\n", b"\r\n") + b".\r\n"),
        {},
        0,
    )
    assert run.whole and (run.at_client, run.at_server) == (run.said, run.sent)
    run = Run("sonicwall,on_match=log-only", mail(LOCKED), {}, 0)
    assert run.whole and run.at_server == run.sent and "sonicwall.encrypted-zip" in run.box.rules


@pytest.mark.parametrize("spec", ["stormshield,231.action=pass", "stormshield,level=firewall", "stormshield,level=ids"])
def test_what_is_set_to_pass_passes(spec):
    run = Run(spec, mail(b"Subject: caf\xe9\r\n\r\n" + TEXT[14:]), {}, 0)
    assert run.whole and (run.at_client, run.at_server) == (run.said, run.sent)


@pytest.mark.parametrize(
    "spec, steps, server, rule",
    [
        ("stormshield", [(b"HELO " + b"a" * 5000 + b"\r\n", 1)], {}, "stormshield.smtp-217.command"),
        ("stormshield", [(b"HELO a\r\n", 1), (b"\r\n", 1)], {}, "stormshield.smtp-219.command"),
        ("stormshield", [(b"EHLO a\r\n", 1)], {"verbs": {b"EHLO": b"502 no\r\n"}}, "stormshield.smtp-223"),
        ("stormshield", mail(b"X-a: caf\xe9\r\n\r\ntext\r\n.\r\n"), {}, "stormshield.smtp-122"),
    ],
)
def test_each_alarm_of_stormshield_stops_the_flow(spec, steps, server, rule):
    run = Run(spec, steps, {}, 0, **server)
    assert run.box.rules[0] == rule and not run.whole
    assert run.box.fates[-1].kind == "drop"
    off = Run(f"{spec},{rule.split('.')[1][5:]}.action=pass", steps, {}, 0, **server)
    assert off.whole


def test_one_segment_raises_one_alarm_of_stormshield():
    text = b"Subject: caf\xe9\r\nX-A: caf\xe9\r\n\r\ntext\r\n.\r\n"
    run = Run("stormshield", mail(text), {}, 0)
    told = [fate.why for fate in run.box.fates if fate.why and fate.kind == "drop"]
    assert told[0] == "stormshield.smtp-122"  # before 231, whatever stands first
    passed = Run("stormshield,122.action=pass", mail(text), {}, 0)
    assert passed.whole  # 122 is the one alarm of the segment


@pytest.mark.parametrize(
    "spec, at_server, at_client",
    [
        ("mailguard:pix-6,banner=none", b"", b""),
        ("mailguard:fwsm-3,banner=none", b"", b""),
        ("mailguard:asa-8,banner=none", b"XXXXXX\r\n", b"500 Command unrecognized\r\n"),
        ("mailguard:asa-8,banner=none,split_verb=off", b"HELO a\r\n", b"250 helo fine\r\n"),
    ],
)
def test_a_verb_letter_by_letter(spec, at_server, at_client):
    run = Run(spec, [(b"HELO a\r\n", 1)], {"mss": 1}, 0)
    assert run.at_server == at_server
    assert run.at_client[len(b"220 mx ESMTP\r\n") :] == at_client


def test_a_connection_anew_between_the_same_ends_is_another_one():
    first = Run("stormshield", mail(b"Subject: caf\xe9\r\n\r\ntext\r\n.\r\n"), {}, 0)
    assert not first.whole
    second = Run("stormshield", PLAIN, {"isn": (70_000, 80_000)}, 0, firewall=first.box.firewall)
    assert second.whole and second.at_server == second.sent


def test_what_is_no_tcp_passes_at_once():
    firewall = Firewall("mailguard:pix-6")
    for octets in (b"", b"\x45", bytes(60), b"\x45" + bytes(19) + bytes(40), b"\x60" + bytes(60)):
        assert firewall.take(0, octets).kind == "pass"


def test_what_ends_a_connection_is_newer_than_what_was_said_since() -> None:
    """The echo in the packet that is cut may be old: PAWS would refuse a FIN made with it (RFC 7323 5.3)."""
    shape = {"mss": 700, "lost": 0.0}
    run = Run("sonicwall", mail(LOCKED), shape, 3)
    made = [craft.parse(ip) for fate in run.box.fates for to, ip in fate.injected if to == "client"]
    stamps = [craft.timestamps(each.options) for each in made if each and not each.flags & craft.RST]
    assert stamps and all(stamp and stamp[0] >= NEWER for stamp in stamps)
